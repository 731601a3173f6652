-- Which member each row of an import means. All of it is hash joins over the whole file, so no index of the host's is needed.

-- One problem, as import_staged.problems holds it. Fatal ones reject the row; others leave out one cell.
create or replace function passbell.import_problem(p_column text, p_value text, p_reason text, p_fatal boolean) returns jsonb
language sql immutable
set search_path = ''
as $$
    select jsonb_build_array(jsonb_build_object('column', p_column, 'value', p_value, 'reason', p_reason, 'fatal', p_fatal))
$$;

-- The fields of an import and the host's columns for them; column_name is NULL where this generation has none, or computes
-- it. Consent has no default: a member who was not asked is not opted in (apply_import_rows_together writes NULL). `value` is
-- the field of import_staged (alias s) as the column stores it: a column of another type takes a yes and a no in its own
-- words, so that read_boolean reads them back.
drop function if exists passbell.import_fields();
create or replace function passbell.import_fields() returns table (field text, column_name text, value text, has_default boolean)
language sql stable
set search_path = ''
as $$
    select f.field, a.attname::text,
           case when f.field <> 'marketing_opt_in' or y.typcategory in ('B', 'S') then format('s.%I::%s', f.field, t.name)
                when y.typcategory in ('N', 'V') then format('s.%I::integer::%s', f.field, t.name)
                when y.typcategory = 'E' then (select format('case s.%I when true then %L when false then %L end::%s', f.field, e.yes, e.no, t.name)
                                                 from (select min(l.enumlabel::text) filter (where passbell.read_boolean(l.enumlabel::text)) as yes,
                                                              min(l.enumlabel::text) filter (where not passbell.read_boolean(l.enumlabel::text)) as no
                                                         from pg_catalog.pg_enum l where l.enumtypid = y.oid) e
                                                where e.yes is not null and e.no is not null) end,
           coalesce(a.atthasdef, false) and f.field <> 'marketing_opt_in'
      from (values ('first_name', 'first_name'), ('last_name', 'last_name'), ('phone', 'phone_number'), ('birth_date', 'birth_date'),
                   ('zip', 'zip'), ('city', 'city'), ('marketing_opt_in', 'marketing_opt_in')) as f (field, name)
      left join pg_catalog.pg_attribute a       -- a generated column is the platform's
        on a.attrelid = to_regclass('public.users') and a.attname = f.name and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
      left join pg_catalog.pg_type y on y.oid = a.atttypid
     cross join lateral (select format_type(a.atttypid, a.atttypmod) as name) t
$$;

-- Why no member can be imported here; NULL where that works.
create or replace function passbell.import_obstacle() returns text
language sql stable
set search_path = ''
as $$
    select case
        when to_regclass('public.users') is null or to_regclass('public.passes_master') is null then 'The platform''s tables (users, passes_master) are not there.'
        else (select case when w.type is null then format('Members cannot be imported: %s.%s is missing.', w.relation, w.name)
                          else format('Members cannot be imported: %s.%s is %s, and an import needs uuid.', w.relation, w.name, w.type) end
                from (select k.relation, k.name, k.wanted, passbell.base_type(a.atttypid) as type
                        from (values ('users', 'id', 'uuid'), ('users', 'email', null), ('passes_master', 'user_id', 'uuid')) as k (relation, name, wanted)
                        left join pg_catalog.pg_attribute a on a.attrelid = to_regclass('public.' || k.relation) and a.attname = k.name and a.attnum > 0 and not a.attisdropped) w
               where w.type is null or w.type <> w.wanted
               order by w.relation desc, w.name limit 1) end
$$;

-- Does the host refuse a member who has not answered? Then no answer is stored as a no.
create or replace function passbell.consent_must_be_said() returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from pg_catalog.pg_attribute a
                    where a.attrelid = to_regclass('public.users') and a.attname = 'marketing_opt_in' and a.attnotnull and not a.attisdropped)
$$;

-- Users are one table for all programs, so an e-mail address in a file may mean a person outside the import's
-- program. In a restricted import (a program's administrator ordered it) a row may change
--
--   a new member, or one that an earlier import of this program created and that has no pass yet;
--   a member all of whose passes are in this program.
--
-- If a member is in another program as well, no value is changed; the row can only link passes of this program. A row for
-- any other person is rejected. It links no pass either, because a link would make the person a member of this program.
-- Its reason is the same whether the person is in another program or in none.
create or replace function passbell.spare_others(p_import public.member_imports) returns void
language plpgsql
set search_path = ''
as $$
begin
    with meant as materialized (
        select s.row_number, s.user_id,
               count(p.id) filter (where p.program_id = p_import.program_id) as here,
               count(p.id) filter (where p.program_id is distinct from p_import.program_id) as elsewhere
          from passbell.import_staged s
          left join public.passes_master p on p.user_id = s.user_id
         where s.import_id = p_import.id and not s.rejected and s.user_id is not null
         group by s.row_number, s.user_id
    ), made as materialized (
        select distinct r.user_id
          from public.member_imports i
          join passbell.import_rows r on r.import_id = i.id
         where i.program_id = p_import.program_id and not i.dry_run and r.result = 'created'
    ), judged as (
        select m.row_number, m.here > 0 as known
          from meant m
         where m.elsewhere > 0 or m.here = 0 and m.user_id not in (select k.user_id from made k where k.user_id is not null)
    )
    update passbell.import_staged s
       set rejected = not j.known,
           problems = s.problems || case when j.known then passbell.import_problem('', '', 'this member is in another program too: only passes were linked, no value was changed', false)
                                         else passbell.import_problem('email', s.email, 'this address belongs to somebody who is not a member of this program; only the platform''s operator may import it', true) end,
           email = case when j.known then null else s.email end,
           first_name = case when j.known then null else s.first_name end,     last_name = case when j.known then null else s.last_name end,
           phone = case when j.known then null else s.phone end,               birth_date = case when j.known then null else s.birth_date end,
           zip = case when j.known then null else s.zip end,                   city = case when j.known then null else s.city end,
           marketing_opt_in = case when j.known then null else s.marketing_opt_in end
      from judged j
     where s.import_id = p_import.id and s.row_number = j.row_number;
end
$$;

-- Fills in user_id, pass_id and pass_ids, and rejects rows that mean no person, or the same person as a later row:
--
--   1. the pass with the row's external id in this program (case folded; the exact spelling first), else with its PassKit id,
--      else with its own;
--   2. without an e-mail in the row: that pass's member, else the e-mail that the pass itself carries;
--   3. the user with the e-mail (case folded; the exact spelling first), else the pass's user if that one has no e-mail;
--   4. without a pass by external id: the program's passes with that member e-mail and no user.
--
-- The last row that means a person wins, so that the same file twice ends in the same state.
create or replace function passbell.resolve_import(p_import public.member_imports) returns void
language plpgsql
set search_path = ''
set work_mem = '64MB'
set enable_mergejoin = off      -- the planner takes the folded ids for far from unique, and would sort all members
as $$
begin
    analyze passbell.import_staged;

    -- The exists() are asked once: a file without such ids does not read the program's members for them.
    with found as materialized (
        select distinct on (f.row_number) f.row_number, f.pass_id, f.program_id is not distinct from p_import.program_id as ours,
               f.user_id, lower(btrim(f.email)) as email
          from (select s.row_number, r.pass_id, r.program_id, r.user_id, r.email, case when r.external_id = s.external_id then 1 else 2 end as choice
                  from passbell.import_staged s
                  join passbell.recipients r on lower(btrim(r.external_id)) = lower(s.external_id)
                 where s.import_id = p_import.id and not s.rejected and s.external_id is not null
                union all
                select s.row_number, r.pass_id, r.program_id, r.user_id, r.email, 3
                  from passbell.import_staged s
                  join passbell.recipients r on r.passkit_id = s.external_id
                 where s.import_id = p_import.id and not s.rejected and s.external_id ~ '^[0-9A-Za-z]{22}$'
                   and (select exists (select from passbell.import_staged x where x.import_id = p_import.id and x.external_id ~ '^[0-9A-Za-z]{22}$'))
                union all
                select s.row_number, r.pass_id, r.program_id, r.user_id, r.email, 4
                  from passbell.import_staged s
                  join passbell.recipients r on r.pass_id = case when s.external_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then s.external_id::uuid end
                 where s.import_id = p_import.id and not s.rejected and length(s.external_id) = 36
                   and (select exists (select from passbell.import_staged x where x.import_id = p_import.id and length(x.external_id) = 36))) f
         order by f.row_number, f.program_id is not distinct from p_import.program_id desc, f.choice, f.pass_id
    ), lost as (
        select s.row_number, s.external_id
          from passbell.import_staged s
         where s.import_id = p_import.id and not s.rejected and s.external_id is not null
           and s.row_number not in (select f.row_number from found f)
         order by s.row_number limit 200
    ), advised as materialized (
        select l.row_number, a.advice
          from lost l join passbell.id_advice(p_import.program_id, array(select x.external_id from lost x)) a on a.value = l.external_id
    )
    update passbell.import_staged s
       set pass_id = case when f.ours then f.pass_id end,
           user_id = case when f.ours and s.email is null then f.user_id end,
           email   = coalesce(s.email, case when f.ours and f.user_id is null and f.email like '_%@_%' then f.email end),
           problems = s.problems || case when f.row_number is null or p_import.restricted and not f.ours
                                         then passbell.import_problem('external_id', s.external_id, 'there is no pass with this id in this program' || coalesce('; ' || a.advice, ''), s.email is null)
                                         when not f.ours then passbell.import_problem('external_id', s.external_id, 'this id belongs to another program', s.email is null)
                                         else '[]' end,
           rejected = s.email is null and f.ours is not true
      from passbell.import_staged x
      left join found f on f.row_number = x.row_number
      left join advised a on a.row_number = x.row_number
     where x.import_id = p_import.id and not x.rejected and x.external_id is not null
       and s.import_id = x.import_id and s.row_number = x.row_number;

    with found as materialized (
        select distinct on (s.row_number) s.row_number, u.id
          from passbell.import_staged s
          join public.users u on lower(btrim(u.email)) = lower(s.email)
         where s.import_id = p_import.id and not s.rejected and s.email is not null
         order by s.row_number, u.email = s.email desc, u.id
    )
    update passbell.import_staged s set user_id = f.id from found f where s.import_id = p_import.id and s.row_number = f.row_number;

    update passbell.import_staged s
       set user_id = r.user_id
      from passbell.recipients r
      join public.users u on u.id = r.user_id
     where s.import_id = p_import.id and not s.rejected and s.user_id is null and r.pass_id = s.pass_id
       and coalesce(btrim(u.email), '') = '';

    update passbell.import_staged s
       set rejected = true,
           problems = s.problems || passbell.import_problem('', '', 'the row has no e-mail address, and its pass has no member yet', true)
     where s.import_id = p_import.id and not s.rejected and s.user_id is null and s.email is null;

    with meant as materialized (
        select s.row_number, max(s.row_number) over (partition by coalesce(s.user_id::text, lower(s.email))) as last, s.marketing_opt_in
          from passbell.import_staged s
         where s.import_id = p_import.id and not s.rejected
    ), refused as (
        -- If one row of a member says no, the member's answer is no.
        update passbell.import_staged s
           set marketing_opt_in = false,
               problems = s.problems || passbell.import_problem('marketing_opt_in', '', format('row %s is the same member and says no', r.row_number), false)
          from (select m.last, max(m.row_number) as row_number from meant m where m.last > m.row_number and m.marketing_opt_in is false group by m.last) r
         where s.import_id = p_import.id and s.row_number = r.last and s.marketing_opt_in is not false
    )
    update passbell.import_staged s
       set rejected = true,
           problems = s.problems || passbell.import_problem('', '', format('row %s means the same member; the last row wins', m.last), true)
      from meant m
     where s.import_id = p_import.id and s.row_number = m.row_number and m.last > m.row_number;

    with found as materialized (
        select s.row_number, array_agg(distinct r.pass_id) as pass_ids
          from passbell.import_staged s
          join passbell.recipients r on lower(btrim(r.email)) = lower(s.email)
         where s.import_id = p_import.id and not s.rejected and s.pass_id is null
           and r.program_id = p_import.program_id and r.user_id is null
           and not exists (select from passbell.import_staged t where t.import_id = p_import.id and not t.rejected and t.pass_id = r.pass_id)
         group by s.row_number
    )
    update passbell.import_staged s set pass_ids = f.pass_ids from found f where s.import_id = p_import.id and s.row_number = f.row_number;

    if p_import.restricted then
        perform passbell.spare_others(p_import);
    end if;
end
$$;
