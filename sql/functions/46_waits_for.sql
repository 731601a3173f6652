-- What a campaign waits for, in a sentence: one rule for the command line, the page and the API. A daemon keeps
-- status_detail (explain_waiting); where none runs, only this can say so. Before an order is made: order_outlook.

-- How many daemons report: each does every five seconds, and counts as gone after thirty.
create or replace function passbell.daemons_running() returns integer
language sql stable
set search_path = ''
as $$
    select count(*)::integer from passbell.workers w where w.heartbeat_at > clock_timestamp() - interval '30 seconds'
$$;

-- What PassKit's answers hold up of an account, by its row of rate_limits, and how it goes on; NULLs for nothing. A pause or a
-- cut rate counts only where it lasts: a pause of ten seconds, a rate cut to half within the last five.
create or replace function passbell.passkit_trouble(p_limit passbell.rate_limits, p_account text, p_zone text, out trouble text, out outlook text)
language plpgsql stable
set search_path = ''
as $$
declare
    v_whose  constant text := case when coalesce(p_account, '') = '' then '' else format(' for the account "%s"', p_account) end;
begin
    if p_limit.breaker = 'open' and p_limit.breaker_kind = 'credentials' then
        trouble := format('Waiting: PassKit refuses the credentials%s (%s).', v_whose, p_limit.breaker_reason);
        outlook := 'No pass is failed; sending goes on by itself when they work again.';
    elsif p_limit.breaker = 'open' then
        trouble := format('Waiting: PassKit does not answer%s (%s).', v_whose, p_limit.breaker_reason);
        outlook := 'No pass is failed; sending goes on by itself when it does.';
    elsif p_limit.blocked_until > clock_timestamp() + interval '10 seconds' then
        trouble := format('Waiting: PassKit has told the account%s to pause until %s %s (429, too many requests).',
                          replace(v_whose, ' for the account', ''), to_char(p_limit.blocked_until at time zone p_zone, 'HH24:MI:SS'), p_zone);
        outlook := 'No pass is failed; sending goes on by itself then.';
    elsif p_limit.cut_at > clock_timestamp() - interval '5 seconds' and p_limit.cut_rate <= p_limit.rate_per_second / 2 then
        trouble := format('Waiting: PassKit answers 429, too many requests%s.', v_whose);
        outlook := 'No pass is failed; sending goes on slowly until PassKit takes more.';
    end if;
end
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
    v_limit     passbell.rate_limits;
    v_words     text;
    v_daemons   constant integer := passbell.daemons_running();
begin
    select c.status, c.kind, c.scheduled_at, g.name, g.suspended, g.timezone, g.push_window_start, g.push_window_end,
           coalesce(g.account, '') as account
      into v_campaign
      from public.push_campaigns c
      left join passbell.known_programs() g on g.program_id = c.program_id
     where c.id = p_campaign and c.status in ('PENDING', 'PROCESSING');
    if not found then
        return null;
    end if;
    v_zone := passbell.zone(v_campaign.timezone);
    select l.* into v_limit from passbell.rate_limits l where l.account = passbell.rate_key(v_campaign.account, passbell.own_key());
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
        when v_campaign.status = 'PROCESSING' then (passbell.passkit_trouble(v_limit, v_campaign.account, v_zone)).trouble
    end;
    if v_daemons = 0 then
        v_words := concat_ws(' ', v_words, 'No daemon is running: start one with `passbell run`.');
    end if;
    return v_words;
end
$$;
