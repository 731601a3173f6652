"""Results against towns whose truth is known: nothing is claimed of nothing, and what was planted is found."""

from __future__ import annotations

import math
import os
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from support.year import START, year

if TYPE_CHECKING:
    from support.shop import Row, Shop

LONG = bool(os.environ.get("PASSBELL_LONG"))
LATER = START + timedelta(days=20_000)


def counted(shop: Shop, program: UUID) -> list[Row]:
    """Every campaign of a program, counted when all windows have closed."""
    shop.clock(LATER)
    return shop.rows(
        "select r.* from push_campaigns c, push_results(c.id) r where c.program_id = %s order by c.started_at",
        [program],
    )


def mean_and_error(values: list[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((one - mean) ** 2 for one in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


@pytest.mark.parametrize("base", [0.05, 0.15] if LONG else [0.1])
def test_a_town_without_effect_is_told_of_none(town: Shop, base: float) -> None:
    """500 campaigns that do nothing: `more` or `fewer` is said of at most one in twenty, and what chance allows."""
    campaigns = 2000 if LONG else 500
    rows = counted(town, year(town, f"aa {base}", campaigns=campaigns, members=150, percent=30, base=base))
    rows = [row for row in rows if row["verdict"] != "untrusted"]  # one draw in some hundred is odd by chance
    assert len(rows) >= 0.98 * campaigns
    claims = sum(row["verdict"] in {"more", "fewer"} for row in rows)
    assert claims <= 0.05 * campaigns + 2.6 * math.sqrt(0.05 * 0.95 * campaigns)
    mean, error = mean_and_error([row["diff"] for row in rows])
    assert abs(mean) <= 2 * error


@pytest.mark.parametrize("effect", [0.02, 0.03, 0.05])
def test_planted_effects_are_found_without_bias(town: Shop, effect: float) -> None:
    """Singly: the mean of a hundred estimates is the truth within two standard errors; intervals hold it 95 times."""
    campaigns = 400 if LONG else 100
    program = year(town, f"planted {effect}", campaigns=campaigns, members=300, base=0.06, effect=effect)
    rows = counted(town, program)
    rows = [row for row in rows if row["verdict"] != "untrusted"]
    mean, error = mean_and_error([row["diff"] for row in rows])
    assert abs(mean - effect) <= 2 * error
    covered = sum(row["diff_lo"] <= effect <= row["diff_hi"] for row in rows) / len(rows)
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / campaigns)


@pytest.mark.parametrize("effect", [0.02, 0.03, 0.05])
def test_a_small_restaurants_year_adds_up(town: Shop, effect: float) -> None:
    """The sum of 26 campaigns of 300 members with 10 % held back is within two standard errors of the truth."""
    program = year(town, f"sum {effect}", campaigns=26, members=300, base=0.05, effect=effect)
    trusted = sum(row["verdict"] != "untrusted" for row in counted(town, program))
    assert trusted >= 25
    total = town.row("select * from push_results_total(%s)", [program])
    assert total["campaigns"] == trusted
    error = (total["diff_hi"] - total["diff_lo"]) / (2 * 1.959964)
    assert abs(total["diff"] - effect) <= 2 * error
    assert total["extra"] == pytest.approx(total["sent"] * total["diff"])


def test_sums_without_effect_claim_something_in_one_of_twenty(town: Shop) -> None:
    """A hundred programs with six campaigns each that do nothing; Sato's interval holds the truth in 95 of them."""
    town.clock(LATER)
    programs = 300 if LONG else 80
    wrong = 0
    for n in range(programs):
        program = year(town, f"sums {n}", campaigns=6, members=60, percent=30, base=0.1)
        town.value("select passbell.count_due_results(100, %s)", [program])
        total = town.row("select * from push_results_total(%s)", [program])
        assert total["campaigns"] >= 5
        wrong += not total["diff_lo"] <= 0 <= total["diff_hi"]
    assert wrong <= 0.05 * programs + 2.6 * math.sqrt(0.05 * 0.95 * programs)


def test_an_uneven_gate_between_freeze_and_send_does_not_lie(shop: Shop) -> None:
    """Half the audience, who never come, uninstall, opt out and are capped after the freeze: nothing is claimed.

    With the lot drawn at the freeze the same town would show a message that does nothing and brings people.
    The ids are always the same, and so is what the lot draws: an interval of 95 % misses one town in twenty.
    """
    program = shop.program()
    shop.members(program, 4000)
    shop.conn.execute("update passes_master set id = md5('gate ' || passkit_internal_id)::uuid")
    members = [row["id"] for row in shop.rows("select id from passes_master order by id")]
    gone, out, full = members[:700], members[700:1400], members[1400:2000]
    shop.conn.execute(
        "insert into users (id, email, marketing_opt_in) select id, id || '@example.com', true from passes_master"
    )
    shop.conn.execute("update passes_master set user_id = id")
    campaign = shop.campaign(program, id=UUID(int=25), holdout_percent=25)
    shop.start(campaign, 1000)
    shop.conn.execute("update passes_master set status = 'UNINSTALLED' where id = any (%s)", [gone])
    shop.conn.execute("update users set marketing_opt_in = false where id = any (%s)", [out])
    shop.conn.execute(
        "insert into passbell.deliveries (campaign_id, pass_id, sent_at, outcome, text_hash)"
        " select gen_random_uuid(), p, passbell.now() - make_interval(mins => n), 'sent', n"
        "   from unnest(%s::uuid[]) p, generate_series(1, 3) n",
        [full],
    )
    shop.send_chunks(cap=3)
    shop.conn.execute("delete from passbell.deliveries where campaign_id <> %s", [campaign])
    frozen = shop.rows(
        "select d.pass_id, d.outcome, d.reason, passbell.lot(d.pass_id, %s) < 0.25 as lot from passbell.deliveries d",
        [str(campaign)],
    )
    assert {row["reason"] for row in frozen} == {None, "held_out", "not_installed", "opted_out", "capped"}
    reached = [row["pass_id"] for row in frozen if row["reason"] in {None, "held_out"}]
    assert len(reached) == 2000
    shop.conn.execute(
        "insert into transactions (pass_id, action_type, value_change, created_at)"
        " select p, 'MEMBER_EARN', 1, passbell.now() + interval '1 day' from unnest(%s::uuid[]) p"
        "  where passbell.lot(p, 'come') < 0.3",
        [reached],
    )
    came = {row["pass_id"] for row in shop.rows("select distinct pass_id from transactions")}
    shop.clock("2026-06-20T12:00:00Z")
    result = shop.row("select * from push_results(%s)", [campaign])
    assert result["sent"] + result["held"] == 2000
    assert result["diff_lo"] <= 0 <= result["diff_hi"]
    assert result["verdict"] == "unclear"

    held = [row for row in frozen if row["lot"]]
    sent = [row for row in frozen if row["outcome"] == "sent"]
    k1, k0 = (sum(row["pass_id"] in came for row in arm) for arm in (sent, held))
    biased = shop.row("select * from passbell.newcombe(%s, %s, %s, %s)", [k1, len(sent), k0, len(held)])
    assert biased["lo"] > 0.1, "drawn at the freeze, the same town shows an effect that is not there"
