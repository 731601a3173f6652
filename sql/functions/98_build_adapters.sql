-- Builds the adapters from the host's columns as they are now. Before the grants: views and functions that are made
-- after them would have no grants, or those of PUBLIC, until the next migrate.
--
-- What follows tries functions and triggers of the host's. One that hangs is cut (statement_timeout) and told of.
do $$
begin
    perform set_config('passbell.timeout_before', current_setting('statement_timeout'), true);
    if (select s.setting::integer not between 1 and 20000 from pg_catalog.pg_settings s where s.name = 'statement_timeout') then
        perform set_config('statement_timeout', '20s', true);
    end if;
end
$$;
select passbell.build_adapters();
do $$ begin perform set_config('statement_timeout', coalesce(nullif(current_setting('passbell.timeout_before', true), ''), current_setting('statement_timeout')), true); end $$;
select passbell.backfill_awards();
select passbell.build_occasion_adapters();
select passbell.build_people_views();
select passbell.remember_columns();
select passbell.look_at_consent();

-- Indexes on the host's tables that are missing and depend on columns or functions of ours:
--
--   idx_users_birthday             who has a birthday, by the date as recipients reads it
--   notification_logs_campaign     one audit row per campaign
--   birthday_logs_pass_id_year_once  one live copy has lost UNIQUE (pass_id, year). It is made again unless duplicates forbid it:
--                                  then migrate names them (migration_warnings) and the birthday bot refuses to run, because
--                                  without it nothing proves that a gift is given once
create or replace function passbell.missing_indexes()
returns table (name text, relation text, col text, is_unique boolean, definition text)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
begin
    return query
        select w.name, w.relation, w.col, w.is_unique, format('on public.%I %s', w.relation, w.definition)
          from (values
                ('idx_users_birthday', 'users', 'birth_date', false,
                 replace(format('(extract(month from %1$s), extract(day from %1$s))', passbell.host_column('public.users', 'u', 'birth_date', 'date')), 'u.birth_date', 'birth_date')),
                ('notification_logs_campaign', 'notification_logs', 'campaign_id', true, '(campaign_id) where campaign_id is not null')
               ) as w (name, relation, col, is_unique, definition)
          join pg_catalog.pg_class c on c.oid = to_regclass('public.' || w.relation) and c.relkind in ('r', 'p')
         where passbell.has_column('public.' || w.relation, w.col)
           and (c.relkind = 'r' or not w.is_unique)      -- a partitioned table could be unique by its partition key only
           and not exists (select from pg_catalog.pg_index i where i.indexrelid = to_regclass('public.' || w.name) and i.indisvalid);
    if not passbell.birthday_guard_exists()
       and not exists (select from public.birthday_logs l where l.pass_id is not null group by l.pass_id, l.year having count(*) > 1) then
        return query select 'birthday_logs_pass_id_year_once', 'birthday_logs', 'year', true, 'on public.birthday_logs (pass_id, year)';
    end if;
end
$$;

-- Builds them. `passbell migrate` says from which size on it builds them itself afterwards, beside the platform's writes.
do $$
declare
    v_index   record;
    v_beside  constant bigint := nullif(current_setting('passbell.build_beside', true), '');
begin
    for v_index in select * from passbell.missing_indexes() loop
        if to_regclass('public.' || v_index.name) is null
           and (v_beside is null or pg_relation_size(to_regclass('public.' || v_index.relation)) < v_beside) then
            execute format('create %s index %I %s', case when v_index.is_unique then 'unique' else '' end, v_index.name, v_index.definition);
        end if;
    end loop;
end
$$;

do $$
begin
    if (select s.setting::integer not between 1 and 20000 from pg_catalog.pg_settings s where s.name = 'statement_timeout') then
        perform set_config('statement_timeout', '20s', true);
    end if;
end
$$;
-- A table that lets no campaign through is refused where passbell is new; an installation that works elsewhere is warned.
do $$
declare
    v_refusal  constant text := case when (select s.schema_version from passbell.settings s) = 0 then passbell.order_trial() end;
begin
    if v_refusal is not null then
        raise exception using errcode = 'PB422', message = v_refusal || ' Nothing was changed.';
    end if;
end
$$;
do $$ begin perform set_config('statement_timeout', coalesce(nullif(current_setting('passbell.timeout_before', true), ''), current_setting('statement_timeout')), true); end $$;
