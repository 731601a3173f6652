"""The fields of the form in which a campaign is written."""

from __future__ import annotations

import uuid  # noqa: TC003 - pydantic reads it at run time
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from passbell.web.api.models import Text  # noqa: TC001 - pydantic reads it at run time
from passbell.web.errors import ApiError

if TYPE_CHECKING:
    from passbell.web.page.asks import DraftRow

__all__ = ["Draft"]

MOST_HELD: Final = 50


class Draft(BaseModel):
    """The fields of the form."""

    model_config = ConfigDict(extra="ignore")

    program: uuid.UUID | None = None
    message: Text = ""
    audience: Literal["all", "segment", "csv", "kept"] = "all"
    segment: Text = ""
    parameter: Text = ""
    also: Text = ""
    also_parameter: Text = ""
    when: Literal["now", "later"] = "now"
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
        """The audience as the database reads it."""
        if self.audience == "csv":
            return "CSV"
        if self.audience == "kept":
            if not self.kept.strip():
                raise ApiError(400, "AUDIENCE_REQUIRED", "Choose an audience first.")
            return self.kept
        if self.audience != "segment":
            return "ALL"
        parts = [(self.segment, self.parameter), (self.also, self.also_parameter)]
        if not self.segment.strip():
            raise ApiError(400, "AUDIENCE_REQUIRED", "Choose an audience first.")
        return " & ".join(
            f"{name}:{value.strip()}" if value.strip() else name for name, value in parts if name
        )

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

    def required(self) -> tuple[uuid.UUID, str]:
        """Insist on a program and a message."""
        if self.program is None:
            raise ApiError(400, "PROGRAM_REQUIRED", "Choose a program first.")
        if not self.message.strip():
            raise ApiError(400, "MESSAGE_REQUIRED", "Write a message first.")
        return self.program, self.message
