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
    return v_freed;
end
$$;
