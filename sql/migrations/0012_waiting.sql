-- 0012: campaigns that wait cost the others nothing.

-- Waiting orders in the order in which they are claimed (next_campaign), however many wait.
-- Where the owner's created_at has no zone, the expression depends on the session's and cannot be indexed: the rows are sorted.
do $$
begin
    if exists (select from pg_catalog.pg_attribute a where a.attrelid = 'public.push_campaigns'::regclass and a.attname = 'created_at' and a.atttypid = 'timestamptz'::regtype) then
        create index if not exists push_campaigns_due on public.push_campaigns
               ((kind = 'TEST') desc, coalesce(scheduled_at, submitted_at, created_at), id) where status = 'PENDING';
    else
        create index if not exists push_campaigns_due on public.push_campaigns (submitted_at, id) where status = 'PENDING';
    end if;
end
$$;
drop index if exists public.push_campaigns_pending;
