from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import namedtuple_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

NUMBERS = itertools.count(1)

# An award function whose behaviour a table decides, member by member; it moves the balance as the host's does.
AWARD = """
create table public.award_trouble (external_id text primary key, kind text not null);
create function public.process_membership_transaction(p_external_id text, p_action text, p_amount integer)
returns jsonb language plpgsql as $$
declare
    v_kind text := (select kind from award_trouble where external_id = p_external_id);
begin
    if p_amount <= 0 then
        return jsonb_build_object('success', false, 'error', 'INVALID_AMOUNT');
    end if;
    insert into transactions (pass_id, value_change)
    select id, p_amount from passes_master where external_id = p_external_id;
    update protocol_membership set points_balance = points_balance + p_amount
     where pass_id = (select id from passes_master where external_id = p_external_id);
    case v_kind
        when 'refuses' then return jsonb_build_object('success', false, 'error', 'Till is closed');
        when 'raises' then raise exception 'division by the till';
        when 'hangs' then perform pg_sleep(600);
        else null;
    end case;
    return jsonb_build_object('success', true);
end $$;
"""


class Host:
    """The platform's tables as a test fills them, whatever their generation, with a clock that the test sets."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.connect(url, autocommit=True, row_factory=namedtuple_row)
        self._columns: dict[str, dict[str, str]] = {}

    def fetch(self, query: str, *values: object) -> list[Any]:
        if query.lstrip().lower().startswith(("alter", "create", "drop")):
            self._columns.clear()
        cursor = self.connection.execute(query, values)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *values: object) -> Any:
        return self.fetch(query, *values)[0][0]

    def clock(self, at: str) -> None:
        """Let the database's clock stand at this time for every new session and for this one."""
        self.connection.execute(
            sql.SQL("alter database {} set passbell.now = {}").format(
                sql.Identifier(self.connection.info.dbname), sql.Literal(at)
            )
        )
        self.fetch("select set_config('passbell.now', %s, false)", at)

    def _known(self, table: str) -> dict[str, str]:
        """The columns of a table and their types, looked up when it is filled first."""
        if table not in self._columns:
            self._columns[table] = {
                name: f"{schema}.{kind}"
                for name, schema, kind in self.connection.execute(
                    "select a.attname, n.nspname, t.typname from pg_attribute a join pg_type t on t.oid = a.atttypid"
                    " join pg_namespace n on n.oid = t.typnamespace where a.attrelid = %s::regclass and a.attnum > 0",
                    (f"public.{table}",),
                )
            }
        return self._columns[table]

    def insert(self, table: str, **values: object) -> UUID:
        """Insert a row of the columns that the table has; text becomes an enum where the host wants one."""
        known = self._known(table)
        names = [name for name in values if name in known]
        statement = sql.SQL("insert into public.{} ({}) values ({}) returning {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join(
                sql.SQL("%s::{}").format(sql.Identifier(*known[name].split("."))) for name in names
            ),
            sql.Identifier("id" if "id" in known else "pass_id"),
        )
        row = self.connection.execute(statement, [values[name] for name in names]).fetchone()
        assert row is not None
        first: UUID = row[0]
        return first

    def program(self, **columns: object) -> UUID:
        number = next(NUMBERS)
        defaults: dict[str, object] = {
            "name": f"Club {number}",
            "protocol": "MEMBERSHIP",
            "passkit_program_id": f"pk-program-{number}",
            "timezone": "UTC",
            "birthday_bot_enabled": True,
            "birthday_reward_points": 50,
            "birthday_message": "Happy Birthday {first_name}, you have {points} points.",
        }
        return self.insert("programs", **defaults | columns)

    def user(self, birth_date: date | str | None, **columns: object) -> UUID:
        number = next(NUMBERS)
        defaults = {
            "email": f"member{number}@example.com",
            "first_name": f"Ann{number}",
            "birth_date": birth_date,
        }
        return self.insert("users", **defaults | columns)

    def give_pass(self, program: UUID, user: UUID | None, **columns: object) -> UUID:
        """A pass on a phone, with 100 points."""
        number = next(NUMBERS)
        defaults: dict[str, object] = {
            "user_id": user,
            "program_id": program,
            "protocol": "MEMBERSHIP",
            "passkit_internal_id": f"pk-pass-{number}",
            "external_id": f"M{number:06}",
            "status": "INSTALLED",
            "is_active": True,
            "points_balance": 100,
        }
        pass_id = self.insert("passes_master", **defaults | columns)
        self.insert("protocol_membership", pass_id=pass_id, points_balance=100)
        return pass_id

    def member(self, program: UUID, birth_date: date | str | None, **user: object) -> UUID:
        """A person with one pass; returns the pass."""
        return self.give_pass(program, self.user(birth_date, **user))

    def members(self, program: UUID, birth_date: date | str, count: int) -> list[UUID]:
        return [self.member(program, birth_date) for _ in range(count)]

    def run(self, program: UUID | None = None, on: date | str | None = None) -> list[Any]:
        return self.fetch("select * from run_birthdays(%s, %s::date)", program, on)

    def today(self, program: UUID | None = None, on: date | str | None = None) -> list[Any]:
        return self.fetch("select * from get_birthdays_today(%s, %s::date)", program, on)

    def logs(self) -> list[Any]:
        return self.fetch(
            "select pass_id, year, local_date, points_awarded, message_sent from birthday_logs order by created_at"
        )

    def balance(self, pass_id: UUID) -> int:
        points: int = self.value("select points from passbell.recipients where pass_id = %s", pass_id)
        return points

    def greetings(self) -> list[Any]:
        """Everybody in the queue, with the campaign and what the phone will show."""
        return self.fetch(
            "select c.id, u.pass_id, k.not_before, c.status"
            "  from passbell.chunks k join push_campaigns c on c.id = k.campaign_id,"
            " unnest(k.pass_ids) as u (pass_id)"
        )

    def tricky_awards(self) -> None:
        """Replace the host's award function by one that fails as public.award_trouble says."""
        for (signature,) in self.fetch(
            "select oid::regprocedure::text from pg_proc where proname like 'process_membership_transaction%%'"
        ):
            self.fetch(f"drop function {signature} cascade")
        self.fetch(AWARD)
        self.fetch("select passbell.build_award_points()")

    def trouble(self, kind: str, *passes: UUID) -> None:
        self.fetch(
            "insert into public.award_trouble select external_id, %s from passes_master where id = any (%s)",
            kind,
            list(passes),
        )

    def send_all(self, outcome: str = "sent") -> int:
        """Send every greeting that may go now, as a daemon would; returns how many."""
        sent = 0
        worker = uuid4()
        while chunks := self.fetch("select * from passbell.claim_chunk(%s)", worker):
            chunk = chunks[0]
            self.fetch(
                "select * from passbell.finish_chunk(%s, %s, %s, %s::uuid[], %s::text[])",
                chunk.campaign_id,
                chunk.chunk_no,
                chunk.claim_token,
                chunk.pass_ids,
                [outcome] * len(chunk.pass_ids),
            )
            sent += len(chunk.pass_ids)
        return sent

    def violations(self) -> list[Any]:
        return self.fetch("select * from passbell.check_conservation()")

    @contextmanager
    def another(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.url, autocommit=True, row_factory=namedtuple_row) as connection:
            yield connection

    # -- what a daemon does, one call at a time ------------------------------------------------------------------

    def claim(self, worker: UUID) -> Any:
        rows = self.fetch("select * from passbell.claim_birthday_run(%s)", worker)
        return rows[0] if rows else None

    def batch(self, run: Any, worker: UUID, limit: int = 50) -> Any:
        return self.fetch(
            "select * from passbell.gift_batch(%s, %s, %s, %s)", run.program_id, run.local_date, worker, limit
        )[0]

    def finish(self, run: Any, worker: UUID) -> Any:
        return self.fetch(
            "select * from passbell.finish_birthday_run(%s, %s, %s)", run.program_id, run.local_date, worker
        )[0]

    def work_off(self, worker: UUID) -> list[date]:
        """All that is due; returns the local dates."""
        dates = []
        while (run := self.claim(worker)) is not None:
            while self.batch(run, worker).remaining:
                pass
            self.finish(run, worker)
            dates.append(run.local_date)
        return dates


class MakeHost(Protocol):
    def __call__(self, generation: Any = "2") -> Host: ...


@pytest.fixture
def make_host(database: Any) -> Iterator[MakeHost]:
    hosts: list[Host] = []

    def make(generation: Any = "2") -> Host:
        host = Host(database(generation))
        hosts.append(host)
        return host

    yield make
    for host in hosts:
        host.connection.close()


@pytest.fixture
def host(make_host: MakeHost, generation: Any) -> Host:
    """The platform's tables in each generation, the clock at noon of 5 May 2026 (UTC)."""
    host = make_host(generation)
    host.clock("2026-05-05 12:00:00+00")
    return host


@pytest.fixture
def modern(make_host: MakeHost) -> Host:
    """Generation 2 only, for what does not touch the host's columns."""
    host = make_host("2")
    host.clock("2026-05-05 12:00:00+00")
    return host
