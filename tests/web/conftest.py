from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from support.roles import role_url
from support.shop import Shop
from support.web import Api, Club, Web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Databases


@pytest.fixture(scope="module")
def shop(databases: Databases) -> Iterator[Shop]:
    url = databases.create("2")
    made = Shop(url, "2")
    yield made
    made.close()
    databases.drop(urlsplit(url).path.removeprefix("/"))


@pytest.fixture(scope="module")
def web(shop: Shop) -> Iterator[Web]:
    """The server as the documents advise: under the role that may do no more than it needs."""
    with role_url(shop.url, "passbell_web") as url, Web(url) as running:
        yield running


@pytest.fixture
def api(web: Web) -> Iterator[Api]:
    with web.client() as client:
        yield client


@pytest.fixture
def club(shop: Shop) -> Club:
    return Club(shop)
