"""The sandbox as a process, or inside a running event loop.

It is one process on purpose: records, phones and the sliding second are one state, and one core answers
more calls than any client that is measured against it.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from typing import TYPE_CHECKING, Any, Self

from passbell.devkit.sandbox.api import Api
from passbell.devkit.sandbox.control import Control
from passbell.devkit.sandbox.options import Options
from passbell.devkit.sandbox.server import Desk, Wire
from passbell.devkit.sandbox.window import Heartbeat

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Sandbox", "serve"]


class Sandbox:
    """A sandbox in the running event loop: `async with Sandbox() as sandbox: … sandbox.url`.

    Args:
        host: address to listen on.
        port: 0 lets the system choose.
        seed: of everything random.
        owns_process: whether it may tune the garbage collector of the process.
        switches: see `Options`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        seed: int = 0,
        owns_process: bool = False,
        **switches: Any,
    ) -> None:
        options = Options()
        options.change(switches)
        self._host = host
        self._port = port
        self._freeze = owns_process
        self._wires: set[Wire] = set()
        self._server: asyncio.Server | None = None
        self.options = options
        self.api = Api(options, seed)

    @property
    def url(self) -> str:
        """Base URL, for `PASSBELL_PASSKIT_URL` and for the control endpoint."""
        host = "127.0.0.1" if self._host in {"0.0.0.0", "::", ""} else self._host  # noqa: S104 - compared only
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.heartbeat = Heartbeat(loop)
        self.control = Control(self.api, self.heartbeat, freeze=self._freeze)
        desk = Desk(loop)
        self._server = await loop.create_server(
            lambda: Wire(self.api, self.control, desk, self._wires), self._host, self._port, backlog=4096
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self.heartbeat.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heartbeat.stop()
        if self._server is not None:
            self._server.close()
            for wire in list(self._wires):
                wire.abort()
            await self._server.wait_closed()
            await asyncio.sleep(0)  # the loop tells the connections, and they end their tasks


def serve(host: str = "127.0.0.1", port: int = 8090, *, seed: int = 0, **switches: Any) -> None:
    """Run until SIGTERM or SIGINT; says `sandbox listening on URL` on stdout once it is ready.

    Raises:
        ValueError: a switch that is not known.
        OSError: the port is taken.
    """
    gc.set_threshold(50_000, 20, 100)  # the records are long-lived and free of cycles
    with asyncio.Runner(loop_factory=_fastest_loop) as runner:
        runner.run(_until_told(Sandbox(host, port, seed=seed, owns_process=True, **switches)))


def _fastest_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _until_told(sandbox: Sandbox) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with sandbox:
        gc.freeze()
        sys.stdout.write(f"sandbox listening on {sandbox.url}\n")
        sys.stdout.flush()
        await stop.wait()
