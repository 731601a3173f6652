-- Fails a campaign whose order is broken: nothing was sent, and nothing will be. Called by the claim and by the list loader.
create or replace function passbell.fail_campaign(p_campaign uuid, p_detail text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.engine_begins();
    update public.push_campaigns
       set status = 'FAILED', status_detail = left(p_detail, 1000), completed_at = passbell.now()
     where id = p_campaign and status = 'PENDING';
    perform passbell.engine_ends();
end
$$;

-- Pauses a campaign for a person to decide; resuming it sends it. Used for stale schedules, double submits, wrong regions.
create or replace function passbell.hold_campaign(p_campaign uuid, p_detail text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.engine_begins();
    update public.push_campaigns
       set status = 'PAUSED', status_detail = p_detail
     where id = p_campaign and status in ('PENDING', 'PROCESSING');
    perform passbell.engine_ends();
end
$$;

-- Completes the campaign if no chunk is left, and writes its one notification_logs row. The caller has just updated
-- the campaign's row and so holds its lock: of two workers finishing the last two chunks at the same moment the second
-- waits here, then sees the first one's delete, and exactly one of them finds nothing left.
create or replace function passbell.settle_campaign(p_campaign uuid) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign for no key update;
    if v_campaign.status is null or v_campaign.status not in ('PROCESSING', 'CANCELLED') or v_campaign.started_at is null then
        return false;
    end if;
    -- From the far end: at the near end of the index lies what was deleted since the last vacuum.
    perform from passbell.chunks k where k.campaign_id = p_campaign order by k.chunk_no desc limit 1;
    if found then
        return false;
    end if;
    -- With the last report the counters add up. If not, an earlier report's counters are still owed, and paying them completes
    -- the campaign; or a rule of the host has changed the counters.
    if v_campaign.sent_count + v_campaign.failed_count + v_campaign.skipped_count <> v_campaign.recipient_count then
        if exists (select from passbell.owed_counts o where o.campaign_id = p_campaign) then
            return false;
        end if;
        perform passbell.refuse_counters();
    end if;
    if v_campaign.status = 'PROCESSING' then
        perform passbell.engine_begins();
        update public.push_campaigns c
           set status = 'COMPLETED', completed_at = passbell.now(), status_detail = passbell.closing_words(c)
         where c.id = p_campaign;
        perform passbell.engine_ends();
        select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign;
        if v_campaign.status <> 'COMPLETED' then
            perform passbell.require_change(p_campaign);
        elsif v_campaign.sent_count + v_campaign.failed_count + v_campaign.skipped_count <> v_campaign.recipient_count then
            perform passbell.refuse_counters();
        end if;
    end if;
    perform passbell.log_campaign(p_campaign);
    delete from passbell.rate_limits r where r.account = 'campaign:' || p_campaign;
    return true;
end
$$;

-- What a finished campaign says of itself: "488 of 500 matched; 12 not found. 480 buzzed; 8 skipped (8 opted out)."
-- In plpgsql like the others that end a campaign: a SQL function of this size is planned anew at every call.
create or replace function passbell.closing_words(p_campaign public.push_campaigns) returns text
language plpgsql stable
set search_path = ''
as $$
declare
    v_others  text;
begin
    if p_campaign.recipient_count = 0 then
        return concat_ws(' ', passbell.list_summary(p_campaign.id), 'Nobody to buzz.');
    end if;
    if p_campaign.failed_count > 0 or p_campaign.skipped_count > 0 then
        select string_agg(passbell.thousands(s.n) || ' ' || s.outcome || ' (' || s.reasons || ')', '; ' order by s.outcome desc)
          into v_others
          from (select r.outcome, sum(r.n) as n,
                       string_agg(passbell.thousands(r.n) || ' ' || replace(r.reason, '_', ' '), ', ' order by r.n desc, r.reason) as reasons
                  from (select d.outcome, d.reason, count(*) as n
                          from passbell.deliveries d
                         where d.campaign_id = p_campaign.id and d.outcome <> 'sent'
                         group by d.outcome, d.reason) r
                 group by r.outcome) s;
    end if;
    return concat_ws(' ', passbell.list_summary(p_campaign.id),
                     concat_ws('; ', passbell.thousands(p_campaign.sent_count) || ' buzzed', v_others) || '.');
end
$$;

-- Writes 4812 as 4,812.
create or replace function passbell.thousands(p_n numeric) returns text
language sql immutable
set search_path = ''
as $$
    select ltrim(to_char(p_n, '999,999,999,999,990'))
$$;

-- The owner's audit table: one row per finished campaign, brought up to date if failures were retried later. The caller
-- holds the campaign's lock, so that two of these cannot both find no row. Never raises: what the table refuses is owed
-- (passbell.owed_logs) and tried again, and the campaign ends all the same. Texts are shortened to the width of the
-- column; a program that was deleted is left out where a foreign key asks for it.
create or replace function passbell.log_campaign(p_campaign uuid) returns void
language plpgsql
set search_path = ''
set lock_timeout = '500ms'
as $$
declare
    v_campaign  public.push_campaigns;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign;
    if not found then       -- a trigger of the host's has deleted it as it ended
        return;
    end if;
    begin
        begin
            perform passbell.write_log(v_campaign);
        exception when generated_always then
            perform passbell.write_log_without_generated(v_campaign);
        when foreign_key_violation then
            if exists (select from passbell.programs g where g.program_id = v_campaign.program_id) then
                raise;
            end if;
            v_campaign.program_id := null;
            perform passbell.write_log(v_campaign);
        end;
    exception when query_canceled or assert_failure or others then
        if passbell.is_conflict(sqlstate) then
            raise;
        end if;
        insert into passbell.owed_logs as o (campaign_id, since, next_try_at, reason)
        values (p_campaign, passbell.now(), passbell.now() + passbell.pause_after(1, passbell.is_passing(sqlstate)),
                passbell.refusal('to write the row of public.notification_logs', sqlstate, sqlerrm))
        on conflict (campaign_id) do update
           set tries = o.tries + 1, next_try_at = passbell.now() + passbell.pause_after(o.tries + 1, passbell.is_passing(sqlstate)),
               reason = excluded.reason;
        return;
    end;
    delete from passbell.owed_logs o where o.campaign_id = p_campaign;
end
$$;

-- Columns that an older host lacks were added by the migrations. Not ON CONFLICT: the host may have lost the unique index.
create or replace function passbell.write_log(p_campaign public.push_campaigns) returns void
language plpgsql
set search_path = ''
as $$
begin
    if pg_trigger_depth() = 0 then      -- see book_outcomes
        set constraints all immediate;
    end if;
    if exists (select from public.notification_logs l where l.campaign_id = p_campaign.id) then
        update public.notification_logs l
           set recipient_count = p_campaign.recipient_count, success_count = p_campaign.sent_count, failed_count = p_campaign.failed_count
         where l.campaign_id = p_campaign.id;
        return;
    end if;
    insert into public.notification_logs
           (campaign_id, program_id, campaign_name, recipient_count, success_count, failed_count, message_content, target_segment)
    values (p_campaign.id, p_campaign.program_id, passbell.fit_log('campaign_name', p_campaign.name), p_campaign.recipient_count, p_campaign.sent_count,
            p_campaign.failed_count, passbell.fit_log('message_content', p_campaign.message_text),
            passbell.fit_log('target_segment', passbell.logged_target(p_campaign)));
    -- A table that is split by hand: its trigger or rule puts the row elsewhere, and it is seen from here all the same.
    if not found and not exists (select from public.notification_logs l where l.campaign_id = p_campaign.id) then
        raise exception 'a rule or trigger swallows the row' using errcode = 'PB500';
    end if;
end
$$;

-- The same for a table that computes some of these columns itself, which therefore cannot be written. Called when write_log
-- was refused for that: statements that are put together cost more.
create or replace function passbell.write_log_without_generated(p_campaign public.push_campaigns) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_values  constant jsonb := jsonb_build_object(
        'campaign_id', p_campaign.id, 'program_id', p_campaign.program_id, 'campaign_name', passbell.fit_log('campaign_name', p_campaign.name),
        'recipient_count', p_campaign.recipient_count, 'success_count', p_campaign.sent_count, 'failed_count', p_campaign.failed_count,
        'message_content', passbell.fit_log('message_content', p_campaign.message_text),
        'target_segment', passbell.fit_log('target_segment', passbell.logged_target(p_campaign)));
    v_columns  text[];
    v_counts   text;
begin
    select array_agg(a.attname order by a.attnum),
           string_agg(format('%I = r.%I', a.attname, a.attname), ', ') filter (where a.attname in ('recipient_count', 'success_count', 'failed_count'))
      into v_columns, v_counts
      from pg_catalog.pg_attribute a
     where a.attrelid = 'public.notification_logs'::regclass and v_values ? a.attname and not a.attisdropped and a.attgenerated = '' and a.attidentity <> 'a';
    if not 'campaign_id' = any (v_columns) then
        raise exception 'notification_logs.campaign_id is computed, so that no row can be told to be this campaign''s' using errcode = 'PB500';
    end if;
    if exists (select from public.notification_logs l where l.campaign_id = p_campaign.id) then
        if v_counts is not null then
            execute format('update public.notification_logs l set %s from jsonb_populate_record(null::public.notification_logs, $1) r where l.campaign_id = r.campaign_id', v_counts)
              using v_values;
        end if;
        return;
    end if;
    execute (select format('insert into public.notification_logs (%1$s) select %2$s from jsonb_populate_record(null::public.notification_logs, $1) r',
                           string_agg(format('%I', c), ', '), string_agg(format('r.%I', c), ', '))
               from unnest(v_columns) as c)
      using v_values;
end
$$;

-- The audience as the audit table names it.
create or replace function passbell.logged_target(p_campaign public.push_campaigns) returns text
language plpgsql immutable
set search_path = ''
as $$
begin
    return coalesce(nullif(btrim(p_campaign.target_query), ''), case when nullif(btrim(p_campaign.csv_upload_url), '') is null then 'ALL' else 'CSV' end);
end
$$;

-- A text as wide as the column of notification_logs takes it: varchar(20) and char(20) have an end, text has none.
create or replace function passbell.fit_log(p_column text, p_text text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return (select case when a.atttypid in ('pg_catalog.varchar'::regtype, 'pg_catalog.bpchar'::regtype) and a.atttypmod > 4 then left(p_text, a.atttypmod - 4)
                        else p_text end
              from pg_catalog.pg_attribute a
             where a.attrelid = 'public.notification_logs'::regclass and a.attname = p_column and not a.attisdropped);
end
$$;

-- Turns what is left of cancelled campaigns into skipped/cancelled rows, so that the counts add up. Chunks that a
-- worker holds are left to it: it reports what it had already sent and finish_chunk closes the rest. If the worker died,
-- this function finds the chunk once its lease has run out, and notes what may have been sent (text_hash, dated when the
-- chunk was handed out), because the phone may show it. SKIP LOCKED, because finish_chunk locks chunk, then campaign, while a
-- cancel already holds the campaign.
create or replace function passbell.drain_cancelled(p_campaign uuid default null) returns integer
language plpgsql
set search_path = ''
set lock_timeout = '500ms'
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_campaign  uuid;
    v_count     integer;
    v_total     integer := 0;
begin
    for v_campaign in
        select c.id
          from public.push_campaigns c
         where c.status = 'CANCELLED' and (p_campaign is null or c.id = p_campaign)
           and (p_campaign is not null or exists (select from passbell.chunks k where k.campaign_id = c.id and (k.lease_until is null or k.lease_until <= v_now)))
           and not exists (select from passbell.set_aside a where a.campaign_id = c.id and a.next_look_at > v_now and p_campaign is null)
         order by c.id
    loop
        -- Holding one campaign and waiting for the next could deadlock; one that is busy is closed at the next turn.
        perform from public.push_campaigns c where c.id = v_campaign for no key update skip locked;
        continue when not found;
        with free as (
            select k.campaign_id, k.chunk_no from passbell.chunks k
             where k.campaign_id = v_campaign and (k.lease_until is null or k.lease_until <= v_now)
               for update skip locked
        ), gone as (
            delete from passbell.chunks k using free f
             where k.campaign_id = f.campaign_id and k.chunk_no = f.chunk_no
            returning k.campaign_id, k.pass_ids, k.texts, k.rendered, k.claimed_at, k.attempt
        ), closed as (
            insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, outcome, reason)
            select g.campaign_id, u.pass_id, case when g.rendered then coalesce(g.claimed_at, v_now) else v_now end,
                   case when g.rendered then hashtextextended(coalesce(u.text, c.message_text), 0) end,
                   g.attempt, 'skipped', 'cancelled'
              from gone g
              join public.push_campaigns c on c.id = g.campaign_id
              cross join lateral unnest(g.pass_ids, g.texts) as u (pass_id, text)
            returning 1
        )
        select count(*) into v_count from closed;
        v_total := v_total + v_count;
        -- A campaign cancelled before it started has sent nothing and is not an event of the audit table.
        perform passbell.book_outcomes(v_campaign, 0, 0, v_count, null,
            exists (select from public.push_campaigns c where c.id = v_campaign and c.started_at is not null));
        exit when passbell.has_run_long();
    end loop;
    return v_total;
end
$$;
