-- Daemons: registered, alive, stopped, and dead.

-- Registers a daemon, and sets the account's rate and the cap that previews count with. The daemon then buries dead workers of
-- its own machine (neighbours, bury_workers); leases of daemons elsewhere run out by themselves.
create or replace function passbell.register_worker(
    p_worker uuid, p_host text, p_pid integer, p_process text, p_version text, p_account text, p_rate numeric, p_daily_cap integer) returns void
language plpgsql
set search_path = ''
as $$
begin
    -- The bounds of PASSBELL_RATE_PER_SECOND and PASSBELL_DAILY_CAP. NaN is more than any number.
    if p_worker is null or p_account is null or length(p_account) > 200
       or (p_rate > 0 and p_rate <= 100000) is not true or (p_daily_cap between 0 and 1000) is not true then
        raise exception 'A worker has an id, an account, a rate above 0 up to 100,000 and a daily cap from 0 to 1,000.' using errcode = 'PB400';
    end if;
    perform passbell.look_at_consent();
    insert into passbell.workers (id, host, pid, process, version, account, started_at, heartbeat_at, doing)
    values (p_worker, left(p_host, 200), p_pid, left(p_process, 200), left(p_version, 100), p_account, clock_timestamp(), clock_timestamp(), 'starting')
    on conflict (id) do update set heartbeat_at = clock_timestamp();
    insert into passbell.rate_limits (account, rate_per_second) values (p_account, p_rate)
    on conflict (account) do update set rate_per_second = excluded.rate_per_second
     where passbell.rate_limits.rate_per_second <> excluded.rate_per_second;
    update passbell.settings s set rate_per_second = p_rate, daily_cap = p_daily_cap
     where (s.rate_per_second, s.daily_cap) is distinct from (p_rate, p_daily_cap);
end
$$;

-- Still alive. Forgets workers that were silent for a day, and frees claims of unregistered workers and claims whose
-- lease ran out. False if the worker was forgotten: register again.
create or replace function passbell.heartbeat(p_worker uuid, p_doing text) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_known  boolean;
begin
    perform passbell.notice_clock();
    update passbell.workers w set heartbeat_at = clock_timestamp(), doing = left(p_doing, 200) where w.id = p_worker;
    v_known := found;
    delete from passbell.workers w
     where w.heartbeat_at < clock_timestamp() - interval '1 day' and w.id <> p_worker
       and not exists (select from passbell.chunks k where k.worker = w.id);
    if v_known then
        perform passbell.free_chunks(null);
    end if;
    return v_known;
end
$$;

-- Frees the chunks of these workers, or, with NULL, those that no running daemon holds; returns how many. Their texts stay.
--
-- A claim of an unregistered worker is treated as abandoned: a daemon registers before it claims, and hands everything back
-- before it leaves. It happens if a daemon was killed while its last transaction was under way: the transaction committed
-- after the daemon was buried.
--
-- A chunk whose lease has expired (a machine that disappeared) could be claimed without this function, but only behind all
-- chunks that were ready before; in a huge campaign that takes hours, and other campaigns wait for its passes. Once freed,
-- it comes first.
--
-- Locks chunks in the order of their primary key and skips those that are just being claimed. Uses the index chunks_worker,
-- which holds claimed chunks only.
drop function if exists passbell.free_ownerless();
create or replace function passbell.free_chunks(p_workers uuid[]) returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_freed  integer;
begin
    with held as (
        select k.campaign_id, k.chunk_no from passbell.chunks k
         where k.worker is not null
           and case when p_workers is null then k.lease_until <= passbell.now() or not exists (select from passbell.workers w where w.id = k.worker)
                    else k.worker = any (p_workers) end
         order by k.campaign_id, k.chunk_no for update skip locked
    )
    update passbell.chunks k
       set lease_until = null, claim_token = null, worker = null
      from held h
     where k.campaign_id = h.campaign_id and k.chunk_no = h.chunk_no;
    get diagnostics v_freed = row_count;
    if v_freed > 0 then
        perform passbell.look_from_the_start();
        perform pg_notify('passbell', 'processing');
    end if;
    return v_freed;
end
$$;

-- The other workers on this machine, for the caller to see which of them are dead processes.
create or replace function passbell.neighbours(p_worker uuid, p_namespace text)
returns table (id uuid, process text)
language sql stable
set search_path = ''
as $$
    select w.id, w.process from passbell.workers w where w.id <> p_worker and starts_with(w.process, p_namespace || ':')
$$;

-- Frees the chunks, lists and runs of workers that are certainly dead (the caller has checked). An import is free when its
-- worker is no longer entered (claim_import). Returns the number of chunks.
create or replace function passbell.bury_workers(p_dead uuid[]) returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_freed  constant integer := passbell.free_chunks(coalesce(p_dead, '{}'));
begin
    update passbell.list_loads l set lease_until = null, claim_token = null, worker = null where l.worker = any (p_dead);
    perform passbell.free_runs(p_dead);
    delete from passbell.workers w
     where w.id = any (p_dead) and not exists (select from passbell.chunks k where k.worker = w.id);
    return v_freed;
end
$$;

-- A daemon stops. It may still hold a list that was loading, or a claim whose answer was lost: both are free at once, and the
-- try of a list does not count.
create or replace function passbell.unregister_worker(p_worker uuid) returns void
language sql
set search_path = ''
as $$
    update passbell.list_loads l set lease_until = null, claim_token = null, worker = null, attempt = l.attempt - 1
     where l.worker = p_worker and not l.loaded;
    select passbell.bury_workers(array[p_worker])
$$;
