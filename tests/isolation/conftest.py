from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from support.bystander import House
from support.scene import Scene
from support.scenes import sandbox
from support.shops import make_shop, shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Databases
    from support.processes import Sandbox

__all__ = ["make_shop", "sandbox", "shop"]


@pytest.fixture(scope="module")
def module_house(databases: Databases, sandbox: Sandbox) -> Iterator[House]:
    """One database, one daemon and one program that does nothing wrong, for all tests of a module."""
    url = databases.create("2")
    scene = Scene(url, "2", sandbox)
    try:
        with scene.daemon(DAILY_CAP=0) as daemon:
            yield House(scene, daemon)
    finally:
        scene.close()
        databases.drop(urlsplit(url).path.removeprefix("/"))


@pytest.fixture
def house(module_house: House) -> Iterator[House]:
    """The module's house; after each test the same process serves the other program, and the law holds."""
    yield module_house
    module_house.mend()
    module_house.serves_the_others()
