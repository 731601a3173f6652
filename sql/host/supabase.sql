-- What Supabase puts around a project's tables, as far as passbell can notice it: roles, schema auth, schema extensions.
-- Load it after a generation file, or on an empty database. It may be loaded twice.
-- Roles belong to the whole cluster, so another database may be creating the same ones at this moment: losing
-- that race is fine.
do $$
declare
  v_role text;
begin
  foreach v_role in array array['anon', 'authenticated', 'service_role', 'authenticator'] loop
    begin
      execute format('create role %I noinherit nologin', v_role);
    exception when duplicate_object or unique_violation then
      null;
    end;
  end loop;
end;
$$;

-- One session at a time: two concurrent ALTER ROLE or GRANT on the same row fail with "tuple concurrently updated".
begin;
select pg_advisory_xact_lock(hashtext('passbell stand-in of supabase roles'));
do $$
begin
  if not (select rolbypassrls from pg_roles where rolname = 'service_role') then
    alter role service_role bypassrls;
  end if;
  if not (select rolcanlogin from pg_roles where rolname = 'authenticator') then
    alter role authenticator login;
  end if;
  if not pg_has_role('authenticator', 'service_role', 'member') then
    grant anon, authenticated, service_role to authenticator;
  end if;
end;
$$;
commit;

create schema if not exists extensions;
create schema if not exists auth;
grant usage on schema public, extensions, auth to anon, authenticated, service_role;

-- The real one comes from the extension uuid-ossp, which Supabase keeps out of public.
create or replace function extensions.uuid_generate_v4() returns uuid
language sql volatile
as 'select gen_random_uuid()';

create table if not exists auth.users (
  id         uuid primary key default gen_random_uuid(),
  email      text unique,
  created_at timestamptz default now()
);

-- Who the request's token names. The API sets the whole claim set as JSON; older versions set one setting per claim.
create or replace function auth.uid() returns uuid
language plpgsql stable
as $$
declare
  v_claims text := current_setting('request.jwt.claims', true);
  v_sub    text := current_setting('request.jwt.claim.sub', true);
begin
  if v_sub <> '' then
    return v_sub::uuid;
  elsif v_claims <> '' then
    return (v_claims::jsonb ->> 'sub')::uuid;
  end if;
  return null;
end;
$$;
grant execute on function auth.uid() to anon, authenticated, service_role;

-- The host's own foreign keys, grants and its one policy, on whichever of its tables exist.
do $$
declare
  v_table text;
begin
  if to_regclass('public.admin_profiles') is not null
     and not exists (select from pg_constraint where conname = 'admin_profiles_id_fkey') then
    alter table public.admin_profiles
      add constraint admin_profiles_id_fkey foreign key (id) references auth.users (id);
  end if;
  if exists (select from information_schema.columns
              where table_schema = 'public' and table_name = 'programs' and column_name = 'tenant_id')
     and not exists (select from pg_constraint where conname = 'programs_tenant_id_fkey') then
    alter table public.programs
      add constraint programs_tenant_id_fkey foreign key (tenant_id) references auth.users (id);
  end if;

  foreach v_table in array array[
    'programs', 'users', 'passes_master', 'protocol_membership', 'protocol_coupon', 'protocol_event_ticket',
    'transactions', 'admin_profiles', 'notification_logs', 'birthday_logs', 'campaign_runs'
  ] loop
    if to_regclass('public.' || v_table) is not null then
      execute format('grant all on table public.%I to anon, authenticated, service_role', v_table);
    end if;
  end loop;

  if to_regclass('public.notification_logs') is not null and not exists (
    select from pg_policy where polrelid = to_regclass('public.notification_logs')
  ) then
    alter table public.notification_logs enable row level security;
    create policy "admins read their program's notifications" on public.notification_logs
      for select to authenticated
      using (program_id in (select a.program_id from public.admin_profiles a where a.id = (select auth.uid())));
  end if;
end;
$$;
