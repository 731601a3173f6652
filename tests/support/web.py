"""`passbell web` as a process, callers with a key, and a small program to call about."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

import httpx

from .plain import plain_client, plain_get
from .processes import Command
from .wait import wait_until

if TYPE_CHECKING:
    from types import TracebackType

    from .shop import Shop

__all__ = ["KEY", "OTHER_KEY", "Api", "Club", "Web"]

KEY = "correct-horse-battery"
OTHER_KEY = "staple-of-another-team"
HANDS = {"Ann": 1500, "Bo": 20, "Cy": 600}
"""Members who are reached, with their points."""


class Web(Command):
    """`passbell web` on a port of the system's choice; ready when the block is entered."""

    def __init__(self, database_url: str, **settings: object) -> None:
        super().__init__(
            "web",
            settings={
                "PASSBELL_DATABASE_URL": database_url,
                "PASSBELL_WEB_PORT": "0",
                "PASSBELL_API_KEYS": f"marketing:{KEY},{OTHER_KEY}",
                "PASSBELL_LOG_FORMAT": "json",
                **{f"PASSBELL_{name}": str(value) for name, value in settings.items()},
            },
        )
        self.url = ""

    def start(self) -> None:
        """Start it and learn its address, `url`."""
        super().start()
        self.url = wait_until(self._announced, "the web server says where it listens")
        wait_until(self._live, "the web server answers")

    def _announced(self) -> str:
        self._check_alive()
        events = self.events("web_started")
        return events[-1]["url"] if events else ""

    def _live(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return plain_get(f"{self.url}/live").status_code == 200
        return False

    def client(self, key: str | None = KEY) -> Api:
        """A caller with a key; None is a stranger."""
        return Api(self.url, key)


class Api:
    """A caller with a key."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {} if key is None else {"X-API-Key": key}
        self.http = plain_client(base_url=url, headers=headers, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def get(self, path: str, **rest: Any) -> httpx.Response:
        """GET."""
        return self.http.get(path, **rest)

    def post(self, path: str, body: Any = None, **rest: Any) -> httpx.Response:
        """POST, with a JSON body if one is given."""
        return self.http.post(path, json=body, **rest) if body is not None else self.http.post(path, **rest)


class Club:
    """A program: Ann, Bo and Cy are reached; Di opted out; Ed has no pass in a wallet."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        token = uuid4().hex[:8]
        self.passkit_id = f"pk-{token}"
        self.id: UUID = shop.program("Tea Club", passkit_program_id=self.passkit_id)
        self.member = {name: f"{name}-{token}" for name in ("Ann", "Bo", "Cy", "Di", "Ed")}
        for name, points in HANDS.items():
            shop.member(self.id, user={"first_name": name}, external_id=self.member[name], points=points)
        shop.member(
            self.id,
            user={"first_name": "Di", "marketing_opt_in": False},
            external_id=self.member["Di"],
        )
        shop.member(self.id, user={"first_name": "Ed"}, external_id=self.member["Ed"], status="UNINSTALLED")

    @property
    def order(self) -> dict[str, str]:
        """A message that was not sent before."""
        return {"programId": str(self.id), "message": f"Tea is ready {uuid4().hex[:6]}"}

    def csv(self, *more: str) -> dict[str, tuple[str, str, str]]:
        """A list of all five members and more, as a file to upload."""
        rows = ["member_id", *self.member.values(), *more]
        return {"csvFile": ("guests.csv", "\n".join(rows), "text/csv")}
