-- Row level security and grants, beside each other. EXECUTE is PUBLIC's by default, so it is revoked from PUBLIC;
-- Supabase's roles get theirs back only where they exist. Since 30 Oct 2026 new tables in `public` need explicit
-- grants for the Data API, service_role included. The owner of the tables (whom the daemon uses) is not subject to RLS.
do $$
declare
    v_function  record;
    v_role      text;
begin
    for v_function in
        select p.oid::regprocedure as signature, n.nspname as schema, p.proname as name
          from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
         where n.nspname = 'passbell'
            or (n.nspname = 'public' and p.proname in ('push_preview', 'push_send', 'push_test', 'push_pause', 'push_resume', 'push_cancel',
                                                       'push_retry_failed', 'push_progress', 'get_birthdays_today', 'run_birthdays'))
    loop
        execute format('revoke execute on function %s from public', v_function.signature);
        for v_role in select r.rolname from pg_catalog.pg_roles r where r.rolname in ('anon', 'authenticated', 'service_role') loop
            execute format('revoke execute on function %s from %I', v_function.signature, v_role);
            if v_role = 'service_role'
               or (v_role = 'authenticated' and (v_function.schema = 'public' and v_function.name like 'push\_%'
                                                 or v_function.name in ('is_admin_of'))) then
                execute format('grant execute on function %s to %I', v_function.signature, v_role);
            end if;
        end loop;
    end loop;

    alter table public.push_campaigns enable row level security;
    if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        grant usage on schema passbell to service_role;
        grant select, insert, update, delete on public.push_campaigns, public.birthday_logs, public.notification_logs to service_role;
        grant select on all tables in schema passbell to service_role;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        grant usage on schema passbell to authenticated;
        revoke all on all tables in schema passbell from authenticated;
        grant select, insert, update on public.push_campaigns to authenticated;
        drop policy if exists passbell_select on public.push_campaigns;
        drop policy if exists passbell_insert on public.push_campaigns;
        drop policy if exists passbell_update on public.push_campaigns;
        create policy passbell_select on public.push_campaigns for select to authenticated using (passbell.is_admin_of(program_id));
        create policy passbell_insert on public.push_campaigns for insert to authenticated with check (passbell.is_admin_of(program_id));
        create policy passbell_update on public.push_campaigns for update to authenticated
               using (passbell.is_admin_of(program_id)) with check (passbell.is_admin_of(program_id));
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'anon') then
        revoke all on public.push_campaigns from anon;
        revoke all on all tables in schema passbell from anon;
    end if;
end
$$;
