"""Targets of hundreds of entries are quick and right; those beyond any real use are refused with a number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Shop

PEOPLE = """
    with u as (
        insert into users (email, zip, city)
        select 'n' || n || '@example.com',
               case when n %% 50 = 0 then null else ' ' || lpad((n * 37 %% 100000)::text, 5, '0') || ' ' end,
               (array['Köln', 'St. Ives', 'o''fallon', 'BONN*', 'New  York', ''])[n %% 6 + 1]
          from generate_series(1, 2000) n returning id)
    insert into passes_master (program_id, user_id, protocol, status, external_id, passkit_internal_id)
    select %s, u.id, 'MEMBERSHIP', 'INSTALLED', u.id::text, u.id::text from u
"""
PATTERN = r"""
create function pg_temp.list_pattern(p_list text) returns text
language sql immutable parallel safe
set search_path = ''
as $$
    select '^(' || string_agg(
               case when e.entry like '%*'
                    then regexp_replace(left(e.entry, -1), '([^[:alnum:][:space:]])', '\\\1', 'g') || '.*'
                    else regexp_replace(e.entry, '([^[:alnum:][:space:]])', '\\\1', 'g') end, '|') || ')$'
      from (select upper(btrim(x)) as entry from unnest(string_to_array(p_list, ',')) as x) e
     where e.entry <> ''
$$;
"""
"""The other way to match a list: as an anchored pattern, '90210, 902*' is ^(90210|902.*)$."""


def matched(shop: Shop, program: UUID, target: str) -> int:
    """How many the preview counts."""
    found: int = shop.value("select matched from push_preview(%s, %s)", [program, target])
    return found


def test_a10_long_lists_match_what_a_pattern_of_them_matches(shop: Shop) -> None:
    """Whole entries and prefixes of several lengths, spaces, case, a star in the middle, special characters."""
    program = shop.program()
    shop.conn.execute(PEOPLE, [program])
    shop.conn.execute(PATTERN)
    zips = (
        [f"{n:05d}" for n in range(0, 100_000, 41)]
        + [f"{n:03d}*" for n in range(0, 1000, 17)]
        + ["9*", " 1234* "]
    )
    for kind, entries in (
        ("zip", zips),
        ("zip", zips[:300]),
        ("zip", ["90*10", "1*"]),
        ("city", ["köln", "st. *", "O'FALLON", "bonn*", "bonn**", ""]),
        ("city", ["*"]),
    ):
        entered = ",".join(entries)
        expected = shop.value(
            "select count(*) from passbell.recipients where program_id = %s"
            " and upper(btrim(case %s when 'zip' then zip else city end)) ~ pg_temp.list_pattern(%s)",
            [program, kind, entered],
        )
        assert matched(shop, program, f"{'LOCAL' if kind == 'zip' else 'CITY'}:{entered}") == expected, (
            entered[:60]
        )
    thirty = " & ".join(f"LOCAL:{','.join(zips[-200 - n :])}" for n in range(30))
    assert matched(shop, program, thirty) <= matched(shop, program, f"LOCAL:{','.join(zips)}")


@pytest.mark.parametrize(
    ("target", "number"),
    [
        ("&".join(["ALL"] * 31), "31 parts"),
        ("&" * 50_000, "50,001 parts"),
        ("&".join(f"LOCAL:{n:05d}" for n in range(3000)), "3,000 parts"),
        ("LOCAL:" + "9" * 200_000, "200,006 characters"),
    ],
)
def test_a10_a_target_beyond_any_real_use_is_refused(shop: Shop, target: str, number: str) -> None:
    """In a preview, in an order by function, and where the row was inserted by hand: the sentence says the limit."""
    program = shop.program()
    shop.member(program)
    for call in ("push_preview(%s, %s)", "push_send(%s, 'Hello', %s)"):
        with pytest.raises(psycopg.Error, match=number) as refusal:
            shop.conn.execute(f"select public.{call}", [program, target])
        assert refusal.value.sqlstate == "PB400"
    campaign = shop.campaign(program, target_query=target)
    assert shop.start(campaign)["action"] == "failed"
    assert number in shop.order(campaign)["status_detail"]
