-- Automations as the API and the page show them, and how they save one. Rules and sentences are the guard's (64_automation_edits).

-- One automation, those of one program, or all, by name; with what the last run said.
create or replace function passbell.automation_cards(p_program uuid default null, p_automation uuid default null)
returns table (id uuid, automation_id uuid, program_id uuid, program_name text, name text, occasion text, message_text text, target_query text,
               is_on boolean, send_at text, send_days text, again_after_days integer, catch_up_days integer, daily_limit integer,
               holdout_percent numeric, measure_days integer, reward_points integer, priority integer, starts_on date, ends_on date,
               switched_on_on date, last_run_on date, fired_count integer, status_detail text,
               created_by text, created_at timestamptz, updated_at timestamptz)
language sql stable
set search_path = ''
as $$
    select a.id, a.id, a.program_id, g.name, a.name, a.occasion, a.message_text, a.target_query,
           a.is_on, to_char(a.send_at, 'HH24:MI'), a.send_days, a.again_after_days, a.catch_up_days, a.daily_limit,
           a.holdout_percent, a.measure_days, a.reward_points, a.priority, a.starts_on, a.ends_on,
           a.switched_on_on, a.last_run_on, a.fired_count, a.status_detail,
           a.created_by, a.created_at, a.updated_at
      from public.push_automations a
      left join lateral (select p.name from passbell.programs p where p.program_id = a.program_id limit 1) g on true
     where (p_program is null or a.program_id = p_program) and (p_automation is null or a.id = p_automation)
     order by g.name, a.name, a.id
$$;

-- The last runs of an automation, newest first.
create or replace function passbell.automation_history(p_automation uuid, p_limit integer default 30)
returns table (local_date date, started_at timestamptz, completed_at timestamptz, campaign_id uuid, campaign_status text,
               due integer, fired integer, failed integer, held_back_by_limit integer, detail text)
language sql stable
set search_path = ''
as $$
    select r.local_date, r.started_at, r.completed_at, r.campaign_id, c.status::text, r.due, r.fired, r.failed, r.held_back_by_limit, r.detail
      from passbell.automation_runs r
      left join public.push_campaigns c on c.id = r.campaign_id
     where r.automation_id = p_automation
     order by r.local_date desc
     limit least(greatest(coalesce(p_limit, 30), 1), 400)
$$;

-- Makes an automation (p_automation NULL) or changes one: the fields that are given, by the names of the columns; null in a
-- field is its default. Raises PB400, PB404, PB422.
create or replace function passbell.save_automation(p_owner text, p_automation uuid, p_fields jsonb) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    v_old  public.push_automations;
    v_new  public.push_automations;
    v_key  text;
begin
    perform passbell.act_as(p_owner);
    if p_automation is not null then
        select a.* into v_old from public.push_automations a where a.id = p_automation for update;
        if not found then
            raise exception 'There is no automation %.', p_automation using errcode = 'PB404';
        end if;
    end if;
    v_new := jsonb_populate_record(v_old, p_fields);
    select k into v_key from jsonb_object_keys(p_fields) k where not to_jsonb(v_new) ? k limit 1;
    if found then
        raise exception 'push_automations has no column "%".', left(v_key, 60) using errcode = 'PB400';
    elsif p_fields ? 'target_query' then
        perform passbell.require_audience(v_new.target_query);
    end if;
    if p_automation is null then
        v_new.id := gen_random_uuid();
        insert into public.push_automations (id, program_id, name, occasion, message_text, target_query, is_on, send_at, send_days, again_after_days,
                                             catch_up_days, daily_limit, holdout_percent, measure_days, reward_points, priority, starts_on, ends_on)
        values (v_new.id, v_new.program_id, v_new.name, v_new.occasion, v_new.message_text, v_new.target_query, v_new.is_on, v_new.send_at, v_new.send_days,
                v_new.again_after_days, v_new.catch_up_days, v_new.daily_limit, v_new.holdout_percent, v_new.measure_days, v_new.reward_points,
                v_new.priority, v_new.starts_on, v_new.ends_on);
        if not exists (select from public.push_automations a where a.id = v_new.id) then
            perform passbell.swallowed('push_automations');
        end if;
        return v_new.id;
    end if;
    update public.push_automations a
       set name = v_new.name, occasion = v_new.occasion, message_text = v_new.message_text, target_query = v_new.target_query, is_on = v_new.is_on,
           send_at = v_new.send_at, send_days = v_new.send_days, again_after_days = v_new.again_after_days, catch_up_days = v_new.catch_up_days,
           daily_limit = v_new.daily_limit, holdout_percent = v_new.holdout_percent, measure_days = v_new.measure_days,
           reward_points = v_new.reward_points, priority = v_new.priority, starts_on = v_new.starts_on, ends_on = v_new.ends_on
     where a.id = p_automation;
    return p_automation;
end
$$;

-- Deletes an automation with its runs and proofs. Raises PB404, and PB422 while a campaign of it is not over.
create or replace function passbell.delete_automation(p_owner text, p_automation uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.act_as(p_owner);
    delete from public.push_automations a where a.id = p_automation;
    if not found then
        raise exception 'There is no automation %.', p_automation using errcode = 'PB404';
    end if;
end
$$;
