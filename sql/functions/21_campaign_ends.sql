-- How a campaign ends: failed, held for a person, completed, or cancelled.

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
