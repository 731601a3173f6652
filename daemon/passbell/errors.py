"""Every error that passbell raises on purpose, and what to do about each.

    PassbellError                       exit 1  say the sentence and stop
    ├── ConfigurationError              exit 2  end the process; a restart would not help
    ├── SchemaBehind                    exit 3  end the process; `passbell migrate` first
    ├── SchemaTooNew                    exit 4  end the process; a newer passbell has migrated the database
    ├── DatabaseUnavailable             exit 1  retry with backoff; the daemon keeps its process
    ├── DatabaseRefused                 exit 1  only this work item is affected: say so, leave it for a while, go on
    ├── LeaseLost                       exit 1  drop the chunk; another worker holds it now
    └── CampaignError                   exit 1  tell the person who asked; SQLSTATE PB4xx, nothing was changed

Modules with an error of their own derive it from one of these. What PassKit answers is no exception but a
value, `passkit.answers.Verdict`: it fails one pass or pauses one account, never a process.

A message is one plain sentence for a person and never holds a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import psycopg

__all__ = [
    "CampaignError",
    "ConfigurationError",
    "DatabaseRefused",
    "DatabaseUnavailable",
    "LeaseLost",
    "PassbellError",
    "SchemaBehind",
    "SchemaTooNew",
    "from_database",
]


class PassbellError(Exception):
    """The root: one plain sentence, and the exit code of a command that ends with it."""

    exit_code: ClassVar[int] = 1


class ConfigurationError(PassbellError):
    """A setting is missing or wrong: end the process. One line per problem."""

    exit_code = 2


class SchemaBehind(PassbellError):
    """The database lacks migrations that this program needs: end the process, run `passbell migrate`."""

    exit_code = 3


class SchemaTooNew(PassbellError):
    """A newer passbell has migrated the database: end the process, update the program."""

    exit_code = 4


class DatabaseUnavailable(PassbellError):
    """No connection, or it was cut: retry with backoff.

    Attributes:
        timed_out: the connection was there, but the call took longer than its deadline.
    """

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class DatabaseRefused(PassbellError):
    """The server refused the call for a reason of its own: a rule of the host, a missing right, a value.

    Only the work item of the call is affected. The daemon leaves it for a growing pause and goes on with others; the
    same call is never repeated without a pause.
    """

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class LeaseLost(PassbellError):
    """Another worker holds the chunk by now: drop it; nothing of this call was written."""


class CampaignError(PassbellError):
    """The database refused an order by one of its own rules: tell the person; nothing was changed.

    Attributes:
        sqlstate: five characters, `PB4xx`; the last three follow the HTTP status with the same meaning
            (PB400 the request, PB403 not your program, PB404 unknown, PB409 the audience moved, PB410 a
            time that is over, PB422 an illegal edge, PB423 a suspended program).
    """

    def __init__(self, message: str, sqlstate: str = "PB400") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


# SQLSTATEs that mean "the server is not there for us just now": connection exceptions (class 08), shutdown
# and start-up (57P0x), out of connections (53300), a transaction whose client was silent for too long (25P03).
# psycopg itself sets none when it cannot connect at all.
_GONE = ("08", "57P", "53300", "25P03")
# Deadlock and serialization (40), out of disk or memory (53), cancelled by an administrator or a time-out (57014), lock
# time-out (55P03), failure of a disk (58), read-only as a failover's standby is (25006): the transaction was rolled
# back and may be tried again.
_PASSING = ("40", "53", "57014", "55P03", "58", "25006")


# Parts of libpq's, the server's and Supavisor's words, and what an operator can do. The first that fits counts.
_REMEDIES = (
    (
        "password authentication failed",
        "correct user or password in the database URL (`@ : / ? #` percent-encoded)",
    ),
    (
        "Tenant or user not found",
        "through Supabase's pooler the user is postgres.<project>, and the region must fit",
    ),
    (
        "invalid response to SSL negotiation",
        "no PostgreSQL answers there: correct the port in the database URL",
    ),
    ("server does not support SSL", "leave sslmode out of the database URL, or switch SSL on in the server"),
    ("no pg_hba.conf entry", "allow this machine, user and database in the server's pg_hba.conf"),
    ("Connection refused", "start PostgreSQL there, or correct host and port in the database URL"),
    ("resolve host", "correct the host in the database URL, or look at this machine's network"),
    ("translate host name", "correct the host in the database URL, or look at this machine's network"),
    (
        "is unreachable",
        "look at the network; Supabase's direct address needs IPv6, its session pooler does not",
    ),
    ("timeout expired", "look for a firewall, or correct host and port in the database URL"),
    ("connection slots", "close connections, raise the server's max_connections, or use a pooler"),
    ("too many c", "close connections, raise the server's max_connections, or use a pooler"),
    ("read-only transaction", "give the primary's address, and a role without default_transaction_read_only"),
)
_NO_DATABASE = re.compile(r'(database|role) "[^"]*" does not exist')


# What psycopg raises without having asked the server, for a value that it cannot write down.
_NOT_SENT = {"DataError", "ProgrammingError", "NotSupportedError"}
# No such schema, table, function. Where the name is one of ours, `passbell migrate` is missing; the daemon compares the
# versions before it believes that, because a function of the host may have been dropped from under one of our views.
_UNDEFINED = {"3F000", "42P01", "42883"}
_OURS = re.compile(r"\b(passbell|push_\w+|member_imports|get_birthdays_today|run_birthdays)\b")


def from_database(error: psycopg.Error | UnicodeError) -> PassbellError:
    """Translate a driver error into ours: the one place where that happens.

    The server's own message is kept for PB4xx, because our SQL functions write it for people. Everything
    else is shortened to its first line: DETAIL lines may quote a member's data.
    """
    if isinstance(error, UnicodeError) or (type(error).__name__ in _NOT_SENT and error.sqlstate is None):
        return DatabaseRefused(f"The call could not be sent to the database ({_first_line(error)}).")
    sqlstate = error.sqlstate
    message = (error.diag.message_primary or "").strip() or _first_line(error)
    if sqlstate is None or sqlstate.startswith((*_GONE, *_PASSING)):
        passing = sqlstate is not None and sqlstate.startswith(_PASSING) and sqlstate not in _GONE
        trouble = f"could not do it just now ({sqlstate})" if passing else "cannot be reached"
        return DatabaseUnavailable(f"The database {trouble}: {message}{_remedy(str(error))}")
    if sqlstate.startswith("PB4"):
        return LeaseLost(message) if sqlstate == "PB412" else CampaignError(message, sqlstate)
    if sqlstate in _UNDEFINED and _OURS.search(message):
        return SchemaBehind(f"The database is not ready ({message}): run `passbell migrate`.")
    if sqlstate == "42501":
        return DatabaseRefused(
            f"The role of the database URL may not do this ({message}): connect as the owner of the tables, or "
            "as one of passbell's own roles, which get their rights when the owner runs `passbell migrate`.",
            sqlstate,
        )
    return DatabaseRefused(f"The database refused the call ({sqlstate}): {message}", sqlstate)


def _remedy(words: str) -> str:
    """Return what to do about a connection that fails; empty if the words are not among `_REMEDIES`."""
    if missing := _NO_DATABASE.search(words):
        return f"; correct the {missing[1].replace('role', 'user')} in the database URL"
    return next((f"; {remedy}" for part, remedy in _REMEDIES if part in words), "")


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
