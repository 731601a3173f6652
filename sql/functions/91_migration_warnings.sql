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
    if passbell.consent_trouble() is not null then
        return query select passbell.consent_trouble();
    end if;
end
$$;
