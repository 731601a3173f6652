-- Numbers and times as people read them.

-- Writes 4812 as 4,812.
create or replace function passbell.thousands(p_n numeric) returns text
language sql immutable
set search_path = ''
as $$
    select ltrim(to_char(p_n, '999,999,999,999,990'))
$$;

-- 1 guest, 410 guests.
create or replace function passbell.guests(p_n double precision) returns text
language sql immutable
set search_path = ''
as $$
    select passbell.thousands(round(p_n::numeric)) || case when round(p_n::numeric) = 1 then ' guest' else ' guests' end
$$;

-- 1 day, 7 days.
create or replace function passbell.days(p_n integer) returns text
language sql immutable
set search_path = ''
as $$
    select p_n || case when p_n = 1 then ' day' else ' days' end
$$;

-- 1 campaign, 12 campaigns.
create or replace function passbell.campaigns(p_n bigint) returns text
language sql immutable
set search_path = ''
as $$
    select passbell.thousands(p_n) || case when p_n = 1 then ' campaign' else ' campaigns' end
$$;

-- A time as people read it, in the program's zone: 5 Dec, 18:00.
create or replace function passbell.short_time(p_at timestamptz, p_program uuid) returns text
language sql stable
set search_path = ''
as $$
    select ltrim(to_char(t.at, 'FMDD Mon')) || case when extract(year from t.at) <> extract(year from t.today) then to_char(t.at, ' YYYY') else '' end
           || to_char(t.at, ', HH24:MI')
      from (select p_at at time zone z.zone as at, passbell.now() at time zone z.zone as today from passbell.program_zone(p_program) as z (zone)) t
$$;

-- A moment as people of the program read it, with the zone named: Thu 24 Dec 2026, 18:00 Europe/Berlin.
create or replace function passbell.page_when(p_program uuid, p_at timestamptz) returns text
language sql stable
set search_path = ''
as $$
    select to_char(p_at at time zone z.zone, 'Dy FMDD Mon YYYY, HH24:MI') || ' ' || z.zone
      from passbell.program_zone(p_program) as z (zone)
$$;
