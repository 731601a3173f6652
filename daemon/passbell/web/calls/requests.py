"""Sessions of the page, and requests with an Idempotency-Key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from passbell.web.calls.base import Asked

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Begun", "RequestCalls"]


class Begun(NamedTuple):
    """What begin_request said: state is new, replay, running or different."""

    state: str
    campaign_id: UUID | None
    status: int | None
    answer: Any


class RequestCalls(Asked):
    """Sessions of the page, and requests with an Idempotency-Key."""

    async def open_session(self, digest: str, name: str, seconds: int) -> None:
        """Begin a session."""
        await self._database.fetch(
            "select passbell.open_session(p_digest => %(digest)s, p_name => %(name)s,"
            " p_seconds => %(seconds)s)",
            {"digest": digest, "name": name, "seconds": seconds},
        )

    async def session_holds(self, digest: str, name: str) -> bool:
        """Whether the session is neither too old nor signed out."""
        return bool(
            await self._value(
                "select passbell.session_holds(p_digest => %(digest)s, p_name => %(name)s)",
                {"digest": digest, "name": name},
                5.0,
            )
        )

    async def end_session(self, digest: str) -> None:
        """End a session."""
        await self._database.fetch("select passbell.end_session(p_digest => %(digest)s)", {"digest": digest})

    async def begin_request(self, owner: str, key: str, fingerprint: str) -> Begun:
        """Enter a request with an idempotency key."""
        row = await self._database.row(
            "select * from passbell.begin_request(p_owner => %(owner)s, p_key => %(key)s,"
            " p_fingerprint => %(fingerprint)s)",
            {"owner": owner, "key": key, "fingerprint": fingerprint},
        )
        assert row is not None  # noqa: S101 - the function always returns one row
        return Begun(*row)

    async def end_request(self, owner: str, key: str, status: int, answer: str) -> None:
        """Keep the answer (JSON)."""
        await self._database.fetch(
            "select passbell.end_request(p_owner => %(owner)s, p_key => %(key)s,"
            " p_status => %(status)s, p_answer => %(answer)s::json)",
            {"owner": owner, "key": key, "status": status, "answer": answer},
        )

    async def forget_request(self, owner: str, key: str) -> None:
        """Forget a request that created nothing."""
        await self._database.fetch(
            "select passbell.forget_request(p_owner => %(owner)s, p_key => %(key)s)",
            {"owner": owner, "key": key},
        )
