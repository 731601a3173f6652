"""The formulas in SQL, against published examples and against implementations that were not written here."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import psycopg

PAIRS = [
    (56, 70, 48, 80),
    (9, 10, 3, 10),
    (6, 7, 2, 7),
    (5, 56, 0, 29),
    (0, 10, 0, 20),
    (0, 10, 0, 10),
    (10, 10, 0, 20),
]
"""Rows (a) to (g) of table II in Newcombe, Statistics in Medicine 17:873, 1998."""
PUBLISHED = [
    (0.0524, 0.3339),
    (0.1705, 0.8090),
    (0.0582, 0.8062),
    (-0.0381, 0.1926),
    (-0.1611, 0.2775),
    (-0.2775, 0.2775),
    (0.6791, 1.0000),
]
"""Method 10's column of the same table."""


def row(conn: psycopg.Connection, query: str, *values: Any) -> tuple[Any, ...]:
    found = conn.execute(query, values).fetchone()
    assert found is not None
    return found


@pytest.mark.parametrize(("counts", "interval"), list(zip(PAIRS, PUBLISHED, strict=True)))
def test_newcombe_gives_the_published_intervals(
    numbers: psycopg.Connection, counts: tuple[int, ...], interval: tuple[float, float]
) -> None:
    """The table in Newcombe's paper, to its four decimals."""
    k1, n1, k0, n0 = counts
    diff, lo, hi = row(numbers, "select * from passbell.newcombe(%s, %s, %s, %s)", *counts)
    assert diff == pytest.approx(k1 / n1 - k0 / n0)
    assert (lo, hi) == pytest.approx(interval, abs=6e-5)


def random_counts(seed: int, count: int) -> list[tuple[int, int, int, int]]:
    chance = random.Random(seed)  # noqa: S311 - a fixed simulation
    rows = []
    for _ in range(count):
        n1, n0 = chance.randint(1, 5000), chance.randint(1, 600)
        rows.append((chance.randint(0, n1), n1, chance.randint(0, n0), n0))
    return rows


def test_wilson_and_newcombe_agree_with_statsmodels(numbers: psycopg.Connection) -> None:
    """Two hundred random pairs, arms of one included."""
    from statsmodels.stats import proportion as other  # noqa: PLC0415 - takes two seconds to import

    for k1, n1, k0, n0 in random_counts(1, 200):
        wanted = other.proportion_confint(k1, n1, method="wilson")
        assert row(numbers, "select * from passbell.wilson(%s, %s)", k1, n1) == pytest.approx(
            wanted, abs=1e-6
        )
        wanted = other.confint_proportions_2indep(k1, n1, k0, n0, method="newcomb", compare="diff")
        found = row(numbers, "select lo, hi from passbell.newcombe(%s, %s, %s, %s)", k1, n1, k0, n0)
        assert found == pytest.approx(wanted, abs=1e-6)


def mantel_haenszel(strata: list[tuple[int, int, int, int]]) -> tuple[float, float, float]:
    """The risk difference with Sato's variance, written from the papers a second time, with exact sums."""
    weight = math.fsum(n1 * n0 / (n1 + n0) for _, n1, _, n0 in strata)
    diff = math.fsum((k1 / n1 - k0 / n0) * (n1 * n0 / (n1 + n0)) for k1, n1, k0, n0 in strata) / weight
    p = math.fsum(
        (n1 * n1 * k0 - n0 * n0 * k1 + n1 * n0 * (n0 - n1) / 2) / (n1 + n0) ** 2 for k1, n1, k0, n0 in strata
    )
    q = math.fsum((k1 * (n0 - k0) + k0 * (n1 - k1)) / (2 * (n1 + n0)) for k1, n1, k0, n0 in strata)
    spread = 1.959964 * math.sqrt((diff * p + q) / weight**2)
    return diff, diff - spread, diff + spread


def test_mantel_haenszel_agrees_with_a_second_implementation(numbers: psycopg.Connection) -> None:
    """Fifty sums of up to thirty small campaigns."""
    chance = random.Random(2)  # noqa: S311
    for _ in range(50):
        strata = []
        for _ in range(chance.randint(2, 30)):
            n1, n0 = chance.randint(20, 2000), chance.randint(2, 200)
            strata.append((chance.randint(0, n1 // 4), n1, chance.randint(0, n0 // 4), n0))
        found = row(
            numbers,
            "select * from passbell.mantel_haenszel(%s, %s, %s, %s)",
            *map(list, zip(*strata, strict=True)),
        )
        assert found == pytest.approx(mantel_haenszel(strata), abs=1e-12)


def test_strata_without_a_comparison_add_nothing(numbers: psycopg.Connection) -> None:
    """A campaign without a share held back changes neither the difference nor its interval."""
    query = "select * from passbell.mantel_haenszel(%s, %s, %s, %s)"
    assert row(numbers, query, [9, 50], [100, 500], [3, 0], [50, 0]) == row(
        numbers, query, [9], [100], [3], [50]
    )
    assert row(numbers, query, [50], [500], [0], [0]) == (None, None, None)


def test_a_lot_is_the_same_on_every_server(numbers: psycopg.Connection) -> None:
    """The first 32 bits of sha256(person || salt) as a share of 2**32."""
    import hashlib  # noqa: PLC0415 - the second implementation
    import uuid  # noqa: PLC0415

    chance = random.Random(3)  # noqa: S311
    for _ in range(100):
        person, salt = (uuid.UUID(int=chance.getrandbits(128)) for _ in range(2))
        wanted = int.from_bytes(hashlib.sha256(f"{person}{salt}".encode()).digest()[:4], "big") / 2**32
        assert row(numbers, "select passbell.lot(%s, %s)", person, str(salt)) == (wanted,)


def test_the_smallest_visible_effects_of_the_specification(numbers: psycopg.Connection) -> None:
    """At a base of 5 %: 1,000 members with 10 % held back show 6.4 points, 20,000 show 1.4."""
    for members, percent, points in [(1000, 10, 6.4), (1000, 20, 4.8), (5000, 10, 2.9), (20_000, 10, 1.4)]:
        held = members * percent // 100
        (found,) = row(numbers, "select passbell.smallest_visible(0.05, %s, %s)", members - held, held)
        assert round(100 * found, 1) == points


def test_nothing_to_go_by_is_null(numbers: psycopg.Connection) -> None:
    """An empty group, or fewer than thirty held back at a daily look, gives no number."""
    assert row(numbers, "select * from passbell.newcombe(0, 0, 1, 5)") == (None, None, None)
    assert row(numbers, "select * from passbell.wilson(0, 0)") == (None, None)
    assert row(numbers, "select * from passbell.always_valid(5, 100, 1, 29)") == (None, None, None)
    assert row(numbers, "select passbell.smallest_visible(0.1, 10, 0)") == (None,)


@pytest.mark.parametrize(
    ("n1", "n0", "base", "rate"), [(270, 30, 0.02, 0.02), (270, 30, 0.05, 0.08), (900, 100, 0.05, 0.08)]
)
def test_intervals_cover_the_truth_as_often_as_they_say(
    numbers: psycopg.Connection, n1: int, n0: int, base: float, rate: float
) -> None:
    """95 % within a point over 40,000 campaigns of a restaurant's size, where the z-test covers 57 to 92 %."""
    import numpy as np  # noqa: PLC0415 - comes with statsmodels

    chance = np.random.default_rng(7)
    came, held = chance.binomial(n1, rate, 40_000), chance.binomial(n0, base, 40_000)
    (covered,) = row(
        numbers,
        "select avg((%s between n.lo and n.hi)::int)::float"
        "  from unnest(%s::bigint[], %s::bigint[]) as c (k1, k0), passbell.newcombe(c.k1, %s, c.k0, %s) n",
        rate - base, came.tolist(), held.tolist(), n1, n0,
    )  # fmt: skip
    assert 0.94 <= covered <= 0.961  # 270 / 30 at 2 %: 0.9602, a hair more than a point, on the careful side


def test_daily_looks_at_nothing_claim_something_in_one_of_twenty(numbers: psycopg.Connection) -> None:
    """Looking 180 times at an automation without effect finds one in at most 5 % of cases (and chance)."""
    import numpy as np  # noqa: PLC0415 - comes with statsmodels

    chance = np.random.default_rng(11)
    runs, days = 200, 180
    n1, n0 = chance.poisson(9, (runs, days)).cumsum(1), chance.poisson(1, (runs, days)).cumsum(1)
    k1 = np.stack([chance.binomial(np.diff(n, prepend=0), 0.1).cumsum() for n in n1])
    k0 = np.stack([chance.binomial(np.diff(n, prepend=0), 0.1).cumsum() for n in n0])
    run = np.repeat(np.arange(runs), days)
    (wrong,) = row(
        numbers,
        "select count(distinct l.run) filter (where a.lo > 0 or a.hi < 0)"
        "  from unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) as l (run, k1, n1, k0, n0),"
        "       passbell.always_valid(l.k1, l.n1, l.k0, l.n0) a",
        *(array.ravel().tolist() for array in (run, k1, n1, k0, n0)),
    )  # fmt: skip
    assert wrong <= 0.05 * runs + 3 * math.sqrt(0.05 * 0.95 * runs)
