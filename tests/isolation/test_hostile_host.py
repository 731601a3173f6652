"""Random rules of the host beside random campaigns: whatever the platform's tables do to one, the others are served."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from support.scene import LONG
from support.wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from support.bystander import House

NUMBERS = itertools.count(1)
EXAMPLES = 60 if LONG else 3


@dataclass(frozen=True)
class Rule:
    """SQL for the guilty program alone ({program}), and how it is taken back."""

    make: str
    undo: str


def raising(table: str, when: str, events: str, condition: str) -> Rule:
    """A trigger that raises."""
    return Rule(
        "create or replace function hostile_{n}() returns trigger language plpgsql as"
        f" $$ begin if {condition} then raise 'the host says no'; end if; return coalesce(new, old); end $$;"
        f" create trigger a_hostile_{{n}} {when} {events} on {table} for each row execute function hostile_{{n}}()",
        f"drop trigger if exists a_hostile_{{n}} on {table}",
    )


def check(table: str, condition: str) -> Rule:
    """A CHECK for rows to come."""
    return Rule(
        f"alter table {table} add constraint hostile_{{n}} check ({condition}) not valid",
        f"alter table {table} drop constraint if exists hostile_{{n}}",
    )


MINE = "new.program_id = '{program}'"
STATUSES = ("PROCESSING", "COMPLETED", "FAILED", "PAUSED", "PENDING")
LOGS = ("campaign_name", "message_content", "target_segment")

NO_COUNTERS = raising("push_campaigns", "before", "update", f"{MINE} and new.sent_count >= 1")
NO_AUDIT = raising("notification_logs", "before", "insert", MINE)
NO_UPDATE = raising("push_campaigns", "before", "update", MINE)

rules = st.one_of(
    st.builds(
        lambda when, status: raising(
            "push_campaigns",
            when,
            "update",
            f"{MINE} and new.status = '{status}' and new.status <> old.status",
        ),
        st.sampled_from(["before", "after"]),
        st.sampled_from(STATUSES),
    ),
    st.builds(
        lambda when: raising("push_campaigns", when, "update", MINE), st.sampled_from(["before", "after"])
    ),
    st.builds(
        lambda count: raising("push_campaigns", "before", "update", f"{MINE} and new.sent_count >= {count}"),
        st.integers(1, 5),
    ),
    st.builds(
        lambda when, events: raising("notification_logs", when, events, MINE),
        st.sampled_from(["before", "after"]),
        st.sampled_from(["insert", "update", "insert or update"]),
    ),
    st.builds(
        lambda status: check("push_campaigns", f"program_id <> '{{program}}' or status <> '{status}'"),
        st.sampled_from(STATUSES[:-1]),
    ),
    st.builds(
        lambda column: check("notification_logs", f"program_id <> '{{program}}' or length({column}) < 3"),
        st.sampled_from(LOGS),
    ),
    st.builds(
        lambda column: check("notification_logs", f"program_id <> '{{program}}' or {column} is null"),
        st.sampled_from(LOGS),
    ),
    st.builds(
        lambda width: Rule(
            f"alter table notification_logs alter message_content type varchar({width})"
            f" using left(message_content, {width})",
            "alter table notification_logs alter message_content type text",
        ),
        st.integers(1, 40),
    ),
    st.builds(
        lambda column: Rule(
            f"alter table notification_logs rename {column} to hostile_{{n}}",
            f"alter table notification_logs rename hostile_{{n}} to {column}",
        ),
        st.sampled_from([*LOGS, "campaign_id", "success_count"]),
    ),
    st.just(
        Rule(
            "alter table notification_logs add hostile_{n} text;"
            " update notification_logs set hostile_{n} = '';"
            " alter table notification_logs alter hostile_{n} set not null",
            "alter table notification_logs drop hostile_{n}",
        )
    ),
)
holds = st.sampled_from(
    [
        "",
        "select from push_campaigns where program_id = '{program}' for update",
        "select from push_campaigns where program_id = '{program}' for key share",
        "update passes_master set last_updated = now() where program_id = '{program}'",
        "select from programs where id = '{program}' for update",
        "lock table notification_logs in access exclusive mode",
        "lock table birthday_logs in access exclusive mode",
    ]
)
leavings = st.sampled_from(["", "", "delete from passes_master where program_id = '{program}'", "gone"])
messages = st.sampled_from(["Hello", "You have {points} points", "Hi {first_name|there} 👋", "{nonsense}"])


@pytest.mark.timeout(3_600 if LONG else 400)
@settings(
    max_examples=EXAMPLES,
    derandomize=not LONG,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    chosen=st.lists(rules, min_size=1, max_size=3),
    held=holds,
    leaving=leavings,
    message=messages,
    early=st.booleans(),
)
@example(chosen=[NO_COUNTERS], held="", leaving="", message="Hello", early=True)
@example(chosen=[NO_AUDIT], held="", leaving="", message="Hello", early=True)
@example(chosen=[NO_UPDATE], held="", leaving="", message="Hello", early=True)
@example(chosen=[NO_UPDATE], held="", leaving="", message="Hello", early=False)
def test_the_others_are_served_whatever_the_host_does(
    module_house: House, *, chosen: list[Rule], held: str, leaving: str, message: str, early: bool
) -> None:
    """The daemon lives, the bystander is served, the law holds, and each campaign that does not move says why."""
    house, scene = module_house, module_house.scene
    program = house.program()

    def trouble() -> None:
        for rule in chosen:
            names = {"n": next(NUMBERS), "program": program}
            house.rule(_fill(rule.make, names), undo=_fill(rule.undo, names))
        if held:
            house.hold(_fill(held, {"program": program}))

    if early:
        trouble()
    campaign = scene.campaign(program, message, rate_per_second=None if early else 5)
    if not early:
        wait_until(lambda: scene.status(campaign) != "PENDING" or house.words(campaign), "it is looked at")
        trouble()
    if leaving and not held:
        scene.conn.execute("delete from passes_master where program_id = %s", [program])
        if leaving == "gone":
            scene.conn.execute("delete from programs where id = %s", [program])
    try:
        house.serves_the_others()
        wait_until(lambda: is_over(house, campaign) or house.words(campaign), "it moves, or says why", 20)
        # Stored at once, whatever the host says to the rest: else a crash now would send it all again.
        wait_until(lambda: rung(house, program) <= sent(house, campaign), "what rang is in the ledger", 10)
        if not held and not leaving and all("notification_logs" in rule.make for rule in chosen):
            ended = scene.until(campaign, deadline=20)
            assert ended["status"] == ("FAILED" if message == "{nonsense}" else "COMPLETED"), ended
    finally:
        house.mend()
    # Whatever it was, it has passed: nothing is stuck for good, and no member was missed.
    wait_until(lambda: settled(house, campaign), "it goes on by itself", 40)
    assert house.daemon.running
    assert not scene.violations()
    assert scene.remote.summary(owner=owner(house, program))["buzzedMore"] == 0
    row = scene.order(campaign)
    if row["status"] == "COMPLETED":
        wait_until(lambda: _hurried(house) or len(scene.logs(campaign)) == 1, "its audit row is there")


def _hurried(house: House) -> bool:
    house.hurry()
    return False


def _fill(text: str, names: dict[str, object]) -> str:
    """Put the names in; other braces are SQL's or a message's."""
    for name, value in names.items():
        text = text.replace("{" + name + "}", str(value))
    return text


def owner(house: House, program: UUID) -> str:
    """The program's name at PassKit; empty if it was deleted, and with it what could be asked."""
    rows = house.scene.rows("select passkit_program_id as name from programs where id = %s", [program])
    return str(rows[0]["name"]) if rows else "-"


def rung(house: House, program: UUID) -> int:
    """How many alerts the program's phones have shown."""
    return len(house.scene.remote.buzzes(owner=owner(house, program)))


def sent(house: House, campaign: UUID) -> int:
    """How many passes the ledger calls sent."""
    return list(house.scene.ledger(campaign).values()).count("sent")


def is_over(house: House, campaign: UUID) -> bool:
    """Whether the campaign has ended."""
    return house.scene.status(campaign) in {"COMPLETED", "FAILED", "CANCELLED"}


def settled(house: House, campaign: UUID) -> bool:
    """Whether it has ended, or waits for a person, with nothing owed."""
    house.hurry()
    scene = house.scene
    if scene.rows("select from passbell.owed_counts where campaign_id = %s", [campaign]):
        return False
    if scene.rows("select from passbell.set_aside where campaign_id = %s", [campaign]):
        return False
    return scene.status(campaign) == "PAUSED" or (is_over(house, campaign) and not scene.waiting(campaign))
