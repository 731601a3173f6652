-- Limits on how often a member is messaged: a program's own over days and weeks, and members who get no messages for now. Judged at the last
-- check of the claim, like the daily cap. Of two campaigns that are due together the higher priority is claimed first; the
-- other meets the limit and is skipped, never queued up for later.

-- The program's limits: at most `max` messages in `days` days, at least `hours` hours between two. `since`: a pass whose newest
-- message is older need not be looked at more closely; NULL where nothing is limited. Tests are exempt. A day is 24 hours,
-- whatever zone the session is in.
create or replace function passbell.contact_policy(
    p_program uuid, p_kind text, out max integer, out days integer, out hours integer, out since timestamptz)
language plpgsql stable
set search_path = ''
as $$
begin
    if p_kind = 'TEST' then
        return;
    end if;
    select case when g.push_max_days > 0 and g.push_max >= 0 then g.push_max end, case when g.push_max >= 0 and g.push_max_days > 0 then g.push_max_days end,
           case when g.push_min_hours > 0 then g.push_min_hours end
      into max, days, hours
      from passbell.programs g where g.program_id = p_program limit 1;
    since := passbell.now() - greatest(make_interval(hours => days * 24), make_interval(hours => hours));
end
$$;

-- Would one more message be one too many for the pass? p_waiting: how many other campaigns have under way for it.
create or replace function passbell.is_too_often(p_pass uuid, p_max integer, p_days integer, p_hours integer, p_waiting integer) returns boolean
language plpgsql stable
set search_path = ''
as $$
declare
    v_now  constant timestamptz := passbell.now();
begin
    if p_hours is not null
       and (p_waiting > 0
            or (select true from passbell.deliveries d
                 where d.pass_id = p_pass and d.sent_at > v_now - make_interval(hours => p_hours) and d.outcome = 'sent'
                 order by d.sent_at desc limit 1) is true) then
        return true;
    end if;
    return p_max is not null
       and (select count(*) from (select d.outcome from passbell.deliveries d     -- skips have no text, and there may be any number of them
                                   where d.pass_id = p_pass and d.sent_at > v_now - make_interval(hours => p_days * 24) and d.text_hash is not null
                                   order by d.sent_at desc limit 1000) d where d.outcome = 'sent') + p_waiting >= p_max;
end
$$;

-- The external ids of a program that are suppressed now, folded; NULL if there are none. Tests are exempt.
create or replace function passbell.suppressed_ids(p_program uuid, p_kind text) returns text[]
language plpgsql stable
set search_path = ''
as $$
begin
    if p_kind = 'TEST' then
        return null;
    end if;
    return (select array_agg(lower(btrim(s.external_id)))
              from public.push_suppressions s
             where s.program_id = p_program and coalesce(s.until, 'infinity') > passbell.now());
end
$$;

-- Does the member get no messages for now? Asked only where the program has such members; suppressed_ids is for counting.
create or replace function passbell.is_suppressed(p_program uuid, p_external_id text) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return (select true from public.push_suppressions s
             where s.program_id = p_program and lower(btrim(s.external_id)) = lower(btrim(p_external_id))
               and coalesce(s.until, 'infinity') > passbell.now()
             limit 1) is true;
end
$$;

-- Before every write to push_suppressions: checks what was typed, and notes who wrote it. Raises PB400, PB404.
create or replace function passbell.suppression_guard() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    new.external_id := btrim(coalesce(new.external_id, ''));
    new.reason := nullif(left(btrim(new.reason), 500), '');
    if new.external_id = '' then
        raise exception 'external_id is empty: name the member.' using errcode = 'PB400';
    elsif length(new.external_id) > 500 then
        raise exception 'external_id is longer than 500 characters.' using errcode = 'PB400';
    elsif tg_op = 'UPDATE' and new.program_id is distinct from old.program_id then
        raise exception 'A suppression stays with its program: make a new one.' using errcode = 'PB422';
    end if;
    perform passbell.require_known_program(new.program_id);
    if tg_op = 'INSERT' then
        new.created_by := passbell.caller();
        new.created_at := passbell.now();
    else
        new.id := old.id;   new.created_by := old.created_by;   new.created_at := old.created_at;
    end if;
    return new;
end
$$;

create or replace trigger passbell_guard before insert or update on public.push_suppressions
    for each row execute function passbell.suppression_guard();
