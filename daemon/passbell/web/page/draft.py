"""The fields of the form in which a campaign is written."""

from __future__ import annotations

import uuid  # noqa: TC003 - pydantic reads it at run time
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from passbell.blank import is_blank
from passbell.web.api.models import Text  # noqa: TC001 - pydantic reads it at run time
from passbell.web.calls.campaigns import Order
from passbell.web.errors import ApiError

if TYPE_CHECKING:
    from datetime import datetime

    from passbell.web.calls.page import DraftRow

__all__ = ["Draft", "dropped"]

MOST_HELD: Final = 50
FIELDS_OF: Final = {"segment": ("segment", "parameter", "also", "also_parameter"), "csv": ("encoding",)}
"""The fields that belong to one kind of audience; the page sends them with that one alone."""


class Draft(BaseModel):
    """The fields of the form.

    Audience and time have to be said: a form that lost one of them would otherwise go to everybody, or at once.
    """

    model_config = ConfigDict(extra="ignore")

    program: uuid.UUID | None = None
    message: Text = ""
    audience: Literal["", "all", "segment", "csv", "kept"] = ""
    segment: Text = ""
    parameter: Text = ""
    also: Text = ""
    also_parameter: Text = ""
    when: Literal["", "now", "later"] = ""
    at: Text = ""
    name: Text = ""
    holdout: Annotated[str, Field(max_length=8)] = ""
    draft: Annotated[str, Field(max_length=40)] = ""
    kept: Text = ""
    member: str = ""
    encoding: Annotated[Text, Field(max_length=40)] = ""

    @classmethod
    def of(cls, row: DraftRow, segments: set[str]) -> Self:
        """Put a draft into the fields of the form; an audience that has no fields there is kept as it is."""
        form = cls(
            audience="all",
            program=row.program_id,
            message=row.message or "",
            name=row.name or "",
            when="later" if row.at_local else "now",
            at=row.at_local or "",
            holdout=f"{row.holdout_percent:g}" if row.holdout_percent is not None else "",
            draft=str(row.campaign_id),
            kept=row.target,
        )
        parts = [[piece.strip() for piece in part.split(":", 1)] for part in row.target.split("&")]
        if row.target.strip().upper() == "ALL" and not row.is_list:
            return form
        if not row.is_list and len(parts) <= 2 and all(part[0].upper() in segments for part in parts):  # noqa: PLR2004
            first, *also = [(part[0].upper(), part[1] if len(part) > 1 else "") for part in parts]
            second = also[0] if also else ("", "")
            return form.model_copy(
                update={
                    "audience": "segment",
                    "segment": first[0],
                    "parameter": first[1],
                    "also": second[0],
                    "also_parameter": second[1],
                }
            )
        return form.model_copy(update={"audience": "kept"})

    @property
    def target(self) -> str:
        """The audience as the database reads it.

        Raises:
            ApiError: none is said, or a part of what is said would be dropped.
        """
        said = {"": "", "all": "ALL", "segment": self.segment, "csv": "CSV", "kept": self.kept}[self.audience]
        if is_blank(said):
            raise ApiError(400, "AUDIENCE_REQUIRED", "Choose an audience first.")
        for audience, fields in FIELDS_OF.items():
            for name in fields if audience != self.audience else ():
                if not is_blank(getattr(self, name)):
                    raise dropped(name, "audience", audience)
        if self.audience != "segment":
            return said
        if is_blank(self.also) and not is_blank(self.also_parameter):
            raise ApiError(400, "AUDIENCE_REQUIRED", "Choose the segment that the second value belongs to.")
        parts = [(self.segment, self.parameter), (self.also, self.also_parameter)]
        return " & ".join(
            f"{name}:{value.strip()}" if value.strip() else name
            for name, value in parts
            if not is_blank(name)
        )

    @property
    def later(self) -> bool:
        """Whether the form names a time.

        Raises:
            ApiError: there is a time, but the form does not say that it counts.
        """
        if self.when != "later" and not is_blank(self.at):
            raise dropped("at", "when", "later")
        return self.when == "later"

    @property
    def held_back(self) -> float | None:
        """The share to hold back, None for the program's own."""
        text = self.holdout.strip().removesuffix("%").strip().replace(",", ".")
        if not text:
            return None
        try:
            percent = float(text)
        except ValueError:
            percent = -1.0
        if not 0 <= percent <= MOST_HELD:
            raise ApiError(400, "HOLDOUT", "Hold back a share from 0 to 50 %.")
        return percent

    def order(self, at: datetime | None, expected: int | None = None) -> Order:
        """Return what the form orders."""
        program, message = self.required()
        return Order(
            program,
            message,
            self.target,
            self.name.strip() or None,
            at,
            expected,
            holdout_percent=self.held_back,
        )

    def required(self) -> tuple[uuid.UUID, str]:
        """Insist on a program and a message."""
        if self.program is None:
            raise ApiError(400, "PROGRAM_REQUIRED", "Choose a program first.")
        if not self.message.strip():
            raise ApiError(400, "MESSAGE_REQUIRED", "Write a message first.")
        return self.program, self.message


def dropped(name: str, choice: str, value: str) -> ApiError:
    """Return the refusal of a field that would be left out of the order."""
    problem = f'is given, but {choice} is not "{value}"'
    return ApiError(
        422, "CONFLICTING_FIELDS", f"{name} {problem}.", details=[{"field": name, "problem": problem}]
    )
