"""The calls of PassKit's REST API that the sandbox answers: each handler reads a request, acts, and answers with JSON.

Paths and verbs follow PassKit's published descriptors. An unknown path answers 404; a known one with another verb
answers 501.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote

import orjson

from passbell.devkit.sandbox import messages
from passbell.devkit.sandbox.answers import ApiError, Stream, required_error
from passbell.devkit.sandbox.catalog import KINDS, Kind
from passbell.devkit.sandbox.messages import parse
from passbell.devkit.sandbox.world import Moment, World

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from passbell.devkit.sandbox.records import Owner, Record


class Request(Moment):
    """A call on its way through a handler, which notes here what it touched.

    Attributes:
        args: path parameters, percent-decoded.
        record: the record that was found, None if none was.
        committed: whether a record was changed.
        told: the values of the ringing fields after an update, joined.
    """

    __slots__ = ("args", "body", "committed", "query", "record", "told")

    def __init__(  # noqa: PLR0917 - made once per call, on the hot path
        self, args: tuple[str, ...], query: bytes, body: bytes, time: float, wall: float, call: int
    ) -> None:
        self.time = time
        self.wall = wall
        self.call = call
        self.args = args
        self.query = query
        self.body = body
        self.record: Record | None = None
        self.committed = False
        self.told: str | None = None


Answer = bytes | Stream
Handler = Callable[[World, Request], Answer]


_BLOCK = 500
_ROWS = 25
"""Of a list call that names no limit."""
_FIELDS = {"member": messages.MEMBER, "coupon": messages.COUPON, "ticket": messages.TICKET}


def _id(record: Record) -> bytes:
    return b'{"id":"%b"}' % record.id.encode()


# -- one record ------------------------------------------------------------------------------------------


def _keys(kind: Kind, data: dict[str, Any]) -> tuple[str, str, str]:
    """Id, own id and owner as a record message names them."""
    if kind.name == "ticket":
        production = data.get("event", {}).get("production", {})
        owner = production.get("id") or production.get("uid") or ""
    else:
        owner = data.get(kind.belongs, "")
    return data.get("id", ""), data.get(kind.external, ""), owner


def update(kind: Kind) -> Handler:
    """PUT of a record: find it, store, ring."""
    fields = _FIELDS[kind.name]

    def handle(world: World, request: Request) -> bytes:
        data = parse(fields, request.body)
        record = request.record = world.find(kind, *_keys(kind, data))
        full = data.get("operation") == "OPERATION_PUT"
        request.told = world.update(record, data, request, full=full)
        request.committed = True
        return _id(record)

    return handle


# -- reading ---------------------------------------------------------------------------------------------


def _show(world: World, request: Request, record: Record) -> bytes:
    request.record = record
    return orjson.dumps(record.as_json(defaults=world.options.emit_defaults))


def by_id(kind: Kind) -> Handler:
    """GET of a record by PassKit id."""
    return lambda world, request: _show(world, request, world.find(kind, request.args[0], "", ""))


def by_external(kind: Kind) -> Handler:
    """GET of a record by owner and own id."""
    return lambda world, request: _show(
        world, request, world.find(kind, "", request.args[1], request.args[0])
    )


def by_number(world: World, request: Request) -> bytes:
    """GET of a ticket by production and number, in the query string."""
    query = {name: values[0] for name, values in parse_qs(request.query.decode()).items()}
    owner = query.get("productionId") or query.get("productionUid") or ""
    return _show(world, request, world.find(KINDS["ticket"], "", query.get("ticketNumber", ""), owner))


def list_records(kind: Kind) -> Handler:
    """Records as lines."""

    def handle(world: World, request: Request) -> Answer:
        data = parse(messages.LIST, request.body or b"{}")
        owner_id = request.args[0] if request.args else data.get("productionId", "")
        owner = world.owner_of(kind, owner_id or data.get("productionUid", ""))
        rows = _select(world, owner, data.get("filters", {}))
        defaults = world.options.emit_defaults
        return Stream(_blocks(record.as_row(defaults=defaults) for record in rows))

    return handle


def _blocks(rows: Iterable[Any]) -> Iterator[bytes]:
    """NDJSON in blocks of some hundred lines, so that a million rows never stand in memory."""
    block: list[bytes] = []
    for row in rows:
        block.append(orjson.dumps({"result": row}, option=orjson.OPT_APPEND_NEWLINE))
        if len(block) == _BLOCK:
            yield b"".join(block)
            block = []
    if block:
        yield b"".join(block)


def _select(world: World, owner: Owner, filters: dict[str, Any]) -> Iterator[Record]:
    """The page of records that a list call asks for, in the order in which they were made.

    `condition` joins the field filters of a group; several groups are joined by AND. Ids are looked up in the index, so
    a batched read costs what it returns and not what the program holds.

    Raises:
        ApiError: 400 for a filter that is incomplete, or that the sandbox does not know.
    """
    limit = int(filters.get("limit") or _ROWS)
    offset = int(filters.get("offset") or 0)
    groups = [_group(world, owner, group) for group in filters.get("filterGroups") or ()]
    rows = (record for record in owner.records if record.alive)
    if groups:
        wanted = set.intersection(*groups)
        rows = (world.records[index] for index in sorted(wanted))
    return islice(rows, offset, None if limit < 0 else offset + limit)


def _group(world: World, owner: Owner, group: Any) -> set[int]:
    """The positions of the records that one group names."""
    if not isinstance(group, dict):
        raise ApiError(400, "proto: syntax error (line 1:1): unexpected token in filterGroups")
    hits = [_look_up(world, owner, one) for one in group.get("fieldFilters") or ()]
    if not hits:
        return {record.index for record in owner.records if record.alive}
    either = group.get("condition", "AND") in {"OR", 1}
    return set.union(*hits) if either else set.intersection(*hits)


def _look_up(world: World, owner: Owner, one: Any) -> set[int]:
    """The position of the record with one id; none if it belongs to another owner."""
    name, value, operator = (_text(one, field) for field in ("filterField", "filterValue", "filterOperator"))
    if operator != "eq":
        raise ApiError(400, f"filter operator [{operator}] is not known")
    if name == "id" and world.options.filter_by_id:
        record = world.by_id.get(value)
    elif name == owner.kind.external:
        record = owner.by_external.get(value)
    else:
        raise ApiError(400, f"filter field [{name}] is not known")
    return {record.index} if record is not None and record.owner is owner else set()


def _text(one: Any, field: str) -> str:
    value = one.get(field) if isinstance(one, dict) else None
    if not isinstance(value, str) or not value:
        raise required_error(field)
    return value


def read_owner(kind: Kind) -> Handler:
    """GET of a program, campaign or production."""
    return lambda world, request: orjson.dumps(world.owner_of(kind, request.args[0]).as_json())


def list_groups(kind: Kind) -> Handler:
    """Tiers, offers or ticket types: how a caller finds the template of a program."""

    def handle(world: World, request: Request) -> Answer:
        data = parse(_GROUP_LIST, request.body or b"{}")
        owner_id = request.args[0] if request.args else data.get("programId") or data.get("campaignId", "")
        return Stream(_blocks([world.owner_of(kind, owner_id).group_json()]))

    return handle


_GROUP_LIST = {**messages.LIST, "campaignId": messages.MEMBER["id"]}


def read_template(world: World, request: Request) -> bytes:
    """GET of a template with its fields."""
    template = world.templates.get(request.args[0])
    if template is None:
        raise ApiError(404, f"template with id[{request.args[0]}] does not exist")
    shown = template.as_json()
    return orjson.dumps(shown["template"] if world.options.template_shape == "bare" else shown)


# -- paths -----------------------------------------------------------------------------------------------


class Route(NamedTuple):
    """A path and verb; `push` marks an update of one record."""

    number: int
    name: str
    handle: Handler
    push: bool


_MEMBER, _COUPON, _TICKET = KINDS["member"], KINDS["coupon"], KINDS["ticket"]
_TABLE: list[tuple[str, str, Handler]] = [
    ("PUT", "/members/member", update(_MEMBER)),
    ("GET", "/members/member/id/{}", by_id(_MEMBER)),
    ("GET", "/members/member/externalId/{}/{}", by_external(_MEMBER)),
    ("POST", "/members/member/list/{}", list_records(_MEMBER)),
    ("GET", "/members/program/{}", read_owner(_MEMBER)),
    ("POST", "/members/tiers/list", list_groups(_MEMBER)),
    ("PUT", "/coupon/singleUse/coupon", update(_COUPON)),
    ("GET", "/coupon/singleUse/coupon/{}", by_id(_COUPON)),
    ("GET", "/coupon/singleUse/coupon/externalId/{}/{}", by_external(_COUPON)),
    ("POST", "/coupon/singleUse/coupons/list/{}", list_records(_COUPON)),
    ("GET", "/coupon/singleUse/campaign/{}", read_owner(_COUPON)),
    ("POST", "/coupon/singleUse/offers/list", list_groups(_COUPON)),
    ("PUT", "/eventTickets/ticket", update(_TICKET)),
    ("GET", "/eventTickets/ticket/id/{}", by_id(_TICKET)),
    ("GET", "/eventTickets/ticket/ticketNumber", by_number),
    ("POST", "/eventTickets/tickets/list", list_records(_TICKET)),
    ("GET", "/eventTickets/production/{}", read_owner(_TICKET)),
    ("POST", "/eventTickets/ticketTypes/{}", list_groups(_TICKET)),
    ("GET", "/template/data/{}", read_template),
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
