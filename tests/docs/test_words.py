"""The words of the pages and of --help: the component is the subject, and a thing is no person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click
import pytest

from passbell.cli import COMMANDS, passbell
from support.markdown import ROOT, documents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTEAD: Final = {
    r"nobody|somebody|whoever|whom|whomever": "name the component, the member or the caller",
    r"mind:": "Warning:",
    r"(?:can|could|to) be had": "can be reserved, read or downloaded",
    r"honest(?:ly)? (?:count|interval)|count honestly": "count",
    r"unless (?:told|said) otherwise": "by default",
    r"and (?:its|their) kin": "and similar",
    r"goes out by itself|go out by themselves": "is sent",
}
ALLOWED: Final = (
    # The sentences of push_results: who came is a question about people.
    "so nobody knows who came.",
    "Nobody was held back, so nobody knows how many would have come anyway.",
)


def found_in(text: str) -> Iterator[str]:
    """Each discouraged word with its line, and what to write."""
    for number, line in enumerate(text.splitlines(), 1):
        for sentence in ALLOWED:
            line = line.replace(sentence, "")  # noqa: PLW2901 - what is left of the line
        for pattern, instead in INSTEAD.items():
            for hit in re.finditer(rf"\b(?:{pattern})(?!\w)", line, re.IGNORECASE):
                yield f"line {number}: {hit[0]!r}; write: {instead}"


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_the_component(page: Path) -> None:
    """A reader is told which part does something, never that "nobody" or "whoever" does."""
    assert list(found_in(page.read_text("utf-8"))) == []


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
