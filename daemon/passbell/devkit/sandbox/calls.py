"""The journal: every call to the API as a row of 48 bytes, appended once.

A body is kept as a 64-bit hash, enough to tell whether a repeated call was byte-identical. The hashes are Python's
own: they mean something only within one run.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from struct import Struct
from typing import Any, NamedTuple

__all__ = ["METHODS", "Call", "Journal"]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OTHER")
_METHOD = {name.encode(): number for number, name in enumerate(METHODS)}
_OTHER = METHODS.index("OTHER")
_ROW = Struct("<ddqqiHHBB")
_TIME = Struct("<d")


class Call(NamedTuple):
    """One call.

    Attributes:
        time: monotonic second of its arrival.
        wall: wall clock of its arrival, as this machine sees it.
        body: hash of the body.
        text: hash of the values of the ringing fields after an update; 0 if the call was none.
        record: position of the record, -1 if the call had none.
        fault: number of the fault that met it, 0 for none.
        status: HTTP status; 0 if no answer was given.
        route: number of the route, 0 for an unknown path.
        flags: number of the method; 16 is added for a committed change, 32 for an update of one record.
    """

    time: float
    wall: float
    body: int
    text: int
    record: int
    fault: int
    status: int
    route: int
    flags: int

    @property
    def method(self) -> str:
        """The verb."""
        return METHODS[self.flags & 15]

    @property
    def committed(self) -> bool:
        """Whether a record was changed."""
        return bool(self.flags & 16)

    @property
    def push(self) -> bool:
        """Whether it was an update of one record, committed or not."""
        return bool(self.flags & 32)


class Journal:
    """All calls; a call's position is its sequence number, from 0.

    Attributes:
        pushes: how many were updates of one record.
    """

    def __init__(self) -> None:
        self._rows = bytearray()
        self._count = 0
        self.pushes = 0

    def __len__(self) -> int:
        return self._count

    def add(
        self,
        time: float,
        wall: float,
        method: bytes,
        route: int,
        body: bytes,
        *,
        status: int,
        push: bool = False,
        record: int = -1,
        committed: bool = False,
        text: int = 0,
        fault: int = 0,
    ) -> None:
        """Append a call that was just handled; its number is what `len` was before."""
        flags = _METHOD.get(method, _OTHER) | committed << 4 | push << 5
        self._rows += _ROW.pack(time, wall, hash(body), text, record, fault, status, route, flags)
        self._count += 1
        self.pushes += push

    def __getitem__(self, number: int) -> Call:
        return Call._make(_ROW.unpack_from(self._rows, number * _ROW.size))

    def after(self, time: float) -> int:
        """The number of the first call at or after a monotonic second."""

        def at(number: int) -> float:
            moment: float = _TIME.unpack_from(self._rows, number * _ROW.size)[0]
            return moment

        return bisect_left(range(self._count), time, key=at)

    def times(self, what: str, since: float, until: float) -> array[float]:
        """Arrivals from `since` to before `until`, of `all` calls, of `push` calls, or of one method.

        Raises:
            ValueError: another word.
        """
        if what not in {"all", "push", *METHODS}:
            raise ValueError(f"count is one of all, push, {', '.join(METHODS)}")
        calls = map(self.__getitem__, range(self.after(since), self.after(until)))
        if what == "push":
            return array("d", (one.time for one in calls if one.push))
        return array("d", (one.time for one in calls if what in {"all", one.method}))

    def row(self, number: int, routes: list[str]) -> dict[str, Any]:
        """One call for the control endpoint; the record is its position."""
        call = self[number]
        return {
            "sequence": number,
            "time": call.time,
            "wall": call.wall,
            "method": call.method,
            "route": routes[call.route],
            "record": call.record,
            "status": call.status,
            "committed": call.committed,
            "fault": call.fault,
            "bodyHash": f"{call.body & (1 << 64) - 1:016x}",
            "textHash": f"{call.text & (1 << 64) - 1:016x}",
        }
