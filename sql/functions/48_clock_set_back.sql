-- A stored time after the jump of the clock: moved back if it lies in the future. Disappears into the statement that calls it.
create or replace function passbell.moved_back(p_time timestamptz, p_now timestamptz, p_jump interval) returns timestamptz
language sql stable
as $$
    select case when p_time > p_now then p_time - p_jump else p_time end
$$;

-- Looks whether the database's clock was set back since the last heartbeat of any daemon; returns by how many seconds, else 0.
-- Called by heartbeat, and by take_slots when a slot would lie behind the jump.
--
-- Stored times (slots, a 429, the next probe, leases, backoff, the turns of programs) are times of the clock before the jump.
-- After a jump of an hour they would all come an hour late. So every stored time in the future is moved back by the jump, once,
-- in one transaction: each is as far ahead as at the last heartbeat, and no slot collides with a reserved one. How long ago
-- that heartbeat was is not known, so everything comes later by up to that time. If the clock is set ahead, nothing has to be
-- moved: the stored times are over.
create or replace function passbell.notice_clock() returns double precision
language plpgsql
set search_path = ''
set lock_timeout = '500ms'
as $$
declare
    v_now   constant timestamptz := clock_timestamp();
    v_seen  timestamptz;
    v_jump  interval;
begin
    select s.clock_seen_at into v_seen from passbell.settings s for no key update skip locked;
    if not found then
        return 0;       -- another session is at it
    end if;
    if v_seen is null or v_seen <= v_now + interval '1 second' then
        update passbell.settings set clock_seen_at = v_now;
        return 0;
    end if;
    v_jump := v_seen - v_now;

    -- Programs and chunks in the order in which claims lock them.
    update passbell.turns t
       set last_turn = passbell.moved_back(t.last_turn, v_now, v_jump),
           campaign_id = null, ready_at = null, chunk_no = null;
    update passbell.chunks k
       set not_before = passbell.moved_back(k.not_before, v_now, v_jump),
           lease_until = passbell.moved_back(k.lease_until, v_now, v_jump),
           claimed_at = passbell.moved_back(k.claimed_at, v_now, v_jump)
     where k.not_before > v_now or k.lease_until > v_now or k.claimed_at > v_now;
    update passbell.rate_limits l
       set next_slot = passbell.moved_back(l.next_slot, v_now, v_jump),
           gap_at = passbell.moved_back(l.gap_at, v_now, v_jump),
           blocked_until = passbell.moved_back(l.blocked_until, v_now, v_jump),
           cut_at = passbell.moved_back(l.cut_at, v_now, v_jump),
           probe_at = passbell.moved_back(l.probe_at, v_now, v_jump),
           opened_at = passbell.moved_back(l.opened_at, v_now, v_jump),
           closed_at = passbell.moved_back(l.closed_at, v_now, v_jump);
    update passbell.list_loads l
       set not_before = passbell.moved_back(l.not_before, v_now, v_jump),
           lease_until = passbell.moved_back(l.lease_until, v_now, v_jump)
     where l.not_before > v_now or l.lease_until > v_now;
    update passbell.import_leases l
       set not_before = passbell.moved_back(l.not_before, v_now, v_jump),
           lease_until = passbell.moved_back(l.lease_until, v_now, v_jump)
     where l.not_before > v_now or l.lease_until > v_now;
    update passbell.birthday_runs r
       set not_before = passbell.moved_back(r.not_before, v_now, v_jump),
           lease_until = passbell.moved_back(r.lease_until, v_now, v_jump)
     where r.completed_at is null and (r.not_before > v_now or r.lease_until > v_now);
    update passbell.automation_runs r
       set not_before = passbell.moved_back(r.not_before, v_now, v_jump),
           lease_until = passbell.moved_back(r.lease_until, v_now, v_jump)
     where r.completed_at is null and (r.not_before > v_now or r.lease_until > v_now);
    update passbell.api_requests r set lease_until = r.lease_until - v_jump where r.lease_until > v_now;
    update passbell.web_sessions s set ends_at = s.ends_at - v_jump where s.ends_at > v_now;
    update passbell.owed_logs o set next_try_at = o.next_try_at - v_jump where o.next_try_at > v_now;
    update passbell.set_aside a
       set next_look_at = passbell.moved_back(a.next_look_at, v_now, v_jump),
           silent_until = passbell.moved_back(a.silent_until, v_now, v_jump)
     where a.next_look_at > v_now or a.silent_until > v_now;
    update passbell.host_hangs h set next_look_at = h.next_look_at - v_jump where h.next_look_at > v_now;
    update passbell.program_copies p
       set next_look_at = passbell.moved_back(p.next_look_at, v_now, v_jump), read_at = least(p.read_at, v_now)
     where p.next_look_at > v_now or p.read_at > v_now;
    update passbell.workers w set heartbeat_at = v_now where w.heartbeat_at > v_now;
    update passbell.settings
       set clock_seen_at = v_now, clock_set_back_at = v_now, clock_set_back_seconds = extract(epoch from v_jump);
    raise warning 'passbell: the clock of the database was set back by % seconds; stored times that lie ahead were moved back by as much', round(extract(epoch from v_jump));
    return extract(epoch from v_jump);
exception when lock_not_available or deadlock_detected then
    return 0;           -- the next heartbeat is there in seconds
end
$$;
