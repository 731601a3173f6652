-- A claim whose answer was lost. The caller chooses the token of a claim, so it knows the token without the answer: it asks
-- again with the same token and p_again => true, and gets what is held under that token, with a fresh lease. If the claim
-- never arrived, or what it took is another worker's by now, the call claims like any other, under the same token.
-- A caller that has its answer passes p_again => false, and nothing is looked up.

-- The token of a claim; a new one where the caller names none. While an earlier call with the same token is still under
-- way (its caller lost patience, the server did not), this raises 55P03: otherwise one token could hold two things. The
-- advisory lock is the transaction's and waits for nothing.
create or replace function passbell.enter_claim(p_token uuid) returns uuid
language plpgsql
set search_path = ''
as $$
begin
    if p_token is null then
        return gen_random_uuid();
    end if;
    if not pg_try_advisory_xact_lock(uuid_hash_extended(p_token, 0)) then
        raise exception 'an earlier call of claim % is still under way', p_token using errcode = 'lock_not_available';
    end if;
    return p_token;
end
$$;

-- The chunk that a worker holds under a token, as claim_chunk answers it; no row if there is none. A chunk that may not be
-- sent any more as it was handed out (paused, suspended, account not open, a pass left the wallet) is handed back instead:
-- the next claim judges it pass by pass. Uses chunks_worker.
create or replace function passbell.chunk_claimed(p_worker uuid, p_token uuid, p_lease_seconds numeric, p_open text[])
returns table (
    campaign_id uuid, chunk_no integer, claim_token uuid, attempt integer, program_id uuid, kind text, rate_per_second numeric,
    pass_ids text[], passkit_ids text[], external_ids text[], protocols text[], passkit_program_id text, message text, texts text[],
    account text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_chunk  passbell.chunks;
begin
    select k.* into v_chunk from passbell.chunks k where k.worker = p_worker and k.claim_token = p_token for update;
    if not found then
        return;
    end if;
    return query
        select v_chunk.campaign_id, v_chunk.chunk_no, v_chunk.claim_token, v_chunk.attempt::integer, v_chunk.program_id, c.kind, c.rate_per_second,
               v_chunk.pass_ids::text[], m.passkit_ids, m.external_ids, m.protocols, g.passkit_program_id,
               case when v_chunk.texts is null then c.message_text end, v_chunk.texts, v_chunk.account
          from public.push_campaigns c
          join passbell.known_programs() g on g.program_id = v_chunk.program_id
         cross join lateral (
                select array_agg(r.passkit_id order by t.n) as passkit_ids, array_agg(r.external_id order by t.n) as external_ids,
                       array_agg(r.protocol order by t.n) as protocols, count(*) as number
                  from unnest(v_chunk.pass_ids) with ordinality as t (pass_id, n)
                 cross join lateral (
                        select r.passkit_id, r.external_id, r.protocol
                          from passbell.recipients r
                         where r.pass_id = t.pass_id and r.program_id = v_chunk.program_id and r.reachable and r.opted_in
                         limit 1) r) m
         where c.id = v_chunk.campaign_id and c.status = 'PROCESSING' and not g.suspended
           and g.account = coalesce(v_chunk.account, '') and g.account = any (p_open)
           and m.number = cardinality(v_chunk.pass_ids)
         limit 1;
    if found then
        update passbell.chunks k set lease_until = passbell.now() + passbell.lease(p_lease_seconds)
         where k.campaign_id = v_chunk.campaign_id and k.chunk_no = v_chunk.chunk_no;
    else
        update passbell.chunks k set lease_until = null, claim_token = null, worker = null
         where k.campaign_id = v_chunk.campaign_id and k.chunk_no = v_chunk.chunk_no;
        perform passbell.look_from_the_start();
    end if;
end
$$;

-- The list that a worker holds under a token, as claim_campaign answers it; no row if there is none. A list whose campaign
-- is not PENDING any more is handed back.
create or replace function passbell.list_claimed(
    p_worker uuid, p_token uuid, p_lease_seconds integer, out campaign_id uuid, out program_id uuid, out csv_url text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
    update passbell.list_loads l set lease_until = passbell.now() + passbell.lease(p_lease_seconds)
      from public.push_campaigns c
     where l.claim_token = p_token and l.worker = p_worker and not l.loaded
       and c.id = l.campaign_id and c.status = 'PENDING' and btrim(c.csv_upload_url) <> ''
    returning c.id, c.program_id, btrim(c.csv_upload_url) into campaign_id, program_id, csv_url;
    if not found then
        update passbell.list_loads l set lease_until = null, claim_token = null, worker = null, attempt = l.attempt - 1
         where l.claim_token = p_token and l.worker = p_worker and not l.loaded;
    end if;
end
$$;

-- The daily run that a worker holds under a token, with a fresh lease; NULLs if there is none. One of birthdays or of automations.
create or replace function passbell.run_claimed(
    p_birthdays boolean, p_worker uuid, p_token uuid, p_lease_seconds double precision, out subject uuid, out local_date date, out attempt integer)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
    if p_birthdays then
        update passbell.birthday_runs r set lease_until = passbell.now() + passbell.lease(p_lease_seconds)
         where r.worker = p_worker and r.claim_token = p_token and r.completed_at is null
        returning r.program_id, r.local_date, r.attempt into subject, local_date, attempt;
    else
        update passbell.automation_runs r set lease_until = passbell.now() + passbell.lease(p_lease_seconds)
         where r.worker = p_worker and r.claim_token = p_token and r.completed_at is null
        returning r.automation_id, r.local_date, r.attempt into subject, local_date, attempt;
    end if;
end
$$;

drop function if exists passbell.release_orphans(uuid, uuid[]);

-- Chunks were freed that are ready since long before now: claims shall not go on behind them (see next_chunk). In the
-- order of the programs, so that two of these cannot meet halfway.
create or replace function passbell.look_from_the_start() returns void
language sql
set search_path = ''
as $$
    with hinted as materialized (
        select t.program_id from passbell.turns t where t.campaign_id is not null order by t.program_id for update
    )
    update passbell.turns t set campaign_id = null, ready_at = null, chunk_no = null from hinted h where t.program_id = h.program_id
$$;
