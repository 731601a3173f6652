"""A fair queue: keys take turns, and the items of one key come first in, first out."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

__all__ = ["FairLine"]

T = TypeVar("T")


class FairLine(Generic[T]):
    """Round robin over keys. Every operation but `drop` and iteration is O(1), however many keys there are."""

    __slots__ = ("_queues", "_size")

    def __init__(self) -> None:
        # The key that is served next comes first. A key without items is not there.
        self._queues: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        """How many items wait."""
        return self._size

    def __iter__(self) -> Iterator[T]:
        """All items, key by key."""
        for queue in self._queues.values():
            yield from queue

    def put(self, key: Hashable, item: T, *, first: bool = False) -> None:
        """Append `item` to its key's; a key that has none comes last. `first`: before all others of all keys."""
        queue = self._queues.setdefault(key, deque())
        if first:
            queue.appendleft(item)
            self._queues.move_to_end(key, last=False)
        else:
            queue.append(item)
        self._size += 1

    def head(self) -> T:
        """Return the item that comes next; it stays. The line must not be empty."""
        return next(iter(self._queues.values()))[0]

    def rotate(self) -> None:
        """Let all other keys come before the one that was next."""
        if len(self._queues) > 1:
            self._queues.move_to_end(next(iter(self._queues)))

    def remove_head(self) -> T:
        """Take the next item out; its key stays the next one. The line must not be empty."""
        key, queue = next(iter(self._queues.items()))
        item = queue.popleft()
        self._size -= 1
        if not queue:
            del self._queues[key]
        return item

    def pop(self) -> T:
        """Take the next item out; all other keys come before its key now. The line must not be empty."""
        key = next(iter(self._queues))
        item = self.remove_head()
        if key in self._queues:
            self._queues.move_to_end(key)
        return item

    def drop(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out what is unwanted, and return it. The others keep their order."""
        if not any(map(unwanted, self)):
            return []
        dropped: list[T] = []
        for key, queue in list(self._queues.items()):
            kept: deque[T] = deque()
            for item in queue:
                (dropped if unwanted(item) else kept).append(item)
            if kept:
                self._queues[key] = kept
            else:
                del self._queues[key]
        self._size -= len(dropped)
        return dropped
