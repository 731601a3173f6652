"""Lists through the real daemon: downloaded, matched, delivered; killed and started again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from support.processes import Command, Daemon
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from support.files import FileHost
    from support.shop import Shop

NOWHERE = "http://127.0.0.1:9"


def daemon(shop: Shop, **settings: object) -> Daemon:
    """A daemon that sends nothing and may download from loopback."""
    return Daemon(
        shop.url,
        NOWHERE,
        **{"DRY_RUN": True, "CSV_ALLOW_PRIVATE": True, "RATE_PER_SECOND": 20_000, "POLL_SECONDS": 0.2}
        | settings,
    )


def listed(shop: Shop, program: UUID, host: FileHost, name: str, more: str = "", **columns: object) -> UUID:
    """A campaign to all members of the program, by a list that also names `more`, an unknown id."""
    ids = [row["external_id"] for row in shop.rows("select external_id from passes_master")]
    host.files[name] = ("member_id\n" + "\n".join(ids) + f"\n{more}\n").encode()
    return shop.campaign(program, target_query="CSV", csv_upload_url=host.link(name), **columns)


def ended(shop: Shop, campaign: UUID) -> str:
    return wait_until(lambda: shop.status(campaign) in {"COMPLETED", "FAILED"} and shop.status(campaign))


def buzzed(shop: Shop, campaign: UUID) -> int:
    query = "select count(*) from passbell.deliveries where campaign_id = %s and outcome = 'sent'"
    found: int = shop.value(query, [campaign])
    return found


def test_a_list_by_url_is_delivered(shop: Shop, host: FileHost) -> None:
    """The file is fetched once, its members are buzzed, and the row says what it found."""
    program = shop.program()
    shop.members(program, 120)
    campaign = listed(shop, program, host, "list.csv", more="nobody")
    with daemon(shop):
        assert ended(shop, campaign) == "COMPLETED"
    assert host.asked == ["list.csv"]
    assert shop.order(campaign)["status_detail"] == "120 of 121 matched; 1 not found. 120 buzzed."
    assert buzzed(shop, campaign) == 120


def test_a_slow_file_host_holds_up_nobody_else(shop: Shop, host: FileHost) -> None:
    """While a list loads slowly, other campaigns and lists are sent."""
    program = shop.program()
    shop.members(program, 5)
    host.held |= {"slow.csv", "slow2.csv"}
    slow = [listed(shop, program, host, name, message_text=name) for name in sorted(host.held)]
    with daemon(shop):
        wait_until(lambda: set(host.asked) >= host.held)
        quick = listed(shop, program, host, "quick.csv", message_text="quick")
        plain = shop.campaign(program, message_text="plain")
        assert ended(shop, plain) == "COMPLETED"
        assert ended(shop, quick) == "COMPLETED"
        assert {shop.status(one) for one in slow} == {"PENDING"}
        assert shop.order(slow[0])["status_detail"] == "Downloading the list."
        host.let_go()
        assert {ended(shop, one) for one in slow} == {"COMPLETED"}


def test_a_graceful_stop_hands_the_list_back(shop: Shop, host: FileHost) -> None:
    """SIGTERM ends a download at once; the next daemon begins it anew and no attempt is lost."""
    program = shop.program()
    shop.members(program, 5)
    host.held.add("slow.csv")
    campaign = listed(shop, program, host, "slow.csv")
    with daemon(shop) as running:
        wait_until(lambda: host.asked)
        assert running.terminate(deadline=10) == 0
    load = shop.row("select attempt, claim_token, loaded from passbell.list_loads")
    assert load == {"attempt": 0, "claim_token": None, "loaded": False}
    host.let_go()
    with daemon(shop):
        assert ended(shop, campaign) == "COMPLETED"


@pytest.mark.parametrize("table", ["list_pages", "chunks"])
def test_killed_while_staging_or_expanding(shop: Shop, host: FileHost, table: str) -> None:
    """Kill -9 while the list is written, or while it becomes chunks: started again, everybody is buzzed once."""
    program = shop.program()
    shop.members(program, 1_200)
    campaign = listed(shop, program, host, "list.csv", more="nobody")
    with daemon(shop, CHUNK_SIZE=200) as running:
        with psycopg.connect(shop.url) as blocker:
            blocker.execute(f"lock table passbell.{table} in share mode")
            wait_until(lambda: waiting_for(shop, table), f"a session waits for {table}")
            running.kill()
        running.start()
        assert ended(shop, campaign) == "COMPLETED"
    assert buzzed(shop, campaign) == 1_200
    order = shop.order(campaign)
    assert (order["recipient_count"], order["sent_count"]) == (1_200, 1_200)
    assert "1,200 of 1,201 matched; 1 not found." in order["status_detail"]
    assert shop.value("select count(*) from passbell.list_entries") == 1
    assert shop.value("select count(*) from passbell.list_pages") == 0


def waiting_for(shop: Shop, table: str) -> bool:
    query = "select count(*) from pg_locks where relation = %s::regclass and not granted"
    found: int = shop.value(query, [f"passbell.{table}"])
    return found > 0


def test_killed_while_downloading(shop: Shop, host: FileHost) -> None:
    """Kill -9 in the middle of a download: the restarted daemon does not wait for the lease and misses no member."""
    program = shop.program()
    shop.members(program, 50)
    host.held.add("list.csv")
    campaign = listed(shop, program, host, "list.csv")
    with daemon(shop) as running:
        wait_until(lambda: host.asked)
        running.kill()
        host.let_go()
        running.start()
        assert ended(shop, campaign) == "COMPLETED"
    assert buzzed(shop, campaign) == 50


NO_LISTS: dict[str, tuple[bytes | None, str, str]] = {
    "missing.csv": (None, "text/csv", "404"),
    "login.csv": (b"<!doctype html><html><body>Sign in</body></html>", "text/html", "web page"),
    "empty.csv": (b"", "text/csv", "empty"),
    "header.csv": (b"member_id\n", "text/csv", "no member id in it"),
    "other.csv": (b"colour,size\nred,7\n", "text/csv", "member_id"),
    "list.csv": (b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + b"\0" * 60, "application/zip", "compressed"),
}
"""Files by name: what is in them, how the host calls it, and a word of the sentence that people read."""


def test_what_is_no_list_fails_with_a_sentence(shop: Shop, host: FileHost) -> None:
    """A missing file, a login page, an empty file, a zip: each campaign fails with a sentence."""
    program = shop.program()
    shop.members(program, 3)
    for name, (body, kind, _) in NO_LISTS.items():
        if body is not None:
            host.files[name], host.types[name] = body, kind
    campaigns = {
        name: shop.campaign(program, message_text=name, csv_upload_url=host.link(name)) for name in NO_LISTS
    }
    with daemon(shop):
        assert {name: ended(shop, campaign) for name, campaign in campaigns.items()} == dict.fromkeys(
            NO_LISTS, "FAILED"
        )
    for name, campaign in campaigns.items():
        assert NO_LISTS[name][2] in shop.order(campaign)["status_detail"], name
    assert shop.value("select count(*) from passbell.deliveries") == 0


def test_a_link_into_the_operators_network_is_refused(shop: Shop, host: FileHost) -> None:
    """A link to loopback fails the campaign without a request, unless private addresses are allowed."""
    program = shop.program()
    shop.members(program, 3)
    campaign = listed(shop, program, host, "list.csv")
    with daemon(shop, CSV_ALLOW_PRIVATE=False):
        assert ended(shop, campaign) == "FAILED"
    assert host.asked == []
    assert "https" in shop.order(campaign)["status_detail"]


def test_send_csv_from_a_terminal(shop: Shop, tmp_path: Path) -> None:
    """`passbell send --csv FILE` says at once who was found, and the daemon needs no link."""
    program = shop.program()
    shop.members(program, 4)
    ids = [row["external_id"] for row in shop.rows("select external_id from passes_master")]
    file = tmp_path / "list.csv"
    file.write_text("Member ID\n" + "\n".join([*ids, "nobody"]) + "\n", "utf-8")
    with daemon(shop):
        arguments = ("send", "--program", str(program), "--message", "Hi", "--csv", str(file))
        for more in (["--dry-run"], ["--wait"]):
            with Command(*arguments, *more, settings={"PASSBELL_DATABASE_URL": shop.url}) as sent:
                assert sent.wait() == 0
                assert "4 of 5 matched; 1 not found." in sent.output
    assert [row["status"] for row in shop.rows("select status from push_campaigns")] == ["COMPLETED"]
    assert shop.value("select count(*) from passbell.deliveries where outcome = 'sent'") == 4


def test_send_csv_of_nobody(shop: Shop, tmp_path: Path) -> None:
    """A file without any known member is refused with exit code 1, and no campaign is created."""
    program = shop.program()
    shop.members(program, 4)
    file = tmp_path / "list.csv"
    file.write_text("Member ID\nnobody\n", "utf-8")
    arguments = ("send", "--program", str(program), "--message", "Hi", "--csv", str(file))
    with Command(*arguments, settings={"PASSBELL_DATABASE_URL": shop.url}) as sent:
        assert sent.wait() == 1
        assert sent.log.strip() == (
            "passbell: Nobody on the list was found in this program (0 of 1 matched; 1 not found)."
        )
    assert shop.value("select count(*) from push_campaigns") == 0


def test_d9_the_encoding_of_a_list_by_url_can_be_said(shop: Shop, host: FileHost) -> None:
    """D9: csv_encoding decides how the list is read; if it changes while the campaign waits, it is read again."""
    program = shop.program()
    shop.member(program, external_id="Łódź-1")
    host.files["list.csv"] = "member_id\nŁódź-1\n".encode("cp1250")
    link = host.link("list.csv")
    right = shop.campaign(program, csv_upload_url=link, csv_encoding=" CP1250 ")
    wrong = shop.campaign(program, message="x", csv_upload_url=link, csv_encoding="cp1251")
    none = shop.campaign(program, message="y", csv_upload_url=link, csv_encoding="klingon")
    with daemon(shop):
        assert ended(shop, right) == "COMPLETED"
        assert ended(shop, wrong) == "FAILED"
        assert ended(shop, none) == "FAILED"
    assert shop.order(right)["sent_count"] == 1
    assert "Nobody on the list was found" in shop.order(wrong)["status_detail"]
    assert 'There is no encoding "klingon"' in shop.order(none)["status_detail"]
