-- Whether a loop of the daemon may have work. One query per poll for all loops, so that an idle daemon asks one question
-- instead of five. False is certain. True may be wrong (a scheduled campaign, a chunk that another daemon holds); the loop
-- that is woken finds out. Four index lookups, or tables that are empty when all is done.
drop function if exists passbell.work_waiting(text);
create or replace function passbell.work_waiting(p_account text, p_accounts text[] default array[''])
returns table (campaigns boolean, chunks boolean, imports boolean, breaker boolean)
language sql
stable
set search_path = ''
as $$
    select w.chunks
           or exists (select from public.push_campaigns c where c.status = 'PENDING')
           or exists (select from public.push_campaigns c where c.status = 'PROCESSING')
           or exists (select from passbell.host_hangs h where h.next_look_at <= passbell.now()),
           w.chunks,
           exists (select from public.member_imports i where i.status in ('PENDING', 'PROCESSING')),
           exists (select from unnest(p_accounts) a
                    join passbell.rate_limits l on l.account = passbell.rate_key(a, p_account) where l.breaker = 'open')
      from (select exists (select from passbell.chunks) as chunks) w
$$;
