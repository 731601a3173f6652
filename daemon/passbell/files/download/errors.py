"""What a download can end with, and the sentence for each answer and each failure of the network.

    PassbellError
    └── FetchError
        ├── FetchRefused   the link breaks a rule of ours, nothing was sent there: the person must change it
        └── FetchFailed    the server, the network or the file: `temporary` says whether trying again may help

`str(error)` is one plain sentence. It goes into `status_detail`, for a person who sees a form and not a log. It may
name the server that the person named; never a query string, a path, or an address that a name resolved to.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus

import httpcore

from passbell.errors import PassbellError

__all__ = ["FetchError", "FetchFailed", "FetchRefused", "for_network", "for_status"]


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


_SERVER_ERRORS = 500

# X.509 verification codes of OpenSSL (verify(1)).
_EXPIRED = frozenset({9, 10})  # not yet valid, has expired
_UNTRUSTED = frozenset({18, 19, 20, 21})  # self-signed, in the chain too; issuer unknown
_WRONG_NAME = frozenset({62, 64})  # host name, IP address


def for_status(status: int, host: str) -> FetchFailed:
    """What an HTTP status other than 200, or a redirect to nowhere, means for the person with the link."""
    match status:
        case HTTPStatus.BAD_REQUEST:  # what Supabase Storage says of an expired token and of a missing file
            return FetchFailed(
                f"{host} does not accept the link (400): it has expired or is incomplete; create a new one."
            )
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return FetchFailed(
                f"{host} does not give the file to everyone with the link ({status});"
                " share it publicly, or create a new signed link."
            )
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            return FetchFailed(
                f"There is no file behind the link ({status}); upload it again, or copy the link once more."
            )
        case HTTPStatus.REQUEST_TIMEOUT | HTTPStatus.TOO_EARLY | HTTPStatus.TOO_MANY_REQUESTS:
            return FetchFailed(f"{host} asks us to come back later ({status}).", temporary=True)
        case _ if status >= _SERVER_ERRORS:
            return FetchFailed(f"{host} has trouble of its own ({status}); try again later.", temporary=True)
        case _:
            return FetchFailed(f"{host} answered with status {status} instead of the file.")


def for_network(error: Exception, host: str) -> FetchFailed:
    """What went wrong on the way. The text of the error itself may hold addresses: it is not used."""
    tls = _tls_error(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return FetchFailed(f"{host} cannot prove who it is: {_why_untrusted(tls.verify_code)}.")
    if tls is not None:
        return FetchFailed(f"No secure connection to {host} could be made (TLS).")
    match error:
        case httpcore.ConnectTimeout():
            return FetchFailed(f"{host} did not answer in time.", temporary=True)
        case httpcore.TimeoutException():
            return FetchFailed(f"{host} stopped sending in the middle of the file.", temporary=True)
        case httpcore.ConnectError():
            return FetchFailed(f"{host} cannot be reached; try again later.", temporary=True)
        case _:
            return FetchFailed(
                f"{host} broke off, or sent something that is not proper HTTP; try again.", temporary=True
            )


def _why_untrusted(code: int) -> str:
    if code in _EXPIRED:
        return "its certificate is not valid today"
    if code in _WRONG_NAME:
        return "its certificate belongs to another name"
    if code in _UNTRUSTED:
        return "its certificate comes from an unknown authority, or is self-signed"
    return "its certificate is not valid"


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Find the TLS error that httpcore has wrapped, however deep."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
