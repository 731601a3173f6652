"""Bodies and answers of the HTTP API, with the examples that /docs shows."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Final, Generic, Literal, Self, TypeVar
from uuid import UUID  # noqa: TC003

from fastapi import UploadFile  # noqa: TC002
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from passbell.blank import is_blank
from passbell.web.api.audience import MAX_TARGET, Entries, Known, SegmentConfig, conflict, read_audience
from passbell.web.calls import Shape
from passbell.web.calls.programs import Outlook, Preview, Sample

__all__ = [
    "Audience",
    "BirthdayOrder",
    "Broadcast",
    "Counted",
    "ImportOrder",
    "ListOrder",
    "Message",
    "Moment",
    "Ordered",
    "PlanOrder",
    "PlatformIds",
    "PlatformListOrder",
    "PreviewOrder",
    "ProgramId",
    "Rehearsed",
    "Result",
    "Scope",
    "Targeted",
    "TargetedOrder",
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
        max_length=MAX_TARGET,
        description="ALL, VIP[:points], WHALE[:points], SLUMBER[:days], LOCAL:zip,…, CITY:name,…, TIER:1..4,"
        " IDS:a,b,… or any name of GET /api/segments; & intersects",
        examples=["WHALE & LOCAL:90210"],
    ),
]
Message = Annotated[
    Text, Field(max_length=20_000, examples=["Hi {first_name|there}, you have {points} points"])
]


def _given(value: Any) -> Any:
    """Refuse an audience that is null or blank: it is usually a variable that was not set."""
    if value is None or (isinstance(value, str) and is_blank(value)):
        raise ValueError("must name an audience, such as ALL; leave it out for everybody")
    return value


def _no_null(value: Any) -> Any:
    if value is None or (isinstance(value, str) and is_blank(value)):
        raise ValueError("must not be empty; leave it out instead")
    return value


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic wants ValueError
    return value


Named = Annotated[Target | SkipJsonSchema[None], BeforeValidator(_given)]
TenantId = Annotated[
    Text,
    Field(max_length=200, description="Of the platform's own service: the program must be this tenant's"),
]
Protocol = Annotated[
    Text,
    Field(
        max_length=40,
        description="Of the platform's own service: the program must be of this kind",
        examples=["MEMBERSHIP"],
    ),
]


class Scope(Known):
    """Which program, and what the platform's own service says beside it."""

    program_id: ProgramId | None = None
    tenant_id: TenantId | None = None
    protocol: Protocol | None = None


class Audience(Scope):
    """Who in a program. `audience` is what the database reads."""

    segment: Named = Field(default=None, validate_default=False)
    target: Named = Field(default=None, validate_default=False, description="The same as `segment`")
    segment_config: SegmentConfig | None = None
    _audience: str = PrivateAttr("ALL")

    @model_validator(mode="after")
    def _read_audience(self) -> Self:
        self._audience = read_audience(self.segment, self.target, self.segment_config)
        return self

    @property
    def audience(self) -> str:
        """The target, with the values of `segmentConfig` in it."""
        return self._audience


class Broadcast(Audience):
    """An order: program, message, audience and time.

    The one place that decides what an order may say: /broadcast, its rehearsal and the calls of the platform's own
    service read this model. A new field is a line here.
    """

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

    message: Message | None = None
    name: Annotated[Text, Field(max_length=200)] | None = None
    campaign_name: Annotated[Text, Field(max_length=200, description="The same as `name`")] | None = None
    scheduled_at: Moment | None = None
    expected: Annotated[Count, BeforeValidator(_no_flag)] | None = Field(
        default=None,
        description="The number of phones that was shown and confirmed; 409 if it is another one by now",
    )
    holdout_percent: Annotated[float, Field(ge=0, le=50), BeforeValidator(_no_flag)] | None = Field(
        default=None, description="How many in 100 are held back by lot; the program's share if left out"
    )
    measure_days: Annotated[int, Field(ge=1, le=60), BeforeValidator(_no_flag)] | None = Field(
        default=None, description="For how many days afterwards a visit counts; 7 if left out"
    )
    priority: Annotated[int, Field(ge=0, le=9), BeforeValidator(_no_flag)] | None = Field(
        default=None,
        description="Of two that are due, the one with the higher number is sent first; 5 by default",
    )

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if self.name is not None and self.campaign_name is not None and self.name != self.campaign_name:
            raise conflict("`name` and `campaignName` are the same thing and differ here: send one of them")
        return self

    @property
    def title(self) -> str | None:
        """The campaign's name, under either spelling."""
        return self.name if self.name is not None else self.campaign_name


class PlatformIds(Broadcast):
    """An order whose list is `memberIds`, beside the message or in `segmentConfig`."""

    member_ids: Entries | None = None

    @model_validator(mode="after")
    def _read_list(self) -> Self:
        if self.member_ids is not None:
            if self.segment_config is not None or (self.segment or self.target or "CSV").upper() != "CSV":
                raise conflict("`memberIds` is the audience: send no other beside it")
            self._audience = read_audience("CSV", None, SegmentConfig(member_ids=self.member_ids))
        if not self._audience.startswith("IDS:"):
            raise conflict("`memberIds` is required here, with at least one id")
        return self


class BirthdayOrder(Known):
    """Which birthdays; everything may be left out."""

    model_config = ConfigDict(json_schema_extra={"example": {"programId": PROGRAM, "dryRun": True}})

    program_id: Annotated[ProgramId | SkipJsonSchema[None], BeforeValidator(_no_null)] = Field(
        default=None, validate_default=False
    )
    tenant_id: TenantId | None = None
    protocol: Protocol | None = None
    on: date | None = Field(
        default=None, description="The birthdays of this date instead of today's, in each program's zone"
    )
    dry_run: bool = Field(default=False, description="Only list whose birthday it is")


class PreviewOrder(Audience):
    """The audience to count."""

    model_config = ConfigDict(
        json_schema_extra={
            "required": ["programId"],
            "example": {"programId": PROGRAM, "segment": "SLUMBER:60"},
        }
    )

    message: Message | None = None
    scheduled_at: Moment | None = Field(default=None, description="What holds an order for this time back")


class PlanOrder(Audience):
    """The audience of an order, and the share that it would hold back."""

    model_config = ConfigDict(
        json_schema_extra={
            "required": ["programId"],
            "example": {"programId": PROGRAM, "segment": "ALL", "holdoutPercent": 10},
        }
    )

    holdout_percent: Annotated[float, Field(ge=0, le=50), BeforeValidator(_no_flag)] = 10


ENCODING: Final = "Of the file, where it was guessed wrong: cp1250, Shift_JIS …"
Encoding = Annotated[Text, Field(max_length=40)] | None


class ListOrder(Known):
    """A form: program, message, and a list of members. Without a list, blast goes to all members."""

    model_config = ConfigDict(json_schema_extra={"required": ["programId", "message"]})

    program_id: ProgramId | None = None
    message: Message | None = None
    csv_file: UploadFile | None = Field(
        default=None, description="A CSV with a column member_id, external_id or pass_id"
    )
    encoding: Encoding = Field(default=None, description=ENCODING)


class TargetedOrder(ListOrder):
    """The same with a list that has to be there."""

    model_config = ConfigDict(json_schema_extra={"required": ["programId", "message", "csvFile"]})


class PlatformListOrder(TargetedOrder):
    """The same as the platform's own service sends it."""

    tenant_id: TenantId | None = None
    protocol: Protocol | None = None
    campaign_name: Annotated[Text, Field(max_length=200)] | None = None


class ImportOrder(Known):
    """A form: the members to create and update."""

    model_config = ConfigDict(json_schema_extra={"required": ["programId", "csvFile"]})

    program_id: ProgramId | None = None
    csv_file: UploadFile | None = Field(default=None, description="A CSV of members")
    dry_run: bool = Field(default=False, description="Report, and change nothing")
    encoding: Encoding = Field(default=None, description=ENCODING)


class Ordered(Shape):
    """A campaign that was created. The last three only with `wait`."""

    campaign_id: UUID
    total: int
    status: str
    starts_at: datetime | None = None
    notice: str | None = None
    sent: int | None = None
    failed: int | None = None
    skipped: int | None = None


class Counted(Preview, Outlook):
    """The count of an audience, and when an order could begin."""


class Rehearsed(Counted):
    """What an order would do. `total` is what the order itself would answer."""

    total: int
    samples: list[Sample]
    warnings: list[str] = Field(description="Merge tags of other tools, with the right spelling")


class Targeted(Shape):
    """A campaign from an uploaded list: how many members it reaches, and how many rows match none."""

    success: Literal[True] = True
    targeted: int = Field(examples=[500])
    unmatched: int = Field(examples=[12])
    campaign_id: UUID
    starts_at: datetime | None = None
    notice: str | None = None


Content = TypeVar("Content")


class Result(Shape, Generic[Content]):
    """Every other answer: `success` and `result`; lists that have more carry `next` for `?after=`."""

    success: Literal[True] = True
    result: Content
    next: str | None = None
