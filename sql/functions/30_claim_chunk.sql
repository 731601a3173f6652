-- Hands one chunk of passes to a worker: the heart of the queue. Called by every daemon whenever it has room.
--
-- Which chunk: of the programs that have something ready, the one whose turn lies furthest back; in it, test sends
-- first, then the oldest campaign; in that, the first chunk that nobody holds (never claimed, handed back and due, or
-- leased by someone whose lease ran out). So a campaign of 50 passes starts at once beside one of 1,000,000.
-- Only programs of `p_accounts` are looked at ('' is the daemon's own, whose limit stands under p_account); the chunk says whose
-- it is. `p_busy_programs` are those the caller wants no more of for now, test sends excepted; `p_busy_campaigns` are campaigns it
-- wants no more of, or programs of which it wants nothing at all.
--
-- A campaign with a rate of its own is handed out in parts of some seconds (passbell.part_of), and only when its next slot
-- is near: it must not occupy a place in which another could be served.
--
-- What it guarantees. The chunk is leased until now + p_lease_seconds under a claim_token, which every later write must
-- carry (fencing): p_token, chosen anew by the caller for every claim. Asked again with the same token after its answer was
-- lost (p_again), it answers with what stands under it (33_claimed_again). Members are read as they are now: who was uninstalled, opted out, deleted or capped in
-- the meantime is skipped with the reason. The texts are chosen and stored before anybody is sent anything, so that a
-- repeat after a crash sends identical bytes; a text that the pass may be showing already is varied invisibly
-- (p_same_text 'vary'), skipped ('skip') or sent as it is ('send'). A pass has one message under way at a time: a pass
-- that another campaign is sending to is postponed by one second. Otherwise a repeat of the earlier text could overtake
-- the later one, and the phone would buzz twice. The program's turn row, locked first, puts the
-- claims inside one program in a row, so that two of them cannot overlook each other.
--
-- The texts come in `texts`, beside pass_ids; or, when everybody gets the same, once in `message`, and texts is NULL.
--
-- Uses chunks_ready to find, chunks_in_flight for what is in flight, deliveries_pass for what was sent. The search goes on
-- where the last claim found its chunk (passbell.turns): before it lie the entries of finished chunks, all of them as long
-- as some old snapshot is held, and each would be looked at again (measured: 30 ms per claim after 20,000 chunks).
-- A claim that has skipped 5,000 and found nobody to send to (a large audience at its daily cap) commits that and rings
-- the daemons: in one transaction it would outlast its caller's patience, be rolled back, and begin anew for ever.
-- Returns no row if there is nothing to do, the account's breaker is open, or it is throttled.
--
-- What goes wrong with one campaign stops that one: a chunk that cannot be judged is looked through pass by pass
-- (passbell.sift_chunk), and if no pass is at fault the campaign is set aside with a sentence (25_set_aside). No lock is
-- waited for longer than half a second, and none while another program could be served instead: programs whose turn
-- somebody holds come last.
drop function if exists passbell.claim_chunk(uuid, text, numeric, integer, text, uuid[], uuid[]);
drop function if exists passbell.claim_chunk(uuid, text, numeric, integer, text, uuid[], uuid[], text[]);
drop function if exists passbell.claim_chunk(uuid, text, numeric, integer, text, uuid[], uuid[], text[], uuid, boolean);
create function passbell.claim_chunk(
    p_worker          uuid,
    p_account         text    default '',
    p_lease_seconds   numeric default 60,
    p_daily_cap       integer default 3,
    p_same_text       text    default 'vary',
    p_busy_programs   uuid[]  default '{}',
    p_busy_campaigns  uuid[]  default '{}',
    p_accounts        text[]  default array[''],
    p_token           uuid    default null,
    p_again           boolean default false)
returns table (
    campaign_id uuid, chunk_no integer, claim_token uuid, attempt integer, program_id uuid, kind text, rate_per_second numeric,
    pass_ids text[], passkit_ids text[], external_ids text[], protocols text[], passkit_program_id text, message text, texts text[],
    account text)
language plpgsql
set search_path = ''
set lock_timeout = '500ms'
set plan_cache_mode = 'force_generic_plan'     -- planning anew would cost as much as running it; holds for what is called below
set enable_seqscan = off                       -- and a plan made while a table was empty must not scan it when it is full
set jit = off                                  -- which makes any plan that must scan look dear enough to be compiled
as $$
#variable_conflict use_column
declare
    v_now       constant timestamptz := passbell.now();
    v_program   uuid;
    v_turn      passbell.turns;
    v_campaign  public.push_campaigns;
    v_chunk     passbell.chunks;
    v_ready     record;
    v_turns     passbell.turns[];
    v_count     integer;
    v_next      integer := 0;
    v_holding   boolean := false;
    v_passed    integer := 0;     -- passes of chunks of which nobody stayed
    v_busy      uuid[];           -- campaigns that are not claimed from now
    v_aside     boolean;
    v_open      text[];           -- accounts that may send now
    v_accounts  boolean;          -- whether a program names an account
    v_token     constant uuid := passbell.enter_claim(p_token);
begin
    if p_worker is null or coalesce(p_same_text, '') not in ('vary', 'skip', 'send') then
        raise exception 'claim_chunk wants a worker, and for p_same_text vary, skip or send.' using errcode = 'PB400';
    end if;
    if p_accounts = array[''] then      -- the daemon's own alone: asked here, because it is so nearly always
        perform from passbell.rate_limits l where l.account = p_account and (l.breaker = 'open' or l.blocked_until > clock_timestamp() + interval '1 second');
        v_open := case when found then '{}' else p_accounts end;
    else
        v_open := passbell.open_accounts(p_accounts, p_account);
    end if;
    if p_again then
        return query select * from passbell.chunk_claimed(p_worker, v_token, p_lease_seconds, v_open);
        if found then
            return;
        end if;
        v_holding := true;      -- a chunk was handed back, perhaps, and turns are locked
    end if;
    if v_open = '{}' then
        return;
    end if;
    -- What there is only at times is asked in one question, and looked at more closely where there is some.
    select p_busy_campaigns || array(select o.campaign_id from passbell.owed_counts o), exists (select from passbell.set_aside),
           exists (select from passbell.programs g where g.passkit_account is not null)
      into v_busy, v_aside, v_accounts;
    if v_aside then
        v_busy := v_busy || array(select a.campaign_id from passbell.set_aside a where a.next_look_at > v_now);
    end if;
    select array_agg(t order by t.last_turn) into v_turns
      from passbell.turns t
     where (t.program_id in (select c.program_id from public.push_campaigns c
                              where c.status = 'PROCESSING' and c.id <> all (v_busy)
                                and (c.kind = 'TEST' or c.program_id <> all (p_busy_programs)))) is true;     -- hashed, never a join
    if v_accounts or ('' = any (v_open)) is not true then
        v_turns := (select array_agg(t order by t.last_turn) from unnest(v_turns) t
                     where t.program_id not in (select unnest(passbell.programs_elsewhere(v_open))));
    end if;
    v_count := coalesce(cardinality(v_turns), 0);
    while v_next < cardinality(v_turns) loop
        v_next := v_next + 1;
        v_turn := v_turns[v_next];
        v_program := v_turn.program_id;
        continue when not passbell.has_ready_chunk(v_turn, v_busy, v_program = any (p_busy_programs), v_now);
        if v_next <= v_count then
            select t.* into v_turn from passbell.turns t where t.program_id = v_program for update skip locked;
            if not found then           -- somebody is claiming there: the others first
                v_turns := v_turns || v_turns[v_next];
                continue;
            end if;
        else
            -- Waiting is for who holds nothing yet: two claims that each hold a turn and wait for the other's are a deadlock.
            exit when v_holding;
            begin
                select t.* into v_turn from passbell.turns t where t.program_id = v_program for update;
            exception when lock_not_available then
                return;
            end;
        end if;
        v_holding := true;
        loop
            v_chunk := passbell.next_chunk(v_turn, v_busy, v_program = any (p_busy_programs), v_now);
            exit when v_chunk.campaign_id is null;
            v_turn.campaign_id := v_chunk.campaign_id;
            v_turn.ready_at := v_chunk.ready_at;
            v_turn.chunk_no := v_chunk.chunk_no;
            select c.* into v_campaign from public.push_campaigns c where c.id = v_chunk.campaign_id;

            begin
                v_ready := passbell.prepare_chunk(v_chunk, v_campaign, p_daily_cap, p_same_text);
            exception when assert_failure or others then
                if passbell.is_conflict(sqlstate) then
                    raise;
                end if;
                if not passbell.sift_chunk(v_chunk, v_campaign, sqlstate, sqlerrm) then
                    v_busy := v_busy || v_chunk.campaign_id;
                end if;
                continue;
            end;
            if v_ready.pass_ids is null then             -- everybody in it was skipped or put off
                v_passed := v_passed + cardinality(v_chunk.pass_ids);
                continue when v_passed < 5000;
                update passbell.turns t set last_turn = clock_timestamp() where t.program_id = v_program;
                perform pg_notify('passbell', 'processing');
                return;
            end if;

            claim_token := v_token;
            passkit_program_id := v_ready.passkit_program_id;
            account := v_ready.account;
            update passbell.chunks k
               set pass_ids = case when v_ready.everybody then k.pass_ids else v_ready.pass_ids end,
                   texts = case when not v_ready.uniform then v_ready.texts end, rendered = true,
                   uncertain = v_chunk.rendered,
                   lease_until = v_now + passbell.lease(p_lease_seconds),
                   claim_token = claim_chunk.claim_token, worker = p_worker, claimed_at = v_now, account = claim_chunk.account
             where k.campaign_id = v_chunk.campaign_id and k.chunk_no = v_chunk.chunk_no;
            if v_aside then
                delete from passbell.set_aside a where a.campaign_id = v_chunk.campaign_id;
            end if;
            update passbell.turns t
               set last_turn = clock_timestamp(), campaign_id = v_turn.campaign_id, ready_at = v_turn.ready_at, chunk_no = v_turn.chunk_no
             where t.program_id = v_program;

            campaign_id := v_chunk.campaign_id;
            chunk_no := v_chunk.chunk_no;
            attempt := v_chunk.attempt;
            program_id := v_program;
            kind := v_campaign.kind;
            rate_per_second := v_campaign.rate_per_second;
            pass_ids := v_ready.pass_ids::text[];
            passkit_ids := v_ready.passkit_ids;
            external_ids := v_ready.external_ids;
            protocols := v_ready.protocols;
            message := case when v_ready.uniform then v_campaign.message_text end;
            texts := case when not v_ready.uniform then v_ready.texts end;
            return next;
            return;
        end loop;
    end loop;
end
$$;

-- A chunk could not be judged. The passes are read one by one, each in a subtransaction: those that cannot be read are
-- recorded as render_error with the database's words, and the chunk goes on without them (true). If no pass is at fault,
-- or all are and it is not for a value, the campaign is set aside (false).
create or replace function passbell.sift_chunk(
    p_chunk passbell.chunks, p_campaign public.push_campaigns, p_sqlstate text, p_message text) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_message  record;
    v_pass     uuid;
    v_bad      uuid[] := array[]::uuid[];
    v_words    text[] := array[]::text[];
begin
    if not passbell.is_passing(p_sqlstate) and p_sqlstate not like '42%' then
        select m.* into v_message from passbell.compile_message(p_campaign.message_text) m;
        foreach v_pass in array p_chunk.pass_ids loop
            begin
                perform r.reachable, r.opted_in, r.passkit_id, r.external_id, r.protocol,
                        case when v_message.fields <> '{}' then
                             passbell.render_message(v_message.layout, v_message.fields, v_message.fallbacks, r.points, r.first_name, r.last_name, r.tier_points, '')
                        end
                   from passbell.recipients r
                  where r.pass_id = v_pass and r.program_id = p_chunk.program_id
                 offset 0;
            exception when assert_failure or others then
                v_bad := v_bad || v_pass;
                v_words := v_words || passbell.host_words(sqlerrm);
            end;
        end loop;
    end if;
    if v_bad = '{}' or p_sqlstate not like '22%' and cardinality(v_bad) = cardinality(p_chunk.pass_ids) then
        perform passbell.put_aside(p_chunk.campaign_id, p_sqlstate, passbell.refusal('to hand out the next passes of this campaign', p_sqlstate, p_message));
        return false;
    end if;
    insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, outcome, reason, detail, text)
    select p_chunk.campaign_id, b.pass_id, case when p_chunk.rendered then coalesce(p_chunk.claimed_at, passbell.now()) else passbell.now() end,
           case when p_chunk.rendered then hashtextextended(coalesce(t.text, p_campaign.message_text), 0) end, p_chunk.attempt,
           'failed', 'render_error', b.words, case when p_chunk.rendered then coalesce(t.text, p_campaign.message_text) end
      from unnest(v_bad, v_words) as b (pass_id, words)
      left join unnest(p_chunk.pass_ids, p_chunk.texts) as t (pass_id, text) on t.pass_id = b.pass_id;
    if cardinality(v_bad) = cardinality(p_chunk.pass_ids) then
        delete from passbell.chunks k where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    else
        update passbell.chunks k
           set pass_ids = g.pass_ids, texts = case when p_chunk.texts is not null then g.texts end
          from (select array_agg(t.pass_id order by t.n) as pass_ids, array_agg(t.text order by t.n) as texts
                  from unnest(p_chunk.pass_ids, p_chunk.texts) with ordinality as t (pass_id, text, n)
                 where t.pass_id <> all (v_bad)) g
         where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    end if;
    perform passbell.book_outcomes(p_chunk.campaign_id, 0, cardinality(v_bad), 0, null, true);
    return true;
end
$$;

-- Whether a program has a chunk that nobody holds. First where the last claim left off, then from the far end of
-- chunks_ready: what was claimed and deleted lies at its near end until vacuum comes by.
drop function if exists passbell.has_ready_chunk(uuid, uuid[]);
drop function if exists passbell.has_ready_chunk(uuid, uuid[], boolean);
create or replace function passbell.has_ready_chunk(p_turn passbell.turns, p_busy_campaigns uuid[], p_tests_only boolean, p_now timestamptz) returns boolean
language plpgsql stable
set search_path = ''
set enable_sort = off          -- never the primary key and a sort, whatever little is known of the table
as $$
begin
    if p_turn.program_id = any (p_busy_campaigns) then
        return false;
    end if;
    perform from public.push_campaigns c
      where c.program_id = p_turn.program_id and c.status = 'PROCESSING' and c.id <> all (p_busy_campaigns)
        and (c.kind = 'TEST' or not p_tests_only)
        and (c.rate_per_second is null or passbell.is_slot_near(c.id))
        and (c.id = p_turn.campaign_id
             and (select true from passbell.chunks k
                   where k.campaign_id = c.id and (k.ready_at, k.chunk_no) > (p_turn.ready_at, p_turn.chunk_no) and k.ready_at <= p_now
                   order by k.ready_at, k.chunk_no
                   limit 1)
             or (select true from passbell.chunks k
                  where k.campaign_id = c.id and k.ready_at <= p_now
                  order by k.ready_at desc, k.chunk_no desc
                  limit 1))
      limit 1;
    return found;
end
$$;

-- The next chunk of a program that may be claimed now, locked; NULL if there is none. Quiet hours and the kill switch
-- stop everything but test sends (quiet hours) and everything (suspension). First behind the chunk that was found last;
-- only when nothing is ready there, from the beginning: somebody may have held a chunk for a moment when we passed it.
drop function if exists passbell.next_chunk(uuid, uuid[]);
drop function if exists passbell.next_chunk(passbell.turns, uuid[]);
drop function if exists passbell.next_chunk(passbell.turns, uuid[], boolean);
create or replace function passbell.next_chunk(p_turn passbell.turns, p_busy_campaigns uuid[], p_tests_only boolean, p_now timestamptz) returns passbell.chunks
language plpgsql
set search_path = ''
set enable_sort = off          -- never the primary key and a sort, whatever little is known of the table
as $$
declare
    v_open      boolean;
    v_campaign  record;
    v_chunk     passbell.chunks;
begin
    select g.push_window_start is null or passbell.in_window(p_now, passbell.zone(g.timezone), g.push_window_start, g.push_window_end)
      into v_open
      from passbell.programs g
     where g.program_id = p_turn.program_id and not g.suspended and g.passkit_program_id is not null
       and (select s.consent_problem from passbell.settings s) is null;
    if not found then
        return null;
    end if;
    for v_campaign in
        select c.id, c.rate_per_second from public.push_campaigns c
         where c.program_id = p_turn.program_id and c.status = 'PROCESSING' and c.id <> all (p_busy_campaigns)
           and (c.kind = 'TEST' or (v_open and not p_tests_only))
           and (c.rate_per_second is null or passbell.is_slot_near(c.id))
         order by c.kind = 'TEST' desc, c.priority desc, c.started_at, c.id
    loop
        if v_campaign.id = p_turn.campaign_id then
            select k.* into v_chunk
              from passbell.chunks k
             where k.campaign_id = v_campaign.id and (k.ready_at, k.chunk_no) > (p_turn.ready_at, p_turn.chunk_no) and k.ready_at <= p_now
             order by k.ready_at, k.chunk_no
             limit 1
               for update skip locked;
        end if;
        if v_chunk.campaign_id is null then
            select k.* into v_chunk
              from passbell.chunks k
             where k.campaign_id = v_campaign.id and k.ready_at <= p_now
             order by k.ready_at, k.chunk_no
             limit 1
               for update skip locked;
        end if;
        if v_chunk.campaign_id is not null then
            if v_campaign.rate_per_second is null then
                return v_chunk;
            end if;
            return passbell.part_of(v_chunk, v_campaign.rate_per_second);
        end if;
    end loop;
    return null;
end
$$;

-- Whether the next slot of a campaign's own rate begins within three seconds, a little more than a poll. Before, a claim of
-- it would only wait in the caller's hands: 70 campaigns at one push in ten seconds would fill them.
create or replace function passbell.is_slot_near(p_campaign uuid) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return (select l.next_slot <= clock_timestamp() + interval '3 seconds'
              from passbell.rate_limits l where l.account = 'campaign:' || p_campaign) is not false;
end
$$;

-- The part of a locked chunk that is handed out: of a campaign with a rate of its own, five seconds of its work. The rest
-- becomes a chunk of its own, behind the others.
drop function if exists passbell.part_of(passbell.chunks);
create or replace function passbell.part_of(p_chunk passbell.chunks, p_rate numeric) returns passbell.chunks
language plpgsql
set search_path = ''
as $$
declare
    v_size  integer;
begin
    v_size := greatest(1, least(5 * p_rate, cardinality(p_chunk.pass_ids)));
    if v_size >= cardinality(p_chunk.pass_ids) then
        return p_chunk;
    end if;
    insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, texts, rendered, attempt, not_before, claimed_at, uncertain, keep_texts)
    select k.campaign_id, (select max(o.chunk_no) from passbell.chunks o where o.campaign_id = k.campaign_id) + 1, k.program_id,
           k.pass_ids[v_size + 1 :], k.texts[v_size + 1 :], k.rendered, k.attempt, k.not_before, k.claimed_at, k.uncertain, k.keep_texts
      from passbell.chunks k
     where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    update passbell.chunks k
       set pass_ids = k.pass_ids[: v_size], texts = k.texts[: v_size]
     where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no
    returning k.* into p_chunk;
    return p_chunk;
end
$$;

-- Judges and words a locked chunk. Those who are skipped get their ledger rows and the counters here; those whom
-- another campaign has under way are put off in a chunk of their own; those who stay come back as parallel arrays with
-- the texts chosen. pass_ids is NULL if nobody stays. `uniform` says that everybody gets message_text as it stands, so
-- that no texts need be stored; `everybody`, that all stay, so that the ids need not be written again.
--
-- A repeat (a chunk that was handed out before, and whose outcome nobody knows) is not sent to a pass that another
-- campaign has reached since, or may have reached, which can happen only while this one was paused: the phone shows the
-- newer text by now, and would buzz a second time for the older one. It is recorded as failed, for a person to decide.
-- While that other campaign, handed out later, still has the pass under way, the repeat waits for what becomes of it;
-- the one that was handed out last waits for nobody.
--
-- One statement, once per pass of every campaign, so it asks for little: recipients without the columns that only
-- placeholders need (those are read where a text is rendered), and the newest message in the ledger. Only a pass whose
-- newest message is of the last 24 hours, or failed, is looked at more closely.
--
-- The plan is made once per session, perhaps on the day of the installation, when a table is read as a whole for as
-- little as one row of it, and kept while the tables fill. So nothing is left to choose: `offset 0` makes the pass an
-- index lookup of its own, `order by … limit` pins deliveries_pass (not the ledger's primary key from end to end).
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
    v_failed      integer;
    v_zero        boolean;
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
               not v_fresh and (not coalesce(flight.under_way, true)        -- paused, and nobody knows what it has sent
                                or passbell.is_reached_since(t.pass_id, p_chunk.claimed_at)) as overtaken,
               case when last.sent_at > v_day then
                        (select count(*) from (select d.outcome from passbell.deliveries d
                                                where d.pass_id = t.pass_id and d.sent_at > v_day
                                                order by d.sent_at desc limit 1000) d where d.outcome = 'sent')
                    else 0 end + coalesce(cardinality(flight.hashes), 0) as today,
               v_limits and (last.sent_at > v_since or flight.hashes is not null)
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
                         -- The last check of all: those held back have passed every other, like those who are sent (65_results).
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

    if v_later is not null and pass_ids is null and v_skipped is null then
        update passbell.chunks k set not_before = v_now + interval '1 second'
         where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
        return;
    end if;
    everybody := v_skipped is null and v_later is null;
    if everybody then
        return;
    end if;

    perform from public.push_campaigns c where c.id = p_chunk.campaign_id for no key update;
    if v_later is not null then
        insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, texts, keep_texts, rendered, uncertain, claimed_at, attempt, not_before)
        select p_chunk.campaign_id, max(k.chunk_no) + 1, p_chunk.program_id, v_later,
               case when p_chunk.keep_texts or p_chunk.rendered and p_chunk.texts is not null then v_later_texts end,
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
                when s.reason = 'render_error' and v_zero and passbell.balance_unreadable(s.pass_id) then 'The member''s balance cannot be read.' end,
           case when s.reason = 'attempts_exhausted' then s.text end
      from unnest(v_skipped, v_reasons, v_texts) as s (pass_id, reason, text);
    if pass_ids is null then
        delete from passbell.chunks k where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    end if;
    if v_skipped is not null then
        v_failed := cardinality(array_positions(v_reasons, 'render_error')) + cardinality(array_positions(v_reasons, 'attempts_exhausted'));
        perform passbell.engine_begins();
        update public.push_campaigns c
           set skipped_count = skipped_count + cardinality(v_reasons) - v_failed, failed_count = failed_count + v_failed
         where c.id = p_chunk.campaign_id;
        perform passbell.engine_ends();
    end if;
    if pass_ids is null then
        perform passbell.settle_campaign(p_chunk.campaign_id);
    end if;
end
$$;

-- What other campaigns of the program have handed out for these passes since p_since and nobody has reported yet: the
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

-- What a pass may be showing whose newest message is not known to have arrived: that and those before it, down to the
-- last that was sent.
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
