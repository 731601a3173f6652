"""Bodies and answers of the HTTP API, with the examples that /docs shows."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID  # noqa: TC003

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from passbell.web.rows import Shape

__all__ = [
    "REFUSALS",
    "BirthdayOrder",
    "Broadcast",
    "ErrorBody",
    "Moment",
    "Ordered",
    "PreviewOrder",
    "Result",
    "Targeted",
    "Text",
]

PROGRAM: Final = "6f1c9c1e-0d3f-4a0e-9a43-5d1f6f6f3a10"
_FIRST_YEAR, _LAST_YEAR = 2000, 2199


def _storable(value: str) -> str:
    """PostgreSQL stores no NUL, and UTF-8 has no lone surrogates."""
    if "\0" in value:
        raise ValueError("must not contain NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return value


def _plausible(value: datetime) -> datetime:
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(f"must be between {_FIRST_YEAR} and {_LAST_YEAR}")
    return value


Text = Annotated[str, AfterValidator(_storable)]
Moment = Annotated[
    datetime,
    AfterValidator(_plausible),
    Field(description="ISO 8601; without an offset it is the wall clock of the program's zone"),
]
Count = Annotated[int, Field(ge=0, le=2_147_483_647)]
ProgramId = Annotated[
    Text,
    Field(max_length=200, description="The program's UUID or its PassKit program id", examples=[PROGRAM]),
]
Target = Annotated[
    Text,
    Field(
        max_length=200_000,
        description="ALL, VIP[:points], WHALE[:points], SLUMBER[:days], LOCAL:zip,…, CITY:name,…, TIER:1..4,"
        " IDS:a,b,… or any name of GET /api/segments; & intersects",
        examples=["WHALE & LOCAL:90210"],
    ),
]
Message = Annotated[
    Text, Field(max_length=20_000, examples=["Hi {first_name|there}, you have {points} points"])
]


class Broadcast(Shape):
    """An order: what to say in which program, to whom, and when."""

    model_config = ConfigDict(
        json_schema_extra={
            "required": ["programId", "message"],
            "example": {
                "programId": PROGRAM,
                "message": "Hi {first_name|there}, double points today!",
                "segment": "VIP",
            },
        }
    )

    program_id: ProgramId | None = None
    message: Message | None = None
    segment: Target | None = None
    name: Annotated[Text, Field(max_length=200)] | None = None
    scheduled_at: Moment | None = None
    expected: Count | None = Field(
        default=None,
        description="The number of phones that was shown and confirmed; 409 if it is another one by now",
    )


class BirthdayOrder(Shape):
    """Which birthdays; everything may be left out."""

    model_config = ConfigDict(json_schema_extra={"example": {"programId": PROGRAM, "dryRun": True}})

    program_id: ProgramId | None = None
    on: date | None = Field(
        default=None, description="The birthdays of this date instead of today's, in each program's zone"
    )
    dry_run: bool = Field(default=False, description="Only list whose birthday it is")


class PreviewOrder(Shape):
    """Whom to count."""

    model_config = ConfigDict(
        json_schema_extra={
            "required": ["programId"],
            "example": {"programId": PROGRAM, "segment": "SLUMBER:60"},
        }
    )

    program_id: ProgramId | None = None
    segment: Target | None = None
    message: Message | None = None


class Ordered(Shape):
    """A campaign that was created. The last three only with `wait`."""

    campaign_id: UUID
    total: int
    status: str
    sent: int | None = None
    failed: int | None = None
    skipped: int | None = None


class Targeted(Shape):
    """A campaign from an uploaded list: whom it reaches, and rows that are nobody we know."""

    success: Literal[True] = True
    targeted: int = Field(examples=[500])
    unmatched: int = Field(examples=[12])
    campaign_id: UUID


Content = TypeVar("Content")


class Result(Shape):
    """Every other answer: `success` and `result`; lists that have more carry `next` for `?after=`."""

    success: Literal[True] = True
    result: Any
    next: str | None = None


class ErrorBody(BaseModel):
    """Every error."""

    success: Literal[False] = False
    error: str = Field(examples=["Message and Program ID required"])
    code: str = Field(examples=["MESSAGE_AND_PROGRAM_REQUIRED"])
    details: Any = None


REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorBody, "description": words}
    for status, words in {
        400: "The order cannot be carried out as it is",
        401: "No API key, or an unknown one",
        404: "There is no such program, campaign or address",
        405: "Another method is needed",
        409: "The audience moved, the edge is illegal, or the Idempotency-Key belongs to another request",
        413: "Too large",
        422: "The request is malformed",
        429: "Too many requests",
        503: "The database does not answer",
    }.items()
}
