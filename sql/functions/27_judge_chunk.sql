-- Which passes of a chunk are sent to, and which text: judged when the chunk is claimed, by the data of that moment.

-- Judges a locked chunk and chooses its texts. Skipped passes get their ledger rows and counters here; passes that another
-- campaign is sending to are postponed in a chunk of their own; passes that stay are returned as parallel arrays with their
-- texts. pass_ids is NULL if none stays. `uniform`: all get message_text unchanged, so no texts need be stored. `everybody`:
-- all stay, so the ids need not be written again.
--
-- A repeat (a chunk that was handed out before, with an unknown outcome) is not sent to a pass that another
-- campaign has reached since, or may have reached, which can happen only while this one was paused: the phone shows the
-- newer text by now, and would buzz a second time for the older one. It is recorded as failed, for a person to decide.
-- While that other campaign, handed out later, still has the pass under way, the repeat waits for what becomes of it;
-- the one that was handed out last does not wait.
--
-- This runs once per pass of every campaign, so it reads little: recipients without the columns that only placeholders
-- need (those are read where a text is rendered), and the newest message in the ledger. Older messages are read only if
-- the newest is of the last 24 hours, or failed.
--
-- The plan is made once per session, perhaps on empty tables, and kept while they fill (sql/README.md, "How plans are
-- held"). So it is fixed: `offset 0` makes each pass an index lookup of its own, `order by … limit` pins deliveries_pass.
drop function if exists passbell.prepare_chunk(passbell.chunks, public.push_campaigns, integer, text);
create function passbell.prepare_chunk(
    p_chunk passbell.chunks, p_campaign public.push_campaigns, p_daily_cap integer, p_same_text text,
    out pass_ids uuid[], out texts text[], out passkit_ids text[], out external_ids text[], out protocols text[],
    out uniform boolean, out everybody boolean, out passkit_program_id text, out account text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_now         constant timestamptz := passbell.now();
    v_day         constant timestamptz := v_now - interval '24 hours';
    v_fresh       constant boolean := not p_chunk.rendered;   -- first claim: choose texts, judge the cap
    v_message     record;
    v_plain       text;
    v_plain_hash  bigint;
    v_worded      text[];             -- texts with placeholders, beside the ids
    v_program     text;
    v_lot         passbell.holdouts;
    v_draws       boolean := false;   -- whether some are held back to measure
    v_since       timestamptz;        -- see contact_policy
    v_max         integer;
    v_days        integer;
    v_hours       integer;
    v_limits      boolean;            -- whether the program limits days or weeks
    v_suppresses  boolean;            -- whether it has members who get no messages for now
    v_skipped     uuid[];
    v_reasons     text[];
    v_texts       text[];
    v_later       uuid[];
    v_later_texts text[];
    v_zero        boolean;            -- whether a member without a balance is told 0 points
begin
    select g.name, g.passkit_program_id, nullif(g.account, ''), g.push_max_days > 0 or g.push_min_hours > 0,
           exists (select from public.push_suppressions s where s.program_id = p_chunk.program_id and coalesce(s.until, 'infinity') > v_now)
      into v_program, passkit_program_id, account, v_limits, v_suppresses
      from passbell.programs g where g.program_id = p_chunk.program_id;
    v_suppresses := v_suppresses and p_campaign.kind <> 'TEST';
    if v_fresh and v_limits then
        select o.max, o.days, o.hours, o.since into v_max, v_days, v_hours, v_since from passbell.contact_policy(p_chunk.program_id, p_campaign.kind) o;
        v_limits := v_since is not null;
    else
        v_limits := false;
    end if;
    if v_fresh and not p_chunk.keep_texts and p_campaign.holdout_percent is distinct from 0 then
        select h.* into v_lot from passbell.holdouts h where h.campaign_id = p_chunk.campaign_id;
        v_draws := coalesce(v_lot.percent > 0, false);
    end if;
    if position('{' in p_campaign.message_text) = 0 then      -- braces were judged when the campaign was started
        v_plain := p_campaign.message_text;
    else
        v_message := passbell.compile_message(p_campaign.message_text);
        v_plain := case when v_message.fields = '{}' then format(v_message.layout) end;
    end if;
    if v_plain is not null then
        v_plain_hash := hashtextextended(v_plain, 0);
    else
        v_zero := passbell.says_zero(v_message.fields, v_message.fallbacks);
        v_worded := array(
            select case when t.text is null then
                       (select case when v_zero and (w.points is null or w.tier_points is null) and passbell.balance_unreadable(w.pass_id) then null
                                    else passbell.render_message(v_message.layout, v_message.fields, v_message.fallbacks, w.points,
                                                                 w.first_name, w.last_name, w.tier_points, v_program) end
                          from passbell.recipients w where w.pass_id = t.pass_id and w.program_id = p_chunk.program_id limit 1) end
              from unnest(p_chunk.pass_ids, p_chunk.texts) with ordinality as t (pass_id, text, n)
             order by t.n);
    end if;

    with member as (              -- distinct, because a host that lost a primary key may show a pass twice
        select distinct on (t.n) t.n, t.pass_id, t.text as fixed, r.pass_id is null as gone, r.reachable, r.opted_in,
               r.passkit_id, r.external_id, r.protocol, r.user_id, coalesce(flight.under_way, false) as under_way,
               not v_fresh and (not coalesce(flight.under_way, true)        -- paused, and it is not known what it has sent
                                or passbell.is_reached_since(t.pass_id, p_chunk.claimed_at)) as overtaken,
               case when last.sent_at > v_day then
                        (select count(*) from (select d.outcome from passbell.deliveries d
                                                where d.pass_id = t.pass_id and d.sent_at > v_day
                                                order by d.sent_at desc limit 1000) d where d.outcome = 'sent')
                    else 0 end + coalesce(cardinality(flight.hashes), 0) as today,
               v_limits and (v_max = 0 or last.sent_at > v_since or flight.hashes is not null)
                   and passbell.is_too_often(t.pass_id, v_max, v_days, v_hours, coalesce(cardinality(flight.hashes), 0)) as too_often,
               -- What the pass may be showing: the last text sent, any since that may have landed, any in flight.
               case
                   when last.outcome = 'sent' then array[last.text_hash]
                   when last.outcome is not null then passbell.may_show(t.pass_id)
               end || flight.hashes as shown,
               coalesce(t.text, v_plain, t.worded) as text
          from unnest(p_chunk.pass_ids, p_chunk.texts, v_worded) with ordinality as t (pass_id, text, worded, n)
          left join lateral (
                select r.pass_id, r.reachable, r.opted_in, r.passkit_id, r.external_id, r.protocol, r.user_id
                  from passbell.recipients r
                 where r.pass_id = t.pass_id and r.program_id = p_chunk.program_id
                offset 0) r on true
          left join passbell.in_flight(p_chunk.program_id, p_chunk.campaign_id, p_chunk.pass_ids,
                                       case when v_fresh then '-infinity' else p_chunk.claimed_at end) flight
                 on flight.pass_id = t.pass_id
          -- Skips have no text: they reach no phone, and there may be any number of them.
          left join lateral (
                select d.outcome, d.sent_at, d.text_hash from passbell.deliveries d
                 where d.pass_id = t.pass_id and d.text_hash is not null
                 order by d.sent_at desc
                 limit 1) last on v_fresh
         order by t.n
    ), judged as (
        select m.*,
               v_fresh and m.fixed is null and coalesce(v_plain_hash, hashtextextended(m.text, 0)) = any (m.shown) as same,
               case
                   when m.gone then 'unknown_member'
                   when not m.reachable then 'not_installed'
                   when not m.opted_in then 'opted_out'
                   when v_suppresses and passbell.is_suppressed(p_chunk.program_id, m.external_id) then 'suppressed'
                   when m.overtaken then 'attempts_exhausted'
                   when m.under_way then null
                   when v_fresh and p_daily_cap > 0 and m.today >= p_daily_cap then 'capped'
                   when m.too_often then 'too_often'
                   when m.text is null then 'render_error'
               end as reason
          from member m
        offset 0        -- judged once; else each of the aggregates below would have a copy of all of it
    ), decided as (
        select j.*, case when j.reason is not null then j.reason
                         when j.under_way then 'later'
                         when j.same and p_same_text = 'skip' then 'same_text'
                         -- The last check of all: those held back have passed every other, like those who are sent (57_results).
                         when v_draws and passbell.is_held_out(coalesce(j.user_id, j.pass_id), v_lot.salt, v_lot.percent) then 'held_out' end as verdict,
               case when j.same and p_same_text = 'vary' and j.reason is null then passbell.vary_from(j.text, j.shown) else j.text end as final
          from judged j
        offset 0
    )
    select array_agg(d.pass_id) filter (where d.verdict <> 'later'), array_agg(d.verdict) filter (where d.verdict <> 'later'),
           array_agg(d.text) filter (where d.verdict <> 'later'),
           array_agg(d.pass_id) filter (where d.verdict = 'later'), array_agg(d.fixed) filter (where d.verdict = 'later'),
           array_agg(d.pass_id) filter (where d.verdict is null), array_agg(d.final) filter (where d.verdict is null),
           array_agg(d.passkit_id) filter (where d.verdict is null), array_agg(d.external_id) filter (where d.verdict is null),
           array_agg(d.protocol) filter (where d.verdict is null),
           bool_and(d.final = p_campaign.message_text) filter (where d.verdict is null)
      into v_skipped, v_reasons, v_texts, v_later, v_later_texts, pass_ids, texts, passkit_ids, external_ids, protocols, uniform
      from decided d;

    everybody := v_skipped is null and v_later is null;
    if not everybody then
        perform passbell.set_apart(p_chunk, v_skipped, v_reasons, v_texts, v_later, v_later_texts, pass_ids is not null, v_zero);
    end if;
end
$$;

-- Takes the passes out of a locked chunk that are not sent to now. Skipped ones get their ledger rows, and the campaign's
-- counters move; those that another campaign has under way wait in a chunk of their own. p_stay: whether any pass is left.
-- p_zero: whether a text would say 0 points to a member without a balance.
create or replace function passbell.set_apart(
    p_chunk passbell.chunks, p_skipped uuid[], p_reasons text[], p_texts text[], p_later uuid[], p_later_texts text[], p_stay boolean,
    p_zero boolean) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now     constant timestamptz := passbell.now();
    v_failed  integer;
begin
    if p_later is not null and not p_stay and p_skipped is null then
        update passbell.chunks k set not_before = v_now + interval '1 second'
         where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
        return;
    end if;
    set constraints all immediate;      -- a rule that the host has deferred speaks now: at the commit it would undo the claim, for all programs
    perform from public.push_campaigns c where c.id = p_chunk.campaign_id for no key update;
    if p_later is not null then
        insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, texts, keep_texts, rendered, uncertain, claimed_at, attempt, not_before)
        select p_chunk.campaign_id, max(k.chunk_no) + 1, p_chunk.program_id, p_later,
               case when p_chunk.keep_texts or p_chunk.rendered and p_chunk.texts is not null then p_later_texts end,
               p_chunk.keep_texts, p_chunk.rendered, p_chunk.uncertain, p_chunk.claimed_at, p_chunk.attempt, v_now + interval '1 second'
          from passbell.chunks k where k.campaign_id = p_chunk.campaign_id;
    end if;
    -- Of a repeat the phone may show the text, whatever keeps us from sending it again: dated when it was handed out, so
    -- that what another campaign has sent since counts as newer.
    insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, outcome, reason, detail, text)
    select p_chunk.campaign_id, s.pass_id, case when p_chunk.rendered then coalesce(p_chunk.claimed_at, v_now) else v_now end,
           case when p_chunk.rendered then hashtextextended(s.text, 0) end, p_chunk.attempt,
           case when s.reason in ('render_error', 'attempts_exhausted') then 'failed' else 'skipped' end, s.reason,
           case when s.reason = 'attempts_exhausted' then 'It is not known whether it arrived, and another campaign has reached the pass since.'
                when s.reason = 'render_error' and p_zero and passbell.balance_unreadable(s.pass_id) then 'The member''s balance cannot be read.' end,
           case when s.reason = 'attempts_exhausted' then s.text end
      from unnest(p_skipped, p_reasons, p_texts) as s (pass_id, reason, text);
    if not p_stay then
        delete from passbell.chunks k where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    end if;
    if p_skipped is not null then
        v_failed := cardinality(array_positions(p_reasons, 'render_error')) + cardinality(array_positions(p_reasons, 'attempts_exhausted'));
        perform passbell.engine_begins();
        update public.push_campaigns c
           set skipped_count = skipped_count + cardinality(p_reasons) - v_failed, failed_count = failed_count + v_failed
         where c.id = p_chunk.campaign_id;
        perform passbell.engine_ends();
    end if;
    if not p_stay then
        perform passbell.settle_campaign(p_chunk.campaign_id);
    end if;
end
$$;

-- What other campaigns of the program have handed out for these passes since p_since, without a report yet: the
-- hashes of the texts, and whether they are under way (a paused campaign is not waited for). Uses chunks_in_flight, on
-- either side of the campaign's own entries. Normally there is none; ROWS, so that a claim which meets some joins them
-- by hash.
create or replace function passbell.in_flight(p_program uuid, p_campaign uuid, p_pass_ids uuid[], p_since timestamptz)
returns table (pass_id uuid, hashes bigint[], under_way boolean)
language plpgsql stable rows 1000
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_now     constant timestamptz := passbell.now();
    v_chunk   record;
    v_other   record;
    v_ids     uuid[];
    v_hashes  bigint[];
    v_moving  boolean[];
    v_found   record;
begin
    for v_chunk in
        select k.campaign_id, k.pass_ids, k.texts, k.lease_until
          from (select s.* from passbell.chunks s where s.program_id = p_program and s.rendered and s.campaign_id < p_campaign
                union all
                select s.* from passbell.chunks s where s.program_id = p_program and s.rendered and s.campaign_id > p_campaign) k
         where p_since = '-infinity' or k.claimed_at > p_since
    loop
        select o.message_text, o.status into v_other from public.push_campaigns o where o.id = v_chunk.campaign_id;
        continue when not found;
        select array_agg(f.pass_id) as ids, array_agg(hashtextextended(coalesce(f.text, v_other.message_text), 0)) as hashes
          into v_found
          from unnest(v_chunk.pass_ids, v_chunk.texts) as f (pass_id, text)
         where f.pass_id in (select unnest(p_pass_ids));
        v_ids := v_ids || v_found.ids;
        v_hashes := v_hashes || v_found.hashes;
        v_moving := v_moving || array_fill(v_other.status = 'PROCESSING' or v_chunk.lease_until > v_now, array[coalesce(cardinality(v_found.ids), 0)]);
    end loop;
    if v_ids is not null then
        return query
            select f.pass_id, array_agg(f.hash), bool_or(f.moving)
              from unnest(v_ids, v_hashes, v_moving) as f (pass_id, hash, moving)
             group by f.pass_id;
    end if;
end
$$;

-- Whether another message has reached the pass since then, or may have.
create or replace function passbell.is_reached_since(p_pass uuid, p_since timestamptz) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return (select true from passbell.deliveries d
             where d.pass_id = p_pass and d.sent_at > p_since
               and d.text_hash is not null and coalesce(d.reason, '') not in ('not_found', 'rejected')
             order by d.sent_at desc limit 1) is true;
end
$$;

-- What a pass may be showing if its newest message is not known to have arrived: that message and those before it, down to
-- the last that was sent.
create or replace function passbell.may_show(p_pass uuid) returns bigint[]
language plpgsql stable
set search_path = ''
as $$
declare
    v_shown  bigint[];
    v_last   record;
begin
    for v_last in
        select d.outcome, d.text_hash from passbell.deliveries d
         where d.pass_id = p_pass and d.text_hash is not null
         order by d.sent_at desc
         limit 6
    loop
        v_shown := v_shown || v_last.text_hash;
        exit when v_last.outcome = 'sent';
    end loop;
    return v_shown;
end
$$;
