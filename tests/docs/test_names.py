"""What the documents name exists: commands and options, settings, exit codes, SQL names, files, links."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import TYPE_CHECKING

import click
import psycopg
import pytest

from passbell import errors
from passbell.cli import COMMANDS, INTERRUPTED, passbell
from passbell.settings import Settings
from support.markdown import ROOT, anchors, blocks, code_spans, documents, links
from support.web import Web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeDatabase

PAGES = [str(document.relative_to(ROOT)) for document in documents()]
SHELL = frozenset({"sh", "console"})
SEPARATORS = re.compile(r"\|\||&&|[;|\n]|\$\(|\)")
SETTING = re.compile(r"\bPASSBELL_[A-Z][A-Z_]*[A-Z]\b")
SQL_NAME = re.compile(r"\b(?:passbell\.[a-z_]+|push_[a-z_]+|get_birthdays_today|run_birthdays)\b")
FILE = re.compile(r"(?<![\w/.-])(?:sql|systemd|docs|bench|tests|tools|daemon)/[\w@./-]*\w")
EXIT = re.compile(r"\bexit codes? (\d+)(?:(?:,| or| and) (\d+))*")


@cache
def text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def command_lines(page: str) -> Iterator[str]:
    """Every command of a page that begins with `passbell`, in blocks (run or not) and in running text."""
    pieces = [block.text for block in blocks(ROOT / page) if block.language in SHELL] + code_spans(
        ROOT / page
    )
    for piece in pieces:
        for line in SEPARATORS.split(re.sub(r"\\\n", " ", piece)):
            words = re.sub(r"^[\s$]*(?:sudo |exec |env |[A-Z_]+=\S* )*", "", line).replace(".venv/bin/", "")
            if re.match(r"(/opt/passbell/bin/)?passbell( |$)", words):
                yield words


@cache
def command(name: str) -> click.Command:
    found = passbell.get_command(click.Context(passbell), name)
    assert found is not None
    return found


def options(of: click.Command) -> set[str]:
    return {option for parameter in of.params for option in parameter.opts} | {"--help", "-h"}


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str) -> None:
    """Each `passbell …` names a subcommand that there is, with options that it has."""
    for line in command_lines(page):
        lexer = shlex.shlex(re.sub(r"[\[\]…]", " ", line), posix=True, punctuation_chars="<>&")
        lexer.whitespace_split = True
        try:
            words = list(lexer)[1:]
        except ValueError:  # a quotation mark of the running text
            words = line.split()[1:]
        words = words[: words.index("&")] if "&" in words else words
        if not words or words[0].startswith("-"):
            assert set(words) <= {"--help", "--version", "-h"}, f"{page}: {line}"
            continue
        if "." in words[0] or not re.fullmatch(r"[a-z-]+", words[0]):
            continue  # no command: a file or a placeholder
        assert words[0] in COMMANDS, f"{page}: {line}"
        named = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        found = command(words[0])
        if isinstance(found, click.Group) and len(words) > 1 and words[1] in found.commands:
            found = found.commands[words[1]]
        assert named <= options(found), f"{page}: {line}"


def known_settings() -> set[str]:
    """Every variable that the program reads by its own prefix."""
    names = {f"PASSBELL_{name.upper()}" for name in Settings.model_fields}
    return names | {f"{name}_FILE" for name in names} | {"PASSBELL_DEBUG"}


OF_ACCOUNTS = frozenset({f"PASSBELL_PASSKIT_{name}" for name in ("API_KEY", "API_SECRET", "TOKEN")})


@cache
def code() -> str:
    """Everything that may read a variable which is no setting: tests and Makefile."""
    files = [ROOT / "Makefile", *(ROOT / "tests").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]
    return "\n".join(file.read_text("utf-8") for file in files if file.name != "test_names.py")


@pytest.mark.parametrize("page", PAGES)
def test_settings_exist(page: str) -> None:
    """Each variable that a page names is read; credentials may carry an account behind two underscores."""
    for name in set(SETTING.findall(text(page))) - known_settings():
        setting, _, account = name.partition("__")
        if account and setting in OF_ACCOUNTS:
            continue
        assert name in code(), f"{page}: {name}"


@pytest.mark.parametrize("page", PAGES)
def test_exit_codes_exist(page: str) -> None:
    """Each exit code that a page names is one that a command can end with."""
    real = {0, INTERRUPTED} | {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.PassbellError)
    }
    for match in EXIT.finditer(text(page)):
        assert {int(number) for number in match.groups() if number} <= real, f"{page}: {match[0]}"


@pytest.mark.parametrize("page", PAGES)
def test_files_exist(page: str) -> None:
    """Paths in commands and in code lead to a file of the repository."""
    pieces = [block.text for block in blocks(ROOT / page) if block.language in SHELL | {"python"}]
    for piece in pieces + code_spans(ROOT / page):
        for name in FILE.findall(re.sub(r"\w+://\S+", "", piece)):
            assert (ROOT / name).exists(), f"{page}: {name}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Files that are linked exist, and headings too."""
    for target in links(ROOT / page):
        if re.match(r"\w+:", target):
            continue
        name, _, heading = target.partition("#")
        file: Path = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if heading and file.suffix == ".md":
            assert heading in anchors(file), f"{page}: {target}"


CALL = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/(?:api|live|ready|openapi)[\w/{}.-]*)")


def test_calls_of_the_api_exist(database: MakeDatabase) -> None:
    """Every verb and path that a page names is one that the server answers."""
    with Web(database("2")) as web, web.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    there = {(verb.upper(), re.sub(r"{\w+}", "{}", path)) for path, verbs in paths.items() for verb in verbs}
    named = {
        (page, verb, re.sub(r"{\w+}", "{}", path.rstrip("/.")))
        for page in PAGES
        for verb, path in CALL.findall(text(page))
    }
    assert len(named) > 15
    for page, verb, path in sorted(named):
        assert (verb, path) in there, f"{page}: {verb} {path}"


def test_every_page_is_on_the_map() -> None:
    """docs/README.md leads to each page."""
    reached = {
        (ROOT / "docs" / target.partition("#")[0]).resolve() for target in links(ROOT / "docs" / "README.md")
    }
    pages = {file.resolve() for file in (ROOT / "docs").rglob("*.md")} - {ROOT / "docs" / "README.md"}
    assert pages <= reached, f"docs/README.md does not lead to {pages - reached}"


@pytest.mark.parametrize(
    ("page", "folder", "pattern"),
    [
        ("sql/README.md", "sql/functions", "*.sql"),
        ("tests/README.md", "tests", "*/test_*.py"),
        ("docs/architecture.md", "daemon/passbell", "*/__init__.py"),
    ],
)
def test_every_room_is_on_its_map(page: str, folder: str, pattern: str) -> None:
    """A new file of functions, a new folder of tests or of the program is entered where a newcomer looks."""
    found = sorted((ROOT / folder).glob(pattern))
    names = {file.parent.name if "/" in pattern else file.stem for file in found}
    assert names
    missing = {name for name in names if not re.search(rf"`[^`]*\b{name}`", text(page))}
    assert not missing, f"{page} does not name {sorted(missing)}"


# What stands behind `passbell.` besides names of the database: settings of a session, files, modules.
NO_SQL = {"engine", "now", "service", "sql", "env", "sock", "git"}


def test_sql_names_exist(database: MakeDatabase) -> None:
    """Functions, tables, views and columns that a page names are in the database."""
    with psycopg.connect(database("3")) as connection:
        rows = connection.execute(
            """
            select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where n.nspname in ('passbell', 'public')
            union select n.nspname || '.' || p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
             where n.nspname in ('passbell', 'public')
            union select 'public.' || a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid
             join pg_namespace n on n.oid = c.relnamespace where n.nspname in ('passbell', 'public')
            """
        ).fetchall()
    there = {name for (name,) in rows}
    modules = {path.stem for path in (ROOT / "daemon" / "passbell").iterdir()}
    named = 0
    for page in PAGES:
        pieces = [block.text for block in blocks(ROOT / page) if block.language == "sql"]
        for piece in pieces + code_spans(ROOT / page):
            for name in SQL_NAME.findall(re.sub(r"[\w./-]*/[\w./@-]*|(?:\.\w+){2,}", "", piece)):
                full = name if name.startswith("passbell.") else f"public.{name}"
                if full.removeprefix("passbell.") in NO_SQL | modules or name.endswith("_"):
                    continue
                assert full in there, f"{page}: {name} (in {piece[:80]!r})"
                named += 1
    assert named > 100
