"""What Supabase's Data API (PostgREST) sends to PostgreSQL, as far as its JavaScript client asks for it.

A stand-in for tests: PostgREST is no package that a test could install. It does what decides whether a grant, a policy
or the signature of a function is right: it logs in as `authenticator`, takes the role of the token for one transaction,
which is read-only for GET and HEAD, passes arguments by name and by their declared type, and reads back what it has
written. It checks no signature of a token.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import psycopg
from psycopg.pq import TransactionStatus

from .postgrest_sql import Catalog, Refused, Request, load_catalog, statement

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["data_api"]

PREFIX = "/rest/v1/"
ONE_OBJECT = "application/vnd.pgrst.object+json"
TIMEOUTS = {"anon": "3s", "authenticated": "8s"}
"""As Supabase sets statement_timeout for its roles."""
STATUS = {"42501": 403, "42883": 404, "42P01": 404, "23505": 409, "23503": 409, "25006": 405, "57014": 500}


class Answer(NamedTuple):
    """A response: status, JSON text, and the total for Content-Range if it was counted."""

    status: int
    body: str
    rows: int = 0
    total: int | None = None


class Api:
    """One database behind the Data API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.catalog: Catalog = load_catalog(url)

    def connect(self) -> psycopg.Connection[Any]:
        """A connection that is used for one transaction after the other, as PostgREST's pool does."""
        conn = psycopg.connect(self.url, autocommit=True, prepare_threshold=None)
        conn.execute("set session authorization authenticator")
        return conn

    def answer(self, conn: psycopg.Connection[Any], request: Request, claims: dict[str, Any]) -> Answer:
        """Carry out a request in one transaction, in the name of its token."""
        role = claims["role"]
        mode = "read only" if request.method in {"GET", "HEAD"} else "read write"
        try:
            conn.execute(f"begin isolation level read committed {mode}")
            for name, value in (
                ("search_path", '"public", "extensions"'),
                ("role", role),
                ("request.jwt.claims", json.dumps(claims)),
                ("request.method", request.method),
                ("request.path", f"/{request.path}"),
                *([("statement_timeout", TIMEOUTS[role])] if role in TIMEOUTS else []),
            ):
                conn.execute("select set_config(%s, %s, true)", [name, value])
            asked = statement(self.catalog, request)
            body, rows = conn.execute(*asked.main).fetchone() or ("[]", 0)
            total = conn.execute(*asked.count).fetchone() if asked.count else None
            if ONE_OBJECT in request.accept:
                body = only(body, asked.many)
            conn.execute("commit")
        except Refused as error:
            return Answer(error.status, json.dumps({"code": error.code, "message": str(error)}))
        except psycopg.Error as error:
            status = (
                401 if (error.sqlstate, role) == ("42501", "anon") else STATUS.get(error.sqlstate or "", 400)
            )
            words = {"code": error.sqlstate, "message": error.diag.message_primary or str(error)}
            return Answer(status, json.dumps({**words, "details": error.diag.message_detail, "hint": None}))
        finally:
            if conn.info.transaction_status != TransactionStatus.IDLE:
                conn.execute("rollback")
        return Answer(asked.status if body else 204, body, rows, total[0] if total else None)


def only(body: str, many: bool) -> str:  # noqa: FBT001
    """The one row of a result, for `.single()`."""
    found = json.loads(body or "[]")
    if not many:
        return body
    if len(found) != 1:
        raise Refused(406, "PGRST116", "JSON object requested, multiple (or no) rows returned")
    return json.dumps(found[0])


def claims_of(authorization: str) -> dict[str, Any]:
    """The claims of a token; without a token, or with one that is no JWT, those of `anon`."""
    parts = authorization.removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        return {"role": "anon"}
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(parts[1] + "==="))
    return claims


class Handler(BaseHTTPRequestHandler):
    """Reads a request, writes an answer."""

    protocol_version = "HTTP/1.1"
    api: Api

    def setup(self) -> None:
        """Open a session of the database for the caller's connection."""
        super().setup()
        self.conn = self.api.connect()

    def finish(self) -> None:
        """Close both."""
        self.conn.close()
        super().finish()

    def respond(self) -> None:
        """Answer whatever method it is."""
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        request = Request(
            self.command,
            parts.path.removeprefix(PREFIX),
            parse_qsl(parts.query, keep_blank_values=True),
            body,
            self.headers.get("prefer") or "",
            self.headers.get("accept") or "",
        )
        answer = self.api.answer(self.conn, request, claims_of(self.headers.get("authorization") or ""))
        written = b"" if self.command == "HEAD" else answer.body.encode()
        self.send_response(answer.status)
        if answer.total is not None:
            span = f"0-{answer.rows - 1}" if answer.rows else "*"
            self.send_header("Content-Range", f"{span}/{answer.total}")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = respond  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Keep the tests' output clean."""


@contextlib.contextmanager
def data_api(url: str) -> Iterator[str]:
    """Serve a database as Supabase's Data API would; the URL of the project."""
    handler = type("Bound", (Handler,), {"api": Api(url)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
