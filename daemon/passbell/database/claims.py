"""The token of a claim, chosen by its caller.

A claim whose answer was lost may have been entered or not. Its token is known either way, so the claim is asked for
again under the same token, and the database answers with what is held under it (sql/functions/33_claimed_again.sql).
"""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

__all__ = ["Claim", "Claims"]

PATIENCE: Final = 5
"""How often a claim is asked for again while the database says that its earlier call is still under way. Any login may
hold the lock that says so; what is held under the token is free when its lease has run out."""


class Claim(NamedTuple):
    """The token of one claim. `again`: an earlier call with it had no answer, or its work was interrupted."""

    token: UUID
    again: bool = False


class Claims:
    """Chooses the tokens of one kind of claim; any number of claims may be under way at once."""

    def __init__(self) -> None:
        self._open: list[UUID] = []
        self._locked: Counter[UUID] = Counter()

    @property
    def unsettled(self) -> bool:
        """Whether something may be held under a token: its claim got no answer, or its work was interrupted."""
        return bool(self._open)

    @contextlib.contextmanager
    def next(self) -> Iterator[Claim]:
        """A token for the block. If the block raises, the token is handed out again, for the same claim."""
        claim = Claim(self._open.pop(), again=True) if self._open else Claim(uuid.uuid4())
        try:
            yield claim
        except BaseException as error:
            if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                self._locked[claim.token] += 1
            if self._locked[claim.token] < PATIENCE:
                self._open.append(claim.token)
            else:
                del self._locked[claim.token]
            raise
        self._locked.pop(claim.token, None)
