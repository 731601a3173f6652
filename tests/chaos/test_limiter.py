"""One limit for all daemons."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from support.scene import LONG

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scene import Scene


def window(scene: Scene, limit: int, since: float, until: float, count: str = "all") -> dict[str, Any]:
    """What the sandbox saw in a span of its monotonic clock."""
    return scene.remote.window(limit=limit, since=since, until=until, count=count)


@pytest.mark.parametrize("metadata", ["replace", "merge"] if LONG else ["replace"])
def test_two_daemons_stay_under_one_limit(
    scene: Scene, metadata: str, record_property: Callable[..., None]
) -> None:
    """The sandbox never counts more calls than the limit in any sliding second, and most of it is used."""
    limit = 50
    seconds = 30 if LONG else 8
    program = scene.plain(limit * (seconds + 8))
    settings = {"RATE_PER_SECOND": limit, "CHUNK_SIZE": 50, "METADATA": metadata}
    with scene.daemon(**settings), scene.daemon(**settings):
        scene.campaign(program)
        scene.until_pushes(2 * limit)
        since = time.monotonic()
        scene.remote.wait(timeout=seconds, pushes=10**9)
        seen = window(scene, limit, since, since + seconds)
    print(  # noqa: T201 - a measurement, shown with -s
        f"two daemons at {limit}/s: peak {seen['peak']} (certain {seen['certainPeak']}),"
        f" {100 * seen['utilisation']:.1f} % used, {seen['stalls']} stalls, worst {seen['worstStall'] * 1000:.0f} ms"
    )
    record_property("utilisation", seen["utilisation"])
    assert seen["certainPeak"] <= limit
    assert seen["utilisation"] > (0.98 if LONG else 0.6)
