"""Supabase's own JavaScript client on the platform's present tables, as applications use it beside passbell.

The calls are in `calls.mjs`. The client comes from npm and is kept in `.bench/supabase`; what it talks to is
`support/postgrest.py`. Where node or npm are missing, or npm cannot load the client, the tests are skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from support.postgrest import data_api
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from support.databases import Databases

HERE = Path(__file__).parent
CLIENT = "@supabase/supabase-js@2.109.0"
CACHE = HERE.parents[1] / ".bench" / "supabase"
NPM_SECONDS = 100

Call = dict[str, Any]


@pytest.fixture(scope="module")
def client() -> Path:
    """A folder in which node finds the client."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} to run Supabase's client with")
    folder = CACHE / CLIENT.rpartition("@")[2]
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
        try:
            done = subprocess.run(
                ["npm", "install", *options, CLIENT],
                cwd=folder,
                check=False,
                capture_output=True,
                timeout=NPM_SECONDS,
            )
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not load Supabase's client in time")
        if done.returncode:
            pytest.skip("npm cannot load Supabase's client")
        (folder / "complete").touch()
    return folder


def person(shop: Shop, program: UUID | None = None, role: str | None = None) -> UUID:
    """A person who can sign in; with a role, an administrator."""
    who = uuid4()
    shop.conn.execute("insert into auth.users (id, email) values (%s, %s)", [who, f"{who}@example.com"])
    if role is not None:
        shop.conn.execute(
            "insert into admin_profiles (id, program_id, role) values (%s, %s, %s)", [who, program, role]
        )
    return who


def furnish(shop: Shop) -> dict[str, str]:
    """Three programs with members, a campaign that was sent and one whose list matches no member; and people."""
    tenant = person(shop)
    programs = {
        "north": shop.program("North", tenant_id=tenant),
        "south": shop.program("South", tenant_id=tenant),
        "east": shop.program("East"),
    }
    for name, program in programs.items():
        shop.members(program, 3)
        for who in {"north": ("service", "tenant"), "east": ("admin",)}.get(name, ()):
            shop.member(program, external_id=f"card-{who}", user={"first_name": "Ada"})
        shop.send(shop.campaign(program, f"Sent in {name}"))
        shop.start(shop.campaign(program, "Listed", target_query="IDS:nobody-there,neither"))
    people = {
        "tenant": tenant,
        "admin": person(shop, programs["east"], "CLIENT_ADMIN"),
        "root": person(shop, None, "SUPER_ADMIN"),
        "stranger": person(shop),
    }
    return {name: str(value) for name, value in {**programs, **people}.items()}


@pytest.fixture(scope="module", params=[True, "legacy"], ids=["new project", "old project"])
def calls(request: pytest.FixtureRequest, client: Path, databases: Databases) -> Iterator[list[Call]]:
    """What became of each call, in a project with today's default grants and in one with those before 2026-10-30."""
    shop = Shop(databases.create("4", supabase=request.param), "4")
    names = furnish(shop)
    shutil.copy(HERE / "calls.mjs", client)
    with data_api(shop.url) as url:
        given = {"url": url, "list": "https://files.example.com/members.csv", **names}
        done = subprocess.run(
            ["node", "calls.mjs", json.dumps(given)],
            cwd=client,
            check=False,
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    yield [json.loads(line) for line in done.stdout.splitlines()]
    assert shop.violations() == []
    shop.close()


@pytest.mark.parametrize(
    ("who", "least"),
    [("service", 60), ("tenant", 75), ("admin", 70), ("root", 8), ("stranger", 20), ("anon", 25), ("end", 1)],
)
def test_every_call_does_what_it_says(calls: list[Call], who: str, least: int) -> None:
    """Through supabase-js a server may do all, an administrator their programs' things, others nothing."""
    made = [call for call in calls if call["who"] == who]
    assert len(made) >= least
    assert [f"{call['name']}: {call['got']}" for call in made if not call["passed"]] == []
