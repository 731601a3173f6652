"""Orders from a terminal and from a script: who is meant, what is said before, what is shown afterwards."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from rich.cells import cell_len

from support.terminal import on_a_terminal

if TYPE_CHECKING:
    from conftest import Club, Passbell


def campaigns(club: Club) -> list[tuple[Any, ...]]:
    """What was ordered."""
    return club.connection.execute("select target_query, message_text from push_campaigns").fetchall()


SEND = ("send", "--program", "Tea Club", "--message", "Hi")


def test_b7_a_script_names_its_audience(passbell: Passbell, club: Club) -> None:
    """Without --target or --csv nothing is created, and the sentence says how to mean everybody."""
    for arguments in (SEND, (*SEND, "--yes"), (*SEND, "--wait")):
        answer = passbell(*arguments)
        assert answer.code == 2
        assert "--target ALL" in answer.err
        assert "--csv" in answer.err
    for blank in ("", "  ", "\u00a0", "\u200b"):  # a variable that was not set
        answer = passbell(*SEND, "--target", blank)
        assert (answer.code, "--target is empty" in answer.err) == (2, True)
    assert campaigns(club) == []
    assert passbell(*SEND, "--target", "ALL").code == 0
    assert campaigns(club) == [("ALL", "Hi")]


@pytest.mark.parametrize(
    "more",
    [
        ("--target", "VIP", "--target", "ALL"),
        ("--target", "ALL", "--message", "Another"),
        ("--target=VIP", "--target=ALL"),
        ("--target", "ALL", "--program", "Tea Club"),
    ],
)
def test_b7_an_option_given_twice_is_refused(passbell: Passbell, club: Club, more: tuple[str, ...]) -> None:
    """An option that is given twice is refused, because one of the values would be dropped."""
    answer = passbell(*SEND, *more)
    assert answer.code == 2
    assert "is given twice" in answer.err
    assert campaigns(club) == []


def test_b7_a_list_that_is_not_there_is_no_order(passbell: Passbell, club: Club) -> None:
    """The audience CSV without a file, or a share that is not a number, creates no campaign."""
    for target in ("CSV", "csv & VIP", "ALL&CSV"):
        answer = passbell(*SEND, "--target", target)
        assert (answer.code, "--csv FILE" in answer.err) == (2, True)
    assert passbell(*SEND, "--target", "ALL", "--holdout", "nan").code == 2
    assert campaigns(club) == []


def test_b7_a_count_of_an_empty_audience_is_refused(passbell: Passbell, club: Club) -> None:
    """`preview` with an empty audience is refused, because the variable was probably not set."""
    for blank in ("", "  ", "\u200b"):
        answer = passbell("preview", "--program", "Tea Club", "--target", blank)
        assert (answer.code, "--target is empty" in answer.err) == (2, True)
    assert campaigns(club) == []


def test_holdout_days_and_priority_are_part_of_the_order(
    passbell: Passbell, club: Club, tmp_path: Any
) -> None:
    """The campaign has its share, days and priority before a daemon can start it; a value out of range is exit 2."""
    file = tmp_path / "guests.csv"
    file.write_text("member_id\nM-Ann\n")
    wanted = ("--holdout", "12.5", "--measure-days", "14", "--priority", "8")
    for audience in (("--target", "WHALE"), ("--csv", str(file))):
        assert passbell(*SEND, *audience, *wanted).code == 0
    kept = "select holdout_percent, measure_days, priority from push_campaigns"
    assert [tuple(map(float, row)) for row in club.connection.execute(kept)] == [(12.5, 14, 8)] * 2
    assert passbell(*SEND, "--target", "ALL", "--holdout", "51").code == 2


def test_the_question_says_how_many_are_held_back(passbell: Passbell, club: Club) -> None:
    """The question says how many are held back: by the order's own share, else by the program's."""
    club.connection.execute("update programs set push_holdout_percent = 40")
    assert "1 of the 3 are held back to measure." in on_a_terminal(club.url, *SEND, answer="n").text
    screen = on_a_terminal(club.url, *SEND, "--holdout", "50", answer="n")
    assert "2 of the 3 are held back to measure." in screen.text
    told = passbell("preview", "--program", "Tea Club")
    assert "held back to measure" in told.out


def test_results_of_a_campaign_that_waits(passbell: Passbell, club: Club) -> None:
    """`results` prints the sentence first; with --json the columns of push_results."""
    passbell(*SEND, "--target", "ALL", "--holdout", "10")
    row = club.connection.execute("select id from push_campaigns").fetchone()
    assert row is not None
    told = passbell("results", str(row[0]))
    assert told.out.startswith("Can be counted 7 days after its last message.")
    told = passbell("results", "--program", "Tea Club", "--json")
    assert json.loads(told.out)["campaigns"] == 0


@pytest.mark.parametrize(("answer", "sent"), [("y", True), ("n", False)])
def test_b7_a_terminal_shows_the_count_and_asks(club: Club, *, answer: str, sent: bool) -> None:
    """On a terminal `send` shows count, audience and program, and asks; no is the default."""
    screen = on_a_terminal(club.url, *SEND, answer=answer)
    assert "5 matched, 4 in a wallet, 1 opted out." in screen.text
    assert "Buzz 3 phones: everybody in Tea Club? [y/N]" in screen.text
    assert screen.code == (0 if sent else 1)
    assert ("Nothing was sent." in screen.text) is not sent
    assert len(campaigns(club)) == sent


def test_b7_yes_skips_the_question_where_the_audience_is_named(club: Club) -> None:
    """With --target and --yes nothing is asked on a terminal; with --csv the rows found are told."""
    screen = on_a_terminal(club.url, *SEND, "--target", "WHALE", "--yes")
    assert screen.code == 0
    assert "[y/N]" not in screen.text
    assert campaigns(club) == [("WHALE", "Hi")]


def test_b7_a_list_is_counted_before_the_question(club: Club, tmp_path: Any) -> None:
    """Before it asks, `send --csv` shows how many of the file's members it found; nothing is created by that."""
    file = tmp_path / "guests.csv"
    file.write_text("member_id\nM-Ann\nM-Bo\nstranger\n")
    screen = on_a_terminal(club.url, *SEND, "--csv", str(file), answer="n")
    assert "Buzz 2 phones: the members in guests.csv in Tea Club? [y/N]" in screen.text
    assert campaigns(club) == []


def test_b6_a_time_in_the_past_is_refused(passbell: Passbell, club: Club) -> None:
    """A time in the past is refused, in a dry run too, and the sentence names the zone."""
    for more in ((), ("--dry-run",)):
        answer = passbell(*SEND, "--target", "ALL", "--at", "2020-01-01T09:00+00:00", *more)
        assert answer.code == 1
        assert "2020-01-01 04:00 America/New_York" in answer.err
        assert answer.err.count("\n") == 1
    assert campaigns(club) == []


def test_what_holds_an_order_back_is_said_before_it_is_given(passbell: Passbell, club: Club) -> None:
    """Zone of the time, quiet hours, a missing daemon and a suspended program stand on standard error."""
    answer = passbell(*SEND, "--target", "ALL", "--at", "2099-07-01T12:00+00:00", "--json")
    assert "2099-07-01 08:00 America/New_York" in answer.err
    assert "No daemon is running" in answer.err
    assert set(answer.document) == {"campaign_id"}
    club.connection.execute("update programs set push_window_start = '03:00', push_window_end = '03:01'")
    quiet = passbell(*SEND, "--target", "ALL", "--dry-run", "--json").document
    assert "03:00 America/New_York" in quiet["notice"]
    assert "03:00 America/New_York" in passbell("preview", "--program", "Tea Club").err
    club.connection.execute("update programs set is_suspended = true")
    refused = passbell(*SEND, "--target", "ALL")
    assert refused.code == 1
    assert "suspended" in refused.err
    assert "suspended" in passbell("preview", "--program", "Tea Club", "--json").document["notice"]


def test_d8_merge_tags_of_other_tools_are_warned_of(passbell: Passbell, club: Club) -> None:
    """`{{first_name}}` goes out as it stands: dry run and order say how it is written here."""
    order = ("send", "--program", "Tea Club", "--message", "Hi {{first_name}}!")
    dry = passbell(*order, "--dry-run")
    assert "M-Ann: Hi {first_name}!" in dry.out
    assert 'Warning: "{{first_name}}"' in dry.err
    assert "Write {first_name}" in dry.err
    assert len(passbell(*order, "--dry-run", "--json").document["warnings"]) == 1
    assert "Write {first_name}" in passbell(*order, "--target", "ALL").err


def named(club: Club, count: int = 3) -> list[str]:
    """Ids of campaigns that begin alike, each with a long name."""
    ids = [f"abcd{n:04d}-0000-4000-8000-000000000000" for n in range(count)]
    for n, campaign in enumerate(ids):
        club.connection.execute(
            "insert into push_campaigns (id, program_id, name, message_text) values (%s, %s, %s, %s)",
            (
                campaign,
                club.program,
                f"A name that is rather long, as people write them, number {n}",
                f"Hi {n}",
            ),
        )
    return ids


@pytest.mark.parametrize("verb", ["pause", "cancel", "status", "verify"])
def test_d5_a_campaign_is_named_by_the_beginning_of_its_id(passbell: Passbell, club: Club, verb: str) -> None:
    """The beginning of an id names a campaign; if it fits several, the answer lists them."""
    ids = named(club)
    unclear = passbell(verb, "ABCD")
    assert unclear.code == 1
    assert all(campaign in unclear.err for campaign in ids)
    assert "Write more of the id." in unclear.err
    assert unclear.err.count("\n") == 1
    clear = passbell(verb, "abcd0001")
    assert clear.code == 0
    assert verb == "verify" or ids[1] in clear.out
    assert passbell(verb, "abcd0001-00").code == 0
    for unknown in ("abcd0009", "tea", "abcd%"):
        answer = passbell(verb, unknown)
        assert answer.code == 1
        assert unknown in answer.err


def test_d5_status_fits_eighty_columns_and_ids_can_be_copied(club: Club) -> None:
    """Each line of `status` fits 80 columns; the whole id is on one line, with name, program and what it waits for."""
    ids = named(club)
    club.connection.execute("update push_campaigns set name = E'\\x1b[2Jevil' where id = %s", (ids[2],))
    screen = on_a_terminal(club.url, "status")
    assert screen.code == 0
    assert "\x1b[33mPENDING" in screen.text
    assert "\x1b[2J" not in screen.text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen.text)
    assert all(len(line) <= 80 for line in plain.splitlines())
    for campaign in ids:
        assert campaign in plain
    words = " ".join(plain.split())
    assert "A name that is rather long, as people write them, number 0 · Tea Club" in words
    assert "No daemon is running: start one with `passbell run`." in words
    one = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(club.url, "status", "abcd0000").text)
    assert all(len(line) <= 80 for line in one.splitlines())
    assert "No daemon is running" in one


@pytest.mark.parametrize(
    "name",
    [
        "\u8336" * 200,
        "\u304a\u8336\u306e\u304a\u77e5\u3089\u305b " * 14,
        "\U0001f375" * 120,
        "x" * 200,
        "\u05ea\u05d4 " * 60,
        "\u202eevil\u202c \u2066name\u2069 \x1b]0;title\x07 \x9b31m",
    ],
    ids=["chinese", "japanese", "emoji", "one word", "hebrew", "marks"],
)
def test_d5_status_fits_eighty_columns_whatever_the_name(club: Club, name: str) -> None:
    """Each line fits also with wide letters, a name without spaces, and marks that turn the line around."""
    ids = named(club, 1)
    club.connection.execute("update push_campaigns set name = %s where id = %s", (name, ids[0]))
    club.connection.execute("update programs set name = %s where id = %s", (name, club.program))
    for more in ((), ("abcd",)):
        screen = on_a_terminal(club.url, "status", *more)
        assert screen.code == 0
        plain = re.sub(r"\x1b\[[0-9;]*m", "", screen.text)
        assert max(cell_len(line) for line in plain.splitlines()) <= 80
        assert not re.search("[\x1b\x07\x80-\x9f\u202a-\u202e\u2066-\u2069]", plain)
        assert ids[0] in plain
        assert "".join(name.split())[:8] in "".join(plain.split()) or "evil" in plain


@pytest.mark.parametrize("verb", ["resume", "pause", "cancel"])
def test_d4_a_verb_says_that_no_daemon_runs(passbell: Passbell, club: Club, verb: str) -> None:
    """If no daemon runs, `resume` says so; a verb after which nothing is sent does not."""
    (campaign,) = named(club, 1)
    if verb == "resume":
        club.connection.execute("select push_pause(%s)", (campaign,))
    answer = passbell(verb, "abcd")
    assert ("No daemon is running" in answer.err) is (verb == "resume"), answer


def test_d4_automations_say_that_no_daemon_runs(passbell: Passbell, club: Club) -> None:
    """If no daemon runs, `passbell automations` says so when it makes campaigns."""
    club.connection.execute(
        "insert into push_automations (program_id, occasion, message_text, is_on, send_at)"
        " values (%s, 'EVERY:MON,TUE,WED,THU,FRI,SAT,SUN', 'Tea', true, '00:00')",
        (club.program,),
    )
    answer = passbell("automations", "--program", "Tea Club")
    assert answer.code == 0, answer
    assert "No daemon is running" in answer.err


@pytest.mark.parametrize("blank", ["", " ", "\u00a0"])
def test_b7_an_automation_keeps_its_audience_when_the_variable_was_not_set(
    passbell: Passbell, club: Club, blank: str
) -> None:
    """`target_query=` without a value is refused and keeps the audience; for all members write ALL."""
    new = ("automations", "add", "--program", "Tea Club", "--occasion", "DORMANT:30", "--message", "Tea")
    assert passbell(*new, f"target_query={blank}").code == 1
    assert passbell(*new, "name=Back", "target_query=VIP").code == 0
    refused = passbell("automations", "change", "Back", f"target_query={blank}")
    assert (refused.code, "ALL for everybody" in refused.err) == (1, True)
    assert club.connection.execute("select target_query from push_automations").fetchall() == [("VIP",)]
    assert passbell("automations", "change", "Back", "target_query=ALL").code == 0


@pytest.mark.parametrize("name", ["", " ", "\u200b"])
def test_b7_a_program_without_a_name_is_never_the_one_that_was_not_set(
    passbell: Passbell, club: Club, name: str
) -> None:
    """--program with an empty variable is refused, even if a program has a blank name."""
    club.connection.execute("update programs set name = %s where id = %s", (name, club.program))
    answer = passbell("send", "--program", name, "--message", "Hi", "--target", "ALL")
    assert (answer.code, "Which program?" in answer.err) == (1, True)
    assert campaigns(club) == []


def test_d5_status_in_a_pipe_has_whole_lines_without_colour(passbell: Passbell, club: Club) -> None:
    """Grep finds id and status in one line; nothing is cut, nothing is coloured."""
    ids = named(club)
    shown = passbell("status").out
    assert "\x1b" not in shown
    assert all(f"{campaign}  PENDING" in shown for campaign in ids)
    assert "A name that is rather long, as people write them, number 2 · Tea Club" in shown
    (first, *_) = passbell("status", "--json").document
    assert first["waits_for"] == "No daemon is running: start one with `passbell run`."


def test_d9_a_list_says_which_rows_reach_nobody_and_why(
    passbell: Passbell, club: Club, tmp_path: Any
) -> None:
    """D9: ids that are not found come with the advice that fits, and how the file was read, on standard error."""
    file = tmp_path / "list.csv"
    file.write_text("member_id;note\nM-Ann;a\n#M-Bo;b\nX-9;c\n")
    run = passbell("send", "--program", club.program, "--message", "Hi", "--csv", str(file))
    assert run.code == 0
    assert 'row 3, "#M-Bo": not found: M-Bo exists: remove the #' in run.err
    assert 'row 4, "X-9": not found' in run.err
    assert "Columns not used: note." in run.err
    run = passbell(
        "send", "--program", club.program, "--message", "Yo", "--csv", str(file), "--dry-run", "--json"
    )
    document = json.loads(run.out)
    assert [problem["value"] for problem in document["problems"]] == ["#M-Bo", "X-9"]


def test_d9_the_encoding_of_a_list_can_be_said(passbell: Passbell, club: Club, tmp_path: Any) -> None:
    """D9: --encoding names a list's code page; an unknown encoding, or one without a list, is refused."""
    club.connection.execute("update passes_master set external_id = 'Łódź-1' where external_id = 'M-Ann'")
    file = tmp_path / "list.csv"
    file.write_bytes("member_id\nŁódź-1\n".encode("cp1250"))
    order = ("send", "--program", club.program, "--message", "Hi", "--csv", str(file))
    assert "1 of 1 matched" in passbell(*order, "--encoding", "cp1250", "--dry-run").out
    assert "Nobody on the list was found" in passbell(*order, "--encoding", "cp1251", "--dry-run").err
    assert 'There is no encoding "klingon"' in passbell(*order, "--encoding", "klingon").err
    assert (
        passbell(
            "send", "--program", club.program, "--message", "Hi", "--target", "ALL", "--encoding", "utf-8"
        ).code
        == 2
    )
    assert campaigns(club) == []
