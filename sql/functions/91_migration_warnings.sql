-- What a person should know after a migration: things that passbell may not mend by itself.
create or replace function passbell.migration_warnings() returns table (warning text)
language plpgsql stable
set search_path = ''
as $$
begin
    if to_regclass('public.programs') is null or to_regclass('public.passes_master') is null then
        return query select 'The platform''s tables (programs, passes_master) are not there yet: migrate again when they are.';
    end if;
end
$$;
