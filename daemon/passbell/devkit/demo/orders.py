"""The five campaigns of the show: the SQL that orders each, and which members it must reach with which words.

The members it must reach are read from the platform's own tables, not from passbell: the claims at the end are checked
against this. A text is written out here a second time in Python for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, LiteralString

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from passbell.devkit.demo.stage import Row, Stage

__all__ = ["Order", "due_birthdays", "orders"]

BROADCAST_TEXT: Final = "Pumpkin spice is back. The first cup is on us until Sunday."
COUPON_TEXT: Final = "Your coupon is still good: show this pass at the till."
LIST_TEXT: Final = "Doors open at 19:00. Have this pass at hand at gate B."
SEGMENT_TEXT: Final = "Thank you, {first_name|friend}: your next cup on the West Coast is free."
BIRTHDAY_TEXT: Final = "Happy birthday, {first_name|friend}! {points} points are yours."

# All members of a program that may be reached, with what a text may need.
REACHABLE: Final[LiteralString] = """
select p.passkit_internal_id as record, p.points_balance as points,
       coalesce(nullif(u.first_name, ''), p.member_first_name) as first_name
  from passes_master p
  left join users u on u.id = p.user_id
  left join protocol_coupon c on c.pass_id = p.id
 where p.program_id = %(program)s and p.status = 'INSTALLED' and p.is_active
   and p.passkit_internal_id is not null and u.marketing_opt_in is not false and {narrowed}
"""
FUNNEL: Final[LiteralString] = """
select count(*) as matched,
       count(*) filter (where not on_phone) as not_in_wallet,
       count(*) filter (where on_phone and opted_out) as opted_out
  from (select p.status = 'INSTALLED' and p.is_active and p.passkit_internal_id is not null as on_phone,
               u.marketing_opt_in is false as opted_out
          from passes_master p
          left join users u on u.id = p.user_id
          left join protocol_coupon c on c.pass_id = p.id
         where p.program_id = %(program)s and {narrowed}) a
"""


@dataclass(slots=True)
class Order:
    """One campaign.

    Attributes:
        title: the campaign's name.
        program: whose members.
        statement: the SQL exactly as it is run.
        words: how it is ordered, for the person who watches.
        narrowed: the audience, as a condition on the platform's tables.
        text: the words for one member.
        extra: parameters of `narrowed`.
        after: audience and text depend on what the SQL does: measured after it.
        expected: filled when it is ordered: PassKit's record id → what its phone must say.
        funnel: filled when it is ordered: how many are matched, not_in_wallet, opted_out.
        campaign: filled when it is ordered.
    """

    title: str
    program: UUID
    statement: sql.Composed
    words: str
    narrowed: LiteralString
    text: Callable[[Row], str]
    extra: dict[str, object] = field(default_factory=dict)
    after: bool = False
    expected: dict[str, str] = field(default_factory=dict)
    funnel: dict[str, int] = field(default_factory=dict)
    campaign: UUID | None = None

    def measure(self, stage: Stage) -> None:
        """Ask the platform's tables which members this must reach."""
        parameters = {"program": self.program, **self.extra}
        narrowed = sql.SQL(self.narrowed)
        rows = stage.database.execute(sql.SQL(REACHABLE).format(narrowed=narrowed), parameters).fetchall()
        self.expected = {row["record"]: self.text(row) for row in rows}
        counts = stage.database.execute(sql.SQL(FUNNEL).format(narrowed=narrowed), parameters).fetchone()
        self.funnel.update(counts or {})

    def shown(self, stage: Stage) -> str:
        """Return the SQL as it is run, for the screen."""
        return self.statement.as_string(stage.database)

    def place(self, stage: Stage) -> None:
        """Run the SQL; from here on the daemon has it."""
        if not self.after:
            self.measure(stage)
        before = [row["id"] for row in stage.database.execute("select id from push_campaigns").fetchall()]
        stage.database.execute(self.statement)
        if self.after:
            self.measure(stage)
        row = stage.database.execute(
            "select id from push_campaigns where id <> all (%s::uuid[])", (before,)
        ).fetchone()
        self.campaign = None if row is None else row["id"]


def orders(stage: Stage) -> tuple[Order, Order, Order, Order]:
    """Return broadcast, coupons, list and segment; nothing is ordered yet."""
    guests = stage.guests
    listed = Order(
        "Doors open",
        stage.festival,
        _compose(
            "insert into push_campaigns (program_id, name, message_text, target_query, csv_upload_url)\n"
            "values ({}, {}, {}, 'CSV', {});",
            stage.festival, "Doors open", LIST_TEXT, stage.list_url,
        ),
        "A guest list from Excel, by link",
        "p.external_id = any (%(guests)s)",
        lambda _: LIST_TEXT,
        {"guests": guests},
    )  # fmt: skip
    return (
        Order(
            "Pumpkin spice",
            stage.club,
            _compose(
                "insert into push_campaigns (program_id, name, message_text)\nvalues ({}, {}, {});",
                stage.club, "Pumpkin spice", BROADCAST_TEXT,
            ),
            "A broadcast: three columns are a complete order",
            "true",
            lambda _: BROADCAST_TEXT,
        ),
        Order(
            "Coupon reminder",
            stage.deli,
            _compose(
                "select push_send({}, {}, 'UNREDEEMED', {});", stage.deli, COUPON_TEXT, "Coupon reminder"
            ),
            "Coupons not redeemed yet, by function call",
            "c.redeemed_at is null",
            lambda _: COUPON_TEXT,
        ),
        listed,
        Order(
            "West Coast whales",
            stage.club,
            _compose(
                "insert into push_campaigns (program_id, name, message_text, target_query)\n"
                "values ({}, {}, {}, {});",
                stage.club, "West Coast whales", SEGMENT_TEXT, "WHALE & LOCAL:9*",
            ),
            "Members with more than 500 points in ZIP codes 9…, by first name",
            "p.points_balance > 500 and u.zip like '9%%'",
            lambda row: (
                f"Thank you, {row['first_name'] or 'friend'}: your next cup on the West Coast"
                " is free."
            ),
        ),
    )  # fmt: skip


def due_birthdays(stage: Stage) -> Order:
    """Return the birthday run. Its campaign is made by passbell, and named by it."""
    return Order(
        "Birthdays",
        stage.club,
        _compose(
            "update programs set birthday_bot_enabled = true, birthday_reward_points = 50,\n"
            "       birthday_message = {}\n where id = {};\nselect * from run_birthdays({});",
            BIRTHDAY_TEXT, stage.club, stage.club,
        ),
        "Birthdays of today: 50 points and a greeting, once a year",
        "p.id in (select b.pass_id from birthday_logs b)",
        lambda row: f"Happy birthday, {row['first_name'] or 'friend'}! {row['points']} points are yours.",
        after=True,
    )  # fmt: skip


def _compose(text: LiteralString, *values: object) -> sql.Composed:
    return sql.SQL(text).format(*map(_literal, values))


def _literal(value: object) -> sql.Literal:
    return sql.Literal(str(value))
