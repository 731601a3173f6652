"""The filters of list and count calls.

`Filters{limit, offset, filterGroups[{condition, fieldFilters[{filterField, filterValue, filterOperator}]}],
orderBy, orderAsc}`. `condition` joins the fields of a group; how groups join is a switch. Without a limit
25 rows come, with -1 all of them. A filter that only asks for ids is answered from the index, so that a
batched read costs what it returns and not what the program holds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from passbell.devkit.sandbox.answers import ApiError, required_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passbell.devkit.sandbox.options import Options
    from passbell.devkit.sandbox.records import Owner, Record
    from passbell.devkit.sandbox.world import World

__all__ = ["select"]

Predicate = Callable[["Record"], bool]
_OPERATORS = ("eq", "gt", "gte", "lt", "lte", "like")
_PERSON = ("displayName", "surname", "forename", "emailAddress", "mobileNumber")
_TIMES = ("created", "updated")
_NUMBERS = {"points": "points", "secondaryPoints": "secondary_points", "tierPoints": "tier_points"}


def select(world: World, owner: Owner, filters: dict[str, Any]) -> Iterator[Record]:
    """The page of records that a list call asks for.

    Raises:
        ApiError: 400 for a filter that is not complete or not known.
    """
    limit = int(filters.get("limit") or world.options.default_limit)
    offset = int(filters.get("offset") or 0)
    rows = _ordered(_matching(world, owner, filters), filters)
    return islice(rows, offset, None if limit < 0 else offset + limit)


def _ordered(rows: Iterator[Record], filters: dict[str, Any]) -> Iterator[Record]:
    """By `created` unless asked otherwise: the order in which records were made."""
    keys: dict[str, Callable[[Record], Any]] = {
        "id": lambda record: record.id,
        "externalId": lambda record: record.external,
        "updated": lambda record: record.updated,
    }
    by = filters.get("orderBy")
    if by in keys:
        return iter(sorted(rows, key=keys[by], reverse=filters.get("orderAsc") is False))
    return rows


def _matching(world: World, owner: Owner, filters: dict[str, Any]) -> Iterator[Record]:
    groups = [_group(world, owner, group) for group in filters.get("filterGroups") or ()]
    any_group = world.options.group_join == "or"
    indexed = [rows for _, rows in groups if rows is not None]
    if groups and len(groups) == len(indexed) == 1:
        return iter(indexed[0])
    join = any if any_group and groups else all
    return (
        record for record in owner.records if record.alive and join(matches(record) for matches, _ in groups)
    )


def _group(world: World, owner: Owner, group: Any) -> tuple[Predicate, list[Record] | None]:
    """A group as a predicate, and as rows if it names ids only."""
    if not isinstance(group, dict):
        raise ApiError(400, "proto: syntax error (line 1:1): unexpected token in filterGroups")
    fields = [_field(one) for one in group.get("fieldFilters") or ()]
    either = group.get("condition", "AND") in {"OR", 1}
    predicates = [_predicate(owner, *field, world.options) for field in fields]
    join = any if either and predicates else all

    def matches(record: Record) -> bool:
        return join(predicate(record) for predicate in predicates)

    names = {"id", owner.kind.external}
    if fields and (either or len(fields) == 1) and all(n in names and o == "eq" for n, _, o in fields):
        return matches, _looked_up(world, owner, fields)
    return matches, None


def _looked_up(world: World, owner: Owner, fields: list[tuple[str, str, str]]) -> list[Record]:
    by_id = world.by_id
    hits: dict[int, Record] = {}
    for name, value, _ in fields:
        record = by_id.get(value) if name == "id" else owner.by_external.get(value)
        if record is not None and record.owner is owner:  # ids of all owners share one index
            hits[record.index] = record
    return [hits[index] for index in sorted(hits)]


def _field(one: Any) -> tuple[str, str, str]:
    values = []
    for name in ("filterField", "filterValue", "filterOperator"):
        value = one.get(name) if isinstance(one, dict) else None
        if not isinstance(value, str) or not value:
            raise required_error(name)
        values.append(value)
    name, value, operator = values
    if operator not in _OPERATORS:
        raise ApiError(400, f"filter operator [{operator}] is not known")
    return name, value, operator


def _predicate(owner: Owner, name: str, value: str, operator: str, options: Options) -> Predicate:
    read = _reader(owner, name, options)
    if name in _TIMES or name in _NUMBERS:
        wanted = _number(value)
        return _compare(read, wanted, operator)
    if operator == "like":
        part = value.strip("%").casefold()
        return lambda record: part in str(read(record)).casefold()
    return _compare(read, value, operator)


def _reader(owner: Owner, name: str, options: Options) -> Callable[[Record], Any]:  # noqa: PLR0911 - one per field
    if name == "id" and options.filter_by_id:
        return lambda record: record.id
    if name == owner.kind.external:
        return lambda record: record.external
    if name in _TIMES or name == "status":
        return lambda record: getattr(record, name)
    if name in _NUMBERS:
        return lambda record: getattr(record, _NUMBERS[name])
    if name.startswith("metaData."):
        key = name.removeprefix("metaData.")
        return lambda record: record.values().get(key, "")
    bare = name.removeprefix("person.")
    if bare in _PERSON:
        return lambda record: record.more().get("person", {}).get(bare, "")
    if name in {"tierId", "offerId", "groupingIdentifier", "orderNumber"}:
        return lambda record: record.as_json().get(name, "")
    raise ApiError(400, f"filter field [{name}] is not known")


def _number(value: str) -> float:
    """A number or unix seconds as they are; an RFC 3339 time as unix seconds."""
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        raise ApiError(400, f"filter value [{value}] is neither a number nor a time") from None


def _compare(read: Callable[[Record], Any], wanted: Any, operator: str) -> Predicate:
    return {
        "eq": lambda record: read(record) == wanted,
        "gt": lambda record: read(record) > wanted,
        "gte": lambda record: read(record) >= wanted,
        "lt": lambda record: read(record) < wanted,
        "lte": lambda record: read(record) <= wanted,
        "like": lambda record: str(wanted) in str(read(record)),
    }[operator]
