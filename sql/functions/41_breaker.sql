-- The breaker of a PassKit account. Open: no chunk is claimed, no pass is failed, campaigns wait and say
-- why. One daemon at a time probes (claim_probe); a good probe closes it (close_breaker).

-- Opens it. Kind 'credentials' (401, 403) or 'outage' (many failures in a row and the probe fails as well). The pause
-- before the first probe is 1 second; if the breaker had only just been closed (the probe passes, the work does not),
-- it keeps its count, so that the pauses grow to 30 seconds.
create or replace function passbell.open_breaker(p_account text, p_kind text, p_reason text) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_opened  boolean;
begin
    if (length(p_account) <= 200 and p_kind in ('credentials', 'outage')) is not true then
        raise exception 'open_breaker needs an account, and credentials or outage as the kind.' using errcode = 'PB400';
    end if;
    insert into passbell.rate_limits (account) values (p_account) on conflict do nothing;
    update passbell.rate_limits l
       set breaker = 'open', breaker_kind = p_kind, breaker_reason = left(p_reason, 300), opened_at = clock_timestamp(),
           probes = case when l.closed_at > clock_timestamp() - interval '15 seconds' then l.probes else 0 end,
           probe_at = clock_timestamp() + make_interval(secs => case when l.closed_at > clock_timestamp() - interval '15 seconds'
                                                                     then least(30, power(1.5, l.probes)) else 1 end)
     where l.account = p_account and l.breaker = 'closed';
    v_opened := found;
    if v_opened then
        perform passbell.explain_waiting(p_account);
    end if;
    return v_opened;
end
$$;

-- May this daemon probe now? True for one of them, then not again until the pause is over: 1, 1.5, 2.25 … at most 5 s.
create or replace function passbell.claim_probe(p_account text) returns boolean
language plpgsql
set search_path = ''
as $$
begin
    update passbell.rate_limits l
       set probes = l.probes + 1, probe_at = clock_timestamp() + make_interval(secs => least(5, power(1.5, least(l.probes, 20))))
     where l.account = p_account and l.breaker = 'open' and l.probe_at <= clock_timestamp();
    return found;
end
$$;

create or replace function passbell.close_breaker(p_account text) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_closed  boolean;
begin
    update passbell.rate_limits l
       set breaker = 'closed', closed_at = clock_timestamp(), breaker_reason = null, breaker_kind = null
     where l.account = p_account and l.breaker = 'open';
    v_closed := found;
    if v_closed then
        perform passbell.explain_waiting(p_account);
        perform pg_notify('passbell', 'processing');
    end if;
    return v_closed;
end
$$;
