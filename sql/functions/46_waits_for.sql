-- What a campaign waits for, in a sentence: one rule for the command line, the page and the API. A daemon keeps
-- status_detail (explain_waiting); where none runs, only this can say so. Before an order is made: order_outlook.

-- How many daemons report: each does every five seconds, and counts as gone after thirty.
create or replace function passbell.daemons_running() returns integer
language sql stable
set search_path = ''
as $$
    select count(*)::integer from passbell.workers w where w.heartbeat_at > clock_timestamp() - interval '30 seconds'
$$;

-- What a campaign waits for at this moment, NULL for nothing or if it has ended. Single rows only; the daemons of the
-- last thirty seconds are few.
create or replace function passbell.waits_for(p_campaign uuid) returns text
language plpgsql stable
set search_path = ''
as $$
declare
    v_campaign  record;
    v_zone      text;
    v_words     text;
    v_whose     text;
    v_daemons   constant integer := passbell.daemons_running();
begin
    select c.status, c.kind, c.scheduled_at, g.name, g.suspended, g.timezone, g.push_window_start, g.push_window_end,
           coalesce(g.account, '') as account, l.blocked_until, l.breaker, l.breaker_kind, l.breaker_reason,
           l.cut_at > clock_timestamp() - interval '5 seconds' and l.cut_rate <= l.rate_per_second / 2 as slowed
      into v_campaign
      from public.push_campaigns c
      left join passbell.known_programs() g on g.program_id = c.program_id
      left join passbell.rate_limits l on l.account = passbell.rate_key(g.account, passbell.own_key())
     where c.id = p_campaign and c.status in ('PENDING', 'PROCESSING');
    if not found then
        return null;
    end if;
    v_zone := passbell.zone(v_campaign.timezone);
    v_whose := case when v_campaign.account = '' then '' else format(' for the account "%s"', v_campaign.account) end;
    v_words := case
        when passbell.aside_words(p_campaign) is not null then passbell.aside_words(p_campaign)
        when v_campaign.suspended and v_campaign.status = 'PROCESSING' then
             format('Waiting: the program "%s" is suspended.', v_campaign.name)
        when v_campaign.status = 'PENDING' and v_campaign.scheduled_at > passbell.now() then
             format('Scheduled for %s %s.', to_char(v_campaign.scheduled_at at time zone v_zone, 'YYYY-MM-DD HH24:MI'), v_zone)
        when v_campaign.kind <> 'TEST'
             and not passbell.in_window(passbell.now(), v_zone, v_campaign.push_window_start, v_campaign.push_window_end) then
             format('Quiet hours: holding until %s %s.', to_char(v_campaign.push_window_start, 'HH24:MI'), v_zone)
        when v_daemons > 0 and passbell.account_trouble(v_campaign.account) is not null then passbell.account_trouble(v_campaign.account)
        when v_campaign.status = 'PROCESSING' and v_campaign.breaker = 'open' and v_campaign.breaker_kind = 'credentials' then
             format('Waiting: PassKit refuses the credentials%s (%s).', v_whose, v_campaign.breaker_reason)
        when v_campaign.status = 'PROCESSING' and v_campaign.breaker = 'open' then
             format('Waiting: PassKit does not answer%s (%s).', v_whose, v_campaign.breaker_reason)
        when v_campaign.status = 'PROCESSING' and v_campaign.blocked_until > clock_timestamp() + interval '10 seconds' then
             format('Waiting: PassKit has told the account%s to pause until %s %s (429, too many requests).',
                    replace(v_whose, ' for the account', ''), to_char(v_campaign.blocked_until at time zone v_zone, 'HH24:MI:SS'), v_zone)
        when v_campaign.status = 'PROCESSING' and v_campaign.slowed then
             format('Waiting: PassKit answers 429, too many requests%s.', v_whose)
    end;
    if v_daemons = 0 then
        v_words := concat_ws(' ', v_words, 'No daemon is running: start one with `passbell run`.');
    end if;
    return v_words;
end
$$;
