"""The paths of PassKit's REST API that the sandbox knows.

Paths and verbs follow PassKit's published descriptors. An unknown path answers 404; a known one with another verb
answers 501.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from passbell.devkit.sandbox import handlers as do
from passbell.devkit.sandbox.answers import ApiError
from passbell.devkit.sandbox.catalog import KINDS

__all__ = ["Route", "Router"]


class Route(NamedTuple):
    """A path and verb; `push` marks an update of one record."""

    number: int
    name: str
    handle: do.Handler
    push: bool


_MEMBER, _COUPON, _TICKET = KINDS["member"], KINDS["coupon"], KINDS["ticket"]
_TABLE: list[tuple[str, str, do.Handler]] = [
    ("PUT", "/members/member", do.update(_MEMBER)),
    ("GET", "/members/member/id/{}", do.by_id(_MEMBER)),
    ("GET", "/members/member/externalId/{}/{}", do.by_external(_MEMBER)),
    ("POST", "/members/member/list/{}", do.list_records(_MEMBER)),
    ("GET", "/members/program/{}", do.read_owner(_MEMBER)),
    ("POST", "/members/tiers/list", do.list_groups(_MEMBER)),
    ("PUT", "/coupon/singleUse/coupon", do.update(_COUPON)),
    ("GET", "/coupon/singleUse/coupon/{}", do.by_id(_COUPON)),
    ("GET", "/coupon/singleUse/coupon/externalId/{}/{}", do.by_external(_COUPON)),
    ("POST", "/coupon/singleUse/coupons/list/{}", do.list_records(_COUPON)),
    ("GET", "/coupon/singleUse/campaign/{}", do.read_owner(_COUPON)),
    ("POST", "/coupon/singleUse/offers/list", do.list_groups(_COUPON)),
    ("PUT", "/eventTickets/ticket", do.update(_TICKET)),
    ("GET", "/eventTickets/ticket/id/{}", do.by_id(_TICKET)),
    ("GET", "/eventTickets/ticket/ticketNumber", do.by_number),
    ("POST", "/eventTickets/tickets/list", do.list_records(_TICKET)),
    ("GET", "/eventTickets/production/{}", do.read_owner(_TICKET)),
    ("POST", "/eventTickets/ticketTypes/{}", do.list_groups(_TICKET)),
    ("GET", "/template/data/{}", do.read_template),
]


class Router:
    """Finds the route of a verb and a path: one dict look-up for a path without parameters."""

    def __init__(self) -> None:
        self.names = ["(none)"]
        self._exact: dict[bytes, dict[bytes, Route]] = {}
        self._open: dict[tuple[int, bytes], dict[bytes, Route]] = {}
        for verb, path, handle in _TABLE:
            self.names.append(f"{verb} {path}")
            route = Route(len(self.names) - 1, path, handle, push=verb == "PUT")
            bare, _, rest = path.partition("/{}")
            table: dict[bytes, Route]
            if bare == path:
                table = self._exact.setdefault(path.encode(), {})
            else:
                table = self._open.setdefault((1 + rest.count("/{}"), bare.encode()), {})
            table[verb.encode()] = route

    def find(self, verb: bytes, path: bytes) -> tuple[Route, tuple[str, ...]]:
        """The route and the path's parameters.

        Raises:
            ApiError: 404 for an unknown path, 501 for a known one with another verb.
        """
        exact = self._exact.get(path)
        if exact is not None:
            route = exact.get(verb)
            if route is not None:
                return route, ()
        known = exact is not None
        for parts in (1, 2):
            bare, *values = path.rsplit(b"/", parts)
            table = self._open.get((parts, bare))
            if table is None or not all(values):
                continue
            route = table.get(verb)
            if route is not None:
                return route, tuple(unquote(value.decode("latin-1")) for value in values)
            known = True
        if known:
            raise ApiError(501, "Method Not Allowed")
        raise ApiError(404, "Not Found")
