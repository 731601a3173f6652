-- The campaign of the day: one per daily run, of the birthday bot or of an automation (52_daily_runs). Its messages are ordinary
-- work of the queue.

-- Makes the campaign of a run, still without recipients. p_automation NULL is the birthday bot.
create or replace function passbell.begin_day_campaign(
    p_automation public.push_automations, p_program uuid, p_date date, p_message text, p_status text, p_detail text) returns public.push_campaigns
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
    v_id        constant uuid := gen_random_uuid();
    v_day       constant text := to_char(p_date, 'YYYY-MM-DD');
begin
    perform passbell.engine_begins();
    if p_automation.id is null then
        insert into public.push_campaigns (id, program_id, name, message_text, target_query, kind, status, started_at, status_detail)
        values (v_id, p_program, 'Birthdays ' || v_day, p_message, 'BIRTHDAY', 'BIRTHDAY', p_status, passbell.now(), p_detail);
    else
        insert into public.push_campaigns (id, program_id, name, message_text, target_query, kind, status, started_at, status_detail, automation_id,
                                           holdout_percent, measure_days, priority, created_by)
        values (v_id, p_program, left(p_automation.name, 180) || ' ' || v_day, p_message, 'AUTOMATION', 'AUTOMATION', p_status, passbell.now(), p_detail, p_automation.id,
                p_automation.holdout_percent, p_automation.measure_days, p_automation.priority, p_automation.created_by);
    end if;
    perform passbell.engine_ends();
    select c.* into v_campaign from public.push_campaigns c where c.id = v_id;
    if not found then
        perform passbell.swallowed('push_campaigns');
    end if;
    if p_automation.id is not null then
        perform passbell.fix_holdout(v_campaign);
    end if;
    insert into passbell.turns (program_id) values (p_program) on conflict do nothing;
    return v_campaign;
end
$$;

-- Adds passes to the campaign of a run; recipient_count grows with the chunks. No pass is in it twice. If the
-- campaign had completed, it goes on. p_hold_last: the last chunk is held back (not_before infinity) until the next call, or until
-- release_day_campaign, so that the campaign cannot complete while more of the run is to come. The caller holds the
-- campaign's row. Returns how many were added.
create or replace function passbell.add_to_day_campaign(
    p_campaign public.push_campaigns, p_passes uuid[], p_not_before timestamptz, p_hold_last boolean) returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_passes  uuid[];
    v_last    integer;
    v_chunks  integer;
    v_size    constant integer := 50;
begin
    select array_agg(p.pass_id order by p.pass_id) into v_passes
      from unnest(p_passes) as p (pass_id)
     where not exists (select from passbell.deliveries d where d.campaign_id = p_campaign.id and d.pass_id = p.pass_id)
       and not exists (select from (select unnest(k.pass_ids) as pass_id from passbell.chunks k where k.campaign_id = p_campaign.id) w
                        where w.pass_id = p.pass_id);
    if v_passes is null then
        return 0;
    end if;
    update passbell.chunks k set not_before = p_not_before where k.campaign_id = p_campaign.id and k.not_before = 'infinity';
    select coalesce(max(k.chunk_no), 0) into v_last from passbell.chunks k where k.campaign_id = p_campaign.id;
    v_chunks := (cardinality(v_passes) + v_size - 1) / v_size;
    insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, not_before)
    select p_campaign.id, v_last + n, p_campaign.program_id, v_passes[(n - 1) * v_size + 1 : n * v_size],
           case when p_hold_last and n = v_chunks then 'infinity' else p_not_before end
      from generate_series(1, v_chunks) n;
    perform passbell.engine_begins();
    update public.push_campaigns c
       set recipient_count = c.recipient_count + cardinality(v_passes), completed_at = null,
           status = case when c.status = 'COMPLETED' then 'PROCESSING' else c.status end
     where c.id = p_campaign.id;
    perform passbell.engine_ends();
    return cardinality(v_passes);
end
$$;

-- Lets the held chunk go: no more comes for now.
create or replace function passbell.release_day_campaign(p_campaign uuid, p_not_before timestamptz) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.push_campaigns c where c.id = p_campaign for no key update;
    update passbell.chunks k set not_before = p_not_before where k.campaign_id = p_campaign and k.not_before = 'infinity';
    if found then
        perform pg_notify('passbell', 'processing');
    end if;
end
$$;
