-- Members whose birthday it is. Everything here only reads.

-- Refuses (PB422) unless UNIQUE (pass_id, year) guards birthday_logs: it ensures that a gift is given once, across
-- restarts, daemons and other writers. Called before every gift.
create or replace function passbell.require_birthday_guard() returns void
language plpgsql stable
set search_path = ''
as $$
begin
    if not passbell.birthday_guard_exists() then
        raise exception 'Birthday gifts are off: public.birthday_logs has no UNIQUE (pass_id, year), so nothing proves that a gift is given once. Remove the duplicates that `passbell migrate` names (%), then migrate again.',
              coalesce(passbell.birthday_duplicates(), 'none at the moment') using errcode = 'PB422';
    end if;
end
$$;

-- Is there a unique index on exactly (pass_id, year), in either order?
create or replace function passbell.birthday_guard_exists() returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from pg_catalog.pg_index i
                    where i.indrelid = to_regclass('public.birthday_logs') and i.indisunique and i.indisvalid and i.indimmediate
                      and i.indpred is null and i.indexprs is null and i.indnkeyatts = 2
                      and (select array_agg(a.attname::text order by a.attname) from pg_catalog.pg_attribute a
                            where a.attrelid = i.indrelid and a.attnum in (i.indkey[0], i.indkey[1])) = '{pass_id,year}')
$$;

-- The first rows that stand in the way of that index, for people: "pass 1b9d… in 2026: 3 rows". NULL if there are none.
create or replace function passbell.birthday_duplicates() returns text
language plpgsql stable
set search_path = ''
as $$
begin
    if to_regclass('public.birthday_logs') is null then
        return 'the table is gone';
    end if;
    return (select string_agg(format('pass %s in %s: %s rows', d.pass_id, d.year, d.n), '; ' order by d.year desc, d.pass_id)
           || case when max(d.groups) > 5 then format('; and %s more', max(d.groups) - 5) else '' end
      from (select l.pass_id, l.year, count(*) as n, count(*) over () as groups
              from public.birthday_logs l
             where l.pass_id is not null
             group by l.pass_id, l.year having count(*) > 1
             order by l.year desc, l.pass_id
             limit 5) d);
end
$$;

-- Refuses (PB400) a date that no calendar on a wall shows: PostgreSQL's infinity, 44 BC, the year 5874897.
create or replace function passbell.require_calendar_date(p_date date) returns void
language plpgsql immutable
set search_path = ''
as $$
begin
    if not p_date between '1900-01-01' and '9999-12-30' then
        raise exception 'on_date is a date from 1900 to 9999, not %.', p_date using errcode = 'PB400';
    end if;
end
$$;

-- The greeting of a program, ready to be a campaign's message. A message that cannot be used (an unknown placeholder,
-- nothing at all) never stops a gift: a plain greeting stands in, and `problem` says why.
create or replace function passbell.birthday_greeting(p_message text, out message text, out problem text)
language plpgsql immutable
set search_path = ''
as $$
begin
    perform passbell.compile_message(p_message);
    message := p_message;
exception when sqlstate 'PB400' then
    message := 'Happy Birthday!';
    problem := format('The birthday message could not be used (%s). A plain greeting is sent instead.', rtrim(sqlerrm, '.'));
end
$$;

-- The greeting of a program laid out for a whole list of people at once: format() strings with the values by number,
-- %1$s points, %2$s first name, %3$s last name, %4$s tier points. One layout for each combination of values that a member
-- may lack (bit 0 points … bit 3 tier points, the layout of mask n at n + 1), with the fallbacks and the program's name
-- already in it. `gaps`: something was left out there, so that what a text then begins with (", you have 5 points") is
-- trimmed. passbell.fill_layout is the other half; the two together write what passbell.render_message writes.
create or replace function passbell.birthday_layouts(p_message text, p_program_name text, out layouts text[], out gaps boolean[])
language plpgsql immutable
set search_path = ''
as $$
declare
    v_message  record;
    v_known    constant text[] := array['points', 'first_name', 'last_name', 'tier_points'];
    v_name     constant text := passbell.clean_value(p_program_name);
    v_used     integer := 0;
    v_values   text[];
    v_slot     integer;
    v_layout   text;
    v_gap      boolean;
begin
    select c.layout, c.fields, c.fallbacks into v_message
      from passbell.birthday_greeting(p_message) b, passbell.compile_message(b.message) c;
    select coalesce(bit_or(1 << (k.nth - 1)::integer), 0) into v_used
      from unnest(v_known) with ordinality as k (field, nth) where k.field = any (v_message.fields);
    layouts := '{}';
    gaps := '{}';
    for v_mask in 0 .. 15 loop
        if v_mask & ~v_used <> 0 then       -- lacks a field that no text uses
            layouts := layouts || layouts[(v_mask & v_used) + 1];
            gaps := gaps || gaps[(v_mask & v_used) + 1];
            continue;
        end if;
        v_values := '{}';
        v_gap := false;
        for i in 1 .. cardinality(v_message.fields) loop
            v_slot := array_position(v_known, v_message.fields[i]);
            if v_slot is not null and v_mask & (1 << (v_slot - 1)) = 0 then
                v_values := v_values || ('%' || v_slot || '$s');
            else
                v_values := v_values || replace(coalesce(case when v_slot is null then v_name end, v_message.fallbacks[i]), '%', '%%');
                if v_values[i] = '' then
                    v_values[i] := chr(1);
                    v_gap := true;
                end if;
            end if;
        end loop;
        -- The text between the values goes through format() once more later: its %% has to come out as %% here.
        v_layout := format(replace(v_message.layout, '%%', '%%%%'), variadic v_values);
        layouts := layouts || case when v_gap then regexp_replace(v_layout, ' ?' || chr(1), '', 'g') else v_layout end;
        gaps := gaps || v_gap;
    end loop;
end
$$;

-- A value as a text shows it: control characters become spaces, nothing but spaces is NULL. Without a search path of its own
-- it is inlined into the query that calls it.
create or replace function passbell.clean_value(p_value text) returns text
language sql immutable
as $$
    select nullif(pg_catalog.btrim(case when pg_catalog.left(p_value, 200) ~ '[[:cntrl:]]'
                                        then pg_catalog.regexp_replace(pg_catalog.left(p_value, 200), '[[:cntrl:]]+', ' ', 'g')
                                        else pg_catalog.left(p_value, 200) end), '')
$$;

-- One member's text from the layout chosen for the values that are there; names already clean. Inlined like clean_value.
create or replace function passbell.fill_layout(
    p_layout text, p_gap boolean, p_points bigint, p_first_name text, p_last_name text, p_tier_points bigint) returns text
language sql stable
as $$
    select nullif(pg_catalog.btrim(
               case when p_gap then pg_catalog.regexp_replace(pg_catalog.format(p_layout, p_points, p_first_name, p_last_name, p_tier_points), E'^[\\s,;:!.]+', '')
                    else pg_catalog.format(p_layout, p_points, p_first_name, p_last_name, p_tier_points) end), '')
$$;

-- The people whose birthday is on a local date, one pass each: of one program, or (p_program NULL) of all whose bot may
-- give; p_date NULL is today in each program's own zone. With p_values also what a text can say about them.
--
-- 29 February is kept on the 28th or on 1 March in common years, as the program wishes. Placeholders that forms and
-- imports leave behind (1900-01-01, 1970-01-01, 1904-01-01), future dates and ages over 120 are no birth dates. A pass
-- that is not on a phone is not there. Of two passes of one person the one that has this year's gift stands for both,
-- else the one with the lower id. already_gifted: the person has, on whichever pass of this program, the gift of that
-- year, or one for a birthday less than 300 days away (a birth date corrected to farm points). A gift is dated by
-- local_date, unless another program wrote or edited the row: then by created_at.
--
-- Every person of the day is looked up once, in users (idx_users_birthday), passes_master (passes_master_user) and
-- birthday_logs (UNIQUE (pass_id, year)), however many programs there are; points and tiers only with p_values. The
-- days to look for are worked out first and the plan is made anew for each call, so that the planner sees them as
-- constants and estimates an index range. `member` is a fence: the planner thinks that a day has far fewer birthdays than
-- it has (it multiplies the chances of month, day and age), and would otherwise read a whole program for each of them.
-- 2,700 birthdays among 1,000,000 members: see bench/birthdays.py.
drop function if exists passbell.birthday_people(uuid, date);
create or replace function passbell.birthday_people(p_program uuid, p_date date, p_values boolean default false)
returns table (program_id uuid, pass_id uuid, external_id text, first_name text, birth_date date, birthday_year integer,
               opted_in boolean, already_gifted boolean,
               shown_first_name text, shown_last_name text, points bigint, tier_points bigint)
language plpgsql stable
set search_path = ''
set plan_cache_mode = 'force_custom_plan'
set max_parallel_workers_per_gather = 0
set jit = off
as $$
#variable_conflict use_column
declare
    v_programs  uuid[];
    v_zones     text[];
    v_dates     date[];
    v_days      integer[];      -- month * 100 + day of each program's date
    v_leaps     boolean[];      -- does that date stand in for 29 February?
    v_wanted    integer[];      -- the days of the year to look for, at most three and the leap day
    v_months    numeric[];
    v_month_days numeric[];
begin
    select array_agg(d.program_id), array_agg(d.zone), array_agg(d.local_date), array_agg(d.day),
           array_agg(d.day = case when upper(btrim(d.birthday_leap_day)) = 'MAR_01' then 301 else 228 end
                     and extract(day from make_date(extract(year from d.local_date)::integer, 3, 1) - 1) = 28)
      into v_programs, v_zones, v_dates, v_days, v_leaps
      from (select z.*, (extract(month from z.local_date) * 100 + extract(day from z.local_date))::integer as day
              from (select y.*, coalesce(p_date, (passbell.now() at time zone y.zone)::date) as local_date
                      from (select g.program_id, g.birthday_leap_day, passbell.zone(g.timezone) as zone
                              from passbell.programs g
                             where g.program_id = p_program
                                or p_program is null and g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null
                            offset 0) y
                    offset 0) z) d;

    select array_agg(w.day), array_agg(w.day / 100), array_agg(w.day % 100) into v_wanted, v_months, v_month_days
      from (select unnest(v_days) as day
            union
            select 229 where true = any (v_leaps)) w;

    return query
        with member as materialized (
            select r.pass_id, r.program_id, r.external_id, r.first_name, r.birth_date, r.opted_in, r.reachable, coalesce(r.user_id, r.pass_id) as person,
                   w.day,
                   case when p_values then r.last_name end as last_name,
                   case when p_values then r.points end as points,
                   case when p_values then r.tier_points end as tier_points
              from unnest(v_wanted, v_months, v_month_days) as w (day, month, month_day)
              join passbell.recipients r on extract(month from r.birth_date) = w.month and extract(day from r.birth_date) = w.month_day
             where (p_program is null or coalesce(r.program_id = p_program, false))
               and r.birth_date not in ('1900-01-01', '1970-01-01', '1904-01-01')
        ), judged as (
            select m.*, d.year, l.year = d.year as this_one,
                   coalesce(bool_or(l.year = d.year or l.recent) over (partition by m.program_id, m.person), false) as had
              from member m
              join (select g.*, extract(year from g.local_date)::integer as year
                      from unnest(v_programs, v_zones, v_dates, v_days, v_leaps) as g (program_id, zone, local_date, day, leap)) d
                on d.program_id = m.program_id and (m.day = d.day or m.day = 229 and d.leap)
              left join lateral (
                    select l.year, abs(d.local_date - case when extract(year from l.local_date) = l.year then l.local_date
                                                           else (l.created_at at time zone d.zone)::date end) < 300 as recent
                      from public.birthday_logs l
                     where l.pass_id = m.pass_id and l.year between d.year - 1 and d.year + 1
                    offset 0) l on true
             where m.birth_date between make_date(d.year - 120, 1, 1) and d.local_date
        )
        select distinct on (j.program_id, j.person)
               j.program_id, j.pass_id, j.external_id, j.first_name, j.birth_date, j.year, j.opted_in, j.had,
               case when p_values then passbell.clean_value(j.first_name) end, case when p_values then passbell.clean_value(j.last_name) end,
               j.points, j.tier_points
          from judged j
         where j.reachable
         order by j.program_id, j.person, coalesce(j.this_one, false) desc, j.pass_id;    -- a gift of another year decides nothing
end
$$;

-- What public.get_birthdays_today returns, see there. Values are only looked up if some greeting has a placeholder.
create or replace function passbell.birthdays_today(p_program uuid, p_date date)
returns table (pass_id uuid, program_id uuid, external_id text, first_name text, birth_date date, birthday_year integer,
               reward_points integer, message text, already_gifted boolean)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
begin
    perform passbell.require_calendar_date(p_date);
    if p_program is not null then
        perform passbell.require_known_program(p_program);
    end if;
    return query
        with program as materialized (
            select g.program_id, greatest(g.birthday_reward_points, 0) as reward, y.layouts, y.gaps
              from passbell.programs g
             cross join lateral passbell.birthday_layouts(g.birthday_message, g.name) y
             where g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null
               and (p_program is null or g.program_id = p_program)
        )
        select b.pass_id, b.program_id, b.external_id, left(b.first_name, 200), b.birth_date, b.birthday_year, g.reward,
               passbell.fill_layout(g.layouts[n.mask + 1], g.gaps[n.mask + 1],
                                    coalesce(b.points, 0) + case when b.already_gifted then 0 else g.reward end,
                                    b.shown_first_name, b.shown_last_name, b.tier_points),
               b.already_gifted
          from passbell.birthday_people(p_program, p_date,
                   exists (select from passbell.programs x where x.birthday_message like '%{%' and (p_program is null or x.program_id = p_program))) b
          join program g on g.program_id = b.program_id
         cross join lateral (select 2 * (b.shown_first_name is null)::integer + 4 * (b.shown_last_name is null)::integer
                                    + 8 * (b.tier_points is null)::integer as mask) n;
end
$$;

-- Whose birthday it is: in one program or in all whose bot is on, today in each program's own zone or on a given local
-- date. `message` is the greeting as that member would read it, with the balance after the award; already_gifted says
-- that nothing more will come. Changes nothing. A program that is off, suspended or not provisioned has no rows.
create or replace function public.get_birthdays_today(program_id uuid default null, on_date date default null)
returns table (pass_id uuid, program_id uuid, external_id text, first_name text, birth_date date, birthday_year integer,
               reward_points integer, message text, already_gifted boolean)
language sql stable
security definer
set search_path = ''
as $$ select b.* from passbell.birthdays_today($1, $2) b $$;
