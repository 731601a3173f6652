-- 0004: what the HTTP API and its page store beyond the campaigns themselves.

-- Answers to POSTs that carried an Idempotency-Key, kept for a day.
create table if not exists passbell.api_requests (
    owner         text         not null,
    key           text         not null,
    fingerprint   text         not null,
    created_at    timestamptz  not null default now(),
    lease_until   timestamptz  not null default now(),
    campaign_id   uuid,
    status        integer,
    answer        json,
    primary key (owner, key)
);
comment on table  passbell.api_requests is 'Idempotency keys of the HTTP API: the same key gives the same answer for 24 hours.';
comment on column passbell.api_requests.owner is 'Name of the API key; never the key itself.';
comment on column passbell.api_requests.fingerprint is 'SHA-256 of the request: another request under the same key is refused.';
comment on column passbell.api_requests.lease_until is 'While there is no answer: until when the request that works on it holds it.';
comment on column passbell.api_requests.campaign_id is 'Written in the transaction that creates the campaign, so that a repeat after a crash creates no second one.';

create index if not exists api_requests_created on passbell.api_requests (created_at);

-- The history page: newest first, over all programs.
create index if not exists push_campaigns_newest on public.push_campaigns (created_at desc, id desc);
