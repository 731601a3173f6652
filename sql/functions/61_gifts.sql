-- Giving: one member, some members, their greetings. The callers hold the program's row of birthday_programs
-- (lock_birthdays), so that the gifts of one program come one after the other, whoever gives them.
-- Locks: birthday_programs, birthday_runs, the host's rows, then campaign, then chunks.

-- Puts the gifts of a program in a row: waits for whoever is giving there now.
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

-- Gives one member the gift, or nothing: the birthday_logs row and the points stand or fall together, in a
-- subtransaction, so that an award that fails takes nobody else along. Outcomes:
--
--   gifted, already_gifted
--   failed        with the reason: the award function refused, raised, or waited three seconds for a lock
--   timed_out     the caller's statement_timeout struck while this member's award hung. It strikes once per statement:
--                 the caller must start nobody else
--
-- A cancel that is not the time-out's (Ctrl-C, pg_cancel_backend) goes through.
create or replace function passbell.gift_member(
    p_program uuid, p_program_name text, p_points integer, p_date date, p_pass uuid, p_message text, p_fields text[],
    out outcome text, out reason text)
language plpgsql
set search_path = ''
set lock_timeout = '3s'
as $$
declare
    v_year     constant integer := extract(year from p_date);
    v_timeout  numeric;
begin
    begin
        insert into public.birthday_logs (pass_id, program_id, year, local_date, created_at, points_awarded, message_sent)
        values (p_pass, p_program, v_year, p_date, passbell.now(), p_points, p_message)
        on conflict (pass_id, year) do nothing;
        if not found then
            outcome := 'already_gifted';
            return;
        end if;
        if p_points > 0 then
            perform passbell.award_gift(p_pass, p_points, 'Birthday ' || v_year);
        end if;
        if p_fields <> '{}' then        -- the text with this member's name and the balance as it is now
            update public.birthday_logs l
               set message_sent = passbell.render_message(m.layout, m.fields, m.fallbacks, r.points, r.first_name, r.last_name, r.tier_points, p_program_name)
              from passbell.compile_message(p_message) m, passbell.recipients r
             where l.pass_id = p_pass and l.year = v_year and r.pass_id = p_pass;
        end if;
        outcome := 'gifted';
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

-- Gives up to p_limit members of a run their gifts (NULL: all), starting nobody after p_until, and hands those who did
-- not opt out to the day's campaign. A member whose award fails is recorded and left alone until the next pass.
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
    v_member   record;
    v_gift     record;
    v_greet    uuid[] := '{}';
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
    select b.message, b.problem, c.fields into v_message
      from passbell.birthday_greeting(v_program.birthday_message) b, passbell.compile_message(b.message) c;

    for v_member in
        select b.pass_id, b.opted_in, count(*) over () as todo
          from passbell.birthday_people(p_program, p_date) b
         where not b.already_gifted
           and not exists (select from passbell.birthday_failures f
                            where f.program_id = p_program and f.local_date = p_date and f.pass_id = b.pass_id and f.attempt = v_run.attempt)
         order by b.pass_id
         limit p_limit
    loop
        remaining := coalesce(nullif(remaining, 0), v_member.todo);
        exit when stopped or clock_timestamp() >= p_until;
        select m.* into v_gift
          from passbell.gift_member(p_program, v_program.name, greatest(v_program.birthday_reward_points, 0), p_date, v_member.pass_id,
                                    case when v_member.opted_in then v_message.message end,
                                    case when v_member.opted_in then v_message.fields else '{}' end) m;
        case v_gift.outcome
            when 'gifted' then
                gifted := gifted + 1;
                if v_member.opted_in then
                    v_greet := v_greet || v_member.pass_id;
                end if;
                delete from passbell.birthday_failures f
                 where f.program_id = p_program and f.local_date = p_date and f.pass_id = v_member.pass_id;
            when 'already_gifted' then
                already_gifted := already_gifted + 1;
            else
                failed := failed + 1;
                failed_passes := failed_passes || v_member.pass_id;
                reasons := reasons || v_gift.reason;
                insert into passbell.birthday_failures as f (program_id, local_date, pass_id, reason, attempt, last_at)
                values (p_program, p_date, v_member.pass_id, left(v_gift.reason, 500), v_run.attempt, passbell.now())
                on conflict (program_id, local_date, pass_id) do update
                   set reason = excluded.reason, attempt = excluded.attempt, attempts = f.attempts + 1, last_at = excluded.last_at;
                stopped := v_gift.outcome = 'timed_out';
        end case;
    end loop;
    remaining := remaining - gifted - already_gifted - failed;

    perform passbell.greet(v_run, v_message.message, v_message.problem, v_greet, p_greet_at);
    update passbell.birthday_runs r
       set gifted = r.gifted + give_gifts.gifted
     where r.program_id = p_program and r.local_date = p_date and give_gifts.gifted > 0;
end
$$;

-- Adds passes to the day's BIRTHDAY campaign of the program, which is made with the first of them; recipient_count
-- grows with the chunks. The last chunk is held back (not_before infinity) until the next batch comes or the run ends
-- (release_greetings), so that the campaign cannot complete while gifts are still being given; one that had completed,
-- before awards that failed in the morning worked at noon, goes on. Nobody is greeted in a cancelled campaign, and
-- nobody twice in the same.
create or replace function passbell.greet(
    p_run passbell.birthday_runs, p_message text, p_problem text, p_passes uuid[], p_greet_at timestamptz) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
    v_passes    uuid[];
    v_last      integer;
    v_size      constant integer := 50;
begin
    if p_passes = '{}' then
        return;
    end if;
    select c.* into v_campaign from public.push_campaigns c where c.id = p_run.campaign_id for no key update;
    if not found then
        perform passbell.engine_begins();
        insert into public.push_campaigns (program_id, name, message_text, target_query, kind, status, started_at, status_detail)
        values (p_run.program_id, 'Birthdays ' || to_char(p_run.local_date, 'YYYY-MM-DD'), p_message, 'BIRTHDAY', 'BIRTHDAY', 'PROCESSING', passbell.now(), p_problem)
        returning * into v_campaign;
        perform passbell.engine_ends();
        update passbell.birthday_runs r
           set campaign_id = v_campaign.id, detail = p_problem
         where r.program_id = p_run.program_id and r.local_date = p_run.local_date;
        insert into passbell.turns (program_id) values (p_run.program_id) on conflict do nothing;
    elsif v_campaign.status in ('CANCELLED', 'FAILED') then
        return;
    end if;

    select array_agg(p.pass_id order by p.pass_id) into v_passes
      from unnest(p_passes) as p (pass_id)
     where not exists (select from passbell.deliveries d where d.campaign_id = v_campaign.id and d.pass_id = p.pass_id)
       and not exists (select from passbell.chunks k where k.campaign_id = v_campaign.id and p.pass_id = any (k.pass_ids));
    if v_passes is null then
        return;
    end if;
    update passbell.chunks k set not_before = p_greet_at where k.campaign_id = v_campaign.id and k.not_before = 'infinity';
    select coalesce(max(k.chunk_no), 0) into v_last from passbell.chunks k where k.campaign_id = v_campaign.id;
    insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, not_before)
    select v_campaign.id, v_last + n.chunk_no, p_run.program_id, array_agg(n.pass_id order by n.pass_id),
           case when n.chunk_no = (cardinality(v_passes) - 1) / v_size + 1 then 'infinity' else p_greet_at end
      from (select p.pass_id, ((p.n - 1) / v_size + 1)::integer as chunk_no from unnest(v_passes) with ordinality as p (pass_id, n)) n
     group by n.chunk_no;
    perform passbell.engine_begins();
    update public.push_campaigns c
       set recipient_count = c.recipient_count + cardinality(v_passes), completed_at = null,
           status = case when c.status = 'COMPLETED' then 'PROCESSING' else c.status end
     where c.id = v_campaign.id;
    perform passbell.engine_ends();
end
$$;

-- Lets the held chunk go: no more greetings come for now.
create or replace function passbell.release_greetings(p_campaign uuid, p_greet_at timestamptz) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.push_campaigns c where c.id = p_campaign for no key update;
    update passbell.chunks k set not_before = p_greet_at where k.campaign_id = p_campaign and k.not_before = 'infinity';
    if found then
        perform pg_notify('passbell', 'processing');
    end if;
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
