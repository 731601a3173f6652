"""The command line beside a running daemon and a sandbox: what a person sees when phones really buzz."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from support.processes import SANDBOX_CREDENTIALS, Daemon, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Club, Passbell

MEMBERS = ["Ann", "Bo", "Cy", "Di", "Ed"]


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox() as running:
        monkeypatch.setenv("PASSBELL_PASSKIT_URL", running.url)
        for name, value in SANDBOX_CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def seeded(sandbox: Sandbox) -> Sandbox:
    """The sandbox knows the club's members."""
    records = [{"id": f"pk-{name}", "externalId": f"M-{name}", "owner": "pkTea"} for name in MEMBERS]
    with httpx.Client(base_url=sandbox.url, trust_env=False) as client:
        client.post("/sandbox/seed", json={"records": records}).raise_for_status()
    return sandbox


def test_check_finds_the_wrong_region(passbell: Passbell, club: Club, sandbox: Sandbox) -> None:
    """Where PassKit does not know a program, check says so: this looks like the other region."""
    answer = passbell("check")
    assert answer.code == 1
    assert "ok   PassKit" in answer.out
    assert "FAIL programs: pkTea not known at" in answer.out


def test_check_finds_wrong_credentials(passbell: Passbell, club: Club, seeded: Sandbox) -> None:
    """A wrong secret is told as such, and never shown."""
    answer = passbell("check", PASSBELL_PASSKIT_API_SECRET="hunter2-hunter2-hunter2")
    assert answer.code == 1
    assert "FAIL PassKit" in answer.out
    assert "hunter2" not in answer.out + answer.err


def test_send_and_wait_until_everybody_was_buzzed(passbell: Passbell, club: Club, seeded: Sandbox) -> None:
    """--wait ends with 0 when the campaign is complete; a real test push works the same way."""
    assert passbell("check").code == 0
    with Daemon(club.url, seeded.url, POLL_SECONDS=1):
        sent = passbell("send", "--program", "Tea Club", "--message", "Hi {first_name}", "--wait", "--json")
        tested = passbell("check", "--send", "M-Ann", "--program", "Tea Club")
    assert sent.code == 0
    assert (sent.document["status"], sent.document["sent"], sent.document["failed"]) == ("COMPLETED", 3, 0)
    assert tested.code == 0
    assert "COMPLETED" in tested.out
    assert passbell("verify").code == 0
