"""One thing that `passbell check` has looked at."""

from __future__ import annotations

import dataclasses

__all__ = ["Finding"]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `ok` None means that it could not be looked at, or is only worth knowing."""

    name: str
    ok: bool | None
    detail: str
