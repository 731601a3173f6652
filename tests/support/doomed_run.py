"""Runs the command line in a process that sends itself SIGKILL at a named point; see doomed.py.

`DOOM_POINT` is one of `POINTS`, `DOOM_NTH` the time at which it strikes, `DOOM_ELSEWHERE` another machine's name.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from psycopg import AsyncTransaction

from passbell.cli import main
from passbell.database.calls import Queue
from passbell.database.runs import AutomationRuns
from passbell.delivery import worker
from passbell.delivery.chunks import ChunkLoop
from passbell.passkit import PassKit

Counts = Callable[[Any, tuple[Any, ...], dict[str, Any]], bool]


def _any(_answer: Any, _args: tuple[Any, ...], _named: dict[str, Any]) -> bool:
    return True


class Point(NamedTuple):
    """Before or after a call of `owner.name` of which `counts(answer, positional, named)` is true."""

    owner: type
    name: str
    when: str
    counts: Counts


def _took(answer: Any, _args: tuple[Any, ...], _named: dict[str, Any]) -> bool:
    return answer is not None


def _tells(_answer: Any, args: tuple[Any, ...], _named: dict[str, Any]) -> bool:
    """A report with outcomes in it; a chunk is handed back empty-handed as well."""
    return bool(args[2])


def _partly(_answer: Any, _args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    return not named["release"]


def _extends(_answer: Any, _args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    return bool(named["extend"])


POINTS = {
    "campaign claimed": Point(Queue, "claim_campaign", "after", _took),
    "chunk claimed": Point(Queue, "claim_chunk", "after", _took),
    "lease renewed": Point(Queue, "renew_leases", "after", _extends),
    "call begins": Point(PassKit, "push", "before", _any),
    "call answered": Point(PassKit, "push", "after", _any),
    "report begins": Point(Queue, "finish_chunk", "before", _tells),
    "part reported": Point(Queue, "finish_chunk", "after", _partly),
    "reported": Point(Queue, "finish_chunk", "after", _tells),
    "run claimed": Point(AutomationRuns, "claim", "after", _took),
    "batch begins": Point(AutomationRuns, "batch", "before", _any),
    "batch not committed": Point(AsyncTransaction, "__aexit__", "before", _any),
    "batch done": Point(AutomationRuns, "batch", "after", _any),
    "dead neighbour found": Point(Queue, "bury", "before", _any),
    "dead neighbour buried": Point(Queue, "bury", "after", _any),
    "stop begins": Point(ChunkLoop, "stop", "after", _any),
    "stopped": Point(Queue, "unregister", "before", _any),
}


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def arm(point: Point, nth: int) -> None:
    """Wrap the method so that the nth call that counts is the last thing this process does."""
    original = getattr(point.owner, point.name)
    left = nth

    def strike(answer: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal left
        if point.counts(answer, args, named):
            left -= 1
            if left == 0:
                _die()

    @functools.wraps(original)
    async def called(*args: Any, **named: Any) -> Any:
        if point.when == "before":
            strike(None, args, named)
        answer = await original(*args, **named)
        if point.when == "after":
            strike(answer, args, named)
        return answer

    @functools.wraps(original)
    def called_at_once(*args: Any, **named: Any) -> Any:
        answer = original(*args, **named)
        strike(answer, args, named)
        return answer

    setattr(point.owner, point.name, called if inspect.iscoroutinefunction(original) else called_at_once)


if __name__ == "__main__":
    if os.environ["DOOM_POINT"]:
        arm(POINTS[os.environ["DOOM_POINT"]], int(os.environ["DOOM_NTH"]))
    if elsewhere := os.environ["DOOM_ELSEWHERE"]:
        worker._namespace = lambda: f"{elsewhere}:1"  # boot and pid namespace
    main(sys.argv[1:])
