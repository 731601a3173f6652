"""`passbell import` from a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from support.processes import Command, Daemon
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from support.shop import Shop

TEXT = """\
Member ID,E-Mail,First Name,Birthday
,ann@example.com,=HYPERLINK("http://evil"),04/30/1990
,bo@example,Bo,
,cy@example.com,Cy,31/02/1990
1.23E+11,dee@example.com,+Dee,
"""


def run(shop: Shop, *arguments: object, program: UUID) -> tuple[int, str, str]:
    settings = {"PASSBELL_DATABASE_URL": shop.url}
    names = [str(argument) for argument in arguments]
    with Command("import", *names, "--program", str(program), settings=settings) as command:
        return command.wait(), command.output, command.log


def report(shop: Shop, *arguments: object, program: UUID) -> tuple[int, Any]:
    code, output, _ = run(shop, *arguments, "--json", program=program)
    return code, json.loads(output)


def test_the_report_and_the_exit_code(shop: Shop, tmp_path: Path) -> None:
    """Rejected rows give exit code 1; the report names row, column, value and reason; a clean file gives 0."""
    program = shop.program()
    file = tmp_path / "members.csv"
    file.write_text(TEXT, "utf-8")
    code, dry = report(shop, file, "--dry-run", program=program)
    assert (code, dry["dry_run"], dry["created"]) == (1, True, 2)
    assert shop.value("select count(*) from users") == 0
    code, real = report(shop, file, program=program)
    assert code == 1
    assert (real["total"], real["created"], real["rejected"]) == (4, 2, 2)
    assert [row["row_number"] for row in real["problems"] if row["result"] == "rejected"] == [3, 5]
    assert dry["problems"] == real["problems"]
    code, again = report(shop, file, program=program)
    assert (again["created"], again["updated"], again["unchanged"], again["rejected"]) == (0, 0, 2, 2)
    file.write_text("email\nann@example.com\n", "utf-8")
    assert run(shop, file, program=program)[0] == 0


def test_rejects_are_safe_to_open_and_can_be_imported_again(shop: Shop, tmp_path: Path) -> None:
    """The file of rejects holds the rejected rows with the reason in front, no formula, and imports when corrected."""
    program = shop.program()
    file, out = tmp_path / "members.csv", tmp_path / "rejects.csv"
    file.write_text(TEXT, "utf-8")
    code, output, _ = run(shop, file, "--rejects", out, program=program)
    assert code == 1
    assert "scientific notation" in output
    lines = out.read_text("utf-8-sig").splitlines()
    assert lines[0] == "passbell_reason,Member ID,E-Mail,First Name,Birthday"
    assert len(lines) == 3
    assert "'+Dee" in lines[2]
    corrected = (
        out.read_text("utf-8-sig").replace(",bo@example,", ",bo@example.com,").replace("1.23E+11,dee", ",dee")
    )
    out.write_text(corrected, "utf-8-sig")
    code, fixed = report(shop, out, program=program)
    assert (code, fixed["created"], fixed["rejected"]) == (0, 2, 0)
    assert shop.value("select first_name from users where email = 'dee@example.com'") == "+Dee"


def test_rejects_that_cannot_be_written_are_refused_before_anything_is_imported(
    shop: Shop, tmp_path: Path
) -> None:
    """Neither the file to import itself nor a folder that is not there takes rejects: nothing is changed."""
    file, link = tmp_path / "members.csv", tmp_path / "link.csv"
    file.write_text(TEXT, "utf-8")
    link.symlink_to(file)
    for out in (file, link, tmp_path / "missing" / "rejects.csv"):
        code, _, log = run(shop, file, "--rejects", out, program=shop.program())
        assert code == 2
        assert "--rejects" in log
    assert file.read_text("utf-8") == TEXT
    assert shop.value("select count(*) from member_imports") == 0


def test_a_file_that_is_none_is_one_sentence(shop: Shop, tmp_path: Path) -> None:
    """A web page saved as CSV: exit code 1, one sentence on stderr, and no import."""
    file = tmp_path / "members.csv"
    file.write_text("<!doctype html><html><body>Sign in</body></html>", "utf-8")
    code, _, log = run(shop, file, program=shop.program())
    assert (code, log.count("\n")) == (1, 1)
    assert "web page" in log
    assert shop.value("select count(*) from member_imports") == 0


def test_a_killed_command_is_finished_by_the_daemon(shop: Shop, tmp_path: Path) -> None:
    """Kill -9 of `passbell import`: once its lease is over a daemon goes on where it stood."""
    program = shop.program()
    file = tmp_path / "members.csv"
    file.write_text("email\n" + "".join(f"m{n}@example.com\n" for n in range(3_000)), "utf-8")
    shop.conn.execute("insert into users (email, city) values ('m1500@example.com', 'Oslo')")
    shop.conn.execute("create table gate (one integer)")
    shop.conn.execute(
        "create function wait_at_gate() returns trigger language plpgsql as $$"
        " begin if new.email = 'm1600@example.com' then perform count(*) from gate; end if; return new; end $$"
    )
    shop.conn.execute(
        "create trigger gate before insert on users for each row execute function wait_at_gate()"
    )
    settings = {"PASSBELL_DATABASE_URL": shop.url}
    with Command("import", str(file), "--program", str(program), settings=settings) as command:
        with shop.conn.transaction():
            shop.conn.execute("lock table gate in access exclusive mode")
            wait_until(lambda: shop.value("select count(*) from pg_locks where not granted") > 0)
            assert shop.value("select processed_rows from member_imports") == 1_000
            command.kill()
        gone = "select count(*) = 0 from pg_stat_activity where application_name = 'passbell command'"
        wait_until(lambda: shop.value(gone), "the server has noticed")
        shop.conn.execute("update passbell.import_leases set lease_until = now()")
        with Daemon(shop.url, "http://127.0.0.1:9", DRY_RUN=True, POLL_SECONDS=0.2):
            wait_until(lambda: shop.value("select status from member_imports") == "COMPLETED")
    assert shop.value("select status_detail from member_imports") == "3,000 rows: 2,999 created, 1 unchanged."
    assert shop.value("select count(*) from users") == 3_000
    assert shop.value("select count(*) from passbell.import_rows") == 3_000
