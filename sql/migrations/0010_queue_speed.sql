-- 0010: what the hot path of the queue stores and looks up.

-- Random ids do not compress; trying cost a tenth of freezing an audience.
alter table passbell.chunks alter column pass_ids set storage external;

-- The running campaigns of a program in the order in which they are served (next_chunk), however many wait.
create index if not exists push_campaigns_served on public.push_campaigns (program_id, (kind = 'TEST') desc, started_at, id)
 where status = 'PROCESSING';
drop index if exists public.push_campaigns_processing;
