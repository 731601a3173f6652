"""Several sessions that do something at the same moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg

from .shop import Shop

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["together", "twins"]


def together(*actions: Callable[[], Any]) -> list[Any]:
    """Start all actions at the same moment; their answers, or the errors they raised."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        barrier.wait(timeout=10)
        try:
            return action()
        except psycopg.Error as error:
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def twins(shop: Shop, count: int = 2) -> list[Shop]:
    """Further connections to the same shop, each with a worker of its own; they are closed with it."""
    made = [Shop(shop.url, shop.generation) for _ in range(count)]
    shop.twins += made
    return made
