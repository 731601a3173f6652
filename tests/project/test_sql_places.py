"""Where SQL is, and that its parameters have names.

The daemon's is in `passbell.database`, the page's in `passbell.web.calls`; a command has its own, as each has one use.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import passbell
from passbell.database.bundle import sql_root

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(passbell.__file__).parent
STATEMENT = re.compile(
    r"\s*(select\s|insert\s+into\s|update\s+[\w.]+\s+set\s|delete\s+from\s|with\s+\w+\s+as\s"
    r"|copy\s+[\w.]+|listen\s+\w|notify\s+\w|set\s+(local\s+)?[\w.]+\s*=\s)",
    re.IGNORECASE,
)
PLACEHOLDER = re.compile(r"%\((\w+)\)s")
FORMAT = re.compile(r"\bformat\('[^']*'")
CALL = re.compile(r"\b(?:passbell|public)\.[a-z_]+\(([^()]*)")


def statements(file: Path) -> Iterator[tuple[int, str]]:
    """SQL in the string literals of a module, docstrings excepted, each with its line."""
    tree = ast.parse(file.read_text("utf-8"))
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documents
            and STATEMENT.match(node.value)
        ):
            yield node.lineno, node.value


@pytest.mark.parametrize("folder", ["delivery", "ops", "passkit", "files", "web"])
def test_sql_is_in_its_rooms_alone(folder: str) -> None:
    """The daemon's calls of the database are in `passbell.database`, those of API and page in `passbell.web.calls`."""
    found = [
        f"{file.relative_to(ROOT)}:{line}: {text.strip()[:60]}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        if file.parent != ROOT / "web" / "calls"
        for line, text in statements(file)
    ]
    assert not found, "\n".join(found)


def test_sql_functions_are_called_by_the_names_of_their_parameters() -> None:
    """A parameter that is appended, or two of one type that change places, cannot be mistaken for another."""
    calls = [
        (f"{file.relative_to(ROOT)}:{line}", argument.strip())
        for folder in ("cli", "database", "devkit", "web")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for line, text in statements(file)
        for arguments in CALL.findall(PLACEHOLDER.sub(r"$\1", text))
        for argument in arguments.split(",")
        if "$" in argument or "%s" in argument
    ]
    assert len(calls) > 250, "the search has found the calls"
    unnamed = [f"{place}: {argument}" for place, argument in calls if "=> $" not in argument]
    assert not unnamed, "\n".join(unnamed)


@pytest.mark.parametrize("folder", ["cli", "database", "web"])
def test_no_parameter_goes_by_its_place(folder: str) -> None:
    """Not in a statement without a function either: a column or condition more does not move the others."""
    placed = [
        f"{file.relative_to(ROOT)}:{line}: {text.strip()[:60]}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for line, text in statements(file)
        if "%s" in FORMAT.sub("", text)
    ]
    assert not placed, "\n".join(placed)


def test_a_number_is_one_file() -> None:
    """`31` in a comment or in an error names one file of functions; migrations have a number each as well."""
    for folder in ("functions", "migrations"):
        numbers = Counter(file.name.partition("_")[0] for file in (sql_root() / folder).glob("*.sql"))
        assert numbers, folder
        assert [number for number, files in numbers.items() if files > 1] == []


def test_the_search_finds_sql(tmp_path: Path) -> None:
    """A statement in a call, in an f-string, and none in a docstring or in a sentence for people."""
    module = tmp_path / "module.py"
    module.write_text(
        '"""select nothing from here"""\n'
        'fetch("select passbell.tick()")\n'
        'name = "x"\n'
        'fetch(f"delete from passbell.chunks where id = {name}")\n'
        'say("set PASSBELL_LISTEN_URL to a direct connection")\n'
        'say("selects nothing")\n'
    )
    assert sorted(line for line, _ in statements(module)) == [2, 4]
