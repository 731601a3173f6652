from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from support.plain import plain_client
from support.roles import role_url
from support.shop import Shop
from support.web import KEY, Api, Club, Web

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

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


@pytest.fixture(scope="module")
def session(web: Web) -> Iterator[tuple[httpx.Cookies, str]]:
    """The cookies and the CSRF token of a person who has signed in."""
    with plain_client(base_url=web.url, timeout=60) as visitor:
        assert visitor.post("/login", data={"key": KEY}).status_code == 303
        token = re.search(r'"X-CSRF-Token": "(\w+)"', visitor.get("/").text)
        assert token
        yield visitor.cookies, token[1]


@pytest.fixture
def signed_in(web: Web, session: tuple[httpx.Cookies, str]) -> Iterator[httpx.Client]:
    """A visitor with a session; the CSRF token is sent along as htmx would."""
    cookies, token = session
    headers = {"X-CSRF-Token": token}
    with plain_client(base_url=web.url, timeout=60, cookies=cookies, headers=headers) as visitor:
        yield visitor


@pytest.fixture
def club(shop: Shop) -> Club:
    return Club(shop)
