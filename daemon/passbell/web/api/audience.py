"""The audience of an order, in our words and in those of the platform's own service.

The service named a segment and put its values beside it: `{"segment": "GEO", "segmentConfig": {"zipCodes": [...]}}`.
Each value belongs to one segment. A value that the named segment does not use is refused, not dropped, because
dropping it could widen the order.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from passbell.web.api.strict import refuse_unknown
from passbell.web.calls import Shape

__all__ = ["MAX_TARGET", "Entries", "Known", "SegmentConfig", "read_audience"]

MAX_TARGET: Final = 200_000
_MAX_POINTS: Final = Decimal(999_999_999_999)
_DECIMALS: Final = 6
_MAX_DAYS: Final = 36_500
_SYNTAX: Final = frozenset(",&*")
# Which value belongs to which segment, under all of the segment's names, and how ours spells it.
_VALUE_OF: Final = {
    "VIP": "vipThreshold",
    "DORMANT": "dormantDays",
    "SLUMBER": "dormantDays",
    "GEO": "zipCodes",
    "ZIP": "zipCodes",
    "LOCAL": "zipCodes",
    "CITY": "cities",
    "CSV": "memberIds",
    "IDS": "memberIds",
}
_OURS: Final = {
    "vipThreshold": "POINTS",  # the platform's VIP is a balance of at least so many points
    "dormantDays": "SLUMBER",
    "zipCodes": "LOCAL",
    "cities": "CITY",
    "memberIds": "IDS",
}


class Known(Shape):
    """The root of all bodies: what it does not know is refused with the nearest name."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, data: Any) -> Any:
        if isinstance(data, dict):
            refuse_unknown(cls, data)
        return data


def _points(value: Any) -> Any:
    try:
        number = Decimal(str(value).strip()) if not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or not 0 < number <= _MAX_POINTS:
        raise ValueError("must be a number of points above 0")
    if round(number, _DECIMALS) != number:
        raise ValueError(f"must have at most {_DECIMALS} decimals")
    return f"{number.normalize():f}"


def _days(value: Any) -> Any:
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= _MAX_DAYS):
        raise ValueError("must be a whole number of days above 0")
    return str(int(text))


def _entries(value: Any) -> Any:
    """Read a list, or a text with commas; empty entries do not count."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list):
        raise ValueError("must be a list")  # noqa: TRY004 - pydantic wants ValueError
    found = []
    for entry in value:
        if isinstance(entry, bool) or not isinstance(entry, str | int):
            raise ValueError("must be a list of texts")  # noqa: TRY004
        text = str(entry).strip()
        if _SYNTAX & set(text) or not text.isprintable():
            raise ValueError(
                f"an entry cannot hold any of , & * here: send the list as csvFile ({text[:40]})"
            )
        if text:
            found.append(text)
    return found


Entries = Annotated[list[str], BeforeValidator(_entries)]


class SegmentConfig(Known):
    """The values of a segment, as the platform's own service takes them."""

    vip_threshold: Annotated[str, BeforeValidator(_points, json_schema_input_type=float)] | None = Field(
        default=None, description="With VIP: a balance of at least so many points", examples=[500]
    )
    dormant_days: Annotated[str, BeforeValidator(_days, json_schema_input_type=int)] | None = Field(
        default=None, description="With DORMANT: no activity for more than so many days", examples=[30]
    )
    zip_codes: Entries | None = Field(
        default=None, description="With GEO: these zip codes", examples=[["90210", "10001"]]
    )
    cities: Entries | None = Field(
        default=None, description="With CITY: these cities", examples=[["Springfield"]]
    )
    member_ids: Entries | None = Field(
        default=None, description="With CSV: these members", examples=[["M-1042"]]
    )

    def is_null(self, name: str) -> bool:
        """Whether the value is there and says nothing: a variable that was not set, or a NaN."""
        return any(
            field in self.model_fields_set and getattr(self, field) is None
            for field, info in type(self).model_fields.items()
            if info.alias == name
        )

    def values(self) -> dict[str, str]:
        """The values that are there, as a target spells them."""
        dumped = self.model_dump(by_alias=True, exclude_none=True)
        texts = {name: value if isinstance(value, str) else ",".join(value) for name, value in dumped.items()}
        return {name: text for name, text in texts.items() if text}


def conflict(said: str) -> PydanticCustomError:
    """Return the error for values that contradict each other."""
    return PydanticCustomError("conflict", "{said}", {"said": said})


def read_audience(segment: str | None, target: str | None, config: SegmentConfig | None) -> str:
    """Return the audience as the database reads it; ALL if nothing was said about it.

    Raises:
        PydanticCustomError: the values contradict each other.
    """
    if segment is not None and target is not None and _folded(segment) != _folded(target):
        raise conflict("`segment` and `target` are the same thing and differ here: send one of them")
    named = segment if segment is not None else target
    values = {} if config is None else config.values()
    if named is None:
        if config is not None and config.model_fields_set:
            raise conflict("`segmentConfig` needs the `segment` that its values belong to")
        return "ALL"
    wanted = _VALUE_OF.get(_folded(named))
    for name in values:
        if name != wanted:
            belongs = next(n for n, value in _VALUE_OF.items() if value == name)
            raise conflict(
                f"`segmentConfig.{name}` belongs to the segment {belongs}, not to {named.strip()[:40]}"
            )
    if config is not None and wanted is not None and config.is_null(wanted):
        raise conflict(f"`segmentConfig.{wanted}` is null: give the segment its value, or leave it out")
    if not values or wanted is None:
        return named
    found = f"{_OURS[wanted]}:{values[wanted]}"
    if len(found) > MAX_TARGET:
        raise conflict(f"`segmentConfig.{wanted}` is too long: send the list as csvFile")
    return found


def _folded(name: str) -> str:
    return "".join(name.upper().split())
