-- The conservation law, checked: for every campaign recipient_count = passes in chunks + rows in the ledger (and those
-- that retention or push_forget took out of it, counted in passbell.pruned and as part of in_ledger), no pass
-- is in both or twice in chunks, and the counters say what the ledger says. Returns the campaigns that break it,
-- normally none. If the campaign's row has not accepted its counters yet (passbell.owed_counts), they are not checked.
-- One statement, so all values are of one instant.
create or replace function passbell.check_conservation(id uuid default null)
returns table (campaign_id uuid, name text, status text, recipient_count integer, in_chunks bigint, in_ledger bigint, twice bigint, violation text)
language sql stable
set search_path = ''
as $$
    select v.id, v.name, v.status, v.recipient_count, v.in_chunks, v.in_ledger, v.twice, v.violation
      from (select c.id, c.name, c.status, c.recipient_count, coalesce(q.n, 0) as in_chunks, coalesce(l.n, 0) as in_ledger,
                   coalesce(q.n, 0) - coalesce(q.different, 0) + coalesce(b.n, 0) as twice,
                   case
                       when c.recipient_count <> coalesce(q.n, 0) + coalesce(l.n, 0) then
                            format('%s recipients, but %s in chunks and %s in the ledger', c.recipient_count, coalesce(q.n, 0), coalesce(l.n, 0))
                       when coalesce(b.n, 0) > 0 then format('%s passes are both in chunks and in the ledger', b.n)
                       when coalesce(q.n, 0) <> coalesce(q.different, 0) then format('%s passes are twice in chunks', q.n - q.different)
                       when (c.sent_count, c.failed_count, c.skipped_count)
                            is distinct from (coalesce(l.sent, 0), coalesce(l.failed, 0), coalesce(l.skipped, 0))
                            and not exists (select from passbell.owed_counts o where o.campaign_id = c.id) then
                            format('counters say %s sent, %s failed, %s skipped; the ledger says %s, %s, %s', c.sent_count, c.failed_count,
                                   c.skipped_count, coalesce(l.sent, 0), coalesce(l.failed, 0), coalesce(l.skipped, 0))
                       when c.status = 'COMPLETED' and coalesce(q.n, 0) > 0 then format('completed with %s passes still in chunks', q.n)
                   end as violation
              from public.push_campaigns c
              left join lateral (select count(*) as n, count(distinct u.pass_id) as different
                                   from passbell.chunks k cross join lateral unnest(k.pass_ids) as u (pass_id)
                                  where k.campaign_id = c.id) q on true
              left join passbell.pruned p on p.campaign_id = c.id
              left join lateral (select count(*) + coalesce(p.sent + p.failed + p.skipped, 0) as n,
                                        count(*) filter (where d.outcome = 'sent') + coalesce(p.sent, 0) as sent,
                                        count(*) filter (where d.outcome = 'failed') + coalesce(p.failed, 0) as failed,
                                        count(*) filter (where d.outcome = 'skipped') + coalesce(p.skipped, 0) as skipped
                                   from passbell.deliveries d where d.campaign_id = c.id) l on true
              left join lateral (select count(*) as n
                                   from passbell.chunks k cross join lateral unnest(k.pass_ids) as u (pass_id)
                                   join passbell.deliveries d on d.campaign_id = c.id and d.pass_id = u.pass_id
                                  where k.campaign_id = c.id) b on true
             where c.started_at is not null and (check_conservation.id is null or c.id = check_conservation.id)) v
     where v.violation is not null
$$;
