"""Answers and errors of the network, in words for a person who cannot see the network."""

from __future__ import annotations

import ssl
from http import HTTPStatus

import httpcore

from passbell.files.download.errors import FetchFailed

__all__ = ["for_network", "for_status"]

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
