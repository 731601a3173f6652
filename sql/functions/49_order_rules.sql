-- The rules that every order has to pass before it is written, from SQL, RPC, the command line, the API or the page.
-- Raises PB423 for a suspended program, PB410 for a time more than a minute in the past, PB400 for an audience that this
-- kind of program does not have.
create or replace function passbell.require_order(p_program uuid, p_target text, p_scheduled_at timestamptz) returns void
language plpgsql stable
set search_path = ''
as $$
declare
    v_program  record;
begin
    select g.name, g.suspended, passbell.zone(g.timezone) as zone into v_program from passbell.programs g where g.program_id = p_program;
    if v_program.suspended then
        raise exception 'The program "%" is suspended: nothing may be sent.', v_program.name using errcode = 'PB423';
    elsif p_scheduled_at < passbell.now() - interval '1 minute' then
        raise exception 'The time to send at, % %, is over: name a later one, or none to send at once.',
              case when isfinite(p_scheduled_at) then to_char(p_scheduled_at at time zone v_program.zone, 'YYYY-MM-DD HH24:MI') else p_scheduled_at::text end,
              v_program.zone using errcode = 'PB410';
    end if;
    perform passbell.require_target(p_program, p_target);
end
$$;

-- Refuses (PB400) an order whose audience is NULL or blank, which is usually a variable that was not set; ALL names everybody.
-- In the table an empty target_query still means everybody.
create or replace function passbell.require_audience(p_target text) returns void
language plpgsql immutable
set search_path = ''
as $$
begin
    if coalesce(p_target, '') ~ '^[\s\u00a0\u2000-\u200f\u202f\u205f\u2060\u3000\ufeff]*$' then
        raise exception 'Name the audience: ALL for everybody, or a segment such as VIP.' using errcode = 'PB400';
    end if;
end
$$;

-- Does the order still reach as many phones as were shown before it was confirmed? Raises PB409 with both numbers if not;
-- the error's detail is the present one. p_expected NULL: none were shown.
create or replace function passbell.require_expected(p_reachable bigint, p_expected bigint) returns void
language plpgsql stable
set search_path = ''
as $$
begin
    if p_reachable <> p_expected then
        raise exception 'The audience has changed: % phones now, % when you looked.', passbell.thousands(p_reachable), passbell.thousands(p_expected)
              using errcode = 'PB409', detail = p_reachable::text;
    end if;
end
$$;

-- How long so many pushes take at the rate, and when the last is sent, behind what is being sent already.
create or replace function passbell.time_to_send(p_reachable bigint, p_rate numeric, out seconds numeric, out finishes_at timestamptz)
language plpgsql stable
set search_path = ''
as $$
begin
    seconds := round(p_reachable / p_rate, 1);
    finishes_at := passbell.now() + make_interval(secs => (
        (p_reachable + (select coalesce(sum(c.recipient_count - c.sent_count - c.failed_count - c.skipped_count), 0)
                          from public.push_campaigns c where c.status = 'PROCESSING')) / p_rate)::double precision);
end
$$;

-- When an order for this time (NULL: at once) can begin, and what holds it back until then, a sentence per hindrance;
-- NULL if nothing does. Said before an order is given: dry run, preview, confirmation, answer.
create or replace function passbell.order_outlook(p_program uuid, p_scheduled_at timestamptz default null,
                                                  out starts_at timestamptz, out zone text, out suspended boolean, out notice text)
language plpgsql stable
set search_path = ''
as $$
declare
    v_program  record;
    v_words    text[] := '{}';
begin
    select g.name, g.suspended, g.push_window_start, g.push_window_end, passbell.zone(g.timezone) as zone
      into v_program from passbell.programs g where g.program_id = p_program;
    zone      := v_program.zone;
    suspended := coalesce(v_program.suspended, false);
    starts_at := greatest(passbell.now(), p_scheduled_at);
    if suspended then
        v_words := v_words || format('The program "%s" is suspended: nothing may be sent.', v_program.name);
    end if;
    if p_scheduled_at < passbell.now() - interval '1 minute' and isfinite(p_scheduled_at) then
        v_words := v_words || format('The time to send at, %s %s, is over: an order for it is refused.',
                                     to_char(p_scheduled_at at time zone zone, 'YYYY-MM-DD HH24:MI'), zone);
    end if;
    if not passbell.in_window(starts_at, zone, v_program.push_window_start, v_program.push_window_end) then
        starts_at := ((starts_at at time zone zone)::date
                      + case when (starts_at at time zone zone)::time < v_program.push_window_start then 0 else 1 end
                      + v_program.push_window_start) at time zone zone;
        v_words := v_words || format('Quiet hours: it goes out from %s %s.', to_char(starts_at at time zone zone, 'YYYY-MM-DD HH24:MI'), zone);
    end if;
    if passbell.daemons_running() = 0 then
        v_words := v_words || 'No daemon is running: it waits until `passbell run` is started.'::text;
    end if;
    notice := nullif(array_to_string(v_words, ' '), '');
end
$$;
