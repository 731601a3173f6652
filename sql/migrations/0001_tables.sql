-- 0001: everything passbell stores.
--
-- Every statement is additive and may run again: the host's tables are only ever given columns they lack, and
-- our own tables appear beside them. The host may be at any generation, or not be there at all.

create schema if not exists passbell;
comment on schema passbell is 'passbell: rings the lock screen of wallet passes. Queue, ledger and rules.';

create table if not exists passbell.migrations (
    version     integer     primary key,
    name        text        not null,
    applied_at  timestamptz not null default now()
);

-- What an installation is: one row, kept by `migrate` (bundle) and by the daemons (pace and cap, so that a
-- preview in SQL counts with the numbers the daemons really use).
create table if not exists passbell.settings (
    only_row         boolean primary key default true check (only_row),
    schema_version   integer not null default 0,
    bundle           text,
    program_version  text,
    rate_per_second  numeric not null default 50 check (rate_per_second > 0),
    daily_cap        integer not null default 3  check (daily_cap >= 0)
);
insert into passbell.settings default values on conflict do nothing;

-- ── what people insert and watch ────────────────────────────────────────────────────────────────────────────

create table if not exists public.push_campaigns (
    id              uuid        primary key default gen_random_uuid(),
    program_id      uuid,
    name            text,
    message_text    text,
    target_query    text,
    csv_upload_url  text,
    status          text        not null default 'PENDING',
    sent_count      integer     not null default 0,
    failed_count    integer     not null default 0,
    created_at      timestamptz not null default now()
);

do $$
declare
    v_column text;
begin
    -- Rows of a table that lacks status or created_at are no orders, whatever the added columns will say (0039).
    perform set_config('passbell.rows_of_old', case when exists (select from public.push_campaigns)
                            and (select count(*) from pg_catalog.pg_attribute a
                                  where a.attrelid = 'public.push_campaigns'::regclass and a.attname in ('status', 'created_at') and not a.attisdropped) < 2
                       then 'yes' else '' end, true);

    -- The owner's table may be there already with fewer columns; a missing one is added with its default.
    for v_column in
        select c.definition
          from (values ('id', 'id uuid not null default gen_random_uuid()'),
                       ('program_id', 'program_id uuid'),
                       ('name', 'name text'),
                       ('message_text', 'message_text text'),
                       ('target_query', 'target_query text'),
                       ('csv_upload_url', 'csv_upload_url text'),
                       ('status', 'status text not null default ''PENDING'''),
                       ('sent_count', 'sent_count integer not null default 0'),
                       ('failed_count', 'failed_count integer not null default 0'),
                       ('created_at', 'created_at timestamptz not null default now()'),
                       ('recipient_count', 'recipient_count integer not null default 0'),
                       ('skipped_count', 'skipped_count integer not null default 0'),
                       ('scheduled_at', 'scheduled_at timestamptz'),
                       ('started_at', 'started_at timestamptz'),
                       ('completed_at', 'completed_at timestamptz'),
                       ('status_detail', 'status_detail text'),
                       ('kind', 'kind text not null default ''BROADCAST'''),
                       ('rate_per_second', 'rate_per_second numeric'),
                       ('created_by', 'created_by text'),
                       ('updated_at', 'updated_at timestamptz not null default now()'),
                       ('submitted_at', 'submitted_at timestamptz'),
                       ('released_at', 'released_at timestamptz')) as c (name, definition)
         where not exists (select from pg_catalog.pg_attribute a
                            where a.attrelid = 'public.push_campaigns'::regclass
                              and a.attname = c.name and a.attnum > 0 and not a.attisdropped)
    loop
        execute 'alter table public.push_campaigns add column ' || v_column;
    end loop;

    -- As the owner laid it out elsewhere: `message` where we say message_text. From now on both are kept alike
    -- (05_message_column.sql). Before our constraints, which would refuse to touch rows with words of the owner's in status.
    if exists (select from pg_catalog.pg_attribute a where a.attrelid = 'public.push_campaigns'::regclass
                  and a.attname = 'message' and a.attnum > 0 and not a.attisdropped)
       and to_regprocedure('passbell.keep_message()') is null then
        alter table public.push_campaigns disable trigger user;
        update public.push_campaigns set message_text = message where message_text is null and message is not null;
        alter table public.push_campaigns enable trigger user;
    end if;

    for v_column in
        select format('add constraint %I check (%s) not valid', c.name, c.condition)
          from (values ('push_campaigns_status_known',
                        'status in (''DRAFT'', ''PENDING'', ''PROCESSING'', ''PAUSED'', ''COMPLETED'', ''FAILED'', ''CANCELLED'')'),
                       ('push_campaigns_kind_known', 'kind in (''BROADCAST'', ''BIRTHDAY'', ''TEST'')'),
                       ('push_campaigns_rate_positive', 'rate_per_second > 0'),
                       ('push_campaigns_counts', 'sent_count >= 0 and failed_count >= 0 and skipped_count >= 0'
                        ' and (recipient_count = 0 or sent_count + failed_count + skipped_count <= recipient_count)')
               ) as c (name, condition)
         where not exists (select from pg_catalog.pg_constraint k
                            where k.conrelid = 'public.push_campaigns'::regclass and k.conname = c.name)
    loop
        execute 'alter table public.push_campaigns ' || v_column;
    end loop;
end
$$;

comment on table  public.push_campaigns is 'One row is one push campaign. (program_id, name, message_text) is a complete order.';
comment on column public.push_campaigns.target_query is 'Who: ALL, VIP[:points], WHALE[:points], SLUMBER[:days], LOCAL:zip, CITY:name, TIER:1..4, IDS:a,b … see passbell.segments. & intersects.';
comment on column public.push_campaigns.status is 'DRAFT, PENDING, PROCESSING, PAUSED, COMPLETED, FAILED, CANCELLED. People set DRAFT, PENDING, PAUSED, CANCELLED.';
comment on column public.push_campaigns.status_detail is 'In plain words: what is going on, or what went wrong.';
comment on column public.push_campaigns.submitted_at is 'When the campaign became PENDING; kept by a trigger.';
comment on column public.push_campaigns.released_at is 'When a person resumed it after passbell had held it; it is not held for the same reason again.';

-- Waiting orders in the order they are due; running ones by program; the double-submit guard; the history page.
create index if not exists push_campaigns_pending on public.push_campaigns (submitted_at) where status = 'PENDING';
create index if not exists push_campaigns_processing on public.push_campaigns (program_id, started_at) where status = 'PROCESSING';
create index if not exists push_campaigns_program on public.push_campaigns (program_id, created_at);

-- ── named audiences ─────────────────────────────────────────────────────────────────────────────────────────

create table if not exists passbell.segments (
    name               text    primary key,
    description        text    not null default '',
    predicate          text    not null,
    default_parameter  text,
    parameter_kind     text    not null default 'text'
                       check (parameter_kind in ('none', 'number', 'days', 'tier', 'list', 'text')),
    aliases            text[]  not null default '{}',
    builtin            boolean not null default false
);
comment on table  passbell.segments is 'Named audiences. Only the owner of the database may write here: predicates are SQL.';
comment on column passbell.segments.predicate is 'A condition over passbell.recipients; $1 is the parameter, always bound, always text.';
comment on column passbell.segments.default_parameter is 'What $1 is when the target names none; NULL with a kind other than none or text means that one must be given.';

-- ── the queue ───────────────────────────────────────────────────────────────────────────────────────────────

create table if not exists passbell.chunks (
    campaign_id  uuid        not null,
    chunk_no     integer     not null,
    program_id   uuid        not null,
    pass_ids     uuid[]      not null check (cardinality(pass_ids) > 0),
    texts        text[],
    rendered     boolean     not null default false,
    attempt      smallint    not null default 0,
    not_before   timestamptz not null default now(),
    lease_until  timestamptz,
    claim_token  uuid,
    worker       uuid,
    ready_at     timestamptz not null generated always as (greatest(not_before, lease_until)) stored,
    primary key (campaign_id, chunk_no),
    check (texts is null or cardinality(texts) = cardinality(pass_ids))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
comment on table  passbell.chunks is 'The queue: passes still to do. A chunk shrinks as its deliveries are appended and is deleted when empty.';
comment on column passbell.chunks.texts is 'Beside pass_ids, the text chosen for each. NULL element: not chosen yet. NULL column on a rendered chunk: everybody gets message_text as it stands.';
comment on column passbell.chunks.rendered is 'The texts are fixed: from here on a repeat sends identical bytes.';
comment on column passbell.chunks.ready_at is 'From when on it may be claimed.';

create index if not exists chunks_ready on passbell.chunks (campaign_id, ready_at, chunk_no);
-- Passes whose text may be on its way: what the daily cap and the same-text rule must also look at.
create index if not exists chunks_rendered on passbell.chunks (program_id) where rendered;
create index if not exists chunks_worker on passbell.chunks (worker) where worker is not null;

-- Whose turn it is: one row per program that ever sent. Also the lock that orders claims inside a program.
create table if not exists passbell.turns (
    program_id  uuid        primary key,
    last_turn   timestamptz not null default '-infinity'
) with (fillfactor = 50);

-- ── the ledger ──────────────────────────────────────────────────────────────────────────────────────────────

create table if not exists passbell.deliveries (
    campaign_id  uuid        not null,
    pass_id      uuid        not null,
    sent_at      timestamptz not null default now(),
    text_hash    bigint,
    attempts     smallint    not null default 0,
    http_status  smallint,
    outcome      text        not null check (outcome in ('sent', 'failed', 'skipped')),
    reason       text        check (reason in ('not_installed', 'opted_out', 'capped', 'same_text', 'unknown_member', 'duplicate',
                                               'cancelled', 'render_error', 'not_found', 'rejected', 'attempts_exhausted')),
    detail       text,
    text         text,
    primary key (campaign_id, pass_id),
    check ((outcome = 'sent') = (reason is null))
) with (autovacuum_vacuum_insert_scale_factor = 0.05);
comment on table  passbell.deliveries is 'The ledger, append-only: what became of each recipient of each campaign.';
comment on column passbell.deliveries.sent_at is 'When the outcome was recorded.';
comment on column passbell.deliveries.text_hash is 'hashtextextended(text, 0) of the text that was sent to PassKit; NULL if none was.';
comment on column passbell.deliveries.text is 'Only of failed deliveries: the text, so that a retry sends identical bytes.';

create index if not exists deliveries_pass on passbell.deliveries (pass_id, sent_at);

-- Rows of hit lists (CSV or IDS) and what each became; problems stay readable for the admin.
create table if not exists passbell.list_entries (
    campaign_id  uuid    not null,
    row_number   integer not null,
    value        text    not null,
    pass_id      uuid,
    reason       text    check (reason in ('unknown_member', 'other_program', 'duplicate', 'not_installed', 'opted_out', 'unusable')),
    primary key (campaign_id, row_number)
);
comment on table passbell.list_entries is 'Hit lists: each row with the pass it matched, or the reason why it reaches no member.';
create index if not exists list_entries_pass on passbell.list_entries (campaign_id, pass_id) where pass_id is not null;

-- A list that is being downloaded: at most one daemon at a time, leased like a chunk.
create table if not exists passbell.list_loads (
    campaign_id  uuid        primary key,
    attempt      smallint    not null default 0,
    not_before   timestamptz not null default now(),
    lease_until  timestamptz,
    claim_token  uuid,
    worker       uuid,
    loaded       boolean     not null default false
);

-- ── pace, trouble, who is alive ─────────────────────────────────────────────────────────────────────────────

create table if not exists passbell.rate_limits (
    account          text        primary key,
    rate_per_second  numeric     not null default 50 check (rate_per_second > 0),
    next_slot        timestamptz not null default '-infinity',
    blocked_until    timestamptz not null default '-infinity',
    cut_rate         numeric,
    cut_at           timestamptz,
    breaker          text        not null default 'closed' check (breaker in ('closed', 'open')),
    breaker_kind     text        check (breaker_kind in ('credentials', 'outage')),
    breaker_reason   text,
    opened_at        timestamptz,
    closed_at        timestamptz,
    probes           integer     not null default 0,
    probe_at         timestamptz
) with (fillfactor = 50);
comment on table passbell.rate_limits is 'One row per PassKit account (and per campaign with a rate of its own): GCRA clock, throttling, breaker.';

create table if not exists passbell.workers (
    id            uuid        primary key,
    host          text        not null,
    pid           integer     not null,
    process       text        not null,
    version       text        not null,
    account       text,
    started_at    timestamptz not null default now(),
    heartbeat_at  timestamptz not null default now(),
    doing         text
);
comment on column passbell.workers.process is 'Kernel boot, pid namespace, pid and start time: the same text means the very same process.';

-- ── birthdays ───────────────────────────────────────────────────────────────────────────────────────────────

create table if not exists passbell.birthday_runs (
    program_id    uuid        not null,
    local_date    date        not null,
    started_at    timestamptz not null default now(),
    completed_at  timestamptz,
    campaign_id   uuid,
    eligible      integer     not null default 0,
    gifted        integer     not null default 0,
    failed        integer     not null default 0,
    not_before    timestamptz not null default now(),
    worker        uuid,
    lease_until   timestamptz,
    detail        text,
    primary key (program_id, local_date)
);

-- ── the host's tables, additively ───────────────────────────────────────────────────────────────────────────

-- Log tables that the host lacks are made here, and say so: then their policies are ours to write (99_grants.sql).
do $$
begin
    if to_regclass('public.birthday_logs') is null then
        create table public.birthday_logs (
            id          uuid        primary key default gen_random_uuid(),
            pass_id     uuid        not null,
            program_id  uuid,
            year        integer     not null,
            created_at  timestamptz not null default now(),
            unique (pass_id, year)
        );
        comment on table public.birthday_logs is 'Made by passbell, because the platform had none: one row per birthday gift.';
    end if;
    if to_regclass('public.notification_logs') is null then
        create table public.notification_logs (
            id               uuid        primary key default gen_random_uuid(),
            program_id       uuid,
            campaign_name    text,
            recipient_count  integer     default 0,
            success_count    integer     default 0,
            failed_count     integer     default 0,
            message_content  text,
            target_segment   text,
            created_at       timestamptz default now()
        );
        comment on table public.notification_logs is 'Made by passbell, because the platform had none: one row per finished campaign.';
    end if;
end
$$;

do $$
declare
    v_add record;
begin
    for v_add in
        select a.relation, a.name, a.definition
          from (values ('public.notification_logs', 'campaign_id', 'uuid'),
                       ('public.notification_logs', 'program_id', 'uuid'),
                       ('public.notification_logs', 'campaign_name', 'text'),
                       ('public.notification_logs', 'recipient_count', 'integer default 0'),
                       ('public.notification_logs', 'success_count', 'integer default 0'),
                       ('public.notification_logs', 'failed_count', 'integer default 0'),
                       ('public.notification_logs', 'message_content', 'text'),
                       ('public.notification_logs', 'target_segment', 'text'),
                       ('public.programs', 'timezone', 'text default ''America/New_York'''),
                       ('public.programs', 'push_window_start', 'time'),
                       ('public.programs', 'push_window_end', 'time'),
                       ('public.programs', 'birthday_bot_enabled', 'boolean default false'),
                       ('public.programs', 'birthday_reward_points', 'integer default 0'),
                       ('public.programs', 'birthday_message', 'text default ''Happy Birthday! We added points to your pass.'''),
                       ('public.programs', 'birthday_send_at', 'time default ''09:00'''),
                       ('public.programs', 'birthday_leap_day', 'text default ''FEB_28'''),
                       ('public.users', 'birth_date', 'date'),
                       ('public.users', 'marketing_opt_in', 'boolean default true'),
                       ('public.users', 'phone_number', 'text')) as a (relation, name, definition)
         where (select c.relkind from pg_catalog.pg_class c where c.oid = to_regclass(a.relation)) in ('r', 'p')   -- not a view of the host's
           and not exists (select from pg_catalog.pg_attribute x
                            where x.attrelid = to_regclass(a.relation)
                              and x.attname = a.name and x.attnum > 0 and not x.attisdropped)
    loop
        execute format('alter table %s add column %I %s', v_add.relation, v_add.name, v_add.definition);
    end loop;

    if (select c.relkind from pg_catalog.pg_class c where c.oid = to_regclass('public.programs')) in ('r', 'p')
       and not exists (select from pg_catalog.pg_constraint where conname = 'programs_birthday_leap_day_known') then
        alter table public.programs add constraint programs_birthday_leap_day_known
              check (birthday_leap_day in ('FEB_28', 'MAR_01')) not valid;
    end if;
end
$$;

-- The two indexes that the joins need; a host that has an index starting with the column already is left alone. The others on
-- the host's tables: passbell.missing_indexes.
do $$
declare
    v_index record;
begin
    for v_index in
        select w.name, w.relation, w.col
          from (values ('passes_master_user', 'public.passes_master', 'user_id'),
                       ('passes_master_program', 'public.passes_master', 'program_id')) as w (name, relation, col)
          join pg_catalog.pg_attribute a on a.attrelid = to_regclass(w.relation) and a.attname = w.col and a.attnum > 0
          join pg_catalog.pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p')
         where not exists (select from pg_catalog.pg_index i
                            where i.indrelid = a.attrelid and i.indkey[0] = a.attnum and i.indpred is null)
    loop
        execute format('create index if not exists %I on %s (%I)', v_index.name, v_index.relation, v_index.col);
    end loop;
end
$$;
