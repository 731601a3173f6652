-- Automation runs: one per automation and local date. Like birthday runs: the row decides who runs the day, the row in
-- passbell.occasions is the proof that a message was due once, and the messages are one ordinary campaign (kind AUTOMATION).

-- Before every write to push_automations: reads what people typed, in sentences, and keeps their hands off what the
-- engine writes. Raises PB400.
create or replace function passbell.automation_guard() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_engine  constant boolean := passbell.is_engine();
begin
    if tg_op = 'DELETE' then
        if exists (select from public.push_campaigns c where c.automation_id = old.id and c.status in ('PENDING', 'PROCESSING', 'PAUSED')) then
            raise exception 'Automation "%" has a campaign that is not over: cancel that before deleting it.', old.name using errcode = 'PB422';
        end if;
        delete from passbell.automation_runs   r where r.automation_id = old.id;
        delete from passbell.occasions         o where o.automation_id = old.id;
        delete from passbell.occasion_failures f where f.automation_id = old.id;
        delete from passbell.crossings         c where c.automation_id = old.id;
        return old;
    end if;
    if v_engine then
        return new;
    end if;

    new.occasion := btrim(new.occasion);
    new.send_days := nullif(replace(upper(coalesce(new.send_days, '')), ' ', ''), '');
    new.name := coalesce(nullif(left(btrim(new.name), 200), ''), new.occasion);
    new.is_on := coalesce(new.is_on, false);
    new.send_at := coalesce(new.send_at, '09:00');
    new.again_after_days := coalesce(new.again_after_days, 0);
    new.catch_up_days := coalesce(new.catch_up_days, 7);
    new.holdout_percent := coalesce(new.holdout_percent, 10);
    new.measure_days := coalesce(new.measure_days, 7);
    new.reward_points := coalesce(new.reward_points, 0);
    new.priority := coalesce(new.priority, 5);
    -- Switching off is always possible, whatever has become of the rule or the segment since.
    if tg_op = 'INSERT' or new.is_on or new.occasion is distinct from old.occasion then
        perform passbell.parse_occasion(new.occasion);
    end if;
    if tg_op = 'INSERT' or new.is_on or new.message_text is distinct from old.message_text then
        if coalesce(btrim(new.message_text), '') = '' then
            raise exception 'Which words? message_text is empty.' using errcode = 'PB400';
        end if;
        perform passbell.compile_message(new.message_text);
    end if;
    if (tg_op = 'INSERT' or new.is_on or new.target_query is distinct from old.target_query)
       and exists (select from passbell.parse_target(new.target_query) t where t.segment = 'CSV') then
        raise exception 'The audience of an automation is looked up every day: it cannot be a list.' using errcode = 'PB400';
    end if;
    if new.send_days is not null and (new.send_days !~ '^((MON|TUE|WED|THU|FRI|SAT|SUN)(,|$))+$' or new.send_days ~ ',$') then
        raise exception 'send_days is days such as THU,FRI, or empty for every day, not "%".', left(new.send_days, 60) using errcode = 'PB400';
    elsif not new.again_after_days between 0 and 3650 then
        raise exception 'again_after_days is a number from 0 to 3,650, not %.', new.again_after_days using errcode = 'PB400';
    elsif not new.catch_up_days between 0 and 60 then
        raise exception 'catch_up_days is a number from 0 to 60, not %.', new.catch_up_days using errcode = 'PB400';
    elsif new.daily_limit <= 0 then
        raise exception 'daily_limit is a number above 0, or empty for none, not %.', new.daily_limit using errcode = 'PB400';
    elsif not new.holdout_percent between 0 and 50 then
        raise exception 'holdout_percent is a number from 0 to 50, not %.', new.holdout_percent using errcode = 'PB400';
    elsif not new.measure_days between 1 and 60 then
        raise exception 'measure_days is a number from 1 to 60, not %.', new.measure_days using errcode = 'PB400';
    elsif not new.reward_points between 0 and 1000000 then
        raise exception 'reward_points is a number from 0 to 1,000,000, not %.', new.reward_points using errcode = 'PB400';
    elsif not new.priority between 0 and 9 then
        raise exception 'priority is a number from 0 to 9, not %.', new.priority using errcode = 'PB400';
    elsif new.ends_on < new.starts_on then
        raise exception 'ends_on (%) lies before starts_on (%).', to_char(new.ends_on, 'YYYY-MM-DD'), to_char(new.starts_on, 'YYYY-MM-DD') using errcode = 'PB400';
    elsif not exists (select from passbell.programs g where g.program_id = new.program_id) then
        raise exception 'There is no program %.', coalesce(new.program_id::text, '(none given)') using errcode = 'PB404';
    end if;

    new.updated_at := passbell.now();
    if tg_op = 'INSERT' then
        new.created_at := passbell.now();
        new.created_by := passbell.caller();
        new.switched_on_on := case when new.is_on then passbell.local_date(new.program_id) end;
        new.last_run_on := null;   new.fired_count := 0;   new.status_detail := null;
    else
        if new.program_id <> old.program_id then
            raise exception 'An automation stays with its program: make a new one.' using errcode = 'PB422';
        end if;
        new.id := old.id;   new.created_at := old.created_at;   new.created_by := old.created_by;
        new.last_run_on := old.last_run_on;   new.fired_count := old.fired_count;   new.status_detail := old.status_detail;
        new.switched_on_on := case when new.is_on and (not old.is_on or passbell.occasion_name(new.occasion) is distinct from passbell.occasion_name(old.occasion))
                                   then passbell.local_date(new.program_id) else old.switched_on_on end;
    end if;
    return new;
end
$$;

-- DORMANT of 'dormant: 30'; NULL where that rule is no longer there.
create or replace function passbell.occasion_name(p_occasion text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return (select p.trigger_name from passbell.parse_occasion(p_occasion) p);
exception when sqlstate 'PB400' then
    return null;
end
$$;

-- After an automation was switched on, or its mark moved: those who are inside already, and the passes that are in a
-- wallet already, are noted as such, so that only what happens from now on counts.
create or replace function passbell.automation_changed() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.is_on then
        perform passbell.look_at_wallets(new.program_id, true);
        if passbell.is_crossing(new.occasion) then
            delete from passbell.crossings c where c.automation_id = new.id and c.number = 0;
            perform passbell.note_crossings(new.id, null);
        end if;
    end if;
    return null;
end
$$;

create or replace trigger passbell_guard before insert or update or delete on public.push_automations
    for each row execute function passbell.automation_guard();
create or replace trigger passbell_inserted after insert on public.push_automations
    for each row when (new.is_on) execute function passbell.automation_changed();
create or replace trigger passbell_switched after update on public.push_automations
    for each row when (new.is_on and (not old.is_on or old.occasion is distinct from new.occasion)) execute function passbell.automation_changed();

-- Notes who has come in and who has gone out since the last look, on local date p_date; NULL: they were inside all along.
create or replace function passbell.note_crossings(p_automation uuid, p_date date) returns void
language plpgsql
set search_path = ''
as $$
begin
    with inside as materialized (
        select distinct i.person_id from passbell.people_inside(p_automation) i
    ), gone as (
        update passbell.crossings c set inside = false
         where c.automation_id = p_automation and c.inside and not exists (select from inside i where i.person_id = c.person_id)
    )
    insert into passbell.crossings as c (automation_id, person_id, inside, number, entered_on)
    select p_automation, i.person_id, true, case when p_date is null then 0 else 1 end, p_date from inside i
    on conflict (automation_id, person_id) do update
       set inside = true, number = c.number + case when p_date is null then 0 else 1 end, entered_on = p_date
     where not c.inside;
end
$$;

-- Notes passes of a program that are in a wallet and were not seen there before: since they were made, where that was after
-- the last look, else since now. At the first look at a program all of them were there already. So were they when an
-- automation is switched on (p_switching) and the last look is more than a day old: what came in since then is not told
-- from what had been there longer.
drop function if exists passbell.look_at_wallets(uuid);
create or replace function passbell.look_at_wallets(p_program uuid, p_switching boolean default false) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now   constant timestamptz := passbell.now();
    v_last  timestamptz;
begin
    insert into passbell.sighted_programs (program_id, looked_at) values (p_program, v_now) on conflict do nothing;
    if not found then
        select s.looked_at into v_last from passbell.sighted_programs s where s.program_id = p_program for update;
        update passbell.sighted_programs s set looked_at = v_now where s.program_id = p_program;
    end if;
    insert into passbell.sightings (pass_id, program_id, seen_at)
    select distinct on (r.pass_id) r.pass_id, r.program_id,
           case when v_last is null then null
                when j.at > v_last and j.at <= v_now then j.at
                when p_switching and v_last < v_now - interval '1 day' then null
                else v_now end
      from passbell.recipients r
      left join passbell.joins j on j.pass_id = r.pass_id
     where r.program_id = p_program and r.reachable
       and not exists (select from passbell.sightings s where s.pass_id = r.pass_id)
     order by r.pass_id
    on conflict do nothing;
end
$$;

-- Looks at the wallets of the next program that has an automation on a first sighting and was not looked at for an hour;
-- false if there is none. Called by every daemon, so that the day of a sighting does not hang on the hour of a run.
create or replace function passbell.watch_wallets() returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_program  uuid;
begin
    select s.program_id into v_program
      from passbell.sighted_programs s
     where (s.looked_at < passbell.now() - interval '1 hour' or s.looked_at > passbell.now() + interval '1 hour')
       and exists (select from public.push_automations a
                     join passbell.programs g on g.program_id = a.program_id
                    where a.program_id = s.program_id and a.is_on and not g.suspended and a.occasion ilike 'JOINED%')
     order by s.looked_at
     limit 1
       for update of s skip locked;
    if v_program is null then
        return false;
    end if;
    perform passbell.look_at_wallets(v_program);
    return true;
end
$$;

-- Takes the next run that is due, or nothing; called by every daemon. Due is today's local date of each automation that is
-- on, from send_at on; an earlier date needs no run of its own, because an occasion stays due for catch_up_days. The insert
-- decides who runs. A run whose worker died is taken over when its lease has run out; one whose rewards failed, when its
-- pause is over. A pause or a lease that lies further ahead than any we give was written before the clock jumped back.
create or replace function passbell.claim_automation_run(p_worker uuid, p_lease_seconds double precision default 60)
returns table (automation_id uuid, local_date date, attempt integer)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_now    constant timestamptz := passbell.now();
    v_lease  constant interval := make_interval(secs => least(greatest(coalesce(p_lease_seconds, 60), 1), 3600));
    v_due    record;
begin
    for v_due in
        select a.id, a.program_id, w.local_now::date as local_date
          from public.push_automations a
          join passbell.programs g on g.program_id = a.program_id
         cross join lateral (select v_now at time zone passbell.zone(g.timezone) as local_now) w
          left join passbell.automation_runs r on r.automation_id = a.id and r.local_date = w.local_now::date
         where a.is_on and not g.suspended and g.passkit_program_id is not null
           and w.local_now::time >= a.send_at
           and w.local_now::date between coalesce(a.starts_on, w.local_now::date) and coalesce(a.ends_on, w.local_now::date)
           and passbell.is_send_day(a.send_days, w.local_now::date)
           and (r.automation_id is null or passbell.may_take_automation_run(r, v_lease))
         order by a.id
    loop
        insert into passbell.automation_runs as r (automation_id, local_date, program_id, started_at, worker, lease_until)
        values (v_due.id, v_due.local_date, v_due.program_id, v_now, p_worker, v_now + v_lease)
        on conflict (automation_id, local_date) do update
           set worker = excluded.worker, lease_until = excluded.lease_until
         where passbell.may_take_automation_run(r, v_lease)
        returning r.automation_id, r.local_date, r.attempt into automation_id, local_date, attempt;
        if found then
            return next;
            return;
        end if;
    end loop;
end
$$;

create or replace function passbell.may_take_automation_run(p_run passbell.automation_runs, p_lease interval) returns boolean
language sql stable
set search_path = ''
as $$
    select p_run.completed_at is null
       and (p_run.lease_until is null or p_run.lease_until <= passbell.now() or p_run.lease_until > passbell.now() + p_lease)
       and (p_run.not_before <= passbell.now() or p_run.not_before > passbell.now() + interval '2 hours')
$$;

-- Works off one run of the daemon, or a part of it that ends before p_seconds are over: true when it is through. Raises PB412
-- if another worker has the run by now.
create or replace function passbell.automation_batch(
    p_automation uuid, p_date date, p_worker uuid, p_limit integer default 50, p_seconds double precision default 5, p_lease_seconds double precision default 60)
returns table (fired integer, failed integer, remaining integer, campaign_id uuid)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_done  record;
begin
    perform from passbell.automation_runs r
     where r.automation_id = p_automation and r.local_date = p_date and r.worker = p_worker and r.completed_at is null
       for update;
    if not found then
        raise exception 'the lease on the run of automation % is lost', p_automation using errcode = 'PB412';
    end if;
    update passbell.automation_runs r
       set lease_until = passbell.now() + make_interval(secs => least(greatest(coalesce(p_lease_seconds, 60), 1), 3600))
     where r.automation_id = p_automation and r.local_date = p_date;
    select * into v_done from passbell.fire(p_automation, p_date, least(greatest(coalesce(p_limit, 50), 1), 1000),
                                            clock_timestamp() + make_interval(secs => least(greatest(coalesce(p_seconds, 5), 0.1), 600)));
    fired := v_done.fired;   failed := v_done.failed;   remaining := v_done.remaining;   campaign_id := v_done.campaign_id;
    if not exists (select from public.push_automations a where a.id = p_automation and a.is_on) then
        update passbell.automation_runs r set worker = null, lease_until = null     -- switched off in the middle: nothing more
         where r.automation_id = p_automation and r.local_date = p_date;
    elsif remaining = 0 then
        perform passbell.end_automation_run(p_automation, p_date);
    end if;
    return next;
end
$$;

-- Ends a pass over a run: completed, or, where rewards failed, once more after a pause that grows to an hour.
create or replace function passbell.end_automation_run(p_automation uuid, p_date date) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_failed  integer;
    v_reason  text;
begin
    select count(*), min(f.reason) into v_failed, v_reason
      from passbell.occasion_failures f where f.automation_id = p_automation and f.local_date = p_date;
    update passbell.automation_runs r
       set worker = null, lease_until = null, failed = v_failed,
           completed_at = case when v_failed = 0 then passbell.now() end,
           attempt = r.attempt + case when v_failed > 0 then 1 else 0 end,
           not_before = case when v_failed > 0 then passbell.now() + least(interval '1 hour', interval '1 minute' * power(2, least(r.attempt, 6))) else r.not_before end,
           detail = case when v_failed > 0 then left(format('%s rewards failed and are tried again: %s', v_failed, v_reason), 500) else null end
     where r.automation_id = p_automation and r.local_date = p_date;
    perform passbell.note_run(p_automation, p_date);
end
$$;

-- A run that could not be worked off: the rule is slow or wrong. It is tried again after a pause; the sentence is on the
-- automation and on the run.
create or replace function passbell.automation_failed(p_automation uuid, p_date date, p_worker uuid, p_reason text) returns void
language plpgsql
set search_path = ''
as $$
begin
    update passbell.automation_runs r
       set worker = null, lease_until = null, detail = left(p_reason, 500), attempt = r.attempt + 1,
           not_before = passbell.now() + least(interval '1 hour', interval '1 minute' * power(2, least(r.attempt, 6)))
     where r.automation_id = p_automation and r.local_date = p_date and r.worker is not distinct from p_worker and r.completed_at is null;
    if found then
        perform passbell.note_run(p_automation, p_date);
    end if;
end
$$;

-- A daemon that stops gives its runs back.
create or replace function passbell.release_automation_runs(p_worker uuid) returns void
language sql
set search_path = ''
as $$
    update passbell.automation_runs r set worker = null, lease_until = null where r.worker = p_worker and r.completed_at is null
$$;

-- What a run says of itself on the automation's row.
create or replace function passbell.note_run(p_automation uuid, p_date date) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.engine_begins();
    update public.push_automations a
       set last_run_on = greatest(a.last_run_on, p_date),
           fired_count = (select count(*) from passbell.occasions o where o.automation_id = p_automation),
           status_detail = coalesce(r.detail, case when r.held_back_by_limit > 0
                               then format('%s: %s were due, more than the daily limit of %s. Resume the campaign to send them.',
                                           to_char(p_date, 'FMDD Mon YYYY'), passbell.thousands(r.held_back_by_limit), passbell.thousands(a.daily_limit))
                               else format('%s: %s due, %s sent on their way.', to_char(p_date, 'FMDD Mon YYYY'), passbell.thousands(r.due), passbell.thousands(r.fired)) end)
      from passbell.automation_runs r
     where a.id = p_automation and r.automation_id = p_automation and r.local_date = p_date;
    perform passbell.engine_ends();
end
$$;

-- Gives up to p_limit people their occasion (NULL: all): the proof, the points and the place in the day's campaign stand or
-- fall together. Without a reward that is one statement for all; with one, each person has a subtransaction, and an award
-- that fails takes nobody else along. Nobody is started after p_until.
create or replace function passbell.fire(p_automation uuid, p_date date, p_limit integer, p_until timestamptz,
    out due integer, out fired integer, out failed integer, out remaining integer, out held_back integer, out campaign_id uuid)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_automation  public.push_automations;
    v_run         passbell.automation_runs;
    v_person      record;
    v_reward      record;
    v_passes      uuid[] := array[]::uuid[];
    v_tried       integer := 0;
    v_coming      integer := 0;
begin
    due := 0;   fired := 0;   failed := 0;   remaining := 0;   held_back := 0;
    select a.* into v_automation from public.push_automations a where a.id = p_automation;
    select r.* into strict v_run from passbell.automation_runs r where r.automation_id = p_automation and r.local_date = p_date for update;
    if not exists (select from passbell.programs g
                    where g.program_id = v_automation.program_id and not g.suspended and g.passkit_program_id is not null)
       or not v_automation.is_on then
        return;
    end if;
    if exists (select from public.push_campaigns c where c.id = v_run.campaign_id and c.status in ('CANCELLED', 'FAILED')) then
        return;         -- a person has ended this day's messages
    end if;
    perform passbell.look_at_wallets(v_automation.program_id);
    if passbell.is_crossing(v_automation.occasion) then
        perform passbell.note_crossings(p_automation, p_date);
    end if;

    if v_automation.reward_points <= 0 then
        with people as materialized (
            select d.* from passbell.due_people(v_automation, p_date, passbell.now()) d
        ), proof as (
            insert into passbell.occasions (automation_id, person_id, occasion, pass_id, local_date, moment)
            select p_automation, p.person_id, k.occasion, p.pass_id, p_date, case when k.occasion = p.occasion then p.moment end
              from people p cross join lateral unnest(p.keys) as k (occasion)
            on conflict do nothing
            returning person_id, occasion
        )
        select array_agg(p.pass_id order by p.pass_id) into v_passes
          from people p where exists (select from proof o where o.person_id = p.person_id and o.occasion = p.occasion);
        v_passes := coalesce(v_passes, array[]::uuid[]);
        due := cardinality(v_passes);
        fired := due;
    else
        for v_person in
            select d.*, count(*) over () as todo, count(*) filter (where d.opted_in) over () as messages
              from passbell.due_people(v_automation, p_date, passbell.now()) d
             where not exists (select from passbell.occasion_failures f
                                where f.automation_id = p_automation and f.person_id = d.person_id and f.occasion = d.occasion
                                  and f.local_date = p_date and f.attempt = v_run.attempt)
             order by d.person_id
             limit p_limit
        loop
            if remaining = 0 then
                remaining := v_person.todo;
                v_coming := v_person.messages;
            end if;
            exit when clock_timestamp() >= p_until;
            select * into v_reward from passbell.reward_person(v_automation, v_person.person_id, v_person.pass_id, v_person.keys, v_person.occasion, p_date, v_person.moment);
            v_tried := v_tried + 1;
            case v_reward.outcome
                when 'given' then
                    fired := fired + 1;
                    if v_person.opted_in then
                        v_passes := v_passes || v_person.pass_id;
                        v_coming := v_coming - 1;
                    end if;
                    delete from passbell.occasion_failures f
                     where f.automation_id = p_automation and f.person_id = v_person.person_id and f.occasion = v_person.occasion;
                when 'already' then
                    null;
                else
                    failed := failed + 1;
                    insert into passbell.occasion_failures as f (automation_id, person_id, occasion, local_date, reason, attempt, last_at)
                    values (p_automation, v_person.person_id, v_person.occasion, p_date, left(v_reward.reason, 500), v_run.attempt, passbell.now())
                    on conflict (automation_id, person_id, occasion) do update
                       set local_date = excluded.local_date, reason = excluded.reason, attempt = excluded.attempt,
                           attempts = f.attempts + 1, last_at = excluded.last_at;
                    exit when v_reward.outcome = 'timed_out';
            end case;
        end loop;
        remaining := remaining - v_tried;
        due := v_tried;
        if remaining = 0 then       -- who has come back since is not on occasion any more
            delete from passbell.occasion_failures f
             where f.automation_id = p_automation and (f.local_date < p_date or f.local_date = p_date and f.attempt < v_run.attempt);
        end if;
    end if;

    if v_passes <> '{}' then
        select g.campaign_id, g.held_back into campaign_id, held_back from passbell.ring(v_automation, v_run, v_passes, v_coming) g;
    else
        campaign_id := v_run.campaign_id;
    end if;
    update passbell.automation_runs r
       set due = r.due + fire.due, fired = r.fired + fire.fired, held_back_by_limit = greatest(r.held_back_by_limit, fire.held_back)
     where r.automation_id = p_automation and r.local_date = p_date;
end
$$;

-- One person's reward with its proof, in a subtransaction. Outcomes: given, already, failed, timed_out (see gift_member).
create or replace function passbell.reward_person(
    p_automation public.push_automations, p_person uuid, p_pass uuid, p_keys text[], p_occasion text, p_date date, p_moment timestamptz,
    out outcome text, out reason text)
language plpgsql
set search_path = ''
set lock_timeout = '3s'
as $$
declare
    v_timeout  numeric;
begin
    begin
        insert into passbell.occasions (automation_id, person_id, occasion, pass_id, local_date, moment)
        select p_automation.id, p_person, k.occasion, p_pass, p_date, case when k.occasion = p_occasion then p_moment end
          from unnest(p_keys) as k (occasion)
        on conflict do nothing;
        if not found then
            outcome := 'already';
            return;
        end if;
        perform passbell.award_gift(p_pass, p_automation.reward_points, left(p_automation.name, 100) || ' ' || p_occasion);
        outcome := 'given';
    exception
        when query_canceled then
            select s.setting::numeric into v_timeout from pg_catalog.pg_settings s where s.name = 'statement_timeout';
            if v_timeout = 0 or extract(epoch from clock_timestamp() - statement_timestamp()) * 1000 < v_timeout - 20 then
                raise;
            end if;
            outcome := 'timed_out';
            reason := 'the award took too long';
        when others then
            outcome := 'failed';
            reason := coalesce(nullif(btrim(sqlerrm), ''), sqlstate);
    end;
end
$$;

-- Adds passes to the day's campaign, which is made with the first of them. More than daily_limit on one day, those included
-- whose turn comes with a later batch (p_coming): the campaign is PAUSED with everybody in it, and a person resumes it. One
-- that had completed goes on.
drop function if exists passbell.ring(public.push_automations, passbell.automation_runs, uuid[]);
create or replace function passbell.ring(
    p_automation public.push_automations, p_run passbell.automation_runs, p_passes uuid[], p_coming integer,
    out campaign_id uuid, out held_back integer)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_campaign  public.push_campaigns;
    v_size      constant integer := 50;
    v_last      integer;
    v_total     integer;
    v_over      boolean;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_run.campaign_id for update;
    v_total := coalesce(v_campaign.recipient_count, 0) + cardinality(p_passes);
    v_over := v_total + p_coming > p_automation.daily_limit and v_campaign.released_at is null;
    held_back := case when v_over then v_total else 0 end;
    perform passbell.engine_begins();
    if v_campaign.id is null then
        insert into public.push_campaigns (program_id, name, message_text, target_query, kind, status, started_at, automation_id,
                                           holdout_percent, measure_days, priority, created_by)
        values (p_automation.program_id, left(p_automation.name, 180) || ' ' || to_char(p_run.local_date, 'YYYY-MM-DD'), p_automation.message_text,
                'AUTOMATION', 'AUTOMATION', 'PROCESSING', passbell.now(), p_automation.id,
                p_automation.holdout_percent, p_automation.measure_days, p_automation.priority, p_automation.created_by)
        returning * into v_campaign;
        perform passbell.fix_holdout(v_campaign);
        update passbell.automation_runs r set campaign_id = v_campaign.id
         where r.automation_id = p_run.automation_id and r.local_date = p_run.local_date;
        insert into passbell.turns (program_id) values (p_automation.program_id) on conflict do nothing;
    end if;
    campaign_id := v_campaign.id;
    select coalesce(max(k.chunk_no), 0) into v_last from passbell.chunks k where k.campaign_id = v_campaign.id;
    insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, not_before)
    select v_campaign.id, v_last + n, p_automation.program_id, p_passes[(n - 1) * v_size + 1 : n * v_size], passbell.now()
      from generate_series(1, (cardinality(p_passes) + v_size - 1) / v_size) n;
    update public.push_campaigns c
       set recipient_count = v_total, completed_at = null,
           status = case when v_over then 'PAUSED' when c.status = 'COMPLETED' then 'PROCESSING' else c.status end,
           status_detail = case when v_over
               then format('Held: %s are due today, more than the daily limit of %s. Resume it to send them, or cancel it.',
                           passbell.thousands(v_total + p_coming), passbell.thousands(p_automation.daily_limit)) else c.status_detail end
     where c.id = v_campaign.id;
    perform passbell.engine_ends();
    update passbell.occasions o set campaign_id = v_campaign.id
     where o.automation_id = p_automation.id and o.local_date = p_run.local_date and o.campaign_id is null and o.pass_id = any (p_passes);
    perform pg_notify('passbell', 'processing');
end
$$;

-- Did its newest run stop with a sentence? Such automations come last, so that they hold no other one up.
create or replace function passbell.ran_wrong(p_automation uuid) returns boolean
language sql stable
set search_path = ''
as $$
    select coalesce((select r.detail is not null and r.completed_at is null
                       from passbell.automation_runs r where r.automation_id = p_automation order by r.local_date desc limit 1), false)
$$;

create or replace function passbell.is_builtin(p_occasion text) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from passbell.triggers t where t.name = passbell.occasion_name(p_occasion) and t.builtin)
$$;

-- Runs what is due now, in one program or in all, whatever the hour; or as of another local date. As often as you like:
-- everybody has one message per occasion. What one automation does wrong stops that one: its sentence is in status_detail.
drop function if exists public.run_automations(uuid, date);
create function public.run_automations(program_id uuid default null, on_date date default null)
returns table (automation_id uuid, local_date date, due integer, fired integer, held_back_by_limit integer, campaign_id uuid)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_automation  public.push_automations;
    v_done        record;
    v_words       text;
    v_slow        boolean := false;
    v_timeout     constant numeric := (select s.setting::numeric from pg_catalog.pg_settings s where s.name = 'statement_timeout');
    v_until       constant timestamptz := clock_timestamp() + case when v_timeout > 0 then make_interval(secs => (v_timeout / 2000)::double precision) else interval '1 day' end;
begin
    perform passbell.require_calendar_date($2);
    if $1 is not null then
        perform passbell.require_program($1);
    elsif not passbell.acts_for_server() then
        raise exception 'Which program? Only a server may run all of them.' using errcode = 'PB403';
    end if;
    for v_automation in
        select a.* from public.push_automations a
          join passbell.programs g on g.program_id = a.program_id
         where a.is_on and ($1 is null or a.program_id = $1) and not g.suspended and g.passkit_program_id is not null
         order by passbell.ran_wrong(a.id), not passbell.is_builtin(a.occasion), a.id
    loop
        automation_id := v_automation.id;
        local_date := coalesce($2, passbell.local_date(v_automation.program_id));
        due := 0;   fired := 0;   held_back_by_limit := 0;   campaign_id := null;
        begin
            insert into passbell.automation_runs (automation_id, local_date, program_id, started_at)
            values (v_automation.id, local_date, v_automation.program_id, passbell.now())
            on conflict do nothing;
            update passbell.automation_runs r set attempt = r.attempt + 1
             where r.automation_id = v_automation.id and r.local_date = run_automations.local_date
               and exists (select from passbell.occasion_failures f
                            where f.automation_id = r.automation_id and f.local_date = r.local_date and f.attempt = r.attempt);
            select * into v_done from passbell.fire(v_automation.id, local_date, null, v_until);
            due := v_done.due;   fired := v_done.fired;   held_back_by_limit := v_done.held_back;   campaign_id := v_done.campaign_id;
            if v_done.remaining = 0 and local_date <= passbell.local_date(v_automation.program_id) then
                perform passbell.end_automation_run(v_automation.id, local_date);
            elsif v_done.remaining = 0 then
                perform passbell.note_run(v_automation.id, local_date);     -- that day is still to come, with more
            end if;
        exception when others or query_canceled then
            get stacked diagnostics v_words = message_text;
            if sqlstate = '57014' then
                -- The caller's own time-out; it does not ring twice in one statement. Anything else is a person's cancel.
                if v_timeout = 0 or extract(epoch from clock_timestamp() - statement_timestamp()) * 1000 < v_timeout - 20 then
                    raise;
                end if;
                v_slow := true;
                v_words := format('The rule took longer than %s seconds.', round(v_timeout / 1000));
            end if;
            insert into passbell.automation_runs as r (automation_id, local_date, program_id, started_at, detail)
            values (v_automation.id, local_date, v_automation.program_id, passbell.now(), left(v_words, 500))
            on conflict (automation_id, local_date) do update set detail = excluded.detail;
            perform passbell.note_run(v_automation.id, local_date);
        end;
        return next;
        exit when v_slow;           -- the others have run before it, or run before it the next time
    end loop;
end
$$;

-- What an automation has brought so far, over all its days: the columns of push_results, with an interval that is valid at
-- every look, so that looking every day claims nothing by chance.
create or replace function passbell.automation_result(p_automation uuid)
returns table (campaign_id uuid, measure_days integer, ready_at timestamptz, counted_at timestamptz,
               sent bigint, sent_came bigint, held bigint, held_came bigint,
               diff double precision, diff_lo double precision, diff_hi double precision,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_automation  public.push_automations := passbell.automation_for_caller(p_automation);
    v_percent     numeric;
    v_visits      boolean;
begin
    perform passbell.count_due_results(100);
    select coalesce(sum(r.sent), 0)::bigint, coalesce(sum(r.sent_came), 0)::bigint, coalesce(sum(r.held), 0)::bigint, coalesce(sum(r.held_came), 0)::bigint,
           max(r.ready_at), max(r.counted_at), bool_and(r.visits_recorded),
           sum((r.sent + r.held) * r.percent) / nullif(sum(r.sent + r.held), 0)
      into sent, sent_came, held, held_came, ready_at, counted_at, v_visits, v_percent
      from passbell.results r where r.automation_id = v_automation.id;
    campaign_id := null;
    measure_days := v_automation.measure_days;
    if sent + held = 0 then
        verdict := 'open';
        sentence := format('Can be counted %s after its first message.', passbell.days(measure_days));
        return next;
        return;
    end if;
    select a.diff, a.lo, a.hi into diff, diff_lo, diff_hi from passbell.always_valid(sent_came, sent, held_came, held) a;
    extra := sent * diff;   extra_lo := sent * diff_lo;   extra_hi := sent * diff_hi;
    select j.verdict, j.sentence into verdict, sentence
      from passbell.judge_result(v_visits, passbell.drawn_as_planned(held, sent + held, v_percent), sent, sent_came, held, held_came,
                                 diff, coalesce(diff_lo, -1), coalesce(diff_hi, 1), measure_days) j;
    sentence := replace(sentence, 'This campaign was', 'This automation is still');
    if verdict in ('no_holdout', 'untrusted') then
        diff := null;   diff_lo := null;   diff_hi := null;   extra := null;   extra_lo := null;   extra_hi := null;
    end if;
    return next;
end
$$;

drop function if exists public.automation_results(uuid);
create function public.automation_results(id uuid)
returns table (campaign_id uuid, measure_days integer, ready_at timestamptz, counted_at timestamptz,
               sent bigint, sent_came bigint, held bigint, held_came bigint,
               diff double precision, diff_lo double precision, diff_hi double precision,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text)
language sql
security definer
set search_path = ''
as $$ select * from passbell.automation_result($1) $$;
