-- Birthday runs: one per program and local date. The scheduler in every daemon only ticks; these rows decide. Leases and
-- pauses are judged as for automations: 52_daily_runs.

-- Takes the next run that is due, or nothing. Called by every daemon at every tick, until it returns nothing.
--
-- Due is every local date from the program's first day with the bot on, at most seven days back, that no run has
-- completed; today only from birthday_send_at on, by the wall clock of the program's zone (a send time inside a DST gap
-- comes when the clock has jumped over it; one that an overlap shows twice counts once, because the row is there). The
-- oldest date first. Which of two daemons gets a run: claim_run.
--
-- p_token, chosen anew by the caller for every claim, is noted on the run. With p_again the caller asks for an answer that
-- was lost, or goes on after the database was away: the run that is held under the token is answered.
drop function if exists passbell.claim_birthday_run(uuid, double precision);
create or replace function passbell.claim_birthday_run(
    p_worker uuid, p_lease_seconds double precision default 60, p_token uuid default null, p_again boolean default false)
returns table (program_id uuid, local_date date, attempt integer)
language plpgsql
set search_path = ''
set lock_timeout = '1s'
as $$
#variable_conflict use_column
declare
    v_now    constant timestamptz := passbell.now();
    v_token  constant uuid := passbell.enter_claim(p_token);
    v_programs  uuid[];
    v_dates     date[];
begin
    perform passbell.require_birthday_guard();
    if p_again then
        return query select c.* from passbell.run_claimed(true, p_worker, v_token, p_lease_seconds) c where c.subject is not null;
        if found then
            return;
        end if;
    end if;
    perform passbell.note_birthday_programs();
    perform passbell.close_birthday_runs();

    select array_agg(b.program_id order by d.local_date, b.program_id), array_agg(d.local_date::date order by d.local_date, b.program_id)
      into v_programs, v_dates
      from (select g.program_id, g.birthday_send_at, w.since, v_now at time zone passbell.zone(g.timezone) as local_now
              from passbell.programs g
              join passbell.birthday_programs w on w.program_id = g.program_id
             where w.since is not null and g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null) b
     cross join lateral generate_series(greatest(b.since, b.local_now::date - 7)::timestamp, b.local_now::date::timestamp, interval '1 day') as d (local_date)
      left join passbell.birthday_runs r on r.program_id = b.program_id and r.local_date = d.local_date::date
     where (d.local_date < b.local_now::date or b.local_now::time >= b.birthday_send_at)
       and (r.program_id is null or passbell.run_is_free(r.completed_at, r.lease_until, r.not_before, p_lease_seconds));
    return query
        select c.subject, c.local_date, c.attempt
          from passbell.claim_run(true, v_programs, v_programs, v_dates, p_worker, p_lease_seconds, v_token) c where c.subject is not null;
end
$$;

-- Remembers since when each program's bot is on: its own date when it was first seen ready. So switching it on starts
-- with today, never seven days back, and what fell into a time with the bot off is not caught up.
create or replace function passbell.note_birthday_programs() returns void
language plpgsql
set search_path = ''
set lock_timeout = '300ms'
as $$
declare
    v_program  uuid;
begin
    update passbell.birthday_programs b
       set since = null
      from (select w.program_id
              from passbell.birthday_programs w
             where w.since is not null
               and not exists (select from passbell.programs g where g.program_id = w.program_id and g.birthday_bot_enabled)
               for update skip locked) gone
     where b.program_id = gone.program_id;
    for v_program in
        select g.program_id
          from passbell.programs g
         where g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null
           and not exists (select from passbell.birthday_programs b where b.program_id = g.program_id and b.since is not null)
    loop
        begin
            insert into passbell.birthday_programs as b (program_id, since)
            select v_program, passbell.birthdays_since(v_program)
            on conflict (program_id) do update
               set since = passbell.local_date(b.program_id)
             where b.since is null;
        exception when lock_not_available then      -- a run by hand, in a transaction that is left open
            perform set_config('lock_timeout', '10ms', true);       -- perhaps of all programs
        end;
    end loop;
end
$$;

-- The first local date that counts for a program seen for the first time: today, or where its runs left off (rows that
-- came with a restored or copied database).
create or replace function passbell.birthdays_since(p_program uuid) returns date
language sql stable
set search_path = ''
as $$
    select least(t.today, (select max(case when r.completed_at is null then r.local_date else r.local_date + 1 end)
                             from passbell.birthday_runs r where r.program_id = p_program))
      from (select (passbell.now() at time zone passbell.zone(g.timezone))::date as today
              from passbell.programs g where g.program_id = p_program) t
$$;

-- Open runs that no daemon will take any more: the bot was switched off in the middle, or their week is over. Lets held
-- greetings go; a run whose week is over is completed and says how many gifts were never given.
create or replace function passbell.close_birthday_runs() returns void
language plpgsql
set search_path = ''
as $$
declare
    v_run  record;
begin
    for v_run in
        select r.program_id, r.local_date, r.campaign_id,
               r.local_date < coalesce((passbell.now() at time zone passbell.zone(g.timezone))::date, r.local_date) - 7 as over
          from passbell.birthday_runs r
          left join passbell.programs g on g.program_id = r.program_id
         where r.completed_at is null and coalesce(r.lease_until, '-infinity') <= passbell.now()
           and (r.local_date < coalesce((passbell.now() at time zone passbell.zone(g.timezone))::date, r.local_date) - 7
                or not coalesce(g.birthday_bot_enabled, false)
                   and exists (select from passbell.chunks k where k.campaign_id = r.campaign_id and k.not_before = 'infinity'))
           for update of r skip locked
    loop
        begin
            if v_run.campaign_id is not null then
                perform passbell.release_day_campaign(v_run.campaign_id, passbell.now());
            end if;
        exception when assert_failure or others then      -- one campaign's trouble; the run comes up again at the next tick
            continue;
        end;
        if v_run.over then
            update passbell.birthday_runs r
               set completed_at = passbell.now(), worker = null, lease_until = null,
                   detail = case when r.failed > 0 then format('Given up after seven days: %s gifts could not be given, see passbell.birthday_failures.', r.failed)
                                 else 'Left off: its week was over.' end
             where r.program_id = v_run.program_id and r.local_date = v_run.local_date;
        end if;
    end loop;
end
$$;

-- Gives some members of a claimed run their gifts, in one transaction, and extends the lease. The daemon calls it until
-- `remaining` is 0 or `stopped`, then finish_birthday_run. Call it with a statement_timeout some seconds longer than
-- p_seconds: a hanging award is then cut, recorded and left behind, and the gifts before it stand.
-- Raises PB412 if another worker has the run by now.
create or replace function passbell.gift_batch(
    p_program uuid, p_date date, p_worker uuid, p_limit integer default 50, p_seconds double precision default 5, p_lease_seconds double precision default 60)
returns table (gifted integer, already_gifted integer, failed integer, remaining integer, stopped boolean, failed_passes uuid[], reasons text[])
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
    p_limit := least(greatest(coalesce(p_limit, 50), 1), 1000);
    p_seconds := least(greatest(coalesce(p_seconds, 5), 0), 600);
    perform passbell.require_birthday_guard();
    perform passbell.lock_birthdays(p_program);
    update passbell.birthday_runs r
       set lease_until = passbell.now() + passbell.lease(p_lease_seconds)
     where r.program_id = p_program and r.local_date = p_date and r.worker = p_worker;
    if not found then
        raise exception 'the lease on the birthday run of % in program % is lost', p_date, p_program using errcode = 'PB412';
    end if;
    return query
        select g.gifted, g.already_gifted, g.failed, g.remaining, g.stopped, g.failed_passes, g.reasons
          from passbell.give_gifts(p_program, p_date, p_limit, clock_timestamp() + make_interval(secs => p_seconds),
                                   passbell.greet_at(p_program)) g;
end
$$;

-- Ends a pass over a claimed run. If all members have the gift, it is completed. Otherwise it stays open and is taken up again
-- after 1, 2, 4 … 60 minutes. Raises PB412 if another worker has the run by now.
create or replace function passbell.finish_birthday_run(p_program uuid, p_date date, p_worker uuid)
returns table (eligible integer, gifted integer, failed integer, completed boolean, campaign_id uuid)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
    perform passbell.lock_birthdays(p_program);
    if not exists (select from passbell.birthday_runs r where r.program_id = p_program and r.local_date = p_date and r.worker = p_worker) then
        raise exception 'the lease on the birthday run of % in program % is lost', p_date, p_program using errcode = 'PB412';
    end if;
    return query
        select r.eligible, r.gifted, r.failed, r.completed_at is not null, r.campaign_id
          from passbell.end_birthday_pass(p_program, p_date, passbell.greet_at(p_program)) r;
end
$$;

-- The same for the holder of the program's lock: counts, completes or pauses, lets the greetings go. A run is complete
-- only once its hour has come, so that one started by hand at seven does not hide those who join before nine. A run
-- of a program that was suspended meanwhile stays open.
create or replace function passbell.end_birthday_pass(p_program uuid, p_date date, p_greet_at timestamptz) returns passbell.birthday_runs
language plpgsql
set search_path = ''
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_run       passbell.birthday_runs;
    v_eligible  integer;
    v_open      integer;
    v_due       boolean;
    v_reason    text;
begin
    select (v_now at time zone passbell.zone(g.timezone)) >= least(p_date + g.birthday_send_at, (p_date + 1)::timestamp)
           and g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null
      into v_due
      from passbell.programs g where g.program_id = p_program;
    select count(*), count(*) filter (where not b.already_gifted) into v_eligible, v_open from passbell.birthday_people(p_program, p_date) b;
    if v_open > 0 then
        select f.reason into v_reason
          from passbell.birthday_failures f where f.program_id = p_program and f.local_date = p_date
         order by f.last_at desc, f.pass_id limit 1;
    end if;

    update passbell.birthday_runs r
       set eligible = v_eligible, failed = v_open, worker = null, lease_until = null,
           completed_at = case when v_open = 0 and v_due then coalesce(r.completed_at, v_now) end,
           attempt = r.attempt + (v_reason is not null)::integer,
           not_before = case when v_open = 0 then '-infinity' else passbell.run_again_at(r.attempt) end,
           detail = case when v_reason is not null then format('%s gifts could not be given and are tried again. The last reason: %s', v_open, left(v_reason, 300))
                         when r.detail like '%are tried again%' then null
                         else r.detail end
     where r.program_id = p_program and r.local_date = p_date
    returning r.* into v_run;
    if v_run.campaign_id is not null then
        perform passbell.release_day_campaign(v_run.campaign_id, p_greet_at);
    end if;
    return v_run;
end
$$;

-- A batch of a run raised (a rule of the host's, a table that is gone): the run says so and is taken up again after
-- 1, 2, 4 … 60 minutes. The other programs go on.
create or replace function passbell.birthday_run_failed(p_program uuid, p_date date, p_worker uuid, p_reason text) returns void
language plpgsql
set search_path = ''
as $$
begin
    update passbell.birthday_runs r
       set worker = null, lease_until = null, attempt = r.attempt + 1,
           not_before = passbell.run_again_at(r.attempt),
           detail = left('The gifts could not be given and are tried again: ' || p_reason, 500)
     where r.program_id = p_program and r.local_date = p_date and r.worker = p_worker;
end
$$;

-- A daemon that stops hands back its runs at once.
create or replace function passbell.release_birthday_runs(p_worker uuid) returns void
language sql
set search_path = ''
as $$
    update passbell.birthday_runs r set worker = null, lease_until = null where r.worker = p_worker
$$;
