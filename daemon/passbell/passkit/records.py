"""Reading what many passes hold, with as few requests as PassKit allows.

PassKit replaces `metaData` as a whole, so it has to be read before it is written. Its list endpoints take
filter groups joined by OR; a hundred records then cost one request. That filtering by id works is likely and
unproven, so nothing here relies on it: what a list does not give is asked for record by record, and a list
that proves useless is left alone for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple

import structlog

from passbell.passkit.answers import Answer, Verdict, impossible, parse_object, plain, unreadable
from passbell.passkit.recipient import Recipient, list_body, list_path, record_path, why_unaddressable
from passbell.passkit.wire import Caller

LIST_SIZE = 100
"""Records asked for in one list request."""

AVOID_SECONDS = 600.0
"""How long a list endpoint that was of no use is left alone."""

BRIEF_SECONDS = 10.0
"""The same, the first time, where the trouble may pass; four times as long each further time in a row."""

LIST_TRIES = 3
"""Requests for one list while the trouble is of the kind that passes: a hundred single reads cost far more."""

LIST_PAUSE = 0.25
"""Seconds between them, as PassKit asks for after a 503."""

TROUBLE_LIMIT = 2
"""Lists in a row that may time out or break off, repeats included, before records are read one by one instead."""

BRAKE_AFTER = 10
"""Network troubles in a row after which the rest of a read is given up: PassKit is down, not one record."""

Metadata = dict[str, str]
ListKey = tuple[str, str, str]  # protocol, program, name of the field that is matched

_GRPC_VERDICTS = {  # a code comes by number or by name; the gateway's older form has both that and an HTTP status
    "8": Verdict.THROTTLED,
    "RESOURCE_EXHAUSTED": Verdict.THROTTLED,
    "7": Verdict.REFUSED,
    "PERMISSION_DENIED": Verdict.REFUSED,
    "16": Verdict.REFUSED,
    "UNAUTHENTICATED": Verdict.REFUSED,
}

_log = structlog.get_logger(__name__)


class Exchange(NamedTuple):
    """An answer with its bytes."""

    answer: Answer
    body: bytes
    complete: bool = True
    """False if a 2xx was abandoned half-way because it is too long."""


Ask = Callable[[str, str, bytes | None, Caller], Awaitable[Exchange]]


class RecordReader:
    """Reads `metaData` maps and remembers which list endpoints are of use."""

    def __init__(self, ask: Ask, *, clock: Callable[[], float], workers: int) -> None:
        """`ask` sends one request (method, path, body, caller); `workers` is how many run at once."""
        self._ask = ask
        self._clock = clock
        self._workers = workers
        self._avoid_until: dict[ListKey, float] = {}
        self._troubles: dict[ListKey, int] = {}
        self._avoided: dict[ListKey, int] = {}

    async def read(self, recipients: Sequence[Recipient], caller: Caller) -> dict[str, Metadata | Answer]:
        """Map or answer for each recipient, by pass id."""
        state = _Read(caller)
        batches: dict[ListKey, list[Recipient]] = {}
        singles: list[Recipient] = []
        for recipient in recipients:
            problem = why_unaddressable(recipient)
            key = self._list_key(recipient)
            if problem:
                state.results[recipient.pass_id] = impossible(problem)
            elif key is None:
                singles.append(recipient)
            else:
                batches.setdefault(key, []).append(recipient)
        lists = [
            (key, batch[at : at + LIST_SIZE])
            for key, batch in batches.items()
            for at in range(0, len(batch), LIST_SIZE)
        ]
        # First all lists, then the records that they left open: so trouble of the account shows with few requests.
        listed = iter(lists)
        await _work(self._workers, len(lists), lambda: self._read_lists(listed, state))
        singles += state.left
        queue = iter(singles)
        await _work(self._workers, len(singles), lambda: self._read_singles(queue, state))
        self._judge_silence(state)
        return state.results

    def _list_key(self, recipient: Recipient) -> ListKey | None:
        """The list that could hold this record, None if it has to be read alone."""
        program = recipient.passkit_program_id
        if not program or list_path(recipient.protocol, program) is None:
            return None
        key = (recipient.protocol, program, recipient.key_field)
        return None if self._clock() < self._avoid_until.get(key, 0.0) else key

    async def _read_lists(self, lists: Iterator[tuple[ListKey, list[Recipient]]], state: _Read) -> None:
        for key, batch in lists:
            if state.brake is not None:
                state.give(batch, state.brake)
            else:
                await self._read_list(key, batch, state)

    async def _read_list(self, key: ListKey, batch: list[Recipient], state: _Read) -> None:
        wanted: dict[str, list[Recipient]] = {}
        for recipient in batch:
            wanted.setdefault(recipient.key, []).append(recipient)
        exchange, rows = await self._ask_list(key, wanted, state.caller)
        answer = exchange.answer
        if answer.verdict in {Verdict.NOT_FOUND, Verdict.REJECTED, Verdict.SERVER_ERROR}:
            self._avoid(key, answer.detail, passing=answer.verdict is Verdict.SERVER_ERROR)
            state.left += batch
            return
        if answer.verdict is not Verdict.SENT and exchange.complete:
            # Nothing was learned about any record. Asking a hundred times more would not help the account.
            self._note_trouble(key, answer)
            state.note(answer)
            state.give(batch, answer)
            return
        for found, held in rows.found.items():
            state.give(wanted[found], held)
        missing = [recipient for found in wanted if found not in rows.found for recipient in wanted[found]]
        if rows.useless:
            self._avoid(key, rows.useless, passing=rows.unreadable)
        if rows.error is not None and missing:
            self._note_trouble(key, rows.error)
            state.note(rows.error)
            state.give(missing, rows.error)
            return
        self._troubles.pop(key, None)
        if not rows.useless:
            self._avoided.pop(key, None)
        state.left += missing
        if not rows.found and not rows.useless:
            state.silent.append((key, missing))

    async def _ask_list(
        self, key: ListKey, wanted: dict[str, list[Recipient]], caller: Caller
    ) -> tuple[Exchange, _Rows]:
        """One list; asked again while it fails in a way that may pass, unless it is for one record anyway."""
        protocol, program, field_name = key
        path = list_path(protocol, program) or ""
        body = list_body(field_name, list(wanted))
        found: dict[str, Metadata | Answer] = {}
        tries = 1 if len(wanted) == 1 else LIST_TRIES
        while True:
            exchange = await self._ask("POST", path, body, caller)
            read = exchange.answer.verdict is Verdict.SENT or not exchange.complete
            rows = _parse_rows(exchange, wanted, field_name) if read else _Rows()
            rows.found = found = found | rows.found
            trouble = rows.error or exchange.answer
            passing = trouble.verdict in {Verdict.RETRY, Verdict.SERVER_ERROR} or rows.unreadable
            tries -= 1
            if tries == 0 or not passing or not exchange.complete:
                return exchange, rows
            await asyncio.sleep(LIST_PAUSE)

    async def _read_singles(self, singles: Iterator[Recipient], state: _Read) -> None:
        for recipient in singles:
            if state.brake is not None:
                state.results[recipient.pass_id] = state.brake
                continue
            exchange = await self._ask("GET", record_path(recipient), None, state.caller)
            result: Metadata | Answer = exchange.answer
            if exchange.answer.verdict is Verdict.SENT:
                record = parse_object(exchange.body) or {}
                metadata = metadata_of(record)
                if record.get(recipient.key_field) == recipient.key and metadata is not None:
                    result = metadata
                else:
                    result = unreadable(
                        exchange.answer.http_status or 200, "its body is not the record asked for"
                    )
            state.note(result)
            state.results[recipient.pass_id] = result

    def _judge_silence(self, state: _Read) -> None:
        """A list without any of the records that a GET then found does not understand the filter."""
        for key, missing in state.silent:
            if any(isinstance(state.results[recipient.pass_id], dict) for recipient in missing):
                self._avoid(key, "it did not list records that exist")

    def _note_trouble(self, key: ListKey, answer: Answer) -> None:
        """A list that breaks off every time would stop a campaign for ever; single reads may still work."""
        if answer.verdict is not Verdict.RETRY or answer.http_status == HTTPStatus.SERVICE_UNAVAILABLE:
            return
        self._troubles[key] = self._troubles.get(key, 0) + 1
        if self._troubles[key] >= TROUBLE_LIMIT:
            self._avoid(key, answer.detail, passing=True)

    def _avoid(self, key: ListKey, why: str, *, passing: bool = False) -> None:
        self._troubles.pop(key, None)
        now = self._clock()
        if now < self._avoid_until.get(key, 0.0):
            return  # several lists of one read found the same
        times = self._avoided[key] = self._avoided.get(key, 0) + 1
        seconds = min(AVOID_SECONDS, BRIEF_SECONDS * 4 ** min(times - 1, 5)) if passing else AVOID_SECONDS
        protocol, program, _ = key
        _log.info("record_list_avoided", protocol=protocol, program=program, why=why, seconds=round(seconds))
        self._avoid_until[key] = now + seconds


@dataclass(slots=True)
class _Read:
    """One call of `RecordReader.read` while it runs."""

    caller: Caller
    results: dict[str, Metadata | Answer] = field(default_factory=dict)
    left: list[Recipient] = field(default_factory=list)
    silent: list[tuple[ListKey, list[Recipient]]] = field(default_factory=list)
    brake: Answer | None = None
    """Why nothing more is asked: the trouble is the account's or the network's."""
    in_a_row: int = 0

    def give(self, recipients: list[Recipient], result: Metadata | Answer) -> None:
        for recipient in recipients:
            self.results[recipient.pass_id] = dict(result) if isinstance(result, dict) else result

    def note(self, result: Metadata | Answer) -> None:
        """Note how a request went, and stop asking if the trouble is the account's or the network's."""
        if isinstance(result, dict) or result.verdict is not Verdict.RETRY:
            self.in_a_row = 0
        else:
            self.in_a_row += 1
        if isinstance(result, Answer) and (
            result.verdict in {Verdict.REFUSED, Verdict.THROTTLED}
            or result.http_status == HTTPStatus.SERVICE_UNAVAILABLE
            or self.in_a_row >= BRAKE_AFTER
        ):
            self.brake = result


@dataclass(slots=True)
class _Rows:
    """What a list answer held."""

    found: dict[str, Metadata | Answer] = field(default_factory=dict)
    """By key; an `Answer` for a record that must be left alone."""
    error: Answer | None = None
    useless: str = ""
    """Why this list should not be asked again for a while; empty if it served."""
    unreadable: bool = False
    """Whether a line is not even JSON: more likely a bad day than another kind of list."""


def _parse_rows(exchange: Exchange, wanted: dict[str, list[Recipient]], key_field: str) -> _Rows:
    """Records among the lines of a list answer; lines about others are ignored."""
    rows = _Rows()
    lines = exchange.body.split(b"\n", 2 * len(wanted) + 10)
    if not exchange.complete:
        lines.pop()  # the last line is cut
        rows.useless = "its answer is too long"
    for line in lines:
        if not line.strip():
            continue
        row = parse_object(line)
        if row is not None and row.get("error"):
            rows.error = _stream_error(exchange, row["error"])
            break
        record = row.get("result") if row is not None else None
        if not isinstance(record, dict):
            rows.useless = "its answer has an unknown shape"
            rows.unreadable = row is None
            break
        name = record.get(key_field)
        metadata = metadata_of(record)
        if not isinstance(name, str) or name not in wanted:
            rows.useless = "it ignores the filter"
        elif metadata is not None:
            rows.found[name] = metadata
    return rows


def _stream_error(exchange: Exchange, error: Any) -> Answer:
    """A list that failed after it had begun with a 200; its error may carry a gRPC code (16: who are you)."""
    code = message = None
    if isinstance(error, dict):
        code = error.get("code", error.get("grpc_code"))
        message = error.get("message")
    verdict = _GRPC_VERDICTS.get(str(code).upper(), Verdict.RETRY)
    text = plain(f"PassKit broke off a list: {message or error}")
    return Answer(verdict, exchange.answer.http_status, text)


def metadata_of(record: dict[str, Any]) -> Metadata | Answer | None:
    """The `metaData` of a record: {} where it has none, None where it is no map and the answer cannot be trusted.

    It is written back as a whole, and PassKit's is a map of texts. A value of another kind would be lost or changed on
    the way, so such a record is left alone: the `Answer` says which key it is.
    """
    metadata = record.get("metaData")
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        return None
    for key, value in metadata.items():
        if not isinstance(value, str):
            why = f'Nothing was sent, the record was left alone: its metaData "{key}" is no text but {_kind(value)}'
            return Answer(Verdict.REJECTED, int(HTTPStatus.OK), plain(why))
    return metadata


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return "a number"


async def _work(workers: int, jobs: int, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` in as many tasks as there is something to do for; raise the first error as it is."""

    async def run() -> None:
        await work()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(workers, jobs)):
                group.create_task(run())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
