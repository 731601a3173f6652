"""What the control endpoint reports: alerts, calls, repeats and the sliding second.

All of them read columns; the long ones take about a second per million rows and hold the loop for it. Read
them after a run; `GET /sandbox` and `GET /sandbox/wait` cost nothing while it lasts.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from passbell.devkit.sandbox.window import certain_peak, peak

if TYPE_CHECKING:
    from passbell.devkit.sandbox.api import Api
    from passbell.devkit.sandbox.records import Record
    from passbell.devkit.sandbox.window import Heartbeat
    from passbell.devkit.sandbox.world import World

__all__ = ["buzzes", "calls", "repeats", "summary", "window"]

Values = dict[str, Any]
_PAGE = 1000
_SAMPLE = 20


def _page(values: Values) -> tuple[int, int]:
    return int(values.get("after", 0)), int(values.get("limit", _PAGE))


def _wanted(world: World, values: Values) -> int | None:
    """The record that a report is limited to, as its position."""
    name = values.get("record")
    if name is None:
        return None
    record = world.by_id.get(name)
    if record is None:
        raise LookupError(f"there is no record {name!r}")
    return record.index


def _alert(world: World, number: int) -> Values:
    buzz = world.buzzes[number]
    record = world.records[buzz.record]
    return {
        "sequence": number,
        "record": record.id,
        "externalId": record.external,
        "owner": record.owner.id,
        "text": buzz.text,
        "generic": buzz.generic,
        "time": buzz.time,
        "wall": buzz.wall,
        "call": buzz.call,
    }


def buzzes(world: World, values: Values) -> Values:
    """Alerts from sequence number `after` on, at most `limit`; `record` and `owner` narrow."""
    after, limit = _page(values)
    record, owner = _wanted(world, values), values.get("owner")
    found: list[Values] = []
    number = after
    while number < len(world.buzzes) and len(found) < limit:
        index = world.buzzes[number].record
        if record in {None, index} and owner in {None, world.records[index].owner.id}:
            found.append(_alert(world, number))
        number += 1
    return {"buzzes": found, "next": number, "total": len(world.buzzes)}


def summary(world: World, values: Values) -> Values:
    """Who was buzzed, how often and with what.

    Args:
        world: the state.
        values: `owner` narrows to one program; `after` counts alerts from that sequence number on; `text` is
            what every alert should have said, `texts` the same per record id: a record that is not in it
            should not have been buzzed.
    """
    owner, expected = values.get("owner"), values.get("texts")
    text = values.get("text")
    log = world.buzzes
    per_record: Counter[int] = Counter()
    wrong: list[int] = []
    unexpected: list[int] = []
    generic = total = 0
    for number in range(int(values.get("after", 0)), len(log)):
        buzz = log[number]
        record = world.records[buzz.record]
        if owner not in {None, record.owner.id}:
            continue
        total += 1
        generic += buzz.generic
        per_record[record.index] += 1
        said = buzz.text
        if expected is not None and record.id not in expected:
            unexpected.append(number)
        elif (expected is not None and said != expected[record.id]) or text not in {None, said}:
            wrong.append(number)
    more = [index for index, times in per_record.items() if times > 1]
    return {
        **_fleet(world, owner),
        "buzzes": total,
        "phonesBuzzed": len(per_record),
        "buzzedOnce": len(per_record) - len(more),
        "buzzedMore": len(more),
        "recordsBuzzed": len(per_record),
        "wrongText": len(wrong),
        "unexpected": len(unexpected),
        "generic": generic,
        "silentUpdates": world.silent,
        "samples": {
            "buzzedMore": [world.records[index].id for index in more[:_SAMPLE]],
            "wrongText": [_alert(world, number) for number in wrong[:_SAMPLE]],
            "unexpected": [_alert(world, number) for number in unexpected[:_SAMPLE]],
        },
    }


def _fleet(world: World, owner: str | None) -> Values:
    owned: list[list[Record]] = [one.records for one in world.owners.values() if owner in {None, one.id}]
    alive = [record for each in owned for record in each if record.alive]
    return {"records": len(alive), "installed": sum(record.installed for record in alive)}


def calls(api: Api, values: Values) -> Values:
    """At most `limit` calls from number `after` on, narrowed by `method`, `route`, `status`, `record`."""
    world = api.world
    after, limit = _page(values)
    index = _wanted(world, values)
    names = api.router.names
    found: list[Values] = []
    number = after
    while number < len(world.journal) and len(found) < limit:
        if index is None or world.journal[number].record == index:
            row = world.journal.row(number, names)
            at = row["record"]
            row["record"] = world.records[at].id if at >= 0 else None
            same = all(str(row[name]) == str(values[name]) for name in ("method", "status") if name in values)
            if same and values.get("route", "") in row["route"]:
                found.append(row)
        number += 1
    return {"calls": found, "next": number, "total": len(world.journal)}


def repeats(api: Api, values: Values) -> Values:
    """Records that were updated more than once between the sequence numbers `after` and `until`.

    Only updates that were committed count. `differing` are records whose repeated calls were not
    byte-identical; a phone may have buzzed twice for those.
    """
    journal = api.world.journal
    until = min(int(values.get("until", len(journal))), len(journal))
    seen: dict[int, tuple[int, int]] = {}
    differing: set[int] = set()
    for number in range(int(values.get("after", 0)), until):
        call = journal[number]
        if call.committed and call.push:
            times, body = seen.get(call.record, (0, call.body))
            if body != call.body:
                differing.add(call.record)
            seen[call.record] = (times + 1, body)
    names = api.world.records
    return {
        "records": len(seen),
        "repeated": sum(times > 1 for times, _ in seen.values()),
        "repeatedCalls": sum(times - 1 for times, _ in seen.values()),
        "differing": len(differing),
        "samples": [names[index].id for index in sorted(differing)[:_SAMPLE]],
    }


def window(world: World, heartbeat: Heartbeat, values: Values) -> Values:
    """How many calls came in any sliding second.

    Args:
        world: the state.
        heartbeat: knows when this process was held up.
        values: `count` is all, push (updates of one record; the default) or a method; `since` and `until`
            are monotonic seconds; `limit` is the rate that utilisation is measured against.
    """
    since = float(values.get("since", "-inf"))
    until = float(values.get("until", "inf"))
    times = world.journal.times(values.get("count", "push"), since, until)
    stalls = heartbeat.between(times[0], times[-1]) if times else []
    span = times[-1] - times[0] if times else 0.0
    rate = (len(times) - 1) / span if span else 0.0
    limit = float(values.get("limit", 0))
    return {
        "calls": len(times),
        "peak": peak(times),
        "certainPeak": certain_peak(times, stalls),
        "first": times[0] if times else None,
        "last": times[-1] if times else None,
        "span": span,
        "rate": rate,
        "utilisation": rate / limit if limit else None,
        "stalls": len(stalls),
        "worstStall": max((stall.until - stall.since for stall in stalls), default=0.0),
    }
