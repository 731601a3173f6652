-- What an administrator may read of lists and imports, in schema public, where Supabase's Data API and Softr look. The
-- tables themselves stay closed; the views show a person only rows of programs they administer, a server all.
-- The table member_imports has its policies in 99_grants.sql.
create or replace view public.push_list_problems with (security_barrier = true) as
select e.campaign_id, c.program_id, e.row_number, e.value, e.reason, e.detail
  from passbell.list_entries e
  join public.push_campaigns c on c.id = e.campaign_id
 where e.reason is not null
   and ((select has_table_privilege('passbell.settings', 'select')) or c.program_id in (select passbell.admin_programs()));
comment on view public.push_list_problems is 'Rows of hit lists that reach no member, with the reason.';

create or replace view public.member_import_rows with (security_barrier = true) as
select r.import_id, i.program_id, r.row_number, r.result, r.column_name, r.value, r.reason, r.problems, r.user_id, r.linked_passes, r.previous_user_id
  from passbell.import_rows r
  join public.member_imports i on i.id = r.import_id
 where (select has_table_privilege('passbell.settings', 'select')) or i.program_id in (select passbell.admin_programs());
comment on view public.member_import_rows is 'What became of each row of a member import.';

select passbell.open_to_people('select', 'public.push_list_problems'), passbell.open_to_people('select', 'public.member_import_rows');
