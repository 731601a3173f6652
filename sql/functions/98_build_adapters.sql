-- Builds the adapters from the host's columns as they are now. Before the grants: views and functions that are made
-- after them would have no grants, or those of PUBLIC, until the next migrate.
select passbell.build_adapters();
select passbell.backfill_awards();
select passbell.build_occasion_adapters();
select passbell.build_people_views();
select passbell.remember_columns();
select passbell.look_at_consent();

-- Birthdays are looked up by the date as recipients reads it; 0001 made the index where birth_date is a date.
do $$
begin
    if (select c.relkind from pg_catalog.pg_class c where c.oid = to_regclass('public.users')) in ('r', 'p')
       and passbell.has_column('public.users', 'birth_date') and to_regclass('public.idx_users_birthday') is null then
        execute replace(format('create index idx_users_birthday on public.users (extract(month from %1$s), extract(day from %1$s))',
                               passbell.host_column('public.users', 'u', 'birth_date', 'date')), 'u.birth_date', 'birth_date');
    end if;
end
$$;
