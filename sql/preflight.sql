-- Before anything is changed: what of the host's tables passbell cannot work with, each with its column and the remedy.
do $$
declare
    v_found   record;
    v_table   constant regclass := to_regclass('public.push_campaigns');
begin
    -- Keys that the queue stores as uuid.
    for v_found in
        select w.relation, w.name, format_type(a.atttypid, a.atttypmod) as type
          from (values ('public.push_campaigns', 'id'), ('public.push_campaigns', 'program_id'), ('public.programs', 'id'),
                       ('public.passes_master', 'id'), ('public.passes_master', 'program_id'), ('public.member_imports', 'id'),
                       ('public.member_imports', 'program_id'), ('public.birthday_logs', 'pass_id'), ('public.notification_logs', 'program_id')) as w (relation, name)
          join pg_catalog.pg_attribute a on a.attrelid = to_regclass(w.relation) and a.attname = w.name and a.attnum > 0 and not a.attisdropped
          join pg_catalog.pg_type t on t.oid = a.atttypid
         where a.atttypid <> 'uuid'::regtype and t.typbasetype <> 'uuid'::regtype
    loop
        raise exception using errcode = 'PB422', message = format('%s.%s is %s, and passbell needs uuid. Nothing was changed. %s', v_found.relation, v_found.name, v_found.type,
            case when v_found.relation in ('public.push_campaigns', 'public.member_imports')
                 then format('Remedy: rename that table (alter table %s rename to %s_old) and migrate again; passbell makes its own.', v_found.relation, split_part(v_found.relation, '.', 2))
                 else 'Remedy: put a view or table with uuid keys in its place.' end);
    end loop;

    if v_table is not null then
        if (select c.relkind from pg_catalog.pg_class c where c.oid = v_table) <> 'r' then
            raise exception using errcode = 'PB422', message = format('public.push_campaigns is %s. Nothing was changed. Remedy: rename it and migrate again; passbell makes its own.',
                (select case c.relkind when 'p' then 'a partitioned table, in which an id alone cannot be unique' else 'no table' end
                   from pg_catalog.pg_class c where c.oid = v_table));
        end if;
        -- Everything is kept by the campaign's id.
        if exists (select from pg_catalog.pg_attribute a
                    where a.attrelid = v_table and a.attname = 'id' and not a.attisdropped
                      and not exists (select from pg_catalog.pg_index i
                                       where i.indrelid = v_table and i.indisprimary and i.indkey::text = a.attnum::text)) then
            for v_found in
                execute 'select c.id::text as id, count(*) as rows from public.push_campaigns c group by c.id having count(*) > 1 or c.id is null limit 1'
            loop
                raise exception using errcode = 'PB422', message = format('push_campaigns.id does not name one campaign: %s stands in %s rows. Nothing was changed. Remedy: delete those rows or give them ids of their own, alter table public.push_campaigns add primary key (id), and migrate again.',
                    coalesce(v_found.id, 'NULL'), v_found.rows);
            end loop;
        end if;
        -- Columns that we write.
        for v_found in
            select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, w.wanted, a.attgenerated <> '' as generated
              from (values ('name', 'text'), ('message_text', 'text'), ('message', 'text'), ('target_query', 'text'), ('csv_upload_url', 'text'), ('csv_encoding', 'text'), ('status', 'text'),
                           ('status_detail', 'text'), ('kind', 'text'), ('created_by', 'text'), ('sent_count', 'integer'), ('failed_count', 'integer'),
                           ('recipient_count', 'integer'), ('skipped_count', 'integer'), ('rate_per_second', 'numeric'), ('created_at', 'timestamptz'),
                           ('scheduled_at', 'timestamptz'), ('started_at', 'timestamptz'), ('completed_at', 'timestamptz'), ('updated_at', 'timestamptz'),
                           ('submitted_at', 'timestamptz'), ('released_at', 'timestamptz')) as w (name, wanted)
              join pg_catalog.pg_attribute a on a.attrelid = v_table and a.attname = w.name and a.attnum > 0 and not a.attisdropped
             where a.attgenerated <> ''
                or format_type(a.atttypid, null) <> all (case w.wanted
                       when 'text' then array['text', 'character varying', 'character', 'citext']
                       when 'integer' then array['integer', 'bigint', 'numeric']
                       when 'numeric' then array['numeric', 'integer', 'bigint', 'real', 'double precision']
                       else array['timestamp with time zone', 'timestamp without time zone'] end)
             order by a.attnum
        loop
            raise exception using errcode = 'PB422', message =
                case when v_found.generated
                     then format('push_campaigns.%s is a generated column, and passbell has to write it. Nothing was changed. Remedy: alter table public.push_campaigns alter column %1$I drop expression, and migrate again.', v_found.name)
                     else format('push_campaigns.%s is %s, and passbell needs %s. Nothing was changed. Remedy: alter table public.push_campaigns alter column %1$I drop default, alter column %1$I type %3$s using %1$I::%3$s; and migrate again.',
                                 v_found.name, v_found.type, v_found.wanted) end;
        end loop;
        -- Columns that stay empty when a campaign is ordered here.
        for v_found in
            select a.attname as name
              from pg_catalog.pg_attribute a
             where a.attrelid = v_table and a.attnum > 0 and not a.attisdropped and a.attnotnull and not a.atthasdef and a.attidentity = ''
               and a.attname not in ('id', 'program_id', 'name', 'message_text', 'message', 'target_query', 'csv_upload_url', 'status', 'sent_count', 'failed_count',
                                     'recipient_count', 'skipped_count', 'created_at', 'updated_at', 'kind')
             order by a.attnum
        loop
            raise exception using errcode = 'PB422', message = format('push_campaigns.%s must be filled in and has no default, so that no campaign could be ordered here. Nothing was changed. Remedy: alter table public.push_campaigns alter column %1$I drop not null (or set a default), and migrate again.', v_found.name);
        end loop;
    end if;

    -- A column that we read under a name that is gone: adding an empty one beside it would lose what it says.
    if to_regclass('passbell.host_columns') is not null then
        for v_found in
            select h.relation, h.column_name as name, a.attname as now_called
              from passbell.host_columns h
              left join pg_catalog.pg_attribute a on a.attrelid = to_regclass(h.relation) and a.attnum = h.number and not a.attisdropped
             where to_regclass(h.relation) is not null
               and not exists (select from pg_catalog.pg_attribute b where b.attrelid = to_regclass(h.relation) and b.attname = h.column_name and b.attnum > 0 and not b.attisdropped)
               and (a.attname is not null or h.column_name = 'marketing_opt_in')
        loop
            raise exception using errcode = 'PB422', message =
                case when v_found.now_called is not null
                     then format('%s.%s, which passbell reads, is now called %s. Nothing was changed. Remedy: alter table %1$s rename column %3$I to %2$I; or keep both names: alter table %1$s add column %2$I %4$s generated always as (%3$I) stored; and migrate again.',
                                 v_found.relation, v_found.name, v_found.now_called,
                                 (select format_type(a.atttypid, a.atttypmod) from pg_catalog.pg_attribute a where a.attrelid = to_regclass(v_found.relation) and a.attname = v_found.now_called))
                     else format('%s.%s, from which passbell reads who opted out, is gone. Nothing was changed. Remedy: put it back; or accept that no member has opted out: delete from passbell.host_columns where column_name = %3$L; and migrate again.',
                                 v_found.relation, v_found.name, v_found.name) end;
        end loop;
    elsif to_regclass('passbell.recipients') is not null and to_regclass('public.users') is not null
          and coalesce(obj_description(to_regclass('passbell.recipients'), 'pg_class'), '') like 'generated by passbell %' then
        -- Installed before the columns were remembered: the view itself says what it reads.
        select (regexp_match(pg_get_viewdef(to_regclass('passbell.recipients')), 'COALESCE\(u\.(\w+), true\) AS opted_in'))[1] as name into v_found;
        if v_found.name <> 'marketing_opt_in' then
            raise exception using errcode = 'PB422', message = format('public.users.marketing_opt_in, which passbell reads, is now called %s. Nothing was changed. Remedy: alter table public.users rename column %1$I to marketing_opt_in; and migrate again.', v_found.name);
        end if;
    end if;
end
$$;
