"""The generated members are such as the host really has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
import pytest

from passbell.devkit.demo.members import DEMO_PROGRAMS, passkit_records, populate
from support.independent import expected, in_segment, reachable

if TYPE_CHECKING:
    from conftest import MakeDatabase
    from support.databases import Generation

FINGERPRINT = (
    "select md5(string_agg(id::text || external_id || status::text, ',' order by id)) from passes_master"
)


@pytest.mark.parametrize("every", ["1_bare", "1", "2", "3", "4"])
def test_populate_fills_every_generation(database: MakeDatabase, every: Generation) -> None:
    """The wanted number of passes is there, over three protocols, with all that a segment can ask for."""
    with psycopg.connect(database(every, migrated=False)) as conn:
        programs = populate(conn, every, passes=3_000)

        assert conn.execute("select count(*) from passes_master").fetchone() == (3_000,)
        assert set(programs) == {program.name for program in DEMO_PROGRAMS}
        for (status,) in conn.execute(
            "select unnest(array['INSTALLED', 'UNINSTALLED', 'ISSUED'])"
        ).fetchall():
            found = conn.execute(
                "select count(*) from passes_master where status::text = %s", [status]
            ).fetchone()
            assert found is not None
            assert found[0] > 50, status
        without_user = conn.execute("select count(*) from passes_master where user_id is null").fetchone()
        assert without_user is not None
        assert without_user[0] > 30
        club, coupons, tickets = programs.values()
        for program, target in [
            (club, "VIP"), (club, "WHALE"), (club, "SLUMBER"), (club, "LOCAL:90210"), (club, "LOCAL:902*"),
            (club, "CITY:montréal"), (club, "TIER:1"), (club, "TIER:2"), (club, "TIER:3"), (club, "TIER:4"),
            (club, "WHALE & LOCAL:90210"), (coupons, "UNREDEEMED"), (coupons, "EXPIRING"),
            (coupons, "EXPIRING:30"), (tickets, "CHECKED_IN"), (tickets, "NOT_CHECKED_IN"),
        ]:  # fmt: skip
            if every == "4" and target in {"TIER:3", "TIER:4"}:
                continue  # there the tier is that of the balance, and no member has so many points
            named = expected(conn, every, program, target)
            assert named, target
            assert named < reachable(conn, every, program), target


def test_opt_outs_and_birthdays_are_among_them(database: MakeDatabase, generation: Generation) -> None:
    """Some people said no, some never said, some have no birth date and some have their birthday today."""
    with psycopg.connect(database(generation, migrated=False)) as conn:
        populate(conn, generation, passes=3_000)
        row = conn.execute(
            """
            select count(*) filter (where marketing_opt_in),
                   count(*) filter (where not marketing_opt_in),
                   count(*) filter (where marketing_opt_in is null),
                   count(*) filter (where birth_date is null),
                   count(*) filter (where to_char(birth_date, 'MMDD') in (
                     to_char(now() at time zone 'America/New_York', 'MMDD'),
                     to_char(now() at time zone 'Pacific/Auckland', 'MMDD')))
              from users
            """
        ).fetchone()
        assert row is not None
        assert all(count > 0 for count in row), row


def test_the_four_tiers_are_everybody_once(database: MakeDatabase, generation: Generation) -> None:
    """The oracle's tiers neither overlap nor leave anybody out."""
    with psycopg.connect(database(generation, migrated=False)) as conn:
        populate(conn, generation, passes=500)
        tiers = [in_segment(conn, generation, f"TIER:{tier}") for tier in (1, 2, 3, 4)]
        assert sum(map(len, tiers)) == len(set().union(*tiers)) == 500


def test_the_same_seed_gives_the_same_members(database: MakeDatabase) -> None:
    """A number in a report can be reproduced; another seed gives other members."""
    prints = []
    for seed in (7, 7, 8):
        with psycopg.connect(database("2", migrated=False)) as conn:
            populate(conn, "2", passes=400, seed=seed)
            prints.append(conn.execute(FINGERPRINT).fetchone())
    assert prints[0] == prints[1] != prints[2]


def test_passkit_records_name_every_pass_with_a_passkit_id(
    database: MakeDatabase, generation: Generation
) -> None:
    """The sandbox is given each record once, with keys that must survive a push and the live points."""
    with psycopg.connect(database(generation, migrated=False)) as conn:
        populate(conn, generation, passes=600)
        records = list(passkit_records(conn, batch=100))
        row = conn.execute("select count(passkit_internal_id) from passes_master").fetchone()
        assert row == (len(records),)
        assert (len(records) < 600) == (generation == "3")
        assert len({record.passkit_id for record in records}) == len(records)
        for record in records:
            assert re.fullmatch(r"[0-9A-Za-z]{22}", record.passkit_id)
            assert re.fullmatch(r"[0-9A-Za-z]{22}", record.program_id)
            assert record.meta_data["memberNumber"] == record.external_id
            assert record.protocol == "MEMBERSHIP" or record.points == 0
        whales = {str(pass_id) for pass_id in in_segment(conn, generation, "WHALE")}
        by_id = dict(conn.execute("select id::text, passkit_internal_id from passes_master").fetchall())
        rich = {record.passkit_id for record in records if record.points > 500}
        assert rich == {by_id[pass_id] for pass_id in whales} - {None}
