"""Who may call: the short-lived JWT of the REST credentials, or the long-lived token.

As PassKit does it: `Authorization: <jwt>` bare or after `Bearer `, HS256 over the raw bytes of the secret,
claims `uid`, `iat` and `exp` in seconds. A token must not come from the future and must not be a minute
old. The long-lived token is opaque and only known after `Bearer `. Any other scheme word is read as part
of the token, hence the complaint about base64 at the byte where the word ends.
"""

from __future__ import annotations

import base64
import hmac
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from passbell.devkit.sandbox.options import Options

__all__ = ["Gate", "Token"]

_CACHE = 10_000


class Token(NamedTuple):
    """What a header said, once its signature was right."""

    issued: float = 0.0
    expires: float = 0.0
    opaque: bool = False


class Gate:
    """Checks the `Authorization` header.

    The signature of a header is checked once and remembered, with the span in which its times are right.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._known: dict[bytes, Token | str] = {}
        self._spans: dict[bytes, tuple[float, float]] = {}

    def forget(self) -> None:
        """Drop what was remembered, after the credentials changed."""
        self._known.clear()
        self._spans.clear()

    def token(self, header: bytes) -> Token | str:
        """The token of a header, or the sentence that refuses it (times are not looked at)."""
        known = self._known.get(header)
        if known is None:
            if len(self._known) >= _CACHE:
                self.forget()
            known = self._known[header] = self._read(header.decode("latin-1"))
            if isinstance(known, Token):
                self._spans[header] = self._span(known)
        return known

    def refusal(self, header: bytes, now: float) -> str | None:
        """Why a call is refused at the wall-clock time `now`; None lets it in."""
        span = self._spans.get(header)
        if span is None:
            token = self.token(header)
            if isinstance(token, str):
                return token
            span = self._spans[header]
        if span[0] <= now < span[1]:
            return None
        return self._complaint(header, now)

    def _span(self, token: Token) -> tuple[float, float]:
        """From when until when a token is good."""
        if token.opaque:
            return -inf, inf
        options = self._options
        begin, end = token.issued, token.expires
        if options.age_limit:
            end = min(end, token.issued + options.age_limit)
        if options.exp_cap:
            begin = max(begin, token.expires - options.exp_cap)
        return begin, end

    def _complaint(self, header: bytes, now: float) -> str:
        """What is wrong with the times of a token at `now`, when something is."""
        token = self._known[header]
        if isinstance(token, str):
            return token
        if token.issued > now:
            return "Token used before issued"
        if token.expires <= now:
            return "Token is expired"
        if now < self._spans[header][0]:
            return "jwt expires too far in the future"
        return "jwt was issued too long ago"

    def _read(self, header: str) -> Token | str:
        if not header:
            return "authorization header is missing"
        scheme, space, value = header.partition(" ")
        if space and scheme != "Bearer":
            return f"illegal base64 data at input byte {len(scheme)}"
        if space and value == self._options.token:
            return Token(opaque=True)
        return self._read_jwt(value if space else header)

    def _read_jwt(self, raw: str) -> Token | str:  # noqa: PLR0911 - one return per reason
        """Check the signature: a second opinion on `passbell.passkit.credentials`."""
        parts = raw.split(".")
        if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature
            return "token contains an invalid number of segments"
        signed = f"{parts[0]}.{parts[1]}".encode("latin-1")
        right = base64.urlsafe_b64encode(hmac.digest(self._options.secret.encode(), signed, "sha256"))
        try:
            head, claims = (_json_part(part) for part in parts[:2])
            if head.get("alg") != "HS256":
                return "signing method is not HS256"
            if not hmac.compare_digest(right.rstrip(b"="), parts[2].rstrip("=").encode("latin-1")):
                return "signature is invalid"
            token = Token(float(claims["iat"]), float(claims["exp"]))
        except KeyError as missing:
            return f"token lacks {missing.args[0]}"
        except (ValueError, TypeError, AttributeError):
            return "token is malformed"
        if claims.get("uid") != self._options.key:
            return "api key is not known"
        return token


def _json_part(part: str) -> dict[str, Any]:
    padded = part + "=" * (-len(part) % 4)
    value: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(padded))
    return value
