"""B1, B6, C7: a slip never widens an order. The judge is always the same: no campaign was created."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from uuid import uuid4

import pytest

from support.wait import wait_until
from support.web import OTHER_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from support.web import Api, Club, Web

LIST: Final = ("list.csv", "member_id\nAnn\n", "text/csv")


def campaigns(club: Club) -> int:
    """How many campaigns the program has."""
    found: int = club.shop.value("select count(*) from push_campaigns where program_id = %s", [club.id])
    return found


def refused(answer: httpx.Response, club: Club, status: int, code: str) -> dict[str, Any]:
    """The answer is this refusal, and nothing was created."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body.get("code")) == (status, code), answer.text
    assert campaigns(club) == 0
    return body


# ── B1: fields that are not known ──


@pytest.mark.parametrize(
    ("slip", "nearest"),
    [
        ({"segmnt": "VIP"}, "segment"),
        ({"Segment": "VIP"}, "segment"),
        ({"targets": "VIP"}, "target"),
        ({"segment_configs": {}}, "segmentConfig"),
        ({"scheduleAt": "2031-01-01T10:00"}, "scheduledAt"),
        ({"expect": 3}, "expected"),
        ({"programID": "x"}, "programId"),
        ({"tenant": "x"}, "tenantId"),
        ({"vipThreshold": 500}, None),
        ({"": 1}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/api/notify/broadcast", "/api/notify/broadcast/test"])
def test_b1_an_unknown_field_is_refused(
    api: Api, club: Club, path: str, slip: dict[str, Any], nearest: str | None
) -> None:
    """A field that is nearly right is named with the nearest that is known, and no member is reached."""
    body = refused(api.post(path, {**club.order, **slip}), club, 422, "UNKNOWN_FIELD")
    if nearest is not None:
        assert f'"{nearest}"' in body["error"]
        assert body["details"][0]["nearest"] == nearest


@pytest.mark.parametrize("query", ["segment=VIP", "target=VIP", "Wait=3", "dryRun=true", "programId=x"])
def test_b1_an_unknown_query_parameter_is_refused(api: Api, club: Club, query: str) -> None:
    """What belongs into the body is refused in the address."""
    refused(api.post(f"/api/notify/broadcast?{query}", club.order), club, 422, "UNKNOWN_FIELD")


@pytest.mark.parametrize("part", ["file", "csv", "csvfile", "segment", "target", "name", "csvFile[]"])
@pytest.mark.parametrize("path", ["blast", "targeted"])
def test_b1_an_unknown_form_part_is_refused(api: Api, club: Club, path: str, part: str) -> None:
    """A list under another name never becomes a message to everybody; neither does a segment in a form."""
    for answer in (
        api.http.post(f"/api/notifications/{path}", data=club.order, files={part: LIST}),
        api.http.post(f"/api/notifications/{path}", data={**club.order, part: "VIP"}),
    ):
        body = refused(answer, club, 422, "UNKNOWN_FIELD")
        assert body["details"][0]["known"] == ["csvFile", "encoding", "message", "programId"]


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "UNUSABLE_CSV"), (None, "INVALID_REQUEST")], ids=["empty part", "empty text"]
)
@pytest.mark.parametrize("name", ["", "list.csv"])
def test_b1_an_empty_list_is_not_everybody(
    api: Api, club: Club, content: bytes | None, code: str, name: str
) -> None:
    """A form whose file was not chosen sends an empty part: that is an error, not "no list"."""
    head = '--b\r\nContent-Disposition: form-data; name="csvFile"'
    if content is not None:
        head += f'; filename="{name}"'
    fields = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in club.order.items()
    )
    answer = api.http.post(
        "/api/notifications/blast",
        content=f"{fields}{head}\r\n\r\n\r\n--b--\r\n".encode(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    refused(answer, club, 400 if content is not None else 422, code)


@pytest.mark.parametrize(
    "lost", ["\r\n--b--\r\n", "zz\r\n--b--\r\n", "LIST"], ids=["the end", "a row", "the list"]
)
@pytest.mark.parametrize("path", ["blast", "targeted"])
def test_b1_a_form_that_was_cut_off_is_not_everybody(api: Api, club: Club, path: str, lost: str) -> None:
    """A proxy or a script loses the end of a form, and with it the list: no member is reached."""
    fields = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in club.order.items()
    )
    part = '--b\r\nContent-Disposition: form-data; name="csvFile"; filename="l.csv"\r\n\r\nmember_id\r\nzz\r\n--b--\r\n'
    body = fields + (part.removesuffix(lost) if lost != "LIST" else "--b\r\nContent-Dis")
    answer = api.http.post(
        f"/api/notifications/{path}",
        content=body.encode(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    refused(answer, club, 400, "BAD_REQUEST")


def test_b1_a_part_given_twice_is_refused(api: Api, club: Club) -> None:
    """Of two lists in one form neither is dropped in silence."""
    files = [("csvFile", LIST), ("csvFile", LIST)]
    answer = api.http.post("/api/notifications/blast", data=club.order, files=files)
    refused(answer, club, 422, "CONFLICTING_FIELDS")


@pytest.mark.parametrize(
    "text",
    [
        '{"programId": "PROGRAM", "message": "Hi", "segment": "IDS:Ann", "segment": "ALL"}',
        '{"programId": "PROGRAM", "message": "Hi", "segmentConfig": {"zipCodes": ["1"], "zipCodes": []}}',
    ],
)
def test_b1_a_field_given_twice_is_refused(api: Api, club: Club, text: str) -> None:
    """A JSON field that is given twice is refused, because one of the values would be dropped."""
    answer = api.http.post(
        "/api/notify/broadcast",
        content=text.replace("PROGRAM", str(club.id)),
        headers={"Content-Type": "application/json"},
    )
    refused(answer, club, 422, "CONFLICTING_FIELDS")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_b1_a_body_of_another_kind_is_refused(api: Api, club: Club, kind: str) -> None:
    """A form where JSON belongs is refused, not read as an order without an audience."""
    answer = api.http.post(
        "/api/notify/broadcast",
        content=f"programId={club.id}&message=Hi&segment=VIP",
        headers={"Content-Type": kind},
    )
    refused(answer, club, 422, "INVALID_REQUEST")


@pytest.mark.parametrize("field", ["segment", "target"])
@pytest.mark.parametrize(
    "value",
    [None, "", "   ", "\u00a0", "\u200b", "\ufeff", [], ["VIP"], {}, 0, 1, True, False, "&", "VIP &", ":"],
    ids=repr,
)
def test_b1_an_audience_that_says_nothing_is_not_everybody(
    api: Api, club: Club, field: str, value: object
) -> None:
    """An audience that is there and empty is a variable that was not set."""
    answer = api.post("/api/notify/broadcast", {**club.order, field: value})
    assert answer.status_code in {400, 422}, answer.text
    assert campaigns(club) == 0


@pytest.mark.parametrize(
    "said",
    [
        {"segment": "CSV"},
        {"segment": "GEO"},
        {"segment": "CITY"},
        {"segment": "IDS"},
        {"segment": "IDS:"},
        {"segment": "VIP", "target": "ALL"},
        {"segment": "ALL", "segmentConfig": {"memberIds": ["Ann"]}},
        {"segment": "ALL", "segmentConfig": {"vipThreshold": 500}},
        {"segment": "GEO", "segmentConfig": {"cities": ["Springfield"]}},
        {"segment": "GEO", "segmentConfig": {"zipCodes": []}},
        {"segment": "GEO", "segmentConfig": {"zipCodes": [""]}},
        {"segment": "GEO", "segmentConfig": {"zipCodes": ["*"]}},
        {"segment": "GEO", "segmentConfig": {"zipCodes": [None]}},
        {"segment": "GEO", "segmentConfig": {"zipcodes": ["90210"]}},
        {"segment": "CITY", "segmentConfig": {"cities": ["Bath & Wells"]}},
        {"segment": "CSV", "segmentConfig": {"memberIds": []}},
        {"segment": "VIP", "segmentConfig": {"vipThreshold": 0}},
        {"segment": "VIP", "segmentConfig": {"vipThreshold": -5}},
        {"segment": "VIP", "segmentConfig": {"vipThreshold": True}},
        {"segment": "VIP", "segmentConfig": {"vipThreshold": "many"}},
        {"segment": "VIP", "segmentConfig": {"vipThreshold": [500]}},
        {"segment": "DORMANT", "segmentConfig": {"dormantDays": 0}},
        {"segment": "DORMANT", "segmentConfig": {"dormantDays": 1.5}},
        {"segmentConfig": {"memberIds": ["Ann"]}},
        {"segmentConfig": {"vipThreshold": 500}},
        {"segmentConfig": {"memberIds": []}},
        {"segmentConfig": ["Ann"]},
        {"segment": "TIER_9"},
        {"segment": "ALL_ACTIVE"},
        {"segment": "ALL_TICKETED"},
        {"segment": "EXPIRING_SOON"},
        {"name": "A", "campaignName": "B"},
        {"expected": True},
        {"expected": "many"},
        {"expected": -1},
        {"protocol": "COUPON"},
    ],
    ids=str,
)
def test_b1_what_does_not_go_together_is_refused(api: Api, club: Club, said: dict[str, Any]) -> None:
    """Nothing that was said about the audience is dropped: what cannot be meant is refused."""
    answer = api.post("/api/notify/broadcast", {**club.order, **said})
    assert answer.status_code in {400, 422}, answer.text
    assert campaigns(club) == 0


@pytest.mark.parametrize(
    "body",
    [
        {"programId": None},
        {"programId": ""},
        {"program": "x"},
        {"dryRun": None},
        {"dryRun": "maybe"},
        {"dryrun": True},
        [],
        "x",
        {"tenantId": "x"},
    ],
    ids=repr,
)
def test_b1_a_birthday_run_for_one_program_is_not_one_for_all(api: Api, club: Club, body: object) -> None:
    """A birthday run with an empty program or a misspelt dryRun gives no gift in any program."""
    club.shop.conn.execute("update programs set birthday_bot_enabled = true where id = %s", [club.id])
    answer = api.post("/api/notify/birthday-run", body)
    assert answer.status_code in {400, 422}, answer.text
    assert club.shop.value("select count(*) from birthday_logs where program_id = %s", [club.id]) == 0


def test_b1_dry_run_as_text_means_what_it_says(api: Api, club: Club) -> None:
    """Text in place of true and false is read as people mean it, and an empty text is no answer."""
    for said in ("true", "yes", "1", True):
        body = {"programId": str(club.id), "dryRun": said}
        result = api.post("/api/notify/birthday-run", body).json()["result"]
        assert all("alreadyGifted" in row and "gifted" not in row for row in result)
    form = {"programId": str(club.id), "dryRun": ""}
    files = {"csvFile": ("members.csv", "email\nzoe@example.com\n", "text/csv")}
    answer = api.http.post("/api/members/import", data=form, files=files)
    refused(answer, club, 422, "INVALID_REQUEST")
    assert club.shop.value("select count(*) from users where email = 'zoe@example.com'") == 0


def test_b1_a_call_without_a_body_takes_none(api: Api, club: Club) -> None:
    """A cancel with a body such as dryRun is refused and cancels nothing."""
    campaign = club.shop.campaign(club.id)
    answer = api.post(f"/api/campaigns/{campaign}/cancel", {"dryRun": True})
    assert (answer.status_code, answer.json()["code"]) == (422, "UNKNOWN_FIELD")
    assert club.shop.status(campaign) == "PENDING"
    assert api.post(f"/api/campaigns/{campaign}/cancel", {}).status_code == 200


def test_b1_every_call_refuses_what_it_does_not_know(api: Api) -> None:
    """Whatever the document lists: an unknown query parameter is refused before anything else."""
    called = 0
    for path, operations in api.get("/openapi.json").json()["paths"].items():
        for method in operations if path.startswith("/api/") else ():
            answer = api.http.request(method, path.replace("{id}", str(uuid4())), params={"nonsense": "1"})
            assert (answer.status_code, answer.json()["code"]) == (422, "UNKNOWN_FIELD"), (method, path)
            called += 1
    assert called >= 22


@pytest.mark.parametrize(
    ("segment", "config"),
    [
        ("VIP", {"vipThreshold": None}),
        ("DORMANT", {"dormantDays": None}),
        ("GEO", {"zipCodes": None}),
        ("CITY", {"cities": None}),
        ("CSV", {"memberIds": None}),
        ("slumber", {"dormantDays": None, "zipCodes": None}),
    ],
    ids=str,
)
def test_b1_a_value_that_is_null_is_not_the_default(
    api: Api, club: Club, segment: str, config: dict[str, Any]
) -> None:
    """A null or NaN threshold is refused; it does not mean the default."""
    answer = api.post("/api/notify/broadcast", {**club.order, "segment": segment, "segmentConfig": config})
    refused(answer, club, 422, "CONFLICTING_FIELDS")


def test_b1_consent_is_never_turned_off_by_a_null(api: Api, club: Club) -> None:
    """A null for pushConsent leaves OPT_IN as it is; it takes the word to turn it off."""
    club.shop.conn.execute("update programs set push_consent = 'OPT_IN' where id = %s", [club.id])
    for nothing in (None, ""):
        answer = api.http.patch(f"/api/programs/{club.id}", json={"pushConsent": nothing})
        assert answer.status_code == 422, answer.text
    now = "select push_consent from programs where id = %s"
    assert club.shop.value(now, [club.id]) == "OPT_IN"
    assert api.http.patch(f"/api/programs/{club.id}", json={"pushConsent": "OPT_OUT"}).status_code == 200
    assert club.shop.value(now, [club.id]) == "OPT_OUT"


def test_b1_a_passkit_id_of_two_programs_names_neither(api: Api, club: Club) -> None:
    """An order by a PassKit program id that two programs have is refused; by the program's own id it is taken."""
    twin = club.shop.program("Twin", passkit_program_id=club.passkit_id)
    refused(
        api.post("/api/notify/broadcast", {**club.order, "programId": club.passkit_id}),
        club,
        400,
        "BAD_REQUEST",
    )
    assert club.shop.value("select count(*) from push_campaigns where program_id = %s", [twin]) == 0
    assert api.post("/api/notify/broadcast", club.order).status_code == 202


# ── C7: the bodies of the platform's own service ──


def named(said: Any, club: Club) -> Any:
    """The same with the ids of this club's members in place of their names."""
    if isinstance(said, dict):
        return {key: named(value, club) for key, value in said.items()}
    if isinstance(said, list):
        return [named(entry, club) for entry in said]
    if isinstance(said, str):
        return said.replace("ANN", club.member["Ann"]).replace("CY?", club.member["Cy"])
    return said


@pytest.mark.parametrize(
    ("said", "total"),
    [
        ({"segment": "ALL"}, 3),
        ({"target": "IDS:ANN"}, 1),
        ({"segment": "whale", "target": " WHALE "}, 2),
        ({"segment": "VIP", "segmentConfig": {"vipThreshold": 600}}, 2),
        ({"segment": "VIP", "segmentConfig": {"vipThreshold": "601"}}, 1),
        ({"segment": "VIP", "segmentConfig": {"vipThreshold": 1500.0, "zipCodes": []}}, 1),
        ({"segment": "CSV", "segmentConfig": {"memberIds": ["ANN", "CY?", "nobody"]}}, 2),
        ({"segment": "CSV", "segmentConfig": {"memberIds": "ANN,CY?"}}, 2),
        ({"segment": "GEO", "segmentConfig": {"zipCodes": ["90210", 10001]}}, 2),
        ({"segment": "CITY", "segmentConfig": {"cities": ["springfield"]}}, 1),
        ({"segment": "DORMANT", "segmentConfig": {"dormantDays": 60}}, 1),
        ({"segment": "DORMANT"}, 2),
        ({"segment": "ALL", "segmentConfig": {}}, 3),
        ({"protocol": "membership", "campaignName": "Tea"}, 3),
    ],
    ids=str,
)
def test_c7_the_old_bodies_mean_what_they_meant(
    api: Api, club: Club, said: dict[str, Any], total: int
) -> None:
    """`segmentConfig`, `campaignName`, `tenantId` and `protocol` are read as the platform's own service read them."""
    people = {
        "Ann": ("90210", "Springfield", 90),
        "Bo": ("10001", "Shelbyville", 40),
        "Cy": ("60601", "Chicago", 1),
    }
    for name, (zip_code, city, days) in people.items():
        club.shop.conn.execute(
            "update users u set zip = %s, city = %s from passes_master p"
            " where p.user_id = u.id and p.external_id = %s",
            [zip_code, city, club.member[name]],
        )
        club.shop.conn.execute(
            "update passes_master set last_updated = now() - make_interval(days => %s) where external_id = %s",
            [days, club.member[name]],
        )
    body = named(said, club)
    rehearsed = api.post("/api/notify/broadcast/test", {**club.order, **body})
    assert rehearsed.status_code == 200, rehearsed.text
    assert rehearsed.json()["result"]["total"] == total
    counted = {name: value for name, value in body.items() if name != "campaignName"}
    preview = api.post("/api/notify/segment/preview", {"programId": str(club.id), **counted})
    assert preview.json()["result"]["reachable"] == total
    sent = api.post("/api/notify/broadcast", {**club.order, **body})
    assert sent.json()["result"]["total"] == total
    if "campaignName" in said:
        assert club.shop.order(sent.json()["result"]["campaignId"])["name"] == "Tea"


def test_c7_another_tenants_program_is_not_found(api: Api, club: Club) -> None:
    """Where programs have tenants, `tenantId` has to be the program's."""
    club.shop.conn.execute("alter table programs add column if not exists tenant_id uuid")
    tenant = str(uuid4())
    club.shop.conn.execute("update programs set tenant_id = %s where id = %s", [tenant, club.id])
    refused(
        api.post("/api/notify/broadcast", {**club.order, "tenantId": str(uuid4())}), club, 404, "NOT_FOUND"
    )
    assert api.post("/api/notify/broadcast", {**club.order, "tenantId": tenant.upper()}).status_code == 202


def test_c7_the_other_addresses(api: Api, club: Club) -> None:
    """Each address of the platform's own service answers as our nearest call."""
    form = {**club.order, "campaignName": "Guests", "protocol": "MEMBERSHIP"}
    listed = api.http.post("/api/notify/broadcast/csv", data=form, files=club.csv("nobody")).json()
    assert (listed["targeted"], listed["unmatched"]) == (3, 1)
    logs = api.get("/api/notify/logs", params={"programId": str(club.id)}).json()
    assert [campaign["name"] for campaign in logs["result"]] == ["Guests"]
    known = api.get("/api/notify/segments", params={"programId": str(club.id)}).json()["result"]
    assert known == api.get("/api/segments").json()["result"]
    assert api.post("/api/notify/birthday-bot/test", {"programId": str(club.id)}).json()["result"] == []
    assert api.post("/api/notify/birthday-bot/test", {"dryRun": False}).status_code == 422
    answer = api.http.post("/api/notify/broadcast/csv", data=form, files={"file": LIST})
    assert (answer.status_code, answer.json()["code"]) == (422, "UNKNOWN_FIELD")


def test_c7_a_list_of_ids_as_json(api: Api, club: Club) -> None:
    """/broadcast/csv takes ids as JSON; without ids it is refused."""
    for said in (
        {},
        {"memberIds": []},
        {"memberIds": None},
        {"segment": "ALL"},
        {"memberIds": ["x"], "segment": "ALL"},
        {"memberid": ["x"]},
        {"segment": "CSV"},
    ):
        answer = api.post("/api/notify/broadcast/csv", {**club.order, **said})
        assert answer.status_code == 422, answer.text
        assert campaigns(club) == 0
    ids = [club.member["Ann"], club.member["Bo"]]
    for said in ({"memberIds": ids}, {"segment": "CSV", "segmentConfig": {"memberIds": ids}}):
        answer = api.post("/api/notify/broadcast/csv", {**club.order, **said})
        assert (answer.status_code, answer.json()["result"]["total"]) == (202, 2)


# ── B6: times, suspended programs, quiet hours ──


@pytest.mark.parametrize("path", ["/api/notify/broadcast", "/api/notify/broadcast/test"])
def test_b6_a_time_in_the_past_is_refused(api: Api, club: Club, path: str) -> None:
    """A time that is over is not "at once"."""
    for past in (datetime.now(UTC) - timedelta(minutes=2), datetime(2020, 1, 1, tzinfo=UTC)):
        body = {**club.order, "scheduledAt": past.isoformat()}
        refused(api.post(path, body), club, 422, "PAST_TIME")
    body = {**club.order, "scheduledAt": "2020-01-01T10:00"}
    assert "America/New_York" in refused(api.post(path, body), club, 422, "PAST_TIME")["error"]


def test_b6_a_count_says_that_the_time_is_over(api: Api, club: Club) -> None:
    """The count of an audience for a time in the past says that its order would be refused."""
    for path in ("/api/preview", "/api/notify/segment/preview"):
        answer = api.post(path, {"programId": str(club.id), "scheduledAt": "2020-01-01T10:00"})
        assert "2020-01-01 10:00 America/New_York, is over" in answer.json()["result"]["notice"]


def test_b6_a_replay_is_answered_before_the_time_is_judged(api: Api, club: Club) -> None:
    """Repeating an order whose time has come and gone since repeats the answer."""
    headers = {"Idempotency-Key": uuid4().hex}
    at = (datetime.now(UTC) - timedelta(seconds=58)).isoformat()
    order = {**club.order, "scheduledAt": at}
    first = api.post("/api/notify/broadcast", order, headers=headers)
    assert first.status_code == 202, first.text
    wait_until(
        lambda: api.post("/api/notify/broadcast/test", order).json().get("code") == "PAST_TIME",
        "the time is over",
    )
    again = api.post("/api/notify/broadcast", order, headers=headers)
    assert again.content == first.content
    refused_now = api.post("/api/notify/broadcast", order)
    assert refused_now.json()["code"] == "PAST_TIME"
    assert campaigns(club) == 1


def test_b6_a_suspended_program_is_409(api: Api, club: Club) -> None:
    """Nothing can be ordered for a suspended program: no broadcast, no list, no rehearsal, no gifts."""
    club.shop.conn.execute("update programs set is_suspended = true where id = %s", [club.id])
    answers = [
        api.post("/api/notify/broadcast", club.order),
        api.post("/api/notify/broadcast/test", club.order),
        api.http.post("/api/notifications/blast", data=club.order),
        api.http.post("/api/notifications/targeted", data=club.order, files=club.csv()),
        api.post("/api/notify/birthday-run", {"programId": str(club.id)}),
    ]
    for answer in answers:
        refused(answer, club, 409, "PROGRAM_SUSPENDED")
    counted = api.post("/api/preview", {"programId": str(club.id)}).json()["result"]
    assert counted["suspended"] is True
    assert "suspended" in counted["notice"]


def test_b6_quiet_hours_are_said_before_and_in_the_answer(api: Api, club: Club) -> None:
    """If quiet hours hold an order back, preview, dry run and answer say until when."""
    club.shop.conn.execute(
        "update programs set push_window_start = ((now() at time zone 'America/New_York') + interval '2 hours')::time,"
        " push_window_end = ((now() at time zone 'America/New_York') + interval '3 hours')::time where id = %s",
        [club.id],
    )
    for path in ("/api/preview", "/api/notify/broadcast/test", "/api/notify/broadcast"):
        body = {"programId": str(club.id)} if path == "/api/preview" else club.order
        result = api.post(path, body).json()["result"]
        assert "Quiet hours" in result["notice"]
        assert datetime.fromisoformat(result["startsAt"]) > datetime.now(UTC) + timedelta(hours=1)
    listed = api.http.post("/api/notifications/targeted", data=club.order, files=club.csv()).json()
    assert "Quiet hours" in listed["notice"]


def test_d4_a_caller_who_waits_is_told_that_no_daemon_runs(api: Api, club: Club) -> None:
    """Preview, dry run and an answer with `wait` say so; an answer at once keeps its shape, and a daemon ends it."""
    no_daemon = "No daemon is running: it waits until `passbell run` is started."
    waits = api.post("/api/notify/broadcast?wait=0.1", club.order).json()["result"]
    assert (waits["notice"], "startsAt" in waits) == (no_daemon, False)
    assert no_daemon in api.post("/api/notify/broadcast/test", club.order).text
    orders: list[Callable[[], httpx.Response]] = [
        lambda: api.post("/api/notify/broadcast", club.order),
        lambda: api.http.post("/api/notifications/blast", data=club.order),
        lambda: api.http.post("/api/notifications/targeted", data=club.order, files=club.csv()),
        lambda: api.post("/api/notify/broadcast/csv", {**club.order, "memberIds": [*club.member.values()]}),
    ]
    for answer in (given.get("result", given) for given in (order().json() for order in orders)):
        assert "notice" not in answer
    worker = uuid4()
    club.shop.conn.execute(
        "insert into passbell.workers (id, process, host, pid, version, heartbeat_at)"
        " values (%s, %s, 'here', 1, '1', clock_timestamp())",
        [worker, worker],
    )
    try:
        assert "notice" not in api.post("/api/notify/broadcast?wait=0.1", club.order).json()["result"]
    finally:
        club.shop.conn.execute("delete from passbell.workers where id = %s", [worker])


# ── D7 ──


def test_d7_cursors_are_safe_in_an_address(api: Api, club: Club) -> None:
    """`next` can be put into an address unchanged."""
    made = [api.post("/api/notify/broadcast", club.order).json()["result"]["campaignId"] for _ in range(3)]
    seen, following = [], ""
    while following is not None:
        page = api.get(
            f"/api/campaigns?programId={club.id}&limit=1{following and '&after=' + following}"
        ).json()
        seen += [campaign["campaignId"] for campaign in page["result"]]
        following = page["next"]
        assert not following or set(following) <= set("0123456789abcdefTZ.-_"), following
    assert seen == made[::-1]


@pytest.mark.parametrize(
    ("path", "kind", "required"),
    [
        ("/api/notify/broadcast", "application/json", {"programId", "message"}),
        ("/api/preview", "application/json", {"programId"}),
        ("/api/notifications/blast", "multipart/form-data", {"programId", "message"}),
        ("/api/notifications/targeted", "multipart/form-data", {"programId", "message", "csvFile"}),
        ("/api/members/import", "multipart/form-data", {"programId", "csvFile"}),
    ],
)
def test_d7_the_document_says_what_is_required(api: Api, path: str, kind: str, required: set[str]) -> None:
    """What a call insists on is required in the document, forms included."""
    document = api.get("/openapi.json").json()
    body = document["paths"][path]["post"]["requestBody"]
    schema = body["content"][kind]["schema"]
    name = schema.get("$ref", "").rpartition("/")[2]
    described = document["components"]["schemas"][name] if name else schema
    assert set(described.get("required", [])) == required
    assert body.get("required") is True


NONSENSE: Final = (
    "\0",
    "\x7f",
    "NaN",
    "-1",
    "1e309",
    "9" * 40,
    "a" * 3000,
    "\u202e",
    "'",
    "20261128T1200",
    "2026-02-30",
    "[]",
)


def test_d7_no_value_of_a_parameter_breaks_a_call(web: Web, club: Club) -> None:
    """Every parameter of every GET of the document with everything hostile, in query and path: no defect."""
    with web.client(OTHER_KEY) as api:
        look_at_every_parameter(api, club)


def look_at_every_parameter(api: Api, club: Club) -> None:
    campaign = club.shop.campaign(club.id)
    seen = 0
    for path, operations in api.get("/openapi.json").json()["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", []) if path.startswith("/api/") else ():
            if parameter["in"] not in {"path", "query"}:
                continue
            # Shared out among the parameters: a key has only so many requests a second.
            for value in NONSENSE[seen % 5 :: 5]:
                where, query = path.replace("{id}", str(campaign)), {}
                if parameter["in"] == "path":
                    where = path.replace("{id}", quote(value, safe=""))
                else:
                    query = {parameter["name"]: value}
                answer = api.get(where, params=query)
                assert answer.status_code in {200, 400, 404, 422}, (where, query, answer.text)
                assert answer.json()["success"] is (answer.status_code == 200)
                seen += 1
    assert seen > 60


def test_d7_every_cursor_is_followed_as_it_stands(api: Api, club: Club) -> None:
    """The ledger's `next` pasted behind `after=`, without any encoding, gives the rest and nothing twice."""
    campaign = club.shop.campaign(club.id)
    club.shop.start(campaign)
    club.shop.send_chunks()
    found, after = [], ""
    while True:
        answer = api.get(f"/api/campaigns/{campaign}/deliveries?limit=1{after}").json()
        found += [row["passId"] for row in answer["result"]]
        if answer.get("next") is None:
            break
        assert re.fullmatch(r"[\w.-]+", answer["next"])
        after = f"&after={answer['next']}"
    assert len(found) == len(set(found)) >= 3
