from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from passbell.devkit.sandbox.world import GENERIC_ALERT

if TYPE_CHECKING:
    import httpx

    from passbell.devkit.sandbox.remote import AsyncRemote

Push = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("members")


async def texts(remote: AsyncRemote, **values: Any) -> list[str]:
    return [buzz["text"] for buzz in await remote.buzzes(**values)]


async def test_a_changed_message_buzzes_once(remote: AsyncRemote, push: Push) -> None:
    """A new text rings; the same text again, byte for byte, rings no phone."""
    for _ in range(3):
        assert (await push("id-1", "Sale!")).status_code == 200
    (buzz,) = await remote.buzzes()
    assert (buzz["record"], buzz["externalId"], buzz["owner"]) == ("id-1", "M1", "program-1")
    assert (buzz["text"], buzz["sequence"], buzz["generic"]) == ("Sale!", 0, False)
    assert buzz["time"] > 0
    assert (await remote.overview())["silentUpdates"] == 2


async def test_a_value_without_change_message_is_silent(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """Points change, no phone rings."""
    await api.put("/members/member", json={"id": "id-1", "points": 7})
    assert await texts(remote) == []


async def test_a_phone_knows_what_it_shows(remote: AsyncRemote, push: Push) -> None:
    """Before the first message the field reads as missing; afterwards it shows the text."""
    (phone,) = (await remote.record("M1"))["phones"]
    assert phone["shows"]["meta.marketingMessage"] == "missing: meta.marketingMessage"
    assert phone["shows"]["person.displayName"] == "Ann 1"
    await push("id-1", "Sale!")
    (phone,) = (await remote.record("id-1"))["phones"]
    assert phone["shows"]["meta.marketingMessage"] == "Sale!"
    assert phone["shows"]["members.member.points"] == "100"


async def test_a_wiped_message_shows_on_the_screen(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """An update without the key buzzes with `missing: …`, as at PassKit."""
    for meta in ({"marketingMessage": "Sale!"}, {"seat": "1A"}):
        await api.put("/members/member", json={"id": "id-1", "metaData": meta})
    assert await texts(remote) == ["Sale!", "missing: meta.marketingMessage"]


async def test_only_installed_passes_buzz(remote: AsyncRemote, push: Push) -> None:
    """A pass that was taken off its phone stays silent."""
    await remote.seed([{"id": "gone-1", "owner": "program-1", "installed": False}])
    for name in ("gone-1", "id-2"):
        await push(name, "Hi")
    assert [buzz["record"] for buzz in await remote.buzzes()] == ["id-2"]
    summary = await remote.summary(text="Hi")
    assert (summary["records"], summary["installed"]) == (4, 3)
    assert (summary["phonesBuzzed"], summary["buzzedOnce"], summary["recordsBuzzed"]) == (1, 1, 1)


async def test_a_fresh_install_is_silent(remote: AsyncRemote, push: Push, api: httpx.AsyncClient) -> None:
    """A pass that is removed gets nothing; put back it shows the newest text without a buzz, then rings."""
    await remote.phone("M1", installed=False)
    await push("id-1", "missed")
    shown = (await api.get("/members/member/id/id-1")).json()
    assert shown["passMetaData"]["status"] == "PASS_UNINSTALLED"
    await remote.phone("M1", installed=True)
    assert await texts(remote) == []
    await push("id-1", "heard")
    assert await texts(remote) == ["heard"]


FIELDS = [
    {"name": "meta.a", "changeMessage": "News: %@"},
    {"name": "meta.b", "changeMessage": "%@"},
    {"name": "members.member.points", "changeMessage": "You now have %@ points"},
    {"name": "custom.c", "changeMessage": "no placeholder", "default": "<${meta.c}>"},
    {"name": "custom.d", "changeMessage": "%@", "default": "fixed"},
]


@pytest.fixture
async def design(remote: AsyncRemote) -> None:
    """A program whose template rings on several fields."""
    await remote.seed(
        [{"id": "x", "owner": "many", "metaData": {"a": "0", "b": "0", "c": "0"}}],
        owners=[{"id": "many", "fields": FIELDS}],
    )


@pytest.mark.usefixtures("design")
async def test_change_messages_of_every_kind(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """The value replaces %@; points ring; without %@ the wallet uses its own words; custom text is fixed."""
    steps: list[dict[str, Any]] = [
        {"metaData": {"a": "1", "b": "0", "c": "0"}},
        {"points": 250},
        {"metaData": {"a": "1", "b": "0", "c": "1"}},
        {"metaData": {"a": "1", "b": "0", "c": "1", "d": "9", "custom.d": "9"}},
    ]
    for step in steps:
        await api.put("/members/member", json={"id": "x", **step})
    assert await texts(remote) == ["News: 1", "You now have 250 points", GENERIC_ALERT]


@pytest.mark.usefixtures("design")
async def test_several_changes_at_once(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """Two ringing fields in one update give one generic alert, or by switch the first field's message."""
    await api.put("/members/member", json={"id": "x", "metaData": {"a": "1", "b": "1", "c": "0"}})
    await remote.options(several_changes="first")
    await api.put("/members/member", json={"id": "x", "metaData": {"a": "2", "b": "2", "c": "0"}})
    buzzes = await remote.buzzes()
    assert [(buzz["text"], buzz["generic"]) for buzz in buzzes] == [(GENERIC_ALERT, True), ("News: 2", False)]


async def test_the_summary_finds_wrong_and_double_buzzes(remote: AsyncRemote, push: Push) -> None:
    """Who was buzzed once, more than once, with another text than expected, or without being asked to."""
    for record, text in (("id-1", "Hi"), ("id-2", "Hi"), ("id-2", "Hi again"), ("id-3", "Ho")):
        await push(record, text)
    summary = await remote.summary(owner="program-1", text="Hi")
    assert (summary["buzzes"], summary["buzzedOnce"], summary["buzzedMore"]) == (4, 2, 1)
    assert (summary["wrongText"], summary["samples"]["buzzedMore"]) == (2, ["id-2"])
    summary = await remote.summary(texts={"id-1": "Hi", "id-2": "Hi again"}, after=1)
    assert [buzz["text"] for buzz in summary["samples"]["wrongText"]] == ["Hi"]
    assert (summary["unexpected"], summary["samples"]["unexpected"][0]["record"]) == (1, "id-3")
    assert (await remote.summary(owner="program-1", after=4))["buzzes"] == 0
