"""`passbell report`: the month of a program on one page, for its owner."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from passbell.cli.database import connect, one, resolve_program
from passbell.cli.output import as_json, json_option, print_pairs
from passbell.cli.preview import program_option
from passbell.report import report_csv, report_html, report_lines

__all__ = ["report"]

REPORT = "select * from public.push_report(program_id => %(program)s, month => %(month)s)"


class Month(click.ParamType[date]):
    """A month as `2026-11`."""

    name = "month"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Read it as its first day."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(f"{value}-01")
        except ValueError:
            self.fail(f"{value!r} is not a month; write it like 2026-11", param, ctx)


@click.command()
@program_option
@click.option(
    "--month", type=Month(), required=True, metavar="YYYY-MM", help="The month, in the program's zone."
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a printable page here.")
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Write a table here.")
@json_option
def report(*, program: str, month: date, html: Path | None, csv: Path | None, json_wanted: bool) -> None:
    """Put a program's month on one page: messages, phones, guests brought, who left."""
    with connect() as connection:
        row = one(connection, REPORT, program=resolve_program(connection, program), month=month)
    for path, text in ((html, report_html), (csv, report_csv)):
        if path is not None:
            try:
                path.write_text(text(row), "utf-8", newline="")
            except OSError as error:
                raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
    if json_wanted:
        as_json(row)
    elif html is None and csv is None:
        click.echo(f"{row['program'] or 'Program'}, {row['month']:%B %Y}")
        click.echo(row["sentence"])
        for name, lines in report_lines(row):
            click.echo(f"\n{name}")
            print_pairs(lines)
    else:
        for path in filter(None, (html, csv)):
            click.echo(f"Wrote {path}.")
