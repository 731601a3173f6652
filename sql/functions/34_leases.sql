-- What a worker holds: how long still, and whether it may go on with it.

-- Extends the leases a worker holds and tells what it must stop. A token missing from the answer is lost. With go_on = false
-- the worker hands back what is unsent: the campaign was paused or cancelled, its program was suspended or is in its quiet
-- hours (test sends excepted), or opt-outs can no longer be read. Called about twice a second while chunks are in flight, so
-- that a stop takes effect within one second.
create or replace function passbell.renew_leases(p_worker uuid, p_claim_tokens uuid[], p_lease_seconds numeric, p_extend boolean default true)
returns table (claim_token uuid, go_on boolean)
language plpgsql
set search_path = ''
set lock_timeout = '500ms'
as $$
#variable_conflict use_column
declare
    v_sqlstate  text;
    v_context   text;
    v_message   text;
begin
    if p_extend then
        update passbell.chunks k
           set lease_until = passbell.now() + passbell.lease(p_lease_seconds)
         where k.worker = p_worker and k.claim_token = any (p_claim_tokens);
    end if;
    begin
        return query
            select k.claim_token,
                   c.status = 'PROCESSING'
                   and (select s.consent_problem from passbell.settings s) is null
                   and passbell.is_enabled(k.account)
                   and case when g.program_id is null then passbell.is_not_copied(k.program_id)
                            else not g.suspended
                                 and coalesce(k.account, '') = g.account        -- the program may have moved
                                 and (c.kind = 'TEST' or g.push_window_start is null
                                      or passbell.in_window(passbell.now(), passbell.zone(g.timezone), g.push_window_start, g.push_window_end)) end
              from passbell.chunks k
              join public.push_campaigns c on c.id = k.campaign_id
              left join passbell.known_programs() g on g.program_id = k.program_id
             where k.worker = p_worker and k.claim_token = any (p_claim_tokens);
    exception when lock_not_available or query_canceled then      -- the host's tables are under a migration, or hang: the leases stay ours meanwhile
        get stacked diagnostics v_sqlstate = returned_sqlstate, v_context = pg_exception_context, v_message = message_text;
        if v_sqlstate = '57014' then
            if not passbell.was_cut() then
                raise;
            end if;
            perform passbell.note_hang('programs', v_message, v_context);
        end if;
        return query
            select k.claim_token, true from passbell.chunks k where k.worker = p_worker and k.claim_token = any (p_claim_tokens);
    end;
end
$$;

-- The passes in a worker's hands that may no longer be sent: uninstalled, opted out or deleted since they were claimed. The
-- worker asks with every look at its leases, sends them nothing more and hands them back; the next claim skips them with
-- the reason. It names only chunks that it has held for a moment, so that fast ones, read by their claim just now, cost
-- nothing more. One index lookup per pass, as in prepare_chunk.
create or replace function passbell.withdrawn(p_worker uuid, p_claim_tokens uuid[])
returns table (claim_token uuid, pass_ids text[])
language plpgsql stable
set search_path = ''
set lock_timeout = '500ms'
set plan_cache_mode = 'force_generic_plan'
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
begin
    return query
        select k.claim_token, array_agg(t.pass_id::text)
          from passbell.chunks k
         cross join lateral unnest(k.pass_ids) as t (pass_id)
          left join lateral (
                select r.reachable and r.opted_in as wanted
                  from passbell.recipients r
                 where r.pass_id = t.pass_id and r.program_id = k.program_id
                offset 0) r on true
         where k.worker = p_worker and k.claim_token = any (p_claim_tokens) and r.wanted is not true
         group by k.claim_token;
exception when query_canceled or assert_failure or others then    -- a member that cannot be read, or hangs, a table under a migration: no reason to lose the leases
    if sqlstate = '57014' and not passbell.was_cut() then
        raise;
    end if;
    return;
end
$$;
