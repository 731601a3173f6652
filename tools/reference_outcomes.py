"""docs/reference/outcomes.md: the closed lists that people meet, values from constraints and code, words from here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from passbell import errors
from passbell.database.bundle import sql_root
from reference_markdown import WRITTEN, fetch, pairs, same, table

if TYPE_CHECKING:
    import psycopg

__all__ = ["outcomes_page"]

LEDGER = "passbell.deliveries"
STATUSES = {
    "push_campaigns": {
        "DRAFT": "Kept back by a person; it is not sent.",
        "PENDING": "Waits for its time, then for a daemon.",
        "PROCESSING": "The audience is frozen and is being sent.",
        "PAUSED": "Paused by a person or by passbell itself; `status_detail` says why. Set PENDING to go on.",
        "COMPLETED": "Every recipient has an outcome.",
        "FAILED": "The order could not be carried out; nothing was sent. `status_detail` says why.",
        "CANCELLED": "Ended by a person; what was not sent is `skipped`, `cancelled`.",
    },
    "member_imports": {
        "PENDING": "Waits for a daemon.",
        "PROCESSING": "Being read, then applied a thousand rows at a time.",
        "COMPLETED": "Every row is decided.",
        "FAILED": "The file could not be downloaded or read; nothing was changed. `status_detail` says why.",
        "CANCELLED": "Ended by a person; what was applied stays.",
    },
}
REASONS = {
    "not_installed": ("skipped", "The pass is not in a wallet, or not any more."),
    "opted_out": ("skipped", "The member wants no messages."),
    "capped": ("skipped", "The pass got its messages for 24 hours (`PASSBELL_DAILY_CAP`)."),
    "too_often": ("skipped", "The program's own limit (`push_max` in `push_max_days`, `push_min_hours`)."),
    "suppressed": ("skipped", "The member has a row in `push_suppressions`."),
    "held_out": ("skipped", "Held back by lot, to learn what the message brings (`holdout_percent`)."),
    "same_text": ("skipped", "The pass shows this text already (`PASSBELL_SAME_TEXT=skip`)."),
    "unknown_member": ("skipped", "The pass is gone from the platform's tables."),
    "duplicate": (
        "skipped",
        "passbell does not write it: a member listed twice is one recipient; list_entries has the second row.",
    ),
    "cancelled": ("skipped", "The campaign was cancelled before its turn."),
    "render_error": ("failed", "A placeholder of the member's text could not be filled in."),
    "not_found": ("failed", "PassKit knows no such record (404)."),
    "rejected": (
        "failed",
        "PassKit refused the request (400, 409, 501), or passbell did not make it; `detail` says why.",
    ),
    "attempts_exhausted": (
        "failed",
        "Every try failed (`PASSBELL_MAX_ATTEMPTS`), or a newer campaign has overtaken it.",
    ),
}
LIST_REASONS = {
    "unknown_member": "No member of this program has this id.",
    "other_program": "The id belongs to another program.",
    "duplicate": "An earlier row names the same pass.",
    "not_installed": "The pass is not in a wallet.",
    "opted_out": "The member wants no messages.",
    "unusable": "The row holds no id; `detail` says why.",
}
IMPORT_RESULTS = {
    "created": "The member was created.",
    "updated": "A value of the member changed.",
    "linked": "The member did not change and got a pass.",
    "unchanged": "The row changed nothing.",
    "rejected": "The row was not taken; its problems say why.",
}
EXIT_CODES = {
    0: "Done; of `run` and `web`: a clean stop.",
    1: "It did not work; something was found (`check`, `verify`, rejected rows of `import`); a loop of `run` ended.",
    2: "A setting or an argument is wrong or missing. A restart does not help.",
    3: "The database needs `passbell migrate`.",
    4: "The database was migrated by a newer passbell. A restart does not help.",
    130: "Ctrl-C.",
}
SQLSTATES = {
    "PB400": "The request is wrong: a message, target, time or id that cannot be used.",
    "PB403": "The program is not yours, or only servers may do this.",
    "PB404": "There is no such program, campaign, pass or import.",
    "PB409": "The audience has changed since the preview; DETAIL is the new number.",
    "PB410": "The time to send at is more than a minute in the past.",
    "PB412": "The lease is lost: another daemon has the chunk. Only daemons get it.",
    "PB422": "That step is not allowed from the present status.",
    "PB423": "The program is suspended: nothing may be ordered.",
}


def outcomes_page(connection: psycopg.Connection[Any]) -> str:
    """Every closed list that people meet."""
    parts = ["# Statuses, reasons, codes", WRITTEN.format("constraints of the schema and the code")]
    for relation, meanings in STATUSES.items():
        values = allowed(connection, f"public.{relation}", "status")
        parts += [f"## {relation}.status", pairs(("status", "meaning"), values, meanings)]
    reasons = allowed(connection, LEDGER, "reason")
    same(set(reasons), set(REASONS), "deliveries.reason")
    parts += [
        "## deliveries.reason",
        "A `sent` row has no reason. `push_retry_failed` tries `failed` passes again.",
        table(
            ("reason", "outcome", "meaning"),
            ((f"`{reason}`", f"`{REASONS[reason][0]}`", REASONS[reason][1]) for reason in reasons),
        ),
        "## list_entries.reason",
        "Rows of a hit list that reach no member (`public.push_list_problems`).",
        pairs(("reason", "meaning"), allowed(connection, "passbell.list_entries", "reason"), LIST_REASONS),
        "## import_rows.result",
        "Rows of a member import (`public.member_import_rows`).",
        pairs(("result", "meaning"), allowed(connection, "passbell.import_rows", "result"), IMPORT_RESULTS),
        "## Exit codes",
        pairs(("code", "meaning"), sorted({0, 130, *exit_codes()}), EXIT_CODES),
        "## SQLSTATEs",
        "What the functions raise; the last three digits are those of the HTTP status with the same meaning.",
        pairs(("SQLSTATE", "meaning"), raised(), SQLSTATES),
    ]
    return "\n\n".join(parts) + "\n"


def allowed(connection: psycopg.Connection[Any], relation: str, column: str) -> list[str]:
    """Return the values that a check constraint allows, in its order."""
    query = """
        select pg_get_constraintdef(c.oid) as rule
          from pg_constraint c
          join pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
         where c.contype = 'c' and c.conrelid = %s::regclass and a.attname = %s
    """
    (row,) = fetch(connection, query, [relation, column])
    return re.findall(r"'([^']+)'::text", row["rule"])


def exit_codes() -> set[int]:
    """Return the exit code of every error of ours."""
    return {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.PassbellError)
    }


def raised() -> list[str]:
    """Return every SQLSTATE of ours that the functions raise to their callers."""
    text = "".join(file.read_text("utf-8") for file in (sql_root() / "functions").glob("*.sql"))
    return sorted(set(re.findall(r"errcode = '(PB4\d\d)'", text)))
