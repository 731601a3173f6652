"""What `passbell check` looks at: the database, its sessions, the platform's tables, PassKit and its accounts.

Each module yields findings: what was looked at, how it is, and what to do about it.
"""

from __future__ import annotations

import dataclasses

__all__ = ["Finding", "bad", "good", "note"]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `ok` None means that it could not be looked at, or is only worth knowing."""

    name: str
    ok: bool | None
    detail: str


def good(name: str, detail: str) -> Finding:
    """It is as it must be."""
    return Finding(name, ok=True, detail=detail)


def bad(name: str, detail: str) -> Finding:
    """It must be mended before the first campaign."""
    return Finding(name, ok=False, detail=detail)


def note(name: str, detail: str) -> Finding:
    """It could not be looked at, or is only worth knowing."""
    return Finding(name, ok=None, detail=detail)
