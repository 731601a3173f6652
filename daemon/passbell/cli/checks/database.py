"""What `passbell check` asks the database: rights, settings of the session, the platform, the state of passbell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, LiteralString

import psycopg

from passbell.cli.checks import bad, good, note
from passbell.cli.checks.host import LOOKS
from passbell.cli.checks.session import look_at_session
from passbell.cli.database import LOOK_MILLISECONDS, limited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passbell.cli.checks import Finding
    from passbell.cli.database import Connection
    from passbell.settings import Settings

__all__ = ["look_at_database"]

ECHO_SECONDS: Final = 3.0


def look_at_database(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Everything beyond connection and schema version; the connection stays usable."""
    yield from _rights(connection)
    yield from look_at_session(connection)
    unread = []
    for name, look in (LOOKS | OWN).items():
        try:
            with limited(connection, LOOK_MILLISECONDS):
                found = list(look(connection))
            yield from found
        except psycopg.errors.QueryCanceled as error:
            yield bad(name, _what_hangs(error))
        except psycopg.errors.InsufficientPrivilege:
            unread.append(name)
        except psycopg.errors.ReadOnlySqlTransaction as error:
            yield bad(name, f"{error.diag.message_primary}: the database is read-only")
    if unread:  # passbell_daemon and passbell_web cannot read members, and need not
        yield note(
            "not looked at",
            f"{', '.join(unread)}: this role may not read them; run `passbell check` with the owner's URL once",
        )
    yield from _listen(settings, connection)


def _what_hangs(error: psycopg.errors.QueryCanceled) -> str:
    """The rule that was at work when the statement was cut."""
    rules = [
        rule
        for rule in re.findall(r'function "?([^\s"(]+)', error.diag.context or "")
        if not rule.startswith("passbell.")
    ]
    return (
        f"it did not end within {LOOK_MILLISECONDS // 1000} seconds: "
        + (f"the function {rules[0]} hangs" if rules else "a view, function or lock of the platform hangs")
        + ". What follows was looked at all the same"
    )


def _warnings(connection: Connection) -> Iterator[Finding]:
    """What migrate could not mend by itself, such as a lost UNIQUE on birthday_logs."""
    for row in connection.execute("select warning from passbell.migration_warnings()").fetchall():
        if row["warning"].startswith("Opt-outs cannot be read"):
            continue  # told already
        # The zone works, if not as meant; triggers may name their schemas, which only a campaign can tell.
        maybe = row["warning"].startswith(("The time zone", "Everybody may create"))
        yield (note if maybe else bad)("installation", row["warning"])


_RIGHTS: Final[LiteralString] = """
    select current_user as role,
           (select count(*) from pg_catalog.pg_proc p
             where p.pronamespace = 'passbell'::regnamespace
               and p.proname = any (case when current_user = 'passbell_web'
                                         then array['campaign_page', 'order_push', 'open_import', 'program_list']
                                         else array['claim_campaign', 'claim_chunk', 'finish_chunk', 'take_slots'] end)
               and not has_function_privilege(p.oid, 'execute')) as refused,
           exists (select from pg_catalog.pg_roles where rolname = 'service_role') as supabase,
           coalesce((select has_table_privilege(r.oid, 'public.push_campaigns', 'select, insert, update')
                       from pg_catalog.pg_roles r where r.rolname = 'service_role'), true) as server,
           (select c.relrowsecurity from pg_catalog.pg_class c
             where c.oid = 'public.push_campaigns'::regclass) as secured
"""


def _rights(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(_RIGHTS).fetchone() or {}
    wrong = []
    if row["refused"]:
        wrong.append(
            f"the role {row['role']} may not call passbell's functions: connect as the owner, or as passbell_daemon, "
            "which gets its rights when the owner runs `passbell migrate`"
        )
    if row["supabase"] and not row["server"]:
        wrong.append("service_role may not write push_campaigns: run `passbell migrate` as the owner")
    if not row["secured"]:
        wrong.append("row level security of push_campaigns is off: run `passbell migrate` as the owner")
    for detail in wrong:
        yield bad("rights", detail)
    if not wrong:
        yield good("rights", f"the role {row['role']} has what it needs")


def _listen(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Say something over one connection and hear whether it arrives over the other."""
    advice = "set PASSBELL_LISTEN_URL to a direct connection (port 5432); until then new campaigns are found by polling"
    try:
        with psycopg.connect(
            settings.listen_dsn, autocommit=True, prepare_threshold=None, connect_timeout=10
        ) as ear:
            ear.execute("listen passbell")
            connection.execute("select pg_notify('passbell', 'echo:check')")
            heard = any(echo.payload for echo in ear.notifies(timeout=ECHO_SECONDS, stop_after=1))
    except psycopg.Error as error:
        yield bad("notifications", f"PASSBELL_LISTEN_URL: {str(error).partition(chr(10))[0]}")
        return
    if heard:
        yield good("notifications", "LISTEN works: campaigns start at once")
    else:
        yield note("notifications", f"LISTEN hears nothing, as behind a transaction pooler: {advice}")


SHOWN: Final = 5
_ASIDE: Final = """
    select a.campaign_id, a.since, a.reason, c.name, count(*) over () as n
      from passbell.set_aside a
      left join public.push_campaigns c on c.id = a.campaign_id
     order by a.since, a.campaign_id
     limit %(most)s
"""


def _set_aside(connection: Connection) -> Iterator[Finding]:
    """Campaigns that the database's own rules do not let go on."""
    rows = connection.execute(_ASIDE, {"most": SHOWN}).fetchall()
    for row in rows:
        name = row["name"] or row["campaign_id"]
        yield bad("set aside", f'Campaign "{name}" cannot go on: {row["reason"]}')
    if rows and rows[0]["n"] > SHOWN:
        yield bad("set aside", f"and {rows[0]['n'] - SHOWN} more: see passbell.set_aside")


_OWED: Final = """
    select o.reason, count(*) over () as n from passbell.owed_logs o order by o.since desc limit 1
"""


def _owed_logs(connection: Connection) -> Iterator[Finding]:
    """Finished campaigns that notification_logs does not take."""
    for row in connection.execute(_OWED).fetchall():
        yield bad(
            "audit rows",
            f"{row['n']} finished campaigns are not in notification_logs; they follow by themselves when it "
            f"takes them. The last reason: {row['reason']}",
        )


_WORKERS: Final = """
    select count(*) filter (where heartbeat_at > clock_timestamp() - interval '30 seconds') as alive,
           count(distinct version) filter (where heartbeat_at > clock_timestamp() - interval '30 seconds') as versions
      from passbell.workers
"""


_SET_BACK: Final = """
    select clock_set_back_at at time zone 'UTC' as at, round(clock_set_back_seconds) as seconds from passbell.settings
     where clock_set_back_at between clock_timestamp() - interval '1 day' and clock_timestamp()
"""


def _database_clock(connection: Connection) -> Iterator[Finding]:
    """Whether the database's clock was set back within a day."""
    for row in connection.execute(_SET_BACK).fetchall():
        yield note(
            "database clock",
            f"it was set back by {row['seconds']:.0f} seconds at {row['at']:%Y-%m-%d %H:%M} UTC; "
            "sending went on. Look after the time service of the database's machine",
        )


def _workers(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(_WORKERS).fetchone() or {}
    if not row["alive"]:
        yield note("daemons", "none is running: start one with `passbell run`")
    elif row["versions"] > 1:
        yield note("daemons", f"{row['alive']} running, of different versions: restart the older ones")
    else:
        yield good("daemons", f"{row['alive']} running")


OWN: Final = {
    "installation": _warnings,
    "daemons": _workers,
    "database clock": _database_clock,
    "set aside": _set_aside,
    "audit rows": _owed_logs,
}
