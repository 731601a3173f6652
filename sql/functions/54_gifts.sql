-- Giving: some members of a run with their greetings, and all of a day by hand. How one gift is given, and what locks are taken in which order, is in
-- 52_daily_runs. The callers hold the program's row of birthday_programs (lock_birthdays), so that the gifts of one program
-- come one after the other.

-- Gives the gifts of a program one after the other: waits for the session that is giving there now.
create or replace function passbell.lock_birthdays(p_program uuid) returns void
language sql
set search_path = ''
as $$
    insert into passbell.birthday_programs (program_id, since)
    select g.program_id, case when g.birthday_bot_enabled then passbell.birthdays_since(g.program_id) end
      from passbell.programs g
     where g.program_id = p_program
    on conflict do nothing;
    select b.program_id from passbell.birthday_programs b where b.program_id = p_program for update;
$$;

-- Gives up to p_limit members of a run their gifts (NULL: all), beginning none after p_until, and adds the members who
-- did not opt out to the day's campaign. A member whose award fails is recorded and left alone until the next pass.
-- `remaining` counts those not tried in this pass yet; it is 0 when the program may no longer give.
create or replace function passbell.give_gifts(
    p_program uuid, p_date date, p_limit integer, p_until timestamptz, p_greet_at timestamptz,
    out gifted integer, out already_gifted integer, out failed integer, out remaining integer, out stopped boolean,
    out failed_passes uuid[], out reasons text[])
language plpgsql
set search_path = ''
as $$
declare
    v_program  record;
    v_run      passbell.birthday_runs;
    v_message  record;
    v_people   passbell.on_occasion[];
    v_greet    uuid[];
begin
    gifted := 0;  already_gifted := 0;  failed := 0;  remaining := 0;  stopped := false;
    failed_passes := '{}';  reasons := '{}';
    select g.* into v_program
      from passbell.programs g
     where g.program_id = p_program and g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null;
    if not found then
        stopped := true;
        return;
    end if;
    select r.* into strict v_run from passbell.birthday_runs r where r.program_id = p_program and r.local_date = p_date for update;
    v_message := passbell.birthday_greeting(v_program.birthday_message);
    select coalesce(array_agg(row(d.pass_id, d.pass_id, d.opted_in, null, null, null)::passbell.on_occasion order by d.pass_id), array[]::passbell.on_occasion[]),
           coalesce(max(d.todo), 0)
      into v_people, remaining
      from (select b.pass_id, b.opted_in, count(*) over () as todo
              from passbell.birthday_people(p_program, p_date) b
             where not b.already_gifted
               and not exists (select from passbell.birthday_failures f
                                where f.program_id = p_program and f.local_date = p_date and f.pass_id = b.pass_id and f.attempt = v_run.attempt)
             order by b.pass_id
             limit p_limit) d;

    with tried as materialized (
        select e.* from passbell.give_each(null, p_program, p_date, greatest(v_program.birthday_reward_points, 0), v_message.message, v_people, p_until) e
    ), mended as (
        delete from passbell.birthday_failures f
         using tried t
         where t.outcome = 'given' and f.program_id = p_program and f.local_date = p_date and f.pass_id = t.pass_id
    ), noted as (
        insert into passbell.birthday_failures as f (program_id, local_date, pass_id, reason, attempt, last_at)
        select p_program, p_date, t.pass_id, left(t.reason, 500), v_run.attempt, passbell.now()
          from tried t where t.outcome in ('failed', 'timed_out')
        on conflict (program_id, local_date, pass_id) do update
           set reason = excluded.reason, attempt = excluded.attempt, attempts = f.attempts + 1, last_at = excluded.last_at
    )
    select count(*) filter (where t.outcome = 'given'), count(*) filter (where t.outcome = 'already'),
           coalesce(array_agg(t.pass_id order by t.pass_id) filter (where t.outcome in ('failed', 'timed_out')), array[]::uuid[]),
           coalesce(array_agg(t.reason order by t.pass_id) filter (where t.outcome in ('failed', 'timed_out')), array[]::text[]),
           coalesce(bool_or(t.outcome = 'timed_out'), false),
           coalesce(array_agg(t.pass_id) filter (where t.outcome = 'given' and t.opted_in), array[]::uuid[])
      into gifted, already_gifted, failed_passes, reasons, stopped, v_greet
      from tried t;
    failed := cardinality(failed_passes);
    remaining := remaining - gifted - already_gifted - failed;

    perform passbell.greet(v_run, v_message.message, v_message.problem, v_greet, p_greet_at);
    update passbell.birthday_runs r
       set gifted = r.gifted + give_gifts.gifted
     where r.program_id = p_program and r.local_date = p_date and give_gifts.gifted > 0;
end
$$;

-- Adds passes to the day's BIRTHDAY campaign of the program, which is made with the first of them. The last chunk is held
-- until the next batch comes or the run ends. A cancelled campaign greets no member.
create or replace function passbell.greet(
    p_run passbell.birthday_runs, p_message text, p_problem text, p_passes uuid[], p_greet_at timestamptz) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
begin
    if p_passes = '{}' then
        return;
    end if;
    select c.* into v_campaign from public.push_campaigns c where c.id = p_run.campaign_id for no key update;
    if not found then
        v_campaign := passbell.begin_day_campaign(null, p_run.program_id, p_run.local_date, p_message, 'PROCESSING', p_problem);
        update passbell.birthday_runs r
           set campaign_id = v_campaign.id, detail = p_problem
         where r.program_id = p_run.program_id and r.local_date = p_run.local_date;
    elsif v_campaign.status in ('CANCELLED', 'FAILED') then
        return;
    end if;
    perform passbell.add_to_day_campaign(v_campaign, p_passes, p_greet_at, true);
end
$$;

-- When a run of the daemon may buzz: from the program's hour on, in its own zone. A birthday that is caught up at
-- three in the morning gets its points then and its greeting at nine.
create or replace function passbell.greet_at(p_program uuid) returns timestamptz
language sql stable
set search_path = ''
as $$
    select greatest(passbell.now(), ((passbell.now() at time zone passbell.zone(g.timezone))::date + g.birthday_send_at) at time zone passbell.zone(g.timezone))
      from passbell.programs g
     where g.program_id = p_program
$$;

-- ── by hand ──────────────────────────────────────────────────────────────────────────────────────────────────

-- What public.run_birthdays does, see there.
create or replace function passbell.run_birthdays_by_hand(p_program uuid, p_date date)
returns table (program_id uuid, local_date date, eligible integer, gifted integer, already_gifted integer, failed integer, campaign_id uuid)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_program  record;
    v_run      passbell.birthday_runs;
    v_gifts    record;
    v_until    timestamptz;
    v_words    text;
    v_stopped  boolean := false;
begin
    perform passbell.require_calendar_date(p_date);
    perform passbell.require_birthday_guard();
    if p_program is not null then
        perform passbell.require_known_program(p_program);
    end if;
    -- With a statement_timeout (Supabase gives every API role one) stop in time and keep what was given.
    select case when s.setting = '0' then 'infinity' else statement_timestamp() + make_interval(secs => s.setting::double precision / 1000 * 0.7) end
      into v_until
      from pg_catalog.pg_settings s where s.name = 'statement_timeout';

    perform passbell.enter_turns(array(select g.program_id from passbell.programs g
                                        where g.birthday_bot_enabled and (p_program is null or g.program_id = p_program)));
    for v_program in
        select g.program_id, g.name
          from passbell.programs g
         where g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null
           and (p_program is null or g.program_id = p_program)
         order by g.program_id
    loop
        program_id := v_program.program_id;
        local_date := coalesce(p_date, passbell.local_date(program_id));
        eligible := 0;  gifted := 0;  already_gifted := 0;  failed := 0;  campaign_id := null;
        begin
            perform passbell.lock_birthdays(v_program.program_id);
            insert into passbell.birthday_runs as r (program_id, local_date, started_at, not_before)
            values (v_program.program_id, run_birthdays_by_hand.local_date, passbell.now(), '-infinity')
            on conflict do nothing;
            -- What failed before is tried again now.
            update passbell.birthday_runs r set attempt = r.attempt + 1
             where r.program_id = v_program.program_id and r.local_date = run_birthdays_by_hand.local_date
               and exists (select from passbell.birthday_failures f
                            where f.program_id = r.program_id and f.local_date = r.local_date and f.attempt = r.attempt);
            select count(*), count(*) filter (where b.already_gifted) into eligible, already_gifted
              from passbell.birthday_people(v_program.program_id, run_birthdays_by_hand.local_date) b;

            if eligible > already_gifted then
                select g.* into v_gifts
                  from passbell.give_gifts(v_program.program_id, run_birthdays_by_hand.local_date, null, v_until, passbell.now()) g;
                gifted := v_gifts.gifted;
                failed := v_gifts.failed;
                already_gifted := already_gifted + v_gifts.already_gifted;
                v_stopped := v_gifts.stopped;
            end if;
            select r.* into v_run
              from passbell.birthday_runs r where r.program_id = v_program.program_id and r.local_date = run_birthdays_by_hand.local_date;
            if v_run.completed_at is null or gifted > 0 or failed > 0 then
                v_run := passbell.end_birthday_pass(v_program.program_id, run_birthdays_by_hand.local_date, passbell.now());
            end if;
            campaign_id := v_run.campaign_id;
            perform passbell.hear_deferred(passbell.deferred_rules());
        exception when assert_failure or others then
            -- This program's trouble is not the others'.
            if p_program is not null then
                raise;
            end if;
            get stacked diagnostics v_words = message_text;
            raise warning 'birthdays of program "%": %', v_program.name, v_words;
            insert into passbell.birthday_runs as r (program_id, local_date, started_at, not_before, detail)
            values (v_program.program_id, run_birthdays_by_hand.local_date, passbell.now(), '-infinity', left(v_words, 500))
            on conflict (program_id, local_date) do update set detail = excluded.detail;
            gifted := 0;
            failed := eligible - already_gifted;
        end;
        return next;
        exit when v_stopped;
    end loop;
end
$$;

-- Gives today's birthday gifts now, in one program or in all whose bot is on, whatever the hour; or those of a given
-- local date. For psql, Supabase Studio, RPC and the command line; daemons do the same in smaller bites. Calling it
-- again, even at the same moment, gives nothing twice: it waits, then finds nothing to do. One row per program; with a
-- statement_timeout it stops in time, and eligible is then more than gifted + already_gifted + failed: call it again.
-- A member whose award fails is counted in `failed`, recorded in passbell.birthday_failures and tried again.
create or replace function public.run_birthdays(program_id uuid default null, on_date date default null)
returns table (program_id uuid, local_date date, eligible integer, gifted integer, already_gifted integer, failed integer, campaign_id uuid)
language sql volatile
security definer
set search_path = ''
as $$ select r.* from passbell.run_birthdays_by_hand($1, $2) r $$;
