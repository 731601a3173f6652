"""A view of the host's in the place of a table that passbell reads: one that can be written, and one that cannot."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from passbell.database.imports import ImportOrder, apply_import, open_import
from passbell.database.migrate import migrate

if TYPE_CHECKING:
    from support.shop import Shop

TEXT = b"external_id,email,first_name\nANN,ann@example.com,Ann\nBO,bo@example.com,Bo\n"


def view(shop: Shop, table: str, *, writable: bool) -> None:
    """Put a view in the place of a table."""
    shop.conn.execute(
        f"alter table {table} rename to {table}_base; create view {table} as table {table}_base".encode()
        + (b"" if writable else b" offset 0")
    )


@pytest.mark.parametrize("writable", [True, False], ids=["writable", "readonly"])
@pytest.mark.parametrize("table", ["programs", "users", "passes_master"])
def test_a_view(shop: Shop, table: str, *, writable: bool) -> None:
    """With a view in place of a table campaigns and gifts are sent; an import reports rows that the view refuses."""
    today = shop.born_today()
    program = shop.program(birthday_bot_enabled=True, birthday_reward_points=5, birthday_send_at="00:00")
    shop.member(program, user={"birth_date": today, "email": "bo@example.com"}, external_id="BO", points=3)
    shop.member(program, external_id="ANN", points=3)
    view(shop, table, writable=writable)
    migrate(shop.url)
    assert shop.send(shop.campaign(program, "Hello {points}"))["sent_count"] == 2
    taken = shop.row("select * from run_birthdays(%s)", [program])
    fixed = table == "passes_master" and not writable
    assert (taken["gifted"], taken["failed"]) == ((0, 1) if fixed else (1, 0))
    held, _ = open_import(shop.conn, ImportOrder(program=program), io.BytesIO(TEXT))
    done = apply_import(shop.conn, held)
    rows = shop.rows("select result, reason from passbell.import_rows order by row_number")
    refused = [row["reason"] for row in rows if row["result"] == "rejected"]
    assert done["status"] == "COMPLETED"
    assert len(refused) == {"users": 2, "passes_master": 1, "programs": 0}[table] * (not writable)
    assert all(f'view "{table}"' in reason for reason in refused)
    if fixed:
        assert "cannot update view" in shop.value("select reason from passbell.birthday_failures")
