"""`passbell import`: a member CSV, row by row into the database, or a rehearsal of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from passbell.cli.database import connect, resolve_program
from passbell.cli.options import program_option
from passbell.cli.output import as_json, json_option, number, print_pairs, print_table, progress_bar
from passbell.database.imports import DateOrder, HeldImport, ImportOrder, apply_import, open_import
from passbell.files.csv import Reject, write_rejects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passbell.cli.database import Connection, Row
    from passbell.files.csv import MemberFile

SHOWN = 20
"""Problems on the screen; all of them are in public.member_import_rows, and in the answer of --json."""

PROBLEMS = """
    select row_number, result, column_name as "column", value, reason, problems
      from passbell.import_rows
     where import_id = %(order)s and reason is not null
     order by row_number
"""
CANCEL = "update public.member_imports set status = 'CANCELLED' where id = %(order)s"
COUNTS = ("created", "updated", "linked", "unchanged", "rejected")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@program_option
@click.option("--dry-run", is_flag=True, help="Report the same, and change nothing.")
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="OUT.csv",
    help="Write the rejected rows here, with the reason in front, to be corrected and imported again.",
)
@click.option(
    "--region",
    metavar="CC",
    help="Country of phone numbers without a country code, such as US; else the program's.",
)
@click.option(
    "--date-order",
    type=click.Choice(["DMY", "MDY", "YMD"], case_sensitive=False),
    help="The order of day, month and year, where the file's dates allow several.",
)
@click.option(
    "--encoding",
    metavar="NAME",
    help="The file's encoding, such as cp1250 or Shift_JIS, where it was guessed wrong.",
)
@json_option
@click.pass_context
def import_(
    ctx: click.Context,
    *,
    file: Path,
    program: str,
    dry_run: bool,
    rejects: Path | None,
    region: str | None,
    date_order: DateOrder | None,
    encoding: str | None,
    json_wanted: bool,
) -> None:
    """Import the member CSV in FILE (/dev/stdin for a pipe): create and update members, link their passes.

    Exit code 1 if any row was rejected. Importing the same file again changes nothing.
    """
    if rejects is not None:
        _check_rejects(rejects, file)
    with connect() as connection:
        order = ImportOrder(
            program=resolve_program(connection, program),
            name=file.name,
            dry_run=dry_run,
            region=region,
            date_order=date_order,
            encoding=encoding,
        )
        held, members = open_import(connection, order, file)
        done = _apply(connection, held, members.total)
        problems = connection.execute(PROBLEMS, {"order": held.import_id}).fetchall()
        if rejects is not None:
            _write(rejects, members, problems)
    if json_wanted:
        as_json(_document(done, problems))
    else:
        _show(done, problems, rejects)
    ctx.exit(1 if done["rejected_count"] else 0)


def _check_rejects(rejects: Path, file: Path) -> None:
    """Refuse, before anything is imported, an output file that cannot be written or is the input."""
    if rejects.exists() and rejects.samefile(file):
        raise click.BadParameter("this is the file to import: name another", param_hint="'--rejects'")
    if not os.access(rejects.parent, os.W_OK | os.X_OK):
        raise click.BadParameter(f"no file can be made in '{rejects.parent}'", param_hint="'--rejects'")


def _apply(connection: Connection, held: HeldImport, total: int) -> Row:
    """Apply the import under a progress bar. Ctrl-C cancels it; what was applied stays."""
    with progress_bar() as bar:
        task = bar.add_task("importing", total=total)
        try:
            return apply_import(connection, held, lambda rows: bar.advance(task, rows))
        except KeyboardInterrupt:
            connection.execute(CANCEL, {"order": held.import_id})
            raise


def _write(path: Path, members: MemberFile, problems: list[Row]) -> None:
    """Write the rejected rows as they stood in the file, whether the reader or the database rejected them."""
    reasons = {row["row_number"]: _line(row) for row in problems if row["result"] == "rejected"}

    def rejected() -> Iterator[Reject]:
        for member in members:
            if member.row_number in reasons:
                yield Reject(member.cells, reasons[member.row_number])

    with path.open("wb") as out:
        write_rejects(out, rejected(), layout=members.layout)


def _line(row: Row) -> str:
    """All problems of a row in one line, as the reader words them."""
    parts = [
        f'{one["column"]} "{one["value"]}": {one["reason"]}' if one["column"] else one["reason"]
        for one in row["problems"]
    ]
    return f"row {row['row_number']}: {'; '.join(parts)}"


def _document(done: Row, problems: list[Row]) -> dict[str, Any]:
    return {
        "import_id": done["id"],
        "dry_run": done["dry_run"],
        "status": done["status"],
        "summary": done["status_detail"],
        "total": done["total_rows"],
        **{name: done[f"{name}_count"] for name in COUNTS},
        "passes_linked": done["passes_linked"],
        "notes": done["notes"],
        "problems": problems,
    }


def _show(done: Row, problems: list[Row], rejects: Path | None) -> None:
    for note in done["notes"]:
        click.echo(note)
    print_pairs(
        [
            ("rows", number(done["total_rows"])),
            *((name, number(done[f"{name}_count"])) for name in COUNTS),
            ("passes linked", number(done["passes_linked"])),
        ]
    )
    if problems:
        click.echo("")
        print_table(
            ["row", "result", "column", "value", "reason"],
            [
                (number(row["row_number"]), row["result"], one["column"], one["value"], one["reason"])
                for row in problems[:SHOWN]
                for one in row["problems"]
            ],
            right=["row"],
        )
    if len(problems) > SHOWN:
        click.echo(f"… and {number(len(problems) - SHOWN)} more rows, in public.member_import_rows")
    if done["dry_run"]:
        click.echo("Nothing was changed.")
    if rejects is not None:
        click.echo(f"Rejected rows: {rejects}")
