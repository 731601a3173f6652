-- What lies in the database, in numbers: read by every daemon when its /metrics is scraped. Looks at unfinished
-- campaigns (partial indexes push_campaigns_due, _served, _paused), at single rows, and at an hour of what was
-- not delivered (deliveries_undelivered); never at the queue or the whole ledger. `label` is NULL for a plain number;
-- two labels are separated by a slash.
create or replace function passbell.queue_state(p_account text default '')
returns table (metric text, label text, value double precision)
language sql stable
set search_path = ''
as $$
    with campaign as materialized (
        select case when c.status = 'PENDING' and c.scheduled_at > passbell.now() then 'SCHEDULED' else c.status end as status,
               c.recipient_count - c.sent_count - c.failed_count - c.skipped_count as waiting,
               case c.status
                   when 'PENDING'    then greatest(c.submitted_at, c.scheduled_at)
                   when 'PROCESSING' then c.started_at
                   else c.updated_at
               end as since,
               c.updated_at,
               c.status = 'PROCESSING' and not coalesce(g.suspended, false)
                   and passbell.in_window(passbell.now(), passbell.zone(g.timezone), g.push_window_start, g.push_window_end) as moving
          from public.push_campaigns c
          left join passbell.programs g on g.program_id = c.program_id
         where c.status = 'PENDING' or c.status = 'PROCESSING' or c.status = 'PAUSED'
    ), status as (
        select s.name, count(c.status) as campaigns, coalesce(sum(c.waiting), 0) as waiting,
               coalesce(extract(epoch from passbell.now() - min(c.since)), 0) as age
          from unnest(array['PENDING', 'SCHEDULED', 'PROCESSING', 'PAUSED']) as s (name)
          left join campaign c on c.status = s.name
         group by s.name
    ), account as (
        select l.rate_per_second, l.breaker = 'open' as open, l.breaker_kind,
               greatest(0, extract(epoch from l.blocked_until - clock_timestamp())) as blocked
          from (select) as one left join passbell.rate_limits l on l.account = p_account
    )
    select 'campaigns', s.name, s.campaigns from status s
    union all
    select 'recipients', s.name, s.waiting from status s
    union all
    select 'oldest', s.name, greatest(0, s.age) from status s where s.name <> 'SCHEDULED'
    union all
    select 'idle', null, coalesce(max(extract(epoch from passbell.now() - c.updated_at)) filter (where c.moving), 0) from campaign c
    union all
    select 'breaker', k.kind, (coalesce(a.open, false) and a.breaker_kind = k.kind)::integer
      from account a cross join unnest(array['credentials', 'outage']) as k (kind)
    union all
    select 'blocked', null, case when a.blocked < 1e9 then a.blocked else 0 end from account a
    union all
    select 'rate', null, coalesce(a.rate_per_second, 0) from account a
    union all
    select 'workers', null, count(*) from passbell.workers w where w.heartbeat_at > clock_timestamp() - interval '30 seconds'
    union all
    select 'undelivered', d.outcome || '/' || d.reason, count(*)
      from passbell.deliveries d
     where d.outcome <> 'sent' and d.sent_at > passbell.now() - interval '1 hour'
     group by d.outcome, d.reason
    union all
    select 'set_aside', null, count(*) from passbell.set_aside a
    union all
    select 'owed_logs', null, count(*) from passbell.owed_logs o
    union all
    select 'birthday_last_run', null, coalesce(extract(epoch from max(b.completed_at)), 0) from passbell.birthday_runs b
    union all
    select 'birthday_open', null, count(*) from passbell.birthday_runs b where b.completed_at is null
    union all
    select 'birthday_failures', null, count(*) from passbell.birthday_failures f
$$;
