-- 0012: campaigns that wait cost the others nothing.

-- Waiting orders in the order in which they are claimed (next_campaign), however many wait.
create index if not exists push_campaigns_due on public.push_campaigns
       ((kind = 'TEST') desc, coalesce(scheduled_at, submitted_at, created_at), id) where status = 'PENDING';
drop index if exists public.push_campaigns_pending;
