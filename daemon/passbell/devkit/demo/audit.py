"""What the demo says at its end, checked against the phones, PassKit's records and the database.

The phones are asked for every alert they showed; the platform's tables said before which members each
campaign must reach, and with which words. Nothing here trusts passbell's own counters: they are among what is checked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx
import orjson

from passbell.devkit.demo.screen import Claim
from passbell.devkit.demo.stage import WALLET_TOKEN

if TYPE_CHECKING:
    from passbell.devkit.demo.orders import Order
    from passbell.devkit.demo.show import Played
    from passbell.devkit.demo.stage import Row, Stage

__all__ = ["CampaignResult", "Report", "audit"]

MESSAGE_KEY: Final = "marketingMessage"
LISTS: Final = {
    "MEMBERSHIP": "/members/member/list/{}",
    "COUPON": "/coupon/singleUse/coupons/list/{}",
    "EVENT_TICKET": "/eventTickets/tickets/list",
}
NAMED: Final = 3  # examples in a sentence
PACE_TOLERANCE: Final = 1.05
"""Three busy processes on two cores: the kernel lets some requests wait. One call too many was seen at 424/s."""


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """One campaign at its end; `unknown` and `twice` are rows of a list."""

    name: str
    program: str
    status: str
    detail: str
    matched: int
    not_in_wallet: int
    opted_out: int
    unknown: int
    twice: int
    recipients: int
    buzzed: int
    failed: int
    skipped: int
    seconds: float


@dataclass(slots=True)
class Report:
    """The closing summary; counts are of the whole show.

    Attributes:
        phones: phones that buzzed at all.
        buzzes: alerts that phones showed.
        twice: alerts beyond one per campaign and phone.
        missing: phones that should have shown a text and did not.
        unexpected: alerts that were not ordered: wrong words, or a member who must not be buzzed.
        sent_again: pushes repeated after the crash, with the same bytes.
        busiest_second: most calls to PassKit in any sliding second.
        records: records of which everything but the message was compared.
        gifts: birthday gifts given.
    """

    claims: list[Claim] = field(default_factory=list)
    campaigns: list[CampaignResult] = field(default_factory=list)
    phones: int = 0
    buzzes: int = 0
    twice: int = 0
    missing: int = 0
    unexpected: int = 0
    sent_again: int = 0
    busiest_second: int = 0
    records: int = 0
    gifts: int = 0

    @property
    def ok(self) -> bool:
        """Whether every claim holds."""
        return all(claim.ok for claim in self.claims)


def audit(stage: Stage, played: Played) -> Report:
    """Check everything, and return it with the sentences that may now be said."""
    report = Report()
    rows = {row["id"]: row for row in stage.database.execute("select * from push_campaigns").fetchall()}
    names = {program: name for name, program in stage.programs.items()}
    report.campaigns = [
        _result(stage, order, rows[order.campaign], names[order.program])
        for order in played.orders
        if order.campaign is not None
    ]
    _completed(report, len(played.orders))
    _phones(stage, played, report)
    _crash(stage, played, report)
    _ledger(stage, played, report)
    _records(stage, report)
    _birthdays(stage, report)
    window = stage.sandbox.window(count="all", limit=stage.rate)
    report.busiest_second = window["certainPeak"]
    report.claims.append(
        Claim(
            f"The pace was kept: {report.busiest_second:,} calls in the busiest second, {stage.rate:.0f}"
            " configured (a busy machine may be some calls off)",
            ok=report.busiest_second <= stage.rate * PACE_TOLERANCE,
        )
    )
    return report


def _result(stage: Stage, order: Order, row: Row, program: str) -> CampaignResult:
    listed = Counter(
        found["reason"]
        for found in stage.database.execute(
            "select reason from passbell.list_entries where campaign_id = %s", (row["id"],)
        )
    )
    seconds = (row["completed_at"] - row["started_at"]).total_seconds() if row["completed_at"] else 0.0
    return CampaignResult(
        name=row["name"],
        program=program,
        status=row["status"],
        detail=row["status_detail"] or "",
        **order.funnel,
        unknown=listed["unknown_member"] + listed["unusable"],
        twice=listed["duplicate"],
        recipients=row["recipient_count"],
        buzzed=row["sent_count"],
        failed=row["failed_count"],
        skipped=row["skipped_count"],
        seconds=round(seconds, 2),
    )


def _completed(report: Report, placed: int) -> None:
    open_ones = [
        f"{one.name} is {one.status}: {one.detail}" for one in report.campaigns if one.status != "COMPLETED"
    ]
    report.claims.append(
        Claim(
            f"All {placed} campaigns are completed",
            ok=not open_ones and len(report.campaigns) == placed,
            found="; ".join(open_ones),
        )
    )


def _phones(stage: Stage, played: Played, report: Report) -> None:
    """Compare the alerts that the phones showed with those that they had to show."""
    shown = Counter((buzz["record"], buzz["text"]) for buzz in stage.sandbox.buzzes())
    wanted = Counter((record, text) for order in played.orders for record, text in order.expected.items())
    missing, surplus = wanted - shown, shown - wanted
    report.buzzes = shown.total()
    report.phones = len({record for record, _ in shown})
    report.missing = missing.total()
    report.twice = sum(count for alert, count in surplus.items() if alert in wanted)
    report.unexpected = surplus.total() - report.twice
    report.claims += [
        Claim(
            f"No member was missed: each of the {wanted.total():,} alerts that had to appear did,"
            " with the right words",
            ok=not missing,
            found=f"{report.missing:,} did not, for example {_examples(missing)}",
        ),
        Claim(
            "No phone buzzed twice for the same campaign: 0 double buzzes",
            ok=report.twice == 0,
            found=f"{report.twice:,} double buzzes, for example {_examples(surplus)}",
        ),
        Claim(
            "No phone buzzed without a wallet pass, after an opt-out, or outside the audience",
            ok=report.unexpected == 0,
            found=f"{report.unexpected:,} such alerts, for example {_examples(surplus)}",
        ),
    ]


def _crash(stage: Stage, played: Played, report: Report) -> None:
    """Count what was sent again after the crash: the pushes that PassKit took beyond the deliveries."""
    sent = sum(one.buzzed for one in report.campaigns)
    report.sent_again = stage.sandbox.overview()["pushes"] - sent
    if played.crash is None:
        return
    under_way = played.crash.taken - played.crash.recorded
    report.claims.append(
        Claim(
            f"The crash cost nothing: {under_way:,} pushes were in flight; {report.sent_again:,} were sent"
            " again, with the same bytes, and a phone does not show those twice",
            ok=report.sent_again >= 0,
            found=f"PassKit took {-report.sent_again:,} pushes fewer than the ledger says",
        )
    )


def _ledger(stage: Stage, played: Played, report: Report) -> None:
    """Every recipient has one outcome; the ledger agrees with the phones; one audit row per campaign."""
    violations = played.violations + [
        f"{row['name']}: {row['violation']}"
        for row in stage.database.execute(
            "select name, violation from passbell.check_conservation()"
        ).fetchall()
    ]
    left = stage.database.execute("select count(*) as n from passbell.chunks").fetchone()
    unequal = [
        one.name for one in report.campaigns if one.buzzed + one.failed + one.skipped != one.recipients
    ]
    expected = {order.campaign: len(order.expected) for order in played.orders}
    sent = {
        row["campaign_id"]: row["n"]
        for row in stage.database.execute(
            "select campaign_id, count(*) as n from passbell.deliveries where outcome = 'sent'"
            " group by campaign_id"
        )
    }
    if left is not None and left["n"]:
        violations.append(f"{left['n']} chunks are left")
    violations += [f"{name} does not add up" for name in unequal]
    report.claims += [
        Claim(
            f"The conservation law held in each of {played.looks + 1} checks: waiting + done = recipients,"
            " and no pass is in both",
            ok=not violations,
            found="; ".join(violations[:NAMED]),
        ),
        Claim(
            f"The ledger agrees with the phones: {sum(sent.values()):,} deliveries",
            ok=sent == {campaign: count for campaign, count in expected.items() if count}
            and sum(sent.values()) == report.buzzes,
            found=f"it says {sum(sent.values()):,}, the phones {report.buzzes:,}",
        ),
    ]
    logged = Counter(
        row["campaign_id"]
        for row in stage.database.execute("select campaign_id from notification_logs").fetchall()
    )
    report.claims.append(
        Claim(
            "notification_logs has exactly one row per campaign",
            ok=logged == Counter(order.campaign for order in played.orders),
            found=f"{logged.total()} rows for {len(logged)} campaigns",
        )
    )


def _records(stage: Stage, report: Report) -> None:
    """Compare every record at PassKit with what it was, the message aside."""
    kinds = {record.program_id: record.protocol for record in stage.records.values()}
    changed: list[str] = []
    with httpx.Client(
        base_url=stage.passkit_url,
        headers={"Authorization": f"Bearer {WALLET_TOKEN}"},
        timeout=60,
        trust_env=False,
    ) as passkit:
        for program, protocol in kinds.items():
            answer = passkit.post(
                LISTS[protocol].format(program),
                json={"filters": {"limit": -1}}
                | ({"production": {"id": program}} if protocol == "EVENT_TICKET" else {}),
            )
            answer.raise_for_status()
            for line in answer.content.splitlines():
                record: dict[str, Any] = orjson.loads(line)["result"]
                before = stage.records[record["id"]]
                report.records += 1
                if (
                    _without_message(record.get("metaData") or {}) != _without_message(before.meta_data)
                    or (record.get("points") or 0) != before.points
                ):
                    changed.append(before.external_id)
    report.claims.append(
        Claim(
            f"Nothing else was touched: the other metaData keys and the points of {report.records:,} records"
            " at PassKit are what they were",
            ok=not changed and report.records == len(stage.records),
            found=f"{len(changed):,} have changed, for example {', '.join(changed[:NAMED])}",
        )
    )


def _birthdays(stage: Stage, report: Report) -> None:
    """One gift per person and year, booked by the platform's own function."""
    row = stage.database.execute(
        """
        select count(*) as gifts, count(distinct (b.pass_id, b.year)) as once,
               (select count(*) from transactions t where t.value_change = 50) as booked
          from birthday_logs b
        """
    ).fetchone()
    assert row is not None  # noqa: S101 - counts always answer
    report.gifts = row["gifts"]
    report.claims.append(
        Claim(
            f"{report.gifts} birthday gifts: 50 points each, booked by the platform's own function,"
            " once a year",
            ok=row["gifts"] == row["once"] == row["booked"],
            found=f"{row['gifts']} gifts for {row['once']} people, {row['booked']} bookings",
        )
    )


def _without_message(meta: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in meta.items() if name != MESSAGE_KEY}


def _examples(alerts: Counter[tuple[str, str]]) -> str:
    return ", ".join(f"{record}: {text!r}" for record, text in list(alerts)[:NAMED])
