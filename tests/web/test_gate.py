"""Keys, limits, the shape of errors, headers, logs."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from passbell.web.auth import ApiKeys, Limit, Throttle
from support.plain import plain_get
from support.wait import wait_until
from support.web import KEY, OTHER_KEY, Web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.shop import Shop
    from support.web import Api, Club


@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
def test_both_headers_and_several_keys(web: Web, key: str) -> None:
    """Any of the keys works, as X-API-Key or as a bearer token."""
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        assert plain_get(f"{web.url}/api/programs", headers=headers).status_code == 200


def test_without_a_key(web: Web) -> None:
    """Without a key everything under /api is 401, addresses that do not exist too; health is open."""
    with web.client(None) as stranger:
        for path in ("/api/programs", "/api/nothing", "/api"):
            answer = stranger.get(path)
            assert answer.status_code == 401
            assert answer.json()["code"] == "UNAUTHORIZED"
        assert stranger.get("/live").status_code == 200
        assert stranger.get("/ready").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nothing", 404, "NOT_FOUND"),
        ("PUT", "/api/programs", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/campaigns/17", 422, "INVALID_REQUEST"),
        ("GET", f"/api/campaigns/{uuid4()}", 404, "NOT_FOUND"),
        ("GET", "/api/campaigns?after=yesterday", 400, "BAD_CURSOR"),
        ("GET", "/api/campaigns?limit=0", 422, "INVALID_REQUEST"),
        ("POST", f"/api/campaigns/{uuid4()}/pause", 404, "NOT_FOUND"),
        ("POST", "/api/preview", 422, "INVALID_REQUEST"),
    ],
)
def test_one_shape_of_error(api: Api, method: str, path: str, status: int, code: str) -> None:
    """Every error has the same shape, the framework's own included."""
    answer = api.http.request(method, path)
    assert answer.status_code == status
    body = answer.json()
    assert (body["success"], body["code"]) == (False, code)
    assert body["error"]
    assert set(body) <= {"success", "error", "code", "details"}


def test_a_refused_field_is_explained_in_plain_words(api: Api, club: Club) -> None:
    """Text in place of a file, or a message that is far too long, is refused in plain words."""
    order = {**club.order, "csvFile": "a,b"}
    answer = api.http.post("/api/notifications/targeted", data=order, files={"other": ("x", b"")})
    assert (answer.status_code, answer.json()["error"]) == (422, "csvFile: must be a file.")
    answer = api.http.post("/api/preview", json={"programId": "x" * 1_000_000})
    assert answer.status_code == 422
    answer = api.http.post("/api/notify/broadcast", json={**club.order, "message": "x" * 20_001})
    assert (answer.status_code, answer.json()["error"]) == (
        422,
        "message: must have at most 20,000 characters.",
    )


def test_broken_json(api: Api) -> None:
    """A body that is not JSON is 422 in plain words; a text with a NUL as well, not a defect."""
    headers = {"Content-Type": "application/json"}
    answer = api.http.post("/api/notify/broadcast", content=b"{", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (422, "The body is not valid JSON.")
    answer = api.post("/api/notify/broadcast", {"programId": "a", "message": "a\0b"})
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_REQUEST")
    answer = api.http.post(
        "/api/notify/broadcast", content=rb'{"programId": "a", "message": "\ud800"}', headers=headers
    )
    assert answer.status_code == 422


def test_too_large(api: Api) -> None:
    """A body of more than 1 MB is 413, whether it says its length or not."""

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 100_000

    for content in (b"x" * 2_000_000, chunks()):
        answer = api.http.post("/api/notify/broadcast", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")


def test_request_ids_and_security_headers(api: Api) -> None:
    """Every answer has an id, ours or the caller's, and forbids framing, sniffing and foreign scripts."""
    answer = api.get("/api/programs", headers={"X-Request-ID": "order-17"})
    assert answer.headers["x-request-id"] == "order-17"
    hostile = api.get("/api/programs", headers={"X-Request-ID": "a b<script>"})
    assert len(hostile.headers["x-request-id"]) == 32
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_wrong_keys_are_slowed_and_keys_stay_out_of_the_log(shop: Shop) -> None:
    """After ten wrong keys their sender waits, and no other caller at the address; no log line ever holds a key."""
    with Web(shop.url, LOG_LEVEL="debug") as own, own.client("wrong-key-wrong-key") as guesser:
        statuses = [guesser.get("/api/programs").status_code for _ in range(12)]
        assert statuses[:10] == [401] * 10
        assert statuses[-1] == 429
        refused = guesser.get("/api/programs")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["code"] == "RATE_LIMITED"
        assert plain_get(f"{own.url}/live").status_code == 200
        with own.client() as colleague:
            assert colleague.get("/api/programs").status_code == 200
        own.terminate()
        assert own.events("request_answered")
        assert own.events("api_key_refused")
        for secret in (KEY, OTHER_KEY, "wrong-key-wrong-key"):
            assert secret not in own.log + own.output


def test_ids_in_the_log(web: Web, api: Api) -> None:
    """A request is one log line with its id, the name of its key, status and time."""
    mark = uuid4().hex
    api.get("/api/segments", headers={"X-Request-ID": mark})
    # The line is written after the answer.
    (line,) = wait_until(
        lambda: [event for event in web.events("request_answered") if event["request"] == mark], "the line"
    )
    assert (line["status"], line["key"], line["path"]) == (200, "marketing", "/api/segments")


def test_a_key_has_its_own_rate() -> None:
    """A throttle lets a burst through, then so many per second, each name for itself."""
    now = [0.0]
    throttle = Throttle(Limit(burst=2, per_second=4), clock=lambda: now[0])
    for _ in range(2):
        assert throttle.seconds_to_wait("a") == 0
        throttle.take("a")
    assert throttle.seconds_to_wait("a") == 0.25
    assert throttle.seconds_to_wait("b") == 0
    now[0] = 0.25
    assert throttle.seconds_to_wait("a") == 0


def test_names_of_keys() -> None:
    """A key may have a name; unnamed ones are counted, and nothing but the whole key is one."""
    keys = ApiKeys(["ops:abc:def", "plain"])
    assert keys.name_of("abc:def") == "ops"
    assert keys.name_of("plain") == "key-2"
    assert keys.name_of("ops:abc:def") is None
    assert keys.name_of("") is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_clean(shop: Shop, number: int) -> None:
    """SIGTERM and Ctrl-C end it with 0 and a word in the log, as a service manager and a shell expect."""
    with Web(shop.url) as own:
        own.signal(number)
        assert own.wait() == 0
        assert own.events("web_stopped")


def test_not_ready_without_a_schema(database: object) -> None:
    """/ready is 503 while the database is not migrated, and says what to do; /live stays 200."""
    with Web(database("2", migrated=False)) as own, own.client() as client:  # type: ignore[operator]
        answer = client.get("/ready")
        assert answer.status_code == 503
        assert "passbell migrate" in answer.json()["error"]
        assert client.get("/live").status_code == 200
        assert client.get("/api/programs").status_code == 503


def test_the_document_describes_every_call(api: Api, club: Club) -> None:
    """/openapi.json and /docs list every call of the contract; /docs loads nothing from elsewhere."""
    paths = api.get("/openapi.json").json()["paths"]
    for path in (
        "/api/notify/broadcast",
        "/api/notify/broadcast/test",
        "/api/notify/birthday-run",
        "/api/notifications/blast",
        "/api/notifications/targeted",
        "/api/campaigns",
        "/api/campaigns/{id}/deliveries",
        "/api/members/import",
        "/api/preview",
    ):
        assert path in paths
    page = api.get("/docs").text
    assert "/api/notifications/targeted" in page
    assert "https://" not in page
