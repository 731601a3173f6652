-- Applying an import, batch by batch. A staged row becomes its row of import_rows in the transaction that changed
-- the member.

-- Applies the next rows of an import, renews its lease and keeps the counters; completes the import with the last one.
-- Called with the claim_token until `remaining` is 0 (PB412 without it, and once the import was cancelled). A crash loses at
-- most the batch in hand, which was not committed. A dry run does all of it at once and rolls it back.
create or replace function passbell.import_batch(p_import uuid, p_claim_token uuid, p_limit integer default 1000, p_lease_seconds numeric default 60)
returns table (processed integer, remaining integer, status text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_import  public.member_imports;
    v_rows    integer[];
    v_done    record;
begin
    p_limit := least(greatest(coalesce(p_limit, 1000), 1), 10000);
    v_import := passbell.hold_import(p_import, p_claim_token);
    if v_import.dry_run then
        v_rows := array(select s.row_number from passbell.import_staged s where s.import_id = p_import order by s.row_number);
        perform passbell.rehearse_import(v_import, v_rows, p_limit);
    else
        v_rows := array(select s.row_number from passbell.import_staged s where s.import_id = p_import order by s.row_number limit p_limit);
        perform passbell.apply_import_rows(v_import, v_rows);
    end if;

    select count(*) filter (where r.result = 'created') as created, count(*) filter (where r.result = 'updated') as updated,
           count(*) filter (where r.result = 'linked') as linked, count(*) filter (where r.result = 'unchanged') as unchanged,
           count(*) filter (where r.result = 'rejected') as rejected, coalesce(sum(cardinality(r.linked_passes)), 0) as passes
      into v_done
      from passbell.import_rows r where r.import_id = p_import and r.row_number between v_rows[1] and v_rows[cardinality(v_rows)];
    processed := cardinality(v_rows);
    remaining := v_import.total_rows - v_import.processed_rows - processed;
    status := case when remaining > 0 then 'PROCESSING' else 'COMPLETED' end;
    perform passbell.engine_begins();
    update public.member_imports i
       set processed_rows = i.processed_rows + processed,
           created_count = i.created_count + v_done.created,        updated_count = i.updated_count + v_done.updated,
           linked_count = i.linked_count + v_done.linked,           unchanged_count = i.unchanged_count + v_done.unchanged,
           rejected_count = i.rejected_count + v_done.rejected,     passes_linked = i.passes_linked + v_done.passes,
           status = import_batch.status, completed_at = case when remaining > 0 then null else passbell.now() end
     where i.id = p_import;
    perform passbell.engine_ends();
    select i.* into v_import from public.member_imports i where i.id = p_import;
    if v_import.status <> import_batch.status then
        perform passbell.swallowed('member_imports');
    end if;
    if remaining > 0 then
        update passbell.import_leases l set lease_until = passbell.now() + passbell.lease(p_lease_seconds)
         where l.import_id = p_import;
    else
        perform passbell.engine_begins();
        update public.member_imports i set status_detail = passbell.import_summary(v_import) where i.id = p_import;
        perform passbell.engine_ends();
        delete from passbell.import_leases l where l.import_id = p_import;
    end if;
    return next;
end
$$;

-- "1,200 rows: 40 created, 12 updated, 1,148 unchanged. 35 passes linked."
create or replace function passbell.import_summary(p_import public.member_imports) returns text
language sql stable
set search_path = ''
as $$
    select case when p_import.dry_run then 'Dry run, nothing was changed. ' else '' end
           || passbell.thousands(p_import.total_rows) || case p_import.total_rows when 1 then ' row' else ' rows' end
           || coalesce(': ' || string_agg(passbell.thousands(c.n) || ' ' || c.words, ', ' order by c.place) filter (where c.n > 0), '') || '.'
           || case when p_import.passes_linked > 0 then format(' %s passes linked.', passbell.thousands(p_import.passes_linked)) else '' end
      from (values (1, p_import.created_count, 'created'), (2, p_import.updated_count, 'updated'), (3, p_import.linked_count, 'linked'),
                   (4, p_import.unchanged_count, 'unchanged'), (5, p_import.rejected_count, 'rejected')) as c (place, n, words)
$$;

-- A dry run: applies every row inside a subtransaction, remembers each result, and rolls everything back.
create or replace function passbell.rehearse_import(p_import public.member_imports, p_rows integer[], p_limit integer) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_results  passbell.import_rows[];
begin
    begin
        for v_from in 1 .. cardinality(p_rows) by p_limit loop
            perform passbell.apply_import_rows(p_import, p_rows[v_from : v_from + p_limit - 1]);
        end loop;
        v_results := array(select r from passbell.import_rows r where r.import_id = p_import.id);
        raise exception 'rehearsed' using errcode = 'PB200';
    exception when sqlstate 'PB200' then
        null;
    end;
    -- The members that were created are rolled back, so their ids are left out.
    insert into passbell.import_rows
    select r.import_id, r.row_number, r.result, r.column_name, r.value, r.reason, r.problems,
           case when r.result <> 'created' then r.user_id end, r.linked_passes, r.previous_user_id
      from unnest(v_results) r;
    delete from passbell.import_staged s where s.import_id = p_import.id;
end
$$;

-- Applies these rows at once. If the host refuses (a check, a trigger, a value too long) the rows are halved until the
-- one is found that it refuses; that one is rejected with the host's words and the others are taken.
create or replace function passbell.apply_import_rows(p_import public.member_imports, p_rows integer[]) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_half    constant integer := cardinality(p_rows) / 2;
    v_reason  text;
begin
    if cardinality(p_rows) = 0 then
        return;
    end if;
    begin
        perform passbell.apply_import_rows_together(p_import, p_rows);
        perform passbell.hear_deferred(passbell.deferred_rules());
        return;
    exception when assert_failure or others then
        if passbell.is_passing(sqlstate) then
            raise;
        end if;
        get stacked diagnostics v_reason = message_text;
    end;
    if v_half > 0 then
        perform passbell.apply_import_rows(p_import, p_rows[1 : v_half]);
        perform passbell.apply_import_rows(p_import, p_rows[v_half + 1 :]);
    else
        update passbell.import_staged s
           set rejected = true, problems = s.problems || passbell.import_problem('', '', 'the database refused it: ' || left(v_reason, 300), true)
         where s.import_id = p_import.id and s.row_number = p_rows[1];
        perform passbell.apply_import_rows_together(p_import, p_rows);
    end if;
end
$$;

-- Notes on staged rows that a rule or a trigger of the host's has prevented a write; the rest of the row counts.
create or replace function passbell.note_swallowed(p_import uuid, p_rows integer[], p_reason text) returns void
language sql
set search_path = ''
as $$
    update passbell.import_staged s set problems = s.problems || passbell.import_problem('', '', p_reason, false)
     where s.import_id = p_import and s.row_number = any (p_rows)
$$;

-- Creates and updates the users of these rows, links their passes, and turns the staged rows into import_rows. Empty
-- cells leave values alone; of passes_master nothing but user_id is written. Host columns are written by name, so that a
-- generation without one still takes the others. No two rows mean the same user or pass (resolve_import).
--
-- A table with a rule of the host's (CREATE RULE) takes neither ON CONFLICT nor RETURNING, nor a write in WITH. So the rows are named
-- beforehand, and looked for afterwards if fewer were written: what a rule for some members does is theirs alone.
create or replace function passbell.apply_import_rows_together(p_import public.member_imports, p_rows integer[]) returns void
language plpgsql
set search_path = ''
set enable_seqscan = off        -- a thousand members by their keys; a batch must not read a million to find them
as $fn$
declare
    -- The rows are in order, and import_staged holds no others between them.
    v_first     constant integer := p_rows[1];
    v_last      constant integer := p_rows[cardinality(p_rows)];
    v_created   integer[] := '{}';
    v_updated   integer[] := '{}';
    v_columns   text;
    v_values    text;
    v_set       text;
    v_changed   text;
    v_differs   text;
    v_rules     constant boolean := passbell.has_rules('public.users');
    v_kept      integer[];
    v_links     record;
    v_all_linked  boolean := true;
    v_count     bigint;
begin
    -- The platform's own triggers on users and passes_master run in here and may name things as they do everywhere else.
    -- The setting ends with this function; our own names are qualified all the same.
    perform set_config('search_path', 'pg_catalog, public, extensions, pg_temp', true);

    select string_agg(format(', %I', f.column_name), '' order by f.field) filter (where not f.has_default),
           string_agg(', ' || case when f.field = 'marketing_opt_in' and passbell.consent_must_be_said()
                                   then format('coalesce(%s, %s)', f.value, replace(f.value, 's.marketing_opt_in', 'false')) else f.value end, '' order by f.field)
               filter (where not f.has_default),
           string_agg(format(', %1$I = case when %2$L = any (s.unsure) and nullif(btrim(u.%1$I::text), '''') is not null then u.%1$I else coalesce(%3$s, u.%1$I) end',
                             f.column_name, f.field, f.value), ''),
           string_agg(format(' or (s.%2$I is not null and u.%1$I is distinct from %3$s and not (%2$L = any (s.unsure) and nullif(btrim(u.%1$I::text), '''') is not null))',
                             f.column_name, f.field, f.value), '')
      into v_columns, v_values, v_set, v_changed
      from passbell.import_fields() f where f.column_name is not null and f.value is not null;

    -- A column with a default is left to it here, and filled below if the file says something. Consent is not: a member
    -- whose row does not answer has NULL, whatever the platform's default says.
    with fresh as (
        update passbell.import_staged s set user_id = gen_random_uuid()
         where s.import_id = p_import.id and s.row_number between v_first and v_last and not s.rejected and s.user_id is null
        returning s.row_number
    )
    select coalesce(array_agg(f.row_number), '{}') into v_created from fresh f;
    if v_created <> '{}' then
        execute format($q$
            insert into public.users (id, email%s)
            select s.user_id, s.email%s
              from passbell.import_staged s
             where s.import_id = $1 and s.row_number between $2 and $3 and s.row_number = any ($4) and %s
             order by s.row_number
            %s $q$, v_columns, v_values,
            case when v_rules then 'not exists (select from public.users u where u.email = s.email)' else 'true' end,
            case when v_rules then '' else 'on conflict do nothing' end)
          using p_import.id, v_first, v_last, v_created;
        get diagnostics v_count = row_count;
        if v_count <> cardinality(v_created) then
            update passbell.import_staged s set user_id = null
             where s.import_id = p_import.id and s.row_number = any (v_created) and not exists (select from public.users u where u.id = s.user_id);
            v_created := array(select s.row_number from passbell.import_staged s
                                where s.import_id = p_import.id and s.row_number = any (v_created) and s.user_id is not null);
        end if;
    end if;

    -- A person signed up with this e-mail after the file was read. spare_others has not judged that person.
    update passbell.import_staged s set user_id = u.id
      from public.users u
     where not p_import.restricted and s.import_id = p_import.id and s.row_number between v_first and v_last and not s.rejected and s.user_id is null and u.email = s.email;
    update passbell.import_staged s
       set rejected = true, problems = s.problems || passbell.import_problem('email', s.email, 'the database did not take a new member with this address', true)
     where s.import_id = p_import.id and s.row_number between v_first and v_last and not s.rejected and s.user_id is null;

    v_differs := format($q$ s.import_id = $1 and s.row_number between $2 and $3 and not s.rejected and u.id = s.user_id
                           and ((coalesce(btrim(u.email), '') = '' and s.email is not null)%s) $q$, v_changed);
    execute format($q$ select coalesce(array_agg(s.row_number), '{}') from passbell.import_staged s, public.users u where %s $q$, v_differs)
       into v_updated using p_import.id, v_first, v_last;
    if v_updated <> '{}' then
        execute format($q$
            update public.users u
               set email = case when coalesce(btrim(u.email), '') = '' then s.email else u.email end%s
              from passbell.import_staged s
             where s.row_number = any ($4) and %s $q$, v_set, v_differs)
          using p_import.id, v_first, v_last, v_updated;
        get diagnostics v_count = row_count;
        if v_count <> cardinality(v_updated) then
            execute format($q$ select coalesce(array_agg(s.row_number), '{}') from passbell.import_staged s, public.users u where %s $q$, v_differs)
               into v_kept using p_import.id, v_first, v_last;
            v_updated := array(select n from unnest(v_updated) n where n <> all (v_kept));
            perform passbell.note_swallowed(p_import.id, v_kept, 'a rule or trigger on users keeps the old values');
        end if;
    end if;

    with wanted as materialized (
        select s.row_number, s.user_id, s.pass_id is not null as named, w.pass_id
          from passbell.import_staged s
         cross join lateral unnest(case when s.pass_id is not null then array[s.pass_id] else s.pass_ids end) as w (pass_id)
         where s.import_id = p_import.id and s.row_number between v_first and v_last and not s.rejected
    )
    select array_agg(w.row_number) as rows, array_agg(w.user_id) as users, array_agg(w.named) as named, array_agg(p.id) as passes, array_agg(p.user_id) as previous,
           count(*) as n into v_links
      from wanted w
      join public.passes_master p on p.id = w.pass_id
     where p.user_id is distinct from w.user_id and (w.named or p.user_id is null);
    if v_links.n > 0 then
        update public.passes_master p set user_id = w.user_id
          from unnest(v_links.passes, v_links.users, v_links.named) as w (pass_id, user_id, named)
         where p.id = w.pass_id and p.user_id is distinct from w.user_id and (w.named or p.user_id is null);
        get diagnostics v_count = row_count;
        v_all_linked := v_count = v_links.n;
        if not v_all_linked then
            perform passbell.note_swallowed(p_import.id, array(select w.row_number
                                                                 from unnest(v_links.rows, v_links.passes, v_links.users) as w (row_number, pass_id, user_id)
                                                                 join public.passes_master p on p.id = w.pass_id where p.user_id is distinct from w.user_id),
                                            'a rule or trigger on passes_master keeps the pass from being linked');
        end if;
    end if;

    with linked as (
        select w.row_number, w.pass_id, w.previous
          from unnest(v_links.rows, v_links.passes, v_links.users, v_links.previous) as w (row_number, pass_id, user_id, previous)
         where v_all_linked or exists (select from public.passes_master p where p.id = w.pass_id and p.user_id = w.user_id)
    ), passes as (
        select l.row_number, array_agg(l.pass_id order by l.pass_id) as pass_ids, (array_agg(l.previous))[1] as previous
          from linked l group by l.row_number
    ), gone as (
        delete from passbell.import_staged s where s.import_id = p_import.id and s.row_number between v_first and v_last returning s.*
    ), told as (
        select g.row_number, g.rejected, g.user_id, p.pass_ids, p.previous,
               g.problems || case when p.previous is null then '[]'
                                  else passbell.import_problem('external_id', g.external_id, 'the pass belonged to another member before', false) end as problems
          from gone g left join passes p on p.row_number = g.row_number
    )
    insert into passbell.import_rows (import_id, row_number, result, column_name, value, reason, problems, user_id, linked_passes, previous_user_id)
    select p_import.id, t.row_number,
           case when t.rejected then 'rejected' when t.row_number = any (v_created) then 'created' when t.row_number = any (v_updated) then 'updated'
                when t.pass_ids is not null then 'linked' else 'unchanged' end,
           nullif(f.problem ->> 'column', ''), nullif(f.problem ->> 'value', ''), f.problem ->> 'reason',
           case when t.problems <> '[]' then t.problems end, case when not t.rejected then t.user_id end, t.pass_ids, t.previous
      from told t
      left join lateral (select e.problem from jsonb_array_elements(t.problems) with ordinality as e (problem, n)
                          order by (e.problem ->> 'fatal')::boolean desc, e.n limit 1) f on true;
end
$fn$;
