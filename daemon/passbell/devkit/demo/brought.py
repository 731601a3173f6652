"""`--results`: a campaign that brings guests and one that brings none, and what passbell says of both.

Members whose phones rang visit with a probability, all others as often as before. The visits are rows of the
platform's `transactions`, as a till would write them; a week passes by passbell's own clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from passbell.errors import PassbellError

if TYPE_CHECKING:
    from uuid import UUID

    from passbell.devkit.demo.screen import Screen
    from passbell.devkit.demo.stage import Stage

__all__ = ["Brought", "brought"]

HELD: Final = 20
BASE: Final = 0.08
"""The share of members who come in a week without a message."""
CAMPAIGNS: Final = (
    ("A free dessert tonight", "Show this pass and dessert is on us tonight.", 0.15),
    ("New wallpaper", "We have new wallpaper. Just so you know.", 0.0),
)
"""Name, text, and the probability that a phone which rang brings a visit."""
PATIENCE_SECONDS: Final = 120.0
ORDER: Final = """insert into push_campaigns (program_id, name, message_text, holdout_percent)
values (%s, %s, %s, %s) returning id"""
VISITS: Final = """
with who as (
    select d.pass_id, d.sent_at, passbell.lot(d.pass_id, 'base' || d.campaign_id) < %(base)s as anyway,
           p.passkit_internal_id = any (%(rang)s)
               and passbell.lot(d.pass_id, 'rang' || d.campaign_id) < %(share)s as for_it
      from passbell.deliveries d
      join passes_master p on p.id = d.pass_id
     where d.campaign_id = %(campaign)s
), come as (
    insert into transactions (pass_id, action_type, value_change, created_at)
    select w.pass_id, 'MEMBER_EARN', 10, w.sent_at + interval '5 days' * passbell.lot(w.pass_id, 'when') from who w
     where w.anyway or w.for_it
)
select count(*) filter (where w.for_it and not w.anyway) as planted from who w
"""


@dataclass(frozen=True, slots=True)
class Brought:
    """What passbell says of one campaign, and what is true: guests who came because their phone rang."""

    name: str
    planted: int
    verdict: str
    sentence: str
    beside: str | None


def brought(stage: Stage, screen: Screen) -> list[Brought]:
    """Send both, let phones visit, let a week pass, and ask.

    Raises:
        PassbellError: a campaign did not end.
    """
    database = stage.database
    screen.say(f"[bold]Did it bring anybody?[/] Two campaigns, {HELD} % held back by lot")
    campaigns: list[UUID] = []
    for name, text, _ in CAMPAIGNS:
        row = database.execute(ORDER, (stage.club, name, text, HELD)).fetchone()
        assert row is not None  # noqa: S101 - it returns the id
        campaigns.append(row["id"])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _open(stage, campaigns):
        stage.daemon.check()
        if time.monotonic() > deadline:
            raise PassbellError("The campaigns of the demo's results did not end.")
        time.sleep(0.1)

    planted = []
    for campaign, (_, text, share) in zip(campaigns, CAMPAIGNS, strict=True):
        rang = [buzz["record"] for buzz in stage.sandbox.buzzes() if text in buzz["text"]]
        row = database.execute(
            VISITS, {"campaign": campaign, "base": BASE, "rang": rang, "share": share}
        ).fetchone()
        assert row is not None  # noqa: S101 - counts always answer
        planted.append(row["planted"])
    screen.say("A week passes: phones that rang visit with a probability, all others as often as before")
    database.execute("select set_config('passbell.now', (now() + interval '8 days')::text, false)")
    found = []
    for campaign, (name, _, _), guests in zip(campaigns, CAMPAIGNS, planted, strict=True):
        row = database.execute(
            "select verdict, sentence, beside from push_results(campaign_id => %(campaign)s)",
            {"campaign": campaign},
        ).fetchone()
        assert row is not None  # noqa: S101 - one row
        found.append(Brought(name, guests, row["verdict"], row["sentence"], row["beside"]))
    database.execute("select set_config('passbell.now', '', false)")
    for one in found:
        screen.say(f"[bold]{one.name}[/] (brought {one.planted:,} in truth): {one.sentence}")
        if one.beside:
            screen.say(f"  {one.beside}")
    return found


def _open(stage: Stage, campaigns: list[UUID]) -> bool:
    row = stage.database.execute(
        "select count(*) as n from push_campaigns where id = any (%s) and status in ('PENDING', 'PROCESSING')",
        (campaigns,),
    ).fetchone()
    return bool(row and row["n"])
