-- How rights are given: to roles that may be missing, by policies, and on what. Who gets which: 99_grants.

-- A role that is not there is not granted anything.
create or replace function passbell.grant_to(p_role text, p_what text) returns void
language plpgsql
set search_path = ''
as $$
begin
    if exists (select from pg_catalog.pg_roles r where r.rolname = p_role) then
        execute format('grant %s to %I', p_what, p_role);
    end if;
end
$$;

-- Writes, or with p_on false removes, the policy by which a program's administrators may do one thing with its rows.
create or replace function passbell.put_policy(p_table text, p_action text, p_on boolean) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_own  constant text := '(program_id in (select passbell.admin_programs()))';
begin
    execute format('drop policy if exists %I on public.%I', 'passbell_' || p_action, p_table);
    if p_on then
        execute format('create policy %I on public.%I for %s to authenticated%s%s', 'passbell_' || p_action, p_table, p_action,
                       case when p_action <> 'insert' then ' using ' || v_own end,
                       case when p_action in ('insert', 'update') then ' with check ' || v_own end);
    end if;
end
$$;

-- Our functions: all of schema passbell, and those in public that we make; signatures fully qualified. Others in public
-- that work on our tables are the operator's, with the rights that the operator gave them.
create or replace function passbell.own_functions()
returns table (id oid, schema text, name text, signature text)
language sql stable
set search_path = ''
as $$
    select p.oid, n.nspname::text, p.proname::text, p.oid::regprocedure::text
      from pg_catalog.pg_proc p
      join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where n.nspname = 'passbell'
        or n.nspname = 'public' and p.prosrc like '%passbell.%'
           and p.proname in ('push_preview', 'push_send', 'push_test', 'push_pause', 'push_resume', 'push_cancel', 'push_retry_failed', 'push_progress',
                             'push_forget', 'push_results', 'push_results_total', 'push_plan', 'push_report', 'get_birthdays_today', 'run_birthdays',
                             'get_due', 'run_automations', 'automation_preview', 'automation_results')
$$;

-- Gives one privilege on a view or function of ours to signed-in people and servers, and nothing to any other role. What a
-- person sees through it is filtered by the object itself.
create or replace function passbell.open_to_people(p_privilege text, p_object text) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_role  text;
begin
    execute format('revoke all on %s from public', p_object);
    for v_role in select r.rolname from pg_catalog.pg_roles r where r.rolname in ('anon', 'authenticated', 'service_role') loop
        execute format('revoke all on %s from %I', p_object, v_role);
        if v_role <> 'anon' then
            execute format('grant %s on %s to %I', p_privilege, p_object, v_role);
        end if;
    end loop;
end
$$;
