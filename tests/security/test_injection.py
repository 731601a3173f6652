"""Texts that try to be SQL, in every column and setting where a text can be put: nothing of them is ever executed."""

# ruff: noqa: S608 - the statements are put together from this file's own words
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from passbell.settings import Settings
from support.processes import Command
from support.tenants import Tenants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Each would leave the table `pwned` behind, or bring the statement it stands in to an end, were it taken for SQL.
ATTACKS = (
    "'; create table public.pwned (); --",
    "x' or '1'='1",
    "x'); create table public.pwned (); select ('",
    '"; create table public.pwned (); --',
    "$$; create table public.pwned (); $$",
    "$1); create table public.pwned (); --",
    "%s %I %L %1$s %%",
    "\\'; create table public.pwned (); --",
    "x\n;create table public.pwned ();",
    "1; create table public.pwned ()",
    "') union select rolname from pg_roles --",
    "{points}'; create table public.pwned (); --",
)


class Target:
    """One place for a text: how to put it there, and what must work all the same."""

    def __init__(self, name: str, put: Callable[[Tenants, str], Any]) -> None:
        self.name = name
        self.put = put


def column(name: str) -> Callable[[Tenants, str], Any]:
    word = "message" if name == "message_text" else name
    return lambda t, text: t.campaign(t.a, **{word: text})


def call(statement: str) -> Callable[[Tenants, str], Any]:
    return lambda t, text: t.rows(
        statement, {"a": t.a, "text": text, "id": t.running[t.a], "one": t.passes[t.a][0]}
    )


def host(table: str, name: str) -> Callable[[Tenants, str], Any]:
    def put(t: Tenants, text: str) -> None:
        where = {"programs": t.a, "passes_master": t.passes[t.a][0]}[table]
        t.rows(f"update {table} set {name} = %s where id = %s", [text, where])

    return put


PLACES = (
    *(
        Target(f"push_campaigns.{name}", column(name))
        for name in ("message_text", "name", "target_query", "csv_upload_url", "created_by", "status", "kind")
    ),
    *(
        Target(f"target {word}", lambda t, text, word=word: t.campaign(t.a, target_query=f"{word}:{text}"))
        for word in ("IDS", "LOCAL", "CITY", "TIER", "VIP", "WHALE", "SLUMBER", "EXPIRING", "ALL &")
    ),
    Target("push_send(message)", call("select push_send(%(a)s, %(text)s)")),
    Target("push_send(target)", call("select push_send(%(a)s, 'x', %(text)s)")),
    Target("push_send(name)", call("select push_send(%(a)s, 'x', 'ALL', %(text)s)")),
    Target("push_preview(target)", call("select * from push_preview(%(a)s, %(text)s)")),
    Target("push_test(external_id)", call("select push_test(%(a)s, %(text)s, 'x')")),
    Target("push_test(message)", call("select push_test(%(a)s, 'M3', %(text)s)")),
    Target("push_forget", call("select * from push_forget(%(text)s)")),
    Target("sample_messages(target)", call("select * from passbell.sample_messages(%(a)s, 'x', %(text)s)")),
    Target("sample_messages(message)", call("select * from passbell.sample_messages(%(a)s, %(text)s)")),
    Target("queue_state(account)", call("select * from passbell.queue_state(%(text)s)")),
    Target("take_slots(account)", call("select * from passbell.take_slots(%(text)s, 1)")),
    Target("open_breaker(reason)", call("select passbell.open_breaker(%(text)s, 'outage', %(text)s)")),
    Target("heartbeat(doing)", call("select passbell.heartbeat(gen_random_uuid(), %(text)s)")),
    Target(
        "register_worker",
        call(
            "select passbell.register_worker(gen_random_uuid(), %(text)s, 1, %(text)s, %(text)s, %(text)s, 50, 3)"
        ),
    ),
    Target(
        "claim_chunk(same text)",
        call("select * from passbell.claim_chunk(gen_random_uuid(), %(text)s, 60, 3, %(text)s)"),
    ),
    Target("act_as", call("select passbell.act_as(%(text)s)")),
    Target(
        "the token's claims",
        call("select set_config('request.jwt.claim.sub', %(text)s, true), passbell.is_admin_of(%(a)s)"),
    ),
    Target("programs.name", host("programs", "name")),
    Target("programs.timezone", host("programs", "timezone")),
    Target("programs.birthday_message", host("programs", "birthday_message")),
    Target("programs.passkit_program_id", host("programs", "passkit_program_id")),
    Target("passes_master.external_id", host("passes_master", "external_id")),
    Target("passes_master.passkit_internal_id", host("passes_master", "passkit_internal_id")),
    Target("passes_master.member_first_name", host("passes_master", "member_first_name")),
    Target(
        "member_imports.name",
        call(
            "insert into member_imports (program_id, csv_upload_url, name) values (%(a)s, %(text)s, %(text)s)"
        ),
    ),
    Target(
        "member_imports.region",
        call(
            "insert into member_imports (program_id, csv_upload_url, region)"
            " values (%(a)s, 'https://x.example', %(text)s)"
        ),
    ),
)


@pytest.fixture(scope="module")
def victim(databases: Any) -> Iterator[Tenants]:
    """One project for all attempts: what the first leaves behind is there for the second."""
    made = Tenants(databases.create("3", supabase=True), "3")
    yield made
    made.close()


def relations(t: Tenants) -> set[str]:
    return {
        row["name"]
        for row in t.rows(
            "select oid::regclass::text as name from pg_class"
            " where relnamespace = any (array['public', 'passbell']::regnamespace[])"
        )
    }


def roles(t: Tenants) -> int:
    count: int = t.value("select count(*) from pg_roles")
    return count


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_a_text_is_a_text(victim: Tenants, place: Target) -> None:
    """Any text in any column is refused with a sentence or kept as it is, and the daemon goes on."""
    before = relations(victim), roles(victim)
    people = victim.value("select count(*) from passes_master")
    for attack in ATTACKS:
        try:
            place.put(victim, attack)
        except psycopg.Error as error:
            # One of our own refusals, or the host's constraint: never a syntax error, never a missing relation.
            if not (error.sqlstate or "").startswith(("PB", "22", "23")):
                raise
        victim.rows("select passbell.drain_cancelled(), passbell.explain_waiting('x')")
        while victim.claim() is not None:
            pass
        victim.rows("select * from get_birthdays_today()")
        victim.send_chunks()
    assert (relations(victim), roles(victim)) == before
    assert victim.value("select count(*) from passes_master") == people
    assert victim.violations() == []


def test_there_are_at_least_sixty() -> None:
    """Sixty attempts were promised."""
    assert len(ATTACKS) * len(PLACES) >= 60


@pytest.mark.parametrize("attack", ATTACKS[:4])
@pytest.mark.parametrize("name", ["MESSAGE_KEY", "SAME_TEXT", "METADATA", "RATE_PER_SECOND", "PASSKIT_URL"])
def test_a_setting_is_refused_before_anything_runs(name: str, attack: str) -> None:
    """Settings that would travel into SQL or URLs are closed lists, numbers or names: an attack ends the start."""
    settings = {
        "PASSBELL_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/x",
        "PASSBELL_DRY_RUN": "true",
        f"PASSBELL_{name}": attack,
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setenv(key, value)
        with pytest.raises(Exception, match=name):
            Settings.for_command()


def test_arguments_of_the_command_line(victim: Tenants) -> None:
    """Program ids, targets, names and campaign ids from the shell are parameters, too."""
    before = relations(victim)
    for arguments in (
        ("preview", "--program", ATTACKS[0]),
        ("preview", "--program", str(victim.a), "--target", ATTACKS[2]),
        ("send", "--program", str(victim.a), "--message", "x", "--name", ATTACKS[0], "--target", ATTACKS[0]),
        ("status", ATTACKS[0]),
        ("pause", ATTACKS[1]),
        ("verify", ATTACKS[0]),
    ):
        with Command(*arguments, settings={"PASSBELL_DATABASE_URL": victim.url}) as command:
            code = command.wait()
            assert code in {1, 2}, command.log
            assert "Traceback" not in command.log
            assert "syntax error" not in command.log
    assert relations(victim) == before
