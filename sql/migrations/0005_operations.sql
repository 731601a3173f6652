-- 0005: what running it for years needs: indexes for the operator's questions and for retention, autovacuum of the
-- rows that change all the time, and how long history is kept.

-- Paused campaigns for the operator's page and metrics (PENDING and PROCESSING have indexes since 0001); finished ones
-- by age, for retention.
create index if not exists push_campaigns_paused on public.push_campaigns (program_id) where status = 'PAUSED';
create index if not exists push_campaigns_finished on public.push_campaigns (completed_at) where completed_at is not null;

-- What was not delivered lately, and why. Sent rows, by far the most, are not in it.
create index if not exists deliveries_undelivered on passbell.deliveries (sent_at) where outcome <> 'sent';

-- Rows that are updated with every request block, chunk or heartbeat: few and hot, so they are vacuumed by count.
alter table passbell.rate_limits set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
alter table passbell.turns       set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
alter table passbell.workers     set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
alter table public.push_campaigns set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);

-- How long the ledger, hit lists and import rows are kept after their campaign or import has ended; NULL: for ever.
alter table passbell.settings add column if not exists retention interval default interval '400 days'
      check (retention >= interval '7 days');
alter table passbell.settings add column if not exists pruned_at timestamptz;
comment on column passbell.settings.retention is 'Age after which delivery, list and import rows are pruned; NULL keeps them for ever. The campaigns themselves stay.';

-- What was taken out of the ledger, per campaign, so that the counts still add up: see check_conservation.
create table if not exists passbell.pruned (
    campaign_id  uuid         primary key,
    sent         integer      not null default 0,
    failed       integer      not null default 0,
    skipped      integer      not null default 0,
    next_pass    uuid,
    looked_at    timestamptz
);
comment on table  passbell.pruned is 'Ledger rows that retention or push_forget has removed, by outcome.';
comment on column passbell.pruned.next_pass is 'How far retention has come in this campaign''s ledger; NULL: not begun, or done at looked_at.';
