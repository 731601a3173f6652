"""What people do with campaigns from a terminal."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from support.wait import wait_until

if TYPE_CHECKING:
    from conftest import Club, Passbell


@pytest.mark.parametrize("how", ["id", "passkit", "name"])
def test_program_by_any_of_its_names(passbell: Passbell, club: Club, how: str) -> None:
    """A program can be named by its id, its PassKit program id or its exact name."""
    name = {"id": str(club.program), "passkit": "pkTea", "name": "Tea Club"}[how]
    answer = passbell("preview", "--program", name, "--json")
    assert answer.code == 0
    assert answer.document["reachable"] == 3


def test_preview_counts_from_wide_to_narrow(passbell: Passbell, club: Club) -> None:
    """The preview says how many were matched, and how many of them can be buzzed."""
    answer = passbell("preview", "--program", "Tea Club", "--target", "WHALE", "--json").document
    assert (answer["matched"], answer["reachable"]) == (2, 2)
    everybody = passbell("preview", "--program", "Tea Club").out
    assert "matched       5" in everybody
    assert "opted out     1" in everybody
    assert "reachable     3" in everybody


def test_unknown_program_is_one_sentence_with_the_known_ones(passbell: Passbell, club: Club) -> None:
    """A misspelt program is answered with the names that exist."""
    answer = passbell("preview", "--program", "Tee Club")
    assert answer.code == 1
    assert answer.err == "passbell: There is no program 'Tee Club'; known programs: Tea Club.\n"


def test_unknown_target_is_one_sentence(passbell: Passbell, club: Club) -> None:
    """An unknown target is refused with a list of the known ones, and no campaign is created."""
    answer = passbell("send", "--program", "Tea Club", "--message", "Hi", "--target", "RICH")
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert "WHALE" in answer.err
    assert club.connection.execute("select count(*) from push_campaigns").fetchone() == (0,)


def test_send_creates_a_campaign_that_status_shows(passbell: Passbell, club: Club) -> None:
    """A campaign sent from the terminal waits for the daemon and is listed."""
    sent = passbell(
        "send",
        "--program",
        "pkTea",
        "--message",
        "Hi {first_name}",
        "--target",
        "VIP:5 & WHALE",
        "--name",
        "Noon",
        "--json",
    )
    campaign = sent.document["campaign_id"]
    row = club.connection.execute(
        "select name, message_text, target_query, status from push_campaigns"
    ).fetchone()
    assert row == ("Noon", "Hi {first_name}", "VIP:5 & WHALE", "PENDING")
    assert campaign in passbell("status").out
    assert "PENDING" in passbell("status", campaign).out
    assert passbell("status", campaign, "--json").document["status"] == "PENDING"
    assert [row["campaign_id"] for row in passbell("status", "--json").document] == [campaign]


def test_send_at_a_time(passbell: Passbell, club: Club) -> None:
    """--at schedules; a time without a zone is local, one that is no time is refused."""
    assert (
        passbell(
            "send",
            "--target",
            "ALL",
            "--program",
            "pkTea",
            "--message",
            "x",
            "--at",
            "2099-12-24T18:00+01:00",
        ).code
        == 0
    )
    moment = club.connection.execute("select scheduled_at at time zone 'UTC' from push_campaigns").fetchone()
    assert str((moment or ("",))[0]) == "2099-12-24 17:00:00"
    wrong = passbell("send", "--target", "ALL", "--program", "pkTea", "--message", "x", "--at", "noon")
    assert wrong.code == 2
    assert "2026-12-24T18:00" in wrong.err


def test_dry_run_shows_what_members_would_read(passbell: Passbell, club: Club) -> None:
    """--dry-run shows the count and rendered texts of those who would be reached, and writes nothing."""
    answer = passbell(
        "send", "--program", "pkTea", "--message", "Hi {first_name}: {points}", "--dry-run", "--json"
    )
    assert answer.document["preview"]["reachable"] == 3
    assert [(row["external_id"], row["message"]) for row in answer.document["samples"]] == [
        ("M-Ann", "Hi Ann: 1500"),
        ("M-Bo", "Hi Bo: 20"),
        ("M-Cy", "Hi Cy: 600"),
    ]
    plain = passbell("send", "--target", "ALL", "--program", "pkTea", "--message", "50% off", "--dry-run").out
    assert "M-Ann: 50% off" in plain
    assert club.connection.execute("select count(*) from push_campaigns").fetchone() == (0,)


def test_unknown_placeholder_is_refused_before_anything_is_created(passbell: Passbell, club: Club) -> None:
    """A placeholder that does not exist is told at once."""
    answer = passbell("send", "--target", "ALL", "--program", "pkTea", "--message", "Hi {nickname}")
    assert answer.code == 1
    assert "{nickname}" in answer.err
    assert "first_name" in answer.err


def test_pause_resume_cancel(passbell: Passbell, club: Club) -> None:
    """A campaign is paused, resumed and cancelled; if a step is not possible, one sentence says so."""
    campaign = passbell("send", "--target", "ALL", "--program", "pkTea", "--message", "x", "--json").document[
        "campaign_id"
    ]
    assert passbell("pause", campaign, "--json").document["status"] == "PAUSED"
    assert passbell("resume", campaign, "--json").document["status"] == "PENDING"
    assert f"Campaign {campaign} is CANCELLED" in passbell("cancel", campaign).out
    again = passbell("resume", campaign)
    assert again.code == 1
    assert again.err == "passbell: A campaign that is CANCELLED cannot be resumed.\n"


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry-failed", "status"])
def test_unknown_campaign(passbell: Passbell, club: Club, verb: str) -> None:
    """A campaign that does not exist, or an id that cannot be one, is one sentence and exit code 1."""
    for name in ("00000000-0000-0000-0000-000000000000", "tea"):
        answer = passbell(verb, name)
        assert answer.code == 1
        assert name in answer.err
        assert answer.err.count("\n") == 1


def test_wait_ends_when_somebody_pauses_the_campaign(passbell: Passbell, club: Club) -> None:
    """--wait returns 1 with the state on the screen when a campaign is paused and waits for a person."""
    pausing = threading.Thread(target=pause_when_created, args=(club.url,))
    pausing.start()
    answer = passbell("send", "--target", "ALL", "--program", "pkTea", "--message", "x", "--wait")
    pausing.join()
    assert answer.code == 1
    assert "PAUSED" in answer.out


def pause_when_created(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        wait_until(
            lambda: (
                connection.execute("select (push_pause(id)).id from push_campaigns").fetchone() is not None
            )
        )


def test_verify_is_silent_about_nothing_and_names_what_breaks_the_law(passbell: Passbell, club: Club) -> None:
    """`verify` exits 0 if every recipient is accounted for, else 1 with the campaign."""
    assert passbell("verify").out == "Every recipient is accounted for.\n"
    campaign = passbell("send", "--target", "ALL", "--program", "pkTea", "--message", "x", "--json").document[
        "campaign_id"
    ]
    club.connection.execute("alter table push_campaigns disable trigger user")
    club.connection.execute(
        "update push_campaigns set status = 'PROCESSING', started_at = now(), recipient_count = 3"
    )
    broken = passbell("verify", "--json")
    assert broken.code == 1
    assert [row["campaign_id"] for row in broken.document["violations"]] == [campaign]
    assert passbell("verify", campaign).code == 1
