"""What becomes of each row of a member import."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from passbell.database.imports import ImportOrder, apply_import, open_import
from passbell.errors import CampaignError, LeaseLost

if TYPE_CHECKING:
    from uuid import UUID

    from support.databases import Generation
    from support.shop import MakeShop, Row, Shop


def run(shop: Shop, program: UUID, text: str, **order: Any) -> Row:
    held, _ = open_import(shop.conn, ImportOrder(program=program, **order), io.BytesIO(text.encode()))
    return apply_import(shop.conn, held)


def results(shop: Shop, done: Row) -> list[str]:
    query = "select result from public.member_import_rows where import_id = %s order by row_number"
    return [row["result"] for row in shop.rows(query, [done["id"]])]


def reasons(shop: Shop, done: Row) -> dict[int, tuple[str | None, str | None, str]]:
    query = "select * from public.member_import_rows where import_id = %s and reason is not null"
    return {
        row["row_number"]: (row["column_name"], row["value"], row["reason"])
        for row in shop.rows(query, [done["id"]])
    }


def snapshot(shop: Shop) -> list[list[Row]]:
    return [
        shop.rows("select * from users order by id"),
        shop.rows("select * from passes_master order by id"),
    ]


FILE = """\
Member ID,E-Mail,First Name,Last Name,Mobile,Birthday,ZIP,City,Newsletter
new-pass,ann@example.com,Ann,Lee,(212) 555-0142,1990-04-03,10001,New York,yes
HAS-USER,bo@example.com,Bo,,,N/A,,,
,CY@example.com,Cy,,,,,,no
,same@example.com,Same,,,,,,
loose,same2@example.com,,,,,,,
"""


def test_created_updated_linked_unchanged(make_shop: MakeShop, generation: Generation) -> None:
    """Members are found by folded e-mail, created or updated; passes are linked; empty cells change nothing."""
    shop = make_shop(generation)
    program = shop.program()
    new_pass = shop.member(program, external_id="New-Pass")
    user = {"email": "BO@Example.com", "first_name": "Robert", "city": "Old Town"}
    shop.member(program, external_id="has-user", user=user)
    shop.member(program, user={"email": "same@example.com", "first_name": "Same"})
    shop.member(program, user={"email": "same2@example.com"})
    loose = shop.member(program, external_id="loose")
    done = run(shop, program, FILE)
    assert results(shop, done) == ["created", "updated", "created", "unchanged", "linked"]
    assert reasons(shop, done) == {}
    assert done["status_detail"] == "5 rows: 2 created, 1 updated, 1 linked, 1 unchanged. 2 passes linked."
    assert [done[f"{name}_count"] for name in ("created", "updated", "linked", "unchanged", "rejected")] == [
        2, 1, 1, 1, 0,
    ]  # fmt: skip
    ann = shop.row("select * from users where email = 'ann@example.com'")
    assert (ann["first_name"], ann["last_name"], ann["phone_number"]) == ("Ann", "Lee", "+12125550142")
    assert (str(ann["birth_date"]), ann["zip"], ann["city"]) == ("1990-04-03", "10001", "New York")
    assert ann["marketing_opt_in"] is True
    bo = shop.row("select * from users where email = 'BO@Example.com'")
    assert (bo["first_name"], bo["city"]) == ("Bo", "Old Town")
    assert shop.row("select * from users where email = 'cy@example.com'")["marketing_opt_in"] is False
    linked = {row["id"]: row["user_id"] for row in shop.rows("select id, user_id from passes_master")}
    assert linked[new_pass] == ann["id"]
    assert linked[loose] == shop.value("select id from users where email = 'same2@example.com'")


def test_the_same_file_again_changes_nothing(make_shop: MakeShop, generation: Generation) -> None:
    """Everything is unchanged the second time, in the report and in the tables."""
    shop = make_shop(generation)
    program = shop.program()
    shop.member(program, external_id="New-Pass")
    shop.member(program, external_id="has-user", user={"email": "BO@Example.com"})
    run(shop, program, FILE)
    before = snapshot(shop)
    again = run(shop, program, FILE)
    assert set(results(shop, again)) == {"unchanged"}
    assert again["passes_linked"] == 0
    assert snapshot(shop) == before


def test_a_dry_run_gives_the_same_report_and_changes_nothing(
    make_shop: MakeShop, generation: Generation
) -> None:
    """Row by row the same results, no user row, no link, not even a date of change."""
    shop = make_shop(generation)
    program = shop.program()
    shop.member(program, external_id="New-Pass")
    before = snapshot(shop)
    rehearsed = run(shop, program, FILE, dry_run=True)
    assert snapshot(shop) == before
    assert rehearsed["status_detail"].startswith("Dry run, nothing was changed. 5 rows: 5 created.")
    real = run(shop, program, FILE)
    assert results(shop, rehearsed) == results(shop, real)
    assert snapshot(shop) != before
    for table in ("import_staged", "import_leases"):
        assert shop.value(f"select count(*) from passbell.{table}") == 0  # noqa: S608


def test_nothing_of_a_pass_but_its_user_is_written(make_shop: MakeShop, generation: Generation) -> None:
    """Names, e-mails, points and the date of the last activity of a pass stay as they are."""
    shop = make_shop(generation)
    program = shop.program()
    shop.member(program, external_id="New-Pass", last_updated="2020-01-01")
    before = shop.row("select * from passes_master")
    run(shop, program, FILE)
    after = shop.row("select * from passes_master")
    assert after.pop("user_id") is not None
    before.pop("user_id")
    assert after == before


def test_passes_by_their_own_e_mail(shop: Shop) -> None:
    """Without an id in the row, passes of this program with that e-mail and no user are linked, and no others."""
    program, other = shop.program(), shop.program("Other")
    mine = [shop.member(program, member_email=mail) for mail in ("Ann@Example.com", " ann@example.com ")]
    taken = shop.member(program, member_email="ann@example.com", user={"email": "z@example.com"})
    far = shop.member(other, member_email="ann@example.com")
    done = run(shop, program, "email,first_name\nann@example.com,Ann\n")
    assert (results(shop, done), done["passes_linked"]) == (["created"], 2)
    user = shop.value("select id from users where email = 'ann@example.com'")
    linked = {row["id"] for row in shop.rows("select id from passes_master where user_id = %s", [user])}
    assert linked == set(mine)
    assert taken not in linked
    assert far not in linked


def test_a_row_with_an_id_alone(shop: Shop) -> None:
    """The pass's member is updated; without a member the pass's own e-mail makes one; without that it is rejected."""
    program = shop.program()
    shop.member(program, external_id="a", user={"email": "a@example.com"})
    shop.member(program, external_id="b", member_email="B@example.com")
    shop.member(program, external_id="c")
    done = run(shop, program, "member_id,birthday\na,1990-05-06\nb,1991-05-06\nc,1992-05-06\nd,1993-05-06\n")
    assert results(shop, done) == ["updated", "created", "rejected", "rejected"]
    assert reasons(shop, done) == {
        4: (None, None, "the row has no e-mail address, and its pass has no member yet"),
        5: ("external_id", "d", "there is no pass with this id in this program"),
    }
    dates = {row["email"]: str(row["birth_date"]) for row in shop.rows("select * from users")}
    assert dates == {"a@example.com": "1990-05-06", "b@example.com": "1991-05-06"}


def test_a_pass_that_belonged_to_another_member(shop: Shop) -> None:
    """An id in the row moves the pass to the row's member, and the report names the earlier owner."""
    program = shop.program()
    shop.member(program, external_id="a", user={"email": "old@example.com"})
    old = shop.value("select user_id from passes_master")
    done = run(shop, program, "member_id,email\na,new@example.com\n")
    assert reasons(shop, done) == {2: ("external_id", "a", "the pass belonged to another member before")}
    row = shop.row("select * from public.member_import_rows")
    assert row["previous_user_id"] == old
    assert shop.value("select user_id from passes_master") == row["user_id"] != old


def test_a_member_without_e_mail_gets_it(shop: Shop) -> None:
    """A pass whose user has no e-mail yet keeps that user, who is given the address."""
    program = shop.program()
    shop.member(program, external_id="a", user={"email": None, "first_name": "Ann"})
    done = run(shop, program, "member_id,email\na,ann@example.com\n")
    assert results(shop, done) == ["updated"]
    assert [row["email"] for row in shop.rows("select * from users")] == ["ann@example.com"]


def test_ids_of_another_program_are_never_touched(shop: Shop) -> None:
    """An id of another program is reported as such; the member is created, and the pass does not change."""
    program, other = shop.program(), shop.program("Other")
    shop.member(other, external_id="x")
    done = run(shop, program, "member_id,email\nX,ann@example.com\n")
    assert results(shop, done) == ["created"]
    assert reasons(shop, done) == {2: ("external_id", "X", "this id belongs to another program")}
    assert shop.value("select user_id from passes_master") is None


def test_a_bad_date_rejects_the_date_and_not_the_row(shop: Shop) -> None:
    """The row is taken without its date, "N/A" is no error, and what was decided for the file is noted."""
    done = run(
        shop,
        shop.program(),
        "email,birthday\na@example.com,31/02/1990\nb@example.com,N/A\nc@example.com,25/12/1990\n",
    )
    assert results(shop, done) == ["created"] * 3
    assert reasons(shop, done) == {2: ("birth_date", "31/02/1990", "there is no such day")}
    assert any("day first" in note for note in done["notes"])


def test_the_last_row_of_a_person_wins(shop: Shop) -> None:
    """Two rows that mean one member, by e-mail or by their pass: the last one counts, both numbers are told."""
    program = shop.program()
    shop.member(program, external_id="a", user={"email": "a@example.com"})
    text = "member_id,email,city\n,a@example.com,Rome\n,b@example.com,Oslo\n,B@example.com,Bern\na,,Paris\n"
    done = run(shop, program, text)
    assert results(shop, done) == ["rejected", "rejected", "created", "updated"]
    assert reasons(shop, done)[2][2] == "row 5 means the same member; the last row wins"
    assert "row 4 has the same e-mail" in reasons(shop, done)[3][2]
    cities = {row["email"]: row["city"] for row in shop.rows("select * from users")}
    assert cities == {"a@example.com": "Paris", "b@example.com": "Bern"}
    before = snapshot(shop)
    assert results(shop, run(shop, program, text)) == ["rejected", "rejected", "unchanged", "unchanged"]
    assert snapshot(shop) == before


def test_a_row_that_the_platform_refuses_is_rejected_alone(shop: Shop) -> None:
    """A check of the host's own stops one row of a thousand, with its words; all others are imported."""
    shop.conn.execute("alter table users add constraint no_mars check (city is distinct from 'Mars')")
    lines = [f"m{n}@example.com,{'Mars' if n == 617 else 'Rome'}" for n in range(1_200)]
    done = run(shop, shop.program(), "email,city\n" + "\n".join(lines) + "\n")
    assert (done["created_count"], done["rejected_count"]) == (1_199, 1)
    assert list(reasons(shop, done)) == [619]
    assert "no_mars" in reasons(shop, done)[619][2]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("sqlstate", ["PB200", "PB412", "P0002", "ZZ001", "P0004"])
def test_whatever_a_trigger_raises_for_one_row_rejects_that_row(
    shop: Shop, sqlstate: str, *, dry_run: bool
) -> None:
    """A code of the trigger's own, and one that passbell uses itself: its words are told, the others are imported."""
    shop.conn.execute(
        "create function no_mars() returns trigger language plpgsql as $$ begin"
        f" if new.city = 'Mars' then raise exception 'not on Mars' using errcode = '{sqlstate}'; end if;"
        " return new; end $$;"
        "create trigger no_mars before insert on users for each row execute function no_mars()"
    )
    text = "email,city\na@example.com,Rome\nb@example.com,Mars\nc@example.com,Rome\n"
    done = run(shop, shop.program(), text, dry_run=dry_run)
    assert (done["created_count"], done["rejected_count"]) == (2, 1)
    assert "not on Mars" in reasons(shop, done)[3][2]


def test_columns_that_the_platform_lacks_are_left_out(shop: Shop) -> None:
    """If the platform lacks a column, the others are imported, and the notes name what was not stored."""
    shop.conn.execute("drop view passbell.recipients; alter table users drop column city")
    shop.conn.execute("select passbell.build_adapters()")
    done = run(shop, shop.program(), "email,city,zip\na@example.com,Rome,00100\n")
    assert results(shop, done) == ["created"]
    assert "Not stored, because the table users has no column for it: city." in done["notes"]
    assert shop.value("select zip from users") == "00100"


def test_hostile_values_are_only_text(shop: Shop) -> None:
    """SQL, formulas, backslashes and braces are stored as typed, or refused; nothing of them runs."""
    text = 'email,first_name,city\na@example.com,"x\'); drop table users; --","=cmd|\' /C calc\'!A0"\n'
    text += 'b@example.com,"\\N","{a,""b""}"\n'
    done = run(shop, shop.program(), text)
    assert results(shop, done) == ["created", "created"]
    names = {row["first_name"] for row in shop.rows("select * from users")}
    assert "x'); drop table users; --" in names


def test_a_file_that_is_no_member_list_leaves_nothing(shop: Shop) -> None:
    """An unknown program, an unknown region or a web page gives a sentence and no import."""
    program = shop.program()
    for error, order in ((CampaignError, {"region": "Mars"}), (Exception, {})):
        with pytest.raises(error):
            run(shop, program, "<!doctype html><html></html>" if not order else FILE, **order)
    assert shop.value("select count(*) from member_imports") == 0


def test_a_cancelled_import_stops_between_batches(shop: Shop) -> None:
    """Cancelling stops before the next batch; what was imported stays, and the row says how far it came."""
    program = shop.program()
    lines = "".join(f"m{n}@example.com\n" for n in range(2_500))
    held, _ = open_import(shop.conn, ImportOrder(program=program), io.BytesIO(f"email\n{lines}".encode()))
    shop.conn.execute("select passbell.import_batch(%s, %s)", [held.import_id, held.claim_token])
    half = shop.row("select * from member_imports")
    assert (half["status"], half["processed_rows"], half["total_rows"]) == ("PROCESSING", 1_000, 2_500)
    shop.conn.execute("update member_imports set status = 'cancelled', created_count = 7")
    with pytest.raises(LeaseLost):
        apply_import(shop.conn, held)
    over = shop.row("select * from member_imports")
    assert (over["status"], over["created_count"]) == ("CANCELLED", 1_000)
    assert "1,000 of 2,500 rows" in over["status_detail"]


def test_two_workers_never_hold_one_import(shop: Shop) -> None:
    """While a lease runs no other daemon gets the import; after it another one does, and the first cannot write."""
    program = shop.program()
    held, _ = open_import(shop.conn, ImportOrder(program=program), io.BytesIO(b"email\na@example.com\n"))
    claim = "select * from passbell.claim_import(%s)"
    assert shop.rows(claim, [shop.worker]) == []
    shop.conn.execute("update passbell.import_leases set lease_until = now() - interval '1 second'")
    assert shop.row(claim, [shop.worker])["action"] == "apply"
    with pytest.raises(LeaseLost):
        apply_import(shop.conn, held)
    assert shop.value("select count(*) from users") == 0


def test_an_admin_orders_and_reads_imports_of_their_own_program(make_shop: MakeShop) -> None:
    """An administrator inserts a program id and a link, reads the row report, and sees no other program's."""
    shop = make_shop("3", supabase=True)
    program, other = shop.program(), shop.program("Other")
    run(shop, program, "email,birthday\na@example.com,2/30/1990\n")
    run(shop, other, "email\nb@example.com\n")
    admin = shop.value("insert into auth.users (email) values ('admin@example.com') returning id")
    shop.conn.execute("insert into admin_profiles (id, program_id) values (%s, %s)", [admin, program])
    with shop.conn.transaction():
        shop.conn.execute("select set_config('request.jwt.claims', %s, true)", [f'{{"sub": "{admin}"}}'])
        shop.conn.execute("set local role authenticated")
        assert shop.value("select count(*) from public.member_import_rows") == 1
        insert = (
            "insert into member_imports (program_id, csv_upload_url) values (%s, 'https://example.com/m.csv')"
        )
        shop.conn.execute(insert, [program])
        assert shop.value("select count(*) from member_imports") == 2
        with pytest.raises(psycopg.errors.InsufficientPrivilege), shop.conn.transaction():
            shop.conn.execute(insert, [other])
        shop.conn.execute("select set_config('passbell.engine', 'on', true)")
        shop.conn.execute("update member_imports set created_count = 5")
        assert shop.value("select max(created_count) from member_imports") < 5
