"""Upgrading under way: daemons of the last release on the new schema, both together, from every level there was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from passbell.database.bundle import read_bundle, sql_root
from passbell.database.migrate import check, migrate
from support.contract import broken_promises, called_functions, read_contract
from support.dumps import dump
from support.shop import Shop

if TYPE_CHECKING:
    from uuid import UUID

    from conftest import MakeDatabase
    from support.databases import Databases
    from support.scene import Scene

    from .conftest import Report

ROOT = Path(__file__).parents[2]
CONTRACT = Path(__file__).with_name("sql_contract.txt")
HALF = {"RATE_PER_SECOND": 200, "CHUNK_SIZE": 20}
LEVELS = sorted((sql_root() / "migrations").glob("*.sql"))


def git(*arguments: str) -> str:
    """What git says, or nothing where there is no repository."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def last_release() -> str:
    """The tag of the newest release in this history, or what PASSBELL_PREVIOUS names; skips while there is none."""
    found = os.environ.get("PASSBELL_PREVIOUS") or git(
        "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD"
    )
    if not found:
        pytest.skip("no release yet: no tag v* in this history (PASSBELL_PREVIOUS=COMMIT names another one)")
    return found


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The files of the last release."""
    there = tmp_path / "release"
    there.mkdir()
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", last_release(), "daemon", "sql"], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(there)], input=packed.stdout, check=True)
    return there


def passes(scene: Scene) -> set[UUID]:
    """Every pass of the scene."""
    return {row["id"] for row in scene.rows("select id from passes_master")}


def migrate_anew(url: str) -> None:
    """All that `passbell migrate` does to a database that is behind; this one is not."""
    with psycopg.connect(url) as conn:
        conn.execute(read_bundle().text.encode())


# ── the contract ────────────────────────────────────────────────


def test_what_daemons_call_is_written_down(database: MakeDatabase) -> None:
    """Changing a signature that running daemons call is a decision, not an accident."""
    with psycopg.connect(database("2")) as conn:
        now = read_contract(conn, called_functions())
    if os.environ.get("PASSBELL_WRITE_CONTRACT") == "1":
        CONTRACT.write_text(now, "utf-8")
    assert now == CONTRACT.read_text("utf-8"), (
        "a function that `passbell run` or `passbell web` calls looks different. During an upgrade daemons of the last"
        " release go on calling the old one: append arguments with defaults, or make a new function beside it and drop"
        " the old one a release later. Then: PASSBELL_WRITE_CONTRACT=1 make test ARGS=tests/chaos/test_upgrade.py"
    )


def test_the_last_release_still_finds_its_functions() -> None:
    """Every call of the last release works on this schema."""
    old = git("show", f"{last_release()}:{CONTRACT.relative_to(ROOT)}")
    if not old:
        pytest.skip(f"{last_release()} has no {CONTRACT.name}")
    broken = broken_promises(old, CONTRACT.read_text("utf-8"))
    assert not broken, (
        "daemons of the last release would fail while this upgrade runs; keep these functions as they were:\n"
        + "\n".join(broken)
    )


@pytest.mark.parametrize(
    ("new", "breaks"),
    [
        ("p.f(a uuid, b text = …) → x integer\n", False),
        ("p.f(a uuid, b text = …, c integer = …) → x integer\n", False),
        ("p.f(a uuid, b text = …, c integer) → x integer\n", True),
        ("p.f(a uuid, b text) → x integer\n", True),
        ("p.f(a uuid) → x integer\n", True),
        ("p.f(b text = …, a uuid = …) → x integer\n", True),
        ("p.f(a uuid, b text = …) → x integer, y integer\n", True),
        ("p.f(a uuid, b text = …) → x bigint\n", True),
        ("p.g(a uuid, b text = …) → x integer\n", True),
        ("p.f(a uuid) → x text\np.f(a uuid, b text = …) → x integer\n", False),
    ],
)
def test_a_broken_promise_is_noticed(new: str, breaks: bool) -> None:  # noqa: FBT001
    """Appended arguments with defaults are the one change that an older caller does not feel."""
    assert bool(broken_promises("p.f(a uuid, b text = …) → x integer\n", new)) is breaks


# ── while daemons run ───────────────────────────────────────────


def test_migrating_in_a_campaign_disturbs_nobody(scene: Scene, report: Report) -> None:
    """Five migrations while a daemon sends: it goes on, and each phone buzzes once."""
    program = scene.plain(400)
    with scene.daemon(**HALF) as daemon:
        campaign = scene.campaign(program, "Hello {first_name|you}")
        for sent in (40, 100, 160, 220, 280):
            scene.until_sent(campaign, sent)
            migrate_anew(scene.url)
        scene.until(campaign, law=True)
        assert daemon.running
    scene.everybody_once(campaign, passes(scene), "Hello you")
    report("upgrade", "migrated five times in a campaign", "400 of 400 once, the daemon stayed")


def test_a_daemon_of_before_goes_on_beside_a_newer_schema(scene: Scene) -> None:
    """After a migration a running daemon of the old version goes on; one that starts ends with 4 and says why."""
    program = scene.plain(200)
    with scene.daemon(**HALF) as daemon:
        campaign = scene.campaign(program, "Hello")
        scene.until_sent(campaign, 40)
        scene.conn.execute("update passbell.settings set schema_version = 9999, bundle = 'newer'")
        late = scene.daemon()
        try:
            late.start(wait=False)
            assert late.wait(30) == 4
            assert "9999" in late.log
        finally:
            late.close()
        scene.until(campaign, law=True)
        assert daemon.running
    scene.everybody_once(campaign, passes(scene), "Hello")


def test_the_last_releases_daemon_on_the_new_schema(
    database: MakeDatabase, make_scene: Any, release: Path, report: Report
) -> None:
    """Installed by the last release, upgraded while its daemon sends, finished by both: everybody once."""
    url = database("2", migrated=False)
    old = {"PYTHONPATH": str(release / "daemon")}
    done = subprocess.run(
        [sys.executable, "-m", "passbell", "migrate"],
        env={**os.environ, **old, "PASSBELL_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
        cwd=release,
    )
    assert done.returncode == 0, done.stderr
    assert not check(url).current, "this is the last release itself"
    scene = make_scene("2", url)
    program = scene.plain(600)
    before = scene.daemon(**HALF)
    before.settings |= old
    try:
        before.start()
        campaign = scene.campaign(program, "Hello {first_name|you}")
        scene.until_sent(campaign, 100)
        migrate(url)
        assert check(url).current
        scene.until_sent(campaign, 200)
        with scene.daemon(**HALF):
            scene.until_sent(campaign, 400)
            assert before.running, before.log
            before.kill()
            scene.until(campaign, law=True)
    finally:
        before.close()
    scene.everybody_once(campaign, passes(scene), "Hello you")
    report(
        "upgrade", f"the daemon of {last_release()} on the new schema, and both together", "600 of 600 once"
    )


# ── from every level ────────────────────────────────────────────


@pytest.fixture(scope="module")
def fresh_schema(databases: Databases) -> str:
    """What a new installation leaves, as text."""
    url = databases.create("2")
    text = dump(url, "--schema-only")
    databases.drop(urlsplit(url).path.removeprefix("/"))
    return text


@pytest.mark.parametrize("level", range(1, len(LEVELS)), ids=lambda level: LEVELS[level - 1].stem)
def test_every_earlier_level_becomes_the_same(database: MakeDatabase, fresh_schema: str, level: int) -> None:
    """With a campaign half sent at that level: the schema equals a fresh one, and the campaign is finished."""
    url = database("2", migrated=False)
    shop = Shop(url, "2")
    program, campaign = shop.program(), uuid4()
    sent, *waiting = shop.members(program, 5)
    shop.conn.execute("set check_function_bodies = off")
    for file in LEVELS[:level]:
        shop.conn.execute(file.read_bytes())
        number, _, name = file.stem.partition("_")
        shop.conn.execute("insert into passbell.migrations values (%s, %s)", [int(number), name])
    shop.conn.execute("update passbell.settings set schema_version = %s", [level])
    shop.conn.execute(
        "insert into push_campaigns (id, program_id, name, message_text, status, recipient_count, sent_count,"
        " started_at) values (%s, %s, 'Old', 'Hello', 'PROCESSING', 5, 1, now())",
        [campaign, program],
    )
    shop.conn.execute(
        "insert into passbell.deliveries (campaign_id, pass_id, outcome, text_hash)"
        " values (%s, %s, 'sent', hashtextextended('Hello', 0))",
        [campaign, sent],
    )
    shop.conn.execute("insert into passbell.turns (program_id) values (%s)", [program])
    for number, held in enumerate((waiting[:2], waiting[2:]), 1):
        shop.conn.execute(
            "insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, rendered)"
            " values (%s, %s, %s, %s, %s)",
            [campaign, number, program, held, number == 1],
        )
    assert migrate(url).before == level
    assert dump(url, "--schema-only") == fresh_schema
    shop.send_chunks()
    order = shop.order(campaign)
    assert (order["status"], order["sent_count"], len(shop.logs(campaign))) == ("COMPLETED", 5, 1)
    assert not shop.violations()
    shop.close()
