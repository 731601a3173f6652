-- The row of public.notification_logs that each finished campaign gets, whatever that table of the owner's looks like.

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
