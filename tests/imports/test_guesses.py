"""What an import must not do: opt a member in who did not say yes, or overwrite with a guess."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passbell.database.imports import ImportOrder, apply_import, open_import
from passbell.database.lists import ListOrder, create_list_campaign

if TYPE_CHECKING:
    from uuid import UUID

    from support.databases import Generation
    from support.shop import MakeShop, Row, Shop

CASES = Path(__file__).parent.parent / "csv" / "cases"


def run(shop: Shop, program: UUID, content: bytes | str, **order: Any) -> Row:
    data = content.encode() if isinstance(content, str) else content
    held, _ = open_import(shop.conn, ImportOrder(program=program, **order), io.BytesIO(data))
    return apply_import(shop.conn, held)


def consents(shop: Shop) -> dict[str, bool | None]:
    return {row["email"]: row["marketing_opt_in"] for row in shop.rows("select * from users")}


def test_who_did_not_answer_is_not_opted_in(make_shop: MakeShop, generation: Generation) -> None:
    """A new member without an answer has NULL, not the column's default; a stored answer stays."""
    shop = make_shop(generation)
    program = shop.program()
    for name, value in (("yes", True), ("no", False), ("null", None)):
        shop.member(program, user={"email": f"{name}@example.com", "marketing_opt_in": value})
    before = consents(shop)
    text = "email,status,first_name\n" + "".join(
        f"{email},pending,Ann\n" for email in [*before, "new@example.com"]
    )
    run(shop, program, text)
    assert consents(shop) == {**before, "new@example.com": None}


def test_only_an_explicit_yes_turns_a_no(shop: Shop) -> None:
    """Only an explicit yes changes a no; defaults, blanks and empty boxes leave it, cleaned and bounced are a no."""
    program = shop.program()
    for name in ("blank", "unticked", "yes", "cleaned"):
        shop.member(program, user={"email": f"{name}@example.com", "marketing_opt_in": name == "cleaned"})
    done = run(
        shop,
        program,
        "email,Newsletter,Email Opt Out,status\nblank@example.com,,,\nunticked@example.com,,0,active\n"
        "yes@example.com,yes,0,\ncleaned@example.com,yes,0,cleaned\nnever@example.com,NEVER_SUBSCRIBED,,\n",
    )
    assert consents(shop) == {
        "blank@example.com": False,
        "unticked@example.com": False,
        "yes@example.com": True,
        "cleaned@example.com": False,
        "never@example.com": False,
    }
    assert any(note.startswith("Consent: 1 yes, 2 no, 2 without an answer.") for note in done["notes"])


@pytest.mark.parametrize(
    "rows",
    [
        "a@example.com,,unsubscribed\nA@example.com,,subscribed\n",  # the reader sees that it is one member
        "a@example.com,,unsubscribed\n,CARD-1,subscribed\n",  # only the database can
    ],
)
def test_a_no_in_another_row_of_the_same_member_wins(shop: Shop, rows: str) -> None:
    """The last row of a member wins, but for consent: subscribed to one list and unsubscribed from another is a no."""
    program = shop.program()
    shop.member(program, user={"email": "a@example.com", "marketing_opt_in": True}, external_id="CARD-1")
    done = run(shop, program, f"email,member_id,status\n{rows}")
    assert consents(shop) == {"a@example.com": False}
    query = "select reason from member_import_rows where import_id = %s and row_number = 3"
    assert shop.value(query, [done["id"]]) == "row 2 is the same member and says no"


def test_a_platform_that_wants_an_answer_gets_a_no(shop: Shop) -> None:
    """Where marketing_opt_in cannot be NULL, no answer is stored as false, and the report says so."""
    program = shop.program()
    shop.conn.execute("alter table users alter marketing_opt_in set not null")
    done = run(shop, program, "email\nnew@example.com\n")
    assert consents(shop) == {"new@example.com": False}
    assert any("cannot be empty" in note for note in done["notes"])


def test_a_guessed_code_page_overwrites_no_name(shop: Shop) -> None:
    """If the code page is a guess, only empty names are filled; with a named encoding names are replaced."""
    program = shop.program()
    shop.member(program, user={"first_name": "Şule", "city": None}, external_id="M-5")
    content = (CASES / "08_codepage" / "pl1250.csv").read_bytes().replace(b"M-2", b"M-5")
    run(shop, program, content)
    assert shop.rows("select first_name, city from users") == [{"first_name": "Şule", "city": "Łódź"}]
    run(shop, program, content, encoding="cp1250")
    assert shop.rows("select first_name, city from users") == [{"first_name": "Łukasz", "city": "Łódź"}]


def test_a_split_name_overwrites_none(shop: Shop) -> None:
    """The parts of a full name fill empty names and never replace stored ones."""
    program = shop.program()
    shop.member(program, user={"email": "a@example.com", "first_name": "Mary Ann", "last_name": None})
    run(shop, program, "email,Full Name\na@example.com,Mary Ann Lee Smith\nb@example.com,Bob Builder\n")
    rows = shop.rows("select first_name, last_name from users order by email")
    assert [tuple(row.values()) for row in rows] == [("Mary Ann", "Smith"), ("Bob", "Builder")]


def test_passkit_ids_find_their_pass(shop: Shop) -> None:
    """A column of PassKit ids, or of pass ids, names members in imports and lists; another program's do not."""
    program, other = shop.program(), shop.program("Other")
    one = shop.member(
        program, user={"email": "one@example.com"}, passkit_internal_id="3tQExampleExampleExamp"
    )
    two = shop.member(program, user={"email": "two@example.com"})
    shop.member(other, user={"email": "x@example.com"}, passkit_internal_id="4tQExampleExampleExamp")
    text = f"id,first_name\n3tQExampleExampleExamp,Ada\n4tQExampleExampleExamp,Eve\n{two},Bob\n"
    done = run(shop, program, text)
    names = {row["email"]: row["first_name"] for row in shop.rows("select * from users")}
    assert (names["one@example.com"], names["two@example.com"]) == ("Ada", "Bob")
    assert names["x@example.com"] != "Eve"
    assert done["rejected_count"] == 1
    made = create_list_campaign(
        shop.conn, ListOrder(program=program, message="Hi"), io.BytesIO(text.encode())
    )
    assert made.campaign_id is not None
    assert made.reasons == {"unknown_member": 1}
    shop.start(made.campaign_id)
    assert shop.waiting(made.campaign_id) == {one, two}


ADVICE = {
    "1042.0": "1042 exists: remove the .0",
    "#1042": "1042 exists: remove the #",
    '"1042,00"': "1042 exists: remove the ,0",
    "1.042": "1042 exists: remove the separators of thousands",
    "Nr. 1042": "1042 exists: remove the word before it, remove the spaces",
    "\u201c1042\u201d": "1042 exists: remove the quotation marks",
    "M\u20131": "M-1 exists: write its dash as -",
    '"1042,5"': None,  # neither 1042 nor 5
    "1.000": None,  # one thousand, not 1
    '"1,042"': "1042 exists: remove the separators of thousands",
    "42": "00042 exists: its leading zeros were lost, format the column as text",
    "001042": "1042 exists: remove the leading zeros",
    "7": None,  # 07 and 007 are two members
    "nobody": None,
}


def test_an_id_that_is_not_found_says_what_is_wrong_with_it(shop: Shop) -> None:
    """An id as a spreadsheet changed it matches no member and says how to correct it."""
    program = shop.program()
    for external_id in ("1042", "00042", "07", "007", "M-1", "1"):
        shop.member(program, external_id=external_id)
    content = "member_id\nM-1\n" + "".join(f"{value}\n" for value in ADVICE)
    made = create_list_campaign(
        shop.conn, ListOrder(program=program, message="Hi"), io.BytesIO(content.encode())
    )
    assert (made.rows, made.matched) == (15, 1)
    assert (
        made.summary
        == '1 of 15 matched; 14 not found. "1042.0" is not there, but 1042 exists: remove the .0.'
    )
    query = "select detail from public.push_list_problems where campaign_id = %s order by row_number"
    assert [row["detail"] for row in shop.rows(query, [made.campaign_id])] == list(ADVICE.values())
    done = run(shop, program, "member_id,email\n42,a@example.com\n")
    assert shop.rows("select reason from member_import_rows where import_id = %s", [done["id"]]) == [
        {"reason": f"there is no pass with this id in this program; {ADVICE['42']}"}
    ]


@pytest.mark.parametrize("command", ["import", "send"])
def test_a_pipe_is_read(shop: Shop, command: str) -> None:
    """`passbell import /dev/stdin` and `send --csv /dev/stdin` read what is piped into them."""
    program = shop.program()
    shop.member(program, external_id="M-1")
    order = ["/dev/stdin"] if command == "import" else ["--message", "Hi", "--csv", "/dev/stdin", "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-m", "passbell", command, *order, "--program", str(program), "--json"],
        input=b"member_id,email\nM-1,a@example.com\n",
        env={"PASSBELL_DATABASE_URL": shop.url, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert b"created" in done.stdout or b'"matched": 1' in done.stdout
