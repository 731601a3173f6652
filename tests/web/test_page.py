"""The page without a browser: signing in, forms from elsewhere, escaping."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from support.plain import plain_client, plain_get
from support.web import KEY, Web

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from support.shop import Shop
    from support.web import Api, Club


@pytest.fixture
def visitor(web: Web) -> Iterator[httpx.Client]:
    with plain_client(base_url=web.url) as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/", "/history", "/automations", "/birthdays", "/programs", "/imports", "/status"]
)
def test_pages_ask_to_sign_in_first(visitor: httpx.Client, path: str) -> None:
    """Without a session every page leads to the sign-in and back."""
    answer = visitor.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=/")


def test_the_cookie_does_not_hold_the_key(visitor: httpx.Client) -> None:
    """The session cookie is HttpOnly and SameSite=strict, and the key cannot be read from it."""
    answer = visitor.post("/login", data={"key": KEY})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert KEY not in cookie
    value = cookie.partition("=")[2].partition(";")[0]
    visitor.cookies.clear()
    forged = ("A" if value[0] != "A" else "B") + value[1:]
    assert visitor.get("/history", headers={"Cookie": f"passbell_session={forged}"}).status_code == 303


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_sign_in_leads_nowhere_else(visitor: httpx.Client, target: str) -> None:
    """Signing in leads to a page of this site, whatever the link says."""
    answer = visitor.post("/login", data={"key": KEY, "next": target})
    assert answer.headers["location"] == "/"


def test_a_wrong_key(shop: Shop) -> None:
    """A wrong key is refused with a sentence; after ten its sender waits, and the right one still signs in."""
    with Web(shop.url) as own, plain_client(base_url=own.url) as visitor:
        answers = [visitor.post("/login", data={"key": "guess"}) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429]
        assert "This API key is not known." in answers[0].text
        assert visitor.post("/login", data={"key": KEY}).status_code == 303


def test_forms_need_the_token(signed_in: httpx.Client, club: Club) -> None:
    """A POST without the CSRF token, with a wrong one, or from another site does nothing."""
    campaign = club.shop.campaign(club.id)
    path = f"/campaigns/{campaign}/cancel"
    good = signed_in.headers["X-CSRF-Token"]
    for headers in (
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": good, "Origin": "https://evil.example"},
        {"X-CSRF-Token": good, "Sec-Fetch-Site": "cross-site"},
    ):
        assert signed_in.post(path, headers=headers).status_code == 403
    assert club.shop.status(campaign) == "PENDING"
    assert signed_in.post(path).status_code == 200
    assert club.shop.status(campaign) == "CANCELLED"


def test_the_cookie_is_no_api_key(signed_in: httpx.Client) -> None:
    """A session opens the page, not the API."""
    assert signed_in.get("/api/programs").status_code == 401


def test_markup_is_text(signed_in: httpx.Client, club: Club) -> None:
    """Names and messages with markup are shown as text, everywhere."""
    evil = "<script>alert(1)</script>"
    club.shop.conn.execute("update programs set name = %s where id = %s", [f"{evil} Club", club.id])
    club.shop.conn.execute(
        "update users u set first_name = %s from passes_master p where p.user_id = u.id and p.program_id = %s",
        [f"<img src=x onerror=alert(1)>{evil}", club.id],
    )
    campaign = club.shop.campaign(club.id, f"{evil} {{first_name}}", name=f'"><b>{evil}')
    club.shop.start(campaign)
    club.shop.send_chunks()
    form = {"program": str(club.id), "message": f"{evil} {{first_name}}", "audience": "all"}
    pages = [
        signed_in.get(path).text
        for path in (
            "/",
            "/history",
            f"/campaigns/{campaign}",
            f"/campaigns/{campaign}/deliveries",
            f"/birthdays?program={club.id}",
            "/imports",
        )
    ]
    pages += [signed_in.post(path, data=form).text for path in ("/compose/screen", "/compose/confirm")]
    for text in pages:
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "<b>" + evil not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in pages[-2]


def test_the_typed_number_is_checked_here_too(signed_in: httpx.Client, club: Club) -> None:
    """Above 1,000 phones nothing is sent unless the number was typed, whatever the browser says."""
    club.shop.members(club.id, 1_200)
    form = {
        "program": str(club.id),
        "message": "Hello all",
        "audience": "all",
        "expected": "1203",
        "key": "0" * 32,
    }
    answer = signed_in.post("/compose/send", data=form)
    assert "Type the number of phones to confirm." in answer.text
    assert club.shop.value("select count(*) from push_campaigns where program_id = %s", [club.id]) == 0
    sent = signed_in.post("/compose/send", data={**form, "typed": "1,203"}, headers={"HX-Request": "true"})
    assert sent.headers["hx-redirect"].startswith("/campaigns/")


@pytest.mark.parametrize(
    ("slip", "status"),
    [
        ({"segmnt": "VIP"}, 422),
        ({"audience": "segmnt"}, 422),
        ({"audience": "segment", "segment": ""}, 400),
        ({"audience": "segment", "segment": " "}, 400),
        ({"when": "Later"}, 422),
        ({"when": "later", "at": ""}, 400),
        ({"when": "later", "at": "2020-01-01T10:00"}, 422),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["confirm", "send"])
def test_b1_a_slip_in_the_form_is_not_everybody_at_once(
    signed_in: httpx.Client, club: Club, path: str, slip: dict[str, str], status: int
) -> None:
    """The page holds its form to the same rules as the API: nothing is dropped, and no time is over."""
    form = {"program": str(club.id), "message": "Hello", "audience": "all"}
    sent = {"expected": "3", "key": uuid4().hex} if path == "send" else {}
    answer = signed_in.post(f"/compose/{path}", data=form | slip | sent)
    assert answer.status_code == status, answer.text
    assert club.shop.value("select count(*) from push_campaigns where program_id = %s", [club.id]) == 0


def test_b1_a_slip_in_the_import_form_imports_nothing(signed_in: httpx.Client, club: Club) -> None:
    """A misspelt "only check" is refused, and no member is imported."""
    files = {"csvFile": ("members.csv", "email\nzoe-of-the-page@example.com\n", "text/csv")}
    form = {"program": str(club.id), "dryrun": "1"}
    answer = signed_in.post("/imports", data=form, files=files)
    assert (answer.status_code, "dryRun" in answer.text) == (422, True)
    assert club.shop.value("select count(*) from users where email = 'zoe-of-the-page@example.com'") == 0


def test_b6_a_suspended_program_is_said_before_the_confirmation(signed_in: httpx.Client, club: Club) -> None:
    """Who composes for a suspended program reads so, and is not shown a number of phones."""
    club.shop.conn.execute("update programs set is_suspended = true where id = %s", [club.id])
    form = {"program": str(club.id), "message": "Hello", "audience": "all"}
    answer = signed_in.post("/compose/confirm", data=form)
    assert (answer.status_code, "is suspended" in answer.text) == (409, True)


def test_errors_are_for_people(signed_in: httpx.Client) -> None:
    """Where people look an error is a page; for a part of a page it is a notice."""
    answer = signed_in.get("/campaigns/00000000-0000-0000-0000-000000000000")
    assert answer.status_code == 404
    assert "There is no campaign" in answer.text
    assert answer.headers["content-type"].startswith("text/html")
    part = signed_in.get("/campaigns/00000000-0000-0000-0000-000000000000", headers={"HX-Request": "true"})
    assert part.headers["hx-retarget"] == "#notice"


@pytest.fixture
def broken(shop: Shop) -> Iterator[None]:
    """An unexpected error: the list of daemons cannot be read although the database answers."""
    shop.conn.execute("revoke execute on function passbell.daemon_list() from passbell_web")
    yield
    shop.conn.execute("grant execute on function passbell.daemon_list() to passbell_web")


def test_a_defect_answers_with_a_page(signed_in: httpx.Client, broken: None) -> None:
    """An unexpected error gives a person a page with a way back, htmx a notice, and neither the details."""
    answer = signed_in.get("/status")
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/html")
    assert "That did not work" in answer.text
    assert "Something went wrong here." in answer.text
    assert 'href="/history"' in answer.text  # still signed in, with the menu
    assert "daemon_list" not in answer.text
    assert "content-security-policy" in answer.headers
    notice = signed_in.get("/status/live", headers={"HX-Request": "true"})
    assert notice.status_code == 500
    assert notice.headers["HX-Retarget"] == "#notice"
    assert "<html" not in notice.text
    assert signed_in.get("/history").status_code == 200


def test_a_defect_answers_programs_with_json(api: Api, shop: Shop) -> None:
    """Under /api the same error keeps the shape of all errors."""
    shop.conn.execute("revoke execute on function passbell.program_list() from passbell_web")
    try:
        answer = api.get("/api/programs")
    finally:
        shop.conn.execute("grant execute on function passbell.program_list() to passbell_web")
    assert answer.status_code == 500
    assert answer.json()["code"] == "INTERNAL_ERROR"


def test_d9_the_page_takes_the_encoding_of_a_file(signed_in: httpx.Client, club: Club) -> None:
    """D9: both forms with a file have a field for its encoding, and read the file by it."""
    assert 'name="encoding"' in signed_in.get("/").text
    assert 'name="encoding"' in signed_in.get("/imports").text
    shop = club.shop
    shop.conn.execute(
        "update passes_master set external_id = 'Łódź-8' where id ="
        " (select id from passes_master where program_id = %s order by id limit 1)",
        [club.id],
    )
    listed = {"csvFile": ("list.csv", "member_id\nŁódź-8\n".encode("cp1250"), "text/csv")}
    form = {"program": str(club.id), "message": "Hello", "audience": "csv", "encoding": "cp1250"}
    assert signed_in.post("/compose/confirm", data=form, files=listed).status_code == 200
    refused = signed_in.post("/compose/confirm", data=form | {"encoding": "klingon"}, files=listed)
    assert (refused.status_code, "There is no encoding" in refused.text) == (400, True)
    members = {
        "csvFile": ("members.csv", "email,first_name\nlodz@example.com,Żółć\n".encode("cp1250"), "text/csv")
    }
    signed_in.post("/imports", data={"program": str(club.id), "encoding": "cp1250"}, files=members)
    assert shop.value("select first_name from users where email = 'lodz@example.com'") == "Żółć"


def test_the_icon_is_there_under_the_name_that_browsers_ask_for(web: Web) -> None:
    """/favicon.ico is the bell, for visitors without a session too."""
    answer = plain_get(f"{web.url}/favicon.ico")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert answer.content == plain_get(f"{web.url}/static/bell.svg").content
    assert "no-store" not in answer.headers["cache-control"]
