"""The command line beside a running daemon and a sandbox: what a person sees when phones really buzz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.plain import plain_client
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
    with plain_client(base_url=sandbox.url) as client:
        client.post("/sandbox/seed", json={"records": records}).raise_for_status()
    return sandbox


def test_check_finds_the_wrong_region(passbell: Passbell, club: Club, sandbox: Sandbox) -> None:
    """Where PassKit does not know a program, check says so: this looks like the other region."""
    answer = passbell("check")
    assert answer.code == 1
    assert "ok   PassKit" in answer.out
    assert "FAIL programs: pkTea not known at" in answer.out


def test_check_finds_wrong_credentials(passbell: Passbell, club: Club, seeded: Sandbox) -> None:
    """`check` says that the secret is wrong, and does not show it."""
    answer = passbell("check", PASSBELL_PASSKIT_API_SECRET="hunter2-hunter2-hunter2")
    assert answer.code == 1
    assert "FAIL PassKit" in answer.out
    assert "hunter2" not in answer.out + answer.err


def design(sandbox: Sandbox, owner: str, fields: list[dict[str, Any]], **more: Any) -> None:
    """Give a program, coupon campaign or production of the sandbox a design."""
    with plain_client(base_url=sandbox.url) as client:
        given = {"owners": [{"id": owner, "fields": fields, **more}]}
        client.post("/sandbox/seed", json=given).raise_for_status()


CUSTOM = {"name": "custom.news", "default": "News: ${meta.marketingMessage}"}


@pytest.mark.parametrize(
    ("field", "line"),
    [
        (
            {"name": "meta.marketingMessage", "changeMessage": "%@"},
            "ok   template: Tea Club (pkTea): the field meta.",
        ),
        ({**CUSTOM, "changeMessage": "%@"}, "ok   template: Tea Club (pkTea): the field custom.news rings"),
        ({**CUSTOM, "localizedChangeMessage": {"EN": "%@"}}, "the field custom.news rings"),
        ({**CUSTOM, "changeMessage": "News!"}, "has no %@ in the change message of custom.news"),
        ({"name": "custom.news", "changeMessage": "%@"}, "has no field meta.marketingMessage"),
        ({**CUSTOM, "default": "${meta.other}", "changeMessage": "%@"}, "has no field meta.marketingMessage"),
    ],
)
def test_c1_check_reads_the_template_as_passkit_shows_it(
    passbell: Passbell, club: Club, seeded: Sandbox, field: dict[str, Any], line: str
) -> None:
    """`check` accepts any field that shows our key with %@, and says what another design lacks."""
    design(seeded, "pkTea", [field])
    for shape in ("published", "bare"):
        with plain_client(base_url=seeded.url) as client:
            client.patch("/sandbox/options", json={"template_shape": shape}).raise_for_status()
        answer = passbell("check")
        assert line in answer.out
        assert answer.code == (0 if "rings" in line or line.startswith("ok") else 1)


def test_c1_check_looks_at_coupon_and_ticket_designs(passbell: Passbell, club: Club, seeded: Sandbox) -> None:
    """Of a coupon campaign both designs are looked at, of a production its ticket types; each lack is named."""
    for name, protocol in (("Coffee", "COUPON"), ("Gig", "EVENT_TICKET")):
        club.connection.execute(
            "insert into programs (id, name, protocol, passkit_program_id) values (gen_random_uuid(), %s, %s, %s)",
            (name, protocol, f"pk{name}"),
        )
    rings = {"name": "meta.marketingMessage", "changeMessage": "%@"}
    design(
        seeded, "pkCoffee", [rings], kind="coupon", afterFields=[{"name": "custom.used"}], template="before"
    )
    design(seeded, "pkGig", [rings], kind="ticket")
    answer = passbell("check")
    lacks = [line for line in answer.out.splitlines() if line.startswith("FAIL")]
    assert answer.code == len(lacks) == 1
    assert "Coffee (pkCoffee)" in lacks[0]
    assert "(after redemption) has no field meta.marketingMessage" in lacks[0]
    assert "ok   template: Gig (pkGig): the field meta.marketingMessage rings" in answer.out


def test_send_and_wait_until_everybody_was_buzzed(passbell: Passbell, club: Club, seeded: Sandbox) -> None:
    """--wait ends with 0 when the campaign is complete; a real test push works the same way."""
    assert passbell("check").code == 0
    with Daemon(club.url, seeded.url, POLL_SECONDS=1):
        sent = passbell(
            "send",
            "--target",
            "ALL",
            "--program",
            "Tea Club",
            "--message",
            "Hi {first_name}",
            "--wait",
            "--json",
        )
        tested = passbell("check", "--send", "M-Ann", "--program", "Tea Club")
    assert sent.code == 0
    assert (sent.document["status"], sent.document["sent"], sent.document["failed"]) == ("COMPLETED", 3, 0)
    assert tested.code == 0
    assert "COMPLETED" in tested.out
    assert passbell("verify").code == 0
