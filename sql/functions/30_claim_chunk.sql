-- Hands one chunk of passes to a worker: the heart of the queue. Called by every daemon whenever it has room.
--
-- Which chunk: of the programs that have something ready, the one whose turn lies furthest back; in it, test sends
-- first, then the oldest campaign; in that, the first chunk that nobody holds (never claimed, handed back and due, or
-- leased by someone whose lease ran out). So a campaign of 50 passes starts at once beside one of 1,000,000.
-- `p_busy_programs` are those the caller wants no more of for now, `p_busy_campaigns` likewise.
--
-- What it guarantees. The chunk is leased until now + p_lease_seconds under a fresh claim_token, which every later
-- write must carry (fencing). Members are read as they are now: who was uninstalled, opted out, deleted or capped in
-- the meantime is skipped with the reason. The texts are chosen and stored before anybody is sent anything, so that a
-- repeat after a crash sends identical bytes; a text that the pass may be showing already is varied invisibly
-- (p_same_text 'vary'), skipped ('skip') or sent as it is ('send'). Cap and same text look at the ledger *and* at
-- what other campaigns have in flight; the program's turn row, locked first, puts the claims inside one program in a
-- row, so that two of them cannot overlook each other.
--
-- Uses chunks_ready to find, chunks_rendered for what is in flight, deliveries_pass for what was sent.
-- Returns no row if there is nothing to do, the account's breaker is open, or it is throttled.
create or replace function passbell.claim_chunk(
    p_worker          uuid,
    p_account         text    default '',
    p_lease_seconds   numeric default 60,
    p_daily_cap       integer default 3,
    p_same_text       text    default 'vary',
    p_busy_programs   uuid[]  default '{}',
    p_busy_campaigns  uuid[]  default '{}')
returns table (
    campaign_id uuid, chunk_no integer, claim_token uuid, attempt integer, program_id uuid, kind text, rate_per_second numeric,
    pass_ids text[], passkit_ids text[], external_ids text[], protocols text[], passkit_program_id text, texts text[])
language plpgsql
set search_path = ''
set passbell.engine = 'on'
as $$
#variable_conflict use_column
declare
    v_now       constant timestamptz := passbell.now();
    v_program   uuid;
    v_campaign  public.push_campaigns;
    v_chunk     passbell.chunks;
begin
    if exists (select from passbell.rate_limits l
                where l.account = p_account and (l.breaker = 'open' or l.blocked_until > clock_timestamp() + interval '1 second')) then
        return;
    end if;

    for v_program in
        select t.program_id
          from passbell.turns t
         where t.program_id <> all (p_busy_programs)
           and exists (select from public.push_campaigns c where c.program_id = t.program_id and c.status = 'PROCESSING')
         order by t.last_turn
    loop
        perform from passbell.turns t where t.program_id = v_program for update;
        loop
            v_chunk := passbell.next_chunk(v_program, p_busy_campaigns);
            exit when v_chunk.campaign_id is null;
            select c.* into v_campaign from public.push_campaigns c where c.id = v_chunk.campaign_id;

            v_chunk := passbell.prepare_chunk(v_chunk, v_campaign, p_daily_cap, p_same_text);
            continue when v_chunk.campaign_id is null;      -- everybody in it was skipped: the chunk is gone

            claim_token := gen_random_uuid();
            update passbell.chunks k
               set pass_ids = v_chunk.pass_ids, texts = v_chunk.texts, rendered = true,
                   lease_until = v_now + make_interval(secs => p_lease_seconds), claim_token = claim_chunk.claim_token, worker = p_worker
             where k.campaign_id = v_chunk.campaign_id and k.chunk_no = v_chunk.chunk_no;
            update passbell.turns t set last_turn = clock_timestamp() where t.program_id = v_program;

            campaign_id := v_chunk.campaign_id;
            chunk_no := v_chunk.chunk_no;
            attempt := v_chunk.attempt;
            program_id := v_program;
            kind := v_campaign.kind;
            rate_per_second := v_campaign.rate_per_second;
            select array_agg(i.pass_id::text order by i.n), array_agg(r.passkit_id order by i.n), array_agg(r.external_id order by i.n),
                   array_agg(r.protocol order by i.n), min(r.passkit_program_id),
                   array_agg(coalesce(i.text, v_campaign.message_text) order by i.n)
              into pass_ids, passkit_ids, external_ids, protocols, passkit_program_id, texts
              from unnest(v_chunk.pass_ids, v_chunk.texts) with ordinality as i (pass_id, text, n)
              join (select distinct on (x.pass_id) x.pass_id, x.passkit_id, x.external_id, x.protocol, x.passkit_program_id
                      from passbell.recipients x where x.pass_id = any (v_chunk.pass_ids)) r on r.pass_id = i.pass_id;
            return next;
            return;
        end loop;
    end loop;
end
$$;

-- The next chunk of a program that may be claimed now, locked; NULL if there is none. Quiet hours and the kill switch
-- stop everything but test sends (quiet hours) and everything (suspension).
create or replace function passbell.next_chunk(p_program uuid, p_busy_campaigns uuid[]) returns passbell.chunks
language plpgsql
set search_path = ''
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_open      boolean;
    v_campaign  uuid;
    v_chunk     passbell.chunks;
begin
    select passbell.in_window(v_now, passbell.zone(g.timezone), g.push_window_start, g.push_window_end)
      into v_open
      from passbell.programs g
     where g.program_id = p_program and not g.suspended and g.passkit_program_id is not null;
    if not found then
        return null;
    end if;
    for v_campaign in
        select c.id from public.push_campaigns c
         where c.program_id = p_program and c.status = 'PROCESSING' and c.id <> all (p_busy_campaigns)
           and (v_open or c.kind = 'TEST')
         order by c.kind = 'TEST' desc, c.started_at, c.id
    loop
        select k.* into v_chunk
          from passbell.chunks k
         where k.campaign_id = v_campaign and k.ready_at <= v_now
         order by k.ready_at, k.chunk_no
         limit 1
           for update skip locked;
        if found then
            return v_chunk;
        end if;
    end loop;
    return null;
end
$$;

-- Judges and words a locked chunk: returns it without those who are skipped (their ledger rows and the counters are
-- written here) and with the texts chosen, or NULL if nobody is left, in which case it is deleted.
create or replace function passbell.prepare_chunk(
    p_chunk passbell.chunks, p_campaign public.push_campaigns, p_daily_cap integer, p_same_text text) returns passbell.chunks
language plpgsql
set search_path = ''
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_message   record;
    v_plain     text;
    v_program   text;
    v_skipped   uuid[];
    v_reasons   text[];
    v_keep      uuid[];
    v_texts     text[];
    v_uniform   boolean;
begin
    select m.* into v_message from passbell.compile_message(p_campaign.message_text) m;
    select g.name into v_program from passbell.programs g where g.program_id = p_chunk.program_id;
    v_plain := case when v_message.fields = '{}' then format(v_message.layout) end;

    with todo as (
        select i.n, i.pass_id, i.text as fixed
          from unnest(p_chunk.pass_ids, p_chunk.texts) with ordinality as i (pass_id, text, n)
    ), flight as (              -- what other campaigns have under way for the same passes
        select f.pass_id, array_agg(hashtextextended(coalesce(f.text, o.message_text), 0)) as hashes
          from passbell.chunks k
          join public.push_campaigns o on o.id = k.campaign_id
          cross join lateral unnest(k.pass_ids, k.texts) as f (pass_id, text)
         where not p_chunk.rendered and k.program_id = p_chunk.program_id and k.rendered and k.campaign_id <> p_chunk.campaign_id
           and f.pass_id = any (p_chunk.pass_ids)
         group by f.pass_id
    ), member as (
        select distinct on (t.n) t.n, t.pass_id, t.fixed, r.pass_id is null as gone, r.reachable, r.opted_in,
               r.points, r.first_name, r.last_name, r.tier_points, past.sent_today, past.shown, flight.hashes
          from todo t
          left join passbell.recipients r on r.pass_id = t.pass_id and r.program_id = p_chunk.program_id
          left join flight on flight.pass_id = t.pass_id
          left join lateral (
                select count(*) filter (where d.outcome = 'sent' and d.sent_at > v_now - interval '24 hours') as sent_today,
                       array_agg(d.text_hash) filter (where d.newer_sent = 0 and d.text_hash is not null) as shown
                  from (select d.sent_at, d.outcome, d.text_hash,
                               count(*) filter (where d.outcome = 'sent')
                                   over (order by d.sent_at desc rows between unbounded preceding and 1 preceding) as newer_sent
                          from passbell.deliveries d
                         where d.pass_id = t.pass_id
                         order by d.sent_at desc
                         limit greatest(p_daily_cap, 0) + 4) d) past on not p_chunk.rendered
         order by t.n
    ), worded as (
        select m.*,
               case
                   when m.fixed is not null then m.fixed
                   when p_chunk.rendered then v_plain
                   else coalesce(v_plain, passbell.render_message(v_message.layout, v_message.fields, v_message.fallbacks, m.points,
                                                                  m.first_name, m.last_name, m.tier_points, v_program))
               end as text
          from member m
    ), judged as (
        select w.n, w.pass_id, w.fixed, w.text, w.shown || w.hashes as shown,
               case
                   when w.gone then 'unknown_member'
                   when not w.reachable then 'not_installed'
                   when not w.opted_in then 'opted_out'
                   when not p_chunk.rendered and p_daily_cap > 0
                        and coalesce(w.sent_today, 0) + coalesce(cardinality(w.hashes), 0) >= p_daily_cap then 'capped'
                   when w.text is null then 'render_error'
                   when not p_chunk.rendered and w.fixed is null and p_same_text = 'skip'
                        and hashtextextended(w.text, 0) = any (w.shown || w.hashes) then 'same_text'
               end as reason
          from worded w
    )
    select array_agg(j.pass_id order by j.n) filter (where j.reason is not null),
           array_agg(j.reason order by j.n) filter (where j.reason is not null),
           array_agg(j.pass_id order by j.n) filter (where j.reason is null),
           array_agg(case when j.fixed is not null or p_chunk.rendered or p_same_text <> 'vary' or j.shown is null then j.text
                          else passbell.vary_from(j.text, j.shown) end order by j.n) filter (where j.reason is null)
      into v_skipped, v_reasons, v_keep, v_texts
      from judged j;

    if v_skipped is not null then
        insert into passbell.deliveries (campaign_id, pass_id, sent_at, attempts, outcome, reason)
        select p_chunk.campaign_id, s.pass_id, v_now, p_chunk.attempt, case when s.reason = 'render_error' then 'failed' else 'skipped' end, s.reason
          from unnest(v_skipped, v_reasons) as s (pass_id, reason);
    end if;
    if v_keep is null then
        delete from passbell.chunks k where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    elsif v_skipped is not null then
        update passbell.chunks k set pass_ids = v_keep, texts = v_texts
         where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    end if;
    if v_skipped is not null then
        update public.push_campaigns c
           set skipped_count = skipped_count + (select count(*) from unnest(v_reasons) r where r <> 'render_error'),
               failed_count  = failed_count  + (select count(*) from unnest(v_reasons) r where r = 'render_error')
         where c.id = p_chunk.campaign_id;
    end if;
    if v_keep is null then
        perform passbell.settle_campaign(p_chunk.campaign_id);
        return null;
    end if;

    -- Everybody gets the message as it stands: nothing to store.
    v_uniform := v_plain is not null and p_campaign.message_text = all (v_texts);
    p_chunk.pass_ids := v_keep;
    p_chunk.texts := case when not v_uniform then v_texts end;
    return p_chunk;
end
$$;
