-- Which campaign is next: the search of passbell.claim_campaign.

-- next_campaign for a call that may be cut: what the host has built may hang here, for all programs (38_host_hangs). It is
-- noted then, and the next call goes on without it. NULL as well if opt-outs cannot be read; explain_waiting says it.
create or replace function passbell.choose_campaign(p_downloads boolean, p_accounts text[], p_patience numeric, p_after_loss boolean) returns public.push_campaigns
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
    v_reading   text := 'users';
    v_context   text;
    v_message   text;
begin
    if passbell.hang_words('push_campaigns') is not null then
        return null;
    end if;
    begin
        if passbell.consent_trouble() is not null then
            return null;
        end if;
        v_reading := 'push_campaigns';
        if coalesce(p_patience, 0) <= passbell.quick_seconds() and not passbell.copy_programs() then
            perform pg_notify('passbell', 'pending');       -- this claim's time is used up
            return null;
        end if;
        if not exists (select from passbell.host_hangs h where h.relation = 'programs') then
            v_reading := 'programs';
        end if;
        v_campaign := passbell.next_campaign(p_downloads, p_accounts, p_patience, p_after_loss);
    exception when query_canceled then
        if not passbell.was_cut() then
            raise;
        end if;
        get stacked diagnostics v_context = pg_exception_context, v_message = message_text;
        perform passbell.note_hang(v_reading, v_message, v_context);
        if v_reading = 'programs' then
            perform pg_notify('passbell', 'pending');
        end if;
        return null;
    end;
    if exists (select from passbell.host_hangs h where h.relation = 'push_campaigns') then
        delete from passbell.host_hangs h where h.relation = 'push_campaigns';
    end if;
    return v_campaign;
end
$$;

-- The campaign that is due and first in line, locked; NULL if there is none. A program has one claim at a time, and one
-- more for a test send, so that its huge audiences or its thousands of tests do not occupy every session. That holds until the
-- end of the transaction, by an advisory lock: chunk claims of the same program need its row of turns meanwhile.
-- Its number changes every minute (private_lock), so that of the minute before is taken as well for as long as a quick
-- claim may have it. Slow programs are locked by their row instead: one claim of theirs may take minutes.
-- p_after_loss: the last claim was lost with its session, perhaps by a rule of the host's that ends it. So the program that is
-- first in line is passed over this once, where another one waits.
drop function if exists passbell.next_campaign(boolean);
drop function if exists passbell.next_campaign(boolean, text[]);
drop function if exists passbell.next_campaign(boolean, text[], numeric);
create or replace function passbell.next_campaign(
    p_downloads boolean, p_accounts text[], p_patience numeric default null, p_after_loss boolean default false) returns public.push_campaigns
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
    v_tests     uuid[] := passbell.programs_elsewhere(p_accounts);      -- programs of other accounts, or of which another session is at a test send
    v_others    uuid[] := v_tests;      -- the same of other campaigns
    v_slow      record;
    v_what      text;
    v_passes    boolean := p_after_loss;
begin
    if p_patience > passbell.quick_seconds() then
        for v_slow in
            select s.program_id, s.tests from passbell.slow_programs s where s.seconds <= p_patience order by s.looked_at
        loop
            perform from passbell.slow_programs s where s.program_id = v_slow.program_id and s.tests = v_slow.tests for update skip locked;
            continue when not found;        -- another daemon is at it
            if v_slow.program_id <> all (v_tests) then
                v_campaign := passbell.first_in_line(p_downloads, case when not v_slow.tests then array[v_slow.program_id] else '{}' end,
                                                     case when v_slow.tests then array[v_slow.program_id] else '{}' end, v_slow.program_id);
                exit when v_campaign.id is not null;
            end if;
            update passbell.slow_programs s set looked_at = clock_timestamp() where s.program_id = v_slow.program_id and s.tests = v_slow.tests;
        end loop;
        return v_campaign;
    elsif p_patience is not null then
        v_tests := v_tests || array(select s.program_id from passbell.slow_programs s where s.tests);
        v_others := v_others || array(select s.program_id from passbell.slow_programs s where not s.tests);
    end if;
    loop
        begin
            v_campaign := passbell.first_in_line(p_downloads, v_tests, v_others);
            v_what := format('claims a %s of %s', case when v_campaign.kind = 'TEST' then 'test' else 'campaign' end, v_campaign.program_id);
            if v_campaign.program_id is null then
                exit;
            elsif v_passes then
                v_passes := false;
            elsif pg_try_advisory_xact_lock(passbell.private_lock(v_what))
                  and pg_try_advisory_xact_lock(passbell.private_lock(v_what, 1.5 * passbell.quick_seconds())) then
                return v_campaign;
            end if;
            raise exception using errcode = 'PB000';       -- takes the lock on the row back
        exception when sqlstate 'PB000' then
            if v_campaign.kind = 'TEST' then
                v_tests := v_tests || v_campaign.program_id;
            else
                v_others := v_others || v_campaign.program_id;
            end if;
        end;
    end loop;
    if p_after_loss and not v_passes then
        return passbell.next_campaign(p_downloads, p_accounts, p_patience);
    end if;
    return v_campaign;
end
$$;

-- The same without the programs named: of their test sends, and of their other campaigns; p_only: of one program. Walks
-- push_campaigns_due, so that thousands which wait behind it are not looked at; every question about one is a scalar
-- subquery, asked only of those that are passed on the way.
drop function if exists passbell.first_in_line(boolean, uuid[], uuid[]);
create or replace function passbell.first_in_line(p_downloads boolean, p_tests uuid[], p_others uuid[], p_only uuid default null) returns public.push_campaigns
language plpgsql
set search_path = ''
set plan_cache_mode = 'force_generic_plan'
set enable_sort = off          -- never all that wait and a sort, whatever little is known of the table
set enable_seqscan = off
set jit = off
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_campaign  public.push_campaigns;
begin
    select c.* into v_campaign
      from public.push_campaigns c
     where c.status = 'PENDING' and (p_only is null or c.program_id = p_only)
       and coalesce(c.scheduled_at, v_now) <= v_now
       and (select a.next_look_at > v_now from passbell.set_aside a where a.campaign_id = c.id) is not true
       and c.program_id <> all (case when c.kind = 'TEST' then p_tests else p_others end) is not false
       and coalesce((select l.loaded or (coalesce(l.lease_until, v_now) <= v_now and l.not_before <= v_now)
                       from passbell.list_loads l where l.campaign_id = c.id), true)
       and (p_downloads or coalesce(btrim(c.csv_upload_url), '') = '' or passbell.has_list(c))
       and (c.kind = 'TEST'
            or coalesce((select g.suspended or g.push_window_start is null
                                or passbell.in_window(v_now, passbell.zone(g.timezone), g.push_window_start, g.push_window_end)
                           from passbell.known_programs() g where g.program_id = c.program_id limit 1), true))
     order by (c.kind = 'TEST') desc, coalesce(c.scheduled_at, c.submitted_at, c.created_at), c.id
     limit 1
       for no key update of c skip locked;
    return v_campaign;
end
$$;
