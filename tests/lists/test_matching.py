"""The members that a list reaches, and what it says of the other rows. Staged as by `passbell send --csv`."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from passbell.database.lists import ListCampaign, ListOrder, create_list_campaign
from passbell.errors import CampaignError
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from support.databases import Generation
    from support.shop import MakeShop, Shop


def upload(shop: Shop, program: UUID, ids: Sequence[object], **order: Any) -> ListCampaign:
    file = io.BytesIO(("member_id\n" + "".join(f"{one}\n" for one in ids)).encode())
    order = {"message": "Hello", **order}
    return create_list_campaign(shop.conn, ListOrder(program=program, **order), file)


def problems(shop: Shop, campaign: UUID | None) -> list[tuple[int, str, str]]:
    query = "select * from public.push_list_problems where campaign_id = %s order by row_number"
    return [(row["row_number"], row["value"], row["reason"]) for row in shop.rows(query, [campaign])]


def test_every_row_reaches_its_member_or_says_why_not(make_shop: MakeShop, generation: Generation) -> None:
    """Ids match external id, else pass id, in any case and with spaces; every other row is listed with its reason."""
    shop = make_shop(generation)
    program, other = shop.program(), shop.program("Other")
    one = shop.member(program, external_id="Card-7")
    two = shop.member(program)
    gone = shop.member(program, status="UNINSTALLED", external_id="gone")
    shop.member(program, user={"marketing_opt_in": False}, external_id="silent")
    elsewhere = shop.member(other, external_id="elsewhere")
    made = upload(
        shop,
        program,
        [
            " cARD-7 ",
            str(two).upper(),
            gone,
            "SILENT",
            "Elsewhere",
            elsewhere,
            "nobody",
            "card-7",
            "1.23E+11",
        ],
    )
    assert (made.rows, made.matched, made.targeted, made.unmatched) == (9, 4, 2, 5)
    assert made.summary.startswith("4 of 9 matched; 2 of another program; ")
    assert problems(shop, made.campaign_id) == [
        (4, str(gone), "not_installed"),
        (5, "SILENT", "opted_out"),
        (6, "Elsewhere", "other_program"),
        (7, str(elsewhere), "other_program"),
        (8, "nobody", "unknown_member"),
        (9, "card-7", "duplicate"),
        (10, "1.23E+11", "unusable"),
    ]
    assert made.campaign_id is not None
    shop.start(made.campaign_id)
    assert shop.waiting(made.campaign_id) == {one, two}
    assert shop.order(made.campaign_id)["status_detail"] == made.summary


def test_issue_example(shop: Shop) -> None:
    """488 of 500 matched; 12 not found."""
    program = shop.program()
    shop.members(program, 488)
    ids = [row["external_id"] for row in shop.rows("select external_id from passes_master")]
    made = upload(shop, program, ids + [f"nobody{n}" for n in range(12)])
    assert made.summary == "488 of 500 matched; 12 not found."
    assert (made.targeted, made.unmatched) == (488, 12)


def test_the_exact_spelling_wins(shop: Shop) -> None:
    """If two members' ids differ only in case, the one spelt as on the list gets the message."""
    program = shop.program()
    shop.member(program, external_id="AB1")
    lower = shop.member(program, external_id="ab1")
    made = upload(shop, program, ["ab1"])
    assert made.campaign_id is not None
    shop.start(made.campaign_id)
    assert shop.waiting(made.campaign_id) == {lower}


@pytest.mark.parametrize("ids", [[], ["nobody", "no-one"]])
def test_a_list_of_nobody_creates_no_campaign(shop: Shop, ids: list[str]) -> None:
    """An upload that is empty or matches no member is refused, and no campaign is created."""
    program = shop.program()
    shop.members(program, 3)
    with pytest.raises(CampaignError, match=r"list is empty|Nobody on the list was found .*2 not found"):
        upload(shop, program, ids)
    for table in ("push_campaigns", "passbell.list_pages", "passbell.list_loads", "passbell.list_entries"):
        assert shop.value(f"select count(*) from {table}") == 0, table  # noqa: S608


@pytest.mark.parametrize("ids", [[], ["nobody", "no-one"]])
def test_a_list_by_url_of_nobody_fails_the_campaign(shop: Shop, ids: list[str]) -> None:
    """The campaign fails with a detail, its rows stay readable, and no member is reached."""
    program = shop.program()
    shop.members(program, 3)
    campaign = shop.campaign(program, target_query="CSV", csv_upload_url="https://example.com/l.csv")
    load(shop, campaign, ids)
    claimed = shop.start(campaign)
    assert claimed["action"] == "failed"
    order = shop.order(campaign)
    assert order["status"] == "FAILED"
    assert order["status_detail"] in {
        "The list is empty: there is no member id in it.",
        "Nobody on the list was found in this program (0 of 2 matched; 2 not found).",
    }
    assert len(problems(shop, campaign)) == len(ids)
    assert shop.value("select count(*) from passbell.chunks") == 0


def load(shop: Shop, campaign: UUID, ids: Sequence[str]) -> None:
    """What a daemon does with a list by URL, without the download."""
    claimed = shop.start(campaign)
    assert claimed["action"] == "download"
    names = [campaign, claimed["claim_token"]]
    with shop.conn.transaction():
        shop.conn.execute("select passbell.begin_list(%s, %s)", names)
        if ids:
            shop.conn.execute(
                "insert into passbell.list_pages values (%s, 0, %s, %s)",
                [campaign, list(range(2, len(ids) + 2)), list(ids)],
            )
        shop.conn.execute("select passbell.list_loaded(%s, %s, %s, 'x')", [*names, claimed["csv_url"]])


@pytest.mark.parametrize("target", [None, "ALL", "VIP:100", "CSV & VIP:100"])
def test_a_url_always_narrows(shop: Shop, target: str | None) -> None:
    """Whatever the target says beside it, a campaign with a list reaches no member that is not on it."""
    program = shop.program()
    poor = shop.member(program, tier_points=1, external_id="poor")
    rich = shop.member(program, tier_points=500, external_id="rich")
    shop.member(program, tier_points=500)
    campaign = shop.campaign(program, target_query=target, csv_upload_url="https://example.com/l.csv")
    load(shop, campaign, ["poor", "rich"])
    shop.start(campaign)
    assert shop.waiting(campaign) == ({rich} if target and "VIP" in target else {poor, rich})
    assert shop.order(campaign)["status_detail"] == "2 of 2 matched."


def test_csv_and_ids_intersect(shop: Shop) -> None:
    """CSV & IDS reaches who is on both."""
    program = shop.program()
    both, _ = shop.member(program, external_id="a"), shop.member(program, external_id="b")
    made = upload(shop, program, ["a", "b"], target="CSV & IDS:a,c")
    assert made.targeted == 1
    assert made.campaign_id is not None
    shop.start(made.campaign_id)
    assert shop.waiting(made.campaign_id) == {both}


def test_csv_without_a_file_fails(shop: Shop) -> None:
    """The target CSV without a link is a broken order; it never means all members."""
    program = shop.program()
    shop.members(program, 3)
    campaign = shop.campaign(program, target_query="csv")
    assert shop.start(campaign)["action"] == "failed"
    assert shop.order(campaign)["status_detail"] == "The audience is CSV, but csv_upload_url is empty."


def test_another_link_is_another_list(shop: Shop) -> None:
    """If the link changes before the campaign starts, the new list is read."""
    program = shop.program()
    shop.member(program, external_id="a")
    b = shop.member(program, external_id="b")
    campaign = shop.campaign(program, csv_upload_url="https://example.com/a.csv")
    load(shop, campaign, ["a"])
    shop.conn.execute("update push_campaigns set csv_upload_url = 'https://example.com/b.csv'")
    load(shop, campaign, ["b"])
    shop.start(campaign)
    assert shop.waiting(campaign) == {b}


def test_two_lists_with_one_text_are_two_campaigns(shop: Shop) -> None:
    """The guard against double submits holds the same list twice, not another list with the same text."""
    program = shop.program()
    shop.members(program, 2)
    a, b = (row["external_id"] for row in shop.rows("select external_id from passes_master"))
    made = [upload(shop, program, ids).campaign_id for ids in ([a], [b], [a])]
    actions = {claimed["campaign_id"]: claimed["action"] for claimed in iter(shop.claim, None)}
    assert [actions[one] for one in made if one] == ["expanded", "expanded", "held"]


def test_a_rehearsal_leaves_nothing(shop: Shop) -> None:
    """A dry run counts and creates no campaign."""
    program = shop.program()
    shop.member(program, external_id="a")
    file = io.BytesIO(b"id\na\nb\n")
    made = create_list_campaign(shop.conn, ListOrder(program=program, message="Hi"), file, dry_run=True)
    assert (made.campaign_id, made.targeted, made.summary) == (None, 1, "1 of 2 matched; 1 not found.")
    assert shop.value("select count(*) from push_campaigns") == 0


def test_hostile_ids_are_only_text(shop: Shop) -> None:
    """Quotes, backslashes, braces, formulas and SQL in ids match the members they name and harm nothing."""
    program = shop.program()
    names = ['a"b', "c\\d", "{e,f}", "g'; drop table users; --", "=cmd|calc", "NULL-1", "ünï 7", "a,b9"]
    passes = {shop.member(program, external_id=name) for name in names}
    text = "external_id\n" + "".join('"' + name.replace('"', '""') + '"\n' for name in names)
    made = create_list_campaign(
        shop.conn, ListOrder(program=program, message="Hi"), io.BytesIO(text.encode())
    )
    assert made.campaign_id is not None
    shop.start(made.campaign_id)
    assert shop.waiting(made.campaign_id) == passes


def test_pages_go_when_the_audience_is_frozen_or_cancelled(shop: Shop) -> None:
    """The rows of a list are removed once its audience is frozen or its campaign cancelled."""
    program = shop.program()
    shop.member(program, external_id="a")
    first, second = (upload(shop, program, ["a"], message=text).campaign_id for text in ("x", "y"))
    assert shop.value("select count(*) from passbell.list_pages") == 2
    assert first is not None
    assert second is not None
    shop.start(first)
    shop.conn.execute("select push_cancel(%s)", [second])
    assert shop.value("select count(*) from passbell.list_pages") == 0


@pytest.mark.parametrize(
    "other", ["claim_campaign(gen_random_uuid())", "preview_list((select id from push_campaigns))"]
)
def test_a_list_may_be_counted_while_it_is_being_frozen_or_counted(shop: Shop, other: LiteralString) -> None:
    """The API answers with the count of a list it has just ordered, also when a daemon is at that order already."""
    program = shop.program()
    shop.member(program, external_id="a")
    campaign = upload(shop, program, ["a", "nobody", "a"]).campaign_id
    with psycopg.connect(shop.url) as busy, ThreadPoolExecutor(1) as pool:
        busy.execute(sql.SQL("select * from passbell.{}").format(sql.SQL(other)))
        counting = pool.submit(shop.row, "select * from passbell.preview_list(%s)", [campaign])
        wait_until(lambda: is_waiting(busy) or counting.done())
        busy.commit()
        count = counting.result()
    assert (count["listed"], count["reachable"], count["unmatched"]) == (3, 1, 1)


def is_waiting(connection: psycopg.Connection[Any]) -> bool:
    """Whether another session waits for a lock that this connection's transaction holds."""
    query = "select from pg_locks l where not l.granted and pg_backend_pid() = any (pg_blocking_pids(l.pid))"
    return bool(connection.execute(query).fetchall())


def test_a_stale_loader_writes_nothing(shop: Shop) -> None:
    """A daemon that lost its lease can neither write rows of a list nor complete it."""
    program = shop.program()
    shop.member(program, external_id="a")
    campaign = shop.campaign(program, csv_upload_url="https://example.com/a.csv")
    old = shop.start(campaign)["claim_token"]
    shop.conn.execute("update passbell.list_loads set lease_until = now() - interval '1 second'")
    new = shop.start(campaign)["claim_token"]
    assert old != new
    for call in ("begin_list(%s, %s)", "list_loaded(%s, %s, 'u', 'd')"):
        with pytest.raises(psycopg.Error) as refused:
            shop.conn.execute(f"select passbell.{call}", [campaign, old])
        assert refused.value.sqlstate == "PB412"
    assert shop.value("select passbell.renew_list_load(%s, %s, 60)", [campaign, old]) is False
    assert shop.value("select passbell.renew_list_load(%s, %s, 60)", [campaign, new]) is True


def test_an_admin_reads_the_problems_of_their_own_program(make_shop: MakeShop) -> None:
    """The administrator of the program sees the rows, another one does not, and neither sees the table itself."""
    shop = make_shop("3", supabase=True)
    program, other = shop.program(), shop.program("Other")
    shop.member(program, external_id="a")
    upload(shop, program, ["a", "nobody"])
    seen = {}
    for where in (program, other):
        admin = shop.value(
            "insert into auth.users (email) values (%s) returning id", [f"{where}@example.com"]
        )
        shop.conn.execute("insert into admin_profiles (id, program_id) values (%s, %s)", [admin, where])
        with shop.conn.transaction():
            shop.conn.execute("select set_config('request.jwt.claims', %s, true)", [f'{{"sub": "{admin}"}}'])
            shop.conn.execute("set local role authenticated")
            seen[where] = shop.value("select count(*) from public.push_list_problems")
            with pytest.raises(psycopg.errors.InsufficientPrivilege), shop.conn.transaction():
                shop.conn.execute("select * from passbell.list_entries")
    assert seen == {program: 1, other: 0}
