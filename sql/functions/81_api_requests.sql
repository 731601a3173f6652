-- Idempotency keys. A request with a key is begun, worked on, and ended with its answer; within 24 hours the same key
-- and request get that answer again.

-- What to do with a request that carries a key:
--
--   new        work on it, then end_request; campaign_id is set if an attempt that was cut off had created it already
--   replay     it was answered: status and answer
--   running    another request with this key is being worked on
--   different  the key was used for another request
create or replace function passbell.begin_request(p_owner text, p_key text, p_fingerprint text, p_lease_seconds integer default 120)
returns table (state text, campaign_id uuid, status integer, answer json)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_now  constant timestamptz := passbell.now();
    v_row  passbell.api_requests;
begin
    delete from passbell.api_requests r where r.created_at < v_now - interval '24 hours';
    insert into passbell.api_requests as r (owner, key, fingerprint, created_at, lease_until)
    values (p_owner, p_key, p_fingerprint, v_now, v_now + passbell.lease(p_lease_seconds))
    on conflict (owner, key) do update
       set lease_until = excluded.lease_until
     where r.fingerprint = excluded.fingerprint and r.status is null and r.lease_until <= v_now
    returning r.* into v_row;
    if found then
        return query select 'new', v_row.campaign_id, null::integer, null::json;
        return;
    end if;
    select r.* into v_row from passbell.api_requests r where r.owner = p_owner and r.key = p_key;
    return query select case when v_row.fingerprint is distinct from p_fingerprint then 'different'
                             when v_row.status is null then 'running'
                             else 'replay' end,
                        v_row.campaign_id, v_row.status, v_row.answer;
end
$$;

create or replace function passbell.end_request(p_owner text, p_key text, p_status integer, p_answer json) returns void
language sql
set search_path = ''
as $$
    update passbell.api_requests r set status = p_status, answer = p_answer where r.owner = p_owner and r.key = p_key
$$;

-- The request was refused: nothing was created, and a repeat may be tried at once.
create or replace function passbell.forget_request(p_owner text, p_key text) returns void
language sql
set search_path = ''
as $$
    delete from passbell.api_requests r
     where r.owner = p_owner and r.key = p_key and r.campaign_id is null and r.status is null
$$;

-- The campaign that this request created before, if it did: a lock on the key's row until the end of the transaction.
create or replace function passbell.requested_campaign(p_owner text, p_key text) returns uuid
language sql
set search_path = ''
as $$
    select r.campaign_id from passbell.api_requests r where r.owner = p_owner and r.key = p_key for update
$$;

-- push_send for the HTTP API: under the caller's name and once per idempotency key (p_key NULL: no key).
-- The last three are the campaign's own columns; NULL leaves them as they are for any campaign.
drop function if exists passbell.order_push(text, text, uuid, text, text, text, timestamptz, integer);
create or replace function passbell.order_push(
    p_owner text, p_key text, p_program uuid, p_message text, p_target text, p_name text, p_scheduled_at timestamptz, p_expected integer,
    p_holdout_percent numeric default null, p_measure_days integer default null, p_priority integer default null) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    v_id  uuid := passbell.requested_campaign(p_owner, p_key);
begin
    if v_id is null then
        perform passbell.act_as(p_owner);
        v_id := public.push_send(p_program, p_message, coalesce(p_target, 'ALL'), p_name, p_scheduled_at, p_expected);
        if p_holdout_percent is not null or p_measure_days is not null or p_priority is not null then
            update public.push_campaigns c
               set holdout_percent = coalesce(p_holdout_percent, c.holdout_percent), measure_days = coalesce(p_measure_days, c.measure_days),
                   priority = coalesce(p_priority, c.priority)
             where c.id = v_id;
        end if;
        update passbell.api_requests r set campaign_id = v_id where r.owner = p_owner and r.key = p_key;
    end if;
    return v_id;
end
$$;

-- The verbs of people, under the caller's name.
create or replace function passbell.order_verb(p_owner text, p_verb text, p_campaign uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.act_as(p_owner);
    case p_verb
        when 'pause'        then perform public.push_pause(p_campaign);
        when 'resume'       then perform public.push_resume(p_campaign);
        when 'cancel'       then perform public.push_cancel(p_campaign);
        when 'retry-failed' then perform public.push_retry_failed(p_campaign);
    end case;
end
$$;

create or replace function passbell.order_test(p_owner text, p_program uuid, p_external_id text, p_message text) returns uuid
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.act_as(p_owner);
    return public.push_test(p_program, p_external_id, p_message);
end
$$;
