-- Campaigns for people to look at, newest first; one page of p_limit after (p_before, p_before_id). Progress is
-- push_progress's. Uses push_campaigns_newest, or push_campaigns_program with a program.
create or replace function passbell.campaign_page(
    p_program uuid default null, p_before timestamptz default null, p_before_id uuid default null, p_limit integer default 25, p_status text default null)
returns table (campaign_id uuid, program_id uuid, program_name text, name text, message text, target text, kind text, status text, status_detail text,
               total integer, sent integer, failed integer, skipped integer, remaining integer, percent numeric, rate_per_second numeric,
               finishes_at timestamptz, scheduled_at timestamptz, created_at timestamptz, started_at timestamptz, completed_at timestamptz, created_by text)
language sql stable
set search_path = ''
as $$
    select k.* from (
        select c.id, c.created_at
          from public.push_campaigns c
         where (p_program is null or c.program_id = p_program)
           and (p_status is null or c.status = upper(btrim(p_status)))
           and (p_before is null or (c.created_at, c.id) < (p_before, coalesce(p_before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')))
         order by c.created_at desc, c.id desc
         limit least(greatest(p_limit, 1), 200)) page
     cross join lateral passbell.campaign_card(page.id) k
     order by page.created_at desc, page.id desc
$$;

-- One campaign, as campaign_page shows it; status_detail says what it waits for (waits_for). Raises PB404.
create or replace function passbell.campaign_card(p_campaign uuid)
returns table (campaign_id uuid, program_id uuid, program_name text, name text, message text, target text, kind text, status text, status_detail text,
               total integer, sent integer, failed integer, skipped integer, remaining integer, percent numeric, rate_per_second numeric,
               finishes_at timestamptz, scheduled_at timestamptz, created_at timestamptz, started_at timestamptz, completed_at timestamptz, created_by text)
language sql stable
set search_path = ''
as $$
    select c.id, c.program_id, left(g.name, 200), left(c.name, 200), left(c.message_text, 4000),
           coalesce(nullif(btrim(left(c.target_query, 10000)), ''), 'ALL') || case when length(c.target_query) > 10000 then ' …' else '' end
               || case when nullif(btrim(c.csv_upload_url), '') is not null and coalesce(c.target_query, '') !~* 'csv' then ' & CSV' else '' end,
           c.kind, p.status, coalesce(passbell.waits_for(c.id), p.status_detail),
           p.recipient_count, p.sent, p.failed, p.skipped, p.remaining, p.percent, p.rate_per_second, p.finishes_at,
           c.scheduled_at, c.created_at, c.started_at, c.completed_at, c.created_by
      from public.push_progress(p_campaign) p
      join public.push_campaigns c on c.id = p_campaign
      left join passbell.programs g on g.program_id = c.program_id
$$;

-- Those of these campaigns that are there, in the order asked for.
create or replace function passbell.known_campaigns(p_campaigns uuid[]) returns table (campaign_id uuid, place bigint)
language sql stable
set search_path = ''
as $$
    select w.id, w.place
      from unnest(p_campaigns) with ordinality as w (id, place)
      join public.push_campaigns c on c.id = w.id
     order by w.place
$$;

drop function if exists passbell.campaign_states(uuid);

-- What became of a campaign's recipients, by outcome and reason.
create or replace function passbell.campaign_reasons(p_campaign uuid)
returns table (outcome text, reason text, n bigint)
language sql stable
set search_path = ''
as $$
    select d.outcome, d.reason, count(*)
      from passbell.deliveries d
     where d.campaign_id = p_campaign
     group by d.outcome, d.reason
     order by d.outcome = 'sent' desc, count(*) desc, d.reason
$$;

-- Rows of a campaign's list that reach no member: how many per reason, with the first few values.
create or replace function passbell.list_reasons(p_campaign uuid)
returns table (reason text, n bigint, examples text)
language sql stable
set search_path = ''
as $$
    select e.key, e.value::bigint,
           (select string_agg(f.value, ', ' order by f.row_number)
              from (select x.value, x.row_number from passbell.list_entries x
                     where x.campaign_id = p_campaign and x.reason = e.key order by x.row_number limit 5) f)
      from passbell.list_loads l
     cross join lateral jsonb_each_text(l.reasons) e
     where l.campaign_id = p_campaign
     order by e.value::bigint desc, e.key
$$;

-- Outcomes over time in p_slots equal slots from the first to the last one: the small chart.
create or replace function passbell.campaign_timeline(p_campaign uuid, p_slots integer default 60)
returns table (slot integer, starts_at timestamptz, seconds double precision, sent bigint, failed bigint)
language sql stable
set search_path = ''
as $$
    with edge as (
        select min(d.sent_at) as first, greatest(extract(epoch from max(d.sent_at) - min(d.sent_at)), p_slots * 1.0)::double precision / p_slots as width
          from passbell.deliveries d
         where d.campaign_id = p_campaign and d.outcome <> 'skipped'
    ), counted as (
        select least(p_slots - 1, floor(extract(epoch from d.sent_at - e.first) / e.width)::integer) as slot,
               count(*) filter (where d.outcome = 'sent') as sent, count(*) filter (where d.outcome = 'failed') as failed
          from passbell.deliveries d, edge e
         where d.campaign_id = p_campaign and d.outcome <> 'skipped'
         group by 1
    )
    select s.slot, e.first + make_interval(secs => s.slot * e.width), e.width, coalesce(c.sent, 0), coalesce(c.failed, 0)
      from edge e
     cross join generate_series(0, least(p_slots, 1000) - 1) as s (slot)
      left join counted c on c.slot = s.slot
     where e.first is not null
     order by s.slot
$$;

-- The ledger of a campaign, p_limit rows after a pass id, optionally of one outcome or reason. Uses the primary key.
create or replace function passbell.delivery_page(
    p_campaign uuid, p_after uuid default null, p_limit integer default 100, p_outcome text default null, p_reason text default null)
returns table (pass_id uuid, external_id text, first_name text, last_name text, outcome text, reason text, detail text,
               http_status smallint, attempts smallint, sent_at timestamptz)
language sql stable
set search_path = ''
as $$
    select d.pass_id, r.external_id, left(r.first_name, 200), left(r.last_name, 200), d.outcome, d.reason, d.detail, d.http_status, d.attempts, d.sent_at
      from (select x.*
              from passbell.deliveries x
             where x.campaign_id = p_campaign and (p_after is null or x.pass_id > p_after)
               and (p_outcome is null or x.outcome = lower(btrim(p_outcome)))
               and (p_reason is null or x.reason = lower(btrim(p_reason)))
             order by x.pass_id
             limit least(greatest(p_limit, 1), 5000)) d
      left join lateral (select m.external_id, m.first_name, m.last_name from passbell.recipients m where m.pass_id = d.pass_id limit 1) r on true
     order by d.pass_id
$$;
