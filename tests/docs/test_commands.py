"""The commands in the documents work: every block is run, or says why it is only looked at."""

from __future__ import annotations

import ast
import json
import socket
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from passbell.devkit.demo.members import passkit_records
from passbell.devkit.demo.stock import bring_in
from passbell.devkit.sandbox.remote import Remote
from support.documented import RUNNABLE, Reader, script
from support.markdown import ROOT, Block, blocks, documents
from support.processes import Sandbox
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import MakeDatabase

# Written from the code and compared with it (test_reference.py); what a command prints is no command.
GENERATED = ("docs/reference/",)
LOOKED_AT = frozenset({"json", "python", "ini", "csv", "mermaid", "text", "console", "yaml"})
OWN_DATABASE = {"docs/quickstart.md"}
"""Pages that begin with an empty database."""


def all_blocks() -> list[Block]:
    return [
        block
        for document in documents()
        for block in blocks(document)
        if not block.document.startswith(GENERATED)
    ]


def pages() -> list[str]:
    return sorted(
        {block.document for block in all_blocks() if block.language in RUNNABLE and not block.static}
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


class Example(Shop):
    """A Supabase project as a reader of the documents has it: one program, a few members, campaigns of each kind."""

    def __init__(self, url: str, sandbox: Sandbox) -> None:
        super().__init__(url, "3")
        self.club = self.program(
            "Corner Café",
            passkit_program_id="corner-cafe",
            birthday_bot_enabled=True,
            birthday_reward_points=50,
        )
        ada = {"first_name": "Ada", "birth_date": "1990-11-10", "zip": "90210"}
        self.member(
            self.club, user=ada, external_id="M-1042", points=700, install_url="https://pub1.pskt.io/x"
        )
        self.member(self.club, user={"first_name": "Bob"}, external_id="M-1043", points=20)
        self.running = self.campaign(self.club, "Running")
        self.start(self.running)
        with Remote(sandbox.url) as remote:
            remote.reset()
            bring_in(remote, passkit_records(self.conn))

    def values(self) -> dict[str, str]:
        """What a reader would write in the place of each `<name>`."""
        return {
            "program": str(self.club),
            "campaign": str(self.running),
            "external id": "M-1042",
            "key": "sandbox-key",
            "secret": "sandbox-secret",
        }


def test_every_block_is_run_or_says_why_not() -> None:
    """No language without a check, and a marker only where something would be run."""
    for block in all_blocks():
        assert block.language in RUNNABLE | LOOKED_AT, (
            f"{block}: a block of {block.language!r}; what a program prints is `text`"
        )
        if block.language == "console":
            assert block.static, f"{block}: console blocks are not run; say why, or make it sh"
        elif block.language not in RUNNABLE:
            assert not block.static, f"{block}: there is nothing to run in {block.language}"
        if block.static is not None:
            assert len(block.static) > 10, f"{block}: no reason"


@pytest.mark.parametrize("page", pages())
def test_a_page_can_be_followed(
    page: str, database: MakeDatabase, sandbox: Sandbox, tmp_path: Path, no_roles_left: None
) -> None:
    """Its commands work one after the other, in the order in which they stand there."""
    ports = {"8090": str(free_port()), "8080": str(free_port())}
    values = {"key": "sandbox-key", "secret": "sandbox-secret", **ports}
    if page in OWN_DATABASE:
        url = database("empty", migrated=False)
        settings = {}
    else:
        url = database("4", supabase=True)
        shop = Example(url, sandbox)
        values |= shop.values() | {"passkit": sandbox.url}
        shop.close()
        settings = {"PASSBELL_PASSKIT_URL": sandbox.url}
    values["database url"] = url
    reader = Reader(tmp_path, {"PASSBELL_DATABASE_URL": url, "PASSBELL_WEB_PORT": ports["8080"], **settings})
    said = reader.run(script(blocks(ROOT / page), values))
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("select * from passbell.check_conservation()").fetchall() == []
        if after := AFTERWARDS.get(page):
            after(connection, said)


def buzzed_once(connection: psycopg.Connection, said: str) -> None:
    """The quickstart: one phone, one text, and the second order waits."""
    assert said.count('"text":"Hello Ada, the first cup is on us."') == 1
    assert '"points":120' in said
    assert "Every recipient is accounted for." in said
    found = connection.execute("select name, status from push_campaigns order by created_at").fetchall()
    assert found == [("Hello", "COMPLETED"), ("Again", "PAUSED")]


def form_is_confined(connection: psycopg.Connection, _said: str) -> None:
    """Softr's login orders for its own program and for no other, and sees nothing else."""
    club = connection.execute("select id from programs").fetchone()
    other = connection.execute(
        "insert into programs (name, protocol, passkit_program_id) values ('Other', 'MEMBERSHIP', 'other') returning id"
    ).fetchone()
    connection.execute("set role softr")
    order = "insert into push_campaigns (program_id, message_text) values (%s, 'Hello') returning created_by"
    assert connection.execute(order, club).fetchone() == ("softr",)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(order, other)
    birthdays = "select id, birthday_reward_points from softr_programs"
    assert connection.execute(birthdays).fetchall() == [(club[0] if club else None, 60)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("update softr_programs set name = 'Mine'")
    automations = "select occasion, is_on from push_automations"
    assert connection.execute(automations).fetchall() == [("DORMANT:30", True)]
    assert connection.execute("select external_id from push_suppressions").fetchall() == [("staff-7",)]
    rule = "insert into push_automations (program_id, occasion, message_text) values (%s, %s, 'Hello')"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(rule, [*(other or ()), "EVERY:FRI"])
    connection.execute(rule, [*(club or ()), "EVERY:FRI"])
    connection.execute(
        "update push_automations set is_on = true, send_days = 'fri' where occasion = 'EVERY:FRI'"
    )
    with pytest.raises(psycopg.Error, match="Unknown occasion"):
        connection.execute(rule, [*(club or ()), "SOMETIMES"])
    for table in ("users", "passes_master", "programs", "passbell.deliveries"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"select * from {table}")  # noqa: S608
    connection.execute("reset role")


def everything_is_held(connection: psycopg.Connection, said: str) -> None:
    """The restore: what was running waits for a person, and the birthday was given by hand."""
    (detail,) = connection.execute(
        "select status_detail from push_campaigns where message_text = 'Running'"
    ).fetchone() or ("",)
    assert detail.startswith("Held after a restore")
    assert detail in said
    assert connection.execute("select year from birthday_logs").fetchall() == [(2025,)]


AFTERWARDS: dict[str, Callable[[psycopg.Connection, str], None]] = {
    "docs/quickstart.md": buzzed_once,
    "docs/howto/softr.md": form_is_confined,
    "docs/howto/restore.md": everything_is_held,
}
ROLES = ("softr", "passbell_daemon", "passbell_web")
"""Roles that pages make; they belong to the whole server and must not outlive the page."""


@pytest.fixture
def no_roles_left(database: MakeDatabase) -> Iterator[None]:
    yield
    with psycopg.connect(database("empty", supabase=True, migrated=False), autocommit=True) as connection:
        for (role,) in connection.execute(
            "select rolname from pg_roles where rolname = any (%s)", [list(ROLES)]
        ).fetchall():
            for (name,) in connection.execute(
                "select distinct datname from pg_shdepend s join pg_database d on d.oid = s.dbid"
                " join pg_roles r on r.oid = s.refobjid where r.rolname = %s",
                [role],
            ).fetchall():
                with psycopg.connect(
                    connection.info.dsn, dbname=name, password=connection.info.password, autocommit=True
                ) as there:
                    there.execute(sql.SQL("drop owned by {}").format(sql.Identifier(role)))
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def test_examples_of_data_can_be_read() -> None:
    """JSON parses, Python compiles."""
    seen = 0
    for block in all_blocks():
        if block.language == "json":
            json.loads(block.text.replace("…", ""))
            seen += 1
        elif block.language == "python":
            ast.parse(block.text)
            seen += 1
    assert seen >= 2
