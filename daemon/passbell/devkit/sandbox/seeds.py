"""Seeds: owners, templates and records brought in through the control endpoint, many at once.

A body is one JSON object `{"owners": […], "records": […]}`, or lines (NDJSON), each with one record or with
one such object. Seeding a record again replaces it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from passbell.devkit.sandbox.catalog import KINDS, Field, Kind, Template, id_from
from passbell.devkit.sandbox.messages import float32
from passbell.devkit.sandbox.records import Record, packed

if TYPE_CHECKING:
    from passbell.devkit.sandbox.world import World

__all__ = ["seed"]

_OWN = frozenset(
    (
        "id",
        "externalId",
        "owner",
        "kind",
        "metaData",
        "points",
        "secondaryPoints",
        "tierPoints",
        "status",
        "installed",
    )
)


def seed(world: World, body: bytes, wall: float) -> dict[str, Any]:
    """Bring in what a body holds; returns how many records, and their ids in the order given.

    Raises:
        ValueError: something in it is not understood; what comes before that is stored already.
    """
    body = body.strip()
    try:
        parts = [orjson.loads(body)]
    except orjson.JSONDecodeError:
        parts = [orjson.loads(line) for line in body.splitlines() if line.strip()]
    ids: list[str] = []
    for part in parts:
        for item in part if isinstance(part, list) else [part]:
            _bring_in(world, item, wall, ids)
    return {"records": len(ids), "ids": ids if len(ids) <= 1000 else []}  # noqa: PLR2004 - answers stay short


def _bring_in(world: World, item: dict[str, Any], wall: float, ids: list[str]) -> None:
    if "owner" in item:
        ids.append(_record(world, item, wall).id)
        return
    unknown = item.keys() - {"owners", "records"}
    if unknown:
        raise ValueError(f"a seed has no {', '.join(sorted(unknown))}; a record needs `owner`")
    for owner in item.get("owners") or ():
        _owner(world, owner)
    ids.extend(_record(world, record, wall).id for record in item.get("records") or ())


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}, not {name!r}")
    return KINDS[name]


def _owner(world: World, item: dict[str, Any]) -> None:
    kind = _kind(item.get("kind", "member"))
    template = _template(kind, item, "fields")
    after = None if kind.name == "member" else _template(kind, item, "afterFields")
    owner = world.own(item["id"], kind, template, after)
    owner.name = item.get("name", owner.name)
    owner.uid = item.get("uid", owner.uid)
    owner.group = item.get("group", owner.group)


def _template(kind: Kind, item: dict[str, Any], what: str) -> Template | None:
    """The design whose fields a seed lists under `what`, None if it lists none."""
    if what not in item:
        return None
    fields = tuple(
        Field(
            one["name"],
            one.get("changeMessage", ""),
            one.get("label", ""),
            one.get("default", ""),
            tuple((one.get("localizedChangeMessage") or {}).items()),
        )
        for one in item[what]
    )
    template_id = item.get("template") if what == "fields" else None
    template_id = template_id or id_from(f"{what} of {item['id']}")
    return Template(template_id, kind, fields, item.get("organisation", "Sandbox"))


def _record(world: World, item: dict[str, Any], wall: float) -> Record:
    if "phones" in item:
        raise ValueError("a record has one phone; `installed` says whether the pass is on it")
    owner = world.owners.get(item["owner"])
    if owner is None or "kind" in item:
        owner = world.own(item["owner"], _kind(item.get("kind", "member")))
    record_id, external = item.get("id") or "", item.get("externalId") or ""
    for old in (world.by_id.get(record_id), owner.by_external.get(external)):
        if old is not None:
            world.remove(old)
    record = world.add(owner, record_id, external, wall, installed=item.get("installed", True))
    record.meta = packed(item.get("metaData") or {})
    if "points" in item:
        record.points = float32(item["points"])
    record.secondary_points = item.get("secondaryPoints", 0)
    record.tier_points = item.get("tierPoints", 0)
    record.status = item.get("status", record.status)
    record.extra = packed({name: value for name, value in item.items() if name not in _OWN})
    return record
