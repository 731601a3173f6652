"""The daemon: it claims, paces, sends and reports. All truth is in the database; see `sql/README`.

The way of a pass, by function calls alone. `Queue` is in `passbell.database.calls`, `RateLimit` in
`passbell.database.limits`, `PassKit` in `passbell.passkit.client`. The number beside an SQL function is that of its
file in `sql/functions`. The classes of this package are in the module of their duty, listed below.

    order    public.push_campaigns           a row; CampaignLoops claims it when it is due
     │       Queue.claim_campaign            passbell.claim_campaign (22) freezes its audience
    row      passbell.chunks                 a pass id among those that are still to be sent
     │       ChunkLoop._claim                while there is room: Queue.claim_chunk, under a token that we choose
    claim    passbell.claim_chunk (30)       leases the chunk that is next (26)
    judge    passbell.prepare_chunk (27)     uninstalled, opted out or over a limit: a skipped row
     │       ChunkLoop._work                 a task for each chunk in hand, a HeldChunk: Sender.send
    read     Sender._read                    PassKit.read_metadata: what the records hold, a hundred in one request
     │       Lanes.add, Lanes._lane          in line with other programs' chunks; a lane takes the next pass
    push     Sender._deliver, Sender._push   PassKit.push for a PacedCaller, an argument down to the transport
     │       PassKit._ask_once               asks the caller for a slot, then makes the request
     │       PacedCaller.take_slot           may the request still be made?
     │       Pacer.wait                      the request's slot of the rate has come
     │       Blocks.ask                      RateLimit.take_slots, bound in `accounts`: passbell.take_slots (40)
     │       Transport.request               over_httptools, or over_httpx behind a proxy: bytes out, an answer in
     │       answers.taken, .not_taken       HTTP status → Verdict, by answers.verdict_of
     │       Sender._stops                   Health.is_down, .is_refused: is it PassKit or the account, not this pass?
     │       HeldChunk.decide                Verdict → Outcome, noted in memory for a second at most
    report   ChunkLoop._finish, ._report     HeldChunk.report: what is in doubt becomes Outcome.MAYBE
     │       Queue.finish_chunk              passbell.finish_chunk (31): ledger, chunk and counters in one transaction
     │       count_outcomes                  its counts are the metrics (passbell.ops.metrics)
    row      passbell.deliveries             sent or failed; or again in passbell.chunks, for another attempt

The states of a chunk in hand:

    claimed ─ Sender._read ─▶ reading ─ Lanes.add ─▶ in line ◀───────── some are left ────────┐
       │                         │                      │ HeldChunk.pick                      │
       │                         │                      ▼                                     │
       │                         │                  in flight ─ HeldChunk.decide, .leave ─▶ picked?
       │                         │                      │                                     │ all
       └───── HeldChunk.stop ────┴──────────────────────┤ what is in flight ends              │
              with a Stop                               ▼                                     │
                                                     through ◀────────────────────────────────┘
                                                        │ ChunkLoop._finish, again with backoff
                                                        ▼
                                          reported, or lost: lease or token are over

    Meanwhile ChunkLoop.keep_leases renews the lease, notices pause, cancel and opt-outs, and reports slow chunks in
    parts. A lost chunk (Stop.LOST) is neither sent nor reported.

One loop has one duty. `daemon` starts them. `loops` runs them side by side, wakes them (one small question for all of
them, the poll) and ends them together:

    campaigns   claim a due campaign, freeze its audience
    lists       download and read a campaign's list, beside the claims
    imports     work off CSV imports
    chunks      the way above: `held` is a chunk in hand, `sending` has the lanes that take its recipients one by one
    health      tell an outage from a bad pass, open and close the account's breaker
    accounts    a client, a rate and a breaker for each PassKit account
    pacing      when the next request may leave, over all daemons; `blocks` are its slots, `fairline` its line
    worker      heartbeat; free what dead neighbours held
    listener    LISTEN, to be quicker than the poll
    work        how lists, imports, birthdays and automations are claimed, renewed, and ended or handed back
    schedule    the timed duties, run by APScheduler; the database decides which daemon runs which day

Invariants kept here, beside those that the SQL functions keep:

1. No transaction is open across HTTP: every database call is one statement in autocommit.
2. No request leaves without a slot of the account's rate, taken from the database.
3. Between the wait for its slot and the request, a lane asks whether the chunk is still ours and still wanted: a daemon
   that was stopped longer than its lease wakes up, sees that by its own clock, and sends nothing.
4. What was decided is reported before the chunk is forgotten. What was not decided is left in the chunk, and the next
   worker sends it with the same bytes.
"""
