"""What a download can end with, and what to do about each.

    PassbellError
    └── FetchError
        ├── FetchRefused   the link breaks a rule of ours, nothing was sent there: the person must change it
        └── FetchFailed    the server, the network or the file: `temporary` says whether trying again may help

`str(error)` is one plain sentence that goes into `status_detail` for a person who sees a form, not a log. It
may name the server that the person named; never a query string, a path, or an address that a name resolved
to.
"""

from __future__ import annotations

from passbell.errors import PassbellError

__all__ = ["FetchError", "FetchFailed", "FetchRefused"]


class FetchError(PassbellError):
    """The file was not downloaded; whatever was written so far must be thrown away.

    Attributes:
        temporary: the same link may work later (network, time-out, 429, 5xx).
    """

    def __init__(self, sentence: str, *, temporary: bool = False) -> None:
        super().__init__(sentence)
        self.temporary = temporary


class FetchRefused(FetchError):
    """The link, a redirect behind it, or an address it leads to is not allowed: never retry."""


class FetchFailed(FetchError):
    """The link is allowed, but no usable file came."""
