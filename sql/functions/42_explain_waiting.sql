-- Keeps status_detail true for campaigns that wait (for the hour, for PassKit, for a suspended program), and clears it when
-- they no longer wait. The campaign loop calls it at every round; it writes only rows whose sentence changes.
--
-- Most campaigns only wait for their turn, and the query leaves them out. The others are visited program by program, so that
-- each zone and window is read once. A campaign then costs a few microseconds, however many there are. (As a join of sets, the
-- planner, which does not know their number, compared every campaign with every program: 0.7 s with 1,000.)
create or replace function passbell.explain_waiting(p_account text default '') returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_limit     passbell.rate_limits;
    v_passkit   record;
    v_campaign  record;
    v_program   uuid;
    v_zone      text;
    v_open      boolean;
    v_words     text;
    v_hold      constant text := passbell.look_at_consent();
    v_troubled  text[];     -- accounts that may not send now
    v_named     boolean;    -- whether some program has an account of its own
    v_unserved  text;
    v_own       constant text := passbell.own_key(p_account);
    v_silent    constant uuid[] := array(select c.program_id from passbell.set_aside a join public.push_campaigns c on c.id = a.campaign_id
                                          where a.silent_until > v_now and c.program_id is not null);
    v_hidden    constant boolean := passbell.hidden_words('public.programs') is not null;
    v_orphaned  constant boolean := passbell.account_trouble('') is not null;     -- programs that name no account
begin
    v_troubled := array(select l.account from passbell.rate_limits l
                         where (l.account = v_own or l.account like 'account:%')
                           and (passbell.passkit_trouble(l, null, null)).outlook is not null);
    v_named := exists (select from passbell.known_programs() g where g.passkit_account is not null and g.account <> '');
    for v_campaign in
        select c.id, c.status, c.status_detail, c.kind, c.scheduled_at, c.program_id,
               g.program_id as known, g.name, g.suspended, g.timezone, g.push_window_start, g.push_window_end, g.account, a.reason as aside
          from public.push_campaigns c
          left join passbell.known_programs() g on g.program_id = c.program_id
          left join passbell.set_aside a on a.campaign_id = c.id
         where (c.status = 'PENDING' or c.status = 'PROCESSING')
           and (c.program_id = any (v_silent)) is not true
           and (c.status_detail ~ '^(Waiting|Quiet hours|Scheduled for)'
                or a.campaign_id is not null
                or v_hold is not null
                or c.status = 'PENDING' and c.scheduled_at > v_now
                or c.status = 'PROCESSING' and (g.suspended or passbell.rate_key(g.account, v_own) = any (v_troubled))
                or v_named and g.account <> ''
                or v_orphaned and coalesce(g.account, '') = ''
                or v_hidden and g.program_id is null
                or c.kind <> 'TEST' and g.push_window_start is not null)
         order by a.campaign_id is not null, c.program_id        -- those last whose row may be slow to change
    loop
        if v_program is distinct from v_campaign.program_id then
            v_program := v_campaign.program_id;
            select l.* into v_limit from passbell.rate_limits l where l.account = passbell.rate_key(v_campaign.account, v_own);
            v_unserved := passbell.account_trouble(coalesce(v_campaign.account, ''));
            v_zone := case when v_campaign.known is not null then passbell.zone(v_campaign.timezone) end;
            v_open := passbell.in_window(v_now, v_zone, v_campaign.push_window_start, v_campaign.push_window_end);
            v_passkit := passbell.passkit_trouble(v_limit, v_campaign.account, v_zone);
        end if;
        v_words := case
            when v_hold is not null then 'Waiting: ' || v_hold
            when v_campaign.aside is not null then regexp_replace(v_campaign.aside, '^(?!Waiting)', 'Waiting: ')
            when v_hidden and v_campaign.known is null then 'Waiting: ' || passbell.no_program(v_campaign.program_id)
            when v_campaign.suspended and v_campaign.status = 'PROCESSING' then
                 format('Waiting: the program "%s" is suspended.', v_campaign.name)
            when v_campaign.scheduled_at > v_now and v_campaign.status = 'PENDING' then
                 format('Scheduled for %s %s.', to_char(v_campaign.scheduled_at at time zone v_zone, 'YYYY-MM-DD HH24:MI'), v_zone)
            when v_campaign.kind <> 'TEST' and not v_open then
                 format('Quiet hours: holding until %s %s.', to_char(v_campaign.push_window_start, 'HH24:MI'), v_zone)
            when v_unserved is not null then v_unserved
            when v_campaign.status = 'PROCESSING' then v_passkit.trouble || ' ' || v_passkit.outlook
        end;
        if v_words is null and coalesce(v_campaign.status_detail, '') !~ '^(Waiting|Quiet hours|Scheduled for)' then
            continue;       -- no sentence, or one of another function
        end if;
        v_words := coalesce(v_words, passbell.list_summary(v_campaign.id));
        if v_words is distinct from v_campaign.status_detail then
            -- SKIP LOCKED: the session that writes the row sets newer words; waiting while holding other rows could deadlock.
            perform from public.push_campaigns c where c.id = v_campaign.id and c.status = v_campaign.status for no key update skip locked;
            if found then
                begin
                    set constraints all immediate;      -- a rule that the host has deferred: at the commit it would undo the words of all
                    perform passbell.engine_begins();
                    update public.push_campaigns c set status_detail = v_words where c.id = v_campaign.id;
                    perform passbell.engine_ends();
                exception when query_canceled or assert_failure or others then      -- a sentence that cannot be written stops nothing
                    if sqlstate = '57014' then      -- a time-out strikes once per statement: the round ends
                        if v_campaign.aside is null then
                            perform passbell.put_aside(v_campaign.id, sqlstate, passbell.refusal('to say what this campaign waits for', sqlstate, sqlerrm));
                        end if;
                        update passbell.set_aside a
                           set silent_until = passbell.now() + 16 * (clock_timestamp() - statement_timestamp())
                         where a.campaign_id = v_campaign.id;
                        return;
                    end if;
                end;
            end if;
        end if;
    end loop;
end
$$;
