-- Keeps status_detail true for campaigns that wait: for the hour, for PassKit, for a suspended program; and clears it
-- when they no longer do. Called by the campaign loop at every turn; writes only rows whose words change.
create or replace function passbell.explain_waiting(p_account text default '') returns void
language sql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
    with program as materialized (          -- zone and window once per program, not once per campaign
        select g.program_id, g.name, g.suspended, g.push_window_start, z.zone,
               passbell.in_window(passbell.now(), z.zone, g.push_window_start, g.push_window_end) as open
          from passbell.programs g
          cross join lateral (select passbell.zone(g.timezone) as zone) z
         where g.program_id in (select c.program_id from public.push_campaigns c where c.status in ('PENDING', 'PROCESSING'))
    ), waiting as (
        select c.id, c.status, c.status_detail,
               case
                   when g.suspended and c.status = 'PROCESSING' then format('Waiting: the program "%s" is suspended.', g.name)
                   when c.scheduled_at > passbell.now() and c.status = 'PENDING' then
                        format('Scheduled for %s %s.', to_char(c.scheduled_at at time zone g.zone, 'YYYY-MM-DD HH24:MI'), g.zone)
                   when c.kind <> 'TEST' and not g.open then format('Quiet hours: holding until %s %s.', to_char(g.push_window_start, 'HH24:MI'), g.zone)
                   when c.status = 'PROCESSING' and b.breaker = 'open' and b.breaker_kind = 'credentials' then
                        format('Waiting: PassKit refuses the credentials (%s). Nobody is lost; sending goes on by itself when they work again.', b.breaker_reason)
                   when c.status = 'PROCESSING' and b.breaker = 'open' then
                        format('Waiting: PassKit does not answer (%s). Nobody is lost; sending goes on by itself when it does.', b.breaker_reason)
               end as words
          from public.push_campaigns c
          left join program g on g.program_id = c.program_id
          left join passbell.rate_limits b on b.account = p_account
         where c.status in ('PENDING', 'PROCESSING')
    ), changed as (         -- SKIP LOCKED: whoever writes the row has news of its own; waiting while holding others could deadlock
        select c.id, coalesce(w.words, passbell.list_summary(w.id)) as words
          from waiting w
          join public.push_campaigns c on c.id = w.id and c.status = w.status
         where (w.words is not null or w.status_detail ~ '^(Waiting|Quiet hours|Scheduled for)')
           and c.status_detail is distinct from coalesce(w.words, passbell.list_summary(w.id))
           for update of c skip locked
    )
    update public.push_campaigns c
       set status_detail = w.words
      from changed w
     where c.id = w.id
$$;
