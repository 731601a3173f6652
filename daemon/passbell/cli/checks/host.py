"""What `passbell check` looks at in the database, one question each: what was found, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, LiteralString

import psycopg

from passbell.cli.database import LOOK_MILLISECONDS, limited
from passbell.cli.finding import Finding
from passbell.cli.findings_session import look_at_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passbell.cli.database import Connection
    from passbell.settings import Settings

__all__ = ["look_at_database"]

ECHO_SECONDS: Final = 3.0


def look_at_database(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Everything beyond connection and schema version; the connection stays usable."""
    yield from _rights(connection)
    yield from look_at_session(connection)
    unread = []
    for name, look in (
        ("host hangs", _hangs),
        ("host tables", _host),
        ("host columns", _columns),
        ("host sources", _sources),
        ("opt-outs", _consent),
        ("awards", _awards),
        ("installation", _warnings),
        ("daemons", _workers),
        ("database clock", _database_clock),
        ("set aside", _set_aside),
        ("audit rows", _owed_logs),
    ):
        try:
            with limited(connection, LOOK_MILLISECONDS):
                found = list(look(connection))
            yield from found
        except psycopg.errors.QueryCanceled as error:
            yield Finding(name, ok=False, detail=_what_hangs(error))
        except psycopg.errors.InsufficientPrivilege:
            unread.append(name)
        except psycopg.errors.ReadOnlySqlTransaction as error:
            yield Finding(name, ok=False, detail=f"{error.diag.message_primary}: the database is read-only")
    if unread:  # passbell_daemon and passbell_web cannot read members, and need not
        yield Finding(
            "not looked at",
            ok=None,
            detail=f"{', '.join(unread)}: this role may not read them; run `passbell check` with the owner's URL once",
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


_HANGS: Final = """
    select h.reason from passbell.host_hangs h
    union all
    select format('Program %s cannot be read in time since %s; nothing of it is sent.',
                  coalesce(p.name, p.program_id::text),
                  to_char(p.hangs_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'))
      from passbell.program_copies p where p.hangs_since is not null
    order by 1
    limit 6
"""


def _hangs(connection: Connection) -> Iterator[Finding]:
    """What the daemons could not read in time where they choose work."""
    for row in connection.execute(_HANGS).fetchall():
        yield Finding("host hangs", ok=False, detail=row["reason"])


_COUNTS: Final = """
    select (select count(*) from passbell.programs) as programs,
           count(*) as passes,
           count(*) filter (where reachable) as reachable,
           count(*) filter (where reachable and not opted_in) as opted_out,
           count(*) filter (where reachable and passkit_program_id is null) as unprovisioned
      from passbell.recipients
"""


def _host(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(_COUNTS).fetchone() or {}
    detail = (
        f"{row['programs']:,} programs, {row['passes']:,} passes, {row['reachable']:,} in a wallet, "
        f"{row['opted_out']:,} of them opted out"
    )
    if not row["reachable"]:
        detail += "; no member can be reached. Is this the platform's database, and have its passes status INSTALLED?"
    yield Finding("host tables", ok=True if row["reachable"] else None, detail=detail)
    if row["unprovisioned"]:
        yield Finding(
            "host tables",
            ok=None,
            detail=f"{row['unprovisioned']:,} passes belong to programs without a PassKit program id: they wait until "
            "programs.passkit_program_id is filled in",
        )


# Host column → what its absence means. Tables that are missing altogether are told once.
_MEANING: Final = {
    "programs.passkit_program_id": "nothing can be sent: fill it with PassKit's id of each program",
    "programs.is_suspended": "there is no kill switch per program",
    "programs.timezone": "quiet hours and birthdays use America/New_York",
    "passes_master.passkit_internal_id": "no pass counts as being in a wallet",
    "passes_master.external_id": "lists and tests cannot name members",
    "passes_master.user_id": "names, birthdays and opt-outs of users are not known",
    "passes_master.is_active": "every installed pass counts as active",
    "passes_master.status": "no pass counts as being in a wallet",
    "passes_master.points_balance": "{points} and WHALE read protocol_membership.points_balance",
    "passes_master.last_updated": "SLUMBER matches no member",
    "users.birth_date": "there are no birthdays",
    "users.marketing_opt_in": "every member counts as opted in",
    "users.zip": "LOCAL matches no member",
    "users.city": "CITY matches no member",
    "protocol_membership.tier_points": "VIP and TIER count the balance",
    "protocol_coupon.expiry_date": "EXPIRING matches no member",
    "protocol_event_ticket.checked_in_at": "CHECKED_IN matches no member",
}
_MISSING: Final = """
    select split_part(w.name, '.', 1) as relation, w.name,
           to_regclass('public.' || split_part(w.name, '.', 1)) is not null as there
      from unnest(%(names)s::text[]) as w (name)
     where not exists (select from pg_catalog.pg_attribute a
                        where a.attrelid = to_regclass('public.' || split_part(w.name, '.', 1))
                          and a.attname = split_part(w.name, '.', 2) and a.attnum > 0 and not a.attisdropped)
"""

_DEFAULT_STATUS: Final = """
    select upper((regexp_match(pg_get_expr(d.adbin, d.adrelid), '^''(\\w+)'''))[1]) as word
      from pg_catalog.pg_attribute a
      join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where a.attrelid = 'public.push_campaigns'::regclass and a.attname = 'status'
"""


def _columns(connection: Connection) -> Iterator[Finding]:
    own = connection.execute(
        "select coalesce(obj_description(to_regclass('passbell.recipients'), 'pg_class'), '')"
        " not like 'generated by passbell %%' as own"
    ).fetchone()
    if own and own["own"]:
        yield Finding(
            "host columns",
            ok=None,
            detail="passbell.recipients is a view of your own; migrate leaves it alone",
        )
        return
    rows = connection.execute(_MISSING, {"names": list(_MEANING)}).fetchall()
    for relation in sorted({row["relation"] for row in rows if not row["there"]}):
        yield Finding(
            "host columns",
            ok=None,
            detail=f"there is no table public.{relation}; what it would say is taken as unknown",
        )
    for row in rows:
        if row["there"]:
            yield Finding(
                "host columns", ok=None, detail=f"{row['name']} is missing: {_MEANING[row['name']]}"
            )
    if not rows:
        yield Finding("host columns", ok=True, detail="every column that passbell can use is there")
    default = connection.execute(_DEFAULT_STATUS).fetchone()
    if default and default["word"] not in {None, "PENDING"}:
        yield Finding(
            "host columns",
            ok=None,
            detail=f"an order without a status is {default['word']} here, by the platform's own default on "
            "push_campaigns.status. To send such orders at once, run `alter table public.push_campaigns alter column "
            "status set default 'PENDING'`",
        )


_INSTEAD: Final = {
    "tier points": "{:,} have no row in protocol_membership: the balance counts",
    "last activity": "of {:,} no visit is recorded: last_updated counts",
}


def _sources(connection: Connection) -> Iterator[Finding]:
    """Which columns points, tiers and activity come from, and for how many members they say nothing."""
    for row in connection.execute("select * from passbell.host_sources()").fetchall():
        if row["what"] == "unreadable":
            if row["unreadable"]:
                detail = (
                    f"{row['unreadable']:,} of {row['members']:,} values in {row['source']} cannot be read: they are "
                    "unknown"
                )
                yield Finding("host sources", ok=None, detail=detail)
            continue
        parts = [f"{row['what']} of {row['members']:,} members: {row['source']}"]
        if row["instead"] and row["what"] in _INSTEAD:
            parts.append(_INSTEAD[row["what"]].format(row["instead"]))
        if row["missing"]:
            parts.append(f"unknown for {row['missing']:,}")
        yield Finding("host sources", ok=True, detail="; ".join(parts))


_CONSENT: Final = """
    select passbell.consent_trouble() as trouble,
           (select count(*) from passbell.programs g where g.push_consent = 'OPT_IN') as strict
"""


def _consent(connection: Connection) -> Iterator[Finding]:
    """Can it be read who opted out? Nothing is sent while it cannot."""
    row = connection.execute(_CONSENT).fetchone() or {}
    if row["trouble"]:
        yield Finding("opt-outs", ok=False, detail=row["trouble"])
    else:
        yield Finding("opt-outs", ok=True, detail="who opted out can be read")
    if row["strict"]:
        yield Finding(
            "opt-outs",
            ok=None,
            detail=f"{row['strict']:,} programs want an explicit yes (push_consent OPT_IN), but a TRUE in "
            "users.marketing_opt_in may be no answer: the column's own default is TRUE",
        )


def _awards(connection: Connection) -> Iterator[Finding]:
    """Which award function of the platform works: each is tried with one point that is taken back at once."""
    rows = connection.execute(
        "select signature, works, detail from passbell.award_trial() order by place"
    ).fetchall()
    if not rows:
        yield Finding(
            "awards",
            ok=None,
            detail="there is no process_membership_transaction: birthday gifts cannot carry points",
        )
        return
    best = rows[0]
    if best["works"]:
        yield Finding(
            "awards", ok=True, detail=f"{best['signature']} works: a point was given and taken back"
        )
    elif best["works"] is None:
        yield Finding("awards", ok=None, detail=f"{best['signature']} is used; {best['detail']}")
    for row in rows:
        if row["works"] is False:
            yield Finding(
                "awards",
                ok=None if best["works"] is not False else False,
                detail=f"{row['signature']} is broken and is not used: {row['detail']}"
                if best["works"] is not False
                else f"{row['signature']} is broken, so that no gift with points can be given: {row['detail']}",
            )


def _warnings(connection: Connection) -> Iterator[Finding]:
    """What migrate could not mend by itself, such as a lost UNIQUE on birthday_logs."""
    for row in connection.execute("select warning from passbell.migration_warnings()").fetchall():
        if row["warning"].startswith("Opt-outs cannot be read"):
            continue  # told already
        # The zone works, if not as meant; triggers may name their schemas, which only a campaign can tell.
        maybe = row["warning"].startswith(("The time zone", "Everybody may create"))
        yield Finding("installation", ok=None if maybe else False, detail=row["warning"])


_RIGHTS: Final[LiteralString] = """
    select current_user as role,
           has_table_privilege('passbell.chunks', 'update') as owner,
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
        yield Finding("rights", ok=False, detail=detail)
    if not wrong:
        yield Finding("rights", ok=True, detail=f"the role {row['role']} has what it needs")


def _listen(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Say something over one connection and hear whether it arrives over the other."""
    advice = "set PASSBELL_LISTEN_URL to a direct connection (port 5432); until then new campaigns are found by polling"
    try:
        with psycopg.connect(
            settings.listen_dsn, autocommit=True, prepare_threshold=None, connect_timeout=10
        ) as ear:
            ear.execute("listen passbell")
            connection.execute("select pg_notify('passbell', 'echo:check')")
            heard = any(True for note in ear.notifies(timeout=ECHO_SECONDS, stop_after=1) if note.payload)
    except psycopg.Error as error:
        yield Finding(
            "notifications", ok=False, detail=f"PASSBELL_LISTEN_URL: {str(error).partition(chr(10))[0]}"
        )
        return
    if heard:
        yield Finding("notifications", ok=True, detail="LISTEN works: campaigns start at once")
    else:
        yield Finding(
            "notifications", ok=None, detail=f"LISTEN hears nothing, as behind a transaction pooler: {advice}"
        )


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
        yield Finding("set aside", ok=False, detail=f'Campaign "{name}" cannot go on: {row["reason"]}')
    if rows and rows[0]["n"] > SHOWN:
        yield Finding(
            "set aside", ok=False, detail=f"and {rows[0]['n'] - SHOWN} more: see passbell.set_aside"
        )


_OWED: Final = """
    select o.reason, count(*) over () as n from passbell.owed_logs o order by o.since desc limit 1
"""


def _owed_logs(connection: Connection) -> Iterator[Finding]:
    """Finished campaigns that notification_logs does not take."""
    for row in connection.execute(_OWED).fetchall():
        yield Finding(
            "audit rows",
            ok=False,
            detail=f"{row['n']} finished campaigns are not in notification_logs; they follow by themselves when it "
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
        yield Finding(
            "database clock",
            ok=None,
            detail=f"it was set back by {row['seconds']:.0f} seconds at {row['at']:%Y-%m-%d %H:%M} UTC; "
            "sending went on. Look after the time service of the database's machine",
        )


def _workers(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(_WORKERS).fetchone() or {}
    if not row["alive"]:
        yield Finding("daemons", ok=None, detail="none is running: start one with `passbell run`")
    elif row["versions"] > 1:
        yield Finding(
            "daemons",
            ok=None,
            detail=f"{row['alive']} running, of different versions: restart the older ones",
        )
    else:
        yield Finding("daemons", ok=True, detail=f"{row['alive']} running")
