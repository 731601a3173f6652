"""The PassKit client: each request takes a rate slot, carries a fresh token, comes back as an `Answer`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Self, TypeGuard, cast
from urllib.parse import quote

import orjson

from passbell import __version__
from passbell.passkit.answers import (
    Answer,
    Verdict,
    decoded,
    impossible,
    no_answer,
    not_taken,
    parse_object,
    taken,
    tells_about_time,
    unreadable,
)
from passbell.passkit.credentials import ClockSkew, Credentials, Signer
from passbell.passkit.recipient import (
    OWNER_PATHS,
    Recipient,
    update_body,
    update_path,
    why_unaddressable,
)
from passbell.passkit.records import Exchange, RecordReader
from passbell.passkit.templates import Template, read_templates
from passbell.passkit.transport import check_base_url, connections, open_transport
from passbell.passkit.wire import MAX_BODY, UNPACED, BodyTooLong, NetworkTrouble, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    import httpx

    from passbell.passkit.wire import Caller

_UNAUTHORIZED = int(HTTPStatus.UNAUTHORIZED)  # compared with every answer; an enum's member costs more

NO_MEMBER = "0000000000000000000000"
"""A member id in PassKit's form (22 characters of base 62) that stands for the nil UUID, so no member has it."""


class PassKit:
    """One PassKit account in one region.

    Use as an async context manager. All methods may be called concurrently; at most `concurrency` requests
    are in flight. HTTP trouble is never raised, it is the returned `Answer`; what a caller raises passes through.

    Each request is made for a caller: the one that a method is given, or the client's own.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        message_key: str = "marketingMessage",
        timeout: float = 10.0,
        concurrency: int = 50,
        transport: Transport | httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        caller: Caller = UNPACED,
        after_call: Callable[[str, int | None, float], None] | None = None,
        http_client: str | None = None,
    ) -> None:
        """Nothing is connected before the first call.

        Args:
            base_url: such as https://api.pub1.passkit.io.
            credentials: of the account's REST API.
            message_key: key in `metaData`, without `meta.`, whose field carries the change message.
            timeout: seconds for one whole exchange.
            concurrency: requests in flight at most; over httpx no more than 20.
            transport: something else that speaks HTTP, a test's or a dry run's.
            clock: our unix seconds.
            caller: of the requests for which a method is given no other one: it takes a slot of the rate before
                each leaves. Without it, requests leave at once.
            after_call: told method, status (None without an answer) and seconds of each request.
            http_client: `auto`, `httptools` or `httpx`; None asks PASSBELL_HTTP_CLIENT, then `auto`.

        Raises:
            ValueError: bad base URL, client name or proxy.
        """
        base_url = check_base_url(base_url)
        http_client = http_client or os.environ.get("PASSBELL_HTTP_CLIENT") or "auto"
        if transport is None:
            concurrency = connections(base_url, http_client, concurrency)
        self.message_key = message_key
        self._credentials = credentials
        self._timeout = timeout
        self._clock = clock
        self._caller = caller
        self._after_call = after_call or _not_noted
        # One gate for all requests: waiting for a connection must not use up a request's deadline.
        self._gate = asyncio.Semaphore(concurrency)
        self._signer = Signer(credentials, clock)
        self._skew = ClockSkew()
        self._transport = (
            open_transport(base_url, concurrency=concurrency, client=http_client)
            if transport is None
            else _given(base_url, transport, concurrency)
        )
        self._reader = RecordReader(self._ask, clock=clock, workers=concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    @property
    def clock_skew(self) -> float:
        """Seconds that our clock is ahead of PassKit's, by its Date headers; 0.0 until more is known."""
        return self._skew.seconds

    async def read_metadata(
        self, recipients: Sequence[Recipient], caller: Caller | None = None
    ) -> dict[str, dict[str, str] | Answer]:
        """`metaData` of each recipient's record by pass id, or the answer that says why it is not known."""
        return await self._reader.read(recipients, caller or self._caller)

    async def push(
        self,
        recipient: Recipient,
        text: str,
        metadata: Mapping[str, str] | None,
        caller: Caller | None = None,
    ) -> Answer:
        """Write `text` where the wallet shows it as a message.

        PassKit replaces `metaData` as a whole, so everything the record shall keep must be in `metadata`.

        Args:
            recipient: whose record.
            text: the message, exactly as the phone shall show it.
            metadata: the record's present map; None to send the message key alone.
            caller: of this request; None is the client's own.
        """
        problem = why_unaddressable(recipient)
        if problem:
            return impossible(problem)
        # A key that is there keeps its place and a new one goes last: a repeat has identical bytes.
        try:
            body = update_body(recipient, {**(metadata or {}), self.message_key: text})
        except orjson.JSONEncodeError:
            return impossible("The message or the record's metaData holds characters that JSON cannot carry")
        exchange = await self._ask("PUT", update_path(recipient), body, caller)
        if recipient.passkit_id and exchange.answer.verdict is Verdict.SENT:
            echoed = (parse_object(exchange.body) or {}).get("id")
            if echoed is not None and echoed != recipient.passkit_id:
                self._distrust()
                return no_answer("PassKit's answer was about another record")
        return exchange.answer

    def _distrust(self) -> None:
        """An answer was another request's: what else is on the connections at rest belongs to no request."""
        distrust: Callable[[], None] | None = getattr(self._transport, "distrust", None)
        if distrust is not None:  # a transport that was handed in need not have connections
            distrust()

    async def probe(self, program_id: str | None = None, *, caller: Caller | None = None) -> Answer:
        """Ask whether PassKit is up and accepts our credentials, touching no member.

        The question is for a member who cannot exist, so "not found" is the good answer and becomes SENT; its
        detail keeps PassKit's sentence, which names `program_id` if that does not exist in this region.
        """
        path = f"/members/member/id/{NO_MEMBER}"
        if program_id and program_id not in {".", ".."}:
            path = f"/members/member/externalId/{quote(program_id, safe='')}/{NO_MEMBER}"
        answer = (await self._ask("GET", path, None, caller)).answer
        if (
            answer.verdict in {Verdict.NOT_FOUND, Verdict.REJECTED}
            and answer.http_status != HTTPStatus.NOT_IMPLEMENTED
        ):
            return Answer(Verdict.SENT, answer.http_status, answer.detail)
        return answer

    async def lacks(self, protocol: str, program_id: str) -> bool:
        """Whether PassKit says that it has no such program, coupon campaign or production in this region.

        A sentence of a 404 that does not name it is about something else, such as the path or the member.
        """
        if protocol not in OWNER_PATHS:
            return program_id in (await self.probe(program_id)).detail
        if program_id in {"", ".", ".."}:
            return True
        path = OWNER_PATHS[protocol] + quote(program_id, safe="")
        answer = (await self._ask("GET", path, None)).answer
        return (
            answer.verdict is Verdict.NOT_FOUND and program_id in answer.detail and path not in answer.detail
        )

    async def templates(self, protocol: str, program_id: str) -> list[Template] | None:
        """The designs that passes of a program use, None if PassKit does not tell; see `passkit.templates`."""
        return await read_templates(self._ask, protocol, program_id, self.message_key)

    async def _ask(
        self, method: str, path: str, body: bytes | None, caller: Caller | None = None
    ) -> Exchange:
        """One question; asked a second time only if PassKit finds the token's time wrong."""
        caller = caller or self._caller
        await self._gate.acquire()
        try:
            exchange = await self._ask_once(method, path, body, caller)
            if (
                exchange.answer.http_status == _UNAUTHORIZED
                and self._credentials.signs
                and tells_about_time(exchange.body)
            ):
                # The Date of that answer was believed at once: the second token is on PassKit's clock.
                self._signer.correct(self._skew.seconds)
                exchange = await self._ask_once(method, path, body, caller)
            return exchange
        finally:
            self._gate.release()

    async def _ask_once(self, method: str, path: str, body: bytes | None, caller: Caller) -> Exchange:
        if (wait := caller.take_slot()) is not None:
            await wait
        # Signed after the wait for a slot: PassKit refuses tokens that are a minute old.
        headers = _headers(self._signer.header(), with_body=body is not None)
        sent = self._clock()
        begun = time.monotonic()
        status: int | None = None
        complete = True
        try:
            status, received, content = await self._transport.request(
                method, path, body, headers, self._timeout, caller=caller
            )
        except NetworkTrouble as trouble:
            return Exchange(no_answer(str(trouble), self._credentials.secrets), b"")
        except BodyTooLong as long:
            status, received, content, complete = long.status, long.headers, long.body, False
        finally:
            self._after_call(method, status, time.monotonic() - begun)
        if "content-encoding" in received:
            content = decoded(content, received["content-encoding"], MAX_BODY)
            complete = complete and len(content) <= MAX_BODY
        complaint = status == _UNAUTHORIZED and tells_about_time(content)
        self._skew.observe(received.get("date", ""), sent, self._clock(), trust=complaint)
        answer = taken(status)
        if answer is None:
            secrets = (*self._credentials.secrets, headers["authorization"])
            refusal = not_taken(status, received, content, now=self._clock(), secrets=secrets)
            return Exchange(refusal, content)
        if not complete:
            return Exchange(
                unreadable(status, f"its body is longer than {MAX_BODY} bytes"), content, complete
            )
        if method != "POST":  # the lines of a list are judged by their reader
            value = parse_object(content)
            if value is None:
                answer = unreadable(status, "its body is not a JSON object")
            elif value.get("error"):
                answer = unreadable(status, "its body reports an error")
        return Exchange(answer, content)


@lru_cache(maxsize=4)  # one token serves thousands of requests of a fast campaign
def _headers(authorization: str, *, with_body: bool) -> Mapping[str, str]:
    headers = {
        "authorization": authorization,
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"passbell/{__version__}",
    }
    if with_body:
        headers["content-type"] = "application/json"
    return headers


def _not_noted(_method: str, _status: int | None, _seconds: float) -> None:
    pass


def _is_httpx(given: object) -> TypeGuard[httpx.AsyncBaseTransport]:
    import httpx  # noqa: PLC0415

    return isinstance(given, httpx.AsyncBaseTransport)


def _given(base_url: str, given: Transport | httpx.AsyncBaseTransport, concurrency: int) -> Transport:
    # A program that hands in an httpx transport has loaded httpx; the daemon does without it.
    if "httpx" not in sys.modules or not _is_httpx(given):
        return cast("Transport", given)
    from passbell.passkit.over_httpx import HttpxTransport  # noqa: PLC0415 - loads httpx

    return HttpxTransport(base_url, concurrency=concurrency, inner=given)
