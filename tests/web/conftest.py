from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from support.roles import role_url
from support.shop import Shop
from support.web import KEY, Api, Club, Web

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
def signed_in(web: Web) -> Iterator[httpx.Client]:
    """A visitor with a session; the CSRF token is sent along as htmx would."""
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60) as visitor:
        assert visitor.post("/login", data={"key": KEY}).status_code == 303
        token = re.search(r'"X-CSRF-Token": "(\w+)"', visitor.get("/").text)
        assert token
        visitor.headers["X-CSRF-Token"] = token[1]
        yield visitor


@pytest.fixture
def club(shop: Shop) -> Club:
    return Club(shop)
