"""The SQL functions, driven at random by several workers, beside a small Python model; and proof that it can fail."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from support.machine.whole import machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import MakeDatabase
    from support.machine.whole import Machine

    from .conftest import Report

LONG = os.environ.get("PASSBELL_LONG") == "1"
EXAMPLES = int(os.environ.get("PASSBELL_EXAMPLES", "1500" if LONG else "36"))

NO_GUARD = "alter table birthday_logs drop constraint birthday_logs_pass_id_year_key"
MUTANTS = {
    "finish_chunk does not ask for the claim token": (
        "finish_chunk",
        "and k.claim_token = p_claim_token",
        "",
    ),
    "a lease that holds is no reason not to claim": ("next_chunk", "k.ready_at <= p_now", "k.not_before <= p_now"),
    "paused campaigns go on": ("next_chunk", "c.status = 'PROCESSING'", "c.status in ('PROCESSING', 'PAUSED')"),
    "suspension is ignored": ("next_chunk", "and not g.suspended", ""),
    "who opted out meanwhile is sent to": ("prepare_chunk", "when not m.opted_in then 'opted_out'", ""),
    "who uninstalled meanwhile is sent to": ("prepare_chunk", "when not m.reachable then 'not_installed'", ""),
    "the cap allows one more": ("prepare_chunk", "m.today >= p_daily_cap", "m.today > p_daily_cap"),
    "the same words twice are not varied": ("prepare_chunk", "p_same_text = 'vary' and", "false and"),
    "a repeat is worded anew": ("prepare_chunk", "coalesce(t.text, v_plain,", "coalesce(v_plain,"),
    "two campaigns may have a pass under way": ("prepare_chunk", "when j.under_way then 'later'", ""),
    "a repeat does not look at later campaigns": ("prepare_chunk", "when m.overtaken then 'attempts_exhausted'", ""),
    "what is handed back after a crash is certainly unsent": ("finish_chunk", "or v_chunk.uncertain", ""),
    "attempts are not counted": ("finish_chunk", "v_tried := v_chunk.attempt + 1", "v_tried := v_chunk.attempt"),
    "a report does not settle": ("book_outcomes", "perform passbell.settle_campaign(p_campaign)", "null"),
    "counters count one thing only": ("book_outcomes", "failed_count = failed_count + p_failed, ", ""),
    "cancelling takes chunks from their holders": ("drain_cancelled", "or k.lease_until <= v_now", "or true"),
    "retrying forgets the text": ("reopen_failed", "array_agg(f.text order by f.pass_id)", "null"),
    "erasing does not look for a lease": ("hold_for_erasure", "k.lease_until > passbell.now()", "false"),
    "retention takes the newest row": ("prune", "l.outcome <> 'sent'", "true"),
    "nothing proves that a gift is given once": ("", NO_GUARD, ""),
    "the points twice": ("give_once", "award_gift(p_person.pass_id, ", "award_gift(p_person.pass_id, 2 * "),
    "everybody is greeted": ("give_gifts", "t.outcome = 'given' and t.opted_in", "t.outcome = 'given'"),
    "opted-out people are in the audience": ("expand_campaign", "and r.opted_in and", "and"),
    "renewing revives what is lost": ("renew_leases", " and k.claim_token = any (p_claim_tokens);", ";"),
}  # fmt: skip
QUICK = (
    "finish_chunk does not ask for the claim token",
    "who opted out meanwhile is sent to",
)


def run(machine: Callable[[], Machine], examples: int, *, shrink: bool = True) -> None:
    """Draw examples; the same ones each time in the short form."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=60 if LONG else 40,
            derandomize=not LONG,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
            report_multiple_bugs=False,
            print_blob=True,
        ),
    )


@pytest.mark.timeout(7_200 if LONG else 300)
def test_the_queue_does_what_the_model_says(database: MakeDatabase, report: Report) -> None:
    """After any sequence of claims, outcomes, crashes, pauses, gifts and erasures, the queue equals the model."""
    drive, tally = machine(database("2"))
    run(drive, EXAMPLES)
    assert tally["steps"] > 10 * EXAMPLES
    assert min(tally["sent"], tally["gifts"], tally["campaigns"]) > EXAMPLES / 4
    report(
        "model",
        "every state as the model says",
        "{steps:,} calls, {campaigns:,} campaigns, {sent:,} sent, {gifts:,} gifts: no difference".format(
            **tally
        ),
    )


def mutated(conn: psycopg.Connection[Any], function: str, old: str, new: str) -> bytes:
    """The definition of a function with one thing changed."""
    row = conn.execute(
        "select pg_get_functiondef(p.oid) from pg_proc p where p.proname = %s"
        " and p.pronamespace in ('passbell'::regnamespace, 'public'::regnamespace)",
        [function],
    ).fetchone()
    assert row is not None
    assert old in row[0], f"{function} reads otherwise by now: write this mutant anew"
    changed: str = row[0].replace(old, new)
    return changed.encode()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", MUTANTS if LONG else QUICK)
def test_the_model_notices_a_broken_rule(database: MakeDatabase, report: Report, mutant: str) -> None:
    """If a rule of the queue is broken on purpose, the model test fails."""
    function, old, new = MUTANTS[mutant]
    url = database("2")
    with psycopg.connect(url) as conn:
        conn.execute(old.encode() if not function else mutated(conn, function, old, new))
    drive, tally = machine(url)
    with pytest.raises((AssertionError, psycopg.Error)):
        run(drive, 3_000 if LONG else 300, shrink=False)
    report("model", f"a mutant is found: {mutant}", f"after {tally['steps']:,} calls")
