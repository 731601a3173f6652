"""What is said before anything is sent: merge tags of other tools, times in the past, what an order waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.shop import utc

if TYPE_CHECKING:
    from support.shop import MakeShop


@pytest.fixture(scope="module")
def sql(databases: Any) -> Any:
    """A connection to one migrated database for all texts of this module."""
    with psycopg.connect(databases.create("2"), autocommit=True) as connection:
        yield connection


FIRST = "Write {first_name} or {first_name|there}."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hi {{first_name}}!", FIRST),
        ("Hi {{ contact.FirstName }}!", FIRST),
        ("Hi {{first_name | default: 'friend'}}!", "Write {first_name|friend}."),
        ('Hi {{name or "you"}}!', "Write {first_name|you}."),
        ("Hi {{{first_name}}}!", FIRST),
        ("Hi {{#firstname}}!", FIRST),
        ("Hi *|FNAME|*!", FIRST),
        ("Dear *|LNAME|*", "Write {last_name}."),
        ("Hi %first_name%!", FIRST),
        ("Hi %%First Name%%!", FIRST),
        ("Hi %recipient.first_name%!", FIRST),
        ("Hi [[name]]!", FIRST),
        ("Hi [First Name]!", FIRST),
        ("Hi <<First Name>>!", FIRST),
        ("Hi <firstname>!", FIRST),
        ("Hi <%= first_name %>!", FIRST),
        ("Hi ${name}!", FIRST),
        ("Hi ${first_name}!", 'shows the "$" in front of the value'),
        ("Hi #{first_name|you}!", 'shows the "#" in front of the value'),
        ("Hi $first_name, hello", FIRST),
        ("Hi @first_name@", FIRST),
        ("Hi |FNAME|", FIRST),
        ("Hi -first_name-", FIRST),
        ("Hi FNAME", FIRST),
        ("You have {{points}} points", "Write {points}."),
        ("You have [[points_balance]]", "Write {points}."),
        ("Use {{coupon_code}} now", 'goes out as "{coupon_code}"'),
        ("Hallo {{Vorname}}", FIRST),
        ("Hi «First Name»!", FIRST),
        ("Hi [firstname,fallback=you]!", FIRST),
        ("Hi __first_name__!", FIRST),
        ("Hi ^name^!", FIRST),
        ("Hi {{1}}, your table is ready", 'goes out as "{1}"'),
        ("Hi ((First Name)), tea is ready", FIRST),
        ("Hi :name:, tea is ready", FIRST),
        ("You have =balance= points", "Write {points}."),
        ("Hi \\name\\!", FIRST),
    ],
)
def test_d8_merge_tags_of_other_tools_get_a_warning(sql: Any, text: str, words: str) -> None:
    """One sentence, with the right spelling."""
    found = [row[0] for row in sql.execute("select * from passbell.message_warnings(%s)", [text]).fetchall()]
    assert len(found) == 1
    assert words in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "Hi {first_name|there}, {points} points, {tier_points}, {last_name}, {program} { Points }",
        "Save {{10%}} today, 50% off and 20% more, 100%",
        "[New] tea <3 :) #tea @cafe $5 off, $10 [Members only] 5*|7",
        "5%off,10%: {{ }} [[!]] <<>> first name, last name, point of view",
        "«Bonjour» et \u2039bienvenue\u203a, __new__ menu",
        "Tea :heart: ((see terms)) at 5:30 pm: come :) /* 2 for 1 */ a=b=c",
        "Show code [A12] at the till, e-mail us: first@last.example",
        "",
    ],
)
def test_d8_what_is_meant_gets_none(sql: Any, text: str) -> None:
    """Own placeholders, braces, brackets, percents and hash tags that mean themselves are left alone."""
    assert sql.execute("select * from passbell.message_warnings(%s)", [text]).fetchall() == []


def test_d8_each_tag_is_told_once_and_ten_at_most(sql: Any) -> None:
    """The same tag twice is one warning; a text full of tags does not flood."""
    query = "select count(*) from passbell.message_warnings(%s)"
    assert sql.execute(query, ["{{name}} {{name}} *|FNAME|*"]).fetchone() == (2,)
    assert sql.execute(query, [" ".join(f"{{{{name{n}}}}}" for n in range(30))]).fetchone() == (10,)


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("{firstname}", "first_name"),
        ("{name}", "first_name"),
        ("{First Name}", "first_name"),
        ("{fist_name}", "first_name"),
        ("{pionts}", "points"),
        ("{surname}", "last_name"),
        ("{tierpoints}", "tier_points"),
        ("{progam}", "program"),
        ("{foo}", None),
    ],
)
def test_d8_an_unknown_placeholder_names_the_nearest_one(sql: Any, tag: str, meant: str | None) -> None:
    """It fails as before, and says what was probably meant."""
    with pytest.raises(psycopg.Error) as refused:
        sql.execute("select passbell.compile_message(%s)", [f"Hi {tag}"])
    sentence = str(refused.value).partition("\n")[0]
    assert f"Unknown placeholder {tag}" in sentence
    assert ("did you mean" in sentence) is (meant is not None)
    assert meant is None or f"did you mean {{{meant}}}?" in sentence


def test_d4_an_order_says_what_it_waits_for(make_shop: MakeShop) -> None:
    """No daemon, quiet hours with their zone, a time: before the order and after it, in the same rule."""
    shop = make_shop("2")
    program = shop.program(timezone="America/New_York")
    shop.conn.execute(
        "update programs set push_window_start = '09:00', push_window_end = '21:00' where id = %s", [program]
    )
    shop.member(program)
    shop.clock(utc("2026-11-27 08:00"))  # three at night there
    outlook = "select notice from passbell.order_outlook(%s, %s)"
    notice = shop.value(outlook, [program, None])
    assert "Quiet hours: it goes out from 2026-11-27 09:00 America/New_York." in notice
    assert "No daemon is running" in notice
    campaign = shop.value("select push_send(%s, 'Hi')", [program])
    waits = "select passbell.waits_for(%s)"
    assert shop.value(waits, [campaign]) == (
        "Quiet hours: holding until 09:00 America/New_York. No daemon is running: start one with `passbell run`."
    )
    shop.conn.execute("update passbell.workers set heartbeat_at = clock_timestamp()")
    if not shop.value("select passbell.daemons_running()"):
        shop.conn.execute("select passbell.register_worker(gen_random_uuid(), 'h', 1, '', '1', '', 50, 3)")
    assert shop.value("select passbell.daemons_running()") >= 1
    assert shop.value(waits, [campaign]) == "Quiet hours: holding until 09:00 America/New_York."
    shop.clock(utc("2026-11-27 15:00"))
    assert shop.value(waits, [campaign]) is None
    shop.conn.execute("update passbell.workers set heartbeat_at = clock_timestamp() - interval '31 seconds'")
    assert shop.value(waits, [campaign]) == "No daemon is running: start one with `passbell run`."
    later = shop.value("select push_send(%s, 'Hi you', 'ALL', null, %s)", [program, utc("2026-11-28 04:00")])
    assert str(shop.value(waits, [later])).startswith("Scheduled for 2026-11-27 23:00 America/New_York.")
    assert shop.value(outlook, [program, utc("2026-11-28 04:00")]).startswith(
        "Quiet hours: it goes out from 2026-11-28 09:00"
    )
