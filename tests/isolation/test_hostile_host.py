"""Random rules of the host beside random campaigns: whatever the platform's tables do to one, the others are served.

And proof that this can fail: mutants bring back, one by one, what was so before, and each is found.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from psycopg.rows import tuple_row

from support.bystander import House
from support.hostile import CASES, cases, play
from support.old_loops import OldDaemon
from support.scene import FAST, LONG, Scene

if TYPE_CHECKING:
    from support.databases import Databases
    from support.hostile import Case
    from support.processes import Sandbox

log = logging.getLogger(__name__)
EXAMPLES = 60 if LONG else 3
QUICK = ("A1", "A1, while it sends", "A3", "A3, its counters", "A5", "A6")


@pytest.mark.timeout(3_600 if LONG else 400)
@settings(
    max_examples=EXAMPLES,
    derandomize=not LONG,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(case=cases)
def test_the_others_are_served_whatever_the_host_does(module_house: House, case: Case) -> None:
    """The daemon lives, the bystander is served, the law holds, and each campaign that does not move says why."""
    play(module_house, case)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", CASES if LONG else QUICK)
def test_what_was_seen(module_house: House, name: str) -> None:
    """The examples of the list of defects."""
    play(module_house, CASES[name])


class Mutant(NamedTuple):
    """What brings an old behaviour back: texts replaced in SQL functions, and perhaps the old loops of the daemon."""

    case: str
    changes: tuple[tuple[str, str, str], ...]
    old_loops: bool = False


RAISES_IN_CLAIM = ("claim_campaign", "if passbell.is_conflict(v_sqlstate) then", "if true then")
RAISES = ("if passbell.is_conflict(sqlstate) then", "if true then")
MUTANTS = {
    "a campaign's error leaves the claim": Mutant(
        "A1", (RAISES_IN_CLAIM,)
    ),
    "a campaign that cannot be marked is not set aside": Mutant(
        "A1", (("refuse_campaign", "perform passbell.put_aside(p_campaign, p_sqlstate, detail)", "null"),)
    ),
    "a campaign's error leaves the claim, and any error ends the daemon": Mutant(
        "A1", (RAISES_IN_CLAIM,), old_loops=True
    ),
    "a member's error leaves the claim": Mutant("A2", (("claim_chunk", *RAISES),)),
    "a member's error stops the campaign": Mutant(
        "A2", (("sift_chunk", "if not passbell.is_passing(p_sqlstate) and", "if false and"),)
    ),
    "the audit row's error leaves the report": Mutant(
        "A3", (("log_campaign", *RAISES), ("book_outcomes", *RAISES))
    ),
    "the audit row's error is the campaign's": Mutant("A3", (("log_campaign", *RAISES),)),
    "the counters' error takes the outcomes back": Mutant("A3, its counters", (("book_outcomes", *RAISES),)),
    "the counters' error is not said": Mutant(
        "A1, while it sends",
        (("put_aside", "insert into passbell.set_aside", "return; insert into passbell.set_aside"),),
    ),
    "a deleted program's campaign is left alone": Mutant("A4", (("close_deserted", "limit 20", "limit 0"),)),
    "anybody can make the engine's mark": Mutant(
        "A5", (("is_engine", "return rtrim(v_now, '+') = ", "return v_now = 'on' or rtrim(v_now, '+') = "),)
    ),
    "erasing locks nothing": Mutant(
        "A6", (("hold_for_erasure", "for no key update nowait", ""), ("hold_for_erasure", "for update nowait", ""))
    ),
    "a table that is gone ends the daemon": Mutant(
        "A7", (("require_birthday_guard", "if not passbell.birthday_guard_exists()", "if false"),), old_loops=True
    ),
    "a claim waits for a campaign that somebody keeps open": Mutant(
        "A8",
        (
            (
                "claim_chunk",
                "if v_open = '{}' then",
                "perform from public.push_campaigns for update; if v_open = '{}' then",
            ),
            ("claim_chunk", "SET lock_timeout TO '500ms'", "SET lock_timeout TO '0'"),
        ),
    ),
}  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS if LONG else ["anybody can make the engine's mark"])
def test_each_old_behaviour_is_found(databases: Databases, sandbox: Sandbox, mutant: str) -> None:
    """With any of these changes the test above fails."""
    case, changes, old_loops = MUTANTS[mutant]
    url = databases.create("2")
    scene = Scene(url, "2", sandbox)
    try:
        for function, old, new in changes:
            change(scene.conn, function, old, new)
        daemon = OldDaemon(url, sandbox.url, **FAST, DAILY_CAP=0) if old_loops else scene.daemon(DAILY_CAP=0)
        with daemon:
            house = House(scene, daemon)
            with pytest.raises((AssertionError, psycopg.Error)) as found:
                play(house, CASES[case])
            house.mend()
        log.info("%s: %s", mutant, str(found.value).partition("\n")[0] or found.traceback[-1].statement)
    finally:
        scene.close()
        databases.drop(urlsplit(url).path.removeprefix("/"))


def change(conn: psycopg.Connection[Any], function: str, old: str, new: str) -> None:
    """Replace one text in the definition of a function, whatever its arguments."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "select pg_get_functiondef(p.oid) from pg_proc p"
            " where p.proname = %s and p.pronamespace = 'passbell'::regnamespace",
            [function],
        )
        found = [text for (text,) in cursor.fetchall() if old in text]
        assert found, f"{function} reads otherwise by now: write this mutant anew"
        for text in found:
            cursor.execute(text.replace(old, new).encode())
