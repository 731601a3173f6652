-- What people call: from Supabase Studio, psql, RPC, the command line, the API. Each is one transaction and raises a
-- sentence that can be shown as it is: PB400 (the request), PB404 (no such thing), PB409 (the audience moved), PB410
-- (a time that is over), PB422 (an illegal edge), PB423 (a suspended program), PB403 (not your program).

-- Can any pass of the program have as many messages since p_since as a limit allows? A campaign sends to a pass once, so as many
-- campaigns must have sent since. One that ended before can still have been told of a message that was under way; an hour
-- is longer than any lease. A limit of 0 messages needs no count.
create or replace function passbell.limits_can_bite(p_program uuid, p_since timestamptz, p_cap integer, p_max integer, p_hours integer) returns boolean
language plpgsql stable
set search_path = ''
as $$
declare
    v_least  constant integer := least(nullif(greatest(p_cap, 0), 0), p_max, case when p_hours is not null then 1 end);
begin
    return v_least is not null
       and (select count(*) from public.push_campaigns c
             where c.program_id = p_program and (c.completed_at is null or c.completed_at > p_since - interval '1 hour')) >= v_least;
end
$$;

-- The count: matched by the target → in a wallet → not opted out → not suppressed, capped or written to too often →
-- reachable, and when it would be done at the present rate behind what is already waiting. Each is counted among those
-- left by the step before. Of the reachable, would_hold are held back to measure, by the program's push_holdout_percent.
-- Limits on messages are checked pass by pass for named passes (deliveries_pass); else by one read of the ledger since the
-- longest limit began, usually a day (deliveries_sent). Where fewer campaigns have sent since than a limit allows messages, the
-- ledger is not read at all (passbell.limits_can_bite).
drop function if exists public.push_preview(uuid, text);
create function public.push_preview(program_id uuid, target text default 'ALL')
returns table (matched bigint, in_wallet bigint, opted_out bigint, capped bigint, reachable bigint, seconds_at_rate numeric, finishes_at timestamptz,
               too_often bigint, suppressed bigint, would_hold bigint)
language plpgsql stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_condition   text;
    v_parameters  text[];
    v_cap         integer;
    v_rate        numeric;
    v_policy      record;
    v_since       timestamptz;
    v_recent      text := $q$
                      left join (select d.pass_id as recent_pass,
                                        $3 > 0 and count(*) filter (where d.sent_at > $4 - interval '24 hours') >= $3 as capped,
                                        count(*) filter (where d.sent_at > $4 - make_interval(hours => $6 * 24)) >= $5
                                            or max(d.sent_at) > $4 - make_interval(hours => $7) as too_often
                                   from passbell.deliveries d
                                  where d.sent_at > $8 and d.outcome = 'sent'
                                    and d.campaign_id in (select c.id from public.push_campaigns c where c.program_id = $1)
                                  group by d.pass_id) f on f.recent_pass = r.pass_id $q$;
begin
    perform passbell.require_program(push_preview.program_id);
    if passbell.consent_trouble() is not null then       -- a count that includes those who opted out is worse than none
        raise exception '%', passbell.consent_trouble() using errcode = 'PB422';
    end if;
    perform passbell.require_audience(push_preview.target);
    perform passbell.require_target(push_preview.program_id, push_preview.target);
    select s.daily_cap, s.rate_per_second into v_cap, v_rate from passbell.settings s;
    select * into v_policy from passbell.contact_policy(push_preview.program_id, 'BROADCAST');
    v_since := least(case when v_cap > 0 then passbell.now() - interval '24 hours' else 'infinity' end, coalesce(v_policy.since, 'infinity'));
    if exists (select from passbell.parse_target(push_preview.target) t where t.segment = 'IDS') then
        v_recent := $q$
                      left join lateral (select $3 > 0 and count(*) filter (where d.sent_at > $4 - interval '24 hours') >= $3 as capped,
                                                count(*) filter (where d.sent_at > $4 - make_interval(hours => $6 * 24)) >= $5
                                                    or max(d.sent_at) > $4 - make_interval(hours => $7) as too_often
                                           from passbell.deliveries d
                                          where d.pass_id = r.pass_id and d.sent_at > $8 and d.outcome = 'sent') f on true $q$;
    elsif not passbell.limits_can_bite(push_preview.program_id, v_since, v_cap, v_policy.max, v_policy.hours) then
        v_recent := ' cross join (select false as capped, false as too_often) f ';
    end if;
    if exists (select from passbell.parse_target(push_preview.target) t where t.segment = 'CSV') then
        raise exception 'A CSV audience can be counted only once its file was read: create the campaign with csv_upload_url.' using errcode = 'PB400';
    end if;
    select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition(push_preview.target) a;

    begin
        execute $q$
            select count(*), count(*) filter (where a.reachable), count(*) filter (where a.reachable and not a.opted_in),
                   count(*) filter (where a.reachable and a.opted_in and a.suppressed),
                   count(*) filter (where a.reachable and a.opted_in and not a.suppressed and a.capped),
                   count(*) filter (where a.reachable and a.opted_in and not a.suppressed and not a.capped and a.too_often)
              from (select $q$ || case when passbell.one_row_per_pass() then '' else 'distinct on (r.pass_id) ' end || $q$ r.pass_id, r.reachable, r.opted_in, coalesce(f.capped, false) as capped, coalesce(f.too_often, false) as too_often,
                           $9 is not null and lower(btrim(r.external_id)) = any ($9) is true as suppressed
                      from passbell.recipients r $q$ || v_recent || $q$
                     where r.program_id = $1 and ($q$ || v_condition || $q$) offset 0) a $q$      -- each column once, not once per count
           into matched, in_wallet, opted_out, suppressed, capped, too_often
          using push_preview.program_id, v_parameters, v_cap, passbell.now(), v_policy.max, v_policy.days, v_policy.hours,
                v_since, passbell.suppressed_ids(push_preview.program_id, 'BROADCAST');
    exception when data_exception or syntax_error_or_access_rule_violation then
        raise exception 'The audience could not be evaluated: %.', sqlerrm using errcode = 'PB400';
    end;
    if v_policy.max = 0 then        -- not one message: those that never had one, too
        too_often := in_wallet - opted_out - suppressed - capped;
    end if;
    reachable := in_wallet - opted_out - suppressed - capped - too_often;
    would_hold := passbell.would_hold(push_preview.program_id, push_preview.target, reachable);
    select t.seconds, t.finishes_at into seconds_at_rate, finishes_at from passbell.time_to_send(reachable, v_rate) t;
    return next;
end
$$;

-- Inserts a campaign. With `expected` (the number that a preview showed) it refuses with PB409 if the audience has
-- changed since; the message has the new number.
create or replace function public.push_send(
    program_id uuid, message text, target text default 'ALL', name text default null,
    scheduled_at timestamptz default null, expected integer default null) returns uuid
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
    v_id  constant uuid := gen_random_uuid();
begin
    perform passbell.require_program(program_id);
    perform passbell.compile_message(message);
    perform passbell.require_audience(target);
    if exists (select from passbell.parse_target(target) t where t.segment = 'CSV') then
        raise exception 'The audience CSV is a list: insert a row with its csv_upload_url into push_campaigns, or upload it.' using errcode = 'PB400';
    end if;
    perform passbell.require_order(program_id, target, scheduled_at);
    if expected is not null then
        perform passbell.require_expected(p.reachable, expected) from public.push_preview(program_id, target) p;
    end if;
    -- PENDING by name: the owner's table may have another default ('draft').
    insert into public.push_campaigns (id, program_id, name, message_text, target_query, scheduled_at, status)
    values (v_id, program_id, name, message, target, scheduled_at, 'PENDING');
    if not found then
        perform passbell.swallowed('push_campaigns');
    end if;
    return v_id;
end
$$;

-- One real push to one pass, ahead of everything else, whatever the hour; quiet hours, holds and double-submit guards
-- do not apply, opt-out, cap and wallet do.
create or replace function public.push_test(program_id uuid, external_id text, message text) returns uuid
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
    v_id  constant uuid := gen_random_uuid();
begin
    perform passbell.require_program(program_id);
    perform passbell.compile_message(message);
    perform passbell.require_order(program_id, null, null);
    if not exists (select from passbell.recipients r
                    where r.program_id = push_test.program_id and lower(btrim(r.external_id)) = lower(btrim(push_test.external_id))) then
        raise exception 'There is no pass "%" in this program.', left(external_id, 80) using errcode = 'PB404';
    end if;
    insert into public.push_campaigns (id, program_id, name, message_text, target_query, kind, status)
    values (v_id, program_id, 'Test to ' || btrim(external_id), message, 'IDS:' || btrim(external_id), 'TEST', 'PENDING');
    if not found then
        perform passbell.swallowed('push_campaigns');
    end if;
    return v_id;
end
$$;

-- The four verbs. Each returns the campaign as it is afterwards.
create or replace function passbell.set_status(p_campaign uuid, p_status text) returns public.push_campaigns
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
begin
    perform from public.push_campaigns c where c.id = p_campaign for update;
    v_campaign := passbell.campaign_for_caller(p_campaign);
    if v_campaign.status <> p_status then
        update public.push_campaigns c set status = p_status where c.id = p_campaign;
        if not found then
            perform passbell.swallowed('push_campaigns');
        end if;
        select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign;
    end if;
    return v_campaign;
end
$$;

create or replace function public.push_pause(id uuid) returns public.push_campaigns
language sql security definer set search_path = ''
as $$ select passbell.set_status(id, 'PAUSED') $$;

create or replace function public.push_cancel(id uuid) returns public.push_campaigns
language sql security definer set search_path = ''
as $$
    select passbell.set_status(id, 'CANCELLED');
    select c from public.push_campaigns c where c.id = push_cancel.id;
$$;

create or replace function public.push_resume(id uuid) returns public.push_campaigns
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
    v_campaign  public.push_campaigns := passbell.campaign_for_caller(id);
begin
    if v_campaign.status in ('PENDING', 'PROCESSING') then
        return v_campaign;
    elsif v_campaign.status <> 'PAUSED' then
        raise exception 'A campaign that is % cannot be resumed.', v_campaign.status using errcode = 'PB422';
    end if;
    v_campaign := passbell.set_status(id, 'PENDING');
    if v_campaign.status = 'PROCESSING' then
        perform passbell.settle_campaign(id);       -- the pause came after the last push
    end if;
    select c.* into v_campaign from public.push_campaigns c where c.id = push_resume.id;
    return v_campaign;
end
$$;

create or replace function public.push_retry_failed(id uuid) returns public.push_campaigns
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
    v_campaign  public.push_campaigns := passbell.campaign_for_caller(id);
begin
    perform passbell.require_program(v_campaign.program_id);        -- a deleted program has no members to try again
    perform passbell.reopen_failed(id);
    select c.* into v_campaign from public.push_campaigns c where c.id = push_retry_failed.id;
    return v_campaign;
end
$$;

-- How far it is: counts, what it has sent per second since it started, and when it will be done at that pace.
create or replace function public.push_progress(id uuid)
returns table (campaign_id uuid, name text, status text, status_detail text, recipient_count integer, sent integer, failed integer, skipped integer,
               remaining integer, percent numeric, rate_per_second numeric, finishes_at timestamptz)
language plpgsql stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_campaign  constant public.push_campaigns := passbell.campaign_for_caller(push_progress.id);
begin
    campaign_id := v_campaign.id;      name := v_campaign.name;
    status := v_campaign.status;       status_detail := coalesce(passbell.aside_words(v_campaign.id), v_campaign.status_detail);
    recipient_count := v_campaign.recipient_count;
    sent := v_campaign.sent_count;     failed := v_campaign.failed_count;     skipped := v_campaign.skipped_count;
    remaining := recipient_count - sent - failed - skipped;
    percent := case when recipient_count > 0 then round(100.0 * (recipient_count - remaining) / recipient_count, 1)
                    when v_campaign.completed_at is not null then 100 else 0 end;
    rate_per_second := 0;
    if v_campaign.status = 'PROCESSING' then
        select round(greatest(0, v_campaign.sent_count)
                     / greatest(1, extract(epoch from clock_timestamp() - v_campaign.started_at)), 1) into rate_per_second;
        if remaining > 0 and rate_per_second > 0 then
            finishes_at := clock_timestamp() + make_interval(secs => (remaining / rate_per_second)::double precision);
        end if;
    end if;
    return next;
end
$$;
