-- 0014: what the host's tables refuse stops one campaign, and is made good later.

-- Campaigns whose row the host's own rules do not let change, not even to FAILED with a sentence, or which a lock holds up.
create table if not exists passbell.set_aside (
    campaign_id   uuid        primary key,
    since         timestamptz not null,
    looks         integer     not null default 1,
    next_look_at  timestamptz not null,
    reason        text        not null
);
comment on table  passbell.set_aside is 'Campaigns that cannot go on because the database refuses a change or a lock holds them up; tried again with growing pauses.';
comment on column passbell.set_aside.looks is 'How often it was tried in vain; the pause grows with it.';
comment on column passbell.set_aside.next_look_at is 'No daemon touches the campaign before.';
comment on column passbell.set_aside.reason is 'In plain words, with those of the database.';

-- Notes that a counters of a campaign (and perhaps its end) do not say yet what the ledger says. Rows are only inserted and
-- deleted, so that writing one never waits.
create table if not exists passbell.owed_counts (
    owed_id      uuid primary key default gen_random_uuid(),
    campaign_id  uuid not null
);
comment on table passbell.owed_counts is 'Campaigns whose row could not be changed when outcomes were stored; the counters are counted from the ledger later.';
create index if not exists owed_counts_campaign on passbell.owed_counts (campaign_id);

-- Rows of the audit table that it refused.
create table if not exists passbell.owed_logs (
    campaign_id  uuid        primary key,
    since        timestamptz not null,
    tries        integer     not null default 1,
    next_try_at  timestamptz not null,
    reason       text        not null
);
comment on table  passbell.owed_logs is 'Finished campaigns whose row public.notification_logs refused; written later.';
comment on column passbell.owed_logs.reason is 'In plain words, with those of the database.';
