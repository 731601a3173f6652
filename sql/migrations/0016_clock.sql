-- 0016: what shows that the database's clock was set back, and which deliveries are of the last day.

alter table passbell.settings add column if not exists clock_seen_at timestamptz;
alter table passbell.settings add column if not exists clock_set_back_at timestamptz;
alter table passbell.settings add column if not exists clock_set_back_seconds double precision;

comment on column passbell.settings.clock_seen_at is 'The database''s clock at the last heartbeat of any daemon.';
comment on column passbell.settings.clock_set_back_at is 'When the clock was last found behind clock_seen_at, and by how much (clock_set_back_seconds). What was to be waited for was moved by as much.';

-- The deliveries of the last day, of everybody (push_preview), without the years before: the ledger is written in the order of
-- time, so a summary per 32 pages is enough, and costs an insert next to nothing.
create index if not exists deliveries_sent on passbell.deliveries using brin (sent_at) with (pages_per_range = 32);
