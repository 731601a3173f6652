"""Everything the sandbox knows: owners, records, phones, alerts, calls; and what an update does to them."""

from __future__ import annotations

from random import Random
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from passbell.devkit.sandbox.answers import ApiError, required_error
from passbell.devkit.sandbox.calls import Journal
from passbell.devkit.sandbox.catalog import Kind, Template, new_id
from passbell.devkit.sandbox.records import Owner, Record, packed

if TYPE_CHECKING:
    from passbell.devkit.sandbox.options import Options

__all__ = ["GENERIC_ALERT", "Buzz", "BuzzLog", "Moment", "World"]

GENERIC_ALERT = "Store card changed"

# Never taken from an update: identity, the owner, and what only PassKit writes.
_FIXED = frozenset(
    ("id", "externalId", "ticketNumber", "programId", "campaignId", "event", "ticketType", "operation")
)
_UNTOUCHED = _FIXED | {"metaData"}
_NUMBERS = {"points": "points", "secondaryPoints": "secondary_points", "tierPoints": "tier_points"}
_ROW = Struct("<ddqi?")


class Moment:
    """When a call happens: monotonic and wall clock in seconds, and its sequence number in the journal."""

    __slots__ = ("call", "time", "wall")

    call: int
    time: float
    wall: float


class Buzz(NamedTuple):
    """One alert on one lock screen.

    Attributes:
        time: monotonic second.
        wall: wall clock.
        call: number of the API call behind it.
        record: position of the record.
        generic: whether the wallet's own words were shown instead of a change message.
        text: what the lock screen said.
    """

    time: float
    wall: float
    call: int
    record: int
    generic: bool
    text: str


class BuzzLog:
    """Every alert: 29 bytes each, and its text. Its position is its sequence number, from 0."""

    def __init__(self) -> None:
        self._rows = bytearray()
        self._texts: list[str] = []

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, buzz: Buzz) -> None:
        """Append one alert."""
        self._rows += _ROW.pack(*buzz[:-1])
        self._texts.append(buzz.text)

    def __getitem__(self, number: int) -> Buzz:
        return Buzz._make((*_ROW.unpack_from(self._rows, number * _ROW.size), self._texts[number]))


class World:
    """The state behind the API.

    Attributes:
        records: every record ever made, by position; one that was seeded again stays, with `alive` False.
        silent: updates that changed no ringing value.
        buzzed: records with at least one alert.
    """

    def __init__(self, options: Options, seed: int = 0) -> None:
        self.options = options
        self.rng = Random(seed)  # noqa: S311 - ids that can be made again, not secrets
        self.owners: dict[str, Owner] = {}
        self.templates: dict[str, Template] = {}
        self.records: list[Record] = []
        self.by_id: dict[str, Record] = {}
        self.forget_history()

    def forget_history(self) -> None:
        """Empty the journal and the buzz log; records and what phones show stay."""
        self.journal = Journal()
        self.buzzes = BuzzLog()
        self.silent = 0
        self.buzzed = 0
        for record in self.records:
            record.alerts = 0

    # -- owners ------------------------------------------------------------------------------------------

    def own(
        self, owner_id: str, kind: Kind, template: Template | None = None, after: Template | None = None
    ) -> Owner:
        """The owner of that id, made with a plain template if it is new; `after` is its design once redeemed.

        Raises:
            ValueError: it exists as another kind.
        """
        owner = self.owners.get(owner_id)
        if owner is None:
            template = template or Template.plain(owner_id, kind, self.options.message_key)
            owner = self.owners[owner_id] = Owner(owner_id, kind, template)
        elif owner.kind is not kind:
            raise ValueError(f"{owner_id} is a {owner.kind.owner}, not a {kind.owner}")
        elif template is not None:
            owner.template = template
        owner.after = after or owner.after
        for one in (owner.template, owner.after):
            if one is not None:
                self.templates[one.id] = one
        return owner

    def owner_of(self, kind: Kind, owner_id: str) -> Owner:
        """The owner a call names, by id, or a production by its uid too.

        Raises:
            ApiError: 404.
        """
        owner = self.owners.get(owner_id)
        if owner is None and kind.name == "ticket":
            named = (one for one in self.owners.values() if one.uid == owner_id and one.kind is kind)
            owner = next(named, None)
        if owner is None or owner.kind is not kind:
            raise ApiError(404, f"{kind.owner} [uuid:{owner_id}] does not exist")
        return owner

    # -- records -----------------------------------------------------------------------------------------

    def add(self, owner: Owner, record_id: str, external: str, wall: float, *, installed: bool) -> Record:
        """A new record; an empty id is made up. The caller has looked for duplicates."""
        index = len(self.records)
        record = Record(
            record_id or new_id(self.rng), external, owner, index=index, installed=installed, now=wall
        )
        self.records.append(record)
        self.by_id[record.id] = record
        owner.records.append(record)
        if external:
            owner.by_external[external] = record
        return record

    def remove(self, record: Record) -> None:
        """Make room for a record that is seeded again: the API no longer finds the old one, the logs still name it."""
        record.alive = False
        self.by_id.pop(record.id, None)
        record.owner.by_external.pop(record.external, None)

    def find(self, kind: Kind, record_id: str, external: str, owner_id: str) -> Record:
        """The record that a call names: by id, else by the caller's own id and the owner.

        Raises:
            ApiError: 400 if neither is complete, 404 if there is no such record.
        """
        if record_id:
            record = self.by_id.get(record_id)
            if record is None or record.owner.kind is not kind:
                raise ApiError(404, f"{kind.name} with id[{record_id}] does not exist")
            return record
        for value, name in ((external, kind.external), (owner_id, kind.belongs)):
            if not value:
                raise required_error(name)
        record = self.owner_of(kind, owner_id).by_external.get(external)
        if record is None:
            raise ApiError(404, f"{kind.name} with {kind.external}[{external}] does not exist")
        return record

    # -- updates -----------------------------------------------------------------------------------------

    def update(self, record: Record, data: dict[str, Any], moment: Moment, *, full: bool = False) -> str:
        """Store an update and ring where it changes what phones show.

        Args:
            record: the record.
            data: checked top-level fields.
            moment: when, and by which call.
            full: whether absent or falsy fields are cleared (`OPERATION_PUT`) instead of ignored.

        Returns:
            The values of the ringing fields afterwards, joined: what the phones are told.
        """
        rings = record.owner.template.rings
        old = meta = record.values()
        before = rings(record, old)
        given = data.get("metaData")
        if full or given:
            meta = given or {}
            if not full and self.options.metadata == "merge":
                meta = {**old, **meta}
            record.meta = packed(meta)
        if full or not data.keys() <= _UNTOUCHED:
            self._store_rest(record, data, full=full)
        return self._settle(record, before, rings(record, meta), moment)

    def _settle(self, record: Record, before: tuple[str, ...], after: tuple[str, ...], moment: Moment) -> str:
        record.updated = moment.wall
        if before == after:
            self.silent += 1
        else:
            changed = [number for number, value in enumerate(after) if value != before[number]]
            self._ring(record, changed, after, moment)
        return "\x1f".join(after)

    def _store_rest(self, record: Record, data: dict[str, Any], *, full: bool) -> None:
        if full:
            record.extra = b""
            record.points = record.secondary_points = record.tier_points = 0
        extra: dict[str, Any] | None = None
        for name, value in data.items():
            if name == "metaData" or name in _FIXED or not (value or full):
                continue
            if name in _NUMBERS:
                setattr(record, _NUMBERS[name], value)
            elif name == "status":
                record.status = value
            else:
                extra = record.more() if extra is None else extra
                if name == "person" and not full:
                    value = {**extra.get("person", {}), **value}  # noqa: PLW2901 - the merged one is stored
                extra[name] = value
        if extra is not None:
            record.extra = packed(extra)

    def _ring(self, record: Record, changed: list[int], after: tuple[str, ...], moment: Moment) -> None:
        if not record.installed:
            return
        text, generic = self._alert(record, changed, after)
        self.buzzes.add(Buzz(moment.time, moment.wall, moment.call, record.index, generic, text))
        self.buzzed += record.alerts == 0
        record.alerts += 1

    def _alert(self, record: Record, changed: list[int], after: tuple[str, ...]) -> tuple[str, bool]:
        """The words on the lock screen, and whether they are the wallet's own."""
        message = record.owner.template.ringing[changed[0]][0].message
        several = len(changed) > 1 and self.options.several_changes == "generic"
        if several or "%@" not in message:
            return GENERIC_ALERT, True
        return message.replace("%@", after[changed[0]]), False
