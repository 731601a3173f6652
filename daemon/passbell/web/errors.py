"""The one shape of every error: `{success: false, error: "plain sentence", code: "SNAKE_CASE", details?}`.

The framework's own errors (404, 405, 422) and defects (500) come out the same way. SQLSTATEs PB4xx carry a sentence
for people and become the HTTP status of the same meaning; an illegal edge (PB422) is a conflict, 409.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from passbell.errors import (
    CampaignError,
    DatabaseRefused,
    DatabaseUnavailable,
    LeaseLost,
    PassbellError,
    SchemaBehind,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fastapi import FastAPI, Request

__all__ = ["REFUSALS", "ApiError", "ErrorBody", "defect", "error_response", "install", "translate"]

log = structlog.get_logger()

_FROM_SQL: Final = {
    "PB400": (400, "BAD_REQUEST"),
    "PB403": (403, "FORBIDDEN"),
    "PB404": (404, "NOT_FOUND"),
    "PB409": (409, "AUDIENCE_MOVED"),
    "PB410": (422, "PAST_TIME"),
    "PB412": (409, "CONFLICT"),
    "PB422": (409, "ILLEGAL_STATE"),
    "PB423": (409, "PROGRAM_SUSPENDED"),
}
# What the bodies' own validators raise.
_FROM_PYDANTIC: Final = {"unknown_field": "UNKNOWN_FIELD", "conflict": "CONFLICTING_FIELDS"}
# Raised by a trigger or check of the host: it is about the values sent, and its sentence is meant for people.
_BY_THE_HOST: Final = ("P0001", "23")
_FROM_HTTP: Final = {
    400: ("BAD_REQUEST", "The request could not be read."),
    404: ("NOT_FOUND", "There is nothing at this address."),
    405: ("METHOD_NOT_ALLOWED", "This address does not take that method."),
    413: ("TOO_LARGE", "The request is too large."),
}


class ErrorBody(BaseModel):
    """Every error."""

    success: Literal[False] = False
    error: str = Field(examples=["Message and Program ID required"])
    code: str = Field(examples=["MESSAGE_AND_PROGRAM_REQUIRED"])
    details: dict[str, Any] | list[dict[str, Any]] | None = Field(
        default=None, description="What was moved or is missing; or a problem per field: `field`, `problem`"
    )


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


class ApiError(PassbellError):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details
        self.headers = dict(headers or {})


def translate(error: PassbellError) -> ApiError:  # noqa: PLR0911 - one line per kind of error
    """Return the answer for one of our errors. What is not meant for the caller stays in the log."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, CampaignError):
        status, code = _FROM_SQL.get(error.sqlstate, (400, "BAD_REQUEST"))
        return ApiError(status, code, str(error))
    if isinstance(error, DatabaseRefused) and not error.sqlstate:
        return ApiError(
            400, "BAD_REQUEST", "A value cannot be stored: it contains a NUL character or is not valid text."
        )
    if isinstance(error, DatabaseRefused) and error.sqlstate.startswith(_BY_THE_HOST):
        return ApiError(409, "REFUSED_BY_DATABASE", str(error))
    if isinstance(error, LeaseLost):
        return ApiError(409, "CONFLICT", "Another request is working on that: try again.")
    if isinstance(error, DatabaseUnavailable):
        return ApiError(
            503,
            "DATABASE_UNAVAILABLE",
            "The database does not answer at the moment. Try again shortly.",
            headers={"Retry-After": "5"},
        )
    if isinstance(error, SchemaBehind):
        return ApiError(503, "SCHEMA_BEHIND", "The database is not ready: run `passbell migrate`.")
    if type(error).__module__.startswith("passbell.files.csv"):
        return ApiError(400, "UNUSABLE_CSV", str(error))
    return defect()


def defect() -> ApiError:
    """Return the answer to an unexpected error."""
    return ApiError(500, "INTERNAL_ERROR", "Something went wrong here. The log has the details.")


def error_response(error: ApiError) -> Response:
    """Return the error as JSON."""
    body: dict[str, object] = {"success": False, "error": str(error), "code": error.code}
    if error.details is not None:
        body["details"] = error.details
    return Response(
        orjson.dumps(body, default=str),
        status_code=error.status,
        media_type="application/json",
        headers=error.headers,
    )


def install(app: FastAPI, page_error: Callable[[Request, ApiError], Response | None]) -> None:
    """Give the shape to our errors, the framework's and defects. What defects say is logged by the gate.

    `page_error` makes the answer for a browser; None for a program, which gets JSON.
    """

    def answer_with(request: Request, error: ApiError) -> Response:
        return page_error(request, error) or error_response(error)

    @app.exception_handler(PassbellError)
    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, PassbellError)  # noqa: S101 - the framework's signature is wider
        answer = translate(error)
        if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise error  # answered by `unexpected`
        if answer.status > HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("request_unserved", reason=str(error))
        return answer_with(request, answer)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, _error: Exception) -> Response:
        # The framework raises the error again afterwards, and the gate logs it.
        try:
            return answer_with(request, defect())
        except Exception as error:  # the page itself may be what is broken
            log.exception("request_failed", path=request.url.path, reason=type(error).__name__)
            return error_response(defect())

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, _error: Exception) -> Response:
        # The caller is gone. The answer is for the log, where 500 would look like a defect.
        return answer_with(
            request, ApiError(400, "BAD_REQUEST", "The connection ended in the middle of the body.")
        )

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        code, sentence = _FROM_HTTP.get(error.status_code, ("HTTP_ERROR", str(error.detail)))
        return answer_with(request, ApiError(error.status_code, code, sentence, headers=error.headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return answer_with(request, _malformed(error))


def _malformed(error: RequestValidationError) -> ApiError:
    """Say what is wrong with a request, in the words of its first problem."""
    problems = error.errors()
    details: list[dict[str, Any]] = [_problem(problem) for problem in problems]
    first = details[0]
    kind = _FROM_PYDANTIC.get(problems[0]["type"])
    if kind is not None:
        sentence = f"{first['problem']}."
    elif any(problem["field"] == "" and "JSON" in problem["problem"] for problem in details):
        sentence = "The body is not valid JSON."
    else:
        sentence = f"{first['field'] or 'The request'}: {first['problem']}."
    if kind == "UNKNOWN_FIELD":
        details = [{**problems[0]["ctx"]["details"], "problem": "is not known"}]
    return ApiError(422, kind or "INVALID_REQUEST", sentence, details=details)


def _problem(problem: Mapping[str, Any]) -> dict[str, str]:
    """Name the field and what is wrong with it, but not the value, which may be a member's."""
    if problem["type"] == "json_invalid":
        return {"field": "", "problem": "not valid JSON"}
    location: Sequence[object] = problem["loc"]
    field = ".".join(
        str(part)
        for part in location
        if part not in {"body", "query", "path", "header"} and "(" not in str(part)
    )
    words = str(problem["msg"]).removeprefix("Value error, ").rstrip(".")
    if "UploadFile" in words:
        words = "must be a file"
    elif problem["type"] == "too_long":
        words = f"must have at most {problem['ctx']['max_length']:,} characters"
    return {"field": field, "problem": words}
