"""The words of the pages, of --help and of comments: the component is the subject, and a thing is no person."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING, Final

import click
import pytest

from passbell.cli import COMMANDS, passbell
from support.markdown import ROOT, documents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PERSONS: Final = "nobody|somebody|whoever|whom|whomever"
INSTEAD: Final = {
    PERSONS: "name the component, the member or the caller",
    r"mind:": "Warning:",
    r"(?:can|could|to) be had": "can be reserved, read or downloaded",
    r"honest(?:ly)? (?:count|interval)|count honestly": "count",
    r"unless (?:told|said) otherwise": "by default",
    r"and (?:its|their) kin": "and similar",
    r"goes out by itself|go out by themselves": "is sent",
}
COMMENTS: Final = {PERSONS: INSTEAD[PERSONS]}
ALLOWED: Final = (
    # The sentences of push_results: who came is a question about people.
    "so nobody knows who came.",
    "Nobody was held back, so nobody knows how many would have come anyway.",
)


def found_in(text: str, words: Mapping[str, str] = INSTEAD) -> Iterator[str]:
    """Each discouraged word with its line, and what to write."""
    for number, line in enumerate(text.splitlines(), 1):
        for sentence in ALLOWED:
            line = line.replace(sentence, "")  # noqa: PLW2901 - what is left of the line
        for pattern, instead in words.items():
            for hit in re.finditer(rf"\b(?:{pattern})(?!\w)", line, re.IGNORECASE):
                yield f"line {number}: {hit[0]!r}; write: {instead}"


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_the_component(page: Path) -> None:
    """A reader is told which part does something, never that "nobody" or "whoever" does."""
    assert list(found_in(page.read_text("utf-8"))) == []


def comments(source: Path) -> str:
    """What a program file says to its reader, line by line: comments, and docstrings of Python."""
    text = source.read_text("utf-8")
    lines = [""] * (text.count("\n") + 2)
    if source.suffix == ".sql":
        for number, line in enumerate(text.splitlines()):
            lines[number] = line.partition("--")[2]
        return "\n".join(lines)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = token.string
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            for number, line in enumerate(node.value.value.splitlines(), node.lineno - 1):
                lines[number] += line
    return "\n".join(lines)


@pytest.mark.parametrize("folder", ["daemon/passbell", "sql"])
def test_comments_name_the_component(folder: str) -> None:
    """The same holds for the comments of the program."""
    sources = sorted(file for file in (ROOT / folder).rglob("*") if file.suffix in {".py", ".sql"})
    assert len(sources) > 50
    found = [
        f"{source.relative_to(ROOT)}, {hit}"
        for source in sources
        for hit in found_in(comments(source), COMMENTS)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_names_the_component(name: str | None) -> None:
    """The same holds for what `passbell COMMAND --help` prints."""
    # With the settings of the command line: click keeps the help option that it makes first.
    context = click.Context(passbell, info_name="passbell", **passbell.context_settings)
    command = passbell if name is None else passbell.get_command(context, name)
    assert command is not None
    printed = command.get_help(context if name is None else click.Context(command, context, name))
    assert "Usage:" in printed
    assert list(found_in(printed)) == []


def test_a_discouraged_word_is_named_with_its_line() -> None:
    """The page's author reads where it is and what to write; the sentences of results may stay."""
    said = list(found_in("One.\nNobody is told.\nNo visits, so nobody knows who came.\nMind: a slot."))
    assert said == [
        "line 2: 'Nobody'; write: name the component, the member or the caller",
        "line 4: 'Mind:'; write: Warning:",
    ]
