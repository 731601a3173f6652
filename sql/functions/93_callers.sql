-- Who may do what, beyond grants: three questions that the rules and policies ask.

-- Does the caller work for the server (its owner, a superuser, service_role, the daemon)? Everybody else acts for a
-- person and only for that person's programs. Asked of the role that the request was made under, which stays visible
-- inside SECURITY DEFINER functions; a role that nobody has thought of is a person's.
create or replace function passbell.acts_for_server() returns boolean
language sql stable
set search_path = ''
as $$
    select r.rolbypassrls or has_table_privilege(r.oid, 'passbell.settings', 'select')
      from pg_catalog.pg_roles r
     where r.rolname = coalesce(nullif(current_setting('role', true), 'none'), session_user)
$$;

-- The programs of the signed-in Supabase user; none for anybody else. For row level security: used as
-- `program_id in (select passbell.admin_programs())` it runs once per statement, not once per row.
create or replace function passbell.admin_programs() returns setof uuid
language plpgsql stable
security definer
set search_path = ''
as $$
declare
    v_user  text := coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
                             nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub');
begin
    if v_user is not null and to_regclass('public.admin_profiles') is not null then
        return query execute 'select a.program_id from public.admin_profiles a where a.id::text = $1 and a.program_id is not null' using v_user;
    end if;
end
$$;

-- The engine's functions move counters and times, people's statements do not; a trigger has to tell them apart. Each of
-- the engine's functions is marked by a setting that lasts as long as it runs. It cannot be a setting with a name of our
-- own: only a superuser may attach an unknown setting to a function, and neither Supabase's `postgres` nor most other
-- owners are. So it is one of PostgreSQL's that anybody may set, that nobody does, and that changes nothing here:
-- geqo_seed, which seeds the search for a join order among twelve relations and more. passbell.engine = on does the same
-- for a person who repairs something by hand.
--
-- Anybody can set a setting, so it counts only where the queue itself may be written: inside our functions, and for the
-- owner. Fires before passbell_guard, and as the caller, because only an invoker's function sees in whose name a
-- statement runs.
create or replace function passbell.only_the_engine() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if not has_table_privilege('passbell.chunks', 'update') then
        raise exception 'passbell.engine is for passbell''s own functions.' using errcode = 'PB403';
    end if;
    return coalesce(new, old);
end
$$;

create or replace trigger passbell_engine before insert or update or delete on public.push_campaigns
    for each row when (current_setting('geqo_seed') = '0.7365' or coalesce(current_setting('passbell.engine', true), '') = 'on')
    execute function passbell.only_the_engine();
create or replace trigger passbell_engine before insert or update on public.member_imports
    for each row when (current_setting('geqo_seed') = '0.7365' or coalesce(current_setting('passbell.engine', true), '') = 'on')
    execute function passbell.only_the_engine();
