"""What the calls do: each handler reads a request, acts on the world and answers with JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from passbell.devkit.sandbox import messages
from passbell.devkit.sandbox.answers import ApiError, Stream, required_error
from passbell.devkit.sandbox.catalog import KINDS, Kind
from passbell.devkit.sandbox.filters import select
from passbell.devkit.sandbox.messages import parse
from passbell.devkit.sandbox.phones import phones_from
from passbell.devkit.sandbox.world import Moment, World

if TYPE_CHECKING:
    from passbell.devkit.sandbox.records import Record


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
    ticket = kind.name == "ticket"

    def handle(world: World, request: Request) -> bytes:
        data = parse(fields, request.body)
        record = request.record = world.find(kind, *_keys(kind, data))
        full = data.get("operation") == "OPERATION_PUT" or (ticket and world.options.ticket_put == "full")
        request.told = world.update(record, data, request, full=full)
        request.committed = True
        return _id(record)

    return handle


def create(kind: Kind) -> Handler:
    """POST of a record; 409 if the own id is taken."""
    fields = _FIELDS[kind.name]
    required = {"member": ("programId", "tierId"), "coupon": ("campaignId", "offerId")}.get(kind.name, ())

    def handle(world: World, request: Request) -> bytes:
        data = parse(fields, request.body)
        record_id, external, owner_id = _keys(kind, data)
        missing = [name for name in required if not data.get(name)] or ([] if owner_id else ["production"])
        if missing:
            raise required_error(missing[0])
        owner = world.owner_of(kind, owner_id)
        if external in owner.by_external or (record_id and record_id in world.by_id):
            raise ApiError(409, f"{kind.name} with {kind.external}[{external}] already exists")
        record = world.add(owner, "", external, (), request.wall)
        world.update(record, data, request)
        record.phones = phones_from(world.options.phones_on_create)  # a fresh install is silent
        request.record, request.committed = record, True
        if kind.name == "ticket":
            names = {"ticketId": record.id, "productionId": owner.id, "ticketTypeId": owner.group}
            return orjson.dumps(names)
        return _id(record)

    return handle


def delete(kind: Kind) -> Handler:
    """DELETE of a record, named in the body."""
    fields = messages.TICKET_ID if kind.name == "ticket" else _FIELDS[kind.name]

    def handle(world: World, request: Request) -> bytes:
        data = parse(fields, request.body)
        if kind.name == "ticket":
            number = data.get("ticketNumber", {})
            keys = data.get("ticketId", ""), number.get("ticketNumber", ""), number.get("productionId", "")
        else:
            keys = _keys(kind, data)
        record = request.record = world.find(kind, *keys)
        world.remove(record)
        request.committed = True
        return b"{}"

    return handle


def patch_person(kind: Kind) -> Handler:
    """PATCH of the nested person; what is not sent stays."""

    def handle(world: World, request: Request) -> bytes:
        data = parse(messages.PERSON_PATCH, request.body)
        if kind.name == "ticket":
            number = data.get("ticketNumber", {})
            owner = number.get("productionId") or number.get("productionUid") or ""
            keys = data.get("ticketId", {}).get("id", ""), number.get("ticketNumber", ""), owner
        else:
            keys = data.get("id", ""), data.get("externalId", ""), data.get("classId", "")
        record = request.record = world.find(kind, *keys)
        person = {**record.more().get("person", {}), **data.get("person", {})}
        request.told = world.update(record, {"person": person}, request)
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
        rows = select(world, owner, data.get("filters", {}))
        defaults = world.options.emit_defaults
        return Stream(_blocks(record.as_row(defaults=defaults) for record in rows))

    return handle


def _blocks(rows: Any) -> Any:
    """NDJSON in blocks of some hundred lines, so that a million rows never stand in memory."""
    block: list[bytes] = []
    for row in rows:
        block.append(orjson.dumps({"result": row}, option=orjson.OPT_APPEND_NEWLINE))
        if len(block) == _BLOCK:
            yield b"".join(block)
            block = []
    if block:
        yield b"".join(block)


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


def absent(_: World, __: Request) -> bytes:
    """A call that exists but has no part here."""
    raise ApiError(501, "the sandbox does not act this call out")
