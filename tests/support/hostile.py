"""Rules of a hostile host, random or chosen, beside a campaign; and what must be true whatever they are."""

from __future__ import annotations

import contextlib
import itertools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from hypothesis import strategies as st

from .wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from .bystander import House

__all__ = ["CASES", "Case", "Rule", "cases", "play"]

NUMBERS = itertools.count(1)


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


def deferred(table: str, condition: str) -> Rule:
    """A constraint trigger that raises at the commit."""
    return Rule(
        f"create or replace function hostile_{{n}}() returns trigger language plpgsql as"
        f" $$ begin if {condition} then raise 'the host says no'; end if; return null; end $$;"
        f" create constraint trigger a_hostile_{{n}} after insert or update on {table} deferrable initially deferred"
        f" for each row execute function hostile_{{n}}()",
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

# A member whose balance cannot be read, as numbers were before adapters: the message has to ask for it.
UNREADABLE = Rule(
    "alter view passbell.recipients rename to readable_{n};"
    " create function hostile_points_{n}(p text, b bigint) returns bigint immutable language plpgsql as"
    " $$ begin if p = 'ODD' then return '1,315'::bigint; end if; return b; end $$;"
    " create view passbell.recipients as select pass_id, program_id, passkit_program_id, passkit_id, external_id,"
    " protocol, reachable, opted_in, user_id, email, first_name, last_name, birth_date,"
    " hostile_points_{n}(external_id, points) as points, tier_points, zip, city, last_activity, coupon_expires_on,"
    " redeemed_at, checked_in_at from passbell.readable_{n}",
    "drop view passbell.recipients; alter view passbell.readable_{n} rename to recipients",
)
NO_BIRTHDAYS = Rule(
    "alter table birthday_logs rename to birthdays_{n}", "alter table birthdays_{n} rename to birthday_logs"
)


@dataclass(frozen=True)
class Case:
    """What is done to one program while another one is to be served."""

    rules: list[Rule] = field(default_factory=list)
    held: str = ""
    """A statement whose transaction is left open."""
    leaving: str = ""
    """Which rows are deleted: the passes, or the program too ("gone")."""
    message: str = "Hello"
    early: bool = True
    """Whether the trouble is there before the campaign."""
    meddling: str = ""
    """What people do meanwhile: "engine" (they set what the engine once marked its writes with), "erasing"."""
    birthday: bool = False
    """Whether a member of the program has a birthday."""


# What was seen, row by row of the list of defects; each is found without chance.
CASES = {
    "A1": Case([NO_UPDATE]),
    "A1, while it sends": Case([NO_UPDATE], early=False),
    "A1, at the commit": Case(
        [deferred("push_campaigns", f"{MINE} and new.status <> 'PENDING'")], early=False
    ),
    "A2": Case([UNREADABLE], message="You have {points} points"),
    "A3": Case([NO_AUDIT]),
    "A3, its counters": Case([NO_COUNTERS]),
    "A4": Case(leaving="gone", early=False),
    "A5": Case(early=False, meddling="engine"),
    "A6": Case(early=False, meddling="erasing"),
    "A7": Case([NO_BIRTHDAYS], birthday=True),
    "A8": Case(held="select from push_campaigns where program_id = '{program}' for update", early=False),
}

cases = st.builds(
    Case,
    rules=st.lists(rules, min_size=1, max_size=3, unique_by=lambda rule: rule.make),
    held=holds,
    leaving=leavings,
    message=messages,
    early=st.booleans(),
    meddling=st.sampled_from(["", "", "engine", "erasing"]),
)


def play(house: House, case: Case) -> None:
    """The daemon lives, the bystander is served, the law holds, and each campaign that does not move says why."""
    scene = house.scene
    program = _program(house, case)

    def trouble() -> None:
        for rule in case.rules:
            names = {"n": next(NUMBERS), "program": program}
            house.rule(_fill(rule.make, names), undo=_fill(rule.undo, names))
        if case.held:
            house.hold(_fill(case.held, {"program": program}))

    if case.early:
        trouble()
    campaign = scene.campaign(program, case.message, rate_per_second=None if case.early else 5)
    if not case.early:
        wait_until(lambda: scene.status(campaign) != "PENDING", "it is looked at")
        trouble()
    if not case.held:
        _meddle(house, case, program, campaign)
    try:
        _others_are_served(house, case, program, campaign)
    finally:
        house.mend()
    # Whatever it was, it has passed: nothing is stuck for good, and no member was missed.
    wait_until(lambda: settled(house, campaign), "it goes on by itself", 40)
    assert house.daemon.running
    assert not scene.violations()
    assert scene.remote.summary(owner=owner(house, program))["buzzedMore"] == 0
    if scene.order(campaign)["status"] == "COMPLETED":
        wait_until(lambda: _hurried(house) or len(scene.logs(campaign)) == 1, "its audit row is there")


def _others_are_served(house: House, case: Case, program: UUID, campaign: UUID) -> None:
    """While the trouble lasts."""
    house.serves_the_others()
    wait_until(lambda: is_over(house, campaign) or house.words(campaign), "it moves, or says why", 20)
    # Stored at once, whatever the host says to the rest: else a crash now would send it all again.
    wait_until(lambda: rung(house, program) <= sent(house, campaign), "what rang is in the ledger", 10)
    if case.birthday:
        said = "birthdays_refused"
        wait_until(
            lambda: house.daemon.events(said) or not house.daemon.running, "birthdays are looked at", 75
        )
    if case.held:
        in_hand = "select from passbell.chunks where campaign_id = %s and lease_until is not null"
        wait_until(lambda: not house.scene.rows(in_hand, [campaign]), "what was in hand is handed back", 20)
    if case.held or case.birthday:  # by now everything has met the lock
        house.serves_the_others()
    if case.held or case.leaving or case.meddling:
        return
    if all("notification_logs" in rule.make or rule is UNREADABLE for rule in case.rules):
        ended = house.scene.until(campaign, deadline=20)
        assert ended["status"] == ("FAILED" if case.message == "{nonsense}" else "COMPLETED"), ended


def _program(house: House, case: Case) -> UUID:
    """The program that gets into trouble; it is larger where the trouble comes in the middle."""
    if not case.birthday:
        later = 60 if case.held or case.leaving or case.meddling == "erasing" else 20
        program = house.program(5 if case.early and not case.leaving and not case.meddling else later)
    else:
        program = house.program(
            5, birthday_bot_enabled=True, birthday_reward_points=5, birthday_send_at="00:00"
        )
        today = house.scene.born_today()
        # Opted out: the gift alone, without a greeting that rings.
        house.scene.member(program, user={"birth_date": today, "marketing_opt_in": False})
    if UNREADABLE in case.rules:
        house.scene.member(program, external_id="ODD")
        house.scene.publish(program)
    return program


def _meddle(house: House, case: Case, program: UUID, campaign: UUID) -> None:
    """What people do; that a rule or a lock refuses it is their own trouble."""
    scene = house.scene
    if case.leaving:
        scene.conn.execute("delete from passes_master where program_id = %s", [program])
        if case.leaving == "gone":
            scene.conn.execute("delete from programs where id = %s", [program])
    if case.meddling == "engine":
        with psycopg.connect(scene.url, autocommit=True) as conn:
            conn.execute("set passbell.engine = 'on'; set geqo_seed = 0.7365; set lock_timeout = '2s'")
            for statement in (
                "select push_pause(%s)",
                "update push_campaigns set failed_count = 1 where id = %s",
                "update push_campaigns set status = 'PENDING' where id = %s",
            ):
                with contextlib.suppress(psycopg.Error):
                    conn.execute(statement.encode(), [campaign])
    if case.meddling == "erasing":
        try:
            scene.verb("pause", campaign)
            erased = _erase_two(house, _free_chunk(house, campaign))
            for _ in range(2):
                if not erased and not case.rules:  # a claim that was under way has taken the chunk meanwhile
                    erased = _erase_two(house, _free_chunk(house, campaign))
        except (psycopg.Error, AssertionError):
            if not case.rules:
                raise
            return  # a rule keeps it from being paused, or from being handed back
        assert erased or case.rules, "no member was erased"
        left = scene.waiting(campaign)
        assert not erased & set(left), "a member who was erased is to do again"
        with contextlib.suppress(psycopg.Error):
            scene.verb("resume", campaign)


def _free_chunk(house: House, campaign: UUID) -> list[UUID]:
    """The passes of the largest chunk, once no worker has any: a report that met an erasure would count all anew."""
    free = (
        "select pass_ids from passbell.chunks where campaign_id = %s"
        " and not exists (select from passbell.chunks k where k.campaign_id = %s and k.lease_until is not null)"
        " order by cardinality(pass_ids) desc limit 1"
    )
    rows = wait_until(lambda: house.scene.rows(free, [campaign, campaign]), "all is handed back", 10)
    chunk: list[UUID] = rows[0]["pass_ids"]
    assert len(chunk) > 1, "a chunk for two"
    return chunk


def _erase_two(house: House, chunk: list[UUID]) -> set[UUID]:
    """Two members of one chunk are erased: the second begins, and waits, before the first has committed."""
    scene = house.scene
    erased = set()

    def erase(one: UUID, session: psycopg.Connection[Any]) -> None:
        with contextlib.suppress(psycopg.Error):  # a rule, or a lock that is held, refuses it
            session.execute("select * from push_forget(%s)", [str(one)])
            erased.add(one)

    with (
        psycopg.connect(scene.url) as first,
        psycopg.connect(scene.url, autocommit=True) as second,
    ):
        erase(chunk[0], first)
        thread = threading.Thread(target=erase, args=(chunk[1], second))
        thread.start()
        waiting = (
            "select count(*) from pg_stat_activity"
            " where pid = %s and (wait_event_type = 'Lock' or wait_event = 'PgSleep')"
        )
        pid = second.info.backend_pid
        wait_until(lambda: not thread.is_alive() or scene.value(waiting, [pid]), "the second waits", 10)
        try:
            first.commit()
        except psycopg.Error:  # a rule that was deferred
            erased.discard(chunk[0])
        thread.join()
    return erased


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
    """How many passes the ledger calls sent, or called so until their members were erased."""
    erased = house.scene.value(
        "select coalesce(sum(sent), 0) from passbell.pruned where campaign_id = %s", [campaign]
    )
    return list(house.scene.ledger(campaign).values()).count("sent") + int(erased)


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
