-- Hands one chunk of passes to a worker: the heart of the queue. Called by every daemon whenever it has room.
--
-- Which chunk: of the programs that have something ready, the one that was served longest ago; in it, test sends
-- first, then the oldest campaign; in that, the first chunk that no worker holds (never claimed, handed back and due, or
-- with an expired lease). So a campaign of 50 passes starts at once beside one of 1,000,000.
-- Only programs of `p_accounts` are looked at ('' is the daemon's own, whose limit stands under p_account); the chunk says whose
-- it is. `p_busy_programs` are those the caller wants no more of for now, test sends excepted; `p_busy_campaigns` are campaigns it
-- wants no more of, or programs of which it wants nothing at all.
--
-- A campaign with a rate of its own is handed out in parts of some seconds (passbell.part_of), and only when its next slot
-- is near: it must not occupy a place in which another could be served.
--
-- What it guarantees. The chunk is leased until now + p_lease_seconds under a claim_token, which every later write must
-- carry (fencing): p_token, chosen anew by the caller for every claim. Asked again with the same token after its answer was
-- lost (p_again), it answers with what is held under it (33_claimed_again). Members are read as they are now: a member who
-- was uninstalled, opted out, deleted or capped in the meantime is skipped with the reason. The texts are chosen and stored before any pass is sent, so that a
-- repeat after a crash sends identical bytes; a text that the pass may be showing already is varied invisibly
-- (p_same_text 'vary'), skipped ('skip') or sent as it is ('send'). A pass has one message under way at a time: a pass
-- that another campaign is sending to is postponed by one second. Otherwise a repeat of the earlier text could overtake
-- the later one, and the phone would buzz twice. The program's turn row, locked first, puts the
-- claims inside one program in a row, so that two of them cannot overlook each other.
--
-- The texts come in `texts`, beside pass_ids; or, if all passes get the same, once in `message`, and texts is NULL.
--
-- Uses chunks_ready to find, chunks_in_flight for what is in flight, deliveries_pass for what was sent. The search goes on
-- where the last claim found its chunk (passbell.turns): before it lie the entries of finished chunks, all of them as long
-- as some old snapshot is held, and each would be looked at again (measured: 30 ms per claim after 20,000 chunks).
-- If a claim has skipped 5,000 passes and found none to send to (a large audience at its daily cap), it commits that and
-- notifies the daemons. A longer transaction would outlast its caller's time-out, be rolled back, and begin again for ever.
-- Returns no row if there is nothing to do, the account's breaker is open, or it is throttled.
--
-- What goes wrong with one campaign stops that one: a chunk that cannot be judged is looked through pass by pass
-- (passbell.sift_chunk), and if no pass is at fault the campaign is set aside with a sentence (25_set_aside). No lock is
-- waited for longer than half a second, and none while another program could be served instead: programs whose turn
-- another session holds come last.
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
    v_passed    integer := 0;     -- passes of chunks of which none stayed
    v_busy      uuid[];           -- campaigns that are not claimed from now
    v_aside     boolean;
    v_open      text[];           -- accounts that may send now
    v_accounts  boolean;          -- whether a program names an account
    v_context   text;
    v_message   text;
    v_token     constant uuid := passbell.enter_claim(p_token);
begin
    if p_worker is null or coalesce(p_same_text, '') not in ('vary', 'skip', 'send') then
        raise exception 'claim_chunk needs a worker, and vary, skip or send as p_same_text.' using errcode = 'PB400';
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
    -- What is rare is asked for in one question; details are read only where there is some.
    select p_busy_campaigns || array(select o.campaign_id from passbell.owed_counts o), exists (select from passbell.set_aside),
           exists (select from passbell.known_programs() g where g.passkit_account is not null)
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
    if p_again then         -- the last claim was lost, perhaps by a rule of the host's that ends the session: another program first
        v_turns := v_turns[2:] || v_turns[1:1];
    end if;
    v_count := coalesce(cardinality(v_turns), 0);
    while v_next < cardinality(v_turns) loop
        v_next := v_next + 1;
        v_turn := v_turns[v_next];
        v_program := v_turn.program_id;
        continue when not passbell.has_ready_chunk(v_turn, v_busy, v_program = any (p_busy_programs), v_now);
        if v_next <= v_count then
            select t.* into v_turn from passbell.turns t where t.program_id = v_program for update skip locked;
            if not found then           -- another session is claiming there: the others first
                v_turns := v_turns || v_turns[v_next];
                continue;
            end if;
        else
            -- A claim waits only while it holds no turn: two claims that each hold one and wait for the other's are a deadlock.
            exit when v_holding;
            begin
                select t.* into v_turn from passbell.turns t where t.program_id = v_program for update;
            exception when lock_not_available then
                return;
            end;
        end if;
        v_holding := true;
        loop
            begin
                v_chunk := passbell.next_chunk(v_turn, v_busy, v_program = any (p_busy_programs), v_now);
            exception when query_canceled then
                if not passbell.was_cut() then
                    raise;
                end if;
                get stacked diagnostics v_context = pg_exception_context, v_message = message_text;
                perform passbell.note_hang('programs', v_message, v_context);
                perform passbell.note_hanging_program(v_program, v_message, v_context);
                perform pg_notify('passbell', 'processing');
                return;
            end;
            exit when v_chunk.campaign_id is null;
            v_turn.campaign_id := v_chunk.campaign_id;
            v_turn.ready_at := v_chunk.ready_at;
            v_turn.chunk_no := v_chunk.chunk_no;
            select c.* into v_campaign from public.push_campaigns c where c.id = v_chunk.campaign_id;

            begin
                v_ready := passbell.prepare_chunk(v_chunk, v_campaign, p_daily_cap, p_same_text);
            exception when query_canceled or assert_failure or others then
                if passbell.is_conflict(sqlstate) then
                    raise;
                end if;
                if sqlstate = '57014' then
                    if not passbell.was_cut() then      -- a person's cancel, or the daemon stops
                        raise;
                    end if;
                    perform passbell.put_hanging_aside(v_chunk.campaign_id, v_program, sqlerrm);
                    update passbell.turns t set last_turn = clock_timestamp() where t.program_id = v_program;
                    perform pg_notify('passbell', 'processing');
                    return;         -- without a time-out for what is left of it; the daemons go on with the next claim
                end if;
                if not passbell.sift_chunk(v_chunk, v_campaign, sqlstate, sqlerrm) then
                    v_busy := v_busy || v_chunk.campaign_id;
                end if;
                continue;
            end;
            if v_ready.pass_ids is null then             -- all in it were skipped or postponed
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
