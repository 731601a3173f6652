-- The rate of a PassKit account: slots for calls, and what PassKit's 429 does to them.

-- Hands out p_n consecutive slots of an account's rate: GCRA, one row, the database's clock. The limit belongs to the
-- PassKit account, so all daemons draw from the same row. The clock never runs behind the present, so unused time is
-- lost and is never caught up in a burst; it never starts before blocked_until (429).
--
-- p_late: by how many seconds a call of this caller left later than the air of a slot allows. The clock moves on by as much.
-- This gap comes after the late call and before the calls, of any daemon, that it could meet within a second. p_late_at: unix
-- seconds of this clock; no call of the caller was late after it. If a gap after p_late_at exists already, of any daemon, only
-- the rest is added.
--
-- Returns: when the first slot starts, the database's time now, and the width of a slot in seconds. The caller turns
-- the first two into its own clock and may start call i at starts_at + i * spacing. A row with a p_rate of its own (a
-- campaign's) is kept at that rate.
drop function if exists passbell.take_slots(text, integer, numeric);
drop function if exists passbell.take_slots(text, integer, numeric, double precision);
create or replace function passbell.take_slots(p_account text, p_n integer, p_rate numeric default null,
    p_late double precision default 0, p_late_at double precision default null,
    out starts_at timestamptz, out clock timestamptz, out spacing double precision)
language plpgsql
set search_path = ''
as $$
declare
    v_limit passbell.rate_limits;
    v_gap   double precision;
begin
    -- Never backwards, and not so far that it looks like a clock set back (below). NaN is more than any number.
    if (length(p_account) <= 200 and p_n between 0 and 100000 and (p_rate is null or p_rate > 0 and p_rate <= 100000)) is not true then
        raise exception 'take_slots needs an account, 0 to 100,000 slots, and a rate above 0 up to 100,000.' using errcode = 'PB400';
    end if;
    v_gap := least(greatest(coalesce(p_late, 0), 0), 10);
    insert into passbell.rate_limits (account, rate_per_second)
    select p_account, coalesce(p_rate, s.rate_per_second) from passbell.settings s
     where not exists (select from passbell.rate_limits l where l.account = p_account)
    on conflict do nothing;

    -- The commit does not wait for the disk: this row is the only one that may lose a change. If the server crashes, the
    -- clock may be up to 0.6 s behind (three rounds of the WAL writer); when the server is up again, the present is later.
    perform set_config('synchronous_commit', 'off', true);
    if (select t.clock_seen_at from passbell.settings t) > clock_timestamp() + interval '1 second' then
        perform passbell.notice_clock();
    end if;
    select * into v_limit from passbell.rate_limits l where l.account = p_account for update;
    v_limit.rate_per_second := coalesce(p_rate, v_limit.rate_per_second);
    spacing := passbell.slot_width(v_limit);
    clock := clock_timestamp();
    -- No reserved slot is this far ahead: some twenty daemons hold a second each, or one slot each if slots are wide. So the
    -- clock was set back and no heartbeat has noticed it yet, or the row comes from a restore.
    if v_limit.next_slot > clock + make_interval(secs => 20 * greatest(1, spacing)) then
        v_limit.next_slot := clock + make_interval(secs => greatest(1, spacing));
        v_limit.gap_at := '-infinity';
    end if;
    if p_n > 1 and p_n * spacing > 15 * greatest(1, spacing) then
        raise exception '% slots at this rate take longer than 15 seconds.', p_n using errcode = 'PB400';
    end if;
    if v_gap > 0 then
        if extract(epoch from v_limit.gap_at) > p_late_at then
            v_gap := greatest(v_gap - v_limit.gap_seconds, 0);
        end if;
        if v_gap > 0 then
            v_limit.gap_at := v_limit.next_slot;
            v_limit.gap_seconds := v_gap;
        end if;
    end if;
    starts_at := greatest(v_limit.next_slot + make_interval(secs => v_gap), v_limit.blocked_until, clock);
    update passbell.rate_limits l
       set next_slot = starts_at + make_interval(secs => p_n * spacing), rate_per_second = v_limit.rate_per_second,
           gap_at = v_limit.gap_at, gap_seconds = v_limit.gap_seconds
     where l.account = p_account;
end
$$;

-- How much wider than 1/rate a slot is: between call k and call k + rate lie 1,008 ms instead of 1,000. The 8 ms are for what
-- happens between a call's slot and its arrival; 99.2 % of the rate is used. The numbers: docs/lab/performance.md, "Goals".
create or replace function passbell.slot_air() returns double precision
language plpgsql immutable
set search_path = ''
as $$ begin return 1.008; end $$;

-- Seconds per call at the rate now: the configured one, or what is left of it after PassKit throttled us. A cut heals
-- by 2 % of the full rate per second.
create or replace function passbell.slot_width(p_limit passbell.rate_limits) returns double precision
language plpgsql stable
set search_path = ''
as $$
begin
    return passbell.slot_air() / greatest(0.1, least(p_limit.rate_per_second,
               coalesce(p_limit.cut_rate + p_limit.rate_per_second * 0.02 * extract(epoch from clock_timestamp() - p_limit.cut_at),
                        p_limit.rate_per_second)))::double precision;
end
$$;

-- PassKit answered 429: the account sends nothing before Retry-After (a quarter of a second if there is none), then at 80 % of
-- the rate, never less than a fifth of the configured one. The cut heals. Reports within a second count as one.
create or replace function passbell.throttle(p_account text, p_seconds numeric default null) returns void
language sql
set search_path = ''
as $$
    update passbell.rate_limits l
       set cut_rate = case when l.cut_at > clock_timestamp() - interval '1 second' then l.cut_rate
                           else greatest(l.rate_per_second * 0.2, 0.8 * (passbell.slot_air() / passbell.slot_width(l))::numeric) end,
           cut_at = case when l.cut_at > clock_timestamp() - interval '1 second' then l.cut_at else clock_timestamp() end,
           blocked_until = greatest(l.blocked_until, clock_timestamp() + make_interval(secs => least(3600, greatest(0, coalesce(p_seconds, 0.25)))::double precision))
     where l.account = p_account
$$;
