-- A view or a row security function of the host's may hang where work is chosen for all programs. The daemon's calls are cut
-- then (Database.fetch, cut_after). The relation is noted in passbell.host_hangs, and the next calls go on without it:
--
--   programs        the programs are read one at a time into passbell.program_copies, and work is chosen by the copies. One that
--                   hangs by itself costs one claim its time at each look; its campaigns are set aside with the sentence
--   users           opt-outs cannot be read, so nothing is sent (04_consent)
--   push_campaigns  the orders themselves cannot be read, so none starts
--
-- Each is tried again with growing pauses. users and push_campaigns are one table for all tenants: no part can be left out.

-- The programs as the choice of work sees them: passbell.programs, or their copies while it hangs. A program whose row cannot
-- be read is missing. Without a search path, so that it is inlined and only one of the two is read.
create or replace function passbell.known_programs()
returns table (program_id uuid, name text, account text, passkit_account text, passkit_program_id text, suspended boolean,
               timezone text, push_window_start time, push_window_end time)
language sql stable
as $$
    select g.program_id, g.name, g.account, g.passkit_account, g.passkit_program_id, g.suspended, g.timezone, g.push_window_start, g.push_window_end
      from passbell.programs g
     where not exists (select from passbell.host_hangs h where h.relation = 'programs')
    union all
    select c.program_id, c.name, c.account, c.passkit_account, c.passkit_program_id, c.suspended, c.timezone, c.push_window_start, c.push_window_end
      from passbell.program_copies c
     where c.hangs_since is null and exists (select from passbell.host_hangs h where h.relation = 'programs')
$$;

-- Is the program unknown only because its copy is not made yet? Chunks that are handed out go on for that moment.
create or replace function passbell.is_not_copied(p_program uuid) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from passbell.host_hangs h where h.relation = 'programs')
       and not exists (select from passbell.program_copies c where c.program_id = p_program)
$$;

-- Was the call cut by its time-out, and not by a person or by a daemon that stops? A time-out strikes after seconds.
create or replace function passbell.was_cut() returns boolean
language sql volatile
set search_path = ''
as $$ select clock_timestamp() - statement_timestamp() >= interval '3 seconds' $$;

-- The host's function that was at work, by the context of an error; NULL if it shows none.
create or replace function passbell.rule_at_work(p_context text) returns text
language sql immutable
set search_path = ''
as $$
    select m.parts[1]
      from regexp_matches(coalesce(p_context, ''), E'function "?([^\\s"(]+)', 'g') with ordinality as m (parts, n)
     where m.parts[1] !~ '^passbell[.]'
     order by m.n limit 1
$$;

-- Notes that a relation was not read in time. A look counts once, however many sessions were cut in it.
create or replace function passbell.note_hang(p_relation text, p_message text, p_context text) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now     constant timestamptz := passbell.this_moment();
    v_rule    constant text := passbell.rule_at_work(p_context);
    v_reason  constant text := case p_relation when 'users' then 'Opt-outs cannot be read: the' else 'Waiting: the' end
                               || format(' database did not allow enough time to read %s%s (%s).',
                                         case p_relation when 'push_campaigns' then 'public.push_campaigns' when 'users' then 'public.users' else 'all programs at once' end,
                                         coalesce(', in its function ' || v_rule, ''), passbell.host_words(p_message))
                               || case p_relation when 'users' then ' Nothing is sent until they can be.' else '' end;
begin
    if p_relation = 'users' and not coalesce(row_security_active(to_regclass('public.users')), false) then
        return;     -- without row security nothing can hang there: the server itself stood still
    end if;
    insert into passbell.host_hangs (relation, since, looks, next_look_at, reason)
    values (p_relation, v_now, 1, v_now + passbell.pause_after(1, false), v_reason)
    on conflict do nothing;
    if not found then
        perform from passbell.host_hangs h where h.relation = p_relation for update skip locked;
        if found then
            update passbell.host_hangs h
               set looks = h.looks + 1, next_look_at = v_now + passbell.pause_after(h.looks + 1, false), reason = v_reason
             where h.relation = p_relation and h.next_look_at <= v_now;
        end if;
    end if;
    if p_relation = 'users' then
        update passbell.settings s set consent_problem = v_reason where s.consent_problem is distinct from v_reason;
    end if;
    raise warning 'passbell: %', v_reason;
exception when lock_not_available then
    null;       -- another session notes the same
end
$$;

-- Does the relation hang, and is its next look not due yet? Then the sentence.
create or replace function passbell.hang_words(p_relation text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return (select h.reason from passbell.host_hangs h where h.relation = p_relation and h.next_look_at > passbell.now());
end
$$;

-- Renews the copies, one session at a time; where the look at all of them is due and works, copies are over. Called by each
-- quick claim of a campaign. False if it has used up its caller's time.
create or replace function passbell.copy_programs() returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_now      constant timestamptz := passbell.now();
    v_due      boolean;
    v_program  uuid;
    v_context  text;
    v_message  text;
begin
    if not exists (select from passbell.host_hangs h where h.relation = 'programs') then
        return true;
    end if;
    select h.next_look_at <= v_now into v_due from passbell.host_hangs h where h.relation = 'programs' for update skip locked;
    if not found then
        return true;        -- another session is at it
    end if;
    begin
        if v_due then
            perform max(hashtext(g::text)) from passbell.programs g;
            delete from passbell.host_hangs h where h.relation = 'programs';
            delete from passbell.program_copies;
            return true;
        end if;
        for v_program in
            select o.program_id
              from (select distinct c.program_id from public.push_campaigns c
                     where (c.status = 'PENDING' or c.status = 'PROCESSING') and c.program_id is not null) o
              left join passbell.program_copies p on p.program_id = o.program_id
             where p.program_id is null or p.next_look_at <= v_now
             order by p.hangs_since nulls first, p.read_at nulls first, o.program_id
        loop
            delete from passbell.program_copies p
             where p.program_id = v_program and not exists (select from passbell.programs g where g.program_id = v_program);
            insert into passbell.program_copies as p (program_id, name, account, passkit_account, passkit_program_id, suspended, timezone,
                                                      push_window_start, push_window_end, read_at, next_look_at)
            select g.program_id, g.name, g.account, g.passkit_account, g.passkit_program_id, g.suspended, g.timezone,
                   g.push_window_start, g.push_window_end, v_now, v_now + interval '1 second'
              from passbell.programs g where g.program_id = v_program limit 1
            on conflict (program_id) do update
               set name = excluded.name, account = excluded.account, passkit_account = excluded.passkit_account,
                   passkit_program_id = excluded.passkit_program_id, suspended = excluded.suspended, timezone = excluded.timezone,
                   push_window_start = excluded.push_window_start, push_window_end = excluded.push_window_end,
                   read_at = excluded.read_at, next_look_at = excluded.next_look_at, hangs_since = null, looks = 0;
        end loop;
    exception when query_canceled then
        if not passbell.was_cut() then
            raise;
        end if;
        get stacked diagnostics v_context = pg_exception_context, v_message = message_text;
        if v_program is null then
            perform passbell.note_hang('programs', v_message, v_context);
        else
            perform passbell.note_hanging_program(v_program, v_message, v_context);
        end if;
        return false;
    end;
    return true;
end
$$;

-- One program's row was not read in time: its campaigns are set aside until the next look.
create or replace function passbell.note_hanging_program(p_program uuid, p_message text, p_context text) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now   constant timestamptz := passbell.this_moment();
    v_next  timestamptz;
begin
    insert into passbell.program_copies as p (program_id, read_at, hangs_since, looks, next_look_at)
    values (p_program, v_now, v_now, 1, v_now + passbell.pause_after(1, false))
    on conflict (program_id) do update
       set hangs_since = coalesce(p.hangs_since, v_now), looks = p.looks + 1, next_look_at = v_now + passbell.pause_after(p.looks + 1, false)
    returning p.next_look_at into v_next;
    insert into passbell.set_aside as a (campaign_id, since, next_look_at, reason)
    select c.id, v_now, v_next, format('Waiting: the database did not allow enough time to read the program of this campaign%s (%s).',
                                       coalesce(', in its function ' || passbell.rule_at_work(p_context), ''), passbell.host_words(p_message))
      from public.push_campaigns c
     where c.program_id = p_program and (c.status = 'PENDING' or c.status = 'PROCESSING')
     order by c.id
    on conflict (campaign_id) do update
       set looks = a.looks + 1, reason = excluded.reason, next_look_at = greatest(a.next_look_at, excluded.next_look_at);
end
$$;
