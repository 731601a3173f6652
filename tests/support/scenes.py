"""The fixtures `sandbox`, `make_scene` and `scene`: a conftest.py that imports them offers them to its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from .processes import Sandbox
from .scene import Scene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase

    from .databases import Generation

__all__ = ["MakeScene", "make_scene", "sandbox", "scene"]


class MakeScene(Protocol):
    """`make_scene("3")`, or with `url` for a database of the test's own."""

    def __call__(self, generation: Generation = "2", url: str | None = None) -> Scene:
        """Make one."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A local PassKit, shared by a module's tests; each scene empties it."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def make_scene(database: MakeDatabase, sandbox: Sandbox) -> Iterator[MakeScene]:
    """A factory of scenes; `url` for a database of the test's own."""
    scenes: list[Scene] = []

    def make(generation: Generation = "2", url: str | None = None) -> Scene:
        scenes.append(Scene(url or database(generation), generation, sandbox))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()


@pytest.fixture
def scene(make_scene: MakeScene) -> Scene:
    """A scene of generation 2."""
    return make_scene("2")
