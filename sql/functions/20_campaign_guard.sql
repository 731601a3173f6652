-- Checks every write to push_campaigns. People (a form, SQL, the API) may insert DRAFT or PENDING and move a
-- campaign along the legal edges; the counters and times belong to the engine, whose functions say so
-- (93_callers). A form that writes a whole row back therefore does no harm: what is not the person's to set
-- keeps its value. Raises PB422 for an illegal edge and for editing an order that has started.
create or replace function passbell.campaign_guard() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_engine  constant boolean := passbell.is_engine();
begin
    if tg_op = 'DELETE' then
        if old.status in ('PROCESSING', 'PAUSED') and exists (select from passbell.chunks c where c.campaign_id = old.id) then
            raise exception 'Campaign "%" is being sent: cancel it before deleting it.', old.name using errcode = 'PB422';
        end if;
        -- A worker still holds a part of it. Deleting its chunk would wait for the worker's report, which waits for us.
        if exists (select from passbell.chunks c where c.campaign_id = old.id) then
            raise exception 'Campaign "%" is cancelled, but its last calls are still ending: delete it in a moment.', old.name using errcode = 'PB422';
        end if;
        delete from passbell.chunks       c where c.campaign_id = old.id;
        delete from passbell.deliveries   d where d.campaign_id = old.id;
        delete from passbell.pruned       p where p.campaign_id = old.id;
        delete from passbell.holdouts     h where h.campaign_id = old.id;
        delete from passbell.results      r where r.campaign_id = old.id;
        delete from passbell.list_entries e where e.campaign_id = old.id;
        delete from passbell.list_loads   l where l.campaign_id = old.id;
        delete from passbell.set_aside    a where a.campaign_id = old.id;
        delete from passbell.owed_counts  o where o.campaign_id = old.id;
        delete from passbell.owed_logs    o where o.campaign_id = old.id;
        delete from passbell.rate_limits  r where r.account = 'campaign:' || old.id;
        return old;
    end if;

    new.updated_at := passbell.now();
    if v_engine and tg_op = 'UPDATE' and new.status = old.status then     -- counters, at every report
        return new;
    end if;
    new.status := coalesce(nullif(upper(btrim(new.status, E' \t\r\n')), ''), 'PENDING');
    -- A test knows no quiet hours and goes first: it is for one pass.
    if not v_engine and upper(btrim(coalesce(old.kind, new.kind))) = 'TEST' and coalesce(new.target_query, '') !~* '^\s*IDS\s*:[^,&]+$' then
        raise exception 'A test goes to one pass: target IDS:<external id>.' using errcode = 'PB422';
    end if;

    -- A row that was long before these limits can still be cancelled, and written by the engine.
    if not v_engine then
        if new.name is distinct from old.name then
            perform passbell.require_length('name', new.name, 1000);
            new.name := left(new.name, 200);
        end if;
        if new.message_text is distinct from old.message_text then
            perform passbell.require_length('message_text', new.message_text, 4000);
        end if;
        if new.target_query is distinct from old.target_query then
            perform passbell.require_length('target_query', new.target_query, 1000000);
        end if;
        if new.csv_upload_url is distinct from old.csv_upload_url then
            perform passbell.require_length('csv_upload_url', new.csv_upload_url, 4000);
        end if;
        if new.csv_encoding is distinct from old.csv_encoding then
            perform passbell.require_length('csv_encoding', new.csv_encoding, 40);
            new.csv_encoding := nullif(btrim(new.csv_encoding), '');
        end if;
        new.created_by := left(new.created_by, 200);
    end if;

    -- PostgreSQL knows 'infinity', the year 294276 and NaN (more than 0 there); the programs that read campaigns do not.
    if new.scheduled_at is distinct from old.scheduled_at and not new.scheduled_at between '1970-01-01' and '9999-12-30' then
        raise exception 'scheduled_at is a time up to the year 9999, or empty for at once, not %.', new.scheduled_at using errcode = 'PB400';
    end if;
    if new.rate_per_second is distinct from old.rate_per_second and new.rate_per_second > 100000 then
        raise exception 'rate_per_second is at most 100,000, or empty for the account''s own, not %.', new.rate_per_second using errcode = 'PB400';
    end if;
    if new.rate_per_second is distinct from old.rate_per_second and new.rate_per_second > 0 and new.rate_per_second < 0.00001 then     -- no interval is as long
        raise exception 'rate_per_second is at least 0.00001 (one push in 28 hours), or empty for the account''s own, not %.', new.rate_per_second using errcode = 'PB400';
    end if;
    if tg_op = 'INSERT' then
        new.created_at := case when new.created_at between '1970-01-01' and '9999-12-30' then new.created_at end;
        new.kind := upper(btrim(coalesce(nullif(btrim(new.kind), ''), 'BROADCAST')));
        new.name := coalesce(nullif(btrim(new.name), ''), initcap(left(new.kind, 40)) || ' ' || to_char(passbell.now() at time zone 'UTC', 'YYYY-MM-DD HH24:MI'));
        new.created_at := coalesce(new.created_at, passbell.now());
        new.measure_days := coalesce(new.measure_days, 7);
        new.priority := case when new.kind = 'BIRTHDAY' then 9 else coalesce(new.priority, 5) end;
        new.created_by := case when passbell.acts_for_server() then coalesce(new.created_by, passbell.caller()) else passbell.caller() end;
        if not v_engine then
            if new.status not in ('DRAFT', 'PENDING') then
                raise exception 'A new campaign is DRAFT or PENDING, not %.', left(new.status, 40) using errcode = 'PB422';
            end if;
            new.sent_count := 0;  new.failed_count := 0;  new.skipped_count := 0;  new.recipient_count := 0;
            new.started_at := null;  new.completed_at := null;  new.released_at := null;  new.automation_id := null;
        end if;
        new.submitted_at := case when new.status = 'PENDING' then passbell.now() end;
        return new;
    end if;

    if new.status <> old.status and not passbell.is_legal_edge(old.status, new.status, v_engine) then
        raise exception 'A campaign that is % cannot become %.', old.status, left(new.status, 40) using errcode = 'PB422';
    end if;
    if v_engine then
        return new;
    end if;

    if old.started_at is not null and (new.holdout_percent is distinct from old.holdout_percent or new.measure_days is distinct from old.measure_days) then
        raise exception 'Campaign "%" has started: how many are held back, and how long is measured, can no longer be changed.', old.name using errcode = 'PB422';
    end if;
    if old.started_at is not null
       and (new.program_id, new.message_text, new.target_query, new.csv_upload_url, new.csv_encoding)
           is distinct from (old.program_id, old.message_text, old.target_query, old.csv_upload_url, old.csv_encoding) then
        raise exception 'Campaign "%" has started: its text and audience can no longer be changed.', old.name using errcode = 'PB422';
    end if;
    -- Taking the list away does not widen the order to everybody: it stays one for a list, which is refused without its link.
    if nullif(btrim(old.csv_upload_url), '') is not null and nullif(btrim(new.csv_upload_url), '') is null
       and new.target_query is not distinct from old.target_query then
        new.target_query := case when passbell.is_everybody(new.target_query) then 'CSV'
                                 when upper(new.target_query) ~ '(^|&)\s*CSV\s*(&|$)' then new.target_query
                                 else new.target_query || ' & CSV' end;
    end if;
    new.automation_id := old.automation_id;  new.measure_days := coalesce(new.measure_days, 7);  new.priority := coalesce(new.priority, 5);
    new.id := old.id;  new.created_at := old.created_at;  new.created_by := old.created_by;
    new.sent_count := old.sent_count;  new.failed_count := old.failed_count;  new.skipped_count := old.skipped_count;
    new.recipient_count := old.recipient_count;
    new.started_at := old.started_at;  new.completed_at := old.completed_at;  new.kind := old.kind;
    new.submitted_at := old.submitted_at;  new.released_at := old.released_at;  new.status_detail := old.status_detail;

    if new.status <> old.status then
        case new.status
            when 'PAUSED' then
                new.status_detail := 'Paused by ' || passbell.caller() || '. Resume it to go on with those not reached yet.';
            when 'CANCELLED' then
                new.status_detail := 'Cancelled by ' || passbell.caller() || '.';
                new.completed_at := passbell.now();
            else
                -- Submitted or resumed. Where it goes on depends on how far it had come, not on what was typed.
                new.status := case when old.started_at is null then 'PENDING' else 'PROCESSING' end;
                new.submitted_at := passbell.now();
                new.released_at := case when old.status = 'PAUSED' then passbell.now() end;
                new.status_detail := null;
        end case;
    end if;
    return new;
end
$$;

-- The edges of a campaign's life. People pause, resume, submit and cancel; starting, finishing, failing and reopening
-- are the engine's.
create or replace function passbell.is_legal_edge(p_from text, p_to text, p_engine boolean) returns boolean
language sql immutable
set search_path = ''
as $$
    select (p_from, p_to) in (('DRAFT', 'PENDING'), ('DRAFT', 'CANCELLED'), ('PENDING', 'PAUSED'), ('PENDING', 'CANCELLED'),
                              ('PROCESSING', 'PAUSED'), ('PROCESSING', 'CANCELLED'),
                              ('PAUSED', 'PENDING'), ('PAUSED', 'PROCESSING'), ('PAUSED', 'CANCELLED'))
        or p_engine and (p_from, p_to) in (('PENDING', 'PROCESSING'), ('PENDING', 'FAILED'), ('PENDING', 'COMPLETED'),
                                           ('PROCESSING', 'COMPLETED'), ('PROCESSING', 'FAILED'), ('PAUSED', 'COMPLETED'),
                                           ('COMPLETED', 'PROCESSING'))
$$;

-- Refuses (PB400) a text longer than people type: it would be read, shown and copied with every answer.
create or replace function passbell.require_length(p_name text, p_text text, p_most integer) returns void
language plpgsql immutable
set search_path = ''
as $$
begin
    if length(p_text) > p_most then
        raise exception '% has % characters; % are the limit.', p_name, passbell.thousands(length(p_text)), passbell.thousands(p_most)
              using errcode = 'PB400';
    end if;
end
$$;

-- Who is asking, as status_detail and created_by name them: the e-mail in Supabase's JWT, else the database role.
create or replace function passbell.caller() returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return coalesce(left(nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email', ''), 200),
                    nullif(nullif(current_setting('role', true), 'none'), ''), session_user);
exception when assert_failure or others then
    return session_user;
end
$$;

-- After a status changed: wake the daemons (an accelerator only; they poll as well), and if it was cancelled, close
-- the chunks that are not being sent right now.
create or replace function passbell.campaign_changed() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.status = 'CANCELLED' then
        perform passbell.drain_cancelled(new.id);
    end if;
    if new.status in ('PENDING', 'PROCESSING', 'PAUSED', 'CANCELLED') then
        perform pg_notify('passbell', lower(new.status));
    end if;
    return null;
end
$$;

create or replace trigger passbell_guard before insert or update or delete on public.push_campaigns
    for each row execute function passbell.campaign_guard();
create or replace trigger passbell_inserted after insert on public.push_campaigns
    for each row execute function passbell.campaign_changed();
create or replace trigger passbell_changed after update of status on public.push_campaigns
    for each row when (old.status is distinct from new.status) execute function passbell.campaign_changed();
