-- Who may do what, beyond grants: the questions that policies, guards and the functions of people ask.

-- Does the caller work for the server (its owner, a superuser, service_role, the daemon)? Every other caller acts for
-- a person and only for that person's programs. The role that the request was made under decides; it stays visible
-- inside SECURITY DEFINER functions. An unknown role counts as a person's.
create or replace function passbell.acts_for_server() returns boolean
language sql stable
set search_path = ''
as $$
    select r.rolbypassrls or has_table_privilege(r.oid, 'passbell.settings', 'select')
      from pg_catalog.pg_roles r
     where r.rolname = coalesce(nullif(current_setting('role', true), 'none'), session_user)
$$;

-- The programs of the signed-in Supabase user, as the platform's own row security sees it: those of which they are the
-- tenant (programs.tenant_id), that of their admin_profiles row, and all for a SUPER_ADMIN without one there. Other
-- users have none. For row level security: used as `program_id in (select passbell.admin_programs())` it runs once per
-- statement, not once per row.
create or replace function passbell.admin_programs() returns setof uuid
language plpgsql stable
security definer
set search_path = ''
as $$
declare
    v_user  text := coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
                             nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub');
begin
    if v_user is null then
        return;
    end if;
    if passbell.has_column('public.admin_profiles', 'role') and to_regclass('public.programs') is not null then
        return query execute 'select g.id::uuid from public.programs g
                               where exists (select from public.admin_profiles a
                                              where a.id::text = $1 and a.program_id is null and upper(btrim(a.role::text)) = ''SUPER_ADMIN'')' using v_user;
        if found then
            return;
        end if;
    end if;
    if passbell.has_column('public.admin_profiles', 'program_id') then
        return query execute 'select p.id from public.admin_profiles a cross join lateral passbell.read_uuid(a.program_id::text) as p (id) where a.id::text = $1 and p.id is not null' using v_user;
    end if;
    if passbell.has_column('public.programs', 'tenant_id') then
        return query execute 'select g.id::uuid from public.programs g where g.tenant_id::text = $1' using v_user;
    end if;
end
$$;

-- Whether the caller may act for this program: a role of the server for every program (acts_for_server), other callers only
-- for the programs of their admin_profiles row.
create or replace function passbell.require_program(p_program uuid) returns void
language plpgsql stable
set search_path = ''
as $$
begin
    if not passbell.acts_for_server() and not passbell.is_admin_of(p_program) then
        raise exception 'You are not an administrator of this program.' using errcode = 'PB403';
    end if;
    perform passbell.require_known_program(p_program);
end
$$;

-- Raises PB404 for a program that is not there.
create or replace function passbell.require_known_program(p_program uuid) returns void
language plpgsql stable
set search_path = ''
as $$
begin
    if not exists (select from passbell.programs g where g.program_id = p_program) then
        raise exception '%', passbell.no_program(p_program) using errcode = 'PB404';
    end if;
end
$$;

-- The campaign, if the caller may act for it. Raises PB404, PB403. A server may act for a campaign whose program was deleted.
create or replace function passbell.campaign_for_caller(p_campaign uuid) returns public.push_campaigns
language plpgsql stable
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign;
    if not found then
        raise exception 'There is no campaign %.', coalesce(p_campaign::text, '(none given)') using errcode = 'PB404';
    end if;
    if not passbell.acts_for_server() then
        perform passbell.require_program(v_campaign.program_id);
    end if;
    return v_campaign;
end
$$;

-- Is the signed-in Supabase user an administrator of the program? False where the host has no admin_profiles.
create or replace function passbell.is_admin_of(p_program uuid) returns boolean
language sql stable
security definer
set search_path = ''
as $$
    select exists (select from passbell.admin_programs() a where a = p_program)
$$;

-- The automation, if the caller may act for its program. Raises PB404, PB403.
create or replace function passbell.automation_for_caller(p_automation uuid) returns public.push_automations
language plpgsql stable
set search_path = ''
as $$
declare
    v_automation  public.push_automations;
begin
    select a.* into v_automation from public.push_automations a where a.id = p_automation;
    if not found then
        raise exception 'There is no automation %.', coalesce(p_automation::text, '(none given)') using errcode = 'PB404';
    end if;
    if not passbell.acts_for_server() then
        perform passbell.require_program(v_automation.program_id);
    end if;
    return v_automation;
end
$$;

-- The engine's functions move counters and times, people's statements do not; campaign_guard and import_guard have to
-- tell them apart. The engine marks each of its own writes:
--
--     perform passbell.engine_begins();
--     update public.push_campaigns …;
--     perform passbell.engine_ends();
--
-- The mark is the setting passbell.engine, for the length of that statement. Any login can set it, so its value is a
-- hash over passbell.secrets, which only the owner reads, and over the session and the start of its transaction. Any
-- other value is ignored: its writer is a person. A value that a trigger of the host reads is worth nothing in another
-- transaction. An error takes the mark back together with everything else of its subtransaction.
create or replace function passbell.new_secret() returns text
language sql
set search_path = ''
as $$
    select translate(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
$$;

insert into passbell.secrets (name, secret)
select 'engine', passbell.new_secret()
 where not exists (select from passbell.secrets s where s.name = 'engine');

create or replace function passbell.engine_mark() returns text
language plpgsql stable
set search_path = ''
as $$
declare
    v_mark  text;
begin
    select encode(sha256((s.secret || ' ' || pg_backend_pid() || ' ' || extract(epoch from pg_catalog.now()))::bytea), 'hex')
      into v_mark from passbell.secrets s where s.name = 'engine';
    if v_mark is null then
        raise exception 'passbell.secrets has lost its row: run `passbell migrate`.' using errcode = '3F000';
    end if;
    return v_mark;
end
$$;

-- The number of an advisory lock that other logins cannot know beforehand and so cannot hold: any login may take any lock
-- for as long as it likes. It changes every minute, because pg_locks shows those that are held. Two sessions on either side
-- of a minute do not exclude each other: for locks that keep order or share, not for ones that protect what is stored.
-- p_ago: the number of so many seconds ago.
drop function if exists passbell.private_lock(text);
create or replace function passbell.private_lock(p_what text, p_ago numeric default 0) returns bigint
language plpgsql stable
set search_path = ''
as $$
begin
    return (select hashtextextended(concat_ws(' ', s.secret, p_what, floor((extract(epoch from clock_timestamp()) - p_ago) / 60)), 0)
              from passbell.secrets s where s.name = 'engine');
end
$$;

-- A trigger of the host may call the engine again while a write is marked: each call adds a plus sign, its end takes one.
-- Both return the setting. A report assigns that instead of PERFORM, which would cost it more than the call itself.
drop function if exists passbell.engine_begins();
create function passbell.engine_begins() returns text
language plpgsql
set search_path = ''
as $$
declare
    v_mark  constant text := passbell.engine_mark();
    v_now   constant text := current_setting('passbell.engine', true);
begin
    return set_config('passbell.engine', case when rtrim(v_now, '+') = v_mark then v_now || '+' else v_mark end, true);
end
$$;

drop function if exists passbell.engine_ends();
create function passbell.engine_ends() returns text
language plpgsql
set search_path = ''
as $$
declare
    v_now  constant text := current_setting('passbell.engine', true);
begin
    return set_config('passbell.engine', case when right(v_now, 1) = '+' then left(v_now, -1) else '' end, true);
end
$$;

-- Is this statement the engine's own?
create or replace function passbell.is_engine() returns boolean
language plpgsql stable
set search_path = ''
as $$
declare
    v_now  constant text := current_setting('passbell.engine', true);
begin
    if coalesce(v_now, '') = '' then
        return false;
    end if;
    return rtrim(v_now, '+') = passbell.engine_mark();
end
$$;

-- For repairs by hand: until the end of the transaction the owner's statements count as the engine's. They may then move
-- counters and times, and break the conservation law: ask passbell.check_conservation() before the commit.
create or replace function passbell.as_engine() returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.engine_begins();
end
$$;
