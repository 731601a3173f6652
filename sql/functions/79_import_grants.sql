-- What an administrator may read of lists and imports, in schema public, where Supabase's Data API and Softr look. The
-- tables themselves stay closed; the views show only rows of programs that the signed-in user administers.

create or replace view public.push_list_problems with (security_barrier = true) as
select e.campaign_id, c.program_id, e.row_number, e.value, e.reason, e.detail
  from passbell.list_entries e
  join public.push_campaigns c on c.id = e.campaign_id
 where e.reason is not null
   and (current_setting('role', true) not in ('authenticated', 'anon') or passbell.is_admin_of(c.program_id));
comment on view public.push_list_problems is 'Rows of hit lists by which nobody is reached, with the reason.';

create or replace view public.member_import_rows with (security_barrier = true) as
select r.import_id, i.program_id, r.row_number, r.result, r.column_name, r.value, r.reason, r.problems, r.user_id, r.linked_passes, r.previous_user_id
  from passbell.import_rows r
  join public.member_imports i on i.id = r.import_id
 where current_setting('role', true) not in ('authenticated', 'anon') or passbell.is_admin_of(i.program_id);
comment on view public.member_import_rows is 'What became of each row of a member import.';

revoke all on public.push_list_problems, public.member_import_rows, public.member_imports from public;
alter table public.member_imports enable row level security;
do $$
begin
    if exists (select from pg_catalog.pg_roles where rolname = 'anon') then
        revoke all on public.push_list_problems, public.member_import_rows, public.member_imports from anon;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        grant select, insert, update, delete on public.member_imports to service_role;
        grant select on public.push_list_problems, public.member_import_rows to service_role;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        revoke all on public.push_list_problems, public.member_import_rows, public.member_imports from authenticated;
        grant select on public.push_list_problems, public.member_import_rows to authenticated;
        grant select, insert, update on public.member_imports to authenticated;
        drop policy if exists passbell_select on public.member_imports;
        drop policy if exists passbell_insert on public.member_imports;
        drop policy if exists passbell_update on public.member_imports;
        create policy passbell_select on public.member_imports for select to authenticated using (passbell.is_admin_of(program_id));
        create policy passbell_insert on public.member_imports for insert to authenticated with check (passbell.is_admin_of(program_id));
        create policy passbell_update on public.member_imports for update to authenticated
               using (passbell.is_admin_of(program_id)) with check (passbell.is_admin_of(program_id));
    end if;
end
$$;
