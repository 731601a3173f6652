"""Time zones as people write them into programs.timezone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Databases

NOON = "select to_char(timestamptz '2026-07-01 12:00 UTC' at time zone passbell.zone(%s), 'HH24:MI')"


@pytest.fixture(scope="module")
def shop(databases: Databases) -> Iterator[Shop]:
    """One database for all zones."""
    made = Shop(databases.create("4"), "4")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("zone", "noon"),
    [
        ("GMT+2", "14:00"),
        ("UTC+2", "14:00"),
        ("utc +02:00", "14:00"),
        ("GMT-5", "07:00"),
        ("UTC+5:30", "17:30"),
        ("-0330", "08:30"),
        ("+10", "22:00"),
        ("UTC", "12:00"),
        ("GMT", "12:00"),
        ("Etc/GMT-2", "14:00"),
        ("Europe/Berlin", "14:00"),
        ("Berlin", "14:00"),
        (" new  york ", "08:00"),
        ("Kolkata", "17:30"),
        ("buenos aires", "09:00"),
        ("EST5EDT", "08:00"),
        # Not understood: the platform's own default, never a zone with the sign turned round.
        ("FOO+3", "08:00"),
        ("EST-5", "08:00"),
        ("GMT+20", "08:00"),
        ("Atlantis", "08:00"),
        ("", "08:00"),
        (None, "08:00"),
    ],
)
def test_c9_a_zone_means_what_people_mean(shop: Shop, zone: str | None, noon: str) -> None:
    """Case 13: hours ahead are ahead, a bare city is its zone, and nothing is ever inverted."""
    assert shop.value(NOON, [zone]) == noon


def test_a_zone_that_nobody_understands_is_named(shop: Shop) -> None:
    """Both migrate and check name the programs whose unknown zone counts as New York's."""
    shop.program("Odd", timezone="Atlantis")
    shop.program("Fine", timezone="Berlin")
    (warning,) = [row["warning"] for row in shop.rows("select warning from passbell.migration_warnings()")]
    assert "Atlantis" in warning
    assert "Odd" in warning
    assert "Fine" not in warning
