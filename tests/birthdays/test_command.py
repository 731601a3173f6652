from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from passbell.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Host


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def passbell(
    modern: Host, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """`passbell birthdays …` on the test's database."""
    for name in list(os.environ):
        if name.startswith(("PASSBELL_", "PASSKIT_")) and not name.startswith("PASSBELL_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PASSBELL_DATABASE_URL", modern.url)

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["birthdays", *arguments])
        return Outcome(int(stop.value.code or 0), *capfd.readouterr())

    return run


def test_the_dry_run_lists_and_gives_nothing(modern: Host, passbell: Callable[..., Outcome]) -> None:
    """--dry-run shows who it is and what they would read; no points move."""
    program = modern.program(name="Tea Club")
    modern.member(program, "1990-05-05", first_name="Ann")
    answer = passbell("--dry-run")
    assert answer.code == 0
    for words in ("Tea Club", "Ann", "1990-05-05", "due", "Happy Birthday Ann, you have 150 points."):
        assert words in answer.out
    assert modern.logs() == []
    (row,) = json.loads(passbell("--dry-run", "--json").out)
    assert (row["first_name"], row["reward_points"], row["already_gifted"]) == ("Ann", 50, False)


def test_running_gives_once(modern: Host, passbell: Callable[..., Outcome]) -> None:
    """The first call gives, the second finds everybody gifted."""
    program = modern.program(name="Tea Club")
    member = modern.member(program, "1990-05-05")
    answers: list[Any] = [json.loads(passbell("--program", "Tea Club", "--json").out)[0] for _ in range(2)]
    assert [(a["eligible"], a["gifted"], a["already_gifted"], a["failed"]) for a in answers] == [
        (1, 1, 0, 0),
        (1, 0, 1, 0),
    ]
    assert modern.balance(member) == 150
    assert "Tea Club" in passbell().out


def test_another_day(modern: Host, passbell: Callable[..., Outcome]) -> None:
    """--on takes a date; what is no date is one plain sentence."""
    modern.member(modern.program(), "1990-07-01")
    assert json.loads(passbell("--on", "2026-07-01", "--json").out)[0]["gifted"] == 1
    wrong = passbell("--on", "01/07/2026")
    assert wrong.code == 2
    assert "write it like 2026-12-24" in wrong.err


def test_failures_are_told_with_the_reason(modern: Host, passbell: Callable[..., Outcome]) -> None:
    """If an award fails, the command shows the count and the last reason, and ends with 1."""
    modern.tricky_awards()
    program = modern.program(name="Tea Club", birthday_message="Hi")
    members = modern.members(program, "1990-05-05", 2)
    modern.trouble("refuses", members[0])
    answer = passbell()
    assert "Tea Club: 1 awards failed and are tried again: Till is closed" in answer.out
    assert answer.code == 1
    modern.fetch("delete from public.award_trouble")
    assert passbell().code == 0


def test_nothing_to_do_is_said(modern: Host, passbell: Callable[..., Outcome]) -> None:
    """If no program's birthday bot is on, the answer says where to switch it on."""
    modern.program(birthday_bot_enabled=False)
    assert "birthday_bot_enabled" in passbell().out
    assert "No birthdays" in passbell("--dry-run").out
    assert json.loads(passbell("--json").out) == []


def test_without_uniqueness_it_refuses_in_one_sentence(
    modern: Host, passbell: Callable[..., Outcome]
) -> None:
    """Without UNIQUE (pass_id, year) `passbell birthdays` refuses on stderr, and names the remedy."""
    modern.fetch("alter table birthday_logs drop constraint birthday_logs_pass_id_year_key")
    answer = passbell()
    assert answer.code == 1
    assert answer.err.startswith("passbell: Birthday gifts are off")
    assert "Traceback" not in answer.err
