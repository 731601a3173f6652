-- Daily runs: what the birthday bot and automations have in common.
--
--   rule       the birthday bot of a program, or a row of push_automations
--   run        one row per rule and local date (birthday_runs, automation_runs); a daemon holds it by a lease
--   proof      one row per person and occasion (birthday_logs, occasions): unique, and written in one subtransaction with the points
--   campaign   one per run (69_day_campaigns): the messages are ordinary work of the queue
--
-- Which dates and which members are due differs per rule (53_birthdays and 55_birthday_runs, 62_occasions and
-- 65_automation_runs). What they share is here. Locks are taken in this order: the run, what the rule keeps, the host's rows by pass
-- id, the campaign, its chunks. Two runs that pay the same members at the same time therefore wait for each other, and never
-- in a circle.

-- ── the lease ────────────────────────────────────────────────────────────────────────────────────────────────

-- Is a run open, unleased and not pausing? A lease or pause that lies further ahead than any that is given was written
-- before the clock jumped back, and does not count.
create or replace function passbell.run_is_free(
    p_completed_at timestamptz, p_lease_until timestamptz, p_not_before timestamptz, p_lease_seconds double precision) returns boolean
language sql stable
set search_path = ''
as $$
    select p_completed_at is null
       and not coalesce(p_lease_until > n.t and p_lease_until <= n.t + greatest(passbell.lease(p_lease_seconds), interval '10 minutes'), false)
       and not (p_not_before > n.t and p_not_before <= n.t + interval '1 hour')
      from (select passbell.now() as t) n
$$;

-- Takes the first of these due runs that is free, in the order given; NULLs if none is. Called by claim_birthday_run and
-- claim_automation_run, which know what is due. The insert decides who runs: of two daemons one gets the row back. A run whose
-- worker died is taken over when its lease has run out, one with failed awards when its pause is over.
--
-- Another session may hold a run: a person's, by hand, in a transaction that is left open. Such runs are waited for by 300 ms in
-- all, and their program is passed over.
create or replace function passbell.claim_run(
    p_birthdays boolean, p_subjects uuid[], p_programs uuid[], p_dates date[], p_worker uuid, p_lease_seconds double precision, p_token uuid,
    out subject uuid, out local_date date, out attempt integer)
language plpgsql
set search_path = ''
set lock_timeout = '1s'         -- also what the change below is undone by, when the function returns
as $$
#variable_conflict use_column
declare
    v_now    constant timestamptz := passbell.now();
    v_until  constant timestamptz := v_now + passbell.lease(p_lease_seconds);
    v_due    record;
    v_began  timestamptz;
    v_busy   uuid[] := array[]::uuid[];
    v_wait   integer := 300;        -- milliseconds that are left
begin
    for v_due in
        select d.subject, d.program_id, d.local_date from unnest(p_subjects, p_programs, p_dates) as d (subject, program_id, local_date)
    loop
        continue when v_due.program_id = any (v_busy);
        v_began := clock_timestamp();
        perform set_config('lock_timeout', v_wait || 'ms', true);
        begin
            perform passbell.enter_turns(array[v_due.program_id]);
            if p_birthdays then
                insert into passbell.birthday_runs as r (program_id, local_date, started_at, not_before, worker, lease_until, claim_token)
                values (v_due.subject, v_due.local_date, v_now, '-infinity', p_worker, v_until, p_token)
                on conflict (program_id, local_date) do update
                   set worker = excluded.worker, lease_until = excluded.lease_until, claim_token = excluded.claim_token
                 where passbell.run_is_free(r.completed_at, r.lease_until, r.not_before, p_lease_seconds)
                returning r.program_id, r.local_date, r.attempt into subject, local_date, attempt;
            else
                insert into passbell.automation_runs as r (automation_id, local_date, program_id, started_at, worker, lease_until, claim_token)
                values (v_due.subject, v_due.local_date, v_due.program_id, v_now, p_worker, v_until, p_token)
                on conflict (automation_id, local_date) do update
                   set worker = excluded.worker, lease_until = excluded.lease_until, claim_token = excluded.claim_token
                 where passbell.run_is_free(r.completed_at, r.lease_until, r.not_before, p_lease_seconds)
                returning r.automation_id, r.local_date, r.attempt into subject, local_date, attempt;
            end if;
        exception when lock_not_available then
            v_busy := v_busy || v_due.program_id;
            v_wait := greatest(10, v_wait - (extract(epoch from clock_timestamp() - v_began) * 1000)::integer);
            continue;
        end;
        exit when subject is not null;
    end loop;
end
$$;

-- When a run whose pass failed is taken up again: after 1, 2, 4 … 60 minutes.
create or replace function passbell.run_again_at(p_attempt integer) returns timestamptz
language sql stable
set search_path = ''
as $$
    select passbell.now() + make_interval(mins => least(60, power(2, least(p_attempt, 6)))::integer)
$$;

-- Hands a run back for some seconds, in the middle of a pass: the runs of others are claimed before it. Of a rule that was
-- switched off meanwhile nothing is left to do.
create or replace function passbell.rest_run(p_subject uuid, p_date date, p_worker uuid, p_seconds double precision) returns void
language sql
set search_path = ''
as $$
    update passbell.birthday_runs r
       set worker = null, lease_until = null, not_before = passbell.now() + make_interval(secs => least(greatest(coalesce(p_seconds, 0), 0), 60))
     where r.program_id = p_subject and r.local_date = p_date and r.worker = p_worker;
    update passbell.automation_runs r
       set worker = null, lease_until = null, not_before = passbell.now() + make_interval(secs => least(greatest(coalesce(p_seconds, 0), 0), 60))
     where r.automation_id = p_subject and r.local_date = p_date and r.worker = p_worker and r.completed_at is null;
$$;

-- Ends the leases of workers that are gone, on runs of both kinds; NULL: of all workers.
create or replace function passbell.free_runs(p_workers uuid[]) returns void
language sql
set search_path = ''
as $$
    update passbell.birthday_runs   r set worker = null, lease_until = null where r.worker is not null and (p_workers is null or r.worker = any (p_workers));
    update passbell.automation_runs r set worker = null, lease_until = null where r.worker is not null and (p_workers is null or r.worker = any (p_workers));
$$;

-- ── the points ───────────────────────────────────────────────────────────────────────────────────────────────

-- Gives people of a run their points, each once, in the order that is given, which is by pass id. No person is begun after
-- p_until, except the first, so that every call makes progress. One row per person that was tried:
--
--   given       proof and points are there
--   already     the proof was there before
--   failed      with the reason: the award function refused or raised, or a lock was not to be had
--   timed_out   the caller's statement_timeout struck while this award hung. It strikes once per statement: the last row
--
-- A locked row of the host is waited for for three seconds, by all people of the call together: the locks of those before
-- are held meanwhile.
create or replace function passbell.give_each(
    p_automation public.push_automations, p_program uuid, p_date date, p_points integer, p_message text, p_people passbell.on_occasion[], p_until timestamptz)
returns table (pass_id uuid, person_id uuid, occasion text, opted_in boolean, outcome text, reason text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_person    passbell.on_occasion;
    v_given     record;
    v_began     timestamptz;
    v_patience  integer := 3000;        -- milliseconds of waiting for locks that are left
    v_deferred  constant text := passbell.deferred_rules();
begin
    foreach v_person in array p_people loop
        exit when v_began is not null and clock_timestamp() >= p_until;
        v_began := clock_timestamp();
        select g.outcome, g.reason, g.locked into v_given
          from passbell.give_once(p_automation, p_program, p_date, p_points, p_message, v_person, v_patience, v_deferred) g;
        if v_given.locked then
            v_patience := greatest(20, v_patience - (extract(epoch from clock_timestamp() - v_began) * 1000)::integer);
        end if;
        pass_id := v_person.pass_id;    person_id := v_person.person_id;    occasion := v_person.occasion;
        opted_in := v_person.opted_in;  outcome := v_given.outcome;         reason := v_given.reason;
        return next;
        exit when outcome = 'timed_out';
    end loop;
end
$$;

-- One person of give_each, in a subtransaction, so that an award that fails undoes no other gift. p_automation NULL is
-- the birthday bot: its proof is a row of birthday_logs, with the text that the member will read. A cancel that is not the
-- time-out's (Ctrl-C, pg_cancel_backend) goes through. `locked`: it failed because a lock was not free within
-- p_lock_milliseconds. p_deferred: see hear_deferred.
create or replace function passbell.give_once(
    p_automation public.push_automations, p_program uuid, p_date date, p_points integer, p_message text,
    p_person passbell.on_occasion, p_lock_milliseconds integer, p_deferred text,
    out outcome text, out reason text, out locked boolean)
language plpgsql
set search_path = ''
set lock_timeout = '3s'         -- also what the change below is undone by, when the function returns
as $$
declare
    v_birthday  constant boolean := p_automation.id is null;
    v_year      constant integer := extract(year from p_date);
    v_timeout   numeric;
    v_noted     boolean;
begin
    locked := false;
    perform set_config('lock_timeout', p_lock_milliseconds || 'ms', true);
    begin
        if v_birthday then
            v_noted := passbell.note_gift(p_person.pass_id, p_program, p_date, p_points, case when p_person.opted_in then p_message end);
        else
            insert into passbell.occasions (automation_id, person_id, occasion, pass_id, local_date, moment)
            select p_automation.id, p_person.person_id, k.occasion, p_person.pass_id, p_date, case when k.occasion = p_person.occasion then p_person.moment end
              from unnest(p_person.keys) as k (occasion)
            on conflict do nothing;
            v_noted := found;
        end if;
        if not v_noted then
            outcome := 'already';
            return;
        end if;
        if p_points > 0 then
            perform passbell.award_gift(p_person.pass_id, p_points,
                                        case when v_birthday then 'Birthday ' || v_year else left(p_automation.name, 100) || ' ' || p_person.occasion end);
        end if;
        if v_birthday and p_person.opted_in and p_message ~ '[{}]' then        -- the text with this member's name and the balance as it is now
            update public.birthday_logs l set message_sent = passbell.member_text(p_person.pass_id, p_message)
             where l.pass_id = p_person.pass_id and l.year = v_year;
        end if;
        perform passbell.hear_deferred(p_deferred);
        outcome := 'given';
    exception
        when query_canceled then
            select s.setting::numeric into v_timeout from pg_catalog.pg_settings s where s.name = 'statement_timeout';
            if v_timeout = 0 or extract(epoch from clock_timestamp() - statement_timestamp()) * 1000 < v_timeout - 20 then
                raise;
            end if;
            outcome := 'timed_out';
            reason := 'the award took too long';
        when assert_failure or others then
            outcome := 'failed';
            reason := case when sqlstate = '55P03' then passbell.refusal('to give these points', sqlstate, sqlerrm)
                           else coalesce(nullif(btrim(sqlerrm), ''), sqlstate) end;
            locked := sqlstate = '55P03';
    end;
end
$$;

-- Writes the proof of a birthday gift: true if it was not there before. A proof that a rule or a trigger of the host's swallows is
-- no proof: raises PB422, and no points are given. PostgreSQL refuses ON CONFLICT for a table with a rule (CREATE RULE) on INSERT or
-- UPDATE, so a rule for one program would refuse the gifts of all. There the proof is looked for first, and the unique index decides
-- between two sessions.
create or replace function passbell.note_gift(p_pass uuid, p_program uuid, p_date date, p_points integer, p_message text) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_year  constant integer := extract(year from p_date);
begin
    if not passbell.has_rules('public.birthday_logs') then
        insert into public.birthday_logs (pass_id, program_id, year, local_date, created_at, points_awarded, message_sent)
        values (p_pass, p_program, v_year, p_date, passbell.now(), p_points, p_message)
        on conflict (pass_id, year) do nothing;
        if found then
            return true;
        end if;
    elsif not exists (select from public.birthday_logs l where l.pass_id = p_pass and l.year = v_year) then
        begin
            insert into public.birthday_logs (pass_id, program_id, year, local_date, created_at, points_awarded, message_sent)
            values (p_pass, p_program, v_year, p_date, passbell.now(), p_points, p_message);
            if exists (select from public.birthday_logs l where l.pass_id = p_pass and l.year = v_year) then
                return true;
            end if;
        exception when unique_violation then
            if not exists (select from public.birthday_logs l where l.pass_id = p_pass and l.year = v_year) then
                raise;
            end if;
        end;
    end if;
    if not exists (select from public.birthday_logs l where l.pass_id = p_pass and l.year = v_year) then
        perform passbell.swallowed('birthday_logs');
    end if;
    return false;
end
$$;

-- The award itself, with the search path that the host's function was written for: the callers' is empty, and a
-- function of the host that names its tables without a schema would not find them.
create or replace function passbell.award_gift(p_pass uuid, p_points integer, p_note text) returns void
language plpgsql
set search_path = public, extensions
as $$
begin
    perform passbell.award_points(p_pass, p_points, p_note);
    insert into passbell.awards (pass_id, at, points) values (p_pass, pg_catalog.now(), p_points)     -- by an award_points of the operator's own
        on conflict do nothing;
end
$$;

-- The programs' rows of passbell.turns, which claims need, before anything else of a run: inserting one waits for a session
-- that is inserting the same, and the one that waits holds nothing yet. Claims of a run do it as well, and commit at once, so that
-- no run waits for another one of its program.
create or replace function passbell.enter_turns(p_programs uuid[]) returns void
language sql
set search_path = ''
as $$
    insert into passbell.turns (program_id)
    select p from unnest(p_programs) as p
     where p is not null and not exists (select from passbell.turns t where t.program_id = p)
     order by p
    on conflict do nothing
$$;

-- What earlier versions had.
drop function if exists passbell.give_each(public.push_automations, uuid, text, date, integer, text, text[], passbell.on_occasion[], timestamptz);
drop function if exists passbell.give_once(public.push_automations, uuid, text, date, integer, text, text[], passbell.on_occasion, integer);
drop function if exists passbell.give_once(public.push_automations, uuid, text, date, integer, text, text[], passbell.on_occasion, integer, text);
drop function if exists passbell.gift_member(uuid, text, integer, date, uuid, text, text[]);
drop function if exists passbell.release_greetings(uuid, timestamptz);
drop function if exists passbell.may_take_run(passbell.birthday_runs, double precision);
drop function if exists passbell.may_take_automation_run(passbell.automation_runs, interval);
drop function if exists passbell.reward_person(public.push_automations, uuid, uuid, text[], text, date, timestamptz);
