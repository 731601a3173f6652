-- What a person should know after a migration: things that passbell may not mend by itself.
create or replace function passbell.migration_warnings() returns table (warning text)
language plpgsql stable
set search_path = ''
as $$
begin
    if to_regclass('public.programs') is null or to_regclass('public.passes_master') is null then
        return query select 'The platform''s tables (programs, passes_master) are not there yet: migrate again when they are.';
    end if;
    if not passbell.birthday_guard_exists() then
        return query select format('public.birthday_logs has no UNIQUE (pass_id, year) and duplicates forbid it: %s. Birthday gifts are off. Remove the duplicates, then migrate again.',
                                   coalesce(passbell.birthday_duplicates(), 'none any more'));
    end if;
    return query
        select format('The time zone "%s" of %s is not understood: America/New_York is used. Write it like Europe/Berlin or UTC+2.', left(g.timezone, 60),
                      string_agg('"' || coalesce(g.name, g.program_id::text) || '"', ', ' order by g.name))
          from passbell.programs g
         where nullif(btrim(g.timezone), '') is not null and passbell.known_zone(g.timezone) is null
         group by g.timezone;
    if passbell.is_open_schema('public') then
        return query
            select format('Everybody may create objects in the schema public, so passbell does not look into it when the platform''s triggers run. '
                          'Those that name tables without a schema fail then, and stop campaigns: %s. Run `revoke create on schema public from public`, then `passbell migrate`.',
                          string_agg(format('%s on %s', t.tgname, t.tgrelid::regclass), ', ' order by t.tgname))
              from pg_catalog.pg_trigger t
              join pg_catalog.pg_proc p on p.oid = t.tgfoid
             where t.tgrelid in (to_regclass('public.push_campaigns'), to_regclass('public.notification_logs'), to_regclass('public.birthday_logs'))
               and not t.tgisinternal and t.tgenabled <> 'D' and p.pronamespace <> 'passbell'::regnamespace
               and not exists (select from unnest(p.proconfig) c where starts_with(c, 'search_path='))
            having count(*) > 0;
    end if;
    if passbell.consent_trouble() is not null then
        return query select passbell.consent_trouble();
    end if;
end
$$;
