"""The members that a target reaches, compared with an independent query; and what a typed text can never do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from passbell.devkit.demo.members import populate
from support.independent import expected

if TYPE_CHECKING:
    from support.shop import MakeShop, Shop

TARGETS = (
    "ALL",
    "VIP",
    "VIP:500",
    "VIP:0",
    "WHALE",
    "WHALE:100",
    "SLUMBER",
    "SLUMBER:7",
    "SLUMBER:90",
    "LOCAL:90210",
    "LOCAL:90210,10001",
    "LOCAL:902*",
    "LOCAL:H2X 1Y4",
    "CITY:Beverly Hills",
    "CITY:san*,Chicago",
    "CITY:Coeur d'Alene",
    "CITY:MONTRÉAL,zürich",
    "TIER:1",
    "TIER:2",
    "TIER:3",
    "TIER:4",
    "UNREDEEMED",
    "EXPIRING",
    "EXPIRING:30",
    "NOT_CHECKED_IN",
    "CHECKED_IN",
    "WHALE & LOCAL:90210",
    "VIP & WHALE:200 & SLUMBER:5",
    "UNREDEEMED & EXPIRING:20",
)


def frozen(shop: Shop, program: Any, target: str | None) -> set[Any]:
    """The passes in the chunks of a new campaign with this target."""
    campaign = shop.campaign(program, f"Hello {uuid4()}", target_query=target)
    claimed = shop.start(campaign, size=37)
    assert claimed["action"] == "expanded", shop.order(campaign)
    found = shop.waiting(campaign)
    assert len(found) == claimed["recipients"] == shop.order(campaign)["recipient_count"]
    return found


def test_every_segment_reaches_exactly_whom_an_independent_query_names(
    make_shop: MakeShop, generation: Any
) -> None:
    """Each target of the contract, for members, coupons and tickets, as sets of passes."""
    shop = make_shop(generation)
    programs = populate(shop.conn, generation, passes=1_500)
    some = 0
    for program in programs.values():
        for target in TARGETS:
            wanted = expected(shop.conn, generation, program, target)
            assert frozen(shop, program, target) == wanted, target
            some += bool(wanted)
    assert some > 40  # the generated members leave few of these audiences empty


def test_case_spaces_and_aliases_do_not_matter(make_shop: MakeShop, generation: Any) -> None:
    """A target reads the same however it is typed."""
    shop = make_shop(generation)
    program = next(iter(populate(shop.conn, generation, passes=400).values()))
    for typed, target in (
        (None, "ALL"),
        ("", "ALL"),
        ("   ", "ALL"),
        ("All Active Members", "ALL"),
        ("all  active members", "ALL"),
        ("vip", "VIP"),
        (" Vip : 500 ", "VIP:500"),
        ("dormant", "SLUMBER"),
        ("Dormant : 7", "SLUMBER:7"),
        ("zip:90210", "LOCAL:90210"),
        ("geo: 90210 , 10001 ", "LOCAL:90210,10001"),
        ("whale&local:90210", "WHALE & LOCAL:90210"),
        ("LOCAL:90210\t&\nWhale", "WHALE & LOCAL:90210"),
        ("city: beverly hills", "CITY:Beverly Hills"),
        ("city:Beverly\u00a0 Hills", "CITY:Beverly Hills"),
        ("\u00a0ALL\u200b", "ALL"),
        ("AllActiveMembers", "ALL"),
        ("vip: 1 000", "VIP:1000"),
    ):
        assert frozen(shop, program, typed) == expected(shop.conn, generation, program, target), typed


def test_ids_reach_members_by_external_id_and_by_pass_id(make_shop: MakeShop, generation: Any) -> None:
    """A list of ids reaches those members of this program who may be buzzed, and reports the others."""
    shop = make_shop(generation)
    program, other = shop.program(), shop.program("Other")
    by_external = shop.member(program, external_id="Card-7")
    by_pass = shop.member(program)
    gone = shop.member(program, status="UNINSTALLED", external_id="gone")
    shop.member(program, user={"marketing_opt_in": False}, external_id="silent")
    shop.member(other, external_id="elsewhere")
    ids = f" card-7 ,{str(by_pass).upper()},{gone},silent,elsewhere,nobody,CARD-7"
    campaign = shop.campaign(program, target_query=f"IDS:{ids}")
    shop.start(campaign)
    assert shop.waiting(campaign) == {by_external, by_pass}
    detail = shop.order(campaign)["status_detail"]
    words = (
        "4 of 7 matched; 1 listed twice; 1 not found; 1 not in a wallet; 1 of another program; 1 opted out."
    )
    assert words in detail
    shop.send_chunks()
    assert "2 buzzed" in shop.order(campaign)["status_detail"]


def test_uninstalled_inactive_opted_out_and_walletless_are_never_reached(
    make_shop: MakeShop, generation: Any
) -> None:
    """NULL as opt-in means yes; anything but installed, active and in a wallet means no."""
    shop = make_shop(generation)
    program = shop.program()
    wanted = {
        shop.member(program),
        shop.member(program, user={"marketing_opt_in": True}),
        shop.member(program, user={"marketing_opt_in": None}),
    }
    for columns in (
        {"status": "UNINSTALLED"},
        {"status": "ISSUED"},
        {"status": "VOIDED"},
        {"status": "EXPIRED"},
        {"is_active": False},
        {"user": {"marketing_opt_in": False}},
        *([{"passkit_internal_id": None}, {"passkit_internal_id": " "}] if generation == "3" else []),
    ):
        shop.member(program, **columns)
    assert frozen(shop, program, None) == wanted


def test_segments_of_ones_own_take_a_parameter(shop: Shop) -> None:
    """A row in passbell.segments is an audience at once; $1 is bound, and so is the default."""
    program = shop.program()
    rich = shop.member(program, points=900, user={"first_name": "Ada"})
    poor = shop.member(program, points=10, user={"first_name": "O'Brien"})
    shop.conn.execute(
        "insert into passbell.segments (name, description, predicate, default_parameter, parameter_kind, aliases)"
        " values ('RICH', '', 'points >= $1::int', '500', 'number', '{WEALTHY}'),"
        "        ('named', '', 'first_name = $1', null, 'text', '{}'),"
        "        ('Nearly Twice', '', 'points > $1::int and points < $1::int * 2 and $1 = $1', '6', 'number', '{}')"
    )
    assert frozen(shop, program, "rich") == {rich}
    assert frozen(shop, program, "RICH:5") == {rich, poor}
    assert frozen(shop, program, "wealthy : 901") == set()
    assert frozen(shop, program, "NAMED:O'Brien") == {poor}
    assert frozen(shop, program, "named:Ada & rich") == {rich}
    assert frozen(shop, program, "nearly twice") == {poor}


def test_built_in_segments_come_back_and_own_ones_stay(make_shop: MakeShop) -> None:
    """A migration restores changed built-in audiences and leaves those of the owner alone."""
    from passbell.database.migrate import migrate  # noqa: PLC0415 - only here

    shop = make_shop()
    shop.conn.execute("update passbell.segments set predicate = 'false' where name = 'VIP'")
    shop.conn.execute("insert into passbell.segments (name, predicate) values ('MINE', 'true')")
    migrate(shop.url)
    assert shop.value("select predicate from passbell.segments where name = 'VIP'") != "false"
    assert shop.value("select predicate from passbell.segments where name = 'MINE'") == "true"


# ── what a typed text can never do ──────────────────────────────

INJECTIONS = (
    "'; drop table passbell.chunks; --",
    "ALL'; drop table public.push_campaigns cascade; --",
    "1); delete from passes_master; --",
    "1 or 1=1",
    "1' or '1'='1",
    "' union select id from users --",
    "$1",
    "$2",
    "$3",
    "$$ drop table users $$",
    "$q$ or true $q$",
    "%s",
    "%I %L %1$s",
    "\\'; drop table users; --",
    '"; drop table users; --',
    "`rm -rf /`",
    "); select pg_sleep(60); --",
    "pg_sleep(60)",
    "/* */ or true /*",
    "-- ",
    "{first_name; drop table users}",
    "{points::int}",
    "{(select 1)}",
    "{{$1}}",
    "${7*7}",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "x'41'",
    "E'\\x41'",
    "U&'\\0041'",
    "\u2019; drop table users; --",
    "a\u0000b".replace("\u0000", "\\0"),
    "*",
    ".*",
    "^.*$",
    "(((((",
    "[a-",
    "\\",
    "(?i)x",
    "a{1,99999}",
    "90210|.*",
    "%",
    "_",
    "&",
    ":",
    "::",
    "&&",
    "null",
    "true",
    "now()",
    "current_user",
)
SHAPES = ("{0}", "VIP:{0}", "LOCAL:{0}", "CITY:{0}", "IDS:{0}", "OWN:{0}", "ALL & {0}", "SLUMBER:1{0}")


def inventory(shop: Shop) -> Any:
    """Everything that an injected statement could have changed."""
    return (
        shop.rows("select id, is_active from passes_master order by id"),
        shop.value("select count(*) from users"),
        shop.value("select count(*) from pg_class"),
        shop.rows("select * from passbell.segments order by name"),
        shop.rows("select proname from pg_proc where pronamespace = 'passbell'::regnamespace order by 1"),
    )


def test_no_text_that_a_person_types_is_ever_executed(shop: Shop) -> None:
    """Some four hundred hostile targets: nothing happens, no wrong member is reached, no unexpected error surfaces."""
    program = shop.program()
    victim = shop.member(program, user={"zip": "90210", "city": "Reno"}, points=5)
    shop.conn.execute("insert into passbell.segments (name, predicate) values ('OWN', 'first_name = $1')")
    before = inventory(shop)
    for hostile in INJECTIONS:
        for shape in SHAPES:
            target = shape.format(hostile) if "{0}" in shape else shape
            campaign = shop.campaign(program, f"Hi {uuid4()}", name=hostile, target_query=target)
            assert shop.start(campaign)["action"] in {"failed", "expanded", "held"}, target
            reached = shop.waiting(campaign)
            # An entry that ends in a star is a prefix, and the bare star is everybody with a zip or city.
            allowed = {victim} if target in {"LOCAL:*", "CITY:*"} else set()
            assert reached <= allowed, target
            for function in ("push_preview(%s, %s)", "passbell.sample_messages(%s, 'x', %s)"):
                try:
                    shop.rows(f"select * from {function}", [program, target])  # noqa: S608
                except psycopg.Error as error:
                    assert error.sqlstate == "PB400", (target, error)  # noqa: PT017
    assert inventory(shop) == before


def test_no_message_name_or_id_is_ever_executed(shop: Shop) -> None:
    """Hostile messages arrive as they are, or fail the order; hostile names are only names."""
    program = shop.program("Club'; drop table users; --")
    shop.member(program, user={"first_name": "'; drop table users; --", "last_name": "$1 %s {points}"})
    before = inventory(shop)
    for hostile in INJECTIONS:
        campaign = shop.campaign(program, f"{hostile} ", name=hostile)
        shop.start(campaign)
        if "{" in hostile and "{{" not in hostile:
            assert shop.status(campaign) == "FAILED"
            continue
        chunk = shop.chunk(cap=0)
        assert chunk is not None
        assert chunk["texts"] == [f"{hostile} ".replace("{{", "{").replace("}}", "}")]
        shop.finish(chunk)
        with pytest.raises(psycopg.Error) as refused:
            shop.rows("select push_test(%s, %s, 'x')", [program, hostile])
        assert refused.value.sqlstate == "PB404"
    campaign = shop.campaign(program, "{first_name}|{last_name}|{program}")
    shop.start(campaign)
    chunk = shop.chunk(cap=0)
    assert chunk is not None
    assert chunk["texts"] == ["'; drop table users; --|$1 %s {points}|Club'; drop table users; --"]
    assert inventory(shop) == before
