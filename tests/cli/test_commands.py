"""The command line itself: help, errors, exit codes."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from passbell import __version__
from passbell.cli import COMMANDS, uncollected
from passbell.cli import passbell as group
from passbell.settings import Settings

if TYPE_CHECKING:
    from conftest import Club, Passbell

HEAVY = {"psycopg", "pydantic", "httpx", "httptools", "rich", "structlog", "uvloop"}


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    """--help is instant because it loads neither the database driver nor the HTTP client."""
    code = (
        "import sys, click\nfrom passbell.cli import passbell\n"
        "print(passbell.get_help(click.Context(passbell)))\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *text, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    for name in COMMANDS:
        assert any(line.strip().startswith(name) for line in text)


def test_python_m_passbell_is_the_same_command() -> None:
    """`python -m passbell --version` answers with the version."""
    done = subprocess.run(
        [sys.executable, "-m", "passbell", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"passbell {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_explains_itself(name: str) -> None:
    """Each name in the list of commands leads to a command with a help text."""
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.get_short_help_str()


def test_an_import_without_garbage_collection_leaves_it_as_it_was() -> None:
    """A command that is missing, too: the process goes on with the collector that it had."""
    for collects in (True, False):
        try:
            gc.enable() if collects else gc.disable()
            with pytest.raises(ModuleNotFoundError), uncollected():
                importlib.import_module("passbell.cli.no_such_command")
            assert gc.isenabled() is collects
            with uncollected():
                assert not gc.isenabled()
            assert gc.isenabled() is collects
        finally:
            gc.enable()


def test_missing_database_url_is_exit_2(passbell: Passbell) -> None:
    """Without a database URL a command says which variable to set."""
    answer = passbell("status")
    assert answer.code == 2
    assert "PASSBELL_DATABASE_URL is not set" in answer.err
    assert "Traceback" not in answer.err


def test_run_without_passkit_credentials_is_exit_2(passbell: Passbell) -> None:
    """Without credentials `passbell run` ends with 2 and never pretends to send."""
    answer = passbell("run", PASSBELL_DATABASE_URL="postgresql://u:hunter2@localhost/x")
    assert answer.code == 2
    assert "PASSBELL_PASSKIT_API_KEY" in answer.err
    assert "hunter2" not in answer.err


def test_unreachable_database_is_one_sentence(passbell: Passbell) -> None:
    """A database that does not answer is one sentence without the password."""
    answer = passbell("status", PASSBELL_DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/x")
    assert answer.code == 1
    assert answer.err.startswith("passbell: The database cannot be reached")
    assert answer.err.count("\n") == 1
    assert "hunter2" not in answer.err


def test_wrong_option_is_told_with_the_usage(passbell: Passbell) -> None:
    """A misspelt command or option prints the usage, not a traceback."""
    assert passbell("snd").code == 2
    answer = passbell("send", "--massage", "x")
    assert answer.code == 2
    assert "--massage" in answer.err


def test_bytes_that_are_no_text_are_one_sentence(passbell: Passbell, club: Club) -> None:
    """An argument in another code page is told as such, not as a defect."""
    answer = passbell(
        "send",
        "--target",
        "ALL",
        "--program",
        str(club.program),
        "--message",
        "caf\udce9",
        PASSBELL_DATABASE_URL=club.url,
    )
    assert (answer.code, answer.err) == (2, "passbell: An argument is not text in UTF-8.\n")


def test_a_terminal_of_another_code_page_shows_what_it_can(club: Club) -> None:
    """On a terminal without bars and dashes commands print other characters and do not fail."""
    club.connection.execute("select push_send(%s, 'Olá', 'ALL', 'Olá')", [club.program])
    done = subprocess.run(
        [sys.executable, "-m", "passbell", "status"],
        env={"PASSBELL_DATABASE_URL": club.url, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"?" in done.stdout


def test_migrate_check_tells_behind_from_current(passbell: Passbell, database: object) -> None:
    """`migrate --check` exits 3 before the installation and 0 after it; migrating twice changes nothing."""
    assert callable(database)
    url = str(database("empty", migrated=False))
    behind = passbell("migrate", "--check", PASSBELL_DATABASE_URL=url)
    assert behind.code == 3
    assert "passbell migrate" in behind.err
    unready = passbell("status")
    assert unready.code == 3
    assert unready.err.count("\n") == 1
    first = passbell("migrate", "--json").document
    assert (first["before"], first["changed"]) == (0, True)
    assert passbell("migrate", "--check").code == 0
    assert passbell("migrate", "--json").document["changed"] is False


def test_newer_schema_is_exit_4(passbell: Passbell, club: Club) -> None:
    """A database that a newer passbell has migrated is left alone."""
    club.connection.execute("update passbell.settings set schema_version = 9999")
    for arguments in (("migrate",), ("migrate", "--check")):
        answer = passbell(*arguments)
        assert answer.code == 4
        assert "newer" in answer.err


def test_check_names_everything_that_is_wrong(passbell: Passbell, club: Club) -> None:
    """`check` exits with 1 and names every fault, not only the first."""
    answer = passbell(
        "check",
        PASSBELL_PASSKIT_URL="http://127.0.0.1:1",
        PASSBELL_PASSKIT_TOKEN="a-long-lived-token",
        PASSBELL_HTTP_CLIENT="httpx",
        PASSBELL_RATE_PER_SECONDS="5",
    )
    assert answer.code == 1
    assert "ok   database: PostgreSQL" in answer.out
    assert "ok   schema" in answer.out
    assert "1 programs, 5 passes, 4 in a wallet, 1 of them opted out" in answer.out
    assert "did you mean PASSBELL_RATE_PER_SECOND?" in answer.out
    assert "FAIL PassKit" in answer.out
    assert club.url.split("@")[0] not in answer.out


def test_check_of_a_dry_run_passes(passbell: Passbell, club: Club) -> None:
    """With PASSBELL_DRY_RUN=true PassKit is not asked, and check says so."""
    answer = passbell("check", "--json", PASSBELL_DRY_RUN="true")
    assert answer.code == 0
    assert answer.document["ok"] is True


def test_settings_of_the_test_run_are_clean() -> None:
    """Settings of the person who runs the tests do not reach the tests."""
    assert Settings().database_url is None
