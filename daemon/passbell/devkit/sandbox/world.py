"""Everything the sandbox knows: owners, records, phones, alerts, calls; and what an update does to them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from passbell.devkit.sandbox.answers import ApiError, required_error
from passbell.devkit.sandbox.calls import Journal
from passbell.devkit.sandbox.catalog import Kind, Template, new_id
from passbell.devkit.sandbox.phones import Buzz, BuzzLog, GoogleQuota, Phone
from passbell.devkit.sandbox.records import Owner, Record, packed

if TYPE_CHECKING:
    from passbell.devkit.sandbox.options import Options

__all__ = ["GENERIC_ALERT", "Moment", "World"]

GENERIC_ALERT = "Store card changed"

# Never taken from an update: identity, the owner, and what only PassKit writes.
_FIXED = frozenset(
    ("id", "externalId", "ticketNumber", "programId", "campaignId", "event", "ticketType", "operation")
)
_UNTOUCHED = _FIXED | {"metaData"}
_NUMBERS = {"points": "points", "secondaryPoints": "secondary_points", "tierPoints": "tier_points"}


class Moment:
    """When a call happens: monotonic and wall clock in seconds, and its sequence number in the journal."""

    __slots__ = ("call", "time", "wall")

    def __init__(self, time: float, wall: float, call: int = -1) -> None:
        self.time = time
        self.wall = wall
        self.call = call


class World:
    """The state behind the API.

    Attributes:
        records: every record ever made, by position; a deleted one stays with `alive` False.
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
        self.quota = GoogleQuota()
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

    def add(
        self, owner: Owner, record_id: str, external: str, phones: tuple[Phone, ...], wall: float
    ) -> Record:
        """A new record; an empty id is made up. The caller has looked for duplicates."""
        record = Record(
            record_id or new_id(self.rng), external, owner, index=len(self.records), phones=phones, now=wall
        )
        self.records.append(record)
        self.by_id[record.id] = record
        owner.records.append(record)
        if external:
            owner.by_external[external] = record
        return record

    def remove(self, record: Record) -> None:
        """Delete: the API no longer finds it, the logs still name it."""
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
            if not full and record.owner.kind.name in self.options.merging:
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
                if name == "person" and self.options.person == "merge" and not full:
                    value = {**extra.get("person", {}), **value}  # noqa: PLW2901 - the merged one is stored
                extra[name] = value
        if extra is not None:
            record.extra = packed(extra)

    def _ring(self, record: Record, changed: list[int], after: tuple[str, ...], moment: Moment) -> None:
        text, generic = self._alert(record, changed, after)
        rang = False
        for number, phone in enumerate(record.phones):
            if phone.installed and phone.online and not phone.muted:
                rang |= self._buzz(record, number, text, moment, generic=generic)
        if rang:
            self.buzzed += record.alerts == 0
            record.alerts += 1

    def _alert(self, record: Record, changed: list[int], after: tuple[str, ...]) -> tuple[str, bool]:
        """The words on the lock screen, and whether they are the wallet's own."""
        message = record.owner.template.ringing[changed[0]][0].message
        several = len(changed) > 1 and self.options.several_changes == "generic"
        if several or "%@" not in message:
            return GENERIC_ALERT, True
        return message.replace("%@", after[changed[0]]), False

    def _buzz(self, record: Record, number: int, text: str, moment: Moment, *, generic: bool) -> bool:
        if record.phones[number].platform == "google":
            if not self.options.google_notifies:
                return False
            if not self.quota.take(record.index, number, moment.time, self.options.google_cap):
                return False
        self.buzzes.add(Buzz(moment.time, moment.wall, moment.call, record.index, number, generic, text))
        return True

    # -- phones ------------------------------------------------------------------------------------------

    def set_phone(self, record: Record, number: int, changes: dict[str, Any], moment: Moment) -> None:
        """Install, remove, mute, take offline or bring back one phone of a record.

        A phone that goes offline keeps what it shows. When it is back (or unmuted) it fetches the newest
        state and rings once if a ringing value differs. A fresh install shows the newest state silently.

        Raises:
            ValueError: no such phone, or an attribute that is not known.
        """
        if not 0 <= number < len(record.phones):
            raise ValueError(f"record {record.id} has no phone {number}")
        unknown = changes.keys() - {"installed", "online", "muted"}
        if unknown:
            raise ValueError(f"a phone has no {', '.join(sorted(unknown))}")
        phone = record.phones[number]._replace(**changes)
        missed = None
        if not phone.installed or phone.online:
            missed, phone = (phone.shown if phone.installed else None), phone._replace(shown=None)
        elif phone.shown is None:
            phone = phone._replace(shown=record.shown())
        record.phones = (*record.phones[:number], phone, *record.phones[number + 1 :])
        if missed is not None and not phone.muted:
            self._catch_up(record, number, missed, moment)

    def _catch_up(self, record: Record, number: int, missed: tuple[str, ...], moment: Moment) -> None:
        template = record.owner.template
        shows = {item.name: value for (item, _), value in zip(template.shown, missed, strict=True)}
        meta = record.values()
        after = template.rings(record, meta)
        changed = [at for at, (item, _) in enumerate(template.ringing) if shows[item.name] != after[at]]
        if changed:
            text, generic = self._alert(record, changed, after)
            if self._buzz(record, number, text, moment, generic=generic):
                self.buzzed += record.alerts == 0
                record.alerts += 1
