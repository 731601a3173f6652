"""Members with values that no program expects: each is unknown, or that member's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from support.bystander import House

ODD = {
    "a birthday that never comes": ("users", "birth_date", "'infinity'"),
    "a birthday before Christ": ("users", "birth_date", "'0044-03-15 BC'"),
    "a visit at the end of time": ("passes_master", "last_updated", "'infinity'"),
    "a visit before all time": ("passes_master", "last_updated", "'-infinity'"),
    "a name of spaces": ("users", "first_name", "'   '"),
    "a name of a megabyte": ("users", "first_name", "repeat('x', 1000000)"),
    "a name with a format": ("users", "first_name", "'%%s {points} {{ \\ $1'"),
    "the largest balance": ("passes_master", "points_balance", "2147483647"),
    "a debt": ("passes_master", "points_balance", "-2147483648"),
}


def test_members_with_odd_values(house: House) -> None:
    """A campaign with every placeholder to each audience ends, and so does the bystander's."""
    scene = house.scene
    program = house.program()
    for table, column, value in ODD.values():
        member = scene.member(program, user={"first_name": "Ada"})
        row = member if table == "passes_master" else _user(house, member)
        scene.conn.execute(f"update {table} set {column} = {value} where id = %s".encode(), [row])  # noqa: S608 - the names are the test's own
    scene.publish(program)
    text = "Hi {first_name|there}, {points|no} points, {tier_points|0}"
    targets = ("ALL", "WHALE", "SLUMBER", "LOCAL:90210", "TIER:1")
    campaigns = [scene.campaign(program, text, target_query=target) for target in targets]
    for target, campaign in zip(targets, campaigns, strict=True):
        ended = scene.until(campaign)
        assert ended["status"] == "COMPLETED", (target, ended["status_detail"])
    everybody = scene.order(campaigns[0])
    assert everybody["sent_count"] + everybody["failed_count"] == 5 + len(ODD), scene.ledger(campaigns[0])
    house.serves_the_others()


def _user(house: House, member: UUID) -> UUID:
    """The user of a pass."""
    found: UUID = house.scene.value("select user_id from passes_master where id = %s", [member])
    return found
