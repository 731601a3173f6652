"""The daemon's entry in the database, its heartbeat, and the search for dead daemons on the same machine.

A killed daemon leaves leased chunks behind. Elsewhere they are free when the lease runs out; on the same machine
(same boot, same pid namespace) another daemon can see for certain that the process is gone and frees them at once.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from passbell.delivery.loops import Backoff
from passbell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.database.calls import Queue
    from passbell.delivery.loops import Wakeup
    from passbell.settings import Settings

__all__ = ["register", "run_heartbeat"]

log = structlog.get_logger()

HEARTBEAT_SECONDS: Final = 5.0
_START_FIELD: Final = 19  # of /proc/PID/stat after the name: start time in clock ticks since boot


def _namespace() -> str:
    """Name of everything in which a pid means one process: this boot, this pid namespace. Empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - a magic link
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, str] | None:
    """State letter and start time of a process; None if there is none or /proc hides it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[_START_FIELD]


def _is_dead(process: str) -> bool:
    """Whether the process of a `boot:namespace:pid:start` text of our own namespace is gone for certain."""
    number, started = process.split(":")[2:4]
    pid = int(number)
    found = _stat(pid)
    if found is not None:
        return found[0] in {"Z", "X"} or found[1] != started  # the number may be another process's by now
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # there, and another user's
    return False


def _own_process() -> tuple[str, str]:
    """Our namespace and the text that names this very process in it; without /proc a random text."""
    namespace, found = _namespace(), _stat(os.getpid())
    if namespace and found:
        return namespace, f"{namespace}:{os.getpid()}:{found[1]}"
    return "", f"?:{uuid.uuid4()}"


async def register(settings: Settings, queue: Queue) -> None:
    """Register this daemon, before it claims anything: claims of an unregistered worker are treated as abandoned."""
    await queue.register(_own_process()[1], settings.rate_per_second, settings.daily_cap)


async def run_heartbeat(
    settings: Settings,
    queue: Queue,
    wakeup: Wakeup,
    doing: Callable[[], str],
    buried: Callable[[], None] = lambda: None,
) -> None:
    """Send the heartbeat, free what dead neighbours held, and then call `buried()`; until cancelled."""
    namespace, _ = _own_process()
    backoff = Backoff()
    known = True
    while True:
        try:
            if not known:
                await register(settings, queue)
            known = await queue.heartbeat(doing())
            if namespace:
                dead = [worker for worker, text in await queue.neighbours(namespace) if _is_dead(text)]
                if dead:
                    freed = await queue.bury(dead)
                    log.warning(
                        "dead_worker_found", workers=[str(worker) for worker in dead], chunks_freed=freed
                    )
                    buried()
            backoff.reset()
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", where="heartbeat", reason=str(error))
            await asyncio.sleep(backoff.next())
            continue
        if known:
            await wakeup.wait(HEARTBEAT_SECONDS)
