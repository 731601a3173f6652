"""Imports through the real daemon: by link, killed in the middle, refused with a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from support.processes import Daemon
from support.wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from support.files import FileHost
    from support.shop import Row, Shop

ROWS = 3_500


def daemon(shop: Shop, **settings: object) -> Daemon:
    given = {"DRY_RUN": True, "CSV_ALLOW_PRIVATE": True, "POLL_SECONDS": 0.2} | settings
    return Daemon(shop.url, "http://127.0.0.1:9", **given)


def order(shop: Shop, program: UUID, link: str, **columns: object) -> UUID:
    names = ["program_id", "csv_upload_url", *columns]
    query = f"insert into member_imports ({', '.join(names)}) values ({', '.join(['%s'] * len(names))}) returning id"  # noqa: S608
    found: UUID = shop.value(query, [program, link, *columns.values()])
    return found


def row(shop: Shop, which: UUID) -> Row:
    return shop.row("select * from member_imports where id = %s", [which])


def ended(shop: Shop, which: UUID) -> Row:
    return wait_until(lambda: row(shop, which)["status"] in {"COMPLETED", "FAILED"} and row(shop, which))


def members(count: int = ROWS) -> bytes:
    return ("email,city\n" + "".join(f"m{n}@example.com,Rome\n" for n in range(count))).encode()


def test_a_program_and_a_link_are_a_complete_order(shop: Shop, host: FileHost) -> None:
    """A form inserts the two; the members are there and the row counts them."""
    program = shop.program()
    host.files["m.csv"] = members()
    with daemon(shop):
        done = ended(shop, order(shop, program, host.link("m.csv")))
        dry = ended(shop, order(shop, program, host.link("m.csv"), dry_run=True))
    assert done["status_detail"] == "3,500 rows: 3,500 created."
    assert (done["total_rows"], done["processed_rows"], done["created_count"]) == (ROWS, ROWS, ROWS)
    assert dry["status_detail"] == "Dry run, nothing was changed. 3,500 rows: 3,500 unchanged."
    assert shop.value("select count(*) from users") == ROWS


def test_killed_in_the_middle(shop: Shop, host: FileHost) -> None:
    """Kill -9 between two batches and inside one: whole batches stay, the rest is done later, no member is doubled.

    The file is not asked for again: what is left of it stands in the database.
    """
    program = shop.program()
    shop.conn.execute("insert into users (email, city) values ('m2600@example.com', 'Oslo')")
    host.files["m.csv"] = members()
    with daemon(shop) as running:
        with psycopg.connect(shop.url) as blocker:
            blocker.execute("select from users where email = 'm2600@example.com' for update")
            which = order(shop, program, host.link("m.csv"))
            wait_until(lambda: row(shop, which)["processed_rows"] == 2_000)
            half = row(shop, which)
            assert (half["status"], half["created_count"]) == ("PROCESSING", 2_000)
            assert shop.value("select count(*) from users") == 2_001
            wait_until(lambda: shop.value("select count(*) from pg_locks where not granted") > 0)
            running.kill()
        del host.files["m.csv"]
        running.start()
        done = ended(shop, which)
    assert done["status_detail"] == "3,500 rows: 3,499 created, 1 updated."
    assert host.asked == ["m.csv"]
    assert shop.value("select count(*) from users") == ROWS
    assert shop.value("select count(*) from passbell.import_rows") == ROWS
    assert shop.value("select count(*) from passbell.import_staged") == 0


def test_killed_while_the_file_is_written(shop: Shop, host: FileHost) -> None:
    """Kill -9 while the rows are staged: nothing of them is there; the next daemon starts with the file again."""
    program = shop.program()
    host.files["m.csv"] = members()
    with daemon(shop) as running:
        with psycopg.connect(shop.url) as blocker:
            blocker.execute("lock table passbell.import_staged in share mode")
            which = order(shop, program, host.link("m.csv"))
            wait_until(lambda: shop.value("select count(*) from pg_locks where not granted") > 0)
            running.kill()
            assert shop.value("select count(*) from passbell.import_staged") == 0
        running.start()
        done = ended(shop, which)
    assert done["status_detail"] == "3,500 rows: 3,500 created."
    assert shop.value("select count(*) from users") == ROWS


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, "404"),
        (b"<!doctype html><html><body>Sign in</body></html>", "web page"),
        (b"colour,size\nred,7\n", "email"),
        (b"email,birthday\na@example.com,13/02/1990\nb@example.com,02/13/1990\n", "1990"),
    ],
    ids=["missing", "login page", "foreign table", "dates of two orders"],
)
def test_what_is_no_member_list_fails_with_a_sentence(
    shop: Shop, host: FileHost, body: bytes | None, words: str
) -> None:
    """The import fails with a sentence a person understands, and no member is touched."""
    if body is not None:
        host.files["m.csv"] = body
    with daemon(shop):
        done = ended(shop, order(shop, shop.program(), host.link("m.csv")))
    assert done["status"] == "FAILED"
    assert words in done["status_detail"]
    assert shop.value("select count(*) from users") == 0


def test_broken_orders_fail(shop: Shop) -> None:
    """An import without a program, with an unknown one or without a file fails and says what is missing."""
    nowhere = "00000000-0000-0000-0000-000000000000"
    orders = [
        shop.value("insert into member_imports (csv_upload_url) values ('x') returning id"),
        shop.value("insert into member_imports (program_id) values (%s) returning id", [nowhere]),
        shop.value("insert into member_imports (program_id) values (%s) returning id", [shop.program()]),
    ]
    with daemon(shop):
        details = [ended(shop, one)["status_detail"] for one in orders]
    assert details == [
        "No program is named.",
        f"There is no program {nowhere}.",
        "There is no file: csv_upload_url is empty.",
    ]
