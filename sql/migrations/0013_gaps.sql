-- 0013: one gap in the account's clock pays for the late calls of all daemons.

alter table passbell.rate_limits add column if not exists gap_at timestamptz not null default '-infinity';
alter table passbell.rate_limits add column if not exists gap_seconds double precision not null default 0;

comment on column passbell.rate_limits.gap_at is 'Where the last gap begins that a daemon asked for because a call of its had left late, and how wide it is (gap_seconds).';
