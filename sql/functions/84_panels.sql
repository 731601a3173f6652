-- What the page shows beside the campaigns.

-- Who is next: the coming p_days local dates of a program, today included, with how many birthdays each has and the
-- first few people.
create or replace function passbell.birthdays_ahead(p_program uuid, p_days integer default 7, p_people integer default 6)
returns table (local_date date, today boolean, n bigint, gifted bigint, people jsonb)
language sql stable
set search_path = ''
as $$
    select d.day::date, d.day::date = t.today, count(b.pass_id), count(b.pass_id) filter (where b.already_gifted),
           coalesce(jsonb_agg(jsonb_build_object('external_id', b.external_id, 'first_name', left(b.first_name, 200), 'gifted', b.already_gifted)
                              order by b.nth) filter (where b.nth <= least(p_people, 100)), '[]')
      from (select (passbell.now() at time zone passbell.zone(g.timezone))::date as today from passbell.programs g where g.program_id = p_program) t
     cross join generate_series(t.today::timestamp, t.today + (least(greatest(p_days, 1), 62) - 1) * interval '1 day', interval '1 day') as d (day)
      left join lateral (select p.*, row_number() over (order by p.first_name, p.external_id) as nth
                           from passbell.birthday_people(p_program, d.day::date) p) b on true
     group by d.day, t.today
     order by d.day
$$;

-- The last runs of a program's birthday bot.
create or replace function passbell.birthday_history(p_program uuid, p_limit integer default 7)
returns table (local_date date, started_at timestamptz, completed_at timestamptz, eligible integer, gifted integer, failed integer,
               campaign_id uuid, detail text)
language sql stable
set search_path = ''
as $$
    select r.local_date, r.started_at, r.completed_at, r.eligible, r.gifted, r.failed, r.campaign_id, r.detail
      from passbell.birthday_runs r
     where r.program_id = p_program
     order by r.local_date desc
     limit least(greatest(p_limit, 1), 400)
$$;

-- Programs as the page and the API list them.
drop function if exists passbell.program_list();
create function passbell.program_list()
returns table (program_id uuid, name text, protocol text, passkit_program_id text, timezone text, suspended boolean,
               birthday_bot_enabled boolean, birthday_reward_points integer, birthday_message text, birthday_send_at text,
               push_window_start text, push_window_end text, push_consent text, push_max integer, push_max_days integer, push_min_hours integer)
language sql stable
set search_path = ''
as $$
    select g.program_id, coalesce(nullif(btrim(g.name), ''), g.program_id::text), g.protocol, g.passkit_program_id, passbell.zone(g.timezone), g.suspended,
           g.birthday_bot_enabled, greatest(g.birthday_reward_points, 0), g.birthday_message, to_char(g.birthday_send_at, 'HH24:MI'),
           to_char(g.push_window_start, 'HH24:MI'), to_char(g.push_window_end, 'HH24:MI'),
           coalesce(g.push_consent, 'OPT_OUT'), g.push_max, g.push_max_days, g.push_min_hours
      from passbell.programs g
     order by lower(g.name), g.program_id
$$;

-- Daemons and their PassKit accounts. A daemon reports every five seconds; silent for thirty, it counts as gone.
create or replace function passbell.daemon_list()
returns table (id uuid, host text, pid integer, version text, account text, started_at timestamptz, silent_seconds integer, alive boolean, doing text)
language sql stable
set search_path = ''
as $$
    select w.id, w.host, w.pid, w.version, w.account, w.started_at,
           greatest(0, extract(epoch from clock_timestamp() - w.heartbeat_at))::integer, w.heartbeat_at > clock_timestamp() - interval '30 seconds', w.doing
      from passbell.workers w
     order by w.heartbeat_at desc
     limit 50
$$;

-- PassKit accounts with their rate and breaker. The daemons' own accounts go by the name of their limit, because there may be
-- several; those of passbell.accounts by their name. Accounts that send nothing come first.
drop function if exists passbell.account_list();
create function passbell.account_list()
returns table (account text, rate_per_second numeric, rate_now numeric, breaker text, breaker_kind text, breaker_reason text, opened_at timestamptz,
               blocked_seconds integer, programs integer, served boolean, enabled boolean, trouble text)
language sql stable
set search_path = ''
as $$
    with state as materialized (select s.* from passbell.account_states() s)
    select coalesce(nullif(s.account, ''), l.account), coalesce(l.rate_per_second, s.rate_per_second),
           coalesce(least(l.rate_per_second, round((passbell.slot_air() / passbell.slot_width(l))::numeric, 1)), s.rate_per_second),
           coalesce(l.breaker, 'closed'), l.breaker_kind, l.breaker_reason, l.opened_at,
           greatest(0, extract(epoch from nullif(l.blocked_until, '-infinity') - clock_timestamp()))::integer,
           s.programs::integer, s.served, s.enabled, s.trouble
      from (select r.* from passbell.rate_limits r
             where r.account not like 'campaign:%' and r.account not like 'account:%'
                or r.account in (select s.limit_row from state s)) l
      full join state s on s.limit_row = l.account
     where l.account is not null or s.account <> ''
     order by s.trouble is null, s.account, l.account
$$;
