from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from click.testing import CliRunner

from passbell.devkit.sandbox.command import sandbox as command
from passbell.devkit.sandbox.remote import AsyncRemote, Remote, SandboxError
from passbell.devkit.sandbox.window import Heartbeat, Stall, certain_peak, peak

if TYPE_CHECKING:
    import httpx

    from passbell.devkit.sandbox import Sandbox

Push = Callable[..., Any]


@pytest.mark.usefixtures("members")
async def test_every_call_is_in_the_journal(remote: AsyncRemote, push: Push, api: httpx.AsyncClient) -> None:
    """Time, verb, route, record, status and hashes; narrowed by each of them."""
    await push("id-1", "Hi")
    await push("id-2", "Hi")
    await api.get("/members/member/id/nobody")
    await api.get("/nowhere")
    calls = await remote.calls()
    assert [(call["method"], call["status"], call["record"]) for call in calls] == [
        ("PUT", 200, "id-1"),
        ("PUT", 200, "id-2"),
        ("GET", 404, None),
        ("GET", 404, None),
    ]
    assert calls[0]["route"] == "PUT /members/member"
    assert calls[0]["textHash"] == calls[1]["textHash"]
    assert calls[0]["bodyHash"] != calls[1]["bodyHash"]
    assert calls[0]["time"] <= calls[1]["time"]
    assert [call["sequence"] for call in await remote.calls(record="id-2")] == [1]
    assert len(await remote.calls(status=404)) == 2
    assert len(await remote.calls(route="member/id", limit=1)) == 1


@pytest.mark.usefixtures("members")
async def test_repeats_are_compared_byte_by_byte(remote: AsyncRemote, push: Push) -> None:
    """Identical repeats are harmless; one that differs is reported with its record."""
    for record, text in (("id-1", "Hi"), ("id-1", "Hi"), ("id-2", "Hi"), ("id-2", "Ho"), ("id-3", "Hi")):
        await push(record, text)
    repeats = await remote.repeats()
    assert (repeats["records"], repeats["repeated"], repeats["repeatedCalls"]) == (3, 2, 2)
    assert (repeats["differing"], repeats["samples"]) == (1, ["id-2"])
    assert (await remote.repeats(after=4))["repeated"] == 0


def test_the_highest_count_in_any_sliding_second() -> None:
    """Two calls exactly a second apart are not counted in the same second."""
    assert peak(array("d", [0.0, 0.5, 1.0, 1.4, 1.6])) == 3
    assert peak(array("d", [number / 64 for number in range(500)])) == 64
    assert peak(array("d")) == 0


def test_a_held_up_observer_does_not_accuse() -> None:
    """Calls stamped together after a stall count where they may have arrived, not where they were seen."""
    even = [number / 64 for number in range(200)]
    late = array("d", [1.5 if 1.25 < at < 1.5 else at for at in even])
    assert peak(late) > 64
    assert certain_peak(late, [Stall(1.25, 1.5)]) == 64


def test_a_hold_up_lasts_until_its_backlog_is_stamped() -> None:
    """What came while the loop stood still is stamped after it goes on, and still belongs to the hold-up."""
    uvloop.run(_held_up())


async def _held_up() -> None:
    loop = asyncio.get_running_loop()
    heartbeat = Heartbeat(loop)
    stamps: list[float] = []
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def arrived() -> None:
        ours.recv(1)
        stamps.append(time.monotonic())
        # A new connection's first call comes some rounds after the connection.
        loop.call_soon(loop.call_soon, lambda: stamps.append(time.monotonic()))

    with ours, theirs:
        loop.add_reader(ours, arrived)
        heartbeat.start()
        await asyncio.sleep(0.02)
        held_up = time.monotonic()
        theirs.send(b"x")
        time.sleep(0.05)  # noqa: ASYNC251 - that is the hold-up
        await asyncio.sleep(0.02)
        heartbeat.stop()
        loop.remove_reader(ours)
    # A busy machine may hold the loop up before and after as well.
    stall = next(stall for stall in heartbeat.stalls if stall.until >= held_up + 0.05)
    assert len(stamps) == 2
    assert stall.since < held_up + 0.02
    assert stall.until >= max(stamps)
    assert heartbeat.worst > 0.03


@pytest.mark.usefixtures("members")
async def test_the_window_reports_rate_and_utilisation(remote: AsyncRemote, push: Push) -> None:
    """Over the whole run or a range; per verb or for updates only."""
    for number in range(10):
        await push("id-1", f"{number}")
    window = await remote.window(limit=100)
    assert (window["calls"], window["peak"]) == (10, 10)
    assert window["certainPeak"] <= 10
    assert window["utilisation"] == pytest.approx(window["rate"] / 100)
    later = await remote.window(since=window["last"], count="PUT")
    assert later["calls"] == 1
    assert (await remote.window(count="GET"))["calls"] == 0
    with pytest.raises(SandboxError, match="count is one of"):
        await remote.window(count="PUSH")


@pytest.mark.usefixtures("members")
async def test_waiting_for_buzzes(remote: AsyncRemote, push: Push) -> None:
    """`wait` answers when the number is reached, or says that it was not."""
    waiting = asyncio.ensure_future(remote.wait(buzzes=2, timeout=20))
    await push("id-1", "Hi")
    assert not await remote.wait(buzzes=2, timeout=0.05)
    await push("id-2", "Hi")
    assert await waiting


@pytest.mark.usefixtures("members")
async def test_reset(remote: AsyncRemote, push: Push) -> None:
    """History alone, or everything."""
    await push("id-1", "Hi")
    assert (await remote.reset("history"))["buzzes"] == 0
    await push("id-1", "Hi")
    assert (await remote.overview())["buzzes"] == 0  # the phone still shows it
    await remote.reset()
    assert (await remote.overview())["records"] == 0


async def test_many_records_at_once(remote: AsyncRemote) -> None:
    """Thousands in one go, read back by page; seeding a record again replaces it."""
    rows = [{"id": f"r{n}", "externalId": f"x{n}", "owner": "big", "points": n} for n in range(5000)]
    assert await remote.seed(rows) == 5000
    assert await remote.seed(rows[:10]) == 10
    assert (await remote.overview())["records"] == 5000
    assert (await remote.record("x4999"))["record"]["points"] == 4999
    summary = await remote.summary(owner="big")
    assert (summary["records"], summary["installed"]) == (5000, 5000)


async def test_a_long_list_streams(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """Thousands of rows come in parts, and all of them."""
    await remote.seed({"owner": "big", "externalId": f"M{n}"} for n in range(3000))
    async with api.stream("POST", "/members/member/list/big", json={"filters": {"limit": -1}}) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        assert sum([1 async for _ in answer.aiter_lines()]) == 3000


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("POST /seed", {"members": []}, "a seed has no members"),
        ("POST /seed", {"records": [{"owner": "x", "kind": "boat"}]}, "kind is one of member"),
        ("POST /seed", {"records": [{"owner": "x", "phones": "none"}]}, "a record has one phone"),
        ("PATCH /options", {"metadata": "shuffle"}, "is one of 'replace', 'merge'"),
        ("PATCH /options", {"colour": "red"}, "there is no option"),
        ("PATCH /options", {"age_limit": "three"}, "takes a float"),
        ("POST /phones", {"record": "nobody", "installed": True}, "there is no record 'nobody'"),
        ("POST /phones", {"record": "M1", "muted": True}, "as true or false"),
        ("GET /weather", {}, "there is no GET /sandbox/weather"),
        ("DELETE /seed", {}, "there is no DELETE /sandbox/seed"),
    ],
)
async def test_mistakes_are_answered_in_plain_words(
    remote: AsyncRemote, name: str, values: dict[str, Any], text: str
) -> None:
    """A wrong call of the control endpoint is answered with a plain sentence."""
    with pytest.raises(SandboxError, match=text):
        await remote.call(name, **values)


@pytest.mark.usefixtures("members")
async def test_pipelined_requests_are_answered_in_order(sandbox: Sandbox, remote: AsyncRemote) -> None:
    """Three requests in one write, the first of them slow: the answers come in the order asked."""
    await remote.fault("slow", seconds=0.05, count=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.rpartition(":")[2]))
    head = "Host: x\r\nAuthorization: Bearer sandbox-token\r\n"
    asked = [f"GET /members/member/id/{name} HTTP/1.1\r\n{head}" for name in ("id-1", "nobody", "id-3")]
    writer.write(("\r\n".join(asked[:2]) + "\r\n" + asked[2] + "Connection: close\r\n\r\n").encode())
    answers = (await reader.read()).decode()
    writer.close()
    assert answers.count("HTTP/1.1 ") == 3
    assert answers.index('"M1"') < answers.index("404 Not Found") < answers.index('"M3"')


async def test_rubbish_on_the_socket_is_refused(sandbox: Sandbox) -> None:
    """What is not HTTP gets 400 and the door."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.rpartition(":")[2]))
    writer.write(b"hello\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()


def test_the_command_runs_until_it_is_told_to_stop() -> None:
    """Says where it listens, serves, ends with 0 on SIGTERM."""
    start = "from passbell.devkit.sandbox.command import sandbox; sandbox()"
    arguments = [sys.executable, "-c", start, "--port", "0", "--option", "filter_by_id=false"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("sandbox listening on http://127.0.0.1:")
        with Remote(line.split()[-1]) as remote:
            assert remote.seed([{"owner": "p", "externalId": "M1"}]) == 1
            assert remote.call("GET /options")["filter_by_id"] is False
            assert remote.record("M1")["alerts"] == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize("switch", ["colour=red", "metadata"])
def test_the_command_refuses_unknown_switches(switch: str) -> None:
    """One plain sentence, exit 2."""
    result = CliRunner().invoke(command, ["--port", "0", "--option", switch])
    assert result.exit_code == 2
    assert "Error: " in result.output
