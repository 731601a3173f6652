-- What a worker reports for a chunk it holds. Outcomes, beside pass_ids:
--
--   sent           PassKit took it                                   → ledger
--   not_found      404: PassKit does not know the record             → ledger, failed
--   rejected       400, 409, 501 …: will never work                  → ledger, failed
--   server_error   500: may be a validation in disguise              → tried three times, then failed
--   retry          the network or PassKit failed for this pass       → again with backoff, p_max_attempts times in all
--   back           not sent (stopping, paused, refused, throttled)   → stays, no attempt burnt
--   maybe          it may have arrived, but PassKit as a whole failed → stays, no attempt burnt
--
-- p_pass_ids NULL is short for the usual report: every pass of the chunk was sent, with the status p_http[1].
--
-- Passes handed back that were certainly never sent are free again: their texts are chosen when they are claimed anew.
-- This is certain only for the first holder of the chunk: after a crash, the dead holder may have sent what its successor did not.
--
-- One transaction: appends the ledger, shrinks or deletes the chunk, moves the counters, completes the campaign if
-- this was the last chunk. Passes not named stay as they are. With p_release the claim ends; without it the worker
-- goes on (a partial report). A chunk always has one attempt number: passes tried and failed move to a chunk of their
-- own when others of the same chunk were not tried. If the campaign was cancelled meanwhile, the rest is closed here.
-- If nearly all of a report is 404, the program or the region is wrong rather than the passes: the campaign is paused
-- and no pass is failed, unless a person has resumed it after such a hold.
--
-- Outcomes first: the ledger and the chunk are written before, and independently of, everything that the host's rules may
-- refuse or hold up (the counters and the end of the campaign, its audit row): see passbell.book_outcomes. p_ask_host
-- false leaves that out: an earlier report got no answer in time, perhaps because of it.
--
-- Returns what it decided: passes that remain, the campaign's status, how many were recorded as sent, failed and skipped
-- (failed and skipped by reason too), and by reported outcome how many stay for another attempt.
--
-- Raises PB412 (lease lost) and changes nothing if another worker holds the chunk by now. Locks chunk, then campaign.
drop function if exists passbell.finish_chunk(uuid, integer, uuid, uuid[], text[], smallint[], text[], boolean, integer, numeric);
create or replace function passbell.finish_chunk(
    p_campaign      uuid,
    p_chunk_no      integer,
    p_claim_token   uuid,
    p_pass_ids      uuid[],
    p_outcomes      text[],
    p_http          smallint[] default null,
    p_details       text[]     default null,
    p_release       boolean    default true,
    p_max_attempts  integer    default 5,
    p_wait_seconds  numeric    default 0,
    p_ask_host      boolean    default true)
returns table (remaining integer, status text, sent integer, failed integer, skipped integer, reasons jsonb, postponed jsonb)
language plpgsql
set search_path = ''
set lock_timeout = '500ms'
set plan_cache_mode = 'force_generic_plan'
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_now       constant timestamptz := passbell.now();
    v_chunk     passbell.chunks;
    v_campaign  record;
    v_tried     smallint;
    v_wrong     boolean := false;
    v_whole     boolean;    -- whether the report names the passes of the chunk, in its order
    v_plain     bigint;     -- hash of the text that all passes got
    v_skipped   integer := 0;
    v_again     uuid[];
    v_back      uuid[];
    v_texts     text[];
    v_a_texts   text[];
    v_handed    boolean;    -- whether what stays may have been sent
    v_maybe     boolean;
    v_reasons   text[];
    v_stay      text[];
begin
    reasons := '{}';
    postponed := '{}';
    p_release := coalesce(p_release, true);
    p_max_attempts := least(greatest(coalesce(p_max_attempts, 5), 1), 1000);
    p_wait_seconds := least(greatest(coalesce(p_wait_seconds, 0), 0), 3600);
    select k.* into v_chunk
      from passbell.chunks k
     where k.campaign_id = p_campaign and k.chunk_no = p_chunk_no and k.claim_token = p_claim_token
       for update;
    if not found then
        raise exception 'the lease on chunk % of campaign % is lost', p_chunk_no, p_campaign using errcode = 'PB412';
    end if;
    -- Reported twice, a pass would be in the ledger and in the queue at once. The usual report names those of the chunk.
    v_whole := p_pass_ids = v_chunk.pass_ids;
    if not v_whole then
        if (select count(*) > count(distinct p) from unnest(p_pass_ids) p) then
            raise exception 'A report names each pass once.' using errcode = 'PB400';
        end if;
    end if;
    select c.status, c.kind, c.message_text, c.released_at, c.sent_count, c.failed_count into v_campaign
      from public.push_campaigns c where c.id = p_campaign;
    v_tried := v_chunk.attempt + 1;

    if 'not_found' = any (p_outcomes) and v_campaign.released_at is null and v_campaign.kind <> 'TEST' then
        select n.missing >= 0.9 * n.decided
               and n.missing + case when v_campaign.sent_count = 0 then v_campaign.failed_count else 0 end >= 10
          into v_wrong
          from (select count(*) filter (where o = 'not_found') as missing, count(*) filter (where o not in ('back', 'maybe')) as decided
                  from unnest(p_outcomes) o) n
         where n.missing > 0;
        v_wrong := coalesce(v_wrong, false);
    end if;

    if v_chunk.texts is null then
        v_plain := hashtextextended(v_campaign.message_text, 0);
    end if;

    -- The ledger: what is decided. The text is kept only where a later retry must repeat it.
    if p_pass_ids is null then
        insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, http_status, outcome)
        select p_campaign, i.pass_id, v_now, coalesce(hashtextextended(i.text, 0), v_plain), v_tried, p_http[1], 'sent'
          from unnest(v_chunk.pass_ids, v_chunk.texts) as i (pass_id, text);
        get diagnostics sent = row_count;
        failed := 0;
    elsif v_whole and 'sent' = all (p_outcomes) and cardinality(p_outcomes) = cardinality(p_pass_ids) and cardinality(p_http) <= cardinality(p_pass_ids) then
        -- All of the chunk, in its order, and all sent: nothing is to be matched, judged or counted.
        insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, http_status, outcome)
        select p_campaign, i.pass_id, v_now, coalesce(hashtextextended(i.text, 0), v_plain), v_tried, i.http, 'sent'
          from unnest(v_chunk.pass_ids, v_chunk.texts, p_http) as i (pass_id, text, http);
        get diagnostics sent = row_count;
        failed := 0;
    else
        with report as (
            select i.n, i.pass_id, i.text, x.outcome, x.http, x.detail,
                   case
                       when x.outcome = 'sent' then 'sent'
                       when x.outcome = 'not_found' and not v_wrong then 'not_found'
                       when x.outcome = 'rejected' then 'rejected'
                       when x.outcome = 'retry' and v_tried >= p_max_attempts then 'attempts_exhausted'
                       when x.outcome = 'server_error' and v_tried >= least(3, p_max_attempts) then 'attempts_exhausted'
                       when x.outcome in ('retry', 'server_error') then 'again'
                       else 'back'
                   end as verdict
              from unnest(v_chunk.pass_ids, v_chunk.texts) with ordinality as i (pass_id, text, n)
              left join unnest(p_pass_ids, p_outcomes, p_http, p_details) as x (pass_id, outcome, http, detail) on x.pass_id = i.pass_id
        ), ledger as (
            insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, http_status, outcome, reason, detail, text)
            select p_campaign, r.pass_id, v_now, coalesce(hashtextextended(r.text, 0), v_plain), v_tried, r.http,
                   case when r.verdict = 'sent' then 'sent' else 'failed' end,
                   nullif(r.verdict, 'sent'), case when r.verdict <> 'sent' then left(r.detail, 300) end,
                   case when r.verdict <> 'sent' then coalesce(r.text, v_campaign.message_text) end
              from report r
             where r.verdict not in ('again', 'back')
        )
        select count(*) filter (where r.verdict = 'sent'), count(*) filter (where r.verdict not in ('sent', 'again', 'back')),
               array_agg(r.pass_id order by r.n) filter (where r.verdict = 'again'), array_agg(r.pass_id order by r.n) filter (where r.verdict = 'back'),
               array_agg(r.text order by r.n) filter (where r.verdict = 'back'), array_agg(r.text order by r.n) filter (where r.verdict = 'again'),
               array_agg(r.verdict) filter (where r.verdict not in ('sent', 'again', 'back')),
               array_agg(r.outcome) filter (where r.verdict in ('again', 'back') and r.outcome is not null)
          into sent, failed, v_again, v_back, v_texts, v_a_texts, v_reasons, v_stay
          from report r;
        if v_reasons is not null then
            reasons := (select jsonb_object_agg(u.reason, u.n) from (select w.reason, count(*) as n from unnest(v_reasons) as w (reason) group by w.reason) u);
        end if;
        if v_stay is not null then
            postponed := (select jsonb_object_agg(u.outcome, u.n) from (select w.outcome, count(*) as n from unnest(v_stay) as w (outcome) group by w.outcome) u);
        end if;
    end if;

    -- What is left.
    if v_again is null and v_back is null then
        delete from passbell.chunks k where k.campaign_id = p_campaign and k.chunk_no = p_chunk_no;
    else
        v_maybe := coalesce('maybe' = any (p_outcomes), false);
        v_handed := not p_release or v_chunk.attempt > 0 or v_chunk.uncertain or v_maybe;
        if v_campaign.status = 'CANCELLED' and p_release then
            insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, outcome, reason)     -- the hash of what may have landed
            select p_campaign, u.pass_id, v_now, case when u.handed then hashtextextended(coalesce(u.text, v_campaign.message_text), 0) end,
                   v_chunk.attempt, 'skipped', 'cancelled'
              from (select a.pass_id, a.text, true as handed from unnest(v_again, v_a_texts) as a (pass_id, text)
                    union all
                    select b.pass_id, b.text, v_handed from unnest(v_back, v_texts) as b (pass_id, text)) u;
            v_skipped := coalesce(cardinality(v_again), 0) + coalesce(cardinality(v_back), 0);
            v_again := null;
            v_back := null;
            postponed := '{}';
            reasons := reasons || jsonb_build_object('cancelled', v_skipped);
            delete from passbell.chunks k where k.campaign_id = p_campaign and k.chunk_no = p_chunk_no;
        else
            perform passbell.put_back(v_chunk, v_again, v_a_texts, v_back, v_texts, v_handed, v_maybe, p_release, p_wait_seconds);
        end if;
    end if;

    status := passbell.book_outcomes(p_campaign, sent, failed, v_skipped,
        case when v_wrong then
            'Held: PassKit answers 404 for nearly every pass. Wrong region (api.pub1 or api.pub2) or program? No pass was failed for it; resume to go on all the same.'
        end, v_again is null and v_back is null, p_ask_host);

    skipped := v_skipped;
    remaining := coalesce(cardinality(v_again), 0) + coalesce(cardinality(v_back), 0);
    if status = 'CANCELLED' and remaining > 0 then
        perform pg_notify('passbell', 'cancelled');     -- cancelled between our two looks: what was handed back is to be closed
    end if;
    return next;
end
$$;

-- What stays of a reported chunk. Passes that were tried and failed (p_again) wait 1, 2, 4 … seconds, at most 5 minutes, with
-- jitter; longer if PassKit asked for it. Those that were not tried (p_back) keep the chunk's number and its attempt.
-- p_handed: whether they may have been sent; p_maybe: whether they may have arrived.
create or replace function passbell.put_back(
    p_chunk passbell.chunks, p_again uuid[], p_again_texts text[], p_back uuid[], p_back_texts text[], p_handed boolean, p_maybe boolean,
    p_release boolean, p_wait_seconds numeric) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now    constant timestamptz := passbell.now();
    v_wait   constant interval := make_interval(secs => greatest(p_wait_seconds, least(300, power(2, p_chunk.attempt)) * (0.75 + random() * 0.5)));
    v_tried  constant smallint := p_chunk.attempt + 1;
begin
    if p_chunk.texts is null then
        p_again_texts := null;
        p_back_texts := null;
    end if;
    if p_again is not null and p_back is null and p_release then
        update passbell.chunks k
           set pass_ids = p_again, texts = p_again_texts, attempt = v_tried,
               not_before = v_now + v_wait, lease_until = null, claim_token = null, worker = null
         where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
        return;
    end if;
    if p_again is not null then
        perform passbell.add_chunk(p_chunk, p_again, p_again_texts, v_tried, v_now + v_wait);
    end if;
    if p_back is null then
        delete from passbell.chunks k where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    else
        update passbell.chunks k
           set pass_ids = p_back, rendered = p_handed, uncertain = k.uncertain or p_maybe,
               texts = case when p_handed or p_chunk.keep_texts then p_back_texts end,
               not_before  = case when p_release then v_now + make_interval(secs => p_wait_seconds) else k.not_before end,
               lease_until = case when not p_release then k.lease_until end,
               claim_token = case when not p_release then k.claim_token end,
               worker      = case when not p_release then k.worker end
         where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    end if;
end
$$;

-- A chunk for passes that go on under another number. Two reports at the same moment may choose the same number: the later
-- one waits for the earlier one's end and chooses again.
create or replace function passbell.add_chunk(
    p_chunk passbell.chunks, p_pass_ids uuid[], p_texts text[], p_attempt smallint, p_not_before timestamptz) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_gap  integer := 1;
begin
    loop
        begin
            insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, texts, rendered, claimed_at, attempt, not_before)
            select p_chunk.campaign_id, max(k.chunk_no) + v_gap, p_chunk.program_id, p_pass_ids, p_texts, true, p_chunk.claimed_at, p_attempt, p_not_before
              from passbell.chunks k where k.campaign_id = p_chunk.campaign_id;
            return;
        exception when unique_violation then
            v_gap := v_gap + 1 + (random() * 100)::integer;      -- and a snapshot that does not move shows the same maximum again
        end;
    end loop;
end
$$;
