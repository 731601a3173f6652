"""B1: a slip in a form of the page never widens an order. The judge is always that nothing was created or changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    import httpx

    from support.web import Club

FORM: Final = "application/x-www-form-urlencoded"
Parts = list[tuple[str, str]]


def whole(club: Club, path: str) -> dict[str, str]:
    """A form that is right, for all active members, at once."""
    form = {"program": str(club.id), "message": f"Tea {uuid4().hex[:6]}", "audience": "all", "when": "now"}
    return form | ({"expected": "3", "key": uuid4().hex} if path == "send" else {})


def campaigns(club: Club) -> int:
    """How many campaigns the program has, drafts included."""
    found: int = club.shop.value("select count(*) from push_campaigns where program_id = %s", [club.id])
    return found


def encoded(parts: Parts) -> str:
    """A form as a browser writes it, in which a part may stand twice."""
    return urlencode(parts)


@pytest.mark.parametrize("path", ["confirm", "send", "draft"])
def test_b1_a_form_that_is_right_is_taken(signed_in: httpx.Client, club: Club, path: str) -> None:
    """What the slips below depart from: with nothing wrong in it the form is answered."""
    answer = signed_in.post(f"/compose/{path}", data=whole(club, path))
    assert answer.status_code in {200, 303}, answer.text


AUDIENCES: Final[list[dict[str, str | None]]] = [
    {"audience": None},
    {"audience": ""},
    {"audience": " "},
    {"audience": "ALL"},
    {"audience": "everybody"},
    {"audience": "null"},
    {"audience": None, "segment": "VIP"},
    {"audience": "", "segment": "VIP", "parameter": "500"},
    {"audience": "segment"},
    {"audience": "segment", "segment": " "},
    {"audience": "segment", "segment": "\u200b"},
    {"audience": "segment", "segment": "\ufeff\u00a0"},
    {"audience": "segment", "segment": "VIPP"},
    {"audience": "segment", "segment": "VIP", "parameter": "many"},
    {"audience": "segment", "segment": "VIP", "parameter": "\u200b5,000"},
    {"audience": "segment", "segment": "ALL", "parameter": "90210"},
    {"audience": "segment", "segment": "WHALE", "also": "", "also_parameter": "90210"},
    {"audience": "segment", "segment": "WHALE", "also": "\u200b", "also_parameter": "90210"},
    {"audience": "segment", "segment": "WHALE", "also": "LOCALE", "also_parameter": "90210"},
    {"audience": "segment", "segment": "LOCAL", "parameter": " , "},
    {"audience": "kept"},
    {"audience": "kept", "kept": "\u200b"},
    {"audience": "kept", "kept": '{"segment": "VIP"}'},
    {"audience": "csv"},
    {"audience": "all", "segment": "VIP"},
    {"audience": "all", "parameter": "500"},
    {"audience": "all", "also": "LOCAL", "also_parameter": "90210"},
    {"audience": "all", "encoding": "cp1250"},
    {"audience": "csv", "segment": "VIP"},
    {"when": None, "at": "2031-01-01T10:00"},
    {"when": "", "at": "2031-01-01T10:00"},
    {"when": "now", "at": "2031-01-01T10:00"},
    {"when": "later"},
    {"when": "later", "at": "tomorrow-ish"},
    {"when": "LATER", "at": "2031-01-01T10:00"},
    {"draft": "x"},
    {"draft": "00000000-0000-0000-0000-000000000000"},
    {"program": None},
    {"program": ""},
    {"program": "Tea Club"},
    {"message": None},
    {"message": " "},
    {"holdout": "1e2"},
    {"holdout": "-0,1"},
]


@pytest.mark.parametrize("slip", AUDIENCES, ids=str)
@pytest.mark.parametrize("path", ["confirm", "send", "draft"])
def test_b1_a_field_that_is_lost_empty_or_at_odds_sends_nothing(
    signed_in: httpx.Client, club: Club, path: str, slip: dict[str, str | None]
) -> None:
    """A form that lost its audience or its time, or says two things, is refused with a sentence."""
    form = {name: value for name, value in (whole(club, path) | slip).items() if value is not None}
    answer = signed_in.post(f"/compose/{path}", data=form)
    assert 400 <= answer.status_code < 500, answer.text
    assert campaigns(club) == 0


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("segmnt", "segment"),
        ("segment[]", "segment"),
        ("audience[]", "audience"),
        ("audience[0]", "audience"),
        ("Audience", "audience"),
        (" segment", "segment"),
        ("segment ", "segment"),
        ("also-parameter", "also_parameter"),
        ("scheduledAt", None),
        ("target", None),
        ("programId", "program"),
        ("", None),
    ],
)
@pytest.mark.parametrize("multipart", [False, True], ids=["urlencoded", "multipart"])
@pytest.mark.parametrize("path", ["confirm", "send", "draft", "test", "screen"])
def test_b1_a_misspelt_part_of_a_form_is_named(
    signed_in: httpx.Client, club: Club, path: str, name: str, nearest: str | None, *, multipart: bool
) -> None:
    """Of either kind of form: the part is refused with the nearest name that is known."""
    form = whole(club, path) | {name: "VIP"}
    if multipart:
        answer = signed_in.post(
            f"/compose/{path}", files=[(part, (None, value)) for part, value in form.items()]
        )
    else:
        answer = signed_in.post(f"/compose/{path}", data=form)
    assert answer.status_code in ({400, 422} if multipart and not name else {422}), answer.text
    if nearest is not None:
        assert f"&#34;{nearest}&#34;" in answer.text
    assert campaigns(club) == 0


@pytest.mark.parametrize(
    "more",
    [
        [("audience", "all")],
        [("audience", "segment"), ("segment", "VIP")],
        [("when", "later"), ("at", "2031-01-01T10:00")],
        [("program", "00000000-0000-0000-0000-000000000000")],
        [("expected", "3"), ("expected", "3")],
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["confirm", "send", "draft"])
def test_b1_a_part_given_twice_sends_nothing(
    signed_in: httpx.Client, club: Club, path: str, more: Parts
) -> None:
    """A form part that is given twice is refused, because one of the values would be dropped."""
    content = encoded([*whole(club, path).items(), *more])
    answer = signed_in.post(f"/compose/{path}", content=content, headers={"Content-Type": FORM})
    assert answer.status_code == 422, answer.text
    assert campaigns(club) == 0


@pytest.mark.parametrize("query", ["segment=VIP", "audience=segment", "dryRun=1", "draft=x", "csrf=x"])
@pytest.mark.parametrize("path", ["confirm", "send", "draft", "test"])
def test_b1_a_query_parameter_of_a_form_is_refused(
    signed_in: httpx.Client, club: Club, path: str, query: str
) -> None:
    """A form's field that is sent in the address is refused."""
    answer = signed_in.post(f"/compose/{path}?{query}", data=whole(club, path))
    assert answer.status_code == 422, answer.text
    assert campaigns(club) == 0


@pytest.mark.parametrize("kind", ["application/json", "text/plain", FORM, "multipart/form-data", ""])
@pytest.mark.parametrize("path", ["confirm", "send", "draft"])
def test_b1_json_is_no_form(signed_in: httpx.Client, club: Club, path: str, kind: str) -> None:
    """A JSON body, whatever it calls itself, is not read as a form whose fields are all empty."""
    answer = signed_in.post(
        f"/compose/{path}", content=json.dumps(whole(club, path)), headers={"Content-Type": kind}
    )
    assert 400 <= answer.status_code < 500, answer.text
    assert campaigns(club) == 0


@pytest.mark.parametrize("part", ["csvFile", "file", "segment", "audience", "message", "member", "upload"])
@pytest.mark.parametrize("path", ["confirm", "send", "draft"])
def test_b1_a_file_beside_all_members_is_not_dropped(
    signed_in: httpx.Client, club: Club, path: str, part: str
) -> None:
    """A list that is attached, under any name, is never left out of an order for everybody."""
    form = {name: value for name, value in whole(club, path).items() if name != part}
    answer = signed_in.post(
        f"/compose/{path}", data=form, files={part: ("list.csv", "member_id\nAnn\n", "text/csv")}
    )
    assert 400 <= answer.status_code < 500, answer.text
    assert campaigns(club) == 0


@pytest.mark.parametrize(
    "slip",
    [
        {"expected": None},
        {"expected": ""},
        {"expected": "3.5"},
        {"expected": "-3"},
        {"upload": "x"},
        {"key": None},
        {"key": "x"},
    ],
    ids=str,
)
def test_b1_an_order_is_confirmed_with_its_number(
    signed_in: httpx.Client, club: Club, slip: dict[str, str | None]
) -> None:
    """Without the number that was shown, or with a list that cannot be told, nothing is sent."""
    form = {name: value for name, value in (whole(club, "send") | slip).items() if value is not None}
    answer = signed_in.post("/compose/send", data=form)
    assert 400 <= answer.status_code < 500, answer.text
    assert campaigns(club) == 0


# ── other forms ──


@pytest.mark.parametrize("how", ["form", "query", "json"])
@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry-failed"])
def test_b1_a_verb_that_says_it_is_a_rehearsal_does_nothing(
    signed_in: httpx.Client, club: Club, verb: str, how: str
) -> None:
    """A verb takes no more than its address: what is said beside it would not be done."""
    campaign = club.shop.campaign(club.id)
    said: dict[str, dict[str, Any]] = {
        "form": {"data": {"dryRun": "1"}},
        "query": {"params": {"dryRun": "1"}},
        "json": {"json": {"dryRun": True}},
    }
    answer = signed_in.post(f"/campaigns/{campaign}/{verb}", **said[how])
    assert answer.status_code == 422, answer.text
    assert club.shop.status(campaign) == "PENDING"


LIMITS: Final = "select push_max, push_max_days, push_min_hours, push_consent from programs where id = %s"


@pytest.mark.parametrize(
    ("sent", "status", "after"),
    [
        ({"data": {"push_min_hours": "48"}}, 303, [4, 30, 48, "OPT_IN"]),
        ({"data": {"push_max": "", "push_max_days": ""}}, 303, [None, None, 24, "OPT_IN"]),
        ({"data": {"push_consent": ""}}, 400, [4, 30, 24, "OPT_IN"]),
        ({"data": {"push_consent": "opt_out"}}, 400, [4, 30, 24, "OPT_IN"]),
        ({"data": {"push_consent": "yes"}}, 400, [4, 30, 24, "OPT_IN"]),
        ({"data": {}}, 400, [4, 30, 24, "OPT_IN"]),
        ({"json": {"push_min_hours": 48}}, 422, [4, 30, 24, "OPT_IN"]),
        ({"data": {"push_min_hour": "48"}}, 422, [4, 30, 24, "OPT_IN"]),
        ({"data": {"push_min_hours": "48"}, "params": {"push_consent": "OPT_OUT"}}, 422, [4, 30, 24, "OPT_IN"]),
    ],
    ids=str,
)  # fmt: skip
def test_b1_a_limit_that_is_not_sent_stays(
    signed_in: httpx.Client, club: Club, sent: dict[str, Any], status: int, after: list[object]
) -> None:
    """A form with one of the four limits leaves the others; only its own field changes OPT_IN."""
    club.shop.conn.execute(
        "update programs set push_max = 4, push_max_days = 30, push_min_hours = 24, push_consent = 'OPT_IN'"
        " where id = %s",
        [club.id],
    )
    answer = signed_in.post(f"/programs/{club.id}/limits", **sent)
    assert answer.status_code == status, answer.text
    assert list(club.shop.row(LIMITS, [club.id]).values()) == after


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"data": {"message": "Come again"}}, 303),
        ({"data": {"name": "Other"}}, 303),
        ({"data": {"target[]": "WHALE", "message": "x"}}, 422),
        ({"data": {"segment": "WHALE", "message": "x"}}, 422),
        ({"data": {"message": ""}}, 400),
        ({"data": {"occasion": "", "parameter": "30"}}, 400),
        ({"json": {"message": "x"}}, 422),
        ({"data": {"message": "x"}, "params": {"target": "VIP"}}, 422),
    ],
    ids=str,
)
def test_b1_an_automation_keeps_its_audience_when_a_field_is_lost(
    signed_in: httpx.Client, club: Club, sent: dict[str, Any], status: int
) -> None:
    """A change without the audience, the limit or the days leaves them as they are."""
    made = club.shop.value(
        "insert into push_automations (program_id, occasion, message_text, target_query, daily_limit, send_days)"
        " values (%s, 'DORMANT:90', 'We miss you', 'VIP & LOCAL:90210', 5, 'FRI') returning id",
        [club.id],
    )
    answer = signed_in.post(f"/automations/{made}", **sent)
    assert answer.status_code == status, answer.text
    row = club.shop.row(
        "select occasion, target_query, daily_limit, send_days from push_automations where id = %s", [made]
    )
    assert list(row.values()) == ["DORMANT:90", "VIP & LOCAL:90210", 5, "FRI"]


@pytest.mark.parametrize(
    ("said", "status", "imported"),
    [
        ("yes", 303, 0), ("on", 303, 0), ("1", 303, 0), (" True ", 303, 0),
        ("no", 303, 1), ("off", 303, 1), ("0", 303, 1), ("false", 303, 1),
        ("", 422, 0), ("maybe", 422, 0), ("undefined", 422, 0),
    ],
)  # fmt: skip
def test_b1_a_dry_run_means_what_it_says(
    signed_in: httpx.Client, club: Club, said: str, status: int, imported: int
) -> None:
    """Any spelling of a checked dry run changes nothing; an unclear value imports nothing."""
    email = f"{uuid4().hex[:8]}@example.com"
    files = {"csvFile": ("members.csv", f"email\n{email}\n", "text/csv")}
    answer = signed_in.post("/imports", data={"program": str(club.id), "dryRun": said}, files=files)
    assert answer.status_code == status, answer.text
    assert club.shop.value("select count(*) from users where email = %s", [email]) == imported


@pytest.mark.parametrize(
    "sent",
    [
        {"data": {}},
        {"data": {"program": ""}},
        {"data": {"program[]": "PROGRAM"}},
        {"data": {"programId": "PROGRAM"}},
        {"data": {"program": "PROGRAM", "dryRun": "1"}},
        {"data": {"program": "PROGRAM"}, "params": {"on": "2026-01-01"}},
        {"json": {"program": "PROGRAM"}},
        {"data": {"program": ["PROGRAM", "PROGRAM"]}},
    ],
    ids=str,
)
def test_b1_a_slip_gives_no_gift(signed_in: httpx.Client, club: Club, sent: dict[str, Any]) -> None:
    """Birthdays are given in the one program that the form names, and not at all where it is lost."""
    club.shop.conn.execute(
        "update programs set birthday_bot_enabled = true, timezone = 'UTC' where id = %s", [club.id]
    )
    club.shop.conn.execute(
        "update users u set birth_date = (passbell.now() at time zone 'UTC')::date - interval '28 years'"
        " from passes_master p where p.user_id = u.id and p.external_id = %s",
        [club.member["Ann"]],
    )
    sent = json.loads(json.dumps(sent).replace("PROGRAM", str(club.id)))
    answer = signed_in.post("/birthdays/run", **sent)
    assert answer.status_code == 422, answer.text
    assert club.shop.value("select count(*) from birthday_logs where program_id = %s", [club.id]) == 0
