"""Everything through PgBouncer in transaction mode: no session survives a transaction, and none is needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.files import FileHost
from support.pgbouncer import PgBouncer, needs_pgbouncer
from support.processes import SANDBOX_CREDENTIALS, Command
from support.scene import LONG
from support.wait import wait_until
from support.web import Web

if TYPE_CHECKING:
    from uuid import UUID

    from support.scene import Scene

    from .conftest import Report

pytestmark = needs_pgbouncer
# Slow enough that the command `pause` comes in time on a busy machine.
HALF = {"RATE_PER_SECOND": 60, "CHUNK_SIZE": 50}
TEXT = "Hello {first_name|you}"


def passes(scene: Scene) -> set[UUID]:
    """Every pass of the scene."""
    return {row["id"] for row in scene.rows("select id from passes_master")}


def passbell(scene: Scene, url: str, *arguments: str) -> tuple[int, Any]:
    """A command through the pooler: its exit code, and what it printed as JSON."""
    settings = {
        "PASSBELL_DATABASE_URL": url,
        "PASSBELL_PASSKIT_URL": scene.sandbox.url,
        **SANDBOX_CREDENTIALS,
    }
    with Command(*arguments, "--json", settings=settings) as command:
        code = command.wait(60)
        return code, json.loads(command.output) if command.output.strip() else command.log


@pytest.mark.parametrize("direct", [True, False], ids=["LISTEN directly", "polling only"])
def test_a_campaign_with_pause_kill_and_resume(scene: Scene, report: Report, direct: bool) -> None:  # noqa: FBT001
    """Two daemons through the pooler, one killed (-9) in the middle: everybody once, and they say how they hear."""
    program = scene.plain(400)
    settings = {"LISTEN_URL": scene.url} if direct else {}
    with (
        PgBouncer(scene.url) as pooler,
        scene.daemon(pooler.url, **HALF, **settings) as one,
        scene.daemon(pooler.url, **HALF, **settings) as two,
    ):
        campaign = scene.campaign(program, TEXT)
        scene.until_sent(campaign, 80)
        assert passbell(scene, pooler.url, "pause", str(campaign))[0] == 0
        scene.until_quiet()
        assert scene.status(campaign) == "PAUSED"
        assert passbell(scene, pooler.url, "resume", str(campaign))[0] == 0
        scene.until_sent(campaign, 200)
        two.kill()
        two.start()
        scene.until(campaign, law=True)
        wait_until(
            lambda: one.events("listening" if direct else "listen_unavailable"), "it says how it hears"
        )
    scene.everybody_once(campaign, passes(scene), "Hello you")
    how = "LISTEN on a direct connection" if direct else "polling only"
    report("pooler", f"pause, kill -9, resume, two daemons, {how}", "400 of 400 once")


STARVED = {"default_pool_size": 1, "server_lifetime": 1, "server_idle_timeout": 1}
ROOMY = {"default_pool_size": 20}


@pytest.mark.parametrize(
    "settings",
    [STARVED, *([ROOMY] if LONG else [])],
    ids=lambda given: "one server connection, renewed each second" if given is STARVED else "roomy",
)
def test_all_kinds_of_work(scene: Scene, report: Report, settings: dict[str, object]) -> None:
    """Every kind of work and every command succeeds through PgBouncer with few connections and restarts."""
    club = scene.program(
        birthday_bot_enabled=True,
        birthday_send_at="00:00",
        timezone="UTC",
        birthday_message="Happy birthday!",
    )
    scene.members(club, 60)
    born_today = scene.member(
        club, user={"first_name": "Ada", "birth_date": scene.value("select current_date")}
    )
    scene.publish()
    ids = [row["external_id"] for row in scene.rows("select external_id from passes_master")]
    more = {"CSV_ALLOW_PRIVATE": True, "POLL_SECONDS": 0.2, "DAILY_CAP": 0}
    with PgBouncer(scene.url, **settings) as pooler, FileHost() as files:
        assert passbell(scene, pooler.url, "migrate")[0] == 0
        assert passbell(scene, pooler.url, "migrate", "--check")[0] == 0
        files.files["list.csv"] = ("member_id\n" + "\n".join(ids[:40]) + "\nnobody\n").encode()
        files.files["members.csv"] = b"email,city\n" + b"".join(
            b"m%d@example.com,Rome\n" % n for n in range(300)
        )
        with scene.daemon(pooler.url, **more) as daemon:
            code, sent = passbell(
                scene,
                pooler.url,
                "send",
                "--program",
                str(club),
                "--target",
                "ALL",
                "--message",
                "Hello",
                "--wait",
            )
            assert (code, sent["sent"]) == (0, 61), sent
            listed = scene.campaign(club, "Listed", target_query="CSV", csv_upload_url=files.link("list.csv"))
            imported = scene.value(
                "insert into member_imports (program_id, csv_upload_url) values (%s, %s) returning id",
                [club, files.link("members.csv")],
            )
            assert scene.until(listed)["sent_count"] == 40
            wait_until(
                lambda: (
                    scene.value("select status from member_imports where id = %s", [imported]) == "COMPLETED"
                ),
                "the import ends",
            )
            wait_until(
                lambda: scene.rows(
                    "select 1 from passbell.deliveries d join push_campaigns c on c.id = d.campaign_id"
                    " where c.kind = 'BIRTHDAY' and d.pass_id = %s and d.outcome = 'sent'",
                    [born_today],
                ),
                "the greeting",
            )
            with Web(pooler.url) as web, web.client() as client:
                answer = client.post(
                    "/api/notify/broadcast", json={"programId": str(club), "message": "By page"}
                )
                assert answer.status_code == 202, answer.text
                by_page = answer.json()["result"]["campaignId"]
            assert scene.until(by_page)["sent_count"] == 61
            slow = scene.campaign(club, "Slow", rate_per_second=5)
            scene.until_sent(slow, 3)
            assert passbell(scene, pooler.url, "cancel", str(slow))[0] == 0
            wait_until(lambda: not scene.waiting(slow), "what was left is closed")
            code, status = passbell(scene, pooler.url, "status", str(by_page))
            assert (code, status["status"]) == (0, "COMPLETED")
            assert passbell(scene, pooler.url, "preview", "--program", str(club))[0] == 0
            assert passbell(scene, pooler.url, "check")[0] in {0, 1}
            assert daemon.running
        assert passbell(scene, pooler.url, "verify")[0] == 0
        # No statement was prepared on a server connection that the next transaction does not have.
        with psycopg.connect(pooler.url, prepare_threshold=None) as conn:
            assert conn.execute("select count(*) from pg_prepared_statements").fetchone() == (0,)
    assert scene.value("select count(*) from birthday_logs") == 1
    assert scene.value("select count(*) from users where city = 'Rome'") == 300
    words = ", ".join(f"{name} {value}" for name, value in settings.items())
    report("pooler", "migrate, send, list, import, birthday, page, cancel, verify", words)


def test_the_pooler_restarts_and_pauses_in_a_campaign(scene: Scene, report: Report) -> None:
    """If PgBouncer restarts, pauses and resumes in a campaign, the daemon stays and each phone buzzes once."""
    program = scene.plain(500)
    with PgBouncer(scene.url) as pooler, scene.daemon(pooler.url, **HALF) as daemon:
        campaign = scene.campaign(program, TEXT)
        for sent in (60, 160):
            scene.until_sent(campaign, sent)
            pooler.stop()
            wait_until(lambda: daemon.events("database_unavailable"), "it notices")
            pooler.start()
        scene.until_sent(campaign, 260)
        pooler.tell("PAUSE")
        scene.until_quiet()
        assert scene.status(campaign) == "PROCESSING"
        pooler.tell("RESUME")
        scene.until(campaign, law=True)
        pooler.tell("RECONNECT")
        assert daemon.running
    scene.everybody_once(campaign, passes(scene), "Hello you")
    report("pooler", "restarted twice, PAUSE and RESUME in a campaign", "500 of 500 once, one process")
