"""Which program a request is about, and at which time: read by all calls in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from passbell.web.errors import ApiError

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from passbell.web.context import Context

__all__ = ["MULTIPART", "find_program", "given", "moment", "named_program", "required_program"]

MULTIPART: Final = "multipart/form-data"


class Scoped(Protocol):
    """A body that names a program, and what the platform's own service says beside it."""

    program_id: str | None
    tenant_id: str | None
    protocol: str | None


def required_program(program: str | None) -> str:
    """Insist on a program."""
    if not (program and program.strip()):
        raise ApiError(400, "PROGRAM_REQUIRED", "Program ID required")
    return program


def given(program: str | None, message: str | None) -> tuple[str, str]:
    """Insist on a program and a message, with the sentence of the platform's own service."""
    if not (program and program.strip() and message and message.strip()):
        raise ApiError(400, "MESSAGE_AND_PROGRAM_REQUIRED", "Message and Program ID required")
    return program, message


async def find_program(web: Context, order: Scoped) -> UUID:
    """Find the program of an order; refuse a tenant or protocol that is not the program's."""
    program = await web.calls.find_program(order.program_id or "")
    await web.calls.require_scope(program, order.tenant_id, order.protocol)
    return program


async def moment(web: Context, program: UUID, at: datetime | None) -> datetime | None:
    """Read a time without an offset by the program's own clock."""
    if at is None or at.tzinfo is not None:
        return at
    return await web.calls.moment(program, at.isoformat())


async def named_program(web: Context, order: Scoped) -> UUID | None:
    """Find the program that is named; None stands for all programs."""
    if order.program_id is not None:
        return await find_program(web, order)
    if order.tenant_id is not None or order.protocol is not None:
        raise ApiError(
            400, "PROGRAM_REQUIRED", "Program ID required: a tenant or a protocol alone names no program."
        )
    return None
