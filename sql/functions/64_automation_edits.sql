-- Editing automations: what people type, in sentences, and what switching one on notes.

-- Before every write to push_automations: checks what people typed, answers in sentences, and keeps the values that
-- the engine writes. Raises PB400.
create or replace function passbell.automation_guard() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_engine  constant boolean := passbell.is_engine();
begin
    if tg_op = 'DELETE' then
        if exists (select from public.push_campaigns c where c.automation_id = old.id and c.status in ('PENDING', 'PROCESSING', 'PAUSED')) then
            raise exception 'Automation "%" has a campaign that is not over: cancel that before deleting it.', old.name using errcode = 'PB422';
        end if;
        delete from passbell.automation_runs   r where r.automation_id = old.id;
        delete from passbell.occasions         o where o.automation_id = old.id;
        delete from passbell.occasion_failures f where f.automation_id = old.id;
        delete from passbell.crossings         c where c.automation_id = old.id;
        return old;
    end if;
    if v_engine then
        return new;
    end if;

    new.occasion := btrim(new.occasion);
    new.send_days := nullif(replace(upper(coalesce(new.send_days, '')), ' ', ''), '');
    new.name := coalesce(nullif(left(btrim(new.name), 200), ''), new.occasion);
    new.is_on := coalesce(new.is_on, false);
    new.send_at := coalesce(new.send_at, '09:00');
    new.again_after_days := coalesce(new.again_after_days, 0);
    new.catch_up_days := coalesce(new.catch_up_days, 7);
    new.holdout_percent := coalesce(new.holdout_percent, 10);
    new.measure_days := coalesce(new.measure_days, 7);
    new.reward_points := coalesce(new.reward_points, 0);
    new.priority := coalesce(new.priority, 5);
    -- Switching off is always possible, whatever has become of the rule or the segment since.
    if tg_op = 'INSERT' or new.is_on or new.occasion is distinct from old.occasion then
        perform passbell.parse_occasion(new.occasion);
    end if;
    if tg_op = 'INSERT' or new.is_on or new.message_text is distinct from old.message_text then
        if coalesce(btrim(new.message_text), '') = '' then
            raise exception 'message_text is empty: write the message.' using errcode = 'PB400';
        end if;
        perform passbell.compile_message(new.message_text);
    end if;
    if (tg_op = 'INSERT' or new.is_on or new.target_query is distinct from old.target_query)
       and exists (select from passbell.parse_target(new.target_query) t where t.segment = 'CSV') then
        raise exception 'The audience of an automation is looked up every day: it cannot be a list.' using errcode = 'PB400';
    end if;
    if new.send_days is not null and (new.send_days !~ '^((MON|TUE|WED|THU|FRI|SAT|SUN)(,|$))+$' or new.send_days ~ ',$') then
        raise exception 'send_days is days such as THU,FRI, or empty for every day, not "%".', left(new.send_days, 60) using errcode = 'PB400';
    elsif not new.again_after_days between 0 and 3650 then
        raise exception 'again_after_days is a number from 0 to 3,650, not %.', new.again_after_days using errcode = 'PB400';
    elsif not new.catch_up_days between 0 and 60 then
        raise exception 'catch_up_days is a number from 0 to 60, not %.', new.catch_up_days using errcode = 'PB400';
    elsif new.daily_limit <= 0 then
        raise exception 'daily_limit is a number above 0, or empty for none, not %.', new.daily_limit using errcode = 'PB400';
    elsif not new.holdout_percent between 0 and 50 then
        raise exception 'holdout_percent is a number from 0 to 50, not %.', new.holdout_percent using errcode = 'PB400';
    elsif not new.measure_days between 1 and 60 then
        raise exception 'measure_days is a number from 1 to 60, not %.', new.measure_days using errcode = 'PB400';
    elsif not new.reward_points between 0 and 1000000 then
        raise exception 'reward_points is a number from 0 to 1,000,000, not %.', new.reward_points using errcode = 'PB400';
    elsif not new.priority between 0 and 9 then
        raise exception 'priority is a number from 0 to 9, not %.', new.priority using errcode = 'PB400';
    elsif new.ends_on < new.starts_on then
        raise exception 'ends_on (%) lies before starts_on (%).', to_char(new.ends_on, 'YYYY-MM-DD'), to_char(new.starts_on, 'YYYY-MM-DD') using errcode = 'PB400';
    end if;
    perform passbell.require_known_program(new.program_id);

    new.updated_at := passbell.now();
    if tg_op = 'INSERT' then
        new.created_at := passbell.now();
        new.created_by := passbell.caller();
        new.switched_on_on := case when new.is_on then passbell.local_date(new.program_id) end;
        new.last_run_on := null;   new.fired_count := 0;   new.status_detail := null;
    else
        if new.program_id <> old.program_id then
            raise exception 'An automation stays with its program: make a new one.' using errcode = 'PB422';
        end if;
        new.id := old.id;   new.created_at := old.created_at;   new.created_by := old.created_by;
        new.last_run_on := old.last_run_on;   new.fired_count := old.fired_count;   new.status_detail := old.status_detail;
        new.switched_on_on := case when new.is_on and (not old.is_on or passbell.occasion_name(new.occasion) is distinct from passbell.occasion_name(old.occasion))
                                   then passbell.local_date(new.program_id) else old.switched_on_on end;
    end if;
    return new;
end
$$;

-- The name of an occasion's rule, DORMANT for 'dormant: 30'; NULL if that rule is no longer there.
create or replace function passbell.occasion_name(p_occasion text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return (select p.trigger_name from passbell.parse_occasion(p_occasion) p);
exception when sqlstate 'PB400' then
    return null;
end
$$;

-- After an automation was switched on, or its mark moved: those who are inside already, and the passes that are in a
-- wallet already, are noted as such, so that only what happens from now on counts.
create or replace function passbell.automation_changed() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.is_on then
        perform passbell.look_at_wallets(new.program_id, true);
        if passbell.is_crossing(new.occasion) then
            delete from passbell.crossings c where c.automation_id = new.id and c.number = 0;
            perform passbell.note_crossings(new.id, null);
        end if;
    end if;
    return null;
end
$$;

create or replace trigger passbell_guard before insert or update or delete on public.push_automations
    for each row execute function passbell.automation_guard();
create or replace trigger passbell_inserted after insert on public.push_automations
    for each row when (new.is_on) execute function passbell.automation_changed();
create or replace trigger passbell_switched after update on public.push_automations
    for each row when (new.is_on and (not old.is_on or old.occasion is distinct from new.occasion)) execute function passbell.automation_changed();
