"""`passbell automations`: run and list, and the commands below it that edit, try and measure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from psycopg import sql

from passbell.cli import main
from support.shop import utc

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from support.shop import Shop

NOON = utc("2026-06-01T12:00:00")


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def passbell(
    shop: Shop, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run `passbell automations` on the shop's database."""
    monkeypatch.setenv("PASSBELL_DATABASE_URL", shop.url)

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(("automations", *arguments))
        return Outcome(int(stop.value.code or 0), *capfd.readouterr())

    return run


def at_noon(shop: Shop) -> None:
    """The clock of every session stands at noon of a Monday."""
    shop.clock(NOON)
    name = sql.Identifier(shop.conn.info.dbname)
    shop.conn.execute(
        sql.SQL("alter database {} set passbell.now = {}").format(name, sql.Literal(NOON.isoformat()))
    )


def made(passbell: Callable[..., Outcome], program: UUID, *fields: str, occasion: str = "EVERY:MON") -> Any:
    options = ("--program", str(program), "--occasion", occasion, "--message", "Hello {first_name|you}")
    answer = passbell("add", *options, *fields, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_made_changed_switched_run_and_deleted(shop: Shop, passbell: Callable[..., Outcome]) -> None:
    """All that Softr and the page can do, from a terminal; named by its name or the beginning of its id."""
    at_noon(shop)
    program = shop.program("Bar", timezone="UTC")
    shop.members(program, 3)
    row = made(passbell, program, "name=Mondays", "daily_limit=500", "send_days=mon")
    assert (row["is_on"], row["daily_limit"], row["send_days"], row["holdout_percent"]) == (
        False,
        500,
        "MON",
        10,
    )
    assert "No automation is on" in passbell().out
    listed = passbell("list").out
    assert "Mondays" in listed
    assert " off " in listed
    changed = passbell("change", row["id"][:8], "priority=8", "daily_limit=", "holdout_percent=0", "--json")
    assert (json.loads(changed.out)["priority"], json.loads(changed.out)["daily_limit"]) == (8, None)
    assert passbell("on", "Mondays").out == "Mondays is on.\n"
    assert passbell("--dry-run").out.count("EVERY") == 0
    assert len(json.loads(passbell("--dry-run", "--json").out)) == 3
    assert json.loads(passbell("--json").out)[0]["fired"] == 3
    assert "sent so far 3 " in " ".join(passbell("change", "Mondays").out.split())
    assert passbell("off", "Mondays").out == "Mondays is off.\n"
    busy = passbell("delete", "Mondays", "--yes")
    assert busy.code == 1
    assert "cancel that before deleting" in busy.err
    shop.verb("cancel", shop.value("select id from push_campaigns"))
    assert passbell("delete", "Mondays", "--yes").out == "Mondays is deleted.\n"
    assert shop.value("select count(*) from push_automations") == 0


def test_it_is_tried_on_the_past_and_measured(shop: Shop, passbell: Callable[..., Outcome]) -> None:
    """`automations preview` shows a bar per day and the sum; `results` says when visits can be counted."""
    at_noon(shop)
    program = shop.program("Bar", timezone="UTC")
    shop.members(program, 4)
    made(passbell, program, "name=Mondays")
    tried = passbell("preview", "Mondays", "--days", "8").out
    assert len(tried.splitlines()) == 9
    assert "It would have rung 8 members in 8 days, between 0 and 4 a day; 4 today." in tried
    assert "Can be counted" in passbell("results", "Mondays").out


def test_a_programs_limits_are_shown_and_changed(shop: Shop, passbell: Callable[..., Outcome]) -> None:
    """`automations limits` shows and changes a program's limits; an empty value removes one."""
    program = str(shop.program("Limited"))
    done = passbell(
        "limits", "--program", program, "push_max=3", "push_max_days=14", "push_consent=opt_in", "--json"
    )
    assert json.loads(done.out)["push_max"] == 3
    passbell("limits", "--program", "Limited", "push_max=", "push_max_days=", "push_min_hours=36")
    shown = json.loads(passbell("limits", "--program", program, "--json").out)
    assert [shown[name] for name in ("push_max", "push_max_days", "push_min_hours", "push_consent")] == [
        None,
        None,
        36,
        "OPT_IN",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("add", "--program", "Bar", "--occasion", "DORMNT:30", "--message", "Hi"), 1, "Unknown occasion"),
        (
            ("add", "--program", "Bar", "--occasion", "DORMANT:30", "--message", " "),
            1,
            "message_text is empty",
        ),
        (
            ("add", "--program", "Pub", "--occasion", "DORMANT:30", "--message", "Hi"),
            1,
            "known programs: Bar",
        ),
        (("change", "Mondays", "prioritty=9"), 2, "no column 'prioritty'"),
        (("change", "Mondays", "priority"), 2, "COLUMN=VALUE"),
        (("change", "Mondays", "priority=10"), 1, "from 0 to 9"),
        (("change", "Mondays", "priority=high"), 1, "high"),
        (("on", "Tuesdays"), 1, "There is no automation"),
        (("--dry-run", "list"), 2, "behind list"),
    ],
)
def test_a_slip_changes_nothing(
    shop: Shop, passbell: Callable[..., Outcome], arguments: tuple[str, ...], code: int, words: str
) -> None:
    """A wrong argument gives one plain sentence on stderr and an exit code that is not 0."""
    program = shop.program("Bar", timezone="UTC")
    made(passbell, program, "name=Mondays")
    before = shop.rows("select * from push_automations")
    answer = passbell(*arguments)
    assert (answer.code, words in answer.err) == (code, True), answer.err
    assert "Traceback" not in answer.err
    assert shop.rows("select * from push_automations") == before
