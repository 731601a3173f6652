"""The same Idempotency-Key gives the same answer, and never a second campaign."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from support.web import Api, Club, Web


def count(club: Club) -> int:
    found: int = club.shop.value("select count(*) from push_campaigns where program_id = %s", [club.id])
    return found


def test_repeat_gives_the_same_answer(api: Api, club: Club) -> None:
    """A repeated order is answered word for word as the first one; nothing is created again."""
    headers = {"Idempotency-Key": uuid4().hex}
    order = club.order
    first, second = (api.post("/api/notify/broadcast", order, headers=headers) for _ in range(2))
    assert first.status_code == second.status_code == 202
    assert first.content == second.content
    assert second.headers["idempotent-replayed"] == "true"
    assert count(club) == 1


def test_another_order_under_the_same_key(api: Api, club: Club) -> None:
    """The same key with another body is refused with 409."""
    headers = {"Idempotency-Key": uuid4().hex}
    api.post("/api/notify/broadcast", club.order, headers=headers)
    answer = api.post("/api/notify/broadcast", club.order, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")


def test_uploads_are_compared_by_content(api: Api, club: Club) -> None:
    """An upload is the same request whatever the boundary of its body, and another one with another file."""
    headers = {"Idempotency-Key": uuid4().hex}
    order = club.order
    answers = [
        api.http.post("/api/notifications/targeted", data=order, files=files, headers=headers)
        for files in (club.csv(), club.csv(), club.csv("nobody"))
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 409]
    assert answers[0].content == answers[1].content
    assert count(club) == 1


def test_a_refused_order_may_be_tried_again(api: Api, club: Club) -> None:
    """A refusal is not kept: nothing was created, so the same request may succeed later."""
    headers = {"Idempotency-Key": uuid4().hex}
    order = {**club.order, "expected": 4}
    assert api.post("/api/notify/broadcast", order, headers=headers).status_code == 409
    club.shop.member(club.id)
    assert api.post("/api/notify/broadcast", order, headers=headers).status_code == 202


def test_at_the_same_moment(web: Web, club: Club) -> None:
    """Of requests at the same moment one is carried out; the others are answered the same or told to wait."""
    headers = {"Idempotency-Key": uuid4().hex}
    order = club.order

    def send(_: int) -> tuple[int, str]:
        with web.client() as own:
            answer = own.post("/api/notify/broadcast", order, headers=headers)
            return answer.status_code, answer.json().get("code", "")

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(send, range(6)))
    assert (202, "") in answers
    assert answers <= {(202, ""), (409, "IDEMPOTENCY_KEY_IN_USE")}
    assert count(club) == 1


def test_after_a_crash_in_between(api: Api, club: Club) -> None:
    """If the answer was never stored, the repeat finds the campaign and answers with it."""
    key = uuid4().hex
    order = {**club.order, "expected": 3}
    first = api.post("/api/notify/broadcast", order, headers={"Idempotency-Key": key})
    # As a server leaves it that dies after the commit and before the answer.
    club.shop.conn.execute(
        "update passbell.api_requests set status = null, answer = null, lease_until = '-infinity' where key = %s",
        [key],
    )
    club.shop.member(club.id)  # the audience has moved since
    second = api.post("/api/notify/broadcast", order, headers={"Idempotency-Key": key})
    assert second.status_code == 202
    assert second.json()["result"]["campaignId"] == first.json()["result"]["campaignId"]
    assert count(club) == 1


def test_forgotten_after_a_day(api: Api, club: Club) -> None:
    """After 24 hours a key is free again."""
    key = uuid4().hex
    headers = {"Idempotency-Key": key}
    api.post("/api/notify/broadcast", club.order, headers=headers)
    club.shop.conn.execute(
        "update passbell.api_requests set created_at = created_at - interval '25 hours' where key = %s", [key]
    )
    assert api.post("/api/notify/broadcast", club.order, headers=headers).status_code == 202
    assert count(club) == 2
