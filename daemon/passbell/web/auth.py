"""API keys: who is calling, in constant time, and how often they may.

Keys come from PASSBELL_API_KEYS, `key` or `name:key`. The name is shown in logs and in `created_by`; the key never
leaves this module. Limits live in the memory of one process: they protect this process.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["ApiKeys", "Limit", "Throttle", "presented_key"]

_MAX_NAME: Final = 40
_MAX_ADDRESSES: Final = 10_000


class ApiKeys:
    """The keys of this installation, kept as digests."""

    def __init__(self, entries: Iterable[str]) -> None:
        """`entries`: `key` or `name:key`; unnamed ones are called key-1, key-2 … by their place."""
        self._known: list[tuple[str, bytes]] = []
        material = []
        for place, entry in enumerate(entries, start=1):
            name, separator, key = entry.partition(":")
            if not separator or not key.strip():
                name, key = f"key-{place}", entry
            name, key = name.strip()[:_MAX_NAME] or f"key-{place}", key.strip()
            self._known.append((name, _digest(key)))
            material.append(key)
        # Sessions are signed with what only the server can derive; changing any key ends all sessions. Scrypt,
        # because a stolen signature must not help to guess a weak key.
        self.signing_key: Final = hashlib.scrypt(
            "\n".join(material).encode(), salt=b"passbell web session", n=2**14, r=8, p=1, dklen=32
        )

    def name_of(self, presented: str) -> str | None:
        """Return the name of the key, None if it is none of ours. Takes equally long for every wrong key."""
        digest = _digest(presented)
        found = None
        for name, known in self._known:  # all of them, always
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def has_name(self, name: str) -> bool:
        """Whether there is a key of that name."""
        return any(name == known for known, _ in self._known)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def presented_key(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the key of `X-API-Key: …` or `Authorization: Bearer …`, None if there is none."""
    if key := headers.get(b"x-api-key", b"").decode("latin-1").strip():
        return key
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


class Limit(NamedTuple):
    """So many at once, and so many per second in the long run."""

    burst: float
    per_second: float


class Throttle:
    """A token bucket per name (a key, an address)."""

    def __init__(self, limit: Limit, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def seconds_to_wait(self, name: str) -> float:
        """Return how long until one more is allowed; 0 if it is now. Takes nothing."""
        level = self._level(name)
        return 0.0 if level >= 1 else (1 - level) / self._limit.per_second

    def take(self, name: str) -> None:
        """Count one more."""
        if len(self._buckets) >= _MAX_ADDRESSES:
            self._forget_full()
        self._buckets[name] = (self._level(name) - 1, self._clock())

    def _level(self, name: str) -> float:
        now = self._clock()
        level, at = self._buckets.get(name, (self._limit.burst, now))
        return min(self._limit.burst, level + (now - at) * self._limit.per_second)

    def _forget_full(self) -> None:
        """Drop the names that are as good as new; if all are busy, drop everything rather than grow for ever."""
        self._buckets = {
            name: bucket for name, bucket in self._buckets.items() if self._level(name) < self._limit.burst
        }
        if len(self._buckets) >= _MAX_ADDRESSES:
            self._buckets.clear()
