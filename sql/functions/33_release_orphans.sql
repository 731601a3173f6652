-- Frees chunks that stand under the worker's name although it does not know their tokens: a claim whose answer was
-- lost on the wire. The worker calls it between claims, never while one is under way.
create or replace function passbell.release_orphans(p_worker uuid, p_known uuid[]) returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_freed  integer;
begin
    update passbell.chunks k
       set lease_until = null, claim_token = null, worker = null
     where k.worker = p_worker and k.claim_token <> all (p_known);
    get diagnostics v_freed = row_count;
    if v_freed > 0 then
        perform passbell.look_from_the_start();
    end if;
    return v_freed;
end
$$;

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
