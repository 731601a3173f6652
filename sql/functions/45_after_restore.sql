-- After a restore from a snapshot: holds everything that would be sent, so that a person decides. The database is in the
-- state of `since`, PassKit and the phones in that of now. What was sent in between is missing here, and a daemon would
-- send it again, scheduled campaigns of the lost hours included. Called by the owner of the database, once, before
-- the first daemon is started; calling it again changes nothing more. docs/howto/restore.md goes through it step by step.
--
--   what          becomes of it
--   campaign      PENDING or PROCESSING: PAUSED, and status_detail says why. PAUSED or DRAFT: stays, status_detail warns
--   birthday      a date since then whose gifts will be given again (the points were lost with the database): its
--                 greetings gather in a PAUSED campaign, because the phones may have shown them
--   automation    a date since then whose messages will be due again: they gather in a PAUSED campaign likewise
--   import        goes on by itself: the same rows again change nothing
--
-- Leases and claim tokens of the snapshot's workers are void: a daemon that ran through the restore cannot report.
-- `since` is the snapshot's time; without it, the last heartbeat that is in it. Raises PB422 while a daemon is alive.
create or replace function passbell.after_restore(since timestamptz default null)
returns table (what text, id uuid, name text, was text, status text, detail text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_now    constant timestamptz := passbell.now();
    v_since  timestamptz := after_restore.since;
    v_alive  text;
    v_moment text;
    v_held   text;
    v_found  record;
    v_campaign    public.push_campaigns;
    v_automation  public.push_automations;
begin
    select format('%s, process %s', w.host, w.pid) into v_alive
      from passbell.workers w
     where w.heartbeat_at > v_now - interval '1 minute'
     order by w.heartbeat_at desc limit 1;
    if v_alive is not null then
        raise exception 'A daemon is running (%): stop every daemon, wait a minute, and call this again.', v_alive using errcode = 'PB422';
    end if;
    if v_since is null then
        select max(w.heartbeat_at) into v_since from passbell.workers w;
    end if;
    if v_since is null or v_since > v_now then
        raise exception 'When was the snapshot taken? Give a time in the past: passbell.after_restore(''2026-11-20 03:00+00'').' using errcode = 'PB400';
    end if;
    update passbell.secrets s set secret = passbell.new_secret() where s.name = 'engine';     -- a copy of the snapshot knows it
    v_moment := to_char(v_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"');
    v_held := format('Held after a restore: what was sent after %s is not known here. Resume it: members reached since then are pushed again. '
                     'Cancel it: members not reached are left out.', v_moment);

    update passbell.chunks k set lease_until = null, claim_token = null, worker = null
     where k.claim_token is not null or k.worker is not null;
    perform passbell.look_from_the_start();
    update passbell.list_loads l set lease_until = null, claim_token = null, worker = null where l.claim_token is not null;
    update passbell.import_leases l set lease_until = null, claim_token = null, worker = null where l.claim_token is not null;
    perform passbell.free_runs(null);

    for v_found in
        select c.id, c.name, c.status as was, c.kind
          from public.push_campaigns c
         where c.status in ('PENDING', 'PROCESSING')
            or c.status in ('PAUSED', 'DRAFT') and coalesce(c.status_detail, '') not like '%after a restore:%'
         order by c.created_at, c.id
           for update
    loop
        what := 'campaign';
        id := v_found.id;
        name := v_found.name;
        was := v_found.was;
        if v_found.was in ('PENDING', 'PROCESSING') then
            perform passbell.hold_campaign(v_found.id, v_held);
        else
            perform passbell.engine_begins();
            update public.push_campaigns c
               set status_detail = concat_ws(' ', format('As found after a restore: it may have been sent after %s.', v_moment), c.status_detail)
             where c.id = v_found.id;
            perform passbell.engine_ends();
        end if;
        select c.status, c.status_detail into status, detail from public.push_campaigns c where c.id = v_found.id;
        return next;
    end loop;

    -- Dates that a daemon may have greeted since the snapshot, and will run again.
    for v_found in
        select b.program_id, d.local_date::date as local_date, m.message, r.campaign_id, old.status as was
          from (select g.program_id, g.birthday_message, g.birthday_send_at, w.since as first_date,
                       v_now at time zone passbell.zone(g.timezone) as local_now, v_since at time zone passbell.zone(g.timezone) as local_since
                  from passbell.programs g
                  join passbell.birthday_programs w on w.program_id = g.program_id
                 where w.since is not null and g.birthday_bot_enabled) b
         cross join lateral generate_series(greatest(b.first_date, b.local_since::date, b.local_now::date - 7)::timestamp,
                                            b.local_now::date::timestamp, interval '1 day') as d (local_date)
         cross join lateral passbell.birthday_greeting(b.birthday_message) m
          left join passbell.birthday_runs r on r.program_id = b.program_id and r.local_date = d.local_date::date
          left join public.push_campaigns old on old.id = r.campaign_id
         where (d.local_date < b.local_now::date or b.local_now::time >= b.birthday_send_at)
           and r.completed_at is null
           and (old.id is null or old.status = 'COMPLETED')
           and exists (select from passbell.birthday_people(b.program_id, d.local_date::date) p where p.opted_in and not p.already_gifted)
         order by d.local_date, b.program_id
    loop
        v_campaign := passbell.begin_day_campaign(null, v_found.program_id, v_found.local_date, v_found.message, 'PAUSED', v_held);
        insert into passbell.birthday_runs as r (program_id, local_date, started_at, not_before, campaign_id)
        values (v_found.program_id, v_found.local_date, v_now, '-infinity', v_campaign.id)
        on conflict (program_id, local_date) do update set campaign_id = excluded.campaign_id;
        what := 'birthday';
        id := v_campaign.id;
        name := v_campaign.name;        -- assigned, because the owner's columns may be of another type than text
        was := v_found.was;
        status := v_campaign.status;
        detail := v_campaign.status_detail;
        return next;
    end loop;

    -- Occasions that an automation may have answered since then: their messages gather in a PAUSED campaign per date.
    for v_found in
        select a as automation, d.local_date::date as local_date
          from public.push_automations a
          join passbell.programs g on g.program_id = a.program_id
         cross join lateral (select passbell.zone(g.timezone) as zone) z
         cross join lateral generate_series(greatest(a.switched_on_on, (v_since at time zone z.zone)::date)::timestamp,
                                            (v_now at time zone z.zone)::date::timestamp, interval '1 day') as d (local_date)
         where a.is_on and not g.suspended and g.passkit_program_id is not null
           and (d.local_date::date < (v_now at time zone z.zone)::date or (v_now at time zone z.zone)::time >= a.send_at)
           and not exists (select from passbell.automation_runs r
                            where r.automation_id = a.id and r.local_date = d.local_date::date and r.completed_at is not null)
         order by d.local_date, a.id
    loop
        v_automation := v_found.automation;
        continue when not exists (select from passbell.due_people(v_automation, v_found.local_date, v_now));
        v_campaign := passbell.begin_day_campaign(v_automation, v_automation.program_id, v_found.local_date, v_automation.message_text, 'PAUSED', v_held);
        insert into passbell.automation_runs as r (automation_id, local_date, program_id, started_at, campaign_id)
        values (v_automation.id, v_found.local_date, v_automation.program_id, v_now, v_campaign.id)
        on conflict (automation_id, local_date) do update set campaign_id = excluded.campaign_id;
        perform passbell.fire(v_automation.id, v_found.local_date, null, 'infinity');
        what := 'automation';
        id := v_campaign.id;
        name := v_campaign.name;
        was := null;
        status := v_campaign.status;
        detail := v_campaign.status_detail;
        return next;
    end loop;

    return query
        select 'import', i.id, i.name, i.status, i.status, 'Goes on by itself when a daemon runs; the same rows again change nothing. If it was cancelled after the snapshot, cancel it again.'
          from public.member_imports i
         where i.status in ('PENDING', 'PROCESSING')
         order by i.created_at, i.id;
end
$$;
