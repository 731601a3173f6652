"""Everything the show needs, brought up from nothing and taken down again: database, PassKit, list, daemon.

Only PassKit and the phones are not the real ones. The daemon is `passbell run` as a process. The platform's tables are
those of its newest generation; the schema is what `passbell migrate` installs.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from psycopg.rows import dict_row

from passbell.database.bundle import sql_root
from passbell.database.migrate import migrate
from passbell.devkit.demo.children import Child
from passbell.devkit.demo.members import DEMO_PROGRAMS, PassKitRecord, passkit_records, populate
from passbell.devkit.demo.stock import bring_in
from passbell.devkit.postgres import EmbeddedPostgres
from passbell.devkit.sandbox.remote import Remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from uuid import UUID

__all__ = ["Row", "Stage"]

Row = dict[str, Any]

GENERATION: Final = "4"
LIST_PATH: Final = "/guests.csv"
BIRTHDAYS: Final = 12
"""The least number of members who have their birthday today."""
UNKNOWN: Final = ("VIP-GUEST", "tbc", "4711", "see next sheet", "N0RTH-17", "old card", "0")
WALLET_TOKEN: Final = "sandbox-token"  # noqa: S105 - the sandbox's own, made up

# The platform gives no birthday gifts until they are switched on; the show does that.
PREPARE_BIRTHDAYS: Final = """
with chosen as (
    select distinct on (p.user_id) p.user_id
      from passes_master p join users u on u.id = p.user_id
     where p.program_id = %(program)s and p.status = 'INSTALLED' and p.is_active
       and p.passkit_internal_id is not null and u.marketing_opt_in is not false
     order by p.user_id
     limit %(count)s
), switched as (
    update programs set birthday_bot_enabled = false where birthday_bot_enabled
)
update users u
   set birth_date = (now() at time zone 'America/New_York')::date
                    - make_interval(years => 24 + 4 * (ascii(u.first_name) %% 8))
  from chosen c where u.id = c.user_id
"""
# The guest list: ticket holders as they come, on a phone or not, opted out or not.
GUESTS: Final = """
select external_id from passes_master where program_id = %s order by external_id limit (select count(*) / 2
  from passes_master where program_id = %s)
"""


def as_excel_saves_it(ids: Sequence[str]) -> bytes:
    """Return a CSV as a European Excel writes it: byte order mark, semicolons, padded headers."""
    lines = ["Guest ; Member ID ; Table", *(f"{n};{member};{1 + n % 40}" for n, member in enumerate(ids, 1))]
    return "\r\n".join([*lines, ""]).encode("utf-8-sig")


@contextmanager
def list_server(content: bytes) -> Iterator[str]:
    """The guest list behind a link, as it is pasted into a form; yields the link, on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == LIST_PATH
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/csv")
            self.send_header("Content-Length", str(len(content) if found else 0))
            self.end_headers()
            if found:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: the screen belongs to the show."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}{LIST_PATH}"
        finally:
            server.shutdown()


class Stage:
    """Context manager around the whole set; `daemon` is started with `start_daemon`, once the pace is known.

    Args:
        passes: how many passes there are, over all programs.
        say: told in one line what has just been done.
    """

    def __init__(self, passes: int, say: Callable[[str], None]) -> None:
        self._passes = passes
        self._say = say
        self._stack = ExitStack()
        self.programs: dict[str, UUID] = {}
        self.records: dict[str, PassKitRecord] = {}
        """What PassKit holds at the beginning, by its id."""
        self.rate = 0.0

    def __enter__(self) -> Self:
        try:
            self._bring_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _bring_up(self) -> None:
        begun = time.monotonic()
        self.postgres = self._stack.enter_context(EmbeddedPostgres(durable=False))
        folder = self.postgres.directory
        sandbox = Child(folder, "sandbox", "--port", "0")
        self._stack.callback(sandbox.stop)
        sandbox.start()  # gets ready while the members are being drawn
        self.url = self.postgres.url()
        self.database: psycopg.Connection[Row] = self._stack.enter_context(
            psycopg.connect(self.url, autocommit=True, row_factory=dict_row)
        )
        self._say(f"PostgreSQL {self.postgres.version}, private and temporary ({_took(begun)})")

        begun = time.monotonic()
        self.database.execute((sql_root() / "host" / f"generation_{GENERATION}.sql").read_bytes())
        with psycopg.connect(self.url) as plain:
            self.programs = populate(plain, GENERATION, passes=self._passes)
            plain.commit()
            plain.execute(PREPARE_BIRTHDAYS, {"program": self.club, "count": BIRTHDAYS})
            plain.commit()
            self.records = {record.passkit_id: record for record in passkit_records(plain)}
        self._say(
            f"{self._passes:,} passes in {len(self.programs)} programs of a loyalty platform ({_took(begun)})"
        )

        begun = time.monotonic()
        report = migrate(self.url)
        self._say(
            f"passbell migrate: schema version {report.after} beside the platform's tables ({_took(begun)})"
        )

        begun = time.monotonic()
        self.passkit_url = sandbox.wait_for(lambda: _address(sandbox.output), "its address")
        self.sandbox = self._stack.enter_context(Remote(self.passkit_url))
        bring_in(self.sandbox, self.records.values())
        phones = sum(record.installed for record in self.records.values())
        self._say(f"a local PassKit with {phones:,} phones that carry a pass ({_took(begun)})")

        festival = self.programs[DEMO_PROGRAMS[2].name]
        guests = [row["external_id"] for row in self.database.execute(GUESTS, (festival, festival))]
        self.guests = [*guests, *UNKNOWN, *guests[:3]]
        self.list_url = self._stack.enter_context(list_server(as_excel_saves_it(self.guests)))
        self.daemon = Child(folder, "run", settings={})
        self._stack.callback(self.stop_daemon)

    @property
    def club(self) -> UUID:
        """The program of members with points."""
        return self.programs[DEMO_PROGRAMS[0].name]

    @property
    def deli(self) -> UUID:
        """The program of coupons."""
        return self.programs[DEMO_PROGRAMS[1].name]

    @property
    def festival(self) -> UUID:
        """The program of tickets."""
        return self.programs[DEMO_PROGRAMS[2].name]

    def start_daemon(self, rate: float) -> None:
        """Start `passbell run`, at `rate` calls per second, and wait until it has registered."""
        self.rate = rate
        self.daemon = Child(
            self.postgres.directory,
            "run",
            settings={
                "PASSBELL_DATABASE_URL": self.url,
                "PASSBELL_PASSKIT_URL": self.passkit_url,
                "PASSBELL_PASSKIT_API_KEY": "sandbox-key",
                "PASSBELL_PASSKIT_API_SECRET": "sandbox-secret",
                "PASSBELL_RATE_PER_SECOND": f"{rate:g}",
                "PASSBELL_CHUNK_SIZE": str(max(10, min(200, round(rate / 4)))),
                # Where a killed daemon cannot be seen (no /proc), its leases run out after this.
                "PASSBELL_LEASE_SECONDS": "10",
                "PASSBELL_REQUEST_TIMEOUT": "5",
                "PASSBELL_CSV_ALLOW_PRIVATE": "true",
                "PASSBELL_METRICS_PORT": "0",
                "PASSBELL_LOG_FORMAT": "json",
            },
        )
        self.daemon.start()
        self.daemon.wait_for(self._registered, "its row in passbell.workers")

    def stop_daemon(self) -> None:
        """Stop the daemon as systemd would."""
        self.daemon.stop()

    def _registered(self) -> str | None:
        row = self.database.execute(
            "select id from passbell.workers where pid = %s", (self.daemon.pid,)
        ).fetchone()
        return None if row is None else str(row["id"])


def _address(output: str) -> str | None:
    found = re.search(r"sandbox listening on (http://\S+)", output)
    return None if found is None else found[1]


def _took(begun: float) -> str:
    return f"{time.monotonic() - begun:.1f} s"
