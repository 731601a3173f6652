"""Columns that pages list, their defaults, and arguments of functions are those of the database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from support.markdown import ROOT

if TYPE_CHECKING:
    from conftest import MakeDatabase

COLUMN: Final = re.compile(r"`([a-z_]+)`")
LISTED: Final = {
    "docs/birthdays.md": ("programs", "| column | default |", 0),
    "docs/howto/automations.md": ("push_automations", "| column | default |", 0),
    "docs/howto/several-accounts.md": ("passbell.accounts", "| column | |", 0),
    "docs/howto/softr.md": ("push_campaigns", "| form field | column |", 1),
    "README.md": ("push_campaigns", "| column | what it can hold |", 0),
}
"""Page, table, the head of the page's list, and in which cell of it the columns are."""
SAID: Final = {"on": True, "off": False, "all": None, "none": None, "every day": None}
"""What a page says for a default that is no word of its own."""
CALL: Final = re.compile(r"`passbell\.([a-z_]+)\(([a-z_, ]+)\)`")


def rows(page: str, head: str) -> list[list[str]]:
    """The rows of the list with this head, cell by cell."""
    lines = (ROOT / page).read_text("utf-8").splitlines()
    (first,) = (number for number, line in enumerate(lines) if line.startswith(head))
    found = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


@pytest.mark.parametrize("page", LISTED)
def test_listed_columns_exist_with_their_defaults(page: str, database: MakeDatabase) -> None:
    """A reader who types a column of the page finds it; where the page names a default, a new row has it."""
    table, head, cell = LISTED[page]
    with psycopg.connect(database("4")) as connection:
        defaults = {
            name: default and (connection.execute(f"select {default}").fetchone() or (None,))[0]
            for name, default in connection.execute(
                "select attname, pg_get_expr(adbin, adrelid) from pg_attribute"
                " left join pg_attrdef on adrelid = attrelid and adnum = attnum"
                " where attrelid = %s::regclass and attnum > 0 and not attisdropped",
                [table],
            )
        }
    listed = rows(page, head)
    assert len(listed) >= 4
    for row in listed:
        names = COLUMN.findall(row[cell])
        assert names, row
        assert set(names) <= defaults.keys(), f"{page}: {names} of {table}"
        if "default" in head:
            said = re.split(r", (?=\d|every)", row[cell + 1])
            for name, word in zip(names, said if len(said) > 1 else said * len(names), strict=True):
                value = defaults[name]
                text = f"{value:%H:%M}" if hasattr(value, "hour") else str(value)
                assert word.lower() == text.lower() or (word in SAID and not value), (
                    f"{page}: {name}: {value!r}"
                )


def test_arguments_are_those_of_the_functions(database: MakeDatabase) -> None:
    """`passbell.finish_birthday_run(program, date, worker)` on a page has these arguments, in this order."""
    with psycopg.connect(database("4")) as connection:
        signatures = {
            (name, tuple(argument.removeprefix("p_") for argument in arguments[:count]))
            for name, arguments, count in connection.execute(
                "select proname, coalesce(proargnames, '{}'), pronargs from pg_proc"
                " where pronamespace = 'passbell'::regnamespace"
            )
        }
    named = 0
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for function, listed in CALL.findall(page.read_text("utf-8")):
            arguments = tuple(argument.split()[0] for argument in listed.split(","))
            # Arguments that have a default may be left out at the end.
            known = {names[: len(arguments)] for name, names in signatures if name == function}
            assert arguments in known, f"{page.name}: passbell.{function}({listed})"
            named += 1
    assert named >= 4
