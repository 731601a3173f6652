-- Before anything is changed: what of the host's tables passbell cannot work with, each with its column and the remedy.
do $$
declare
    v_found   record;
    v_table   constant regclass := to_regclass('public.push_campaigns');
    v_ours    constant boolean := exists (select from pg_catalog.pg_attribute a
                                           where a.attrelid = to_regclass('passbell.settings') and a.attname = 'schema_version' and not a.attisdropped);
begin
    -- What has one of our names and is not ours.
    if to_regnamespace('passbell') is not null and not v_ours
       and exists (select from pg_catalog.pg_class c where c.relnamespace = to_regnamespace('passbell') and c.relkind in ('r', 'p', 'v')) then
        raise exception using errcode = 'PB422', message = 'The schema passbell belongs to something else: it has tables, and its table settings has no column schema_version. Nothing was changed. Remedy: alter schema passbell rename to passbell_old, and migrate again.';
    end if;
    for v_found in
        select w.relation, w.name, format_type(a.atttypid, null) as type, w.wanted
          from (values ('member_imports', 'id', 'uuid'), ('member_imports', 'program_id', 'uuid'), ('member_imports', 'csv_upload_url', 'text'), ('member_imports', 'dry_run', 'boolean'),
                       ('member_imports', 'status', 'text'), ('push_automations', 'id', 'uuid'), ('push_automations', 'program_id', 'uuid'), ('push_automations', 'occasion', 'text'),
                       ('push_automations', 'message_text', 'text'), ('push_automations', 'is_on', 'boolean'), ('push_suppressions', 'id', 'uuid'),
                       ('push_suppressions', 'program_id', 'uuid'), ('push_suppressions', 'external_id', 'text')) as w (relation, name, wanted)
          left join pg_catalog.pg_attribute a on a.attrelid = to_regclass('public.' || w.relation) and a.attname = w.name and a.attnum > 0 and not a.attisdropped
         where not v_ours and to_regclass('public.' || w.relation) is not null and format_type(a.atttypid, null) is distinct from w.wanted
    loop
        raise exception using errcode = 'PB422', message = format('public.%s is not the table that passbell makes under this name: %s. Nothing was changed. Remedy: rename it (alter table public.%1$I rename to %3$I) and migrate again.',
            v_found.relation, case when v_found.type is null then format('it has no column %s', v_found.name) else format('%s is %s, not %s', v_found.name, v_found.type, v_found.wanted) end,
            v_found.relation || '_old');
    end loop;
    for v_found in
        select c.relname::text as name, c.relkind
          from pg_catalog.pg_class c
         where c.oid in (to_regclass('public.push_deliveries'), to_regclass('public.push_list_problems'), to_regclass('public.member_import_rows'))
           and case when c.relkind = 'v' then pg_catalog.pg_get_viewdef(c.oid) !~ 'passbell\.' else true end
    loop
        raise exception using errcode = 'PB422', message = format('public.%s is not the view that passbell makes under this name. Nothing was changed. Remedy: rename it (alter %s public.%1$I rename to %3$I) and migrate again.',
            v_found.name, case v_found.relkind when 'v' then 'view' when 'm' then 'materialized view' else 'table' end, v_found.name || '_old');
    end loop;
    -- A function of the platform's under a name of ours would be replaced, or make every call ambiguous.
    for v_found in
        select p.oid::regprocedure::text as signature, p.proname::text as name
          from pg_catalog.pg_proc p
         where p.pronamespace = 'public'::regnamespace and p.prosrc !~ 'passbell\.'
           and p.proname = any (array['push_preview', 'push_send', 'push_test', 'push_pause', 'push_resume', 'push_cancel', 'push_retry_failed', 'push_progress', 'push_forget',
                                      'push_results', 'push_results_total', 'push_plan', 'push_report', 'run_birthdays', 'run_automations', 'get_due', 'automation_preview',
                                      'automation_results'])
         order by 1
    loop
        raise exception using errcode = 'PB422', message = format('public.%s is a function of the platform''s under a name that passbell uses. Nothing was changed. Remedy: alter function %1$s rename to %2$I; and migrate again.',
            v_found.signature, v_found.name || '_old');
    end loop;

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

    -- Columns of the platform's under names that we add: their rules (push_consent is OPT_OUT or OPT_IN) cannot hold there.
    for v_found in
        select a.attname as name, format_type(a.atttypid, a.atttypmod) as type
          from (values ('push_consent'), ('birthday_leap_day'), ('passkit_account')) as w (name)
          join pg_catalog.pg_attribute a on a.attrelid = to_regclass('public.programs') and a.attname = w.name and a.attnum > 0 and not a.attisdropped
          join pg_catalog.pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p')
          join pg_catalog.pg_type t on t.oid = a.atttypid
         where t.typcategory <> 'S'
    loop
        raise exception using errcode = 'PB422', message = format('programs.%s is %s, and passbell keeps words there. Nothing was changed. Remedy: alter table public.programs rename column %1$I to %3$I; and migrate again.',
            v_found.name, v_found.type, v_found.name || '_old');
    end loop;

    -- The proof that a gift is given once.
    if to_regclass('public.birthday_logs') is not null then
        if (select c.relkind from pg_catalog.pg_class c where c.oid = to_regclass('public.birthday_logs')) not in ('r', 'p') then
            raise exception using errcode = 'PB422', message = 'public.birthday_logs is no table, and only a table can be UNIQUE (pass_id, year), which keeps a gift from being given twice. Nothing was changed. Remedy: rename it (alter view public.birthday_logs rename to birthday_logs_old) and migrate again; passbell makes its own.';
        end if;
        for v_found in
            select w.name, format_type(a.atttypid, a.atttypmod) as type
              from (values ('pass_id', null), ('year', array['integer', 'smallint', 'bigint', 'numeric'])) as w (name, wanted)
              left join pg_catalog.pg_attribute a on a.attrelid = to_regclass('public.birthday_logs') and a.attname = w.name and a.attnum > 0 and not a.attisdropped
             where a.attname is null or not (format_type(a.atttypid, null) = any (w.wanted))
        loop
            raise exception using errcode = 'PB422', message =
                case when v_found.type is null
                     then format('public.birthday_logs has no column %s. Nothing was changed. Remedy: rename that table (alter table public.birthday_logs rename to birthday_logs_old) and migrate again; passbell makes its own.', v_found.name)
                     else format('birthday_logs.%s is %s, and passbell needs integer. Nothing was changed. Remedy: alter table public.birthday_logs alter column %1$I type integer using %1$I::integer; and migrate again.', v_found.name, v_found.type) end;
        end loop;
    end if;

    if v_table is not null then
        if (select c.relkind from pg_catalog.pg_class c where c.oid = v_table) <> 'r' then
            raise exception using errcode = 'PB422', message = format('public.push_campaigns is %s. Nothing was changed. Remedy: rename it to push_campaigns_old and migrate again; passbell makes its own.',
                (select case c.relkind when 'p' then 'a partitioned table, in which an id alone cannot be unique' when 'v' then 'a view, and passbell has to add columns and triggers' else 'no table' end
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
                       else array['timestamp with time zone', case when w.name <> 'scheduled_at' then 'timestamp without time zone' else '' end] end)
             order by a.attnum
        loop
            raise exception using errcode = 'PB422', message =
                case when v_found.generated
                     then format('push_campaigns.%s is a generated column, and passbell has to write it. Nothing was changed. Remedy: alter table public.push_campaigns alter column %1$I drop expression, and migrate again.', v_found.name)
                     when v_found.type like 'timestamp%'
                     then format('push_campaigns.%s is %s: a time without a zone is another moment for each reader. Nothing was changed. Remedy: alter table public.push_campaigns alter column %1$I type timestamptz using %1$I at time zone ''UTC''; and migrate again.',
                                 v_found.name, v_found.type)
                     else format('push_campaigns.%s is %s, and passbell needs %s. Nothing was changed. Remedy: alter table public.push_campaigns alter column %1$I drop default, alter column %1$I type %3$s using %1$I::%3$s; and migrate again.',
                                 v_found.name, v_found.type, v_found.wanted) end;
        end loop;
        -- Columns too short for what we write into them.
        for v_found in
            select a.attname as name, format_type(a.atttypid, a.atttypmod) as type
              from (values ('status', 10), ('kind', 10), ('status_detail', 500)) as w (name, least)
              join pg_catalog.pg_attribute a on a.attrelid = v_table and a.attname = w.name and a.attnum > 0 and not a.attisdropped
             where a.atttypid in ('varchar'::regtype, 'bpchar'::regtype) and a.atttypmod between 1 and w.least + 3
             order by a.attnum
        loop
            raise exception using errcode = 'PB422', message = format('push_campaigns.%s is %s, which is too short for what passbell writes there. Nothing was changed. Remedy: alter table public.push_campaigns alter column %1$I type text; and migrate again.',
                v_found.name, v_found.type);
        end loop;
        -- Columns that stay empty when a campaign is ordered here.
        for v_found in
            select a.attname as name
              from pg_catalog.pg_attribute a
              join pg_catalog.pg_type t on t.oid = a.atttypid
             where a.attrelid = v_table and a.attnum > 0 and not a.attisdropped and (a.attnotnull or t.typnotnull) and not a.atthasdef and t.typdefault is null and a.attidentity = ''
               and a.attname not in ('id', 'program_id', 'name', 'message_text', 'message', 'status', 'sent_count', 'failed_count',
                                     'recipient_count', 'skipped_count', 'created_at', 'updated_at', 'kind')
               and not (v_ours and a.attname in ('target_query', 'csv_upload_url'))     -- forms that fill them in work there
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
             where not exists (select from pg_catalog.pg_attribute b where b.attrelid = to_regclass(h.relation) and b.attname = h.column_name and b.attnum > 0 and not b.attisdropped)
               and (a.attname is not null
                    or (h.relation, h.column_name) in (('public.users', 'marketing_opt_in'), ('public.users', 'id'), ('public.passes_master', 'user_id')))
             order by to_regclass(h.relation) is null desc, h.relation desc, h.column_name = 'marketing_opt_in' desc
        loop
            raise exception using errcode = 'PB422', message =
                case when to_regclass(v_found.relation) is null
                     then format('%s, through which passbell reads who opted out, is gone%s. Nothing was changed. Remedy: %s; or accept that no member has opted out: delete from passbell.host_columns where relation = %L; and migrate again.',
                                 v_found.relation,
                                 coalesce((select '; it is now called ' || min(d.refobjid::regclass::text)
                                             from pg_catalog.pg_rewrite w
                                             join pg_catalog.pg_depend d on d.objid = w.oid and d.refclassid = 'pg_class'::regclass and d.refobjid <> w.ev_class
                                             join pg_catalog.pg_class c on c.oid = d.refobjid and c.relnamespace <> to_regnamespace('passbell')
                                            where w.ev_class = to_regclass('passbell.recipients')
                                              and c.relname not in ('programs', 'users', 'passes_master', 'protocol_membership', 'protocol_coupon', 'protocol_event_ticket', 'transactions')), ''),
                                 'put a table or a view under that name', v_found.relation)
                     when v_found.now_called is not null
                     then format('%s.%s, which passbell reads, is now called %s. Nothing was changed. Remedy: alter table %1$s rename column %3$I to %2$I; or keep both names: alter table %1$s add column %2$I %4$s generated always as (%3$I) stored; and migrate again.',
                                 v_found.relation, v_found.name, v_found.now_called,
                                 (select format_type(a.atttypid, a.atttypmod) from pg_catalog.pg_attribute a where a.attrelid = to_regclass(v_found.relation) and a.attname = v_found.now_called))
                     else format('%s.%s, from which passbell reads who opted out, is gone. Nothing was changed. Remedy: put it back; or accept that no member has opted out: delete from passbell.host_columns where relation = %L and column_name = %L; and migrate again.',
                                 v_found.relation, v_found.name, v_found.relation, v_found.name) end;
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
