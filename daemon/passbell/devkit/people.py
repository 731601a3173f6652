"""Who the demo's members are: names, places, and the statement that draws them inside PostgreSQL."""

from __future__ import annotations

from typing import Final

__all__ = ["CREATE_PEOPLE", "DRAW_PEOPLE", "FIRST_NAMES", "LAST_NAMES", "PLACES", "SHARE_PEOPLE"]

# fmt: off
FIRST_NAMES: Final = [
    "Olivia", "Liam", "Emma", "Noah", "Ava", "Mateo", "Sofía", "Lucas", "Mia", "Ethan", "Zoë", "Aarav",
    "Priya", "Chen", "Yuki", "Hana", "Omar", "Layla", "Fatima", "José", "Renée", "André", "Björn",
    "Ingrid", "Łukasz", "Siobhán", "Anaïs", "Chidi", "Amara", "Kwame", "Nadia", "Ivan", "Grace", "Theo",
    "Ruth", "Walter", "Pearl", "Dmitri",
]
LAST_NAMES: Final = [
    "Smith", "Johnson", "O'Brien", "García", "Nguyen", "Patel", "Kim", "Müller", "Kowalski", "Okafor",
    "Haddad", "Rossi", "Silva", "Andersson", "Dubois", "Novák", "Cohen", "Walker", "Young", "King",
    "Wright", "Hill", "Green", "Adams", "Nelson", "Baker", "Rivera", "Campbell", "Mitchell", "Carter",
    "Smith-Jones", "Tanaka",
]
# fmt: on
# (city, state, zip); the first ones are drawn most often.
PLACES: Final = (
    ("New York", "NY", "10001"),
    ("Beverly Hills", "CA", "90210"),
    ("Los Angeles", "CA", "90211"),
    ("San Francisco", "CA", "94110"),
    ("Cambridge", "MA", "02139"),
    ("Chicago", "IL", "60614"),
    ("Austin", "TX", "78704"),
    ("Coeur d'Alene", "ID", "83814"),
    ("Honolulu", "HI", "96815"),
    ("Montréal", "QC", "H2X 1Y4"),
    ("Auckland", "AUK", "1010"),
    ("Zürich", "ZH", "8001"),
)

CREATE_PEOPLE: Final = """
create temporary table people (
  program_number integer, n integer, program_id uuid, protocol text, program_day date,
  pass_id uuid, user_id uuid, passkit_id text, external_id text,
  first_name text, last_name text, email text, phone text, address text, city text, state text, zip text,
  birth_date date, opted_in boolean, status text, is_active boolean, last_updated timestamptz,
  points integer, tier_points integer, chance double precision, place double precision
)
"""

# One row per pass. Ids and external ids are hashes and counters, whatever the draws are.
# PassKit ids are 22 characters of base-62 (a compressed UUID).
DRAW_PEOPLE: Final = """
insert into pg_temp.people
select %(number)s, n, %(program)s, %(protocol)s, today,
       md5('pass ' || key)::uuid,
       case when a >= %(without_user)s then md5('user ' || key)::uuid end,
       case when b >= %(without_wallet)s
            then left(translate(encode(sha256(key::bytea), 'base64'), '+/=', 'xyz'), 22) end,
       %(prefix)s || '-' || lpad(n::text, 7, '0'),
       first_name, last_name,
       lower(regexp_replace(first_name, '[^A-Za-z]', '', 'g')) || '.' || replace(key, ':', '.')
         || '@example.com',
       '+1212555' || lpad((n %% 10000)::text, 4, '0'),
       1 + n %% 900 || ' Main Street', city, state, zip,
       case when c < 0.04 then null
            when c < 0.043 then (today - make_interval(years => 18 + (d * 50)::integer))::date
            else date '1945-01-01' + (d * 22900)::integer end,
       case when e < 0.08 then false when e >= 0.13 then true end,
       status,
       case status when 'INSTALLED' then f >= 0.03 when 'UNINSTALLED' then f < 0.5 else status = 'ISSUED'
       end,
       now() - make_interval(secs => power(g, 2) * 120 * 86400),
       floor(-350 * ln(1 - h))::integer,
       floor(power(10, 4.3 * i))::integer - 1,
       d, f
  from (select n, %(seed)s || ':' || %(number)s || ':' || n as key,
               (now() at time zone %(timezone)s)::date as today,
               random() as a, random() as b, random() as c, random() as d, random() as e, random() as f,
               random() as g, random() as h, random() as i, random() as j, random() as k, random() as l,
               random() as m
          from generate_series(1, %(count)s) as n) as draw
 cross join lateral (
       select (%(first_names)s::text[])[1 + (j * %(first_name_count)s)::integer %% %(first_name_count)s]
                as first_name,
              (%(last_names)s::text[])[1 + (k * %(last_name_count)s)::integer %% %(last_name_count)s]
                as last_name,
              1 + (power(l, 1.5) * %(place_count)s)::integer %% %(place_count)s as spot,
              case when m < 0.82 then 'INSTALLED'
                   when m < 0.90 then 'UNINSTALLED'
                   when m < 0.97 then 'ISSUED'
                   when m < 0.985 then 'VOIDED'
                   else 'EXPIRED' end as status) as named
 cross join lateral (
       select (%(cities)s::text[])[spot] as city, (%(states)s::text[])[spot] as state,
              (%(zips)s::text[])[spot] as zip) as located
"""

# Every fiftieth pass of a program belongs to the person before it.
SHARE_PEOPLE: Final = """
update pg_temp.people second
   set user_id = first.user_id, first_name = first.first_name, last_name = first.last_name,
       email = first.email, phone = first.phone, birth_date = first.birth_date
  from pg_temp.people first
 where second.n % 50 = 0 and first.n = second.n - 1 and first.program_number = second.program_number
   and first.user_id is not null
"""
