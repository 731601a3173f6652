"""D7: whatever stands in an address or a form of the page, the answer is one for people: never a defect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.plain import plain_client
from support.scene import LONG
from support.web import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from support.web import Club, Web

GET: Final = {
    "/": ("program", "draft"),
    "/login": ("next",),
    "/docs": (),
    "/history": ("program", "status", "after"),
    "/live-campaigns": ("watch",),
    "/birthdays": ("program",),
    "/automations": ("program",),
    "/automations/new": ("program",),
    "/automations/{id}": (),
    "/automations/{id}/days": (),
    "/automations/{id}/results": (),
    "/programs": (),
    "/programs/{id}": (),
    "/programs/{id}/results": (),
    "/programs/{id}/report": ("month",),
    "/imports": (),
    "/status": (),
    "/status/live": (),
    "/campaigns/{id}": (),
    "/campaigns/{id}/results": (),
    "/campaigns/{id}/deliveries": ("outcome", "after"),
    "/campaigns/{id}/deliveries.csv": ("outcome",),
    "/imports/{id}": (),
    "/imports/{id}/live": (),
    "/imports/{id}/rows": ("after", "which"),
    "/static/{id}": (),
}
COMPOSE: Final = (
    "program",
    "message",
    "audience",
    "segment",
    "parameter",
    "also",
    "also_parameter",
    "when",
    "at",
    "name",
    "holdout",
    "draft",
    "kept",
    "member",
)
AUTOMATION: Final = (
    "program",
    "name",
    "occasion",
    "parameter",
    "message",
    "target",
    "send_at",
    "send_days",
    "again_after_days",
    "catch_up_days",
    "daily_limit",
    "holdout_percent",
    "measure_days",
    "reward_points",
    "starts_on",
    "ends_on",
)
POST: Final = {
    "/login": ("key", "next"),
    "/compose/screen": COMPOSE,
    "/compose/test": (*COMPOSE, "external_id"),
    "/compose/plan": COMPOSE,
    "/compose/draft": COMPOSE,
    "/compose/confirm": COMPOSE,
    "/compose/send": (*COMPOSE, "expected", "key", "typed", "upload"),
    "/compose/discard": ("upload",),
    "/birthdays/run": ("program",),
    "/automations": AUTOMATION,
    "/automations/{id}": AUTOMATION,
    "/automations/{id}/switch": ("on",),
    "/automations/{id}/delete": (),
    "/programs/{id}/limits": ("push_max", "push_max_days", "push_min_hours", "push_consent"),
    "/programs/{id}/suppressions": ("member", "until", "reason"),
    "/programs/{id}/suppressions/{id}/delete": (),
    "/imports": ("program", "dryRun"),
    "/imports/{id}/cancel": (),
    "/campaigns/{id}/{verb}": (),
}
HOSTILE: Final = (
    "",
    "x",
    "\0",
    "%00",
    "0",
    "-1",
    "1e400",
    "NaN",
    "99999999999999999999",
    "\ud800",
    "\u202e",
    "'",
    "%",
    "a" * 5000,
    "0001-01-01T00:00",
    "9999-12-31T23:59",
    "infinity",
    "10000-01-01",
    "CSV",
    "VIP:1e999",
    "&&",
    "LOCAL:(",
    "later",
    "csv",
    "segment",
    "PROCESSING",
    "sent/",
    "/x",
    "20261128T120000.1Z_x",
    "0001-01-01T00:00:00+00:00_00000000-0000-0000-0000-000000000000",
    "99990101T000000.0Z_00000000-0000-0000-0000-000000000000",
    "{first_name",
    "{x}",
)


@pytest.fixture(scope="module")
def visitor(web: Web) -> Iterator[httpx.Client]:
    """A person who is signed in."""
    with plain_client(base_url=web.url, timeout=60) as client:
        assert client.post("/login", data={"key": KEY}).status_code == 303
        token = re.search(r'"X-CSRF-Token": "(\w+)"', client.get("/").text)
        assert token
        client.headers["X-CSRF-Token"] = token[1]
        yield client


def encoded(text: str) -> str:
    """As a browser or a hostile program would write it into an address or a form."""
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(("path", "names"), GET.items(), ids=GET)
def test_d7_no_address_breaks_a_page(
    visitor: httpx.Client, club: Club, path: str, names: tuple[str, ...]
) -> None:
    """Each parameter of each page with everything hostile: an answer below 500."""
    campaign = club.shop.campaign(club.id)
    for hostile in HOSTILE:
        if "{id}" in path:
            answer = visitor.get(path.replace("{id}", encoded(hostile) or "%20"))
            assert answer.status_code < 500, (path, hostile, answer.text[:300])
        for name in names:
            answer = visitor.get(f"{path.replace('{id}', str(campaign))}?{name}={encoded(hostile)}")
            assert answer.status_code < 500, (path, name, hostile, answer.text[:300])
    assert visitor.get(path.replace("{id}", str(uuid4()))).status_code < 500


@pytest.mark.parametrize(("path", "names"), POST.items(), ids=POST)
def test_d7_no_form_breaks_a_page(
    visitor: httpx.Client, club: Club, path: str, names: tuple[str, ...]
) -> None:
    """Each field of each form with everything hostile, beside fields that are right: an answer below 500."""
    right = {
        "program": str(club.id),
        "message": "Hi",
        "expected": "3",
        "key": "0" * 32,
        "when": "later",
        "audience": "segment",
    }
    # Short forms get all values. Forms with many fields share them out among the fields, and the seven forms of a
    # message, which have the same fields, among themselves as well: the first of them begins elsewhere than the next.
    step = 1 if len(names) <= 3 else 8 if path.startswith("/compose/") and not LONG else 4
    first = list(POST).index(path)
    for place, name in enumerate(names or ("csrf",)):
        for hostile in HOSTILE[(first + place) % step :: step]:
            if "\ud800" in hostile and name == "csrf":
                continue
            form = {key: value for key, value in right.items() if key in names} | {name: hostile}
            for at in ({}, {"when": "now"}) if "when" in names and name != "when" else ({},):
                content = "&".join(f"{key}={encoded(value)}" for key, value in (form | at).items())
                address = path.replace("{id}", str(uuid4())).replace("{verb}", encoded(hostile) or "pause")
                answer = visitor.post(
                    address, content=content, headers={"Content-Type": "application/x-www-form-urlencoded"}
                )
                assert answer.status_code < 500, (path, name, hostile, answer.text[:300])


@settings(
    max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(path=st.sampled_from(sorted(GET)), query=st.binary(max_size=60), own=st.binary(max_size=20))
def test_d7_no_bytes_break_a_page(visitor: httpx.Client, path: str, query: bytes, own: bytes) -> None:
    """Any bytes in a path and behind its question mark: an answer below 500."""
    spelt = ["".join(f"%{byte:02X}" for byte in part) for part in (own, query)]
    names = GET[path] or ("x",)
    answer = visitor.get(f"{path.replace('{id}', spelt[0] or '0')}?{names[0]}={spelt[1]}")
    assert answer.status_code < 500, answer.text[:300]
