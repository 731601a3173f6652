-- Automation runs: one per automation and local date. Leases, points and the campaign of the day are those of every daily run:
-- 52_daily_runs. The row in passbell.occasions is the proof that a message was due once.

-- Takes the next run that is due, or nothing; called by every daemon. Due is today's local date of each automation that is
-- on, from send_at on; an earlier date needs no run of its own, because an occasion stays due for catch_up_days. Which of two
-- daemons gets a run: claim_run. p_token and p_again: as in claim_birthday_run.
drop function if exists passbell.claim_automation_run(uuid, double precision);
create or replace function passbell.claim_automation_run(
    p_worker uuid, p_lease_seconds double precision default 60, p_token uuid default null, p_again boolean default false)
returns table (automation_id uuid, local_date date, attempt integer)
language plpgsql
set search_path = ''
set lock_timeout = '1s'
as $$
#variable_conflict use_column
declare
    v_now    constant timestamptz := passbell.now();
    v_token  constant uuid := passbell.enter_claim(p_token);
    v_automations  uuid[];
    v_programs     uuid[];
    v_dates        date[];
begin
    if p_again then
        return query select c.* from passbell.run_claimed(false, p_worker, v_token, p_lease_seconds) c where c.subject is not null;
        if found then
            return;
        end if;
    end if;
    select array_agg(a.id order by a.id), array_agg(a.program_id order by a.id), array_agg(w.local_now::date order by a.id)
      into v_automations, v_programs, v_dates
      from public.push_automations a
      join passbell.programs g on g.program_id = a.program_id
     cross join lateral (select v_now at time zone passbell.zone(g.timezone) as local_now) w
      left join passbell.automation_runs r on r.automation_id = a.id and r.local_date = w.local_now::date
     where a.is_on and not g.suspended and g.passkit_program_id is not null
       and w.local_now::time >= a.send_at
       and w.local_now::date between coalesce(a.starts_on, w.local_now::date) and coalesce(a.ends_on, w.local_now::date)
       and passbell.is_send_day(a.send_days, w.local_now::date)
       and (r.automation_id is null or passbell.run_is_free(r.completed_at, r.lease_until, r.not_before, p_lease_seconds));
    return query
        select c.subject, c.local_date, c.attempt
          from passbell.claim_run(false, v_automations, v_programs, v_dates, p_worker, p_lease_seconds, v_token) c where c.subject is not null;
end
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
       set lease_until = passbell.now() + passbell.lease(p_lease_seconds)
     where r.automation_id = p_automation and r.local_date = p_date;
    select * into v_done from passbell.fire(p_automation, p_date, least(greatest(coalesce(p_limit, 50), 1), 1000), null,
                                            least(greatest(coalesce(p_seconds, 5), 0.1), 600));
    fired := v_done.fired;   failed := v_done.failed;   remaining := v_done.remaining;   campaign_id := v_done.campaign_id;
    if not exists (select from public.push_automations a where a.id = p_automation and a.is_on) then
        update passbell.automation_runs r set worker = null, lease_until = null, terms = null     -- switched off in the middle: nothing more
         where r.automation_id = p_automation and r.local_date = p_date;
    elsif remaining = 0 then
        perform passbell.end_automation_run(p_automation, p_date);
    end if;
    return next;
end
$$;

-- Ends a pass over a run: completed, or, where rewards failed, once more after a pause that grows to an hour. While a person
-- has the automation's row open, the run is given back for five seconds instead: that person's own statement may be waiting
-- for what this transaction holds, so nothing is waited for here.
create or replace function passbell.end_automation_run(p_automation uuid, p_date date) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_failed  integer;
    v_reason  text;
begin
    perform from public.push_automations a where a.id = p_automation for no key update skip locked;
    if not found then
        update passbell.automation_runs r set worker = null, lease_until = null, terms = null, not_before = passbell.now() + interval '5 seconds'
         where r.automation_id = p_automation and r.local_date = p_date;
        return;
    end if;
    select count(*), min(f.reason) into v_failed, v_reason
      from passbell.occasion_failures f where f.automation_id = p_automation and f.local_date = p_date;
    update passbell.automation_runs r
       set worker = null, lease_until = null, terms = null, failed = v_failed,
           completed_at = case when v_failed = 0 then passbell.now() end,
           attempt = r.attempt + case when v_failed > 0 then 1 else 0 end,
           not_before = case when v_failed > 0 then passbell.run_again_at(r.attempt) else r.not_before end,
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
       set worker = null, lease_until = null, terms = null, detail = left(p_reason, 500), attempt = r.attempt + 1,
           not_before = passbell.run_again_at(r.attempt)
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

-- What a run did, in words: how many members were due, and how many of them the message goes to. Where a reward fails, the
-- member gets no message yet.
create or replace function passbell.run_in_words(p_due bigint, p_fired bigint) returns text
language sql immutable
set search_path = ''
as $$
    select case when p_due = 0 then 'no member was due.'
                when p_due = 1 and p_fired = 1 then '1 member was due; the message goes out.'
                else format('%s due; the message goes to %s of them.',
                            case p_due when 1 then '1 member was' else passbell.thousands(p_due) || ' members were' end,
                            case p_fired when p_due then 'all' when 0 then 'none' else passbell.thousands(p_fired) end) end
$$;

-- What a run says of itself on the automation's row. If a rule of the host's refuses that, what was done stands all the same.
create or replace function passbell.note_run(p_automation uuid, p_date date) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.engine_begins();
    update public.push_automations a
       set last_run_on = greatest(a.last_run_on, p_date),
           fired_count = (select count(*) from passbell.occasions o where o.automation_id = p_automation),
           status_detail = concat_ws(' ', coalesce(r.detail, case when r.held_back_by_limit > 0
                               then format('%s: %s were due, more than the daily limit of %s. Resume the campaign to send them.',
                                           to_char(p_date, 'FMDD Mon YYYY'), passbell.thousands(r.held_back_by_limit), passbell.thousands(a.daily_limit))
                               else format('%s: %s', to_char(p_date, 'FMDD Mon YYYY'), passbell.run_in_words(r.due, r.fired)) end),
                                     passbell.occasion_lacks(a.occasion, a.program_id))
      from passbell.automation_runs r
     where a.id = p_automation and r.automation_id = p_automation and r.local_date = p_date;
    perform passbell.engine_ends();
    perform passbell.hear_deferred(passbell.deferred_rules());
exception when assert_failure or others then
    if passbell.is_conflict(sqlstate) then
        raise;
    end if;
    update passbell.automation_runs r set detail = passbell.refusal('to say so on the automation', sqlstate, sqlerrm)
     where r.automation_id = p_automation and r.local_date = p_date and r.detail is null;
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

-- Is the rule of the occasion one that comes with passbell?
create or replace function passbell.is_builtin(p_occasion text) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from passbell.triggers t where t.name = passbell.occasion_name(p_occasion) and t.builtin)
$$;

-- Runs what is due now, in one program or in all, whatever the hour; or as of another local date. As often as you like:
-- each member gets one message per occasion. A fault of one automation stops only that one: its sentence is in status_detail.
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
    perform passbell.enter_turns(array(select distinct a.program_id from public.push_automations a where a.is_on and ($1 is null or a.program_id = $1)));
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
            perform passbell.hear_deferred(passbell.deferred_rules());
        exception when query_canceled or assert_failure or others then
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
