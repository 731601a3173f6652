-- The state of the queue in numbers: read by every daemon when its /metrics is scraped. Looks at unfinished
-- campaigns (partial indexes push_campaigns_due, _served, _paused), at single rows, at an hour of what was not delivered
-- (deliveries_undelivered), and at the chunks of those few campaigns that have stood still for a minute though they might
-- move; never at the queue or the whole ledger. `label` is NULL for a plain number; two labels are separated by a slash, of
-- which an account's name comes last. The account of programs that name none has no name.
--
-- No time is subtracted before isfinite() was asked: up to PostgreSQL 16, infinity minus a time is an error.
create or replace function passbell.queue_state(p_account text default '')
returns table (metric text, label text, value double precision)
language sql stable
set search_path = ''
as $$
    with account as materialized (
        select s.account, s.programs, s.served, s.enabled, s.trouble, s.rate_per_second, s.breaker = 'open' as open, s.breaker_kind, s.blocked_until, l.closed_at
          from passbell.account_states(p_account) s
          left join passbell.rate_limits l on l.account = s.limit_row
    ), campaign as materialized (
        select c.id, case when c.status = 'PENDING' and c.scheduled_at > passbell.now() then 'SCHEDULED' else c.status end as status,
               c.recipient_count - c.sent_count - c.failed_count - c.skipped_count as waiting,
               case c.status
                   when 'PENDING'    then greatest(c.submitted_at, c.scheduled_at)
                   when 'PROCESSING' then c.started_at
                   else c.updated_at
               end as since,
               -- Since when nothing stops it but the daemons: neither PassKit's 429 nor an open breaker.
               greatest(c.updated_at, a.blocked_until, a.closed_at) as moved_at,
               -- Between two passes of a campaign with a rate of its own lies this long.
               make_interval(secs => least(coalesce(1 / nullif(c.rate_per_second, 0), 0), 1000000000)::double precision) as pace,
               c.status = 'PAUSED' and c.status_detail like 'Held%' as held, c.status_detail,
               coalesce(a.open, false) as broken,
               not coalesce(g.suspended, false) and a.trouble is null
                   and not exists (select from passbell.set_aside x where x.campaign_id = c.id)
                   and (c.kind = 'TEST'
                        or passbell.in_window(passbell.now(), passbell.zone(g.timezone), g.push_window_start, g.push_window_end)) as may_move
          from public.push_campaigns c
          left join passbell.known_programs() g on g.program_id = c.program_id
          left join account a on a.account = coalesce(g.account, '')
         where c.status = 'PENDING' or c.status = 'PROCESSING' or c.status = 'PAUSED'
    ), idle as (
        -- Passes that are not due yet (a greeting for nine o'clock, another try in five minutes) are not waited for.
        select extract(epoch from passbell.now() - x.since - c.pace) as seconds
          from campaign c
         cross join lateral (select greatest(c.moved_at, min(k.not_before)) as since
                               from passbell.chunks k where k.campaign_id = c.id) x
         where c.status = 'PROCESSING' and c.may_move and not c.broken and isfinite(c.moved_at)
           and c.moved_at < passbell.now() - interval '1 minute' and isfinite(x.since)
    ), status as (
        select s.name, count(c.status) as campaigns, coalesce(sum(c.waiting), 0) as waiting,
               -- A campaign that is due waits for its daemon only while its program may be served.
               coalesce(extract(epoch from passbell.now() - min(c.since) filter (where isfinite(c.since) and (c.may_move or s.name <> 'PENDING'))), 0) as age
          from unnest(array['PENDING', 'SCHEDULED', 'PROCESSING', 'PAUSED']) as s (name)
          left join campaign c on c.status = s.name
         group by s.name
    )
    select 'campaigns', s.name, s.campaigns from status s
    union all
    select 'recipients', s.name, s.waiting from status s
    union all
    select 'oldest', s.name, greatest(0, s.age) from status s where s.name <> 'SCHEDULED'
    union all
    select 'idle', null, greatest(0, coalesce(max(i.seconds), 0)) from idle i
    union all
    select 'held', h.kind, count(c.id)
      from unnest(array['not_found', 'other']) as h (kind)
      left join campaign c on c.held and (c.status_detail like 'Held: PassKit answers 404%') = (h.kind = 'not_found')
     group by h.kind
    union all
    select 'consent', null, (passbell.consent_trouble() is not null)::integer
    union all
    select 'breaker', concat_ws('/', k.kind, nullif(a.account, '')), (a.open and a.breaker_kind = k.kind)::integer
      from account a cross join unnest(array['credentials', 'outage']) as k (kind)
    union all
    select 'blocked', nullif(a.account, ''), greatest(0, coalesce(extract(epoch from a.blocked_until - clock_timestamp()), 0)) from account a
    union all
    select 'rate', nullif(a.account, ''), coalesce(a.rate_per_second, 0) from account a
    union all
    select 'served', a.account, a.served::integer from account a where a.account <> '' or a.programs > 0
    union all
    select 'unserved', a.account, (not a.served and (a.enabled or not exists (select from passbell.accounts x where x.account = a.account)))::integer * a.programs from account a where a.account <> '' or a.programs > 0
    union all
    select 'workers', null, passbell.daemons_running()
    union all
    select 'undelivered', d.outcome || '/' || d.reason, count(*)
      from passbell.deliveries d
     where d.outcome <> 'sent' and d.sent_at > passbell.now() - interval '1 hour'
     group by d.outcome, d.reason
    union all
    select 'set_aside', null, count(*) from passbell.set_aside a
    union all
    select 'hangs', w.relation, (exists (select from passbell.host_hangs h where h.relation = w.relation))::integer
      from unnest(array['programs', 'users', 'push_campaigns']) as w (relation)
    union all
    select 'hanging_programs', null, count(*) from passbell.program_copies p where p.hangs_since is not null
    union all
    select 'owed_logs', null, count(*) from passbell.owed_logs o
    union all
    select 'birthday_last_run', null, coalesce(extract(epoch from max(b.completed_at)), 0) from passbell.birthday_runs b
    union all
    select 'birthday_open', null, count(*) from passbell.birthday_runs b where b.completed_at is null
    union all
    select 'birthday_failures', null, count(*) from passbell.birthday_failures f
$$;
