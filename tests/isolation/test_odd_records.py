"""Rows B8 and B9 of the list of defects with the real daemon: odd answers of PassKit harm their own record alone."""

from __future__ import annotations

import http.client
import http.server
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from support.bystander import House
from support.scenes import make_scene, scene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from support.scene import Scene

__all__ = ["make_scene", "scene"]


def addressed(scene: Scene, program: UUID) -> dict[UUID, str]:
    """The PassKit ids of a program's passes."""
    rows = scene.rows("select id from passes_master where program_id = %s", [program])
    return scene.records([row["id"] for row in rows])


def test_b9_records_whose_metadata_is_no_text(house: House) -> None:
    """Each is left alone, with a sentence that names the key; the other members of the campaign are reached."""
    scene = house.scene
    program = house.program()
    names = addressed(scene, program)
    owner = scene.value("select passkit_program_id from programs where id = %s", [program])
    odd = dict(zip(names, (7, False, {"b": "1"}), strict=False))
    scene.remote.seed(
        {"owner": owner, "id": names[one], "metaData": {"a": "1", "stamps": value}}
        for one, value in odd.items()
    )
    campaign = scene.campaign(program, "Hello")
    house.serves_the_others()
    row = scene.until(campaign)
    assert (row["status"], row["sent_count"], row["failed_count"]) == ("COMPLETED", 2, 3)
    for one in odd:
        told = scene.row("select reason, detail from passbell.deliveries where pass_id = %s", [one])
        assert told["reason"] == "rejected"
        assert 'its metaData "stamps" is no text' in told["detail"]
    assert scene.remote.summary(owner=owner)["recordsBuzzed"] == 2


@contextmanager
def confused(url: str, mixed: dict[bytes, bytes], asked: list[bytes]) -> Iterator[str]:
    """A PassKit whose first answer to the update of a record is about another one; yields its URL."""
    target = urlsplit(url).netloc

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            onward = http.client.HTTPConnection(target, timeout=30)
            onward.request(self.command, self.path, body, headers)
            answer = onward.getresponse()
            told = answer.read()
            onward.close()
            named = re.search(rb'"id": ?"(\w+)"', told)
            if self.command == "PUT" and named is not None:
                asked.append(named[1])
                told = told.replace(named[1], mixed.pop(named[1], named[1]))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        do_GET = do_POST = do_PUT = forward  # noqa: N815 - the server's names

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_b8_answers_about_another_programs_records(scene: Scene) -> None:
    """They are no proof of anything: asked again, each pass is recorded as what became of it, and buzzes once."""
    mixed: dict[bytes, bytes] = {}
    asked: list[bytes] = []
    with (
        confused(scene.sandbox.url, mixed, asked) as url,
        scene.daemon(PASSKIT_URL=url, DAILY_CAP=0) as daemon,
    ):
        house = House(scene, daemon)
        program = house.program()
        theirs = [name.encode() for name in addressed(scene, house.others).values()]
        names = [name.encode() for name in addressed(scene, program).values()]
        mixed |= zip(names, theirs, strict=True)
        campaign = scene.campaign(program, "Hello")
        house.serves_the_others()
        row = scene.until(campaign)
        assert (row["status"], row["sent_count"]) == ("COMPLETED", 5)
        assert not mixed
        owner = scene.value("select passkit_program_id from programs where id = %s", [program])
        assert scene.remote.summary(owner=owner)["buzzedMore"] == 0
        assert all(asked.count(name) == 2 for name in names)
        assert all(asked.count(name) == 1 for name in theirs)
        house.serves_the_others()
