-- Occasions as people write them, and the rules that come with passbell. Everything here only reads.

-- An occasion such as 'dormant: 30' as its rule and parameter. Raises PB400 with a sentence that lists what is known.
create or replace function passbell.parse_occasion(p_occasion text, out trigger_name text, out parameter text)
language plpgsql stable
set search_path = ''
as $$
declare
    v_text   constant text := upper(btrim(passbell.plain_spaces(p_occasion)));
    v_rule   passbell.triggers;
    v_known  text;
begin
    select t.* into v_rule from passbell.triggers t where t.name = replace(btrim(split_part(v_text, ':', 1)), ' ', '_');
    if not found then
        select string_agg(t.name || case t.parameter_kind when 'none' then '' else case when t.default_parameter is null then ':…' else '[:…]' end end,
                          ', ' order by t.builtin desc, t.name)
          into v_known from passbell.triggers t;
        raise exception 'Unknown occasion "%". Known: %.', left(btrim(coalesce(p_occasion, '')), 60), v_known using errcode = 'PB400';
    end if;
    trigger_name := v_rule.name;
    parameter := coalesce(nullif(btrim(case when position(':' in v_text) > 0 then substr(v_text, position(':' in v_text) + 1) end), ''),
                          v_rule.default_parameter);
    if v_rule.parameter_kind = 'none' then
        if position(':' in v_text) > 0 and btrim(split_part(v_text, ':', 2)) <> '' then
            raise exception 'The occasion % takes no value, but "%" was given.', v_rule.name, left(parameter, 60) using errcode = 'PB400';
        end if;
        parameter := null;
        return;
    elsif parameter is null then
        raise exception 'The occasion % needs a value, such as %.', v_rule.name,
              v_rule.name || case v_rule.parameter_kind when 'points' then ':500' when 'mark' then ':450 or ' || v_rule.name || ':90%'
                                  when 'weekdays' then ':FRI' when 'segment' then ':WHALE' when 'signed_days' then ':-1' else ':30' end using errcode = 'PB400';
    end if;
    if v_rule.parameter_kind in ('days', 'signed_days', 'points', 'mark', 'weekdays') then
        parameter := replace(parameter, ' ', '');
    end if;
    if v_rule.parameter_kind = 'days' and parameter !~ '^\d{1,4}$' then
        raise exception 'The occasion % needs a number of days, not "%".', v_rule.name, left(parameter, 60) using errcode = 'PB400';
    elsif v_rule.parameter_kind = 'signed_days' and parameter !~ '^[+-]?\d{1,4}$' then
        raise exception 'The occasion % needs a number of days, such as -1 for the day before, not "%".', v_rule.name, left(parameter, 60) using errcode = 'PB400';
    elsif v_rule.parameter_kind = 'points' and parameter !~ '^\d{1,12}$' then
        raise exception 'The occasion % needs a number of points, not "%".', v_rule.name, left(parameter, 60) using errcode = 'PB400';
    elsif v_rule.parameter_kind = 'mark' and parameter !~ '^(\d{1,12}|\d{1,2}%)$' then
        raise exception 'The occasion % needs a number of points, or a percentage of the next tier such as 90%%, not "%".', v_rule.name, left(parameter, 60) using errcode = 'PB400';
    elsif v_rule.parameter_kind = 'weekdays'
          and not (parameter ~ '^((MON|TUE|WED|THU|FRI|SAT|SUN)(,|$))+$' and parameter !~ ',$' or parameter ~ '^([1-9]|[12]\d|3[01])$') then
        raise exception 'The occasion % needs days such as FRI or MON,FRI, or a day of the month such as 1, not "%".', v_rule.name, left(parameter, 60) using errcode = 'PB400';
    elsif v_rule.parameter_kind = 'segment' then
        if exists (select from passbell.parse_target(parameter) p where p.segment in ('CSV')) then
            raise exception 'The occasion % needs an audience that can be looked up at any time, not a list.', v_rule.name using errcode = 'PB400';
        end if;
    end if;
end
$$;

-- Is the date one of 'THU,FRI'? Without days, every date is.
create or replace function passbell.is_send_day(p_days text, p_date date) returns boolean
language sql immutable
set search_path = ''
as $$
    select coalesce(nullif(btrim(p_days), ''), '*') = '*'
        or (array['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'])[extract(dow from p_date)::integer + 1]
           = any (string_to_array(replace(upper(p_days), ' ', ''), ','))
$$;

-- The first day from p_date on when something may be sent: waiting for it uses up no catch-up.
create or replace function passbell.first_send_day(p_days text, p_date date) returns date
language sql immutable
set search_path = ''
as $$
    select min(p_date + n) from generate_series(0, 6) n where passbell.is_send_day(p_days, p_date + n)
$$;

-- Does a date come up in 'FRI', 'MON,FRI' or '1' (the day of the month; the 31st is the last day of a shorter month)?
create or replace function passbell.comes_up_on(p_parameter text, p_date date) returns boolean
language sql immutable
set search_path = ''
as $$
    select case when p_parameter ~ '^\d+$'
                then extract(day from p_date) = least(p_parameter::integer,
                     extract(day from (date_trunc('month', p_date::timestamp) + interval '1 month - 1 day'))::integer)
                else passbell.is_send_day(p_parameter, p_date) end
$$;

-- The rules that come with passbell. An owner's own are rows beside these; these are written anew by every migrate.
insert into passbell.triggers (name, description, parameter_kind, default_parameter, query, condition, builtin)
values
('DORMANT', 'Has not come for so many days', 'days', '30', 'select * from passbell.last_visits($1, $2::integer, $3, $4, $5, $6)', null, true),
('AFTER_VISIT', 'So many days after the last visit', 'days', '1', 'select * from passbell.last_visits($1, $2::integer, $3, $4, $5, $6)', null, true),
('EXPIRING', 'A coupon that is not redeemed expires in so many days', 'days', '3', $q$
    select r.pass_id, r.coupon_expires_on::text, r.coupon_expires_on - $2::integer, null::timestamptz
      from passbell.recipients r
     where r.program_id = $1 and r.coupon_expires_on between $3 + $2::integer and $4 + $2::integer
       and r.coupon_expires_on >= ($6 at time zone $5)::date and (r.redeemed_at is null or r.redeemed_at > $6) $q$, null, true),
('JOINED', 'So many days after the pass was first seen in a wallet', 'days', '2', $q$
    select s.pass_id, s.pass_id::text, (s.seen_at at time zone $5)::date + $2::integer, s.seen_at
      from passbell.sightings s
     where s.program_id = $1 and s.seen_at <= $6
       and s.seen_at >= ($3 - $2::integer)::timestamp at time zone $5 and s.seen_at < ($4 - $2::integer + 1)::timestamp at time zone $5 $q$, null, true),
('ANNIVERSARY', 'Joined on this day of the year', 'none', null, $q$
    select j.pass_id, extract(year from k.day)::integer::text, k.day, null::timestamptz
      from (select x.pass_id, (x.at at time zone $5)::date as joined from passbell.joins x where x.program_id = $1) j
      join (select d.day::date as day, m.joined_on
              from generate_series($3::timestamp, $4::timestamp, interval '1 day') as d (day)
             cross join lateral passbell.kept_on(d.day::date, (select g.birthday_leap_day from passbell.programs g where g.program_id = $1 limit 1)) as m (joined_on)) k
           on k.joined_on = extract(month from j.joined) * 100 + extract(day from j.joined)
     where extract(year from k.day) > extract(year from j.joined) $q$, null, true),
('EVENT', 'So many days from the event of a ticket; -1 is the day before', 'signed_days', '-1', $q$
    select e.pass_id, e.on_date::text, e.on_date + $2::integer, null::timestamptz
      from passbell.events e
     where e.program_id = $1 and e.on_date between $3 - $2::integer and $4 - $2::integer
       and ($2::integer > 0 or e.on_date >= ($6 at time zone $5)::date) $q$, null, true),
('EVERY', 'Again and again: FRI, MON,FRI or a day of the month', 'weekdays', null, $q$
    select r.pass_id, d.key, d.day, null::timestamptz
      from (select g.day::date as day, g.day::date::text as key
              from generate_series($3::timestamp, $4::timestamp, interval '1 day') as g (day)
             where passbell.comes_up_on($2, g.day::date)
               and (g.day = $4 or not exists (select from passbell.automation_runs n       -- that day has been worked off, on a day that sends
                                                join public.push_automations a on a.id = n.automation_id and passbell.is_send_day(a.send_days, n.local_date)
                                               where n.automation_id = $7 and n.local_date between g.day::date and $4 - 1 and n.completed_at is not null))
            offset 0) d
      join passbell.recipients r on r.program_id = $1 and r.reachable $q$, null, true),
('REACHED', 'The balance crossed a mark upwards', 'points', null, null, 'r.points >= $2::bigint', true),
('ALMOST', 'The balance came near a mark, or near the next tier (90%)', 'mark', null, null, 'case when $2 ~ ''%$'' then passbell.is_near(r.points, r.tier_points, r.program_id, $2) else r.points >= $2::bigint end', true),
('ENTERS', 'Came into an audience', 'segment', null, null, 'true', true)
on conflict (name) do update
   set description = excluded.description, parameter_kind = excluded.parameter_kind, default_parameter = excluded.default_parameter,
       query = excluded.query, condition = excluded.condition, builtin = true;

-- People whose last visit was so many days ago, due on a day of the span. The key is the visit's date: who comes back has a
-- new one. Reads the visits since the span's first day once; per person it asks only whether a later one was on another pass.
-- Planned anew each time: a session's kept plan knows neither the span nor how the tables have grown, and read all visits
-- for each person (measured with 1,500 members: 300 ms instead of 45).
create or replace function passbell.last_visits(p_program uuid, p_days integer, p_first date, p_last date, p_zone text, p_as_of timestamptz)
returns table (pass_id uuid, occasion text, due_on date, moment timestamptz)
language plpgsql stable
set search_path = ''
set jit = off
set work_mem = '128MB'
set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    v_from  constant timestamptz := (p_first - p_days)::timestamp at time zone p_zone;
    v_to    constant timestamptz := least((p_last - p_days + 1)::timestamp at time zone p_zone, p_as_of + interval '1 microsecond');
begin
    return query
        with seen as materialized (
            select v.pass_id, max(v.at) as at
              from passbell.activity() v
             where v.at >= v_from and v.at <= p_as_of
             group by v.pass_id
            having max(v.at) < v_to
        ), last as materialized (
            select s.pass_id, r.user_id, s.at, r.reachable and r.opted_in as told_here
              from seen s
              join passbell.recipients r on r.pass_id = s.pass_id and r.program_id = p_program
             where r.user_id is null
                or not exists (select from passbell.recipients o
                                 join passbell.activity() w on w.pass_id = o.pass_id
                                where o.user_id = r.user_id and o.program_id = p_program and o.pass_id <> s.pass_id
                                  and w.at > s.at and w.at <= p_as_of)
        )
        select l.pass_id, (l.at at time zone p_zone)::date::text, (l.at at time zone p_zone)::date + p_days, l.at
          from last l
        union
        -- A member whose visit was on a pass that has left the wallet is told on another pass.
        select o.pass_id, (l.at at time zone p_zone)::date::text, (l.at at time zone p_zone)::date + p_days, l.at
          from last l
          join passbell.recipients o on o.user_id = l.user_id and o.program_id = p_program and o.pass_id <> l.pass_id
         where not l.told_here and l.user_id is not null and o.reachable;
end
$$;

-- The same for a backtest of many days in one read: each pass with the day on which it would have been told. p_days as there;
-- p_due, p_sent and p_as_of say of each day in turn (without gaps) on which it is sent, and until when that day looks. A
-- visit counts if the next one, of the pass or of another pass of the member, came later than that.
create or replace function passbell.last_visits_by_day(p_program uuid, p_days integer, p_due date[], p_sent date[], p_as_of timestamptz[], p_zone text)
returns table (pass_id uuid, sent_on date)
language plpgsql stable
set search_path = ''
set jit = off
set work_mem = '128MB'
set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    v_now     constant timestamptz := (select max(a) from unnest(p_as_of) a);
    v_starts  constant timestamptz[] := array(select (d - p_days)::timestamp at time zone p_zone from unnest(p_due || p_due[cardinality(p_due)] + 1) d);
begin
    return query
        with seen as materialized (
            select v.pass_id, v.at, p_as_of[v.n] as as_of, p_sent[v.n] as sent_on
              from (select a.pass_id, a.at, lead(a.at) over (partition by a.pass_id order by a.at) as next_at, width_bucket(a.at, v_starts) as n
                      from passbell.activity() a
                     where a.at >= v_starts[1] and a.at <= v_now) v
             where p_sent[v.n] is not null and v.at <= p_as_of[v.n] and (v.next_at is null or v.next_at > p_as_of[v.n])
        ), last as materialized (
            select s.pass_id, r.user_id, s.sent_on, r.reachable and r.opted_in as told_here
              from seen s
              join passbell.recipients r on r.pass_id = s.pass_id and r.program_id = p_program
             where r.user_id is null
                or (r.user_id in (select m.user_id from passbell.recipients m where m.program_id = p_program group by m.user_id having count(*) > 1)) is not true
                or not exists (select from passbell.recipients o
                                 join passbell.activity() w on w.pass_id = o.pass_id
                                where o.user_id = r.user_id and o.program_id = p_program and o.pass_id <> s.pass_id
                                  and w.at > s.at and w.at <= s.as_of)
        )
        select l.pass_id, l.sent_on from last l
        union all
        select o.pass_id, l.sent_on
          from last l
          join passbell.recipients o on o.user_id = l.user_id and o.program_id = p_program and o.pass_id <> l.pass_id
         where not l.told_here and l.user_id is not null and o.reachable;
end
$$;

-- The days of the year (month * 100 + day) whose anniversaries are kept on a date: the date's own, and in common years 29
-- February too, on the 28th or on 1 March.
create or replace function passbell.kept_on(p_day date, p_leap_day text) returns setof numeric
language sql immutable
set search_path = ''
as $$
    select extract(month from p_day) * 100 + extract(day from p_day)
    union all
    select 229
     where extract(day from make_date(extract(year from p_day)::integer, 3, 1) - 1) = 28
       and extract(month from p_day) * 100 + extract(day from p_day) = case when upper(btrim(p_leap_day)) = 'MAR_01' then 301 else 228 end
$$;

drop function if exists passbell.same_day_of_year(date, date, text);

-- Is a balance at a mark such as 450, or the tier points at 90 % of the way to the next tier?
create or replace function passbell.is_near(p_points bigint, p_tier_points bigint, p_program uuid, p_mark text) returns boolean
language sql stable
as $$
    select case when p_mark !~ '%$' then p_points >= p_mark::bigint
                else (select coalesce(p_tier_points, p_points) >= ceil(n.next * rtrim(p_mark, '%')::numeric / 100)
                        from (select case when coalesce(p_tier_points, p_points) <= g.tier_bronze_max then g.tier_bronze_max + 1
                                          when coalesce(p_tier_points, p_points) <= g.tier_silver_max then g.tier_silver_max + 1
                                          when coalesce(p_tier_points, p_points) <= g.tier_gold_max then g.tier_gold_max + 1 end as next
                                from passbell.programs g where g.program_id = p_program limit 1) n) end
$$;

-- What the host does not have that the occasion asks for, as a sentence; NULL if it has it. Without
-- the sentence such a run looks like one on which no member was due.
create or replace function passbell.occasion_lacks(p_occasion text, p_program uuid) returns text
language plpgsql stable
set search_path = ''
as $$
declare
    v_rule  constant text := passbell.occasion_name(p_occasion);
begin
    if v_rule in ('DORMANT', 'AFTER_VISIT') and not passbell.visits_recorded() then
        return 'This database records no visits: last_updated of each pass stands in for its last visit.';
    elsif v_rule = 'EVENT' and not exists (select from passbell.events e where e.program_id = p_program and e.on_date is not null) then
        return 'No ticket of this program has the date of its event, so none is due.';
    elsif v_rule = 'EXPIRING' and not exists (select from passbell.recipients r where r.program_id = p_program and r.coupon_expires_on is not null) then
        return 'No pass of this program has the date on which its coupon expires, so none is due.';
    end if;
    return null;
end
$$;
