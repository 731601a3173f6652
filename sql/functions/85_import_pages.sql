-- Member imports for people to look at.

-- The last imports, or one of them.
create or replace function passbell.import_cards(p_import uuid default null, p_limit integer default 25)
returns table (import_id uuid, program_id uuid, program_name text, name text, dry_run boolean, status text, status_detail text, total integer,
               processed integer, created integer, updated integer, linked integer, unchanged integer, rejected integer, passes_linked integer,
               notes text[], created_at timestamptz, completed_at timestamptz, created_by text, percent numeric)
language sql stable
set search_path = ''
as $$
    select i.id, i.program_id, g.name, coalesce(nullif(btrim(i.name), ''), 'Member import'), i.dry_run, i.status, i.status_detail, i.total_rows,
           i.processed_rows, i.created_count, i.updated_count, i.linked_count, i.unchanged_count, i.rejected_count, i.passes_linked,
           i.notes, i.created_at, i.completed_at, i.created_by,
           case when i.total_rows > 0 then round(100.0 * i.processed_rows / i.total_rows, 1) when i.completed_at is not null then 100 else 0 end
      from public.member_imports i
      left join passbell.programs g on g.program_id = i.program_id
     where p_import is null or i.id = p_import
     order by i.created_at desc, i.id
     limit least(greatest(p_limit, 1), 200)
$$;

-- The row of one import, for the caller that applied it.
create or replace function passbell.member_import(p_import uuid) returns setof public.member_imports
language sql stable
set search_path = ''
as $$
    select i.* from public.member_imports i where i.id = p_import
$$;

-- What became of the rows, p_limit after a row number; only those with a problem unless p_all.
create or replace function passbell.import_report(p_import uuid, p_after integer default 0, p_limit integer default 200, p_all boolean default false)
returns table (row_number integer, result text, column_name text, value text, reason text, problems jsonb)
language sql stable
set search_path = ''
as $$
    select r.row_number, r.result, r.column_name, r.value, r.reason, coalesce(r.problems, '[]')
      from passbell.import_rows r
     where r.import_id = p_import and r.row_number > p_after and (p_all or r.problems is not null)
     order by r.row_number
     limit least(greatest(p_limit, 1), 5000)
$$;

-- Cancels under the caller's name; what was applied stays.
create or replace function passbell.cancel_import(p_owner text, p_import uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.act_as(p_owner);
    update public.member_imports i set status = 'CANCELLED' where i.id = p_import and i.status <> 'CANCELLED';
    if not found and not exists (select from public.member_imports i where i.id = p_import) then
        raise exception 'There is no import %.', p_import using errcode = 'PB404';
    end if;
end
$$;
