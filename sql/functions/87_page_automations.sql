-- Automations on the page. Rules and sentences are those of the table's guard (67_automation_runs).

create or replace function passbell.page_automations(p_program uuid default null, p_automation uuid default null)
returns table (automation_id uuid, program_id uuid, program_name text, timezone text, suspended boolean, name text, occasion text, message text, target text,
               is_on boolean, send_at text, send_days text, again_after_days integer, catch_up_days integer, daily_limit integer, holdout_percent numeric,
               measure_days integer, reward_points integer, priority integer, starts_on date, ends_on date, switched_on_on date, last_run_on date,
               fired_count integer, status_detail text, created_by text, created_at timestamptz)
language sql stable
set search_path = ''
as $$
    select a.id, a.program_id, left(g.name, 200), passbell.zone(g.timezone), coalesce(g.suspended, false), left(a.name, 200), a.occasion, left(a.message_text, 4000),
           left(coalesce(a.target_query, ''), 10000), a.is_on, to_char(a.send_at, 'HH24:MI'), a.send_days, a.again_after_days, a.catch_up_days, a.daily_limit,
           a.holdout_percent, a.measure_days, a.reward_points, a.priority, a.starts_on, a.ends_on, a.switched_on_on, a.last_run_on, a.fired_count,
           a.status_detail, a.created_by, a.created_at
      from public.push_automations a
      left join passbell.programs g on g.program_id = a.program_id
     where (p_program is null or a.program_id = p_program) and (p_automation is null or a.id = p_automation)
     order by lower(g.name), a.created_at, a.id
     limit 500
$$;

create or replace function passbell.page_occasions()
returns table (name text, description text, parameter_kind text, default_parameter text)
language sql stable
set search_path = ''
as $$
    select t.name, t.description, t.parameter_kind, t.default_parameter from passbell.triggers t order by t.builtin desc, t.name
$$;

-- Creates (p_automation NULL) or changes an automation from the fields of the form. Raises the sentences of its guard.
create or replace function passbell.page_save_automation(p_owner text, p_automation uuid, p_fields jsonb) returns uuid
language plpgsql
set search_path = ''
set datestyle = 'ISO, MDY'
as $$
declare
    v_id  uuid;
begin
    perform passbell.act_as(p_owner);
    if p_automation is null then
        perform passbell.require_program((p_fields ->> 'program')::uuid);
        insert into public.push_automations (program_id, name, occasion, message_text, target_query, send_at, send_days, again_after_days, catch_up_days,
                                             daily_limit, holdout_percent, measure_days, reward_points, priority, starts_on, ends_on)
        select (p_fields ->> 'program')::uuid, f.name, f.occasion, f.message, f.target, f.send_at, f.send_days, f.again_after_days, f.catch_up_days,
               f.daily_limit, f.holdout_percent, f.measure_days, f.reward_points, f.priority, f.starts_on, f.ends_on
          from passbell.automation_fields(p_fields) f
        returning id into v_id;
        return v_id;
    end if;
    update public.push_automations a
       set (name, occasion, message_text, target_query, send_at, send_days, again_after_days, catch_up_days,
            daily_limit, holdout_percent, measure_days, reward_points, priority, starts_on, ends_on)
         = (select f.name, f.occasion, f.message, f.target, f.send_at, f.send_days, f.again_after_days, f.catch_up_days,
                   f.daily_limit, f.holdout_percent, f.measure_days, f.reward_points, f.priority, f.starts_on, f.ends_on
              from passbell.automation_fields(p_fields) f)
     where a.id = p_automation
    returning a.id into v_id;
    if v_id is null then
        raise exception 'There is no automation %.', p_automation using errcode = 'PB404';
    end if;
    return v_id;
end
$$;

-- The form's texts as values. An empty field is NULL: the guard puts the default there. Raises PB400.
create or replace function passbell.automation_fields(p_fields jsonb)
returns table (name text, occasion text, message text, target text, send_at time, send_days text, again_after_days integer, catch_up_days integer,
               daily_limit integer, holdout_percent numeric, measure_days integer, reward_points integer, priority integer, starts_on date, ends_on date)
language plpgsql stable
set search_path = ''
set datestyle = 'ISO, MDY'
as $$
#variable_conflict use_column
declare
    v_name  text;
    v_text  text;
begin
    for v_name in select n from unnest(array['again_after_days', 'catch_up_days', 'daily_limit', 'measure_days', 'reward_points', 'priority']) n loop
        v_text := btrim(coalesce(p_fields ->> v_name, ''));
        if v_text !~ '^(-?\d{1,9})?$' then
            raise exception '% is a whole number, not "%".', v_name, left(v_text, 40) using errcode = 'PB400';
        end if;
    end loop;
    return query
        select nullif(btrim(p_fields ->> 'name'), ''), coalesce(btrim(p_fields ->> 'occasion'), ''), coalesce(p_fields ->> 'message', ''),
               nullif(btrim(p_fields ->> 'target'), ''), nullif(btrim(p_fields ->> 'send_at'), '')::time, nullif(btrim(p_fields ->> 'send_days'), ''),
               nullif(btrim(p_fields ->> 'again_after_days'), '')::integer, nullif(btrim(p_fields ->> 'catch_up_days'), '')::integer,
               nullif(btrim(p_fields ->> 'daily_limit'), '')::integer, nullif(btrim(p_fields ->> 'holdout_percent'), '')::numeric,
               nullif(btrim(p_fields ->> 'measure_days'), '')::integer, nullif(btrim(p_fields ->> 'reward_points'), '')::integer,
               nullif(btrim(p_fields ->> 'priority'), '')::integer, nullif(btrim(p_fields ->> 'starts_on'), '')::date, nullif(btrim(p_fields ->> 'ends_on'), '')::date;
exception when data_exception then
    raise exception 'A field cannot be read: %.', sqlerrm using errcode = 'PB400';
end
$$;

create or replace function passbell.page_switch_automation(p_owner text, p_automation uuid, p_on boolean) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.act_as(p_owner);
    update public.push_automations a set is_on = p_on where a.id = p_automation;
    if not found then
        raise exception 'There is no automation %.', p_automation using errcode = 'PB404';
    end if;
end
$$;

create or replace function passbell.page_delete_automation(p_owner text, p_automation uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.act_as(p_owner);
    delete from public.push_automations a where a.id = p_automation;
end
$$;

create or replace function passbell.page_automation_runs(p_automation uuid, p_limit integer default 14)
returns table (local_date date, completed_at timestamptz, due integer, fired integer, failed integer, held_back_by_limit integer, campaign_id uuid, detail text)
language sql stable
set search_path = ''
as $$
    select r.local_date, r.completed_at, r.due, r.fired, r.failed, r.held_back_by_limit, r.campaign_id, r.detail
      from passbell.automation_runs r
     where r.automation_id = p_automation
     order by r.local_date desc
     limit least(greatest(p_limit, 1), 400)
$$;

create or replace function passbell.page_automation_days(p_automation uuid, p_days integer)
returns table (local_date date, due integer)
language sql stable
set search_path = ''
as $$ select p.* from public.automation_preview(p_automation, p_days) p $$;

create or replace function passbell.page_automation_results(p_automation uuid)
returns table (sent bigint, sent_came bigint, held bigint, held_came bigint, measure_days integer,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text,
               money numeric, money_lo numeric, money_hi numeric)
language sql
set search_path = ''
as $$
    select r.sent, r.sent_came, r.held, r.held_came, r.measure_days, r.extra, r.extra_lo, r.extra_hi, r.verdict, r.sentence,
           (r.extra * b.bill)::numeric, (r.extra_lo * b.bill)::numeric, (r.extra_hi * b.bill)::numeric
      from public.automation_results(p_automation) r
      left join lateral (select g.average_bill::double precision as bill
                           from public.push_automations a join passbell.programs g on g.program_id = a.program_id
                          where a.id = p_automation and g.average_bill > 0 limit 1) b on true
$$;
