-- Whose birthday is it? Everything here only reads.

-- Refuses (PB422) unless UNIQUE (pass_id, year) guards birthday_logs: it is the proof that a gift is given once, across
-- restarts, daemons and whoever else writes there. Called before every gift.
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
language sql stable
set search_path = ''
as $$
    select string_agg(format('pass %s in %s: %s rows', d.pass_id, d.year, d.n), '; ' order by d.year desc, d.pass_id)
           || case when max(d.groups) > 5 then format('; and %s more', max(d.groups) - 5) else '' end
      from (select l.pass_id, l.year, count(*) as n, count(*) over () as groups
              from public.birthday_logs l
             where l.pass_id is not null
             group by l.pass_id, l.year having count(*) > 1
             order by l.year desc, l.pass_id
             limit 5) d
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

-- The people of one program whose birthday is on a local date, one pass each.
--
-- 29 February is kept on the 28th or on 1 March in common years, as the program wishes. Placeholders that forms and
-- imports leave behind (1900-01-01, 1970-01-01, 1904-01-01), future dates and ages over 120 are no birth dates. A pass
-- that is not on a phone is not there. Of two passes of one person the one that has this year's gift stands for both,
-- else the one with the lower id. already_gifted: the person has, on whichever pass of this program, the gift of that
-- year, or one for a birthday less than 300 days away (a birth date corrected to farm points). A gift is dated by
-- local_date, unless the row was written or edited by somebody else: then by created_at.
--
-- Uses idx_users_birthday → passes_master_user → UNIQUE (pass_id, year). The planner thinks that a day has far fewer
-- birthdays than it has (it multiplies the chances of month, day and age) and would look up a whole program for each of
-- them: the program is therefore compared in a way that no index serves. Planned anew for each call, so that the leap
-- day costs nothing on other days.
create or replace function passbell.birthday_people(p_program uuid, p_date date)
returns table (pass_id uuid, external_id text, first_name text, birth_date date, opted_in boolean, already_gifted boolean)
language plpgsql stable
set search_path = ''
set plan_cache_mode = 'force_custom_plan'
set max_parallel_workers_per_gather = 0
set jit = off
as $$
#variable_conflict use_column
declare
    v_zone   text;
    v_leap   boolean;
    v_year   constant integer := extract(year from p_date);
    v_month  constant numeric := extract(month from p_date);
    v_day    constant numeric := extract(day from p_date);
begin
    -- The leap day's substitute: 28 February or 1 March of a year that has no 29th.
    select passbell.zone(g.timezone),
           v_month * 100 + v_day = case when upper(btrim(g.birthday_leap_day)) = 'MAR_01' then 301 else 228 end
           and extract(day from make_date(v_year, 3, 1) - 1) = 28
      into v_zone, v_leap
      from passbell.programs g
     where g.program_id = p_program;

    return query
        with member as materialized (
            select r.pass_id, r.external_id, r.first_name, r.birth_date, r.opted_in, r.reachable, coalesce(r.user_id, r.pass_id) as person
              from passbell.recipients r
             where coalesce(r.program_id = p_program, false)
               and (extract(month from r.birth_date) = v_month and extract(day from r.birth_date) = v_day
                    or v_leap and extract(month from r.birth_date) = 2 and extract(day from r.birth_date) = 29)
               and r.birth_date <= p_date
               and v_year - extract(year from r.birth_date) <= 120
               and r.birth_date not in ('1900-01-01', '1970-01-01', '1904-01-01')
        ), judged as (
            select m.*, coalesce(l.this_year, false) as this_one, coalesce(bool_or(l.this_year or l.recent) over (partition by m.person), false) as had
              from member m
             cross join lateral (
                    select bool_or(l.year = v_year) as this_year,
                           bool_or(abs(p_date - case when extract(year from l.local_date) = l.year then l.local_date
                                                     else (l.created_at at time zone v_zone)::date end) < 300) as recent
                      from public.birthday_logs l
                     where l.pass_id = m.pass_id and l.year between v_year - 1 and v_year + 1) l
        )
        select distinct on (j.person) j.pass_id, j.external_id, j.first_name, j.birth_date, j.opted_in, j.had
          from judged j
         where j.reachable
         order by j.person, j.this_one desc, j.pass_id;
end
$$;

-- What public.get_birthdays_today returns, see there.
create or replace function passbell.birthdays_today(p_program uuid, p_date date)
returns table (pass_id uuid, program_id uuid, external_id text, first_name text, birth_date date, birthday_year integer,
               reward_points integer, message text, already_gifted boolean)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_program   record;
    v_message   record;
    v_date      date;
begin
    if p_program is not null and not exists (select from passbell.programs g where g.program_id = p_program) then
        raise exception 'There is no program %.', p_program using errcode = 'PB404';
    end if;
    for v_program in
        select g.program_id, g.name, g.timezone, g.birthday_message, greatest(g.birthday_reward_points, 0) as reward
          from passbell.programs g
         where g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null
           and (p_program is null or g.program_id = p_program)
         order by g.program_id
    loop
        v_date := coalesce(p_date, (passbell.now() at time zone passbell.zone(v_program.timezone))::date);
        select c.layout, c.fields, c.fallbacks into v_message
          from passbell.birthday_greeting(v_program.birthday_message) b, passbell.compile_message(b.message) c;
        if v_message.fields = '{}' then
            return query
                select b.pass_id, v_program.program_id, b.external_id, b.first_name, b.birth_date, extract(year from v_date)::integer,
                       v_program.reward, format(v_message.layout), b.already_gifted
                  from passbell.birthday_people(v_program.program_id, v_date) b;
        else
            return query
                select b.pass_id, v_program.program_id, b.external_id, b.first_name, b.birth_date, extract(year from v_date)::integer,
                       v_program.reward,
                       passbell.render_message(v_message.layout, v_message.fields, v_message.fallbacks,
                                               coalesce(r.points, 0) + case when b.already_gifted then 0 else v_program.reward end,
                                               r.first_name, r.last_name, r.tier_points, v_program.name),
                       b.already_gifted
                  from passbell.birthday_people(v_program.program_id, v_date) b
                  left join lateral (select x.points, x.first_name, x.last_name, x.tier_points
                                       from passbell.recipients x where x.pass_id = b.pass_id limit 1) r on true;
        end if;
    end loop;
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
