"""The daemon: it claims, paces, sends and reports. All truth is in the database; see sql/functions.

One loop has one duty; `supervision` runs them side by side and ends them together:

    campaigns   claim a due campaign, freeze its audience
    chunks      claim chunks while there is room; `held` is a chunk in hand, `sending` pushes its recipients
    watch       (in chunks) renew leases, notice pause and cancel, report slow chunks in parts
    health      tell an outage from a bad pass, open and close the account's breaker
    pacing      when the next request may leave, over all daemons
    worker      heartbeat; free what dead neighbours held
    listener    LISTEN, to be quicker than the poll
    work        how lists, imports, birthdays and automations are claimed, renewed, and ended or handed back
    schedule    the timed duties, run by APScheduler; the database decides which daemon runs which day

Invariants kept here, beside those that the SQL functions keep:

1. No transaction is open across HTTP: every database call is one statement in autocommit.
2. Nothing is sent without a slot of the account's rate, taken from the database.
3. Between taking its turn and sending, a lane asks whether the chunk is still ours and still wanted: a daemon that
   was stopped longer than its lease wakes up, sees that by its own clock, and sends nothing.
4. What was decided is reported before the chunk is forgotten; what was not decided is left in the chunk, and the next
   worker sends it with the same bytes.
"""
