"""A local PassKit with phones: answers as the real one does, and knows what rang on which lock screen.

`serve` runs it as a process of its own, `Sandbox` inside a running event loop, `remote.Remote` and
`remote.AsyncRemote` talk to its control endpoint. docs/sandbox.md describes that endpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from passbell.devkit.sandbox.running import Sandbox, serve

__all__ = ["Sandbox", "serve"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line must list its commands without loading a server."""
    if name in __all__:
        from passbell.devkit.sandbox import running  # noqa: PLC0415 - see above

        return getattr(running, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
