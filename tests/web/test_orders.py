"""Orders over HTTP, as their first documents show them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from support.wait import wait_until

if TYPE_CHECKING:
    import httpx

    from support.shop import Shop
    from support.web import Api, Club


@pytest.mark.parametrize("name", ["id", "passkit_id"])
def test_broadcast_by_either_id(api: Api, club: Club, name: str) -> None:
    """`programId` may be the program's UUID or its PassKit program id."""
    answer = api.post(
        "/api/notify/broadcast", {**club.order, "programId": str(getattr(club, name)), "segment": "WHALE"}
    )
    assert answer.status_code == 202
    result = answer.json()["result"]
    assert answer.json()["success"] is True
    assert result["total"] == 2
    assert result["status"] == "PENDING"
    order = club.shop.order(result["campaignId"])
    assert (order["target_query"], order["created_by"]) == ("WHALE", "marketing")


@pytest.mark.parametrize("missing", ["programId", "message"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_program_and_message_are_required(api: Api, club: Club, missing: str, value: str | None) -> None:
    """Without a program or a message the answer is 400 with the words that forms are used to."""
    answer = api.post("/api/notify/broadcast", {**club.order, missing: value})
    assert answer.status_code == 400
    assert answer.json()["error"] == "Message and Program ID required"
    form = {name: text for name, text in club.order.items() if name != missing}
    for path in ("blast", "targeted"):
        answer = api.http.post(f"/api/notifications/{path}", data=form, files=club.csv())
        assert (answer.status_code, answer.json()["error"]) == (400, "Message and Program ID required")


def test_audience_that_moved(api: Api, club: Club) -> None:
    """With `expected`, an audience of another size is refused with the number it has now."""
    answer = api.post("/api/notify/broadcast", {**club.order, "expected": 4812})
    assert answer.status_code == 409
    assert answer.json()["code"] == "AUDIENCE_MOVED"
    assert answer.json()["details"]["reachable"] == 3
    assert api.post("/api/notify/broadcast", {**club.order, "expected": 3}).status_code == 202


def test_rehearsal_sends_nothing(api: Api, club: Club) -> None:
    """The dry run counts honestly and shows what members would read."""
    body = {**club.order, "message": "Hi {first_name}, {points} points"}
    answer = api.post("/api/notify/broadcast/test", body).json()
    result = answer["result"]
    assert answer["dryRun"] is True
    assert [result[k] for k in ("matched", "inWallet", "optedOut", "capped", "reachable")] == [5, 4, 1, 0, 3]
    assert {s["message"] for s in result["samples"]} == {
        "Hi Ann, 1500 points",
        "Hi Bo, 20 points",
        "Hi Cy, 600 points",
    }
    assert club.shop.value("select count(*) from push_campaigns where program_id = %s", [club.id]) == 0


def test_d8_a_rehearsal_names_merge_tags_of_other_tools(api: Api, club: Club) -> None:
    """The dry run carries a warning with the right spelling; a message of our own kind carries none."""
    body = {"programId": str(club.id), "message": "Hi {{first_name}}, *|FNAME|*"}
    result = api.post("/api/notify/broadcast/test", body).json()["result"]
    assert len(result["warnings"]) == 2
    assert "Write {first_name}" in result["warnings"][0]
    clean = api.post("/api/notify/broadcast/test", {**body, "message": "Hi {first_name}"}).json()
    assert clean["result"]["warnings"] == []


def test_wait_answers_with_the_counts(api: Api, club: Club, shop: Shop) -> None:
    """With `?wait=` the answer comes with sent, failed and skipped, at the latest when the time is over."""
    result = api.post("/api/notify/broadcast?wait=0.3", club.order).json()["result"]
    assert (result["total"], result["sent"], result["failed"], result["skipped"]) == (3, 0, 0, 0)
    assert shop.status(result["campaignId"]) == "PENDING"


def test_schedule_by_the_programs_clock(api: Api, club: Club) -> None:
    """A time without an offset is the wall clock of the program's zone (New York unless it has one)."""
    summer = f"{datetime.now(UTC).year + 1}-07-01"
    body = {**club.order, "scheduledAt": f"{summer}T18:00"}
    campaign = api.post("/api/notify/broadcast", body).json()["result"]["campaignId"]
    assert club.shop.order(campaign)["scheduled_at"].isoformat() == f"{summer}T22:00:00+00:00"


def test_blast_to_all_and_to_a_list(api: Api, club: Club) -> None:
    """A blast without a file reaches all active members; with one, those on the list."""
    everybody = api.http.post("/api/notifications/blast", data=club.order)
    assert everybody.status_code == 202
    assert everybody.json()["result"]["total"] == 3
    listed = api.http.post("/api/notifications/blast", data=club.order, files=club.csv("nobody"))
    assert (listed.json()["targeted"], listed.json()["unmatched"]) == (3, 1)


def test_targeted_counts_whom_it_reaches(api: Api, club: Club) -> None:
    """A list answers with how many are targeted and how many rows match no member."""
    answer = api.http.post(
        "/api/notifications/targeted", data=club.order, files=club.csv("nobody", "stranger")
    )
    assert answer.status_code == 202
    body = answer.json()
    assert (body["success"], body["targeted"], body["unmatched"]) == (True, 3, 2)
    club.shop.start(UUID(body["campaignId"]))
    assert club.shop.order(body["campaignId"])["recipient_count"] == 3


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("member_id\nstranger\n", "BAD_REQUEST"),
        ("<html><body>Please sign in</body></html>", "UNUSABLE_CSV"),
        ("member_id\n", "BAD_REQUEST"),
        ("", "UNUSABLE_CSV"),
    ],
)
def test_unusable_lists(api: Api, club: Club, content: str, code: str) -> None:
    """A file without any known member never becomes a campaign to all members: nothing is created."""
    files = {"csvFile": ("list.csv", content, "text/csv")}
    answer = api.http.post("/api/notifications/targeted", data=club.order, files=files)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert club.shop.value("select count(*) from push_campaigns where program_id = %s", [club.id]) == 0


def test_unknown_program_and_segment(api: Api, club: Club) -> None:
    """An unknown program is 404, an unknown segment 400 with those that exist."""
    assert api.post("/api/notify/broadcast", {**club.order, "programId": "nope"}).status_code == 404
    answer = api.post("/api/notify/broadcast", {**club.order, "segment": "FRIENDS"})
    assert answer.status_code == 400
    assert "WHALE" in answer.json()["error"]


def test_birthday_run(api: Api, club: Club) -> None:
    """A birthday run lists, then gives, and gives nothing twice."""
    club.shop.conn.execute("update programs set birthday_bot_enabled = true where id = %s", [club.id])
    club.shop.conn.execute(
        "update users u set birth_date = (now() at time zone 'America/New_York')::date - interval '28 years'"
        " from passes_master p where p.user_id = u.id and p.external_id = %s",
        [club.member["Ann"]],
    )
    order = {"programId": str(club.id)}
    listed = api.post("/api/notify/birthday-run", {**order, "dryRun": True}).json()["result"]
    assert [person["externalId"] for person in listed] == [club.member["Ann"]]
    for gifted, already in ((1, 0), (0, 1)):
        result = api.post("/api/notify/birthday-run", order).json()["result"]
        assert [(r["gifted"], r["alreadyGifted"]) for r in result] == [(gifted, already)]


def test_import_reports_each_row(api: Api, club: Club) -> None:
    """An import answers with totals and the rows with a problem; a dry run changes nothing."""
    rows = (
        f"email,first_name,birth_date\nzoe-{club.passkit_id}@example.com,Zoe,1990-04-03\nnot-an-email,Bob,\n"
    )
    files = {"csvFile": ("members.csv", rows, "text/csv")}
    form = {"programId": str(club.id)}
    known = "select count(*) from users where email = %s"
    for dry_run, count in ((True, 0), (False, 1)):
        answer = api.http.post(
            "/api/members/import", data={**form, "dryRun": str(dry_run).lower()}, files=files
        )
        assert answer.status_code == 200, answer.text
        result = answer.json()["result"]
        assert (result["dryRun"], result["created"], result["rejected"]) == (dry_run, 1, 1)
        assert {row["rowNumber"] for row in result["rows"]} == {3}
        assert club.shop.value(known, [f"zoe-{club.passkit_id}@example.com"]) == count
    again = api.get(f"/api/members/import/{result['importId']}").json()["result"]
    assert again["status"] == "COMPLETED"


def test_campaigns_pages_and_verbs(api: Api, club: Club) -> None:
    """Campaigns come in pages, newest first; verbs answer with the campaign, an illegal one with 409."""
    made = [api.post("/api/notify/broadcast", club.order).json()["result"]["campaignId"] for _ in range(3)]
    first = api.get("/api/campaigns", params={"programId": club.passkit_id, "limit": 2}).json()
    second = api.get(
        "/api/campaigns", params={"programId": club.passkit_id, "limit": 2, "after": first["next"]}
    ).json()
    assert [c["campaignId"] for c in first["result"] + second["result"]] == made[::-1]
    assert second["next"] is None
    path = f"/api/campaigns/{made[0]}"
    assert api.post(f"{path}/pause").json()["result"]["status"] == "PAUSED"
    assert "marketing" in api.get(path).json()["result"]["statusDetail"]
    assert api.post(f"{path}/resume").json()["result"]["status"] == "PENDING"
    assert api.post(f"{path}/cancel").json()["result"]["status"] == "CANCELLED"
    refused = api.post(f"{path}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "ILLEGAL_STATE")


def test_ledger_as_json_and_as_csv(api: Api, club: Club) -> None:
    """Who got it and who did not, by page or as a CSV that a spreadsheet cannot be tricked with."""
    evil = f"=cmd|'/c calc'!A1-{club.passkit_id}"
    club.shop.member(club.id, user={"first_name": "@SUM(1)"}, external_id=evil)
    campaign = api.post("/api/notify/broadcast", club.order).json()["result"]["campaignId"]
    club.shop.start(UUID(campaign))
    wait_until(lambda: club.shop.send_chunks() == [], "everything is sent")
    page = api.get(f"/api/campaigns/{campaign}/deliveries?limit=2").json()
    rest = api.get(f"/api/campaigns/{campaign}/deliveries?limit=9&after={page['next']}").json()
    assert {row["outcome"] for row in page["result"] + rest["result"]} == {"sent"}
    assert len(page["result"] + rest["result"]) == 4
    text = api.get(f"/api/campaigns/{campaign}/deliveries", headers={"Accept": "text/csv"}).text
    assert f"'{evil}" in text
    assert "'@SUM(1)" in text
    assert len(text.splitlines()) == 5


def test_a_rule_of_the_host_is_said_in_its_own_words(api: Api, club: Club) -> None:
    """Where a trigger of the platform refuses a campaign, the answer is 409 with its sentence, not a defect."""
    club.shop.conn.execute(
        "create function public.no_tea() returns trigger language plpgsql as"
        " $$ begin raise exception 'No tea on Saturdays'; end $$"
    )
    club.shop.conn.execute(
        "create trigger no_tea before insert on push_campaigns for each row"
        f" when (new.program_id = '{club.id}') execute function public.no_tea()"
    )
    try:
        answer = api.post("/api/notify/broadcast", club.order)
    finally:
        club.shop.conn.execute("drop function public.no_tea cascade")
    assert (answer.status_code, answer.json()["code"]) == (409, "REFUSED_BY_DATABASE")
    assert "No tea on Saturdays" in answer.json()["error"]


def test_d9_the_encoding_of_an_uploaded_list_can_be_said(api: Api, club: Club) -> None:
    """D9: the part `encoding` overrules the guess; without a list it is refused, for a list was meant."""
    club.shop.conn.execute(
        "update passes_master set external_id = 'Łódź-7' where id ="
        " (select pass_id from passbell.recipients where program_id = %s and reachable and opted_in limit 1)",
        [club.id],
    )
    files = {"csvFile": ("list.csv", "member_id\nŁódź-7\n".encode("cp1250"), "text/csv")}

    def sent(encoding: str, call: str = "targeted") -> httpx.Response:
        order = club.order | {"encoding": encoding}
        return api.http.post(f"/api/notifications/{call}", data=order, files=files)

    assert (sent("cp1251").status_code, sent("klingon").json()["code"]) == (400, "UNUSABLE_CSV")
    assert (sent("cp1250").status_code, sent("cp1250").json()["targeted"]) == (202, 1)
    answer = api.http.post(
        "/api/notifications/blast",
        files={n: (None, v) for n, v in (club.order | {"encoding": "cp1250"}).items()},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "CSV_REQUIRED")
