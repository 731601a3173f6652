-- 0010: what the hot path of the queue stores and looks up.

-- Random ids do not compress; trying cost a tenth of freezing an audience.
alter table passbell.chunks alter column pass_ids set storage external;

drop index if exists public.push_campaigns_processing;
