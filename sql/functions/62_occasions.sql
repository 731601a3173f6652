-- Asking a rule who is due. Everything here only reads.

-- What a rule says for a program and a span of dates, as things were at p_as_of: every pass with the occasion and its day.
-- People, audience and proofs are judged by the callers.
create or replace function passbell.due_rows(
    p_automation public.push_automations, p_first date, p_last date, p_zone text, p_as_of timestamptz)
returns table (pass_id uuid, occasion text, due_on date, moment timestamptz)
language plpgsql stable
set search_path = ''
set jit = off
set work_mem = '128MB'
as $$
declare
    v_occasion  record;
    v_rule      passbell.triggers;
begin
    select * into v_occasion from passbell.parse_occasion(p_automation.occasion);
    select t.* into v_rule from passbell.triggers t where t.name = v_occasion.trigger_name;
    if v_rule.query is not null then
        return query execute v_rule.query
               using p_automation.program_id, v_occasion.parameter, p_first, p_last, p_zone, p_as_of, p_automation.id;
    else
        -- A crossing: people inside now, if they came in within the span or are not stored as inside yet.
        return query execute format($q$
            select i.pass_id, (coalesce(c.number, 0) + case when coalesce(c.inside, false) then 0 else 1 end)::text,
                   case when coalesce(c.inside, false) then c.entered_on else ($6 at time zone $5)::date end, null::timestamptz
              from passbell.people_inside($7) i
              left join passbell.crossings c on c.automation_id = $7 and c.person_id = i.person_id
             where case when coalesce(c.inside, false) then c.entered_on between $3 and $4
                        else ($6 at time zone $5)::date between $3 and $4 end $q$)
               using p_automation.program_id, v_occasion.parameter, p_first, p_last, p_zone, p_as_of, p_automation.id;
    end if;
end
$$;

-- The passes that fulfil a crossing's condition at this moment, each with its person.
create or replace function passbell.people_inside(p_automation uuid)
returns table (person_id uuid, pass_id uuid)
language plpgsql stable
set search_path = ''
as $$
declare
    v_automation  public.push_automations;
    v_occasion    record;
    v_rule        passbell.triggers;
    v_condition   text;
    v_parameters  text[];
begin
    select a.* into v_automation from public.push_automations a where a.id = p_automation;
    select * into v_occasion from passbell.parse_occasion(v_automation.occasion);
    select t.* into v_rule from passbell.triggers t where t.name = v_occasion.trigger_name;
    if v_rule.parameter_kind = 'segment' then
        select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition(v_occasion.parameter) a;
    else
        v_condition := replace(v_rule.condition, '$2', '($2)[1]');
        v_parameters := array[v_occasion.parameter];
    end if;
    return query execute $q$
        select coalesce(r.user_id, r.pass_id), r.pass_id
          from passbell.recipients r
         where r.program_id = $1 and r.reachable and ($q$ || v_condition || $q$) $q$
       using v_automation.program_id, v_parameters;
end
$$;

-- Is the occasion one that needs state (a crossing)?
create or replace function passbell.is_crossing(p_occasion text) returns boolean
language sql stable
set search_path = ''
as $$
    select t.condition is not null
      from passbell.triggers t
     where t.name = (select p.trigger_name from passbell.parse_occasion(p_occasion) p)
$$;

-- The people an automation is due for on a local date, one row per person: on a pass that is in a wallet and in the
-- audience, not opted out (with reward_points they get the points all the same), for an occasion that had no message yet,
-- neither under the user nor under the pass. `keys` are all occasions that the one message answers.
-- p_proofs false asks the bare rule, as a backtest does: for a day of the past, which starts_on cannot reach.
create or replace function passbell.due_people(
    p_automation public.push_automations, p_date date, p_as_of timestamptz, p_proofs boolean default true)
returns table (pass_id uuid, person_id uuid, external_id text, opted_in boolean, occasion text, due_on date, moment timestamptz, keys text[])
language plpgsql stable
set search_path = ''
set jit = off
set work_mem = '128MB'
as $$
#variable_conflict use_column
declare
    v_zone        constant text := passbell.program_zone(p_automation.program_id);
    v_condition   text;
    v_parameters  text[];
    -- A date of the calendar that lies before starts_on is not late on that day: it belongs to no day of the automation.
    v_since       constant date := greatest(coalesce(p_automation.switched_on_on, p_date),
                                            case when passbell.occasion_name(p_automation.occasion) = 'EVERY' then p_automation.starts_on end);
    v_days        date[];
    v_told        boolean;
    -- A proof that answers an occasion: the same one, one of the same visit, or any that is too recent.
    v_answered    constant text := '(o.occasion = p.occasion or o.moment = p.moment or ($3).again_after_days > 0 and o.local_date > $4 - ($3).again_after_days)';
    v_due         record;
begin
    if not passbell.is_send_day(p_automation.send_days, p_date)
       or p_proofs and (p_date < p_automation.starts_on or p_date > p_automation.ends_on) then
        return;
    end if;
    select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition(p_automation.target_query) a;
    -- The days whose occasions count today, each asked once, not once per row: the rule is asked for no others.
    select array_agg(n.day order by n.day) into v_days
      from (select p_date - d as day, passbell.first_send_day(p_automation.send_days, p_date - d) as sent_on
              from generate_series(0, p_automation.catch_up_days + 6) d) n
     where case when p_proofs then n.day >= v_since and n.sent_on >= p_date - p_automation.catch_up_days else n.sent_on = p_date end;
    if v_days is null then
        return;
    end if;
    -- As arrays, whose length the planner knows: some people are looked up, a million are joined.
    select array_agg(d.pass_id) as passes, array_agg(d.occasion) as occasions, array_agg(d.due_on) as days, array_agg(d.moment) as moments into v_due
      from passbell.due_rows(p_automation, v_days[1], p_date, v_zone, p_as_of) d
     where d.due_on = any (v_days);
    if v_due.passes is null then
        return;
    end if;
    v_told := p_proofs and exists (select from passbell.occasions o where o.automation_id = p_automation.id);
    return query execute $q$
        with people as (
            select r.pass_id, coalesce(r.user_id, r.pass_id) as person_id, r.user_id, r.external_id, r.opted_in, d.occasion, d.due_on, d.moment
              from unnest($5, $6, $8, $9) as d (pass_id, occasion, due_on, moment)
              join passbell.recipients r on r.pass_id = d.pass_id and r.program_id = $1
             where r.reachable and (r.opted_in or ($3).reward_points > 0) and ($q$ || v_condition || $q$)
        ), fresh as (
            select p.* from people p
             where not $7
                or not exists (select from passbell.occasions o
                                where o.automation_id = ($3).id and o.person_id in (p.person_id, p.pass_id)
                                  and $q$ || v_answered || $q$)
               and case when p.user_id is null          -- sent on this pass as another person's, or on another pass
                        then not exists (select from passbell.occasions o
                                          where o.automation_id = ($3).id and o.pass_id = p.pass_id
                                            and $q$ || v_answered || $q$)
                        else not exists (select from passbell.recipients x
                                           join passbell.occasions o on o.pass_id = x.pass_id
                                          where x.user_id = p.user_id and o.automation_id = ($3).id
                                            and $q$ || v_answered || $q$) end
        )
        select distinct on (f.person_id) f.pass_id, f.person_id, f.external_id, f.opted_in, f.occasion, f.due_on, f.moment,
               array_agg(f.occasion) over (partition by f.person_id)
          from fresh f
         order by f.person_id, f.due_on desc, f.opted_in desc, f.pass_id $q$
       using p_automation.program_id, v_parameters, p_automation, p_date, v_due.passes, v_due.occasions, v_told, v_due.days, v_due.moments;
end
$$;

-- Until when a backtest looks on a local date: its end, or this moment.
create or replace function passbell.as_of(p_program uuid, p_date date) returns timestamptz
language sql stable
set search_path = ''
as $$
    select least(passbell.now(), ((p_date + 1)::timestamp at time zone passbell.program_zone(p_program)) - interval '1 microsecond')
$$;

-- Who is due on a local date of the program, today without one, and has had no message for it. Changes nothing.
create or replace function public.get_due(automation_id uuid, on_date date default null)
returns table (pass_id uuid, person_id uuid, external_id text, occasion text, due_on date)
language plpgsql stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_automation  public.push_automations := passbell.automation_for_caller($1);
    v_date        date := $2;
begin
    perform passbell.require_calendar_date($2);
    v_date := coalesce($2, passbell.local_date(v_automation.program_id));
    return query
        select d.pass_id, d.person_id, d.external_id, d.occasion, d.due_on
          from passbell.due_people(v_automation, v_date, passbell.as_of(v_automation.program_id, v_date)) d;
end
$$;

-- Can due_by_day count the rule? Not one that an owner has put in the place of ours.
create or replace function passbell.is_counted_by_day(p_occasion text) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from passbell.triggers t where t.builtin and t.name in ('DORMANT', 'AFTER_VISIT', 'ANNIVERSARY', 'EVERY')
                      and t.name = passbell.occasion_name(p_occasion))
$$;

-- What due_people (without proofs) would count on each day of a span, asked in one read instead of once per day, for the
-- rules that come with passbell and would read all members or all visits each time. No rows for any other rule.
create or replace function passbell.due_by_day(p_automation public.push_automations, p_first date, p_last date)
returns table (sent_on date, due integer)
language plpgsql stable
set search_path = ''
set jit = off
set work_mem = '128MB'
as $$
#variable_conflict use_column
declare
    v_occasion    record;
    v_zone        constant text := passbell.program_zone(p_automation.program_id);
    v_condition   text;
    v_parameters  text[];
    v_days        record;
    v_due         record;
begin
    select * into v_occasion from passbell.parse_occasion(p_automation.occasion);
    if not passbell.is_counted_by_day(p_automation.occasion) then
        return;
    end if;
    select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition(p_automation.target_query) a;
    -- The days whose occasions are sent within the span, and the days on which they are.
    select array_agg(d.day order by d.day) as due, array_agg(case when d.sent_on between p_first and p_last then d.sent_on end order by d.day) as sent,
           array_agg(passbell.as_of(p_automation.program_id, d.sent_on) order by d.day) as as_of
      into v_days
      from (select p_first - 6 + n as day, passbell.first_send_day(p_automation.send_days, p_first - 6 + n) as sent_on
              from generate_series(0, p_last - p_first + 6) n) d;
    if v_occasion.trigger_name = 'EVERY' then           -- the same people each time
        return query execute $q$
            select s.sent_on, p.due
              from (select distinct d.sent_on from unnest($3, $4) as d (due_on, sent_on) where d.sent_on is not null and passbell.comes_up_on($5, d.due_on)) s
             cross join (select count(distinct coalesce(r.user_id, r.pass_id))::integer as due
                           from passbell.recipients r
                          where r.program_id = $1 and r.reachable and (r.opted_in or $6 > 0) and ($q$ || v_condition || $q$)) p $q$
            using p_automation.program_id, v_parameters, v_days.due, v_days.sent, v_occasion.parameter, p_automation.reward_points;
        return;
    elsif v_occasion.trigger_name = 'ANNIVERSARY' then
        select array_agg(d.pass_id) as passes, array_agg(s.sent_on) as days into v_due
          from passbell.due_rows(p_automation, p_first - 6, p_last, v_zone, passbell.now()) d
          join unnest(v_days.due, v_days.sent) as s (due_on, sent_on) on s.due_on = d.due_on
         where s.sent_on is not null;
    else
        select array_agg(v.pass_id) as passes, array_agg(v.sent_on) as days into v_due
          from passbell.last_visits_by_day(p_automation.program_id, v_occasion.parameter::integer, v_days.due, v_days.sent, v_days.as_of, v_zone) v;
    end if;
    return query execute $q$
        select d.sent_on, count(distinct coalesce(r.user_id, r.pass_id))::integer
          from unnest($3, $4) as d (pass_id, sent_on)
          join passbell.recipients r on r.pass_id = d.pass_id and r.program_id = $1
         where r.reachable and (r.opted_in or $5 > 0) and ($q$ || v_condition || $q$)
         group by d.sent_on $q$
        using p_automation.program_id, v_parameters, v_due.passes, v_due.days, p_automation.reward_points;
end
$$;

-- A backtest: how many people the automation would have been due for on each of the last `days` local days, today
-- included, had it been on, with the visits up to that day. Crossings have no past: they count today alone.
create or replace function public.automation_preview(id uuid, days integer default 30)
returns table (local_date date, due integer)
language plpgsql stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_automation  public.push_automations := passbell.automation_for_caller($1);
    v_today       date;
    v_crossing    boolean;
begin
    if $2 is null or not $2 between 1 and 400 then
        raise exception 'days is a number from 1 to 400, not %.', coalesce($2::text, 'nothing') using errcode = 'PB400';
    end if;
    v_today := passbell.local_date(v_automation.program_id);
    v_crossing := passbell.is_crossing(v_automation.occasion);
    if passbell.is_counted_by_day(v_automation.occasion) then
        return query
            select (v_today - n)::date, coalesce(d.due, 0)
              from generate_series(0, $2 - 1) n
              left join passbell.due_by_day(v_automation, v_today - $2 + 1, v_today) d on d.sent_on = v_today - n
             order by 1;
        return;
    end if;
    for local_date in select v_today - n from generate_series($2 - 1, 0, -1) n loop
        due := 0;
        if not v_crossing or local_date = v_today then
            select count(*) into due
              from passbell.due_people(v_automation, local_date, passbell.as_of(v_automation.program_id, local_date), false);
        end if;
        return next;
    end loop;
end
$$;
