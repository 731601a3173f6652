-- The time that every rule asks for: the database's clock, or the time in the setting passbell.now. Tests and backtests set it.
-- Any login can set it, and the time decides about quiet hours, caps, leases and retention; so the setting counts only if the
-- statement runs under the owner of this schema or a superuser. Inside one transaction the time does not move.
-- Written in plpgsql: a SQL function that is called from plpgsql is parsed and planned at every call, 60 µs instead of 3.
create or replace function passbell.now() returns timestamptz
language plpgsql stable parallel safe
set search_path = ''
as $$
begin
    return case when coalesce(current_setting('passbell.now', true), '') = '' then pg_catalog.now()
                else coalesce(passbell.moved_clock(), pg_catalog.now()) end;
end
$$;

-- The time in passbell.now, or NULL where it does not count. The role of the request decides, as in acts_for_server, because
-- current_user is the owner in every SECURITY DEFINER function.
create or replace function passbell.moved_clock() returns timestamptz
language plpgsql stable parallel safe
set search_path = ''
as $$
begin
    if exists (select from pg_catalog.pg_roles r
                where r.rolname = coalesce(nullif(current_setting('role', true), 'none'), session_user)
                  and (r.rolsuper or r.oid = (select n.nspowner from pg_catalog.pg_namespace n where n.nspname = 'passbell'))) then
        return current_setting('passbell.now', true)::timestamptz;
    end if;
    return null;
end
$$;

-- The present by the clock of every rule, also late in a long transaction, in which passbell.now() does not move.
create or replace function passbell.this_moment() returns timestamptz
language plpgsql volatile
set search_path = ''
as $$
begin
    return passbell.now() + (clock_timestamp() - pg_catalog.now());
end
$$;

-- Has the statement run for ten seconds? A time-out strikes once per statement: loops over several campaigns end before it.
create or replace function passbell.has_run_long() returns boolean
language sql volatile
set search_path = ''
as $$ select clock_timestamp() - statement_timestamp() > interval '10 seconds' $$;

-- How long a lease lasts: what the caller asks for, from 0 seconds to one hour (the limit of PASSBELL_LEASE_SECONDS); a
-- minute for NULL. A longer one, infinity and NaN would keep work from every other daemon. Inlined into its caller.
create or replace function passbell.lease(p_seconds double precision) returns interval
language sql immutable
as $$
    select pg_catalog.make_interval(secs => least(greatest(coalesce(p_seconds, 60), 0), 3600))
$$;

-- A time zone that PostgreSQL accepts: the given one, or America/New_York (the host's own default) when it is missing or
-- misspelt. A typing error in a form must stop neither this program's pushes nor those of others. known_zone says whether the
-- zone was understood; check and migrate name the programs where it was not.
create or replace function passbell.zone(p_name text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return coalesce(passbell.known_zone(p_name), 'America/New_York');
end
$$;

-- PostgreSQL's name of the zone that a person typed; NULL if it is not known. People write 'GMT+2' and 'UTC-05:30' for hours
-- ahead of and behind UTC. PostgreSQL reads them by POSIX, where the sign is reversed, so they are translated. Any other word
-- with a sign and a number is not understood. The official Etc/GMT-2 stays what it is. A bare city is the zone that ends in it.
create or replace function passbell.known_zone(p_name text) returns text
language plpgsql stable
set search_path = ''
as $$
declare
    v_name    constant text := btrim(p_name);
    v_offset  text[];
begin
    if coalesce(v_name, '') = '' then
        return null;
    end if;
    if v_name ~ '^[^/]*[+-]\s*\d' or v_name ~ '^[+-]?\d' then
        v_offset := regexp_match(v_name, '^(?:UTC|GMT|Z)?\s*([+-])\s*(\d{1,2})(?::?([0-5]\d))?$', 'i');
        if v_offset is null or v_offset[2]::integer > 14 then
            return null;
        end if;
        return format('<UTC%s%s>%s%s:%s', v_offset[1], ltrim(v_offset[2], '0') || coalesce(nullif(':' || v_offset[3], ':00'), ''),
                      case v_offset[1] when '+' then '-' else '+' end, v_offset[2], coalesce(v_offset[3], '00'));
    end if;
    begin
        perform pg_catalog.now() at time zone v_name;
        return v_name;
    exception when invalid_parameter_value then
        null;
    end;
    return (select z.name from passbell.zone_names z where z.city = lower(regexp_replace(v_name, '\s+', '_', 'g')));
end
$$;

-- The zone of a program; that of unknown ones is New York as well.
create or replace function passbell.program_zone(p_program uuid) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return passbell.zone((select g.timezone from passbell.programs g where g.program_id = p_program limit 1));
end
$$;

-- Today in the program's zone.
create or replace function passbell.local_date(p_program uuid) returns date
language plpgsql stable
set search_path = ''
as $$
begin
    return (passbell.now() at time zone passbell.program_zone(p_program))::date;
end
$$;

-- Is `p_at` inside the daily window [start, end) of the zone? No window means always; a window may span midnight.
create or replace function passbell.in_window(p_at timestamptz, p_zone text, p_start time, p_end time) returns boolean
language plpgsql stable
set search_path = ''
as $$
declare
    v_time  time;
begin
    if p_start is null or p_end is null or p_start = p_end then
        return true;
    end if;
    v_time := (p_at at time zone p_zone)::time;
    return case when p_start < p_end then v_time >= p_start and v_time < p_end
                else v_time >= p_start or v_time < p_end end;
end
$$;
