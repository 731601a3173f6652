"""/metrics, /live and /ready as Prometheus, Kubernetes and a person with curl see them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from support.pages import free_port, get
from support.processes import Daemon, Sandbox
from support.proxy import Proxy
from support.wait import wait_until

if TYPE_CHECKING:
    from conftest import StartDaemon
    from support.shop import Shop


def port_of(daemon: Daemon) -> int:
    return int(daemon.settings["PASSBELL_METRICS_PORT"])


def test_d2_what_became_of_a_campaign_is_counted(shop: Shop, start_daemon: StartDaemon) -> None:
    """After a campaign of 30 to phones, of which 5 opted out, /metrics counts 25 sent and 5 skipped."""
    program = shop.program()
    shop.members(program, 25)
    for _ in range(5):
        shop.member(program, user={"marketing_opt_in": True})
    campaign = shop.campaign(program, "Hello")
    shop.start(campaign)
    shop.conn.execute("update users set marketing_opt_in = false")
    port = port_of(start_daemon(RATE_PER_SECOND=1000))
    wait_until(lambda: shop.status(campaign) == "COMPLETED")

    page = wait_until(
        lambda: (
            (page := get(port, "/metrics")).value('passbell_deliveries_total{outcome="sent",reason=""}') == 25
            and page
        )
    )

    assert page.value('passbell_undelivered_last_hour{outcome="skipped",reason="opted_out"}') == 5
    assert page.value('passbell_passkit_request_duration_seconds_count{code="200",method="PUT"}') == 25
    assert (page.value("passbell_limiter_wait_seconds_count") or 0) >= 25
    assert (page.value("passbell_claim_duration_seconds_count") or 0) >= 1
    assert page.value("passbell_workers") == 1
    assert page.value('passbell_breaker_open{kind="outage"}') == 0


def test_waiting_work_is_told_by_status_with_its_age(shop: Shop, start_daemon: StartDaemon) -> None:
    """Campaigns that are due, scheduled, paused and running are counted apart, with passes and age."""
    program = shop.program(is_suspended=True)
    shop.members(program, 7)
    shop.campaign(program, "later", scheduled_at="2999-01-01")
    paused = shop.campaign(program, "paused")
    shop.verb("pause", paused)
    shop.conn.execute("update programs set is_suspended = false")
    running = shop.campaign(program, "running")
    shop.start(running)
    shop.conn.execute("update programs set is_suspended = true")
    with shop.conn.transaction():
        shop.conn.execute("select passbell.as_engine()")
        shop.conn.execute(
            "update push_campaigns set started_at = now() - interval '1 hour' where id = %s", [running]
        )

    page = get(port_of(start_daemon()), "/metrics")

    assert page.value('passbell_campaigns{status="SCHEDULED"}') == 1
    assert page.value('passbell_campaigns{status="PAUSED"}') == 1
    assert page.value('passbell_campaigns{status="PROCESSING"}') == 1
    assert page.value('passbell_campaigns{status="PENDING"}') == 0
    assert page.value('passbell_queue_recipients{status="PROCESSING"}') == 7
    assert 3600 <= (page.value('passbell_campaign_oldest_age_seconds{status="PROCESSING"}') or 0) < 3700
    assert page.value("passbell_campaign_idle_seconds") == 0  # a suspended program is not stuck


def test_every_name_follows_the_conventions(start_daemon: StartDaemon) -> None:
    """Each family parses, has help, carries our prefix, base units and only short closed labels."""
    page = get(port_of(start_daemon()), "/metrics")

    families = list(text_string_to_metric_families(page.body))
    ours = [family for family in families if family.name.startswith("passbell_")]
    assert len(ours) > 20
    assert {family.name.split("_")[0] for family in families} == {"passbell", "process", "python"}
    for family in ours:
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith(("_ms", "_milliseconds", "_minutes", "_bytes_total")), family.name
        labels = {label for sample in family.samples for label in sample.labels}
        known = {
            "outcome",
            "reason",
            "code",
            "method",
            "le",
            "status",
            "kind",
            "loop",
            "version",
            "python",
            "table",
        }
        assert labels <= known, family.name
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_passkits_answers_are_told_apart(shop: Shop, start_daemon: StartDaemon) -> None:
    """Passes that PassKit does not know are failed as not_found, and its 404s stand in the histogram."""
    program = shop.program()
    shop.members(program, 8)
    campaign = shop.campaign(program, "Hello")
    with Sandbox() as sandbox:
        port = port_of(start_daemon(PASSKIT_URL=sandbox.url, DRY_RUN=False, METADATA="replace"))
        wait_until(lambda: shop.status(campaign) == "COMPLETED")
        page = get(port, "/metrics")

    assert page.value('passbell_deliveries_total{outcome="failed",reason="not_found"}') == 8
    assert page.value('passbell_passkit_request_duration_seconds_count{code="404",method="PUT"}') == 8


def test_two_daemons_on_one_machine_share_a_port_setting(shop: Shop, start_daemon: StartDaemon) -> None:
    """The second daemon finds the metrics port taken: it says so once and works all the same."""
    first = start_daemon()
    second = start_daemon(METRICS_PORT=port_of(first))

    (warning,) = second.events("metrics_port_unavailable")
    assert warning["port"] == port_of(first)
    assert warning["level"] == "warning"
    assert shop.value("select count(*) from passbell.workers") == 2
    assert second.terminate() == 0
    assert get(port_of(first), "/live").status == 200


def test_ready_follows_the_database(shop: Shop, start_daemon: StartDaemon) -> None:
    """With the database gone the daemon is live and not ready, and its metrics say so; with it back, ready again."""
    with Proxy.before(shop.url) as proxy:
        port = port_of(start_daemon(DATABASE_URL=proxy.url(shop.url)))
        assert get(port, "/ready").document["database"] == "ok"
        assert get(port, "/metrics").value("passbell_database_up") == 1

        proxy.refuse()
        answer = get(port, "/ready")
        assert answer.status == 503
        assert "database" in answer.document
        assert get(port, "/live").status == 200
        page = wait_until(lambda: (page := get(port, "/metrics")).value("passbell_database_up") == 0 and page)
        assert page.value('passbell_campaigns{status="PENDING"}') is None

        proxy.accept()
        wait_until(lambda: get(port, "/ready").status == 200)


def test_a_daemon_that_waits_for_its_database_is_live_and_not_ready() -> None:
    """Started before its database, the daemon answers /live with 200 and /ready with 503."""
    port = free_port()
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    daemon = Daemon(nowhere, "http://127.0.0.1:9", METRICS_PORT=port, DRY_RUN=True)
    try:
        daemon.start(wait=False)
        wait_until(lambda: daemon.events("database_unavailable"))
        live = get(port, "/live").document
        assert (live["live"], live["phase"]) == (True, "starting")
        assert get(port, "/ready").status == 503
        assert daemon.terminate() == 0
    finally:
        daemon.close()


def test_a_newer_schema_makes_it_unready(shop: Shop, start_daemon: StartDaemon) -> None:
    """After a newer migration the running daemon is unready, and says which version it wants."""
    port = port_of(start_daemon())
    shop.conn.execute("update passbell.settings set schema_version = 9999")

    answer = get(port, "/ready")

    assert answer.status == 503
    assert answer.document["schema"] == 9999
    assert answer.document["schema_wanted"] < 9999


def test_anything_else_on_the_port_is_refused_briefly(start_daemon: StartDaemon) -> None:
    """Unknown pages are 404, other methods 405, garbage and half a request end the connection; it goes on serving."""
    port = port_of(start_daemon())
    assert get(port, "/").status == 404
    assert get(port, "/metrics/../../etc/passwd").status == 404
    assert get(port, "/live", "POST").status == 405
    head = get(port, "/live", "HEAD")
    assert (head.status, head.body) == (200, "")
    for garbage in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), 5) as wire:
            wire.sendall(garbage)
            wire.shutdown(socket.SHUT_WR)
            wire.recv(10)
    assert get(port, "/live").status == 200


def test_port_0_is_off(start_daemon: StartDaemon) -> None:
    """With PASSBELL_METRICS_PORT=0 no port is opened, and no warning is logged."""
    daemon = start_daemon(METRICS_PORT=0)
    assert not daemon.events("metrics_port_unavailable")
    assert "metrics" not in daemon.log


def test_d1_numbers_that_cannot_be_read_are_no_database_that_is_away(
    shop: Shop, start_daemon: StartDaemon
) -> None:
    """A query that fails leaves the database up, the numbers absent, and one line in the log; it recovers by itself."""
    daemon = start_daemon()
    port = port_of(daemon)
    assert get(port, "/metrics").value("passbell_queue_state_up") == 1
    shop.conn.execute("alter function passbell.queue_state(text) rename to queue_state_away")

    page = wait_until(
        lambda: (page := get(port, "/metrics")).value("passbell_queue_state_up") == 0 and page, deadline=20
    )
    assert page.value("passbell_database_up") == 1
    assert page.value('passbell_campaigns{status="PENDING"}') is None
    (line,) = daemon.events("queue_state_unreadable")
    assert line["level"] == "warning"
    assert line["reason"]

    shop.conn.execute("alter function passbell.queue_state_away(text) rename to queue_state")
    wait_until(lambda: get(port, "/metrics").value("passbell_queue_state_up") == 1, deadline=20)
