-- passbell: the whole schema in one file, generated from sql/migrations and sql/functions by `make sql`.
--
--   passbell migrate                        does this for you, in one transaction
--   psql -1 -f sql/passbell.sql DATABASE    the same by hand
--   supabase/migrations/<time>_passbell.sql a copy of this file
--
-- Running it again changes nothing.

set check_function_bodies = off;

-- Upgrading while daemons work: all our tables first, each waited for only shortly and then given back, so that nobody
-- who holds one of them and wants the next meets us halfway (a deadlock). In 30 seconds there is a quiet moment.
do $$
declare
    v_before  constant text := current_setting('lock_timeout');
    v_until   constant timestamptz := clock_timestamp() + interval '30 seconds';
    v_tables  text;
begin
    select string_agg(c.oid::regclass::text, ', ' order by c.oid) into v_tables
      from pg_catalog.pg_class c
     where c.relkind = 'r'
       and (c.relnamespace = to_regnamespace('passbell')
            or c.oid in (to_regclass('public.push_campaigns'), to_regclass('public.member_imports')));
    while v_tables is not null loop
        begin
            set local lock_timeout = '200ms';
            execute 'lock table ' || v_tables || ' in access exclusive mode';
            exit;
        exception when lock_not_available then
            if clock_timestamp() > v_until then
                raise;
            end if;
            perform pg_sleep(0.05 + random() * 0.1);
        end;
    end loop;
    perform set_config('lock_timeout', v_before, true);
end
$$;


-- migrations/0001_tables.sql ─────────────────────────────────────────────────────────────────────────────────────

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
    -- The owner's table may be there already with fewer columns; a missing one is added with its default.
    for v_column in
        select c.definition
          from (values ('name', 'name text'),
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
comment on column passbell.chunks.ready_at is 'From when on anybody may claim it.';

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
comment on column passbell.deliveries.text_hash is 'hashtextextended(text, 0) of what was handed to PassKit; NULL if nothing was.';
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
comment on table passbell.list_entries is 'Hit lists: each row with the pass it matched, or the reason why nobody is reached by it.';
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
         where to_regclass(a.relation) is not null
           and not exists (select from pg_catalog.pg_attribute x
                            where x.attrelid = to_regclass(a.relation)
                              and x.attname = a.name and x.attnum > 0 and not x.attisdropped)
    loop
        execute format('alter table %s add column %I %s', v_add.relation, v_add.name, v_add.definition);
    end loop;

    if to_regclass('public.programs') is not null
       and not exists (select from pg_catalog.pg_constraint where conname = 'programs_birthday_leap_day_known') then
        alter table public.programs add constraint programs_birthday_leap_day_known
              check (birthday_leap_day in ('FEB_28', 'MAR_01')) not valid;
    end if;
end
$$;

create unique index if not exists notification_logs_campaign on public.notification_logs (campaign_id) where campaign_id is not null;

-- The owner's index on the day of the year, and the two that the joins need; a host that has an index starting
-- with the column already is left alone.
do $$
declare
    v_index record;
begin
    if to_regclass('public.users') is not null then
        create index if not exists idx_users_birthday on public.users (extract(month from birth_date), extract(day from birth_date));
    end if;
    for v_index in
        select w.name, w.relation, w.col
          from (values ('passes_master_user', 'public.passes_master', 'user_id'),
                       ('passes_master_program', 'public.passes_master', 'program_id')) as w (name, relation, col)
          join pg_catalog.pg_attribute a on a.attrelid = to_regclass(w.relation) and a.attname = w.col and a.attnum > 0
         where not exists (select from pg_catalog.pg_index i
                            where i.indrelid = a.attrelid and i.indkey[0] = a.attnum and i.indpred is null)
    loop
        execute format('create index if not exists %I on %s (%I)', v_index.name, v_index.relation, v_index.col);
    end loop;
end
$$;


insert into passbell.migrations (version, name) values (1, 'tables') on conflict do nothing;


-- migrations/0002_birthdays.sql ──────────────────────────────────────────────────────────────────────────────────

-- 0002: what the birthday bot stores beyond birthday_runs, and the proof that a gift is given once.

-- The pass number of a run: a failed award is tried once per pass.
alter table passbell.birthday_runs add column if not exists attempt integer not null default 0;
comment on table  passbell.birthday_runs is 'One row per program and local date: whoever inserts it, or takes it over once its lease ran out, gives the gifts.';
comment on column passbell.birthday_runs.attempt is 'Pass over the members: goes up when failed awards are to be tried again.';
comment on column passbell.birthday_runs.completed_at is 'Everybody of that day has the gift. Empty while awards fail; they are tried again for seven days.';

create index if not exists birthday_runs_open on passbell.birthday_runs (local_date) where completed_at is null;

-- Since when a program's bot is on, in its own dates: the days before are never caught up. Also the lock that puts the
-- gifts of one program in a row.
create table if not exists passbell.birthday_programs (
    program_id  uuid  primary key,
    since       date
);
comment on table passbell.birthday_programs is 'Programs whose birthday bot was ever on, with the first local date that counts; NULL while it is off.';

create table if not exists passbell.birthday_failures (
    program_id  uuid         not null,
    local_date  date         not null,
    pass_id     uuid         not null,
    reason      text         not null,
    attempt     integer      not null,
    attempts    integer      not null default 1,
    last_at     timestamptz  not null default now(),
    primary key (program_id, local_date, pass_id)
);
comment on table passbell.birthday_failures is 'Gifts that could not be given, with the reason. The row goes when the gift is given.';

-- The host's birthday_logs, additively. points_awarded and message_sent are there since its generation 2.
do $$
declare
    v_column    text;
    v_table     constant regclass := 'public.birthday_logs';
begin
    for v_column in
        select c.name || ' ' || c.type
          from (values ('program_id', 'uuid'), ('created_at', 'timestamptz default now()'), ('points_awarded', 'integer'),
                       ('message_sent', 'text'), ('local_date', 'date')) as c (name, type)
         where not exists (select from pg_catalog.pg_attribute a
                            where a.attrelid = v_table and a.attname = c.name and a.attnum > 0 and not a.attisdropped)
    loop
        execute 'alter table public.birthday_logs add column ' || v_column;
    end loop;
end
$$;
comment on column public.birthday_logs.local_date is 'The birthday that the gift was for, in the program''s zone.';

-- One live copy has lost UNIQUE (pass_id, year). It is made again unless duplicates forbid it: then migrate names them
-- (migration_warnings) and the birthday bot refuses to run, because without it nothing proves that a gift is given once.
do $$
begin
    if not exists (select from pg_catalog.pg_index i
                    where i.indrelid = 'public.birthday_logs'::regclass and i.indisunique and i.indisvalid and i.indimmediate
                      and i.indpred is null and i.indexprs is null and i.indnkeyatts = 2
                      and (select array_agg(a.attname::text order by a.attname) from pg_catalog.pg_attribute a
                            where a.attrelid = i.indrelid and a.attnum in (i.indkey[0], i.indkey[1])) = '{pass_id,year}')
       and not exists (select from public.birthday_logs l where l.pass_id is not null group by l.pass_id, l.year having count(*) > 1) then
        create unique index birthday_logs_pass_id_year_once on public.birthday_logs (pass_id, year);
    end if;
end
$$;


insert into passbell.migrations (version, name) values (2, 'birthdays') on conflict do nothing;


-- migrations/0003_imports.sql ────────────────────────────────────────────────────────────────────────────────────

-- 0003: hit lists without a row per matched member, and member imports.

-- A staged list, a thousand ids per row: a million ids are a thousand rows to write, read and delete. Gone when the
-- audience is frozen, and with the load it belongs to.
create table if not exists passbell.list_pages (
    campaign_id  uuid       not null references passbell.list_loads (campaign_id) on delete cascade,
    page_no      integer    not null,
    row_numbers  integer[]  not null,
    ids          text[]     not null check (cardinality(ids) = cardinality(row_numbers)),
    problems     text[],
    primary key (campaign_id, page_no)
);
comment on table  passbell.list_pages is 'Ids of hit lists that were read but not matched yet.';
comment on column passbell.list_pages.problems is 'Beside ids: why an id cannot be used. NULL column: all of them can.';

alter table passbell.list_loads add column if not exists url      text;
alter table passbell.list_loads add column if not exists digest   text;
alter table passbell.list_loads add column if not exists rows     integer;
alter table passbell.list_loads add column if not exists matched  integer;
alter table passbell.list_loads add column if not exists reasons  jsonb;
alter table passbell.list_loads add column if not exists summary  text;
comment on table  passbell.list_loads is 'One row per campaign with a list: who is downloading it, leased like a chunk, and what became of its rows.';
comment on column passbell.list_loads.url is 'Where the loaded list came from; NULL for one that was uploaded. Another csv_upload_url is another list.';
comment on column passbell.list_loads.digest is 'Of the ids in their order: two uploads with the same digest are the same list.';
comment on column passbell.list_loads.reasons is 'How many rows per reason in list_entries: {"unknown_member": 12}.';

alter table passbell.list_entries add column if not exists detail text;
drop index if exists passbell.list_entries_pass;
comment on table  passbell.list_entries is 'Hit lists: the rows by which nobody is reached, with the reason. Matched rows leave none.';
comment on column passbell.list_entries.detail is 'For unusable ids: what is wrong with them.';

-- ── member imports ──────────────────────────────────────────────────────────────────────────────────────────

create table if not exists public.member_imports (
    id               uuid        primary key default gen_random_uuid(),
    program_id       uuid,
    csv_upload_url   text,
    name             text,
    dry_run          boolean     not null default false,
    region           text,
    date_order       text        check (date_order in ('DMY', 'MDY', 'YMD')),
    status           text        not null default 'PENDING',
    status_detail    text,
    total_rows       integer     not null default 0,
    processed_rows   integer     not null default 0,
    created_count    integer     not null default 0,
    updated_count    integer     not null default 0,
    linked_count     integer     not null default 0,
    unchanged_count  integer     not null default 0,
    rejected_count   integer     not null default 0,
    passes_linked    integer     not null default 0,
    notes            text[]      not null default '{}',
    created_at       timestamptz not null default now(),
    started_at       timestamptz,
    completed_at     timestamptz,
    updated_at       timestamptz not null default now(),
    created_by       text,
    constraint member_imports_status_known check (status in ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    constraint member_imports_counts check (processed_rows = created_count + updated_count + linked_count + unchanged_count + rejected_count
                                            and processed_rows <= total_rows)
);
comment on table  public.member_imports is 'One row is one member CSV to import. (program_id, csv_upload_url) is a complete order.';
comment on column public.member_imports.dry_run is 'Report what an import would do, and change nothing.';
comment on column public.member_imports.region is 'Two-letter country for phones without a country code and undecided dates; else that of the program, else US.';
comment on column public.member_imports.date_order is 'DMY, MDY or YMD, used only where the dates themselves allow several.';
comment on column public.member_imports.status is 'PENDING, PROCESSING, COMPLETED, FAILED, CANCELLED. People set PENDING and CANCELLED.';
comment on column public.member_imports.linked_count is 'Rows whose member stayed as it was and was given a pass.';
comment on column public.member_imports.passes_linked is 'Passes that were given their member, in rows of any result.';
comment on column public.member_imports.notes is 'What was decided for the whole file: encoding, date order, unused columns.';

create index if not exists member_imports_open on public.member_imports (created_at) where status in ('PENDING', 'PROCESSING');
create index if not exists member_imports_program on public.member_imports (program_id, created_at);

-- Who works on an import, leased like a chunk. A worker that is not in passbell.workers any more holds nothing.
create table if not exists passbell.import_leases (
    import_id    uuid        primary key references public.member_imports (id) on delete cascade,
    attempt      smallint    not null default 0,
    not_before   timestamptz not null default '-infinity',
    lease_until  timestamptz,
    claim_token  uuid,
    worker       uuid,
    staged       boolean     not null default false
);

-- Without foreign keys: checking them for every row takes as long as importing it. Triggers clear up (70_import_guard).
alter table if exists passbell.import_staged drop constraint if exists import_staged_import_id_fkey;
alter table if exists passbell.import_rows drop constraint if exists import_rows_import_id_fkey;

-- Rows read and checked, not yet applied. The table shrinks as import_rows grows, in the same transactions.
create table if not exists passbell.import_staged (
    import_id         uuid     not null,
    row_number        integer  not null,
    external_id       text,
    email             text,
    first_name        text,
    last_name         text,
    phone             text,
    birth_date        date,
    zip               text,
    city              text,
    marketing_opt_in  boolean,
    problems          jsonb    not null default '[]',
    rejected          boolean  not null default false,
    user_id           uuid,
    pass_id           uuid,
    pass_ids          uuid[]   not null default '{}',
    primary key (import_id, row_number)
);
comment on table  passbell.import_staged is 'Rows of member imports still to do.';
comment on column passbell.import_staged.pass_id is 'The pass with the row''s external_id, in the import''s program.';
comment on column passbell.import_staged.pass_ids is 'Else: passes of the program with that member e-mail and no user.';

create table if not exists passbell.import_rows (
    import_id         uuid     not null,
    row_number        integer  not null,
    result            text     not null check (result in ('created', 'updated', 'linked', 'unchanged', 'rejected')),
    column_name       text,
    value             text,
    reason            text,
    problems          jsonb,
    user_id           uuid,
    linked_passes     uuid[],
    previous_user_id  uuid,
    primary key (import_id, row_number)
);
comment on table  passbell.import_rows is 'What became of each row of a member import.';
comment on column passbell.import_rows.reason is 'Of the first problem; a row that is not rejected was taken without the cell named beside it.';
comment on column passbell.import_rows.problems is 'All of them, if there are any: [{"column", "value", "reason"}].';
comment on column passbell.import_rows.linked_passes is 'The passes that were given this member by this row.';
comment on column passbell.import_rows.previous_user_id is 'Whom the row''s pass belonged to before.';


insert into passbell.migrations (version, name) values (3, 'imports') on conflict do nothing;


-- migrations/0004_web.sql ────────────────────────────────────────────────────────────────────────────────────────

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
comment on column passbell.api_requests.lease_until is 'While there is no answer: until when somebody is working on it.';
comment on column passbell.api_requests.campaign_id is 'Written in the transaction that creates the campaign, so that a repeat after a crash creates no second one.';

create index if not exists api_requests_created on passbell.api_requests (created_at);

-- The history page: newest first, over all programs.
create index if not exists push_campaigns_newest on public.push_campaigns (created_at desc, id desc);


insert into passbell.migrations (version, name) values (4, 'web') on conflict do nothing;


-- migrations/0005_operations.sql ─────────────────────────────────────────────────────────────────────────────────

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


insert into passbell.migrations (version, name) values (5, 'operations') on conflict do nothing;


-- migrations/0006_in_flight.sql ──────────────────────────────────────────────────────────────────────────────────

-- 0006: what the queue must know so that two campaigns never have the same pass under way at the same moment.

alter table passbell.chunks add column if not exists claimed_at timestamptz;
alter table passbell.chunks add column if not exists keep_texts boolean not null default false;

comment on column passbell.chunks.rendered is 'Handed out with these texts: they may be on their way or on the phone, and a repeat sends identical bytes.';
comment on column passbell.chunks.claimed_at is 'When it was last handed out.';
comment on column passbell.chunks.keep_texts is 'The texts are those of an earlier attempt that may have landed; they are never chosen anew.';


insert into passbell.migrations (version, name) values (6, 'in_flight') on conflict do nothing;


-- migrations/0007_restricted_imports.sql ─────────────────────────────────────────────────────────────────────────

-- 0007: an import that a program's administrator orders never changes members of other programs.

alter table public.member_imports add column if not exists restricted boolean not null default false;

comment on column public.member_imports.restricted is
    'Ordered by a program''s administrator: people who are (also) in another program are left as they are. Set by passbell; a server may ask for it.';


insert into passbell.migrations (version, name) values (7, 'restricted_imports') on conflict do nothing;


-- migrations/0008_uncertain_chunks.sql ───────────────────────────────────────────────────────────────────────────

-- 0008: a chunk that came from somebody who never said what became of it stays uncertain in the next hands.

alter table passbell.chunks add column if not exists uncertain boolean not null default false;

comment on column passbell.chunks.uncertain is 'Whoever held it before never reported: what its present holder hands back untouched may be on the phone all the same.';


insert into passbell.migrations (version, name) values (8, 'uncertain_chunks') on conflict do nothing;


-- migrations/0009_watermark.sql ──────────────────────────────────────────────────────────────────────────────────

-- 0009: what keeps claims fast while an old snapshot (a dump, a forgotten transaction) keeps every finished chunk's index
-- entries alive: where the last claim found its chunk, and an index in which a campaign can step over its own.

alter table passbell.turns add column if not exists campaign_id uuid;
alter table passbell.turns add column if not exists ready_at timestamptz;
alter table passbell.turns add column if not exists chunk_no integer;

comment on column passbell.turns.campaign_id is 'With ready_at and chunk_no: where in chunks_ready the last claim found its chunk. A hint of where to look on, never a proof that nothing is left before it.';

create index if not exists chunks_in_flight on passbell.chunks (program_id, campaign_id) where rendered;
drop index if exists passbell.chunks_rendered;


insert into passbell.migrations (version, name) values (9, 'watermark') on conflict do nothing;


-- migrations/0010_queue_speed.sql ────────────────────────────────────────────────────────────────────────────────

-- 0010: what the hot path of the queue stores and looks up.

-- Random ids do not compress; trying cost a tenth of freezing an audience.
alter table passbell.chunks alter column pass_ids set storage external;

-- The running campaigns of a program in the order in which they are served (next_chunk), however many wait.
create index if not exists push_campaigns_served on public.push_campaigns (program_id, (kind = 'TEST') desc, started_at, id)
 where status = 'PROCESSING';
drop index if exists public.push_campaigns_processing;


insert into passbell.migrations (version, name) values (10, 'queue_speed') on conflict do nothing;


-- migrations/0011_external_ids.sql ───────────────────────────────────────────────────────────────────────────────

-- 0011: a pass is found by its external id, as people type it, without looking through all members.

-- The expression is what passbell.recipients makes of lower(btrim(external_id)); queries that ask the view for that use the
-- index (a view of the operator's own may say it differently, and is then merely slow). One that is there is left alone, also
-- while it is still being built: `passbell migrate` builds it beforehand, beside the platform's writes, where the table is
-- large. Statistics at once, because without them the planner takes folded ids for far from unique.
do $$
begin
    if to_regclass('public.passes_master_external_id_folded') is null
       and exists (select from pg_catalog.pg_attribute a
                    where a.attrelid = to_regclass('public.passes_master') and a.attname = 'external_id'
                      and a.attnum > 0 and not a.attisdropped) then
        create index passes_master_external_id_folded on public.passes_master (lower(btrim(nullif(btrim(external_id::text), ''))));
        analyze public.passes_master;
    end if;
end
$$;


insert into passbell.migrations (version, name) values (11, 'external_ids') on conflict do nothing;


-- migrations/0012_waiting.sql ────────────────────────────────────────────────────────────────────────────────────

-- 0012: campaigns that wait cost the others nothing.

-- Waiting orders in the order in which they are claimed (next_campaign), however many wait.
create index if not exists push_campaigns_due on public.push_campaigns
       ((kind = 'TEST') desc, coalesce(scheduled_at, submitted_at, created_at), id) where status = 'PENDING';
drop index if exists public.push_campaigns_pending;


insert into passbell.migrations (version, name) values (12, 'waiting') on conflict do nothing;


-- migrations/0013_gaps.sql ───────────────────────────────────────────────────────────────────────────────────────

-- 0013: one gap in the account's clock pays for the late calls of all daemons.

alter table passbell.rate_limits add column if not exists gap_at timestamptz not null default '-infinity';
alter table passbell.rate_limits add column if not exists gap_seconds double precision not null default 0;

comment on column passbell.rate_limits.gap_at is 'Where the last gap begins that a daemon asked for because a call of its had left late, and how wide it is (gap_seconds).';


insert into passbell.migrations (version, name) values (13, 'gaps') on conflict do nothing;


-- functions/00_clock.sql ────────────────────────────────────────────────────────────────────────────────────────

-- The clock of every rule. The database's own, unless a test sets passbell.now: then time stands where the test
-- put it. Inside one transaction it does not move. In plpgsql, because a function in SQL is parsed and planned at
-- every call from one in plpgsql, and this one is called by all of them: 3 µs instead of 60.
create or replace function passbell.now() returns timestamptz
language plpgsql stable
set search_path = ''
as $$
begin
    return coalesce(nullif(current_setting('passbell.now', true), '')::timestamptz, pg_catalog.now());
end
$$;

-- A time zone name that PostgreSQL accepts: the given one, or America/New_York (the host's own default) when it is
-- missing or misspelt. One typing error in a form must not stop a program's pushes or anybody else's.
create or replace function passbell.zone(p_name text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    if nullif(btrim(p_name), '') is null then
        return 'America/New_York';
    end if;
    perform pg_catalog.now() at time zone btrim(p_name);
    return btrim(p_name);
exception when invalid_parameter_value then
    return 'America/New_York';
end
$$;

-- Is `p_at` inside the daily window [start, end) of the zone? No window means always; a window may span midnight.
create or replace function passbell.in_window(p_at timestamptz, p_zone text, p_start time, p_end time) returns boolean
language plpgsql stable
set search_path = ''
as $$
declare
    v_time  time;
begin
    if p_start is null or p_end is null or p_start = p_end then
        return true;
    end if;
    v_time := (p_at at time zone p_zone)::time;
    return case when p_start < p_end then v_time >= p_start and v_time < p_end
                else v_time >= p_start or v_time < p_end end;
end
$$;


-- functions/01_adapters.sql ─────────────────────────────────────────────────────────────────────────────────────

-- The only place that knows the host's columns. Builds, from the tables and columns that are really there:
--
--   passbell.programs     one row per program: name, PassKit id, zone, quiet hours, suspension, tiers, birthday settings
--   passbell.recipients   one row per pass: how to reach it, whether it may be reached, what a message can say
--
-- A missing table gives an empty view, a missing column gives NULL. Enums are cast to text, because comparing them
-- with a text parameter fails. A view that an operator has replaced by their own (its comment no longer says
-- "generated by passbell") is left alone. Called by every migrate.
--
-- recipients is read once per pass and campaign, by the claim, so it is written for what a reader does not ask for to
-- cost nothing: what belongs to the program is a scalar subquery, run only for a column that is selected (and protocol's
-- only for a pass that has none); the left joins to tables with a unique pass_id disappear with their columns. Upper
-- case of the platform's codes is that of the C collation: the locale's costs five times as much and says the same.
create or replace function passbell.build_adapters() returns void
language plpgsql
set search_path = ''
as $fn$
declare
    v_pass      constant text := 'public.passes_master';
    v_program   constant text := 'public.programs';
    v_sql       text;
begin
    -- programs ------------------------------------------------------------------------------------------------
    v_sql := format($v$
        select p.id                                                       as program_id,
               %s                                                         as name,
               %s                                                         as protocol,
               nullif(btrim(%s), '')                                      as passkit_program_id,
               %s                                                         as timezone,
               coalesce(%s, false)                                        as suspended,
               %s                                                         as push_window_start,
               %s                                                         as push_window_end,
               coalesce(%s, 999)::bigint                                  as tier_bronze_max,
               coalesce(%s, 4999)::bigint                                 as tier_silver_max,
               coalesce(%s, 14999)::bigint                                as tier_gold_max,
               coalesce(%s, false)                                        as birthday_bot_enabled,
               coalesce(%s, 0)::integer                                   as birthday_reward_points,
               %s                                                         as birthday_message,
               coalesce(%s, '09:00'::time)                                as birthday_send_at,
               coalesce(%s, 'FEB_28')                                     as birthday_leap_day
          from public.programs p $v$,
        passbell.host_column(v_program, 'p', 'name', 'text'),
        'upper(' || passbell.host_column(v_program, 'p', 'protocol', 'text') || ')',
        passbell.host_column(v_program, 'p', 'passkit_program_id', 'text'),
        passbell.host_column(v_program, 'p', 'timezone', 'text'),
        passbell.host_column(v_program, 'p', 'is_suspended', 'boolean'),
        passbell.host_column(v_program, 'p', 'push_window_start', 'time'),
        passbell.host_column(v_program, 'p', 'push_window_end', 'time'),
        passbell.host_column(v_program, 'p', 'tier_bronze_max', 'bigint'),
        passbell.host_column(v_program, 'p', 'tier_silver_max', 'bigint'),
        passbell.host_column(v_program, 'p', 'tier_gold_max', 'bigint'),
        passbell.host_column(v_program, 'p', 'birthday_bot_enabled', 'boolean'),
        passbell.host_column(v_program, 'p', 'birthday_reward_points', 'integer'),
        passbell.host_column(v_program, 'p', 'birthday_message', 'text'),
        passbell.host_column(v_program, 'p', 'birthday_send_at', 'time'),
        passbell.host_column(v_program, 'p', 'birthday_leap_day', 'text'));
    if to_regclass(v_program) is null then
        v_sql := $v$
        select null::uuid as program_id, null::text as name, null::text as protocol, null::text as passkit_program_id,
               null::text as timezone, null::boolean as suspended, null::time as push_window_start, null::time as push_window_end,
               null::bigint as tier_bronze_max, null::bigint as tier_silver_max, null::bigint as tier_gold_max,
               null::boolean as birthday_bot_enabled, null::integer as birthday_reward_points, null::text as birthday_message,
               null::time as birthday_send_at, null::text as birthday_leap_day
         where false $v$;
    end if;
    perform passbell.replace_adapter('programs', v_sql);

    -- recipients ----------------------------------------------------------------------------------------------
    v_sql := format($v$
        select p.id                                                             as pass_id,
               p.program_id                                                     as program_id,
               %1$s                                                             as passkit_program_id,
               nullif(btrim(%2$s), '')                                          as passkit_id,
               nullif(btrim(%3$s), '')                                          as external_id,
               coalesce(upper(%4$s collate "C"), %5$s, 'MEMBERSHIP')              as protocol,
               coalesce(%6$s, true) and coalesce(upper(%7$s collate "C") = 'INSTALLED', false)
                   and nullif(btrim(%2$s), '') is not null                      as reachable,
               coalesce(%8$s, true)                                             as opted_in,
               %9$s                                                             as user_id,
               coalesce(nullif(btrim(%10$s), ''), nullif(btrim(%11$s), ''))     as email,
               coalesce(nullif(btrim(%12$s), ''), nullif(btrim(%13$s), ''))     as first_name,
               coalesce(nullif(btrim(%14$s), ''), nullif(btrim(%15$s), ''))     as last_name,
               %16$s                                                            as birth_date,
               coalesce(%17$s, %18$s)                                           as points,
               %19$s                                                            as tier_points,
               %20$s                                                            as zip,
               %21$s                                                            as city,
               %22$s                                                            as last_activity,
               %23$s                                                            as coupon_expires_on,
               %24$s                                                            as redeemed_at,
               %25$s                                                            as checked_in_at
          from public.passes_master p $v$,
        passbell.of_program('nullif(btrim(' || passbell.host_column(v_program, 'g', 'passkit_program_id', 'text') || '), '''')'),
        passbell.host_column(v_pass, 'p', 'passkit_internal_id', 'text'),
        passbell.host_column(v_pass, 'p', 'external_id', 'text'),
        passbell.host_column(v_pass, 'p', 'protocol', 'text'),
        passbell.of_program('upper(' || passbell.host_column(v_program, 'g', 'protocol', 'text') || ' collate "C")'),
        passbell.host_column(v_pass, 'p', 'is_active', 'boolean'),
        passbell.host_column(v_pass, 'p', 'status', 'text'),
        passbell.host_column('public.users', 'u', 'marketing_opt_in', 'boolean'),
        passbell.host_column(v_pass, 'p', 'user_id', 'uuid'),
        passbell.host_column('public.users', 'u', 'email', 'text'),
        passbell.host_column(v_pass, 'p', 'member_email', 'text'),
        passbell.host_column('public.users', 'u', 'first_name', 'text'),
        passbell.host_column(v_pass, 'p', 'member_first_name', 'text'),
        passbell.host_column('public.users', 'u', 'last_name', 'text'),
        passbell.host_column(v_pass, 'p', 'member_last_name', 'text'),
        passbell.host_column('public.users', 'u', 'birth_date', 'date'),
        passbell.host_column(v_pass, 'p', 'points_balance', 'bigint'),
        passbell.host_column('public.protocol_membership', 'm', 'points_balance', 'bigint'),
        passbell.host_column('public.protocol_membership', 'm', 'tier_points', 'bigint'),
        passbell.host_column('public.users', 'u', 'zip', 'text'),
        passbell.host_column('public.users', 'u', 'city', 'text'),
        passbell.host_column(v_pass, 'p', 'last_updated', 'timestamptz'),
        passbell.host_column('public.protocol_coupon', 'c', 'expiry_date', 'date'),
        passbell.host_column('public.protocol_coupon', 'c', 'redeemed_at', 'timestamptz'),
        passbell.host_column('public.protocol_event_ticket', 't', 'checked_in_at', 'timestamptz'));
    if to_regclass('public.users') is not null and passbell.host_column(v_pass, 'p', 'user_id', 'uuid') not like 'null%' then
        v_sql := v_sql || ' left join public.users u on u.id = p.user_id';
    elsif to_regclass('public.users') is not null then
        v_sql := v_sql || ' left join public.users u on false';
    end if;
    if to_regclass('public.protocol_membership') is not null then
        v_sql := v_sql || ' left join public.protocol_membership m on m.pass_id = p.id';
    end if;
    if to_regclass('public.protocol_coupon') is not null then
        v_sql := v_sql || ' left join public.protocol_coupon c on c.pass_id = p.id';
    end if;
    if to_regclass('public.protocol_event_ticket') is not null then
        v_sql := v_sql || ' left join public.protocol_event_ticket t on t.pass_id = p.id';
    end if;
    if to_regclass(v_pass) is null then
        v_sql := $v$
        select null::uuid as pass_id, null::uuid as program_id, null::text as passkit_program_id, null::text as passkit_id,
               null::text as external_id, null::text as protocol, null::boolean as reachable, null::boolean as opted_in,
               null::uuid as user_id, null::text as email, null::text as first_name, null::text as last_name,
               null::date as birth_date, null::bigint as points, null::bigint as tier_points, null::text as zip,
               null::text as city, null::timestamptz as last_activity, null::date as coupon_expires_on,
               null::timestamptz as redeemed_at, null::timestamptz as checked_in_at
         where false $v$;
    end if;
    perform passbell.replace_adapter('recipients', v_sql);

    perform passbell.build_award_points();
end
$fn$;

-- The expression that reads a host column: alias.column cast to the type we work with, or a NULL of that type.
create or replace function passbell.host_column(p_table text, p_alias text, p_column text, p_type text) returns text
language sql stable
set search_path = ''
as $$
    select case
               when exists (select from pg_catalog.pg_attribute a
                             where a.attrelid = to_regclass(p_table) and a.attname = p_column
                               and a.attnum > 0 and not a.attisdropped)
               then format('%I.%I::%s', p_alias, p_column, p_type)
               else format('null::%s', p_type)
           end
$$;

-- An expression over the pass's program, alias g; NULL where the host has no programs.
create or replace function passbell.of_program(p_expression text) returns text
language sql stable
set search_path = ''
as $$
    select case when to_regclass('public.programs') is null then 'null::text'
                else format('(select %s from public.programs g where g.id = p.program_id)', p_expression) end
$$;

-- Creates the view, or recreates it when its definition changed; hands off one that an operator wrote.
create or replace function passbell.replace_adapter(p_name text, p_sql text) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_mark     constant text := 'generated by passbell ' || md5(p_sql);
    v_comment  text := obj_description(to_regclass('passbell.' || quote_ident(p_name)), 'pg_class');
begin
    if to_regclass('passbell.' || quote_ident(p_name)) is not null then
        if v_comment = v_mark or coalesce(v_comment, '') not like 'generated by passbell %' then
            return;
        end if;
        execute format('drop view passbell.%I', p_name);
    end if;
    execute format('create view passbell.%I as %s', p_name, p_sql);
    execute format('comment on view passbell.%I is %L', p_name, v_mark);
end
$$;


-- functions/02_award_points.sql ─────────────────────────────────────────────────────────────────────────────────

-- Builds passbell.award_points(pass_id, points, note) around whichever signature of the host's
-- process_membership_transaction exists. The host reports failure by *returning* {"success": false, "error": …};
-- the wrapper raises it instead, so that a failed award undoes the transaction it stands in. Preferred: the
-- signature by external id with the most arguments we know; then the legacy one by member id; then the _atomic twin.
-- Returns the new balance if the host tells it. Raises PB502 with the host's reason.
create or replace function passbell.build_award_points() returns void
language plpgsql
set search_path = ''
as $fn$
declare
    v_proc  record;
    v_args  text;
begin
    select p.oid, p.proname, p.proargnames, p.proargtypes::oid[] as types
      into v_proc
      from pg_catalog.pg_proc p
     where p.pronamespace = to_regnamespace('public')
       and p.proname in ('process_membership_transaction', 'process_membership_transaction_atomic')
       and (p.proargnames[1 : p.pronargs] @> array['p_external_id', 'p_action', 'p_amount']
            or p.proargnames[1 : p.pronargs] @> array['p_member_id', 'p_transaction_type', 'p_points'])
     order by p.proname = 'process_membership_transaction_atomic',
              not p.proargnames @> array['p_external_id'],
              p.pronargs desc
     limit 1;

    if found then
        select string_agg(format('%I => %s::%s', n.name,
                                 case n.name
                                     when 'p_external_id'      then 'v_external_id'
                                     when 'p_action'           then quote_literal('MEMBER_EARN')
                                     when 'p_amount'           then 'p_points'
                                     when 'p_member_id'        then 'p_pass_id'
                                     when 'p_transaction_type' then quote_literal('EARN')
                                     when 'p_points'           then 'p_points'
                                     when 'p_description'      then 'p_note'
                                     when 'p_metadata'         then quote_literal('{"source": "passbell"}')
                                     else 'null'
                                 end,
                                 format_type(v_proc.types[n.ord - 1], null)), ', ')
          into v_args
          from unnest(v_proc.proargnames) with ordinality as n (name, ord)
         where n.ord <= coalesce(array_length(v_proc.types, 1), 0)
           and n.name in ('p_external_id', 'p_action', 'p_amount', 'p_transaction_amount',
                          'p_member_id', 'p_transaction_type', 'p_points', 'p_description', 'p_metadata');
    end if;

    execute format($v$
        create or replace function passbell.award_points(p_pass_id uuid, p_points integer, p_note text) returns bigint
        language plpgsql
        as $award$
        declare
            v_external_id  text;
            v_answer       jsonb;
        begin
            select r.external_id into v_external_id from passbell.recipients r where r.pass_id = p_pass_id limit 1;
            if not found then
                raise exception 'the pass is not there any more' using errcode = 'PB502';
            end if;
            %s
            if (v_answer ->> 'success')::boolean is not true then
                raise exception '%%', coalesce(v_answer ->> 'error', v_answer ->> 'message', 'the award function gave no reason')
                      using errcode = 'PB502';
            end if;
            return nullif(v_answer ->> 'new_balance', '')::numeric::bigint;
        end
        $award$ $v$,
        case
            when v_args is null
            then 'raise exception ''this database has no process_membership_transaction: points cannot be awarded'' using errcode = ''PB502'';'
            else format('v_answer := to_jsonb(public.%I(%s));', v_proc.proname, v_args)
        end);
    revoke all on function passbell.award_points(uuid, integer, text) from public;
end
$fn$;


-- functions/10_targets.sql ──────────────────────────────────────────────────────────────────────────────────────

-- One list entry per comma, as an anchored pattern: '90210, 902*' → '^(90210|902.*)$', upper case, everything but a
-- closing '*' taken literally. NULL when there is no entry.
create or replace function passbell.list_pattern(p_list text) returns text
language sql immutable
set search_path = ''
as $$
    select '^(' || string_agg(case when e.entry like '%*'
                                   then regexp_replace(left(e.entry, -1), '([^[:alnum:][:space:]])', '\\\1', 'g') || '.*'
                                   else regexp_replace(e.entry, '([^[:alnum:][:space:]])', '\\\1', 'g') end, '|') || ')$'
      from (select upper(btrim(x)) as entry from unnest(string_to_array(p_list, ',')) as x) e
     where e.entry <> ''
$$;

-- The ids of IDS:a,b,c, trimmed and lower case.
create or replace function passbell.id_list(p_list text) returns text[]
language sql immutable
set search_path = ''
as $$
    select coalesce(array_agg(lower(btrim(x))) filter (where btrim(x) <> ''), '{}')
      from unnest(string_to_array(p_list, ',')) as x
$$;

-- Those of them that are pass ids, so that the primary key finds them.
create or replace function passbell.pass_id_list(p_list text) returns uuid[]
language sql immutable
set search_path = ''
as $$
    select coalesce(array_agg(case when x ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then x::uuid end)
                    filter (where x ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'), '{}')
      from unnest(passbell.id_list(p_list)) as x
$$;

-- Reads a target such as 'whale & LOCAL:90210, 902*' into its segments, in order. Only names are looked up and only
-- parameters are kept: nothing a person types becomes SQL. Spaces do not matter: not those that a web page or a
-- spreadsheet pastes along (no-break, zero width), not doubled ones, and none at all in names and numbers
-- ("AllActiveMembers", "VIP: 1 000"). Raises PB400 with a sentence that lists what is known.
create or replace function passbell.parse_target(p_target text)
returns table (segment text, parameter text, predicate text)
language plpgsql stable
set search_path = ''
as $$
declare
    v_target   constant text := btrim(regexp_replace(p_target, '[\s\u00a0\u2000-\u200d\u202f\u205f\u2060\u3000\ufeff]+', ' ', 'g'));
    v_part     text;
    v_name     text;
    v_param    text;
    v_segment  passbell.segments;
    v_known    text;
begin
    foreach v_part in array string_to_array(coalesce(nullif(v_target, ''), 'ALL'), '&') loop
        v_name  := upper(btrim(split_part(v_part, ':', 1)));
        v_param := case when position(':' in v_part) > 0 then btrim(substr(v_part, position(':' in v_part) + 1)) end;

        select s.* into v_segment
          from passbell.segments s
         where replace(v_name, ' ', '') in (select replace(upper(n), ' ', '') from unnest(s.name || s.aliases) n)
         order by upper(btrim(s.name)) = v_name desc, v_name in (select upper(btrim(a)) from unnest(s.aliases) a) desc, s.builtin desc, s.name
         limit 1;
        if not found then
            select string_agg(s.name || case s.parameter_kind when 'none' then '' when 'text' then ''
                                             else case when s.default_parameter is null then ':…' else '[:…]' end end,
                              ', ' order by s.builtin desc, s.name)
              into v_known from passbell.segments s;
            raise exception 'Unknown audience "%". Known: %. Join several with &.', left(btrim(v_part), 60), v_known using errcode = 'PB400';
        end if;

        if v_segment.parameter_kind in ('number', 'days', 'tier') then
            v_param := replace(v_param, ' ', '');
        end if;
        if v_param is null then
            v_param := v_segment.default_parameter;
            if v_param is null and v_segment.parameter_kind in ('number', 'days', 'tier', 'list') then
                raise exception 'The audience % needs a value, such as %.', v_segment.name,
                      v_segment.name || case v_segment.parameter_kind when 'tier' then ':2' when 'list' then ':a,b' else ':30' end
                      using errcode = 'PB400';
            end if;
        elsif v_segment.parameter_kind = 'none' then
            raise exception 'The audience % takes no value, but "%" was given.', v_segment.name, left(v_param, 60) using errcode = 'PB400';
        elsif v_segment.parameter_kind = 'number' and v_param !~ '^\d{1,12}(\.\d{1,6})?$' then
            raise exception 'The audience % needs a number, not "%".', v_segment.name, left(v_param, 60) using errcode = 'PB400';
        elsif v_segment.parameter_kind = 'days' and v_param !~ '^\d{1,5}$' then
            raise exception 'The audience % needs a number of days, not "%".', v_segment.name, left(v_param, 60) using errcode = 'PB400';
        elsif v_segment.parameter_kind = 'tier' and v_param !~ '^[1-4]$' then
            raise exception 'The audience % needs a tier from 1 to 4, not "%".', v_segment.name, left(v_param, 60) using errcode = 'PB400';
        elsif v_segment.parameter_kind = 'list' and passbell.list_pattern(v_param) is null then
            raise exception 'The audience % needs at least one entry.', v_segment.name using errcode = 'PB400';
        end if;

        segment := v_segment.name;
        parameter := v_param;
        predicate := v_segment.predicate;
        return next;
    end loop;
end
$$;

-- A target as one condition over `passbell.recipients r`, to be EXECUTEd USING program_id uuid ($1), the parameters
-- text[] ($2) and the campaign's id ($3, for lists). Predicates come from passbell.segments alone; in them $1 is the
-- parameter and $2 the program.
create or replace function passbell.audience_condition(p_target text, out condition text, out parameters text[])
language plpgsql stable
set search_path = ''
as $$
declare
    v_part  record;
    v_n     integer := 0;
    v_text  text;
begin
    for v_part in select p.predicate, p.parameter from passbell.parse_target(p_target) p loop
        v_n := v_n + 1;
        v_text := v_part.predicate;
        if position('$' in v_text) > 0 then
            v_text := replace(replace(regexp_replace(regexp_replace(v_text, '\$1(?![0-9])', chr(1), 'g'), '\$2(?![0-9])', chr(2), 'g'),
                                      chr(1), '($2)[' || v_n || ']'), chr(2), '$1');
        end if;
        condition := concat_ws(' and ', condition, '(' || v_text || ')');
        parameters := parameters || v_part.parameter;
    end loop;
end
$$;


-- functions/11_segments.sql ─────────────────────────────────────────────────────────────────────────────────────

-- The audiences that every installation knows. Rows of your own are never touched; a built-in one is brought back to
-- what this file says.
insert into passbell.segments (name, description, predicate, default_parameter, parameter_kind, aliases, builtin)
values
    ('ALL', 'All active members', 'true', null, 'none', '{ALL ACTIVE MEMBERS,EVERYBODY}', true),
    ('VIP', 'More than 1,000 tier points', 'tier_points > $1::numeric', '1000', 'number', '{}', true),
    ('WHALE', 'A balance of more than 500 points', 'points > $1::numeric', '500', 'number', '{}', true),
    ('SLUMBER', 'No activity for more than 30 days',
     'last_activity < (select passbell.now()) - make_interval(days => $1::integer)', '30', 'days', '{DORMANT}', true),
    ('LOCAL', 'By zip code; an entry ending in * is a prefix', 'upper(btrim(zip)) ~ passbell.list_pattern($1)', null, 'list', '{ZIP,GEO}', true),
    ('CITY', 'By city; an entry ending in * is a prefix', 'upper(btrim(city)) ~ passbell.list_pattern($1)', null, 'list', '{}', true),
    ('TIER', 'By tier, 1 (bronze) to 4 (platinum), from the thresholds of the program',
     'case $1::integer
           when 1 then coalesce(tier_points, 0) <= (select g.tier_bronze_max from passbell.programs g where g.program_id = $2)
           when 2 then tier_points > (select g.tier_bronze_max from passbell.programs g where g.program_id = $2)
                   and tier_points <= (select g.tier_silver_max from passbell.programs g where g.program_id = $2)
           when 3 then tier_points > (select g.tier_silver_max from passbell.programs g where g.program_id = $2)
                   and tier_points <= (select g.tier_gold_max from passbell.programs g where g.program_id = $2)
           when 4 then tier_points > (select g.tier_gold_max from passbell.programs g where g.program_id = $2)
       end', null, 'tier', '{}', true),
    ('UNREDEEMED', 'Coupons not redeemed yet', 'protocol = ''COUPON'' and redeemed_at is null', null, 'none', '{}', true),
    ('EXPIRING', 'Coupons not redeemed that expire within 7 days',
     'protocol = ''COUPON'' and redeemed_at is null and coupon_expires_on between
        ((select passbell.now()) at time zone (select passbell.zone(g.timezone) from passbell.programs g where g.program_id = $2))::date
        and ((select passbell.now()) at time zone (select passbell.zone(g.timezone) from passbell.programs g where g.program_id = $2))::date + $1::integer',
     '7', 'days', '{}', true),
    ('CHECKED_IN', 'Event tickets that were checked in', 'protocol = ''EVENT_TICKET'' and checked_in_at is not null', null, 'none', '{CHECKED IN}', true),
    ('NOT_CHECKED_IN', 'Event tickets not checked in yet', 'protocol = ''EVENT_TICKET'' and checked_in_at is null', null, 'none', '{NOT CHECKED IN}', true),
    ('IDS', 'These members, by external id, else by pass id',
     'lower(btrim(external_id)) = any (passbell.id_list($1)) or pass_id = any (passbell.pass_id_list($1))', null, 'list', '{}', true),
    ('CSV', 'The members listed in the file at csv_upload_url',
     'false /* lists are matched by passbell.match_list; nobody else''s business may take CSV for everybody */', null, 'none', '{}', true)
on conflict (name) do update
   set description = excluded.description, predicate = excluded.predicate, default_parameter = excluded.default_parameter,
       parameter_kind = excluded.parameter_kind, aliases = excluded.aliases, builtin = true
 where (segments.description, segments.predicate, segments.default_parameter, segments.parameter_kind, segments.aliases, segments.builtin)
       is distinct from
       (excluded.description, excluded.predicate, excluded.default_parameter, excluded.parameter_kind, excluded.aliases, true);


-- functions/12_messages.sql ─────────────────────────────────────────────────────────────────────────────────────

-- Reads a message once into what rendering needs: a format() string and, for each placeholder in turn, the field and
-- the fallback. '{{' and '}}' are literal braces. Raises PB400 for an unknown placeholder, a lone brace or an empty
-- message, so that a broken text stops the campaign before anything is sent.
create or replace function passbell.compile_message(p_text text, out layout text, out fields text[], out fallbacks text[])
language plpgsql immutable
set search_path = ''
as $$
declare
    v_token     text;
    v_field     text;
    v_known     constant text[] := array['points', 'first_name', 'last_name', 'tier_points', 'program'];
begin
    -- Spaces that cannot be seen are nothing to read either: no-break, zero width, marks of direction.
    if coalesce(p_text, '') !~ '[^\s\u0001-\u001f\u00a0\u00ad\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]' then
        raise exception 'The message is empty.' using errcode = 'PB400';
    end if;
    if length(p_text) > 1000 then
        raise exception 'The message has % characters; a lock screen shows about 140, and 1,000 is the limit.', length(p_text) using errcode = 'PB400';
    end if;
    layout := '';
    fields := '{}';
    fallbacks := '{}';
    for v_token in
        select m[1] from regexp_matches(p_text, '(\{\{|\}\}|\{[^{}]*\}|[^{}]+|[{}])', 'g') as m
    loop
        if v_token = '{{' then
            layout := layout || '{';
        elsif v_token = '}}' then
            layout := layout || '}';
        elsif v_token in ('{', '}') then
            raise exception 'The message has a lone "%". Write {{ or }} for a brace, or a placeholder such as {first_name|there}.', v_token
                  using errcode = 'PB400';
        elsif left(v_token, 1) = '{' then
            v_field := lower(btrim(split_part(substr(v_token, 2, length(v_token) - 2), '|', 1)));
            if not v_field = any (v_known) then
                raise exception 'Unknown placeholder %. Known: {%}.', left(v_token, 60), array_to_string(v_known, '}, {') using errcode = 'PB400';
            end if;
            fields := fields || v_field;
            -- Points that nobody ever booked are zero; a missing name without a fallback is left out.
            fallbacks := fallbacks || case
                when position('|' in v_token) > 0 then substr(v_token, position('|' in v_token) + 1, length(v_token) - position('|' in v_token) - 1)
                when v_field in ('points', 'tier_points') then '0'
                else '' end;
            layout := layout || '%s';
        else
            layout := layout || replace(v_token, '%', '%%');
        end if;
    end loop;
end
$$;

-- One member's text. A placeholder that turned out empty takes the space before it along ("Hi {first_name}, …" reads
-- "Hi, …"). Control characters in members' data become spaces. NULL if nothing is left to say. A loop in plpgsql, because
-- it is called once per member of a personalised campaign (12 µs, as one SQL expression 150 µs).
create or replace function passbell.render_message(
    p_layout text, p_fields text[], p_fallbacks text[],
    p_points bigint, p_first_name text, p_last_name text, p_tier_points bigint, p_program text) returns text
language plpgsql immutable
as $$
declare
    v_values  text[] := p_fields;
    v_value   text;
    v_gap     boolean := false;
    v_text    text;
begin
    for i in 1 .. cardinality(p_fields) loop
        v_value := case p_fields[i]
                       when 'points'      then p_points::text
                       when 'first_name'  then p_first_name
                       when 'last_name'   then p_last_name
                       when 'tier_points' then p_tier_points::text
                       when 'program'     then p_program
                   end;
        if v_value ~ '[[:cntrl:]]' then
            v_value := pg_catalog.regexp_replace(v_value, '[[:cntrl:]]+', ' ', 'g');
        end if;
        v_value := coalesce(nullif(pg_catalog.btrim(v_value), ''), p_fallbacks[i]);
        if v_value = '' then
            v_value := pg_catalog.chr(1);
            v_gap := true;
        end if;
        v_values[i] := v_value;
    end loop;
    v_text := pg_catalog.format(p_layout, variadic v_values);
    if v_gap then
        v_text := pg_catalog.regexp_replace(pg_catalog.regexp_replace(v_text, ' ?' || pg_catalog.chr(1), '', 'g'), '^[\s,;:!.]+', '');
    end if;
    return nullif(pg_catalog.btrim(v_text), '');
end
$$;

-- Invisible variation number p_n of a text: 0 is the text itself, each step adds a zero-width space at the end. A
-- wallet shows a message only when the field's value changed, so the same words twice need a different value
-- (PassKit help centre 4097979; Apple, PassFieldContent.changeMessage).
create or replace function passbell.vary(p_text text, p_n integer) returns text
language sql immutable
set search_path = ''
as $$
    select p_text || repeat(chr(8203), p_n)
$$;

-- The first variation of the text that is none of those the phone may be showing.
create or replace function passbell.vary_from(p_text text, p_shown bigint[]) returns text
language plpgsql immutable
set search_path = ''
as $$
declare
    v_n  integer := 0;
begin
    while hashtextextended(passbell.vary(p_text, v_n), 0) = any (p_shown) loop
        v_n := v_n + 1;
    end loop;
    return passbell.vary(p_text, v_n);
end
$$;


-- functions/20_campaign_guard.sql ───────────────────────────────────────────────────────────────────────────────

-- Stands before every write to push_campaigns. People (a form, SQL, the API) may insert DRAFT or PENDING and move a
-- campaign along the legal edges; the counters and times belong to the engine, whose functions say so
-- (93_callers). A form that writes a whole row back therefore does no harm: what is not the person's to set
-- keeps its value. Raises PB422 for an illegal edge and for editing an order that has started.
create or replace function passbell.campaign_guard() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_engine  constant boolean := current_setting('geqo_seed') = '0.7365' or coalesce(current_setting('passbell.engine', true), '') = 'on';
begin
    if tg_op = 'DELETE' then
        if old.status in ('PROCESSING', 'PAUSED') and exists (select from passbell.chunks c where c.campaign_id = old.id) then
            raise exception 'Campaign "%" is being sent: cancel it before deleting it.', old.name using errcode = 'PB422';
        end if;
        -- A worker still holds a part of it. Deleting its chunk would wait for the worker's report, which waits for us.
        if exists (select from passbell.chunks c where c.campaign_id = old.id) then
            raise exception 'Campaign "%" is cancelled, but its last calls are still ending: delete it in a moment.', old.name using errcode = 'PB422';
        end if;
        delete from passbell.chunks       c where c.campaign_id = old.id;
        delete from passbell.deliveries   d where d.campaign_id = old.id;
        delete from passbell.pruned       p where p.campaign_id = old.id;
        delete from passbell.list_entries e where e.campaign_id = old.id;
        delete from passbell.list_loads   l where l.campaign_id = old.id;
        delete from passbell.rate_limits  r where r.account = 'campaign:' || old.id;
        return old;
    end if;

    new.updated_at := passbell.now();
    new.status := coalesce(nullif(upper(btrim(new.status, E' \t\r\n')), ''), 'PENDING');
    -- A test knows no quiet hours and goes first: it is for one pass.
    if not v_engine and upper(btrim(coalesce(old.kind, new.kind))) = 'TEST' and coalesce(new.target_query, '') !~* '^\s*IDS\s*:[^,&]+$' then
        raise exception 'A test goes to one pass: target IDS:<external id>.' using errcode = 'PB422';
    end if;

    -- PostgreSQL knows 'infinity', the year 294276 and NaN (more than 0 there); those who read campaigns do not.
    if new.scheduled_at is distinct from old.scheduled_at and not new.scheduled_at between '1970-01-01' and '9999-12-30' then
        raise exception 'scheduled_at is a time up to the year 9999, or empty for at once, not %.', new.scheduled_at using errcode = 'PB400';
    end if;
    if new.rate_per_second is distinct from old.rate_per_second and new.rate_per_second > 100000 then
        raise exception 'rate_per_second is at most 100,000, or empty for the account''s own, not %.', new.rate_per_second using errcode = 'PB400';
    end if;
    if tg_op = 'INSERT' then
        new.created_at := case when new.created_at between '1970-01-01' and '9999-12-30' then new.created_at end;
        new.kind := upper(btrim(coalesce(nullif(btrim(new.kind), ''), 'BROADCAST')));
        new.name := coalesce(nullif(btrim(new.name), ''), initcap(new.kind) || ' ' || to_char(passbell.now(), 'YYYY-MM-DD HH24:MI'));
        new.created_at := coalesce(new.created_at, passbell.now());
        new.created_by := case when passbell.acts_for_server() then coalesce(new.created_by, passbell.caller()) else passbell.caller() end;
        if not v_engine then
            if new.status not in ('DRAFT', 'PENDING') then
                raise exception 'A new campaign is DRAFT or PENDING, not %.', new.status using errcode = 'PB422';
            end if;
            new.sent_count := 0;  new.failed_count := 0;  new.skipped_count := 0;  new.recipient_count := 0;
            new.started_at := null;  new.completed_at := null;  new.released_at := null;
        end if;
        new.submitted_at := case when new.status = 'PENDING' then passbell.now() end;
        return new;
    end if;

    if new.status <> old.status and not passbell.is_legal_edge(old.status, new.status, v_engine) then
        raise exception 'A campaign that is % cannot become %.', old.status, new.status using errcode = 'PB422';
    end if;
    if v_engine then
        return new;
    end if;

    if old.started_at is not null
       and (new.program_id, new.message_text, new.target_query, new.csv_upload_url)
           is distinct from (old.program_id, old.message_text, old.target_query, old.csv_upload_url) then
        raise exception 'Campaign "%" has started: its text and audience can no longer be changed.', old.name using errcode = 'PB422';
    end if;
    new.id := old.id;  new.created_at := old.created_at;  new.created_by := old.created_by;
    new.sent_count := old.sent_count;  new.failed_count := old.failed_count;  new.skipped_count := old.skipped_count;
    new.recipient_count := old.recipient_count;
    new.started_at := old.started_at;  new.completed_at := old.completed_at;  new.kind := old.kind;
    new.submitted_at := old.submitted_at;  new.released_at := old.released_at;  new.status_detail := old.status_detail;

    if new.status <> old.status then
        case new.status
            when 'PAUSED' then
                new.status_detail := 'Paused by ' || passbell.caller() || '. Resume it to go on with those not reached yet.';
            when 'CANCELLED' then
                new.status_detail := 'Cancelled by ' || passbell.caller() || '.';
                new.completed_at := passbell.now();
            else
                -- Submitted or resumed. Where it goes on depends on how far it had come, not on what was typed.
                new.status := case when old.started_at is null then 'PENDING' else 'PROCESSING' end;
                new.submitted_at := passbell.now();
                new.released_at := case when old.status = 'PAUSED' then passbell.now() end;
                new.status_detail := null;
        end case;
    end if;
    return new;
end
$$;

-- The edges of a campaign's life. People pause, resume, submit and cancel; starting, finishing, failing and reopening
-- are the engine's.
create or replace function passbell.is_legal_edge(p_from text, p_to text, p_engine boolean) returns boolean
language sql immutable
set search_path = ''
as $$
    select (p_from, p_to) in (('DRAFT', 'PENDING'), ('DRAFT', 'CANCELLED'), ('PENDING', 'PAUSED'), ('PENDING', 'CANCELLED'),
                              ('PROCESSING', 'PAUSED'), ('PROCESSING', 'CANCELLED'),
                              ('PAUSED', 'PENDING'), ('PAUSED', 'PROCESSING'), ('PAUSED', 'CANCELLED'))
        or p_engine and (p_from, p_to) in (('PENDING', 'PROCESSING'), ('PENDING', 'FAILED'), ('PENDING', 'COMPLETED'),
                                           ('PROCESSING', 'COMPLETED'), ('PROCESSING', 'FAILED'), ('PAUSED', 'COMPLETED'),
                                           ('COMPLETED', 'PROCESSING'))
$$;

-- Who is asking, as status_detail and created_by name them: the e-mail in Supabase's JWT, else the database role.
create or replace function passbell.caller() returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return coalesce(nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email', ''),
                    nullif(nullif(current_setting('role', true), 'none'), ''), session_user);
exception when others then
    return session_user;
end
$$;

-- After a status changed: wake the daemons (an accelerator only; they poll as well), and if it was cancelled, close
-- what nobody is sending right now.
create or replace function passbell.campaign_changed() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.status = 'CANCELLED' then
        perform passbell.drain_cancelled(new.id);
    end if;
    if new.status in ('PENDING', 'PROCESSING', 'PAUSED', 'CANCELLED') then
        perform pg_notify('passbell', lower(new.status));
    end if;
    return null;
end
$$;

create or replace trigger passbell_guard before insert or update or delete on public.push_campaigns
    for each row execute function passbell.campaign_guard();
create or replace trigger passbell_inserted after insert on public.push_campaigns
    for each row execute function passbell.campaign_changed();
create or replace trigger passbell_changed after update of status on public.push_campaigns
    for each row when (old.status is distinct from new.status) execute function passbell.campaign_changed();


-- functions/21_campaign_ends.sql ────────────────────────────────────────────────────────────────────────────────

-- The order is broken: nothing was sent and nothing will be. Called by the claim and by the list loader.
create or replace function passbell.fail_campaign(p_campaign uuid, p_detail text) returns void
language sql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
    update public.push_campaigns
       set status = 'FAILED', status_detail = left(p_detail, 1000), completed_at = passbell.now()
     where id = p_campaign and status = 'PENDING'
$$;

-- Held for a person to look at; resuming it sends it. Used for stale schedules, double submits, wrong regions.
create or replace function passbell.hold_campaign(p_campaign uuid, p_detail text) returns void
language sql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
    update public.push_campaigns
       set status = 'PAUSED', status_detail = p_detail
     where id = p_campaign and status in ('PENDING', 'PROCESSING')
$$;

-- Completes the campaign if no chunk is left, and writes its one notification_logs row. The caller has just updated
-- the campaign's row and so holds its lock: of two workers finishing the last two chunks at the same moment the second
-- waits here, then sees the first one's delete, and exactly one of them finds nothing left.
create or replace function passbell.settle_campaign(p_campaign uuid) returns boolean
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_campaign  public.push_campaigns;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign for update;
    if v_campaign.status not in ('PROCESSING', 'CANCELLED') then
        return false;
    end if;
    -- From the far end: at the near end of the index lies what was deleted since the last vacuum.
    perform from passbell.chunks k where k.campaign_id = p_campaign order by k.chunk_no desc limit 1;
    if found then
        return false;
    end if;
    if v_campaign.status = 'PROCESSING' then
        update public.push_campaigns c
           set status = 'COMPLETED', completed_at = passbell.now(), status_detail = passbell.closing_words(c)
         where c.id = p_campaign;
    end if;
    perform passbell.log_campaign(p_campaign);
    delete from passbell.rate_limits r where r.account = 'campaign:' || p_campaign;
    return true;
end
$$;

-- What a finished campaign says of itself: "488 of 500 matched; 12 not found. 480 buzzed; 8 skipped (8 opted out)."
-- In plpgsql like the others that end a campaign: what SQL functions of this size cost is to be planned at every call.
create or replace function passbell.closing_words(p_campaign public.push_campaigns) returns text
language plpgsql stable
set search_path = ''
as $$
declare
    v_others  text;
begin
    if p_campaign.recipient_count = 0 then
        return concat_ws(' ', passbell.list_summary(p_campaign.id), 'Nobody to buzz.');
    end if;
    if p_campaign.failed_count > 0 or p_campaign.skipped_count > 0 then
        select string_agg(passbell.thousands(s.n) || ' ' || s.outcome || ' (' || s.reasons || ')', '; ' order by s.outcome desc)
          into v_others
          from (select r.outcome, sum(r.n) as n,
                       string_agg(passbell.thousands(r.n) || ' ' || replace(r.reason, '_', ' '), ', ' order by r.n desc, r.reason) as reasons
                  from (select d.outcome, d.reason, count(*) as n
                          from passbell.deliveries d
                         where d.campaign_id = p_campaign.id and d.outcome <> 'sent'
                         group by d.outcome, d.reason) r
                 group by r.outcome) s;
    end if;
    return concat_ws(' ', passbell.list_summary(p_campaign.id),
                     concat_ws('; ', passbell.thousands(p_campaign.sent_count) || ' buzzed', v_others) || '.');
end
$$;

-- 4812 as people read it: 4,812.
create or replace function passbell.thousands(p_n numeric) returns text
language sql immutable
set search_path = ''
as $$
    select ltrim(to_char(p_n, '999,999,999,999,990'))
$$;

-- The owner's audit table: one row per finished campaign, brought up to date if failures were retried later. Columns
-- that an older host lacks were added by the migrations.
create or replace function passbell.log_campaign(p_campaign uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into public.notification_logs
           (campaign_id, program_id, campaign_name, recipient_count, success_count, failed_count, message_content, target_segment)
    select c.id, c.program_id, c.name, c.recipient_count, c.sent_count, c.failed_count, c.message_text,
           coalesce(nullif(btrim(c.target_query), ''), case when nullif(btrim(c.csv_upload_url), '') is null then 'ALL' else 'CSV' end)
      from public.push_campaigns c
     where c.id = p_campaign
    on conflict (campaign_id) where campaign_id is not null
    do update set recipient_count = excluded.recipient_count, success_count = excluded.success_count, failed_count = excluded.failed_count;
end
$$;

-- Turns what is left of cancelled campaigns into skipped/cancelled rows, so that the counts add up. Chunks that a
-- worker holds are left to it: it reports what it had already sent and finish_chunk closes the rest; if it died, this
-- function finds the chunk once its lease has run out; what the dead one may have sent is noted (text_hash, dated when it
-- was handed out), because the phone may show it. SKIP LOCKED, because finish_chunk locks chunk, then campaign, while a
-- cancel already holds the campaign.
create or replace function passbell.drain_cancelled(p_campaign uuid default null) returns integer
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_campaign  uuid;
    v_count     integer;
    v_total     integer := 0;
begin
    for v_campaign in
        select c.id
          from public.push_campaigns c
         where c.status = 'CANCELLED' and (p_campaign is null or c.id = p_campaign)
           and (p_campaign is not null or exists (select from passbell.chunks k where k.campaign_id = c.id and k.ready_at <= v_now))
         order by c.id
    loop
        -- Holding one campaign and waiting for the next could deadlock; one that is busy is closed at the next turn.
        perform from public.push_campaigns c where c.id = v_campaign for update skip locked;
        continue when not found;
        with free as (
            select k.campaign_id, k.chunk_no from passbell.chunks k
             where k.campaign_id = v_campaign and (k.lease_until is null or k.lease_until <= v_now)
               for update skip locked
        ), gone as (
            delete from passbell.chunks k using free f
             where k.campaign_id = f.campaign_id and k.chunk_no = f.chunk_no
            returning k.campaign_id, k.pass_ids, k.texts, k.rendered, k.claimed_at, k.attempt
        ), closed as (
            insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, outcome, reason)
            select g.campaign_id, u.pass_id, case when g.rendered then coalesce(g.claimed_at, v_now) else v_now end,
                   case when g.rendered then hashtextextended(coalesce(u.text, c.message_text), 0) end,
                   g.attempt, 'skipped', 'cancelled'
              from gone g
              join public.push_campaigns c on c.id = g.campaign_id
              cross join lateral unnest(g.pass_ids, g.texts) as u (pass_id, text)
            returning 1
        )
        select count(*) into v_count from closed;
        if v_count > 0 then
            update public.push_campaigns set skipped_count = skipped_count + v_count where id = v_campaign;
            v_total := v_total + v_count;
        end if;
        -- A campaign cancelled before it started has sent nothing and is not an event of the audit table.
        if exists (select from public.push_campaigns c where c.id = v_campaign and c.started_at is not null) then
            perform passbell.settle_campaign(v_campaign);
        end if;
    end loop;
    return v_total;
end
$$;


-- functions/22_claim_campaign.sql ───────────────────────────────────────────────────────────────────────────────

-- Takes the next campaign that is due and freezes its audience, all in one transaction; called by every daemon's
-- campaign loop, on each wake-up, until it returns nothing. FOR UPDATE SKIP LOCKED on the PENDING row makes it ours.
--
--   action 'expanded'   its chunks are in the queue, it is PROCESSING (or already COMPLETED if nobody is to be reached)
--   action 'failed'     the order is broken; status_detail says how
--   action 'held'       PAUSED for a person to decide: a stale schedule or a double submit
--   action 'download'   it has a list by URL: download it with this claim_token, then list_loaded() or list_failed()
--
-- Test sends go first. Outside its program's quiet hours' window a campaign stays PENDING (see explain_waiting).
-- A caller whose hands are full of downloads says p_downloads => false and is given none; the others go on.
drop function if exists passbell.claim_campaign(uuid, integer, integer);
create or replace function passbell.claim_campaign(
    p_worker uuid, p_chunk_size integer default 50, p_lease_seconds integer default 120, p_downloads boolean default true)
returns table (campaign_id uuid, action text, detail text, recipients integer, program_id uuid, csv_url text, claim_token uuid)
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
#variable_conflict use_column
declare
    v_now       constant timestamptz := passbell.now();
    v_campaign  public.push_campaigns;
    v_program   record;
    v_twin      record;
    v_due       timestamptz;
    v_message   text;
begin
    v_campaign := passbell.next_campaign(p_downloads);
    if v_campaign.id is null then
        return;
    end if;

    campaign_id := v_campaign.id;
    program_id := v_campaign.program_id;
    recipients := 0;

    -- An order that fires long after its time (a restored snapshot, a weekend without a daemon) is a person's decision.
    -- Rows that lay PENDING in the owner's table before passbell came have no submitted_at.
    v_due := coalesce(v_campaign.scheduled_at, v_campaign.submitted_at, v_campaign.created_at);
    if v_campaign.released_at is null and v_due < v_now - interval '24 hours' then
        detail := format('Held: it was due %s, more than 24 hours ago. Resume it to send it now, or cancel it.',
                         to_char(v_due at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'));
        perform passbell.hold_campaign(v_campaign.id, detail);
        action := 'held';
        return next;
        return;
    end if;

    -- The same order twice within a minute is a form submitted twice. The earlier one goes, whoever is claimed first.
    if v_campaign.released_at is null and v_campaign.kind = 'BROADCAST' then
        select t.name, t.created_at into v_twin
          from (select o.* from public.push_campaigns o      -- by push_campaigns_program, not all programs' last minute
                 where o.program_id = v_campaign.program_id
                   and o.created_at between v_campaign.created_at - interval '1 minute' and v_campaign.created_at
                offset 0) t
         where t.kind = 'BROADCAST' and t.id <> v_campaign.id
           and t.status not in ('DRAFT', 'FAILED', 'CANCELLED')
           and (t.created_at, t.id) < (v_campaign.created_at, v_campaign.id)
           and btrim(t.message_text) = btrim(v_campaign.message_text)
           and upper(regexp_replace(coalesce(nullif(btrim(t.target_query), ''), 'ALL'), '\s', '', 'g'))
               = upper(regexp_replace(coalesce(nullif(btrim(v_campaign.target_query), ''), 'ALL'), '\s', '', 'g'))
           and coalesce(btrim(t.csv_upload_url), '') = coalesce(btrim(v_campaign.csv_upload_url), '')
           and (coalesce(btrim(t.csv_upload_url), '') <> ''
                or (select l.digest from passbell.list_loads l where l.campaign_id = t.id)
                   is not distinct from (select l.digest from passbell.list_loads l where l.campaign_id = v_campaign.id))
           and coalesce(t.scheduled_at, t.created_at) between coalesce(v_campaign.scheduled_at, v_campaign.created_at) - interval '1 minute'
                                                          and coalesce(v_campaign.scheduled_at, v_campaign.created_at) + interval '1 minute'
         order by t.created_at
         limit 1;
        if found then
            detail := format('Held: "%s" with the same text and audience was submitted %s seconds before. Resume it to send it as well, or cancel it.',
                             v_twin.name, greatest(0, round(extract(epoch from v_campaign.created_at - v_twin.created_at))));
            perform passbell.hold_campaign(v_campaign.id, detail);
            action := 'held';
            return next;
            return;
        end if;
    end if;

    begin
        select g.* into v_program from passbell.programs g where g.program_id = v_campaign.program_id;
        if not found then
            raise exception 'There is no program %.', coalesce(v_campaign.program_id::text, '(none given)') using errcode = 'PB400';
        elsif v_program.suspended then
            raise exception 'The program "%" is suspended: nothing may be sent.', v_program.name using errcode = 'PB400';
        elsif v_program.passkit_program_id is null then
            raise exception 'The program "%" is not provisioned yet: it has no PassKit program id.', v_program.name using errcode = 'PB400';
        end if;
        perform passbell.compile_message(v_campaign.message_text);

        if passbell.is_list(v_campaign) and not passbell.has_list(v_campaign) then
            perform passbell.parse_target(v_campaign.target_query);     -- others are read when their audience is frozen
            if nullif(btrim(v_campaign.csv_upload_url), '') is null then
                raise exception 'The audience is CSV, but csv_upload_url is empty.' using errcode = 'PB400';
            end if;
            insert into passbell.list_loads as l (campaign_id, attempt, lease_until, claim_token, worker)
            values (v_campaign.id, 1, v_now + make_interval(secs => p_lease_seconds), gen_random_uuid(), p_worker)
            on conflict (campaign_id) do update
               set attempt = case when l.loaded then 1 else l.attempt + 1 end, loaded = false, lease_until = excluded.lease_until, claim_token = excluded.claim_token, worker = excluded.worker
            returning l.claim_token into claim_token;
            update public.push_campaigns set status_detail = 'Downloading the list.' where id = v_campaign.id;
            csv_url := btrim(v_campaign.csv_upload_url);
            action := 'download';
            return next;
            return;
        end if;

        recipients := passbell.expand_campaign(v_campaign.id, p_chunk_size);
        select case when c.status = 'FAILED' then 'failed' else 'expanded' end, case when c.status = 'FAILED' then c.status_detail end
          into action, detail from public.push_campaigns c where c.id = v_campaign.id;
    exception when others then
        -- A broken order, not a broken database: those errors must surface and be tried again.
        if sqlstate not like 'PB4%' and sqlstate not like '22%' and sqlstate not like '42%' then
            raise;
        end if;
        get stacked diagnostics v_message = message_text;
        detail := case when sqlstate like 'PB4%' then v_message
                       else 'The audience could not be evaluated: ' || v_message || '.' end;
        perform passbell.fail_campaign(v_campaign.id, detail);
        action := 'failed';
    end;
    return next;
end
$$;

-- The campaign that is due and first in line, locked; NULL if there is none. Walks push_campaigns_due, so that thousands
-- which wait behind it are not looked at; every question about one is a scalar subquery, asked only of those that are
-- passed on the way.
create or replace function passbell.next_campaign(p_downloads boolean) returns public.push_campaigns
language plpgsql
set search_path = ''
set plan_cache_mode = 'force_generic_plan'
set enable_sort = off          -- never all that wait and a sort, whatever little is known of the table
set enable_seqscan = off
set jit = off
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_campaign  public.push_campaigns;
begin
    select c.* into v_campaign
      from public.push_campaigns c
     where c.status = 'PENDING'
       and coalesce(c.scheduled_at, v_now) <= v_now
       and coalesce((select l.loaded or (coalesce(l.lease_until, v_now) <= v_now and l.not_before <= v_now)
                       from passbell.list_loads l where l.campaign_id = c.id), true)
       and (p_downloads or coalesce(btrim(c.csv_upload_url), '') = '' or passbell.has_list(c))
       and (c.kind = 'TEST'
            or coalesce((select g.suspended or g.push_window_start is null
                                or passbell.in_window(v_now, passbell.zone(g.timezone), g.push_window_start, g.push_window_end)
                           from passbell.programs g where g.program_id = c.program_id limit 1), true))
     order by (c.kind = 'TEST') desc, coalesce(c.scheduled_at, c.submitted_at, c.created_at), c.id
     limit 1
       for update of c skip locked;
    return v_campaign;
end
$$;

-- Freezes the audience of a PENDING campaign into chunks with one set-based statement and starts it. Who is in:
-- every pass of the program that matches, is installed and active, and whose member did not opt out; the daily cap is
-- judged later, when its chunk is claimed. DISTINCT, because a host that lost a primary key may show a pass twice.
-- With a list, those it matched (match_list) and no others; a list by which nobody is found fails the campaign, and its
-- rows stay readable.
--
-- One array in the order of the ids, cut into chunks: neighbours in a chunk are neighbours in the ledger's indexes, and
-- the cutting costs nothing, where numbering the rows and grouping them by number costs as much as finding them. The
-- array holds 16 bytes per pass while the statement runs; PostgreSQL's limit of 1 GB is at 67 million passes.
create or replace function passbell.expand_campaign(p_campaign uuid, p_chunk_size integer) returns integer
language plpgsql
set search_path = ''
set work_mem = '64MB'
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_campaign    public.push_campaigns;
    v_load        passbell.list_loads;
    v_condition   text;
    v_parameters  text[];
    v_recipients  integer;
begin
    select c.* into strict v_campaign from public.push_campaigns c where c.id = p_campaign for update;
    v_load := passbell.match_list(v_campaign);

    if v_load.campaign_id is not null then
        if passbell.list_refusal(v_load) is not null then
            perform passbell.fail_campaign(p_campaign, passbell.list_refusal(v_load));
            return 0;
        end if;
        insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, not_before)
        select p_campaign, n, v_campaign.program_id, a.ids[(n - 1) * p_chunk_size + 1 : n * p_chunk_size], passbell.now()
          from (select array_agg(m.pass_id order by m.pass_id) as ids
                  from pg_temp.passbell_matches m
                 where m.pass_id is not null and m.nth = 1 and m.reachable and m.opted_in and m.wanted) a
         cross join lateral generate_series(1, (cardinality(a.ids) + p_chunk_size - 1) / p_chunk_size) n;
    elsif passbell.is_list(v_campaign) then
        raise exception 'The list is not there.';       -- never "everybody", whatever went wrong before
    else
        select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition(v_campaign.target_query) a;
        execute $q$
            insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, not_before)
            select $3, n, $1, a.ids[(n - 1) * $4 + 1 : n * $4], $5
              from (select array_agg(distinct r.pass_id order by r.pass_id) as ids
                      from passbell.recipients r
                     where r.program_id = $1 and r.reachable and r.opted_in and ($q$ || v_condition || $q$)) a
             cross join lateral generate_series(1, (cardinality(a.ids) + $4 - 1) / $4) n $q$
          using v_campaign.program_id, v_parameters, p_campaign, p_chunk_size, passbell.now();
    end if;

    select coalesce(sum(cardinality(k.pass_ids)), 0) into v_recipients from passbell.chunks k where k.campaign_id = p_campaign;
    insert into passbell.turns (program_id) values (v_campaign.program_id) on conflict do nothing;

    update public.push_campaigns
       set status = 'PROCESSING', started_at = passbell.now(), recipient_count = v_recipients, status_detail = v_load.summary
     where id = p_campaign;
    if v_recipients = 0 then
        perform passbell.settle_campaign(p_campaign);
    end if;
    return v_recipients;
end
$$;


-- functions/23_lists.sql ────────────────────────────────────────────────────────────────────────────────────────

-- Hit lists, from CSV files (staged in passbell.list_pages) or from the target IDS:a,b,c.

-- "488 of 500 matched; 12 not found; 3 opted out." NULL for a campaign without a list.
create or replace function passbell.list_summary(p_campaign uuid) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return (select l.summary from passbell.list_loads l where l.campaign_id = p_campaign);
end
$$;

-- The words of a summary.
create or replace function passbell.list_words(p_rows bigint, p_matched bigint, p_reasons jsonb) returns text
language sql stable
set search_path = ''
as $$
    select passbell.thousands(p_matched) || ' of ' || passbell.thousands(p_rows) || ' matched'
           || coalesce('; ' || string_agg(passbell.thousands(r.n) || ' ' || r.words, '; ' order by r.n desc, r.words), '') || '.'
      from (select e.value::bigint as n,
                   case e.key when 'unknown_member' then 'not found' when 'other_program' then 'of another program'
                              when 'duplicate' then 'listed twice' when 'not_installed' then 'not in a wallet'
                              else replace(e.key, '_', ' ') end as words
              from jsonb_each_text(p_reasons) e) r
$$;

-- Does the campaign's audience come from a CSV? A URL always narrows: whatever the target says, a campaign with a list
-- never goes to "everybody". The usual targets need not be parsed to be known.
create or replace function passbell.is_list(p_campaign public.push_campaigns) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    if nullif(btrim(p_campaign.csv_upload_url), '') is not null then
        return true;
    elsif coalesce(upper(btrim(p_campaign.target_query)), '') in ('', 'ALL', 'ALL ACTIVE MEMBERS') then
        return false;
    end if;
    return exists (select from passbell.parse_target(p_campaign.target_query) t where t.segment = 'CSV');
end
$$;

-- Is the campaign's CSV read, and is it still the one that the order names?
create or replace function passbell.has_list(p_campaign public.push_campaigns) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from passbell.list_loads l
                    where l.campaign_id = p_campaign.id and l.loaded
                      and l.url is not distinct from nullif(btrim(p_campaign.csv_upload_url), ''))
$$;

-- What the campaign's list holds, one row per id: the pages of its CSV; without a CSV the ids of the first IDS: part.
create or replace function passbell.listed_ids(p_campaign public.push_campaigns)
returns table (list_row integer, list_value text, problem text)
language plpgsql stable rows 1000
set search_path = ''
as $$
begin
    if passbell.is_list(p_campaign) then
        return query
            select u.row_number, u.id, u.problem
              from passbell.list_pages g
             cross join lateral unnest(g.row_numbers, g.ids, g.problems) as u (row_number, id, problem)
             where g.campaign_id = p_campaign.id;
    else
        return query
            select (row_number() over (order by v.n))::integer, btrim(v.value), null::text
              from (select t.parameter from passbell.parse_target(p_campaign.target_query) with ordinality as t
                     where t.segment = 'IDS' order by t.ordinality limit 1) t
             cross join lateral unnest(string_to_array(t.parameter, ',')) with ordinality as v (value, n)
             where btrim(v.value) <> '';
    end if;
end
$$;

-- How many of them can be used.
create or replace function passbell.listed_count(p_campaign public.push_campaigns) returns bigint
language sql stable
set search_path = ''
as $$
    select case when passbell.is_list(p_campaign)
                then (select coalesce(sum(cardinality(g.ids) - case when g.problems is null then 0 else (select count(p) from unnest(g.problems) p) end), 0)
                        from passbell.list_pages g where g.campaign_id = p_campaign.id)
                else (select count(*) from passbell.listed_ids(p_campaign)) end
$$;

-- The rest of the campaign's target, which narrows its list: everything but CSV, or but the IDS: that is the list.
create or replace function passbell.target_beside_list(p_campaign public.push_campaigns) returns text
language sql stable
set search_path = ''
as $$
    select string_agg(t.segment || coalesce(':' || t.parameter, ''), ' & ' order by t.n)
      from (select p.segment, p.parameter, p.ordinality as n, row_number() over (partition by p.segment order by p.ordinality) as nth
              from passbell.parse_target(p_campaign.target_query) with ordinality as p) t
     where t.segment <> 'CSV' and not (t.segment = 'IDS' and t.nth = 1 and not passbell.is_list(p_campaign))
$$;

-- Matches the campaign's list to the passes of its program: external id, else pass id, trimmed and without regard to
-- case; of passes whose ids differ in case alone the one spelt as listed, else the first. Leaves who matched in
-- pg_temp.passbell_matches until the transaction ends, for expand_campaign:
--
--     list_row, list_value, pass_id (NULL: nobody), nth (1: the first row that names this pass, else 2),
--     reachable, opted_in, wanted (the rest of the target holds)
--
-- and for people only the rows that reach nobody, in passbell.list_entries with the reason, and the totals in
-- passbell.list_loads. Each id is looked up in the index on folded external ids (passes_master_external_id_folded), so that a
-- test send beside a million members takes milliseconds; without it (a view of the operator's own), and for hundreds of
-- thousands of ids, one hash join over the program's members: a million take a few seconds. Returns NULL for a campaign
-- without a list. May be called again: members change.
create or replace function passbell.match_list(p_campaign public.push_campaigns) returns passbell.list_loads
language plpgsql
set search_path = ''
set work_mem = '64MB'
set enable_mergejoin = off      -- the planner cannot know how long a list is, and would sort all members by their ids
set enable_nestloop = on        -- until a list turns out to be long; named here, so that it is on again afterwards
as $fn$
declare
    v_condition   text;
    v_parameters  text[];
    v_members     text;
    v_uuid        constant text := '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
    v_listed      bigint;
    v_load        passbell.list_loads;
begin
    if not passbell.is_list(p_campaign) then
        if coalesce(upper(btrim(p_campaign.target_query)), '') in ('', 'ALL', 'ALL ACTIVE MEMBERS') then
            return null;
        elsif not exists (select from passbell.parse_target(p_campaign.target_query) t where t.segment = 'IDS') then
            return null;
        end if;
    end if;
    select a.condition, a.parameters into v_condition, v_parameters
      from passbell.audience_condition(passbell.target_beside_list(p_campaign)) a;

    if to_regclass('pg_temp.passbell_matches') is not null then
        drop table pg_temp.passbell_matches;
    end if;
    create temporary table passbell_matches (
        list_row integer, list_value text, pass_id uuid, exact boolean, reachable boolean, opted_in boolean, wanted boolean, nth integer not null default 1
    ) on commit drop;

    if passbell.listed_count(p_campaign) > 200000 then
        perform set_config('enable_nestloop', 'off', true);
    end if;
    v_members := 'select r.pass_id, r.external_id, r.reachable, r.opted_in, (' || v_condition || ') as wanted'
                 || ' from passbell.recipients r where r.program_id = $1';
    execute 'insert into pg_temp.passbell_matches (list_row, list_value, pass_id, exact, reachable, opted_in, wanted)'
         || ' select i.list_row, i.list_value, x.pass_id, x.external_id = i.list_value, x.reachable, x.opted_in, x.wanted'
         || '   from passbell.listed_ids($4) i left join (' || v_members || ') x on lower(btrim(x.external_id)) = lower(i.list_value)'
         || '  where i.problem is null'
      using p_campaign.program_id, v_parameters, p_campaign.id, p_campaign;
    get diagnostics v_listed = row_count;

    -- Some id stands for several passes (they differ in case, or a host without a primary key shows one twice).
    if v_listed > passbell.listed_count(p_campaign) then
        delete from pg_temp.passbell_matches m
         using (select d.ctid, row_number() over (partition by d.list_row order by d.exact desc, d.pass_id) as choice
                  from pg_temp.passbell_matches d) c
         where m.ctid = c.ctid and c.choice > 1;
        v_listed := passbell.listed_count(p_campaign);
    end if;
    if exists (select from pg_temp.passbell_matches m where m.pass_id is null and length(m.list_value) = 36) then
        execute 'update pg_temp.passbell_matches m'
             || '   set pass_id = x.pass_id, reachable = x.reachable, opted_in = x.opted_in, wanted = x.wanted'
             || '  from (' || v_members || ') x'
             || ' where m.pass_id is null and x.pass_id = case when length(m.list_value) = 36 and lower(m.list_value) ~ $4 then m.list_value::uuid end'
          using p_campaign.program_id, v_parameters, p_campaign.id, v_uuid;
    end if;
    with twice as (
        select d.pass_id, min(d.list_row) as first from pg_temp.passbell_matches d
         where d.pass_id is not null group by d.pass_id having count(*) > 1
    )
    update pg_temp.passbell_matches m set nth = 2 from twice t where m.pass_id = t.pass_id and m.list_row > t.first;

    delete from passbell.list_entries e where e.campaign_id = p_campaign.id;
    insert into passbell.list_entries (campaign_id, row_number, value, reason, detail)
    select p_campaign.id, u.row_number, u.id, 'unusable', u.problem
      from passbell.list_pages g
     cross join lateral unnest(g.row_numbers, g.ids, g.problems) as u (row_number, id, problem)
     where g.campaign_id = p_campaign.id and g.problems is not null and u.problem is not null;
    insert into passbell.list_entries (campaign_id, row_number, value, pass_id, reason)
    select p_campaign.id, m.list_row, m.list_value, m.pass_id,
           case when m.nth > 1 then 'duplicate' when not m.reachable then 'not_installed' else 'opted_out' end
      from pg_temp.passbell_matches m
     where m.pass_id is not null and (m.nth > 1 or not m.reachable or not m.opted_in)
     order by m.list_row;
    if exists (select from pg_temp.passbell_matches m where m.pass_id is null) then
        with missing as materialized (
            select m.list_row, m.list_value, lower(m.list_value) as key from pg_temp.passbell_matches m where m.pass_id is null
        ), elsewhere as (
            select s.list_row from missing s join passbell.recipients r on lower(btrim(r.external_id)) = s.key
             where r.program_id is distinct from p_campaign.program_id
            union
            select s.list_row
              from missing s
              join passbell.recipients r on r.pass_id = case when length(s.key) = 36 and s.key ~ v_uuid then s.key::uuid end
             where r.program_id is distinct from p_campaign.program_id
        )
        insert into passbell.list_entries (campaign_id, row_number, value, reason)
        select p_campaign.id, s.list_row, s.list_value, case when e.list_row is null then 'unknown_member' else 'other_program' end
          from missing s left join elsewhere e on e.list_row = s.list_row;
    end if;

    insert into passbell.list_loads as l (campaign_id, loaded, rows, matched, reasons)
    select p_campaign.id, true, v_listed + coalesce(sum(e.n) filter (where e.reason = 'unusable'), 0),
           v_listed - coalesce(sum(e.n) filter (where e.reason in ('unknown_member', 'other_program', 'duplicate')), 0),
           coalesce(jsonb_object_agg(e.reason, e.n) filter (where e.reason is not null), '{}')
      from (select e.reason, count(*) as n from passbell.list_entries e where e.campaign_id = p_campaign.id group by e.reason) e
    on conflict (campaign_id) do update set rows = excluded.rows, matched = excluded.matched, reasons = excluded.reasons;
    update passbell.list_loads l
       set summary = passbell.list_words(l.rows, l.matched, l.reasons)
     where l.campaign_id = p_campaign.id
    returning l.* into v_load;
    return v_load;
end
$fn$;

-- Why a matched list cannot be used at all, as the sentence for status_detail; NULL if it can. An empty audience is an
-- error there, never "everybody".
create or replace function passbell.list_refusal(p_load passbell.list_loads) returns text
language sql stable
set search_path = ''
as $$
    select case when p_load.rows = 0 then 'The list is empty: there is no member id in it.'
                when p_load.matched = 0 then format('Nobody on the list was found in this program (%s).', rtrim(p_load.summary, '.')) end
$$;


-- functions/24_list_loads.sql ───────────────────────────────────────────────────────────────────────────────────

-- Loading lists: by a daemon from a URL (claim_campaign, renew, loaded or failed), or by whoever has the file at hand
-- (draft, pages, submit). Either way every page and the word that they are complete come in one transaction.

-- The loader is still at it. False if another daemon holds the load by now, or the campaign was cancelled.
create or replace function passbell.renew_list_load(p_campaign uuid, p_claim_token uuid, p_lease_seconds numeric) returns boolean
language plpgsql
set search_path = ''
as $$
begin
    update passbell.list_loads l
       set lease_until = passbell.now() + make_interval(secs => p_lease_seconds::double precision)
     where l.campaign_id = p_campaign and l.claim_token = p_claim_token
       and exists (select from public.push_campaigns c where c.id = p_campaign and c.status in ('PENDING', 'PAUSED'));
    return found;
end
$$;

-- Hands an unfinished load back, at a graceful stop: the next daemon may begin at once.
create or replace function passbell.release_list_load(p_campaign uuid, p_claim_token uuid) returns void
language sql
set search_path = ''
as $$
    update passbell.list_loads l
       set lease_until = null, claim_token = null, worker = null, attempt = l.attempt - 1
     where l.campaign_id = p_campaign and l.claim_token = p_claim_token
$$;

-- Hands back what stands under the worker's name although it does not know the token: a claim whose answer was lost on
-- the wire. Called between claims, never while one is under way.
create or replace function passbell.release_list_orphans(p_worker uuid, p_known uuid[]) returns void
language sql
set search_path = ''
as $$
    update passbell.list_loads l
       set lease_until = null, claim_token = null, worker = null, attempt = l.attempt - 1
     where l.worker = p_worker and not l.loaded and l.claim_token <> all (p_known)
$$;

-- The loader is about to write the pages, in this transaction: what an earlier try has left is gone. Raises PB412 if
-- another daemon holds the load.
create or replace function passbell.begin_list(p_campaign uuid, p_claim_token uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    if not exists (select from passbell.list_loads l where l.campaign_id = p_campaign and l.claim_token = p_claim_token) then
        raise exception 'the lease on the list of campaign % is lost', p_campaign using errcode = 'PB412';
    end if;
    delete from passbell.list_pages g where g.campaign_id = p_campaign;
end
$$;

-- The loader has staged every page of the campaign's list (in this same transaction): the next claim expands it.
-- p_url is where it came from. Raises PB412 if another daemon holds the load by now.
create or replace function passbell.list_loaded(p_campaign uuid, p_claim_token uuid, p_url text, p_digest text) returns void
language plpgsql
set search_path = ''
as $$
begin
    update passbell.list_loads l
       set loaded = true, lease_until = null, claim_token = null, worker = null, url = nullif(btrim(p_url), ''), digest = p_digest
     where l.campaign_id = p_campaign and l.claim_token = p_claim_token;
    if not found then
        raise exception 'the lease on the list of campaign % is lost', p_campaign using errcode = 'PB412';
    end if;
    perform pg_notify('passbell', 'pending');
end
$$;

-- The list could not be had. A trouble that may pass is tried again, three times in all; then the campaign fails with
-- the sentence.
create or replace function passbell.list_failed(p_campaign uuid, p_claim_token uuid, p_detail text, p_again boolean) returns void
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_attempt  smallint;
begin
    update passbell.list_loads l
       set lease_until = null, claim_token = null, worker = null,
           not_before = passbell.now() + make_interval(secs => 5 * power(4, l.attempt - 1))
     where l.campaign_id = p_campaign and l.claim_token = p_claim_token
    returning l.attempt into v_attempt;
    if not found then
        return;
    end if;
    if p_again and v_attempt < 3 then
        update public.push_campaigns c
           set status_detail = left(format('Downloading the list failed and is tried again: %s', p_detail), 1000)
         where c.id = p_campaign and c.status = 'PENDING';
    else
        perform passbell.fail_campaign(p_campaign, p_detail);
    end if;
end
$$;

-- First half of a campaign whose list is at hand (passbell send --csv, POST /api/notifications/targeted): checks the
-- order and makes a DRAFT that waits for its pages. The same transaction then copies them into passbell.list_pages and
-- calls submit_list_campaign, so nobody ever sees half a list.
create or replace function passbell.draft_list_campaign(
    p_program uuid, p_message text, p_target text default null, p_name text default null, p_scheduled_at timestamptz default null,
    p_created_by text default null) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    v_id  uuid;
begin
    perform passbell.require_program(p_program);
    perform passbell.compile_message(p_message);
    insert into public.push_campaigns (program_id, name, message_text, target_query, scheduled_at, status, created_by)
    values (p_program, p_name, p_message,
            case when exists (select from passbell.parse_target(p_target) t where t.segment = 'CSV') then p_target
                 when coalesce(btrim(p_target), '') = '' or (select bool_and(t.segment = 'ALL') from passbell.parse_target(p_target) t) then 'CSV'
                 else p_target || ' & CSV' end,
            p_scheduled_at, 'DRAFT', p_created_by)
    returning id into v_id;
    insert into passbell.list_loads (campaign_id) values (v_id);
    return v_id;
end
$$;

-- Second half: matches the list now, so that the caller can say "500 targeted, 12 unmatched", and submits the campaign.
-- targeted is how many would be buzzed, as things stand; the daemon matches again when it is due. Raises PB400 if
-- nobody is on the list.
create or replace function passbell.submit_list_campaign(p_campaign uuid, p_digest text)
returns table (rows integer, matched integer, targeted integer, unmatched integer, reasons jsonb, summary text, status text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_campaign  public.push_campaigns;
    v_load      passbell.list_loads;
begin
    update passbell.list_loads l set loaded = true, digest = p_digest where l.campaign_id = p_campaign;
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign for update;
    v_load := passbell.match_list(v_campaign);
    if passbell.list_refusal(v_load) is not null then
        raise exception '%', passbell.list_refusal(v_load) using errcode = 'PB400';
    end if;
    rows := v_load.rows;  matched := v_load.matched;  reasons := v_load.reasons;  summary := v_load.summary;
    unmatched := rows - matched;
    select count(*) into targeted
      from pg_temp.passbell_matches m where m.pass_id is not null and m.nth = 1 and m.reachable and m.opted_in and m.wanted;
    update public.push_campaigns c set status = 'PENDING' where c.id = p_campaign returning c.status into status;
    return next;
end
$$;

-- The pages are of no use once the audience is frozen, or will never be.
create or replace function passbell.drop_list_pages() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from passbell.list_pages g where g.campaign_id = new.id;
    return null;
end
$$;

create or replace trigger passbell_list_pages after update of status on public.push_campaigns
    for each row when (old.status is distinct from new.status and new.status in ('PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED'))
    execute function passbell.drop_list_pages();


-- functions/30_claim_chunk.sql ──────────────────────────────────────────────────────────────────────────────────

-- Hands one chunk of passes to a worker: the heart of the queue. Called by every daemon whenever it has room.
--
-- Which chunk: of the programs that have something ready, the one whose turn lies furthest back; in it, test sends
-- first, then the oldest campaign; in that, the first chunk that nobody holds (never claimed, handed back and due, or
-- leased by someone whose lease ran out). So a campaign of 50 passes starts at once beside one of 1,000,000.
-- `p_busy_programs` are those the caller wants no more of for now, test sends excepted; `p_busy_campaigns` likewise.
--
-- What it guarantees. The chunk is leased until now + p_lease_seconds under a fresh claim_token, which every later
-- write must carry (fencing). Members are read as they are now: who was uninstalled, opted out, deleted or capped in
-- the meantime is skipped with the reason. The texts are chosen and stored before anybody is sent anything, so that a
-- repeat after a crash sends identical bytes; a text that the pass may be showing already is varied invisibly
-- (p_same_text 'vary'), skipped ('skip') or sent as it is ('send'). A pass has one message under way at a time: whom
-- another campaign has in flight is put off by a second, because the later text could otherwise be overtaken by a
-- repeat of the earlier one, and the phone would buzz for that twice. The program's turn row, locked first, puts the
-- claims inside one program in a row, so that two of them cannot overlook each other.
--
-- The texts come in `texts`, beside pass_ids; or, when everybody gets the same, once in `message`, and texts is NULL.
--
-- Uses chunks_ready to find, chunks_in_flight for what is in flight, deliveries_pass for what was sent. The search goes on
-- where the last claim found its chunk (passbell.turns): before it lie the entries of finished chunks, all of them as long
-- as some old snapshot is held, and each would be looked at again (measured: 30 ms per claim after 20,000 chunks).
-- A claim that has skipped 5,000 and found nobody to send to (a large audience at its daily cap) commits that and rings
-- the daemons: in one transaction it would outlast its caller's patience, be rolled back, and begin anew for ever.
-- Returns no row if there is nothing to do, the account's breaker is open, or it is throttled.
drop function if exists passbell.claim_chunk(uuid, text, numeric, integer, text, uuid[], uuid[]);
create function passbell.claim_chunk(
    p_worker          uuid,
    p_account         text    default '',
    p_lease_seconds   numeric default 60,
    p_daily_cap       integer default 3,
    p_same_text       text    default 'vary',
    p_busy_programs   uuid[]  default '{}',
    p_busy_campaigns  uuid[]  default '{}')
returns table (
    campaign_id uuid, chunk_no integer, claim_token uuid, attempt integer, program_id uuid, kind text, rate_per_second numeric,
    pass_ids text[], passkit_ids text[], external_ids text[], protocols text[], passkit_program_id text, message text, texts text[])
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
set plan_cache_mode = 'force_generic_plan'     -- planning anew would cost as much as running it; holds for what is called below
set enable_seqscan = off                       -- and a plan made while a table was empty must not scan it when it is full
set jit = off                                  -- which makes any plan that must scan look dear enough to be compiled
as $$
#variable_conflict use_column
declare
    v_now       constant timestamptz := passbell.now();
    v_program   uuid;
    v_turn      passbell.turns;
    v_campaign  public.push_campaigns;
    v_chunk     passbell.chunks;
    v_ready     record;
    v_first     boolean := true;
    v_passed    integer := 0;     -- passes of chunks of which nobody stayed
begin
    if exists (select from passbell.rate_limits l
                where l.account = p_account and (l.breaker = 'open' or l.blocked_until > clock_timestamp() + interval '1 second')) then
        return;
    end if;

    for v_program in
        select t.program_id
          from passbell.turns t
         where (t.program_id in (select c.program_id from public.push_campaigns c
                                  where c.status = 'PROCESSING' and c.id <> all (p_busy_campaigns)
                                    and (c.kind = 'TEST' or c.program_id <> all (p_busy_programs)))) is true     -- hashed, never a join
         order by t.last_turn
    loop
        continue when not passbell.has_ready_chunk(v_program, p_busy_campaigns, v_program = any (p_busy_programs));
        -- Waiting is for who holds nothing yet: two claims that each hold a turn and wait for the other's are a deadlock.
        if v_first then
            select t.* into v_turn from passbell.turns t where t.program_id = v_program for update;
            v_first := false;
        else
            select t.* into v_turn from passbell.turns t where t.program_id = v_program for update skip locked;
            continue when not found;
        end if;
        loop
            v_chunk := passbell.next_chunk(v_turn, p_busy_campaigns, v_program = any (p_busy_programs));
            exit when v_chunk.campaign_id is null;
            v_turn.campaign_id := v_chunk.campaign_id;
            v_turn.ready_at := v_chunk.ready_at;
            v_turn.chunk_no := v_chunk.chunk_no;
            select c.* into v_campaign from public.push_campaigns c where c.id = v_chunk.campaign_id;

            select * into v_ready from passbell.prepare_chunk(v_chunk, v_campaign, p_daily_cap, p_same_text);
            if v_ready.pass_ids is null then             -- everybody in it was skipped or put off
                v_passed := v_passed + cardinality(v_chunk.pass_ids);
                continue when v_passed < 5000;
                update passbell.turns t set last_turn = clock_timestamp() where t.program_id = v_program;
                perform pg_notify('passbell', 'processing');
                return;
            end if;

            claim_token := gen_random_uuid();
            update passbell.chunks k
               set pass_ids = case when v_ready.everybody then k.pass_ids else v_ready.pass_ids end,
                   texts = case when not v_ready.uniform then v_ready.texts end, rendered = true,
                   uncertain = v_chunk.rendered,
                   lease_until = v_now + make_interval(secs => p_lease_seconds::double precision),
                   claim_token = claim_chunk.claim_token, worker = p_worker, claimed_at = v_now
             where k.campaign_id = v_chunk.campaign_id and k.chunk_no = v_chunk.chunk_no;
            update passbell.turns t
               set last_turn = clock_timestamp(), campaign_id = v_turn.campaign_id, ready_at = v_turn.ready_at, chunk_no = v_turn.chunk_no
             where t.program_id = v_program;

            campaign_id := v_chunk.campaign_id;
            chunk_no := v_chunk.chunk_no;
            attempt := v_chunk.attempt;
            program_id := v_program;
            kind := v_campaign.kind;
            rate_per_second := v_campaign.rate_per_second;
            pass_ids := v_ready.pass_ids::text[];
            passkit_ids := v_ready.passkit_ids;
            external_ids := v_ready.external_ids;
            protocols := v_ready.protocols;
            select g.passkit_program_id into passkit_program_id from passbell.programs g where g.program_id = v_program;
            message := case when v_ready.uniform then v_campaign.message_text end;
            texts := case when not v_ready.uniform then v_ready.texts end;
            return next;
            return;
        end loop;
    end loop;
end
$$;

-- Whether a program has a chunk that nobody holds. First where the last claim left off, then from the far end of
-- chunks_ready: what was claimed and deleted lies at its near end until vacuum comes by.
drop function if exists passbell.has_ready_chunk(uuid, uuid[]);
create or replace function passbell.has_ready_chunk(p_program uuid, p_busy_campaigns uuid[], p_tests_only boolean) returns boolean
language plpgsql stable
set search_path = ''
set enable_sort = off          -- never the primary key and a sort, whatever little is known of the table
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_turn      passbell.turns;
    v_campaign  uuid;
begin
    select t.* into v_turn from passbell.turns t where t.program_id = p_program;
    for v_campaign in
        select c.id from public.push_campaigns c
         where c.program_id = p_program and c.status = 'PROCESSING' and c.id <> all (p_busy_campaigns)
           and (c.kind = 'TEST' or not p_tests_only)
    loop
        if v_campaign = v_turn.campaign_id then
            perform from passbell.chunks k
             where k.campaign_id = v_campaign and (k.ready_at, k.chunk_no) > (v_turn.ready_at, v_turn.chunk_no) and k.ready_at <= v_now
             order by k.ready_at, k.chunk_no
             limit 1;
            if found then
                return true;
            end if;
        end if;
        perform from passbell.chunks k
         where k.campaign_id = v_campaign and k.ready_at <= v_now
         order by k.ready_at desc, k.chunk_no desc
         limit 1;
        if found then
            return true;
        end if;
    end loop;
    return false;
end
$$;

-- The next chunk of a program that may be claimed now, locked; NULL if there is none. Quiet hours and the kill switch
-- stop everything but test sends (quiet hours) and everything (suspension). First behind the chunk that was found last;
-- only when nothing is ready there, from the beginning: somebody may have held a chunk for a moment when we passed it.
drop function if exists passbell.next_chunk(uuid, uuid[]);
drop function if exists passbell.next_chunk(passbell.turns, uuid[]);
create or replace function passbell.next_chunk(p_turn passbell.turns, p_busy_campaigns uuid[], p_tests_only boolean) returns passbell.chunks
language plpgsql
set search_path = ''
set enable_sort = off          -- never the primary key and a sort, whatever little is known of the table
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_open      boolean;
    v_campaign  uuid;
    v_chunk     passbell.chunks;
begin
    select g.push_window_start is null or passbell.in_window(v_now, passbell.zone(g.timezone), g.push_window_start, g.push_window_end)
      into v_open
      from passbell.programs g
     where g.program_id = p_turn.program_id and not g.suspended and g.passkit_program_id is not null;
    if not found then
        return null;
    end if;
    for v_campaign in
        select c.id from public.push_campaigns c
         where c.program_id = p_turn.program_id and c.status = 'PROCESSING' and c.id <> all (p_busy_campaigns)
           and (c.kind = 'TEST' or (v_open and not p_tests_only))
         order by c.kind = 'TEST' desc, c.started_at, c.id
    loop
        if v_campaign = p_turn.campaign_id then
            select k.* into v_chunk
              from passbell.chunks k
             where k.campaign_id = v_campaign and (k.ready_at, k.chunk_no) > (p_turn.ready_at, p_turn.chunk_no) and k.ready_at <= v_now
             order by k.ready_at, k.chunk_no
             limit 1
               for update skip locked;
            if found then
                return v_chunk;
            end if;
        end if;
        select k.* into v_chunk
          from passbell.chunks k
         where k.campaign_id = v_campaign and k.ready_at <= v_now
         order by k.ready_at, k.chunk_no
         limit 1
           for update skip locked;
        if found then
            return v_chunk;
        end if;
    end loop;
    return null;
end
$$;

-- Judges and words a locked chunk. Those who are skipped get their ledger rows and the counters here; those whom
-- another campaign has under way are put off in a chunk of their own; those who stay come back as parallel arrays with
-- the texts chosen. pass_ids is NULL if nobody stays. `uniform` says that everybody gets message_text as it stands, so
-- that no texts need be stored; `everybody`, that all stay, so that the ids need not be written again.
--
-- A repeat (a chunk that was handed out before, and whose outcome nobody knows) is not sent to a pass that another
-- campaign has reached since, or may have reached, which can happen only while this one was paused: the phone shows the
-- newer text by now, and would buzz a second time for the older one. It is recorded as failed, for a person to decide.
-- While that other campaign, handed out later, still has the pass under way, the repeat waits for what becomes of it;
-- the one that was handed out last waits for nobody.
--
-- One statement, once per pass of every campaign, so it asks for little: recipients without the columns that only
-- placeholders need (those are read where a text is rendered), and the newest message in the ledger. Only a pass whose
-- newest message is of the last 24 hours, or failed, is looked at more closely.
--
-- The plan is made once per session, perhaps on the day of the installation, when a table is read as a whole for as
-- little as one row of it, and kept while the tables fill. So nothing is left to choose: `offset 0` makes the pass an
-- index lookup of its own, `order by … limit` pins deliveries_pass (not the ledger's primary key from end to end).
drop function if exists passbell.prepare_chunk(passbell.chunks, public.push_campaigns, integer, text);
create function passbell.prepare_chunk(
    p_chunk passbell.chunks, p_campaign public.push_campaigns, p_daily_cap integer, p_same_text text,
    out pass_ids uuid[], out texts text[], out passkit_ids text[], out external_ids text[], out protocols text[],
    out uniform boolean, out everybody boolean)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_now         constant timestamptz := passbell.now();
    v_day         constant timestamptz := v_now - interval '24 hours';
    v_fresh       constant boolean := not p_chunk.rendered;   -- first claim: choose texts, judge the cap
    v_message     record;
    v_plain       text;
    v_plain_hash  bigint;
    v_program     text;
    v_skipped     uuid[];
    v_reasons     text[];
    v_texts       text[];
    v_later       uuid[];
    v_later_texts text[];
    v_failed      integer;
begin
    select m.* into v_message from passbell.compile_message(p_campaign.message_text) m;
    select g.name into v_program from passbell.programs g where g.program_id = p_chunk.program_id;
    if v_message.fields = '{}' then
        v_plain := format(v_message.layout);
        v_plain_hash := hashtextextended(v_plain, 0);
    end if;

    with member as (              -- distinct, because a host that lost a primary key may show a pass twice
        select distinct on (t.n) t.n, t.pass_id, t.text as fixed, r.pass_id is null as gone, r.reachable, r.opted_in,
               r.passkit_id, r.external_id, r.protocol, coalesce(flight.under_way, false) as under_way,
               not v_fresh and (not coalesce(flight.under_way, true)        -- paused, and nobody knows what it has sent
                                or (select true from passbell.deliveries d
                                     where d.pass_id = t.pass_id and d.sent_at > p_chunk.claimed_at
                                       and d.text_hash is not null and coalesce(d.reason, '') not in ('not_found', 'rejected')
                                     order by d.sent_at desc limit 1) is true) as overtaken,
               case when last.sent_at > v_day then
                        (select count(*) from (select d.outcome from passbell.deliveries d
                                                where d.pass_id = t.pass_id and d.sent_at > v_day
                                                order by d.sent_at desc limit 1000) d where d.outcome = 'sent')
                    else 0 end + coalesce(cardinality(flight.hashes), 0) as today,
               -- What the pass may be showing: the last text sent, any since that may have landed, any in flight.
               case
                   when last.outcome = 'sent' then array[last.text_hash]
                   when last.outcome is not null then passbell.may_show(t.pass_id)
               end || flight.hashes as shown,
               coalesce(t.text, v_plain,
                   (select passbell.render_message(v_message.layout, v_message.fields, v_message.fallbacks, w.points,
                                                   w.first_name, w.last_name, w.tier_points, v_program)
                      from passbell.recipients w where w.pass_id = t.pass_id and w.program_id = p_chunk.program_id limit 1)) as text
          from unnest(p_chunk.pass_ids, p_chunk.texts) with ordinality as t (pass_id, text, n)
          left join lateral (
                select r.pass_id, r.reachable, r.opted_in, r.passkit_id, r.external_id, r.protocol
                  from passbell.recipients r
                 where r.pass_id = t.pass_id and r.program_id = p_chunk.program_id
                offset 0) r on true
          left join passbell.in_flight(p_chunk.program_id, p_chunk.campaign_id, p_chunk.pass_ids,
                                       case when v_fresh then '-infinity' else p_chunk.claimed_at end) flight
                 on flight.pass_id = t.pass_id
          -- Skips have no text: they reach no phone, and there may be any number of them.
          left join lateral (
                select d.outcome, d.sent_at, d.text_hash from passbell.deliveries d
                 where d.pass_id = t.pass_id and d.text_hash is not null
                 order by d.sent_at desc
                 limit 1) last on v_fresh
         order by t.n
    ), judged as (
        select m.*,
               v_fresh and m.fixed is null and coalesce(v_plain_hash, hashtextextended(m.text, 0)) = any (m.shown) as same,
               case
                   when m.gone then 'unknown_member'
                   when not m.reachable then 'not_installed'
                   when not m.opted_in then 'opted_out'
                   when m.overtaken then 'attempts_exhausted'
                   when m.under_way then null
                   when v_fresh and p_daily_cap > 0 and m.today >= p_daily_cap then 'capped'
                   when m.text is null then 'render_error'
               end as reason
          from member m
    ), decided as (
        select j.*, case when j.reason is not null then j.reason
                         when j.under_way then 'later'
                         when j.same and p_same_text = 'skip' then 'same_text' end as verdict,
               case when j.same and p_same_text = 'vary' and j.reason is null then passbell.vary_from(j.text, j.shown) else j.text end as final
          from judged j
    )
    select array_agg(d.pass_id) filter (where d.verdict <> 'later'), array_agg(d.verdict) filter (where d.verdict <> 'later'),
           array_agg(d.text) filter (where d.verdict <> 'later'),
           array_agg(d.pass_id) filter (where d.verdict = 'later'), array_agg(d.fixed) filter (where d.verdict = 'later'),
           array_agg(d.pass_id) filter (where d.verdict is null), array_agg(d.final) filter (where d.verdict is null),
           array_agg(d.passkit_id) filter (where d.verdict is null), array_agg(d.external_id) filter (where d.verdict is null),
           array_agg(d.protocol) filter (where d.verdict is null),
           bool_and(d.final = p_campaign.message_text) filter (where d.verdict is null)
      into v_skipped, v_reasons, v_texts, v_later, v_later_texts, pass_ids, texts, passkit_ids, external_ids, protocols, uniform
      from decided d;

    if v_later is not null and pass_ids is null and v_skipped is null then
        update passbell.chunks k set not_before = v_now + interval '1 second'
         where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
        return;
    end if;
    everybody := v_skipped is null and v_later is null;
    if everybody then
        return;
    end if;

    perform from public.push_campaigns c where c.id = p_chunk.campaign_id for update;
    if v_later is not null then
        insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, texts, keep_texts, rendered, uncertain, claimed_at, attempt, not_before)
        select p_chunk.campaign_id, max(k.chunk_no) + 1, p_chunk.program_id, v_later,
               case when p_chunk.keep_texts or p_chunk.rendered and p_chunk.texts is not null then v_later_texts end,
               p_chunk.keep_texts, p_chunk.rendered, p_chunk.uncertain, p_chunk.claimed_at, p_chunk.attempt, v_now + interval '1 second'
          from passbell.chunks k where k.campaign_id = p_chunk.campaign_id;
    end if;
    -- Of a repeat the phone may show the text, whatever keeps us from sending it again: dated when it was handed out, so
    -- that what another campaign has sent since counts as newer.
    insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, outcome, reason, detail, text)
    select p_chunk.campaign_id, s.pass_id, case when p_chunk.rendered then coalesce(p_chunk.claimed_at, v_now) else v_now end,
           case when p_chunk.rendered then hashtextextended(s.text, 0) end, p_chunk.attempt,
           case when s.reason in ('render_error', 'attempts_exhausted') then 'failed' else 'skipped' end, s.reason,
           case when s.reason = 'attempts_exhausted' then 'It is not known whether it arrived, and another campaign has reached the pass since.' end,
           case when s.reason = 'attempts_exhausted' then s.text end
      from unnest(v_skipped, v_reasons, v_texts) as s (pass_id, reason, text);
    if pass_ids is null then
        delete from passbell.chunks k where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    end if;
    if v_skipped is not null then
        v_failed := cardinality(array_positions(v_reasons, 'render_error')) + cardinality(array_positions(v_reasons, 'attempts_exhausted'));
        update public.push_campaigns c
           set skipped_count = skipped_count + cardinality(v_reasons) - v_failed, failed_count = failed_count + v_failed
         where c.id = p_chunk.campaign_id;
    end if;
    if pass_ids is null then
        perform passbell.settle_campaign(p_chunk.campaign_id);
    end if;
end
$$;

-- What other campaigns of the program have handed out for these passes since p_since and nobody has reported yet: the
-- hashes of the texts, and whether they are under way (a paused campaign is not waited for). Uses chunks_in_flight, on
-- either side of the campaign's own entries. Normally there is none; ROWS, so that a claim which meets some joins them
-- by hash.
create or replace function passbell.in_flight(p_program uuid, p_campaign uuid, p_pass_ids uuid[], p_since timestamptz)
returns table (pass_id uuid, hashes bigint[], under_way boolean)
language plpgsql stable rows 1000
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_now     constant timestamptz := passbell.now();
    v_chunk   record;
    v_ids     uuid[];
    v_hashes  bigint[];
    v_moving  boolean[];
    v_found   record;
begin
    for v_chunk in
        select k.pass_ids, k.texts, o.message_text, o.status = 'PROCESSING' or k.lease_until > v_now as under_way
          from (select s.* from passbell.chunks s where s.program_id = p_program and s.rendered and s.campaign_id < p_campaign
                union all
                select s.* from passbell.chunks s where s.program_id = p_program and s.rendered and s.campaign_id > p_campaign) k
          join public.push_campaigns o on o.id = k.campaign_id
         where p_since = '-infinity' or k.claimed_at > p_since
    loop
        select array_agg(f.pass_id) as ids, array_agg(hashtextextended(coalesce(f.text, v_chunk.message_text), 0)) as hashes
          into v_found
          from unnest(v_chunk.pass_ids, v_chunk.texts) as f (pass_id, text)
         where f.pass_id in (select unnest(p_pass_ids));
        v_ids := v_ids || v_found.ids;
        v_hashes := v_hashes || v_found.hashes;
        v_moving := v_moving || array_fill(v_chunk.under_way, array[coalesce(cardinality(v_found.ids), 0)]);
    end loop;
    if v_ids is not null then
        return query
            select f.pass_id, array_agg(f.hash), bool_or(f.moving)
              from unnest(v_ids, v_hashes, v_moving) as f (pass_id, hash, moving)
             group by f.pass_id;
    end if;
end
$$;

-- What a pass may be showing whose newest message is not known to have arrived: that and those before it, down to the
-- last that was sent.
create or replace function passbell.may_show(p_pass uuid) returns bigint[]
language plpgsql stable
set search_path = ''
as $$
declare
    v_shown  bigint[];
    v_last   record;
begin
    for v_last in
        select d.outcome, d.text_hash from passbell.deliveries d
         where d.pass_id = p_pass and d.text_hash is not null
         order by d.sent_at desc
         limit 6
    loop
        v_shown := v_shown || v_last.text_hash;
        exit when v_last.outcome = 'sent';
    end loop;
    return v_shown;
end
$$;


-- functions/31_finish_chunk.sql ─────────────────────────────────────────────────────────────────────────────────

-- What a worker reports for a chunk it holds. Outcomes, beside pass_ids:
--
--   sent           PassKit took it                                   → ledger
--   not_found      404: PassKit does not know the record             → ledger, failed
--   rejected       400, 409, 501 …: will never work                  → ledger, failed
--   server_error   500: may be a validation in disguise              → tried three times, then failed
--   retry          the network or PassKit failed for this pass       → again with backoff, p_max_attempts times in all
--   back           not sent (stopping, paused, refused, throttled)   → stays, no attempt burnt
--   maybe          it may have arrived, but PassKit as a whole failed → stays, no attempt burnt
--
-- p_pass_ids NULL is short for the usual report: every pass of the chunk was sent, with the status p_http[1].
--
-- Passes handed back that were certainly never sent are free again: their texts are chosen when they are claimed anew.
-- Certain is only who was first to hold the chunk: after a crash, the dead holder may have sent what its successor did not.
--
-- One transaction: appends the ledger, shrinks or deletes the chunk, moves the counters, completes the campaign if
-- this was the last chunk. Passes not named stay as they are. With p_release the claim ends; without it the worker
-- goes on (a partial report). A chunk always has one attempt number: passes tried and failed move to a chunk of their
-- own when others of the same chunk were not tried. If the campaign was cancelled meanwhile, the rest is closed here.
-- If nearly all of a report is 404, the program or the region is wrong rather than the passes: the campaign is paused
-- and nobody is failed, unless a person has resumed it after such a hold.
--
-- Raises PB412 (lease lost) and changes nothing if another worker holds the chunk by now. Locks chunk, then campaign.
create or replace function passbell.finish_chunk(
    p_campaign      uuid,
    p_chunk_no      integer,
    p_claim_token   uuid,
    p_pass_ids      uuid[],
    p_outcomes      text[],
    p_http          smallint[] default null,
    p_details       text[]     default null,
    p_release       boolean    default true,
    p_max_attempts  integer    default 5,
    p_wait_seconds  numeric    default 0)
returns table (remaining integer, status text)
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
set plan_cache_mode = 'force_generic_plan'
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_now       constant timestamptz := passbell.now();
    v_chunk     passbell.chunks;
    v_campaign  public.push_campaigns;
    v_tried     smallint;
    v_wrong     boolean := false;
    v_plain     bigint;     -- hash of the text that everybody got
    v_sent      integer;
    v_failed    integer;
    v_skipped   integer := 0;
    v_again     uuid[];
    v_back      uuid[];
    v_texts     text[];
    v_a_texts   text[];
    v_wait      interval;
    v_handed    boolean;    -- whether what stays may have been sent
begin
    select k.* into v_chunk
      from passbell.chunks k
     where k.campaign_id = p_campaign and k.chunk_no = p_chunk_no and k.claim_token = p_claim_token
       for update;
    if not found then
        raise exception 'the lease on chunk % of campaign % is lost', p_chunk_no, p_campaign using errcode = 'PB412';
    end if;
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign for update;
    v_tried := v_chunk.attempt + 1;
    v_handed := not p_release or v_chunk.attempt > 0 or v_chunk.uncertain or 'maybe' = any (p_outcomes);

    if v_campaign.released_at is null and v_campaign.kind <> 'TEST' then
        select n.missing >= 0.9 * n.decided
               and n.missing + case when v_campaign.sent_count = 0 then v_campaign.failed_count else 0 end >= 10
          into v_wrong
          from (select count(*) filter (where o = 'not_found') as missing, count(*) filter (where o not in ('back', 'maybe')) as decided
                  from unnest(p_outcomes) o) n
         where n.missing > 0;
        v_wrong := coalesce(v_wrong, false);
    end if;

    if v_chunk.texts is null then
        v_plain := hashtextextended(v_campaign.message_text, 0);
    end if;

    -- The ledger: what is decided. The text is kept only where a later retry must repeat it.
    if p_pass_ids is null then
        insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, http_status, outcome)
        select p_campaign, i.pass_id, v_now, coalesce(hashtextextended(i.text, 0), v_plain), v_tried, p_http[1], 'sent'
          from unnest(v_chunk.pass_ids, v_chunk.texts) as i (pass_id, text);
        get diagnostics v_sent = row_count;
        v_failed := 0;
    else
        with report as (
            select i.n, i.pass_id, i.text, x.http, x.detail,
                   case
                       when x.outcome = 'sent' then 'sent'
                       when x.outcome = 'not_found' and not v_wrong then 'not_found'
                       when x.outcome = 'rejected' then 'rejected'
                       when x.outcome = 'retry' and v_tried >= p_max_attempts then 'attempts_exhausted'
                       when x.outcome = 'server_error' and v_tried >= least(3, p_max_attempts) then 'attempts_exhausted'
                       when x.outcome in ('retry', 'server_error') then 'again'
                       else 'back'
                   end as verdict
              from unnest(v_chunk.pass_ids, v_chunk.texts) with ordinality as i (pass_id, text, n)
              left join unnest(p_pass_ids, p_outcomes, p_http, p_details) as x (pass_id, outcome, http, detail) on x.pass_id = i.pass_id
        ), ledger as (
            insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, http_status, outcome, reason, detail, text)
            select p_campaign, r.pass_id, v_now, coalesce(hashtextextended(r.text, 0), v_plain), v_tried, r.http,
                   case when r.verdict = 'sent' then 'sent' else 'failed' end,
                   nullif(r.verdict, 'sent'), case when r.verdict <> 'sent' then left(r.detail, 300) end,
                   case when r.verdict <> 'sent' then coalesce(r.text, v_campaign.message_text) end
              from report r
             where r.verdict not in ('again', 'back')
        )
        select count(*) filter (where r.verdict = 'sent'), count(*) filter (where r.verdict not in ('sent', 'again', 'back')),
               array_agg(r.pass_id order by r.n) filter (where r.verdict = 'again'), array_agg(r.pass_id order by r.n) filter (where r.verdict = 'back'),
               array_agg(r.text order by r.n) filter (where r.verdict = 'back'), array_agg(r.text order by r.n) filter (where r.verdict = 'again')
          into v_sent, v_failed, v_again, v_back, v_texts, v_a_texts
          from report r;
    end if;

    if v_campaign.status = 'CANCELLED' and p_release then
        insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, outcome, reason)     -- the hash of what may have landed
        select p_campaign, u.pass_id, v_now, case when u.handed then hashtextextended(coalesce(u.text, v_campaign.message_text), 0) end,
               v_chunk.attempt, 'skipped', 'cancelled'
          from (select a.pass_id, a.text, true as handed from unnest(v_again, v_a_texts) as a (pass_id, text)
                union all
                select b.pass_id, b.text, v_handed from unnest(v_back, v_texts) as b (pass_id, text)) u;
        v_skipped := coalesce(cardinality(v_again), 0) + coalesce(cardinality(v_back), 0);
        v_again := null;
        v_back := null;
    end if;

    -- The chunk: what is left. Backoff 1, 2, 4 … seconds, at most 5 minutes, with jitter; longer if PassKit asked for it.
    v_wait := make_interval(secs => greatest(p_wait_seconds, least(300, power(2, v_chunk.attempt)) * (0.75 + random() * 0.5)));
    if v_again is null and v_back is null then
        delete from passbell.chunks k where k.campaign_id = p_campaign and k.chunk_no = p_chunk_no;
    elsif v_again is not null and v_back is null and p_release then
        update passbell.chunks k
           set pass_ids = v_again, texts = case when v_chunk.texts is not null then v_a_texts end, attempt = v_tried,
               not_before = v_now + v_wait, lease_until = null, claim_token = null, worker = null
         where k.campaign_id = p_campaign and k.chunk_no = p_chunk_no;
    else
        if v_again is not null then
            insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, texts, rendered, claimed_at, attempt, not_before)
            select p_campaign, max(k.chunk_no) + 1, v_chunk.program_id, v_again, case when v_chunk.texts is not null then v_a_texts end,
                   true, v_chunk.claimed_at, v_tried, v_now + v_wait
              from passbell.chunks k where k.campaign_id = p_campaign;
        end if;
        if v_back is null then
            delete from passbell.chunks k where k.campaign_id = p_campaign and k.chunk_no = p_chunk_no;
        else
            update passbell.chunks k
               set pass_ids = v_back, rendered = v_handed, uncertain = k.uncertain or 'maybe' = any (p_outcomes),
                   texts = case when v_chunk.texts is not null and (v_handed or v_chunk.keep_texts) then v_texts end,
                   not_before  = case when p_release then v_now + make_interval(secs => p_wait_seconds) else k.not_before end,
                   lease_until = case when not p_release then k.lease_until end,
                   claim_token = case when not p_release then k.claim_token end,
                   worker      = case when not p_release then k.worker end
             where k.campaign_id = p_campaign and k.chunk_no = p_chunk_no;
        end if;
    end if;

    if v_sent > 0 or v_failed > 0 or v_skipped > 0 then
        update public.push_campaigns c
           set sent_count = sent_count + v_sent, failed_count = failed_count + v_failed, skipped_count = skipped_count + v_skipped
         where c.id = p_campaign;
    end if;
    if v_wrong then
        perform passbell.hold_campaign(p_campaign,
            'Held: PassKit answers 404 for nearly every pass. Wrong region (api.pub1 or api.pub2) or program? Nobody was failed for it; resume to go on all the same.');
    end if;
    if v_again is null and v_back is null then
        perform passbell.settle_campaign(p_campaign);
    end if;

    remaining := coalesce(cardinality(v_again), 0) + coalesce(cardinality(v_back), 0);
    select c.status into status from public.push_campaigns c where c.id = p_campaign;
    return next;
end
$$;

-- Extends the leases a worker holds and tells what it must stop: a token missing from the answer is lost; one with
-- go_on = false belongs to a campaign that was paused or cancelled, or to a program that was suspended: hand back what
-- is unsent. Called about twice a second while chunks are in flight, so that a stop takes effect within one second.
create or replace function passbell.renew_leases(p_worker uuid, p_claim_tokens uuid[], p_lease_seconds numeric, p_extend boolean default true)
returns table (claim_token uuid, go_on boolean)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
    if p_extend then
        update passbell.chunks k
           set lease_until = passbell.now() + make_interval(secs => p_lease_seconds)
         where k.worker = p_worker and k.claim_token = any (p_claim_tokens);
    end if;
    return query
        select k.claim_token, c.status = 'PROCESSING' and not coalesce(g.suspended, true)
          from passbell.chunks k
          join public.push_campaigns c on c.id = k.campaign_id
          left join passbell.programs g on g.program_id = k.program_id
         where k.worker = p_worker and k.claim_token = any (p_claim_tokens);
end
$$;


-- functions/32_retry_failed.sql ─────────────────────────────────────────────────────────────────────────────────

-- Takes the failed deliveries of a completed campaign out of the ledger and back into chunks: the one way, beside
-- retention, that a row leaves the ledger. A text that may have reached PassKit is kept and sent again identically.
create or replace function passbell.reopen_failed(p_campaign uuid) returns integer
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_campaign  public.push_campaigns;
    v_count     integer;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign for update;
    if v_campaign.status <> 'COMPLETED' then
        raise exception 'Only a completed campaign can retry its failures; this one is %.', v_campaign.status using errcode = 'PB422';
    end if;
    with failed as (
        delete from passbell.deliveries d
         where d.campaign_id = p_campaign and d.outcome = 'failed'
        returning d.pass_id, d.text
    )
    insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, texts, keep_texts, not_before)
    select p_campaign, f.chunk_no, v_campaign.program_id, array_agg(f.pass_id order by f.pass_id), array_agg(f.text order by f.pass_id), true, passbell.now()
      from (select x.pass_id, x.text, ((row_number() over (order by x.pass_id) - 1) / 50 + 1)::integer as chunk_no from failed x) f
     group by f.chunk_no;
    select coalesce(sum(cardinality(k.pass_ids)), 0) into v_count from passbell.chunks k where k.campaign_id = p_campaign;
    if v_count > 0 then
        update public.push_campaigns
           set status = 'PROCESSING', failed_count = failed_count - v_count, completed_at = null, released_at = passbell.now(),
               status_detail = format('Trying %s again that had failed.', passbell.thousands(v_count))
         where id = p_campaign;
    end if;
    return v_count;
end
$$;


-- functions/33_release_orphans.sql ──────────────────────────────────────────────────────────────────────────────

-- Frees chunks that stand under the worker's name although it does not know their tokens: a claim whose answer was
-- lost on the wire. The worker calls it between claims, never while one is under way.
create or replace function passbell.release_orphans(p_worker uuid, p_known uuid[]) returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_freed  integer;
begin
    update passbell.chunks k
       set lease_until = null, claim_token = null, worker = null
     where k.worker = p_worker and k.claim_token <> all (p_known);
    get diagnostics v_freed = row_count;
    if v_freed > 0 then
        perform passbell.look_from_the_start();
    end if;
    return v_freed;
end
$$;

-- Chunks were freed that are ready since long before now: claims shall not go on behind them (see next_chunk). In the
-- order of the programs, so that two of these cannot meet halfway.
create or replace function passbell.look_from_the_start() returns void
language sql
set search_path = ''
as $$
    with hinted as materialized (
        select t.program_id from passbell.turns t where t.campaign_id is not null order by t.program_id for update
    )
    update passbell.turns t set campaign_id = null, ready_at = null, chunk_no = null from hinted h where t.program_id = h.program_id
$$;


-- functions/40_rate.sql ─────────────────────────────────────────────────────────────────────────────────────────

-- Hands out p_n consecutive slots of an account's rate: GCRA, one row, the database's clock. The limit belongs to the
-- PassKit account, so all daemons draw from the same row. The clock never runs behind the present, so time nobody used is
-- gone and is never caught up in a burst; it never starts before blocked_until (429).
--
-- p_late: seconds that a call of this caller left later than the air of a slot allows for. The clock is moved by as much:
-- the gap lies behind the late call and before the one that it could meet within a second, whoever makes that. A gap behind
-- p_late_at (unix seconds of this clock: no call of the caller's was late after it), whoever asked for it, is part of that.
--
-- Returns: when the first slot starts, the database's time now, and the width of a slot in seconds. The caller turns
-- the first two into its own clock and may start call i at starts_at + i * spacing. A row with a p_rate of its own (a
-- campaign's) is kept at that rate.
drop function if exists passbell.take_slots(text, integer, numeric);
drop function if exists passbell.take_slots(text, integer, numeric, double precision);
create or replace function passbell.take_slots(p_account text, p_n integer, p_rate numeric default null,
    p_late double precision default 0, p_late_at double precision default null,
    out starts_at timestamptz, out clock timestamptz, out spacing double precision)
language plpgsql
set search_path = ''
as $$
declare
    v_limit passbell.rate_limits;
    v_gap   double precision := p_late;
begin
    insert into passbell.rate_limits (account, rate_per_second)
    select p_account, coalesce(p_rate, s.rate_per_second) from passbell.settings s
     where not exists (select from passbell.rate_limits l where l.account = p_account)
    on conflict do nothing;

    -- Nobody waits for the disk here: of all that is stored, only this may be forgotten. Should the server crash, the clock
    -- may stand up to 0.6 s back (three turns of the WAL writer); by the time it is up again, the present is further.
    perform set_config('synchronous_commit', 'off', true);
    select * into v_limit from passbell.rate_limits l where l.account = p_account for update;
    v_limit.rate_per_second := coalesce(p_rate, v_limit.rate_per_second);
    spacing := passbell.slot_width(v_limit);
    clock := clock_timestamp();
    if p_late > 0 then
        if extract(epoch from v_limit.gap_at) > p_late_at then
            v_gap := greatest(p_late - v_limit.gap_seconds, 0);
        end if;
        if v_gap > 0 then
            v_limit.gap_at := v_limit.next_slot;
            v_limit.gap_seconds := v_gap;
        end if;
    end if;
    starts_at := greatest(v_limit.next_slot + make_interval(secs => v_gap), v_limit.blocked_until, clock);
    update passbell.rate_limits l
       set next_slot = starts_at + make_interval(secs => p_n * spacing), rate_per_second = v_limit.rate_per_second,
           gap_at = v_limit.gap_at, gap_seconds = v_limit.gap_seconds
     where l.account = p_account;
end
$$;

-- How much wider than 1/rate a slot is: between call k and call k + rate lie 1,008 ms instead of 1,000. The 8 ms are for what
-- happens between a call's slot and its arrival; 99.2 % of the rate is used. The numbers: docs/performance.md, "Pace".
create or replace function passbell.slot_air() returns double precision
language plpgsql immutable
set search_path = ''
as $$ begin return 1.008; end $$;

-- Seconds per call at the rate now: the configured one, or what is left of it after PassKit throttled us. A cut heals
-- by 2 % of the full rate per second.
create or replace function passbell.slot_width(p_limit passbell.rate_limits) returns double precision
language plpgsql stable
set search_path = ''
as $$
begin
    return passbell.slot_air() / greatest(0.1, least(p_limit.rate_per_second,
               coalesce(p_limit.cut_rate + p_limit.rate_per_second * 0.02 * extract(epoch from clock_timestamp() - p_limit.cut_at),
                        p_limit.rate_per_second)))::double precision;
end
$$;

-- PassKit said 429: nobody of this account sends before Retry-After (a quarter of a second if it named none), then at
-- 80 % of the rate, never less than a fifth of the configured one, healing. Reports within a second count as one.
create or replace function passbell.throttle(p_account text, p_seconds numeric default null) returns void
language sql
set search_path = ''
as $$
    update passbell.rate_limits l
       set cut_rate = case when l.cut_at > clock_timestamp() - interval '1 second' then l.cut_rate
                           else greatest(l.rate_per_second * 0.2, 0.8 * (passbell.slot_air() / passbell.slot_width(l))::numeric) end,
           cut_at = case when l.cut_at > clock_timestamp() - interval '1 second' then l.cut_at else clock_timestamp() end,
           blocked_until = greatest(l.blocked_until, clock_timestamp() + make_interval(secs => least(3600, coalesce(p_seconds, 0.25))::double precision))
     where l.account = p_account
$$;


-- functions/41_breaker.sql ──────────────────────────────────────────────────────────────────────────────────────

-- The breaker of a PassKit account. Open: no chunk is claimed by anybody, nothing is failed, campaigns wait and say
-- why. One daemon at a time probes (claim_probe); a good probe closes it (close_breaker).

-- Opens it. Kind 'credentials' (401, 403) or 'outage' (many failures in a row and the probe fails as well). The pause
-- before the first probe is 1 second; if the breaker had only just been closed (the probe passes, the work does not),
-- it keeps its count, so that the pauses grow to 30 seconds.
create or replace function passbell.open_breaker(p_account text, p_kind text, p_reason text) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_opened  boolean;
begin
    insert into passbell.rate_limits (account) values (p_account) on conflict do nothing;
    update passbell.rate_limits l
       set breaker = 'open', breaker_kind = p_kind, breaker_reason = left(p_reason, 300), opened_at = clock_timestamp(),
           probes = case when l.closed_at > clock_timestamp() - interval '15 seconds' then l.probes else 0 end,
           probe_at = clock_timestamp() + make_interval(secs => case when l.closed_at > clock_timestamp() - interval '15 seconds'
                                                                     then least(30, power(1.5, l.probes)) else 1 end)
     where l.account = p_account and l.breaker = 'closed';
    v_opened := found;
    if v_opened then
        perform passbell.explain_waiting(p_account);
    end if;
    return v_opened;
end
$$;

-- May this daemon probe now? True for one of them, then not again until the pause is over: 1, 1.5, 2.25 … at most 5 s.
create or replace function passbell.claim_probe(p_account text) returns boolean
language plpgsql
set search_path = ''
as $$
begin
    update passbell.rate_limits l
       set probes = l.probes + 1, probe_at = clock_timestamp() + make_interval(secs => least(5, power(1.5, least(l.probes, 20))))
     where l.account = p_account and l.breaker = 'open' and l.probe_at <= clock_timestamp();
    return found;
end
$$;

create or replace function passbell.close_breaker(p_account text) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_closed  boolean;
begin
    update passbell.rate_limits l
       set breaker = 'closed', closed_at = clock_timestamp(), breaker_reason = null, breaker_kind = null
     where l.account = p_account and l.breaker = 'open';
    v_closed := found;
    if v_closed then
        perform passbell.explain_waiting(p_account);
        perform pg_notify('passbell', 'processing');
    end if;
    return v_closed;
end
$$;


-- functions/42_explain_waiting.sql ──────────────────────────────────────────────────────────────────────────────

-- Keeps status_detail true for campaigns that wait: for the hour, for PassKit, for a suspended program; and clears it
-- when they no longer do. Called by the campaign loop at every turn; writes only rows whose words change.
--
-- Most campaigns wait for nothing but their turn and are passed over by the query. The others come program by program,
-- so that its zone and window are looked at once; each is a few microseconds, however many there are (joined as sets,
-- the planner, which knows nothing of their number, compared every campaign with every program: 0.7 s with 1,000).
create or replace function passbell.explain_waiting(p_account text default '') returns void
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_limit     passbell.rate_limits;
    v_campaign  record;
    v_program   uuid;
    v_zone      text;
    v_open      boolean;
    v_words     text;
begin
    select l.* into v_limit from passbell.rate_limits l where l.account = p_account;
    for v_campaign in
        select c.id, c.status, c.status_detail, c.kind, c.scheduled_at, c.program_id,
               g.program_id as known, g.name, g.suspended, g.timezone, g.push_window_start, g.push_window_end
          from public.push_campaigns c
          left join passbell.programs g on g.program_id = c.program_id
         where (c.status = 'PENDING' or c.status = 'PROCESSING')
           and (c.status_detail ~ '^(Waiting|Quiet hours|Scheduled for)'
                or c.status = 'PENDING' and c.scheduled_at > v_now
                or c.status = 'PROCESSING' and (g.suspended or v_limit.breaker = 'open')
                or c.kind <> 'TEST' and g.push_window_start is not null)
         order by c.program_id
    loop
        if v_program is distinct from v_campaign.program_id then
            v_program := v_campaign.program_id;
            v_zone := case when v_campaign.known is not null then passbell.zone(v_campaign.timezone) end;
            v_open := passbell.in_window(v_now, v_zone, v_campaign.push_window_start, v_campaign.push_window_end);
        end if;
        v_words := case
            when v_campaign.suspended and v_campaign.status = 'PROCESSING' then
                 format('Waiting: the program "%s" is suspended.', v_campaign.name)
            when v_campaign.scheduled_at > v_now and v_campaign.status = 'PENDING' then
                 format('Scheduled for %s %s.', to_char(v_campaign.scheduled_at at time zone v_zone, 'YYYY-MM-DD HH24:MI'), v_zone)
            when v_campaign.kind <> 'TEST' and not v_open then
                 format('Quiet hours: holding until %s %s.', to_char(v_campaign.push_window_start, 'HH24:MI'), v_zone)
            when v_campaign.status = 'PROCESSING' and v_limit.breaker = 'open' and v_limit.breaker_kind = 'credentials' then
                 format('Waiting: PassKit refuses the credentials (%s). Nobody is lost; sending goes on by itself when they work again.', v_limit.breaker_reason)
            when v_campaign.status = 'PROCESSING' and v_limit.breaker = 'open' then
                 format('Waiting: PassKit does not answer (%s). Nobody is lost; sending goes on by itself when it does.', v_limit.breaker_reason)
        end;
        if v_words is null and coalesce(v_campaign.status_detail, '') !~ '^(Waiting|Quiet hours|Scheduled for)' then
            continue;       -- somebody else's words, or none
        end if;
        v_words := coalesce(v_words, passbell.list_summary(v_campaign.id));
        if v_words is distinct from v_campaign.status_detail then
            -- SKIP LOCKED: whoever writes the row has news of its own; waiting while holding others could deadlock.
            perform from public.push_campaigns c where c.id = v_campaign.id and c.status = v_campaign.status for update skip locked;
            if found then
                update public.push_campaigns c set status_detail = v_words where c.id = v_campaign.id;
            end if;
        end if;
    end loop;
end
$$;


-- functions/43_workers.sql ──────────────────────────────────────────────────────────────────────────────────────

-- A daemon says hello: enters itself, sets the account's rate and what previews count with, and takes back at once
-- what a dead predecessor on the same machine still holds (same boot and pid namespace, no such process any more:
-- p_alive lists the processes the caller can see). Leases of daemons elsewhere run out by themselves.
create or replace function passbell.register_worker(
    p_worker uuid, p_host text, p_pid integer, p_process text, p_version text, p_account text, p_rate numeric, p_daily_cap integer) returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into passbell.workers (id, host, pid, process, version, account, started_at, heartbeat_at, doing)
    values (p_worker, p_host, p_pid, p_process, p_version, p_account, clock_timestamp(), clock_timestamp(), 'starting')
    on conflict (id) do update set heartbeat_at = clock_timestamp();
    insert into passbell.rate_limits (account, rate_per_second) values (p_account, p_rate)
    on conflict (account) do update set rate_per_second = excluded.rate_per_second
     where passbell.rate_limits.rate_per_second <> excluded.rate_per_second;
    update passbell.settings s set rate_per_second = p_rate, daily_cap = p_daily_cap
     where (s.rate_per_second, s.daily_cap) is distinct from (p_rate, p_daily_cap);
end
$$;

-- Still alive. Forgets workers that were silent for a day, and frees what stands under a name that is not entered (any
-- more) or whose lease ran out. False if the worker was forgotten: register again.
create or replace function passbell.heartbeat(p_worker uuid, p_doing text) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_known  boolean;
begin
    update passbell.workers w set heartbeat_at = clock_timestamp(), doing = p_doing where w.id = p_worker;
    v_known := found;
    delete from passbell.workers w
     where w.heartbeat_at < clock_timestamp() - interval '1 day' and w.id <> p_worker
       and not exists (select from passbell.chunks k where k.worker = w.id);
    if v_known then
        perform passbell.free_ownerless();
    end if;
    return v_known;
end
$$;

-- Frees chunks that are nobody's any more. Those whose worker is not entered: a daemon enters itself before it claims
-- anything and leaves with empty hands, so a dead one claimed them; its last transaction was still under way when it was
-- buried, and came to its end without it. And those whose lease ran out (a machine that vanished): anybody may claim
-- them anyhow, but behind everything that was ready before, which in a huge campaign is hours, and other campaigns wait
-- for their passes. Freed, they come first. Uses chunks_worker, which holds no more than the chunks in somebody's hands.
create or replace function passbell.free_ownerless() returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_freed  integer;
begin
    with held as (
        select k.campaign_id, k.chunk_no from passbell.chunks k
         where k.worker is not null
           and (k.lease_until <= passbell.now() or not exists (select from passbell.workers w where w.id = k.worker))
         order by k.campaign_id, k.chunk_no for update skip locked
    )
    update passbell.chunks k
       set lease_until = null, claim_token = null, worker = null
      from held h
     where k.campaign_id = h.campaign_id and k.chunk_no = h.chunk_no;
    get diagnostics v_freed = row_count;
    if v_freed > 0 then
        perform passbell.look_from_the_start();
        perform pg_notify('passbell', 'processing');
    end if;
    return v_freed;
end
$$;

-- The other workers on this machine, for the caller to see which of them are dead processes.
create or replace function passbell.neighbours(p_worker uuid, p_namespace text)
returns table (id uuid, process text)
language sql stable
set search_path = ''
as $$
    select w.id, w.process from passbell.workers w where w.id <> p_worker and starts_with(w.process, p_namespace || ':')
$$;

-- These workers are dead for certain (the caller looked): their chunks and lists are free at once, texts kept.
-- Locks chunks in their primary key's order and skips those somebody is just claiming.
create or replace function passbell.bury_workers(p_dead uuid[]) returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_freed  integer;
begin
    with held as (
        select k.campaign_id, k.chunk_no from passbell.chunks k
         where k.worker = any (p_dead) order by k.campaign_id, k.chunk_no for update skip locked
    )
    update passbell.chunks k
       set lease_until = null, claim_token = null, worker = null
      from held h
     where k.campaign_id = h.campaign_id and k.chunk_no = h.chunk_no;
    get diagnostics v_freed = row_count;
    update passbell.list_loads l set lease_until = null, claim_token = null, worker = null where l.worker = any (p_dead);
    update passbell.birthday_runs b set lease_until = null, worker = null where b.worker = any (p_dead);
    delete from passbell.workers w
     where w.id = any (p_dead) and not exists (select from passbell.chunks k where k.worker = w.id);
    if v_freed > 0 then
        perform passbell.look_from_the_start();
        perform pg_notify('passbell', 'processing');
    end if;
    return v_freed;
end
$$;

create or replace function passbell.unregister_worker(p_worker uuid) returns void
language sql
set search_path = ''
as $$
    delete from passbell.workers w where w.id = p_worker and not exists (select from passbell.chunks k where k.worker = p_worker)
$$;


-- functions/44_conservation.sql ─────────────────────────────────────────────────────────────────────────────────

-- The conservation law, checked: for every campaign recipient_count = passes in chunks + rows in the ledger (and those
-- that retention or push_forget took out of it, counted in passbell.pruned and as part of in_ledger), no pass
-- is in both or twice in chunks, and the counters say what the ledger says. Returns the campaigns that break it,
-- normally none. One statement, so it looks at one instant.
create or replace function passbell.check_conservation(id uuid default null)
returns table (campaign_id uuid, name text, status text, recipient_count integer, in_chunks bigint, in_ledger bigint, twice bigint, violation text)
language sql stable
set search_path = ''
as $$
    select v.id, v.name, v.status, v.recipient_count, v.in_chunks, v.in_ledger, v.twice, v.violation
      from (select c.id, c.name, c.status, c.recipient_count, coalesce(q.n, 0) as in_chunks, coalesce(l.n, 0) as in_ledger,
                   coalesce(q.n, 0) - coalesce(q.different, 0) + coalesce(b.n, 0) as twice,
                   case
                       when c.recipient_count <> coalesce(q.n, 0) + coalesce(l.n, 0) then
                            format('%s recipients, but %s in chunks and %s in the ledger', c.recipient_count, coalesce(q.n, 0), coalesce(l.n, 0))
                       when coalesce(b.n, 0) > 0 then format('%s passes are both in chunks and in the ledger', b.n)
                       when coalesce(q.n, 0) <> coalesce(q.different, 0) then format('%s passes are twice in chunks', q.n - q.different)
                       when (c.sent_count, c.failed_count, c.skipped_count)
                            is distinct from (coalesce(l.sent, 0), coalesce(l.failed, 0), coalesce(l.skipped, 0)) then
                            format('counters say %s sent, %s failed, %s skipped; the ledger says %s, %s, %s', c.sent_count, c.failed_count,
                                   c.skipped_count, coalesce(l.sent, 0), coalesce(l.failed, 0), coalesce(l.skipped, 0))
                       when c.status = 'COMPLETED' and coalesce(q.n, 0) > 0 then format('completed with %s passes still in chunks', q.n)
                   end as violation
              from public.push_campaigns c
              left join lateral (select count(*) as n, count(distinct u.pass_id) as different
                                   from passbell.chunks k cross join lateral unnest(k.pass_ids) as u (pass_id)
                                  where k.campaign_id = c.id) q on true
              left join passbell.pruned p on p.campaign_id = c.id
              left join lateral (select count(*) + coalesce(p.sent + p.failed + p.skipped, 0) as n,
                                        count(*) filter (where d.outcome = 'sent') + coalesce(p.sent, 0) as sent,
                                        count(*) filter (where d.outcome = 'failed') + coalesce(p.failed, 0) as failed,
                                        count(*) filter (where d.outcome = 'skipped') + coalesce(p.skipped, 0) as skipped
                                   from passbell.deliveries d where d.campaign_id = c.id) l on true
              left join lateral (select count(*) as n
                                   from passbell.chunks k cross join lateral unnest(k.pass_ids) as u (pass_id)
                                   join passbell.deliveries d on d.campaign_id = c.id and d.pass_id = u.pass_id
                                  where k.campaign_id = c.id) b on true
             where c.started_at is not null and (check_conservation.id is null or c.id = check_conservation.id)) v
     where v.violation is not null
$$;


-- functions/45_after_restore.sql ────────────────────────────────────────────────────────────────────────────────

-- After a restore from a snapshot: holds everything that would go out by itself, so that a person decides. The database
-- is as of `since`, but PassKit and the phones are as of now: what was sent in between is not known here, and a daemon
-- would send it again, scheduled campaigns of the lost hours included. Called by the owner of the database, once, before
-- the first daemon is started; calling it again changes nothing more. docs/howto/restore.md goes through it step by step.
--
--   what          becomes of it
--   campaign      PENDING or PROCESSING: PAUSED, and its words say why. PAUSED or DRAFT: stays, and its words warn
--   birthday      a date since then whose gifts will be given again (the points were lost with the database): its
--                 greetings gather in a PAUSED campaign, because the phones may have shown them
--   import        goes on by itself: the same rows again change nothing
--
-- Leases and claim tokens of the snapshot's workers are void: a daemon that outlived the restore can report nothing.
-- `since` is the snapshot's time; without it, the last heartbeat that is in it. Raises PB422 while a daemon is alive.
create or replace function passbell.after_restore(since timestamptz default null)
returns table (what text, id uuid, name text, was text, status text, detail text)
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
#variable_conflict use_column
declare
    v_now    constant timestamptz := passbell.now();
    v_since  timestamptz := after_restore.since;
    v_alive  text;
    v_moment text;
    v_held   text;
    v_found  record;
begin
    select format('%s, process %s', w.host, w.pid) into v_alive
      from passbell.workers w
     where w.heartbeat_at > v_now - interval '1 minute'
     order by w.heartbeat_at desc limit 1;
    if v_alive is not null then
        raise exception 'A daemon is running (%): stop every daemon, wait a minute, and call this again.', v_alive using errcode = 'PB422';
    end if;
    if v_since is null then
        select max(w.heartbeat_at) into v_since from passbell.workers w;
    end if;
    if v_since is null or v_since > v_now then
        raise exception 'When was the snapshot taken? Give a time in the past: passbell.after_restore(''2026-11-20 03:00+00'').' using errcode = 'PB400';
    end if;
    v_moment := to_char(v_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"');
    v_held := format('Held after a restore: what was sent after %s is not known here. Resume it: whoever was reached since is pushed again. '
                     'Cancel it: whoever was not is left out.', v_moment);

    update passbell.chunks k set lease_until = null, claim_token = null, worker = null
     where k.claim_token is not null or k.worker is not null;
    perform passbell.look_from_the_start();
    update passbell.list_loads l set lease_until = null, claim_token = null, worker = null where l.claim_token is not null;
    update passbell.import_leases l set lease_until = null, claim_token = null, worker = null where l.claim_token is not null;
    update passbell.birthday_runs r set lease_until = null, worker = null where r.worker is not null;

    for v_found in
        select c.id, c.name, c.status as was, c.kind
          from public.push_campaigns c
         where c.status in ('PENDING', 'PROCESSING')
            or c.status in ('PAUSED', 'DRAFT') and coalesce(c.status_detail, '') not like '%after a restore:%'
         order by c.created_at, c.id
           for update
    loop
        what := 'campaign';
        id := v_found.id;
        name := v_found.name;
        was := v_found.was;
        if v_found.was in ('PENDING', 'PROCESSING') then
            perform passbell.hold_campaign(v_found.id, v_held);
        else
            update public.push_campaigns c
               set status_detail = concat_ws(' ', format('As found after a restore: it may have been sent after %s.', v_moment), c.status_detail)
             where c.id = v_found.id;
        end if;
        select c.status, c.status_detail into status, detail from public.push_campaigns c where c.id = v_found.id;
        return next;
    end loop;

    -- Dates that a daemon may have greeted, and will run again.
    for v_found in
        select b.program_id, d.local_date::date as local_date, m.message, r.campaign_id, old.status as was
          from (select g.program_id, g.birthday_message, g.birthday_send_at, w.since as first_date,
                       v_now at time zone passbell.zone(g.timezone) as local_now, v_since at time zone passbell.zone(g.timezone) as local_since
                  from passbell.programs g
                  join passbell.birthday_programs w on w.program_id = g.program_id
                 where w.since is not null and g.birthday_bot_enabled) b
         cross join lateral generate_series(greatest(b.first_date, b.local_since::date, b.local_now::date - 7)::timestamp,
                                            b.local_now::date::timestamp, interval '1 day') as d (local_date)
         cross join lateral passbell.birthday_greeting(b.birthday_message) m
          left join passbell.birthday_runs r on r.program_id = b.program_id and r.local_date = d.local_date::date
          left join public.push_campaigns old on old.id = r.campaign_id
         where (d.local_date < b.local_now::date or b.local_now::time >= b.birthday_send_at)
           and r.completed_at is null
           and (old.id is null or old.status = 'COMPLETED')
           and exists (select from passbell.birthday_people(b.program_id, d.local_date::date) p where p.opted_in and not p.already_gifted)
         order by d.local_date, b.program_id
    loop
        what := 'birthday';
        name := 'Birthdays ' || v_found.local_date;
        was := v_found.was;
        status := 'PAUSED';
        detail := v_held;
        insert into public.push_campaigns as c (program_id, name, message_text, target_query, kind, status, started_at, status_detail)
        values (v_found.program_id, after_restore.name, v_found.message, 'BIRTHDAY', 'BIRTHDAY', 'PAUSED', v_now, v_held)
        returning c.id into id;
        insert into passbell.turns (program_id) values (v_found.program_id) on conflict do nothing;
        insert into passbell.birthday_runs as r (program_id, local_date, started_at, not_before, campaign_id)
        values (v_found.program_id, v_found.local_date, v_now, '-infinity', after_restore.id)
        on conflict (program_id, local_date) do update set campaign_id = excluded.campaign_id;
        return next;
    end loop;

    return query
        select 'import', i.id, i.name, i.status, i.status, 'Goes on by itself when a daemon runs; the same rows again change nothing. Cancel it if it was cancelled.'
          from public.member_imports i
         where i.status in ('PENDING', 'PROCESSING')
         order by i.created_at, i.id;
end
$$;


-- functions/45_work_waiting.sql ─────────────────────────────────────────────────────────────────────────────────

-- Might a loop of the daemon find something to do? One look for all of them at every poll, so that an idle daemon asks one
-- question instead of five. False is certain: there is nothing. True may mean "not yet" (a scheduled campaign, a chunk that
-- another daemon holds); the loop that is woken finds out. Four index looks, or tables that are empty when all is done.
create or replace function passbell.work_waiting(p_account text)
returns table (campaigns boolean, chunks boolean, imports boolean, breaker boolean)
language sql
stable
set search_path = ''
as $$
    select w.chunks
           or exists (select from public.push_campaigns c where c.status = 'PENDING')
           or exists (select from public.push_campaigns c where c.status = 'PROCESSING'),
           w.chunks,
           exists (select from public.member_imports i where i.status in ('PENDING', 'PROCESSING')),
           exists (select from passbell.rate_limits l where l.account = p_account and l.breaker = 'open')
      from (select exists (select from passbell.chunks) as chunks) w
$$;


-- functions/50_push.sql ─────────────────────────────────────────────────────────────────────────────────────────

-- What people call: from Supabase Studio, psql, RPC, the command line, the API. Each is one transaction and raises a
-- sentence that can be shown as it is: PB400 (the request), PB404 (no such thing), PB409 (the audience moved), PB422
-- (an illegal edge), PB403 (not your program).

-- May the caller act for this program? Everybody who reaches the database with a role of the server's own may
-- (acts_for_server), everybody else only for the programs of their admin_profiles row.
create or replace function passbell.require_program(p_program uuid) returns void
language plpgsql stable
set search_path = ''
as $$
begin
    if not passbell.acts_for_server() and not passbell.is_admin_of(p_program) then
        raise exception 'You are not an administrator of this program.' using errcode = 'PB403';
    end if;
    if not exists (select from passbell.programs g where g.program_id = p_program) then
        raise exception 'There is no program %.', coalesce(p_program::text, '(none given)') using errcode = 'PB404';
    end if;
end
$$;

-- Is the signed-in Supabase user an administrator of the program? False where the host has no admin_profiles.
create or replace function passbell.is_admin_of(p_program uuid) returns boolean
language sql stable
security definer
set search_path = ''
as $$
    select exists (select from passbell.admin_programs() a where a = p_program)
$$;

-- The honest count: matched by the target → in a wallet → not opted out → not capped today → reachable, and when it
-- would be done at the present rate behind what is already waiting. in_wallet, opted_out and capped are counted among
-- those left by the step before. Who is capped is asked per pass for named ones (deliveries_pass), else of the whole day's
-- ledger at once.
create or replace function public.push_preview(program_id uuid, target text default 'ALL')
returns table (matched bigint, in_wallet bigint, opted_out bigint, capped bigint, reachable bigint, seconds_at_rate numeric, finishes_at timestamptz)
language plpgsql stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_condition   text;
    v_parameters  text[];
    v_cap         integer;
    v_rate        numeric;
    v_waiting     bigint;
    v_capped      text := $q$
                      left join (select d.pass_id as capped_pass
                                   from passbell.deliveries d
                                  where $3 > 0 and d.sent_at > $4 - interval '24 hours' and d.outcome = 'sent'
                                    and d.campaign_id in (select c.id from public.push_campaigns c where c.program_id = $1)
                                  group by d.pass_id having count(*) >= $3) f on f.capped_pass = r.pass_id $q$;
begin
    perform passbell.require_program(push_preview.program_id);
    if exists (select from passbell.parse_target(push_preview.target) t where t.segment = 'IDS') then
        v_capped := $q$
                      left join lateral (select r.pass_id as capped_pass
                                           from passbell.deliveries d
                                          where d.pass_id = r.pass_id and d.sent_at > $4 - interval '24 hours' and d.outcome = 'sent'
                                         having count(*) >= $3) f on $3 > 0 $q$;
    end if;
    if exists (select from passbell.parse_target(push_preview.target) t where t.segment = 'CSV') then
        raise exception 'A CSV audience can be counted only once its file was read: create the campaign with csv_upload_url.' using errcode = 'PB400';
    end if;
    select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition(push_preview.target) a;
    select s.daily_cap, s.rate_per_second into v_cap, v_rate from passbell.settings s;

    begin
        execute $q$
            select count(*), count(*) filter (where a.reachable), count(*) filter (where a.reachable and not a.opted_in),
                   count(*) filter (where a.reachable and a.opted_in and a.capped)
              from (select distinct on (r.pass_id) r.pass_id, r.reachable, r.opted_in, f.capped_pass is not null as capped
                      from passbell.recipients r $q$ || v_capped || $q$
                     where r.program_id = $1 and ($q$ || v_condition || $q$)) a $q$
           into matched, in_wallet, opted_out, capped
          using push_preview.program_id, v_parameters, v_cap, passbell.now();
    exception when data_exception or syntax_error_or_access_rule_violation then
        raise exception 'The audience could not be evaluated: %.', sqlerrm using errcode = 'PB400';
    end;
    reachable := in_wallet - opted_out - capped;

    select coalesce(sum(c.recipient_count - c.sent_count - c.failed_count - c.skipped_count), 0)
      into v_waiting from public.push_campaigns c where c.status = 'PROCESSING';
    seconds_at_rate := round(reachable / v_rate, 1);
    finishes_at := passbell.now() + make_interval(secs => ((reachable + v_waiting) / v_rate)::double precision);
    return next;
end
$$;

-- Inserts a campaign. With p `expected` (the number that a preview showed) it refuses with PB409 if the audience has
-- moved since; the message carries the new number.
create or replace function public.push_send(
    program_id uuid, message text, target text default 'ALL', name text default null,
    scheduled_at timestamptz default null, expected integer default null) returns uuid
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
    v_reachable  bigint;
    v_id         uuid;
begin
    perform passbell.require_program(program_id);
    perform passbell.compile_message(message);
    perform passbell.parse_target(target);
    if expected is not null then
        select p.reachable into v_reachable from public.push_preview(program_id, target) p;
        if v_reachable <> expected then
            raise exception 'The audience has changed: % phones now, % when you looked.', passbell.thousands(v_reachable), passbell.thousands(expected)
                  using errcode = 'PB409', detail = v_reachable::text;
        end if;
    end if;
    insert into public.push_campaigns (program_id, name, message_text, target_query, scheduled_at)
    values (program_id, name, message, target, scheduled_at)
    returning id into v_id;
    return v_id;
end
$$;

-- One real push to one pass, ahead of everything else, whatever the hour; quiet hours, holds and double-submit guards
-- do not apply, opt-out, cap and wallet do.
create or replace function public.push_test(program_id uuid, external_id text, message text) returns uuid
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
    v_id  uuid;
begin
    perform passbell.require_program(program_id);
    perform passbell.compile_message(message);
    if not exists (select from passbell.recipients r
                    where r.program_id = push_test.program_id and lower(btrim(r.external_id)) = lower(btrim(push_test.external_id))) then
        raise exception 'There is no pass "%" in this program.', left(external_id, 80) using errcode = 'PB404';
    end if;
    insert into public.push_campaigns (program_id, name, message_text, target_query, kind)
    values (program_id, 'Test to ' || btrim(external_id), message, 'IDS:' || btrim(external_id), 'TEST')
    returning id into v_id;
    return v_id;
end
$$;

-- The four verbs. Each returns the campaign as it is afterwards.
create or replace function passbell.set_status(p_campaign uuid, p_status text) returns public.push_campaigns
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign for update;
    if not found then
        raise exception 'There is no campaign %.', coalesce(p_campaign::text, '(none given)') using errcode = 'PB404';
    end if;
    perform passbell.require_program(v_campaign.program_id);
    if v_campaign.status <> p_status then
        update public.push_campaigns c set status = p_status where c.id = p_campaign returning c.* into v_campaign;
    end if;
    return v_campaign;
end
$$;

create or replace function public.push_pause(id uuid) returns public.push_campaigns
language sql security definer set search_path = ''
as $$ select passbell.set_status(id, 'PAUSED') $$;

create or replace function public.push_cancel(id uuid) returns public.push_campaigns
language sql security definer set search_path = ''
as $$
    select passbell.set_status(id, 'CANCELLED');
    select c from public.push_campaigns c where c.id = push_cancel.id;
$$;

create or replace function public.push_resume(id uuid) returns public.push_campaigns
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
    v_campaign  public.push_campaigns;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = push_resume.id;
    if v_campaign.id is not null and not passbell.acts_for_server() then
        perform passbell.require_program(v_campaign.program_id);
    end if;
    if v_campaign.status in ('PENDING', 'PROCESSING') then
        return v_campaign;
    end if;
    if v_campaign.status is not null and v_campaign.status <> 'PAUSED' then
        raise exception 'A campaign that is % cannot be resumed.', v_campaign.status using errcode = 'PB422';
    end if;
    v_campaign := passbell.set_status(id, 'PENDING');
    if v_campaign.status = 'PROCESSING' then
        perform passbell.settle_campaign(id);       -- the pause came after the last push
    end if;
    select c.* into v_campaign from public.push_campaigns c where c.id = push_resume.id;
    return v_campaign;
end
$$;

create or replace function public.push_retry_failed(id uuid) returns public.push_campaigns
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
    v_campaign  public.push_campaigns;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = push_retry_failed.id;
    if not found then
        raise exception 'There is no campaign %.', coalesce(id::text, '(none given)') using errcode = 'PB404';
    end if;
    perform passbell.require_program(v_campaign.program_id);
    perform passbell.reopen_failed(id);
    select c.* into v_campaign from public.push_campaigns c where c.id = push_retry_failed.id;
    return v_campaign;
end
$$;

-- How far it is: counts, what it has sent per second since it started, and when it will be done at that pace.
create or replace function public.push_progress(id uuid)
returns table (campaign_id uuid, name text, status text, status_detail text, recipient_count integer, sent integer, failed integer, skipped integer,
               remaining integer, percent numeric, rate_per_second numeric, finishes_at timestamptz)
language plpgsql stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_campaign  public.push_campaigns;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = push_progress.id;
    if not found then
        raise exception 'There is no campaign %.', coalesce(push_progress.id::text, '(none given)') using errcode = 'PB404';
    end if;
    if not passbell.acts_for_server() then
        perform passbell.require_program(v_campaign.program_id);
    end if;
    campaign_id := v_campaign.id;      name := v_campaign.name;
    status := v_campaign.status;       status_detail := v_campaign.status_detail;
    recipient_count := v_campaign.recipient_count;
    sent := v_campaign.sent_count;     failed := v_campaign.failed_count;     skipped := v_campaign.skipped_count;
    remaining := recipient_count - sent - failed - skipped;
    percent := case when recipient_count > 0 then round(100.0 * (recipient_count - remaining) / recipient_count, 1)
                    when v_campaign.completed_at is not null then 100 else 0 end;
    rate_per_second := 0;
    if v_campaign.status = 'PROCESSING' then
        select round(greatest(0, v_campaign.sent_count)
                     / greatest(1, extract(epoch from clock_timestamp() - v_campaign.started_at)), 1) into rate_per_second;
        if remaining > 0 and rate_per_second > 0 then
            finishes_at := clock_timestamp() + make_interval(secs => (remaining / rate_per_second)::double precision);
        end if;
    end if;
    return next;
end
$$;


-- functions/51_samples.sql ──────────────────────────────────────────────────────────────────────────────────────

-- A few members of an audience with the text each would get: what `passbell send --dry-run` and the page show before
-- anything is sent. Reads only; raises the same sentences as push_send. Members who would be skipped are left out;
-- the daily cap is not looked at.
create or replace function passbell.sample_messages(p_program uuid, p_message text, p_target text default 'ALL', p_limit integer default 5)
returns table (pass_id uuid, external_id text, first_name text, message text)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_condition   text;
    v_parameters  text[];
    v_message     record;
begin
    perform passbell.require_program(p_program);
    v_message := passbell.compile_message(p_message);
    select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition(p_target) a;
    return query execute $q$
        select r.pass_id, r.external_id, r.first_name,
               case when cardinality($4) = 0 then format($3)
                    else passbell.render_message($3, $4, $5, r.points, r.first_name, r.last_name, r.tier_points, g.name) end
          from passbell.recipients r
          join passbell.programs g on g.program_id = r.program_id
         where r.program_id = $1 and r.reachable and r.opted_in and ($q$ || v_condition || $q$)
         order by r.external_id
         limit $6 $q$
     using p_program, v_parameters, v_message.layout, v_message.fields, v_message.fallbacks, greatest(p_limit, 0);
exception when data_exception or syntax_error_or_access_rule_violation then
    raise exception 'The audience could not be evaluated: %.', sqlerrm using errcode = 'PB400';
end
$$;


-- functions/60_birthdays.sql ────────────────────────────────────────────────────────────────────────────────────

-- Whose birthday is it? Everything here only reads.

-- Refuses (PB422) unless UNIQUE (pass_id, year) guards birthday_logs: it is the proof that a gift is given once, across
-- restarts, daemons and whoever else writes there. Called before every gift.
create or replace function passbell.require_birthday_guard() returns void
language plpgsql stable
set search_path = ''
as $$
begin
    if not passbell.birthday_guard_exists() then
        raise exception 'Birthday gifts are off: public.birthday_logs has no UNIQUE (pass_id, year), so nothing proves that a gift is given once. Remove the duplicates that `passbell migrate` names (%), then migrate again.',
              coalesce(passbell.birthday_duplicates(), 'none at the moment') using errcode = 'PB422';
    end if;
end
$$;

-- Is there a unique index on exactly (pass_id, year), in either order?
create or replace function passbell.birthday_guard_exists() returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from pg_catalog.pg_index i
                    where i.indrelid = to_regclass('public.birthday_logs') and i.indisunique and i.indisvalid and i.indimmediate
                      and i.indpred is null and i.indexprs is null and i.indnkeyatts = 2
                      and (select array_agg(a.attname::text order by a.attname) from pg_catalog.pg_attribute a
                            where a.attrelid = i.indrelid and a.attnum in (i.indkey[0], i.indkey[1])) = '{pass_id,year}')
$$;

-- The first rows that stand in the way of that index, for people: "pass 1b9d… in 2026: 3 rows". NULL if there are none.
create or replace function passbell.birthday_duplicates() returns text
language sql stable
set search_path = ''
as $$
    select string_agg(format('pass %s in %s: %s rows', d.pass_id, d.year, d.n), '; ' order by d.year desc, d.pass_id)
           || case when max(d.groups) > 5 then format('; and %s more', max(d.groups) - 5) else '' end
      from (select l.pass_id, l.year, count(*) as n, count(*) over () as groups
              from public.birthday_logs l
             where l.pass_id is not null
             group by l.pass_id, l.year having count(*) > 1
             order by l.year desc, l.pass_id
             limit 5) d
$$;

-- Refuses (PB400) a date that no calendar on a wall shows: PostgreSQL's infinity, 44 BC, the year 5874897.
create or replace function passbell.require_calendar_date(p_date date) returns void
language plpgsql immutable
set search_path = ''
as $$
begin
    if not p_date between '1900-01-01' and '9999-12-30' then
        raise exception 'on_date is a date from 1900 to 9999, not %.', p_date using errcode = 'PB400';
    end if;
end
$$;

-- The greeting of a program, ready to be a campaign's message. A message that cannot be used (an unknown placeholder,
-- nothing at all) never stops a gift: a plain greeting stands in, and `problem` says why.
create or replace function passbell.birthday_greeting(p_message text, out message text, out problem text)
language plpgsql immutable
set search_path = ''
as $$
begin
    perform passbell.compile_message(p_message);
    message := p_message;
exception when sqlstate 'PB400' then
    message := 'Happy Birthday!';
    problem := format('The birthday message could not be used (%s). A plain greeting is sent instead.', rtrim(sqlerrm, '.'));
end
$$;

-- The greeting of a program laid out for a whole list of people at once: format() strings with the values by number,
-- %1$s points, %2$s first name, %3$s last name, %4$s tier points. One layout for each combination of values that a member
-- may lack (bit 0 points … bit 3 tier points, the layout of mask n at n + 1), with the fallbacks and the program's name
-- already in it. `gaps`: something was left out there, so that what a text then begins with (", you have 5 points") is
-- trimmed. passbell.fill_layout is the other half; the two together write what passbell.render_message writes.
create or replace function passbell.birthday_layouts(p_message text, p_program_name text, out layouts text[], out gaps boolean[])
language plpgsql immutable
set search_path = ''
as $$
declare
    v_message  record;
    v_known    constant text[] := array['points', 'first_name', 'last_name', 'tier_points'];
    v_name     constant text := passbell.clean_value(p_program_name);
    v_used     integer := 0;
    v_values   text[];
    v_slot     integer;
    v_layout   text;
    v_gap      boolean;
begin
    select c.layout, c.fields, c.fallbacks into v_message
      from passbell.birthday_greeting(p_message) b, passbell.compile_message(b.message) c;
    select coalesce(bit_or(1 << (k.nth - 1)::integer), 0) into v_used
      from unnest(v_known) with ordinality as k (field, nth) where k.field = any (v_message.fields);
    layouts := '{}';
    gaps := '{}';
    for v_mask in 0 .. 15 loop
        if v_mask & ~v_used <> 0 then       -- lacks something that nobody asks for
            layouts := layouts || layouts[(v_mask & v_used) + 1];
            gaps := gaps || gaps[(v_mask & v_used) + 1];
            continue;
        end if;
        v_values := '{}';
        v_gap := false;
        for i in 1 .. cardinality(v_message.fields) loop
            v_slot := array_position(v_known, v_message.fields[i]);
            if v_slot is not null and v_mask & (1 << (v_slot - 1)) = 0 then
                v_values := v_values || ('%' || v_slot || '$s');
            else
                v_values := v_values || replace(coalesce(case when v_slot is null then v_name end, v_message.fallbacks[i]), '%', '%%');
                if v_values[i] = '' then
                    v_values[i] := chr(1);
                    v_gap := true;
                end if;
            end if;
        end loop;
        -- The text between the values goes through format() once more later: its %% has to come out as %% here.
        v_layout := format(replace(v_message.layout, '%%', '%%%%'), variadic v_values);
        layouts := layouts || case when v_gap then regexp_replace(v_layout, ' ?' || chr(1), '', 'g') else v_layout end;
        gaps := gaps || v_gap;
    end loop;
end
$$;

-- A value as a text shows it: control characters become spaces, nothing but spaces is NULL. No search path of its own,
-- so that it disappears into the query that calls it.
create or replace function passbell.clean_value(p_value text) returns text
language sql immutable
as $$
    select nullif(pg_catalog.btrim(case when p_value ~ '[[:cntrl:]]' then pg_catalog.regexp_replace(p_value, '[[:cntrl:]]+', ' ', 'g') else p_value end), '')
$$;

-- One member's text from the layout chosen for the values that are there; names already clean. Disappears like clean_value.
create or replace function passbell.fill_layout(
    p_layout text, p_gap boolean, p_points bigint, p_first_name text, p_last_name text, p_tier_points bigint) returns text
language sql stable
as $$
    select nullif(pg_catalog.btrim(
               case when p_gap then pg_catalog.regexp_replace(pg_catalog.format(p_layout, p_points, p_first_name, p_last_name, p_tier_points), '^[\s,;:!.]+', '')
                    else pg_catalog.format(p_layout, p_points, p_first_name, p_last_name, p_tier_points) end), '')
$$;

-- The people whose birthday is on a local date, one pass each: of one program, or (p_program NULL) of all whose bot may
-- give; p_date NULL is today in each program's own zone. With p_values also what a text can say about them.
--
-- 29 February is kept on the 28th or on 1 March in common years, as the program wishes. Placeholders that forms and
-- imports leave behind (1900-01-01, 1970-01-01, 1904-01-01), future dates and ages over 120 are no birth dates. A pass
-- that is not on a phone is not there. Of two passes of one person the one that has this year's gift stands for both,
-- else the one with the lower id. already_gifted: the person has, on whichever pass of this program, the gift of that
-- year, or one for a birthday less than 300 days away (a birth date corrected to farm points). A gift is dated by
-- local_date, unless the row was written or edited by somebody else: then by created_at.
--
-- Every person of the day is looked up once, in users (idx_users_birthday), passes_master (passes_master_user) and
-- birthday_logs (UNIQUE (pass_id, year)), however many programs there are; points and tiers only with p_values. The
-- days to look for are worked out first and the plan is made anew for each call, so that the planner sees them as
-- constants and estimates an index range. `member` is a fence: the planner thinks that a day has far fewer birthdays than
-- it has (it multiplies the chances of month, day and age), and would otherwise read a whole program for each of them.
-- 2,700 birthdays among 1,000,000 members: see bench/birthdays.py.
drop function if exists passbell.birthday_people(uuid, date);
create or replace function passbell.birthday_people(p_program uuid, p_date date, p_values boolean default false)
returns table (program_id uuid, pass_id uuid, external_id text, first_name text, birth_date date, birthday_year integer,
               opted_in boolean, already_gifted boolean,
               shown_first_name text, shown_last_name text, points bigint, tier_points bigint)
language plpgsql stable
set search_path = ''
set plan_cache_mode = 'force_custom_plan'
set max_parallel_workers_per_gather = 0
set jit = off
as $$
#variable_conflict use_column
declare
    v_programs  uuid[];
    v_zones     text[];
    v_dates     date[];
    v_days      integer[];      -- month * 100 + day of each program's date
    v_leaps     boolean[];      -- does that date stand in for 29 February?
    v_wanted    integer[];      -- the days of the year to look for, at most three and the leap day
    v_months    numeric[];
    v_month_days numeric[];
begin
    select array_agg(d.program_id), array_agg(d.zone), array_agg(d.local_date), array_agg(d.day),
           array_agg(d.day = case when upper(btrim(d.birthday_leap_day)) = 'MAR_01' then 301 else 228 end
                     and extract(day from make_date(extract(year from d.local_date)::integer, 3, 1) - 1) = 28)
      into v_programs, v_zones, v_dates, v_days, v_leaps
      from (select z.*, (extract(month from z.local_date) * 100 + extract(day from z.local_date))::integer as day
              from (select y.*, coalesce(p_date, (passbell.now() at time zone y.zone)::date) as local_date
                      from (select g.program_id, g.birthday_leap_day, passbell.zone(g.timezone) as zone
                              from passbell.programs g
                             where g.program_id = p_program
                                or p_program is null and g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null
                            offset 0) y
                    offset 0) z) d;

    select array_agg(w.day), array_agg(w.day / 100), array_agg(w.day % 100) into v_wanted, v_months, v_month_days
      from (select unnest(v_days) as day
            union
            select 229 where true = any (v_leaps)) w;

    return query
        with member as materialized (
            select r.pass_id, r.program_id, r.external_id, r.first_name, r.birth_date, r.opted_in, r.reachable, coalesce(r.user_id, r.pass_id) as person,
                   w.day,
                   case when p_values then r.last_name end as last_name,
                   case when p_values then r.points end as points,
                   case when p_values then r.tier_points end as tier_points
              from unnest(v_wanted, v_months, v_month_days) as w (day, month, month_day)
              join passbell.recipients r on extract(month from r.birth_date) = w.month and extract(day from r.birth_date) = w.month_day
             where (p_program is null or coalesce(r.program_id = p_program, false))
               and r.birth_date not in ('1900-01-01', '1970-01-01', '1904-01-01')
        ), judged as (
            select m.*, d.year, l.year = d.year as this_one,
                   coalesce(bool_or(l.year = d.year or l.recent) over (partition by m.program_id, m.person), false) as had
              from member m
              join (select g.*, extract(year from g.local_date)::integer as year
                      from unnest(v_programs, v_zones, v_dates, v_days, v_leaps) as g (program_id, zone, local_date, day, leap)) d
                on d.program_id = m.program_id and (m.day = d.day or m.day = 229 and d.leap)
              left join lateral (
                    select l.year, abs(d.local_date - case when extract(year from l.local_date) = l.year then l.local_date
                                                           else (l.created_at at time zone d.zone)::date end) < 300 as recent
                      from public.birthday_logs l
                     where l.pass_id = m.pass_id and l.year between d.year - 1 and d.year + 1
                    offset 0) l on true
             where m.birth_date between make_date(d.year - 120, 1, 1) and d.local_date
        )
        select distinct on (j.program_id, j.person)
               j.program_id, j.pass_id, j.external_id, j.first_name, j.birth_date, j.year, j.opted_in, j.had,
               case when p_values then passbell.clean_value(j.first_name) end, case when p_values then passbell.clean_value(j.last_name) end,
               j.points, j.tier_points
          from judged j
         where j.reachable
         order by j.program_id, j.person, j.this_one desc nulls last, j.pass_id;
end
$$;

-- What public.get_birthdays_today returns, see there. Values are only looked up if some greeting has a placeholder.
create or replace function passbell.birthdays_today(p_program uuid, p_date date)
returns table (pass_id uuid, program_id uuid, external_id text, first_name text, birth_date date, birthday_year integer,
               reward_points integer, message text, already_gifted boolean)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
begin
    perform passbell.require_calendar_date(p_date);
    if p_program is not null and not exists (select from passbell.programs g where g.program_id = p_program) then
        raise exception 'There is no program %.', p_program using errcode = 'PB404';
    end if;
    return query
        with program as materialized (
            select g.program_id, greatest(g.birthday_reward_points, 0) as reward, y.layouts, y.gaps
              from passbell.programs g
             cross join lateral passbell.birthday_layouts(g.birthday_message, g.name) y
             where g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null
               and (p_program is null or g.program_id = p_program)
        )
        select b.pass_id, b.program_id, b.external_id, b.first_name, b.birth_date, b.birthday_year, g.reward,
               passbell.fill_layout(g.layouts[n.mask + 1], g.gaps[n.mask + 1],
                                    coalesce(b.points, 0) + case when b.already_gifted then 0 else g.reward end,
                                    b.shown_first_name, b.shown_last_name, b.tier_points),
               b.already_gifted
          from passbell.birthday_people(p_program, p_date,
                   exists (select from passbell.programs x where x.birthday_message like '%{%' and (p_program is null or x.program_id = p_program))) b
          join program g on g.program_id = b.program_id
         cross join lateral (select 2 * (b.shown_first_name is null)::integer + 4 * (b.shown_last_name is null)::integer
                                    + 8 * (b.tier_points is null)::integer as mask) n;
end
$$;

-- Whose birthday it is: in one program or in all whose bot is on, today in each program's own zone or on a given local
-- date. `message` is the greeting as that member would read it, with the balance after the award; already_gifted says
-- that nothing more will come. Changes nothing. A program that is off, suspended or not provisioned has no rows.
create or replace function public.get_birthdays_today(program_id uuid default null, on_date date default null)
returns table (pass_id uuid, program_id uuid, external_id text, first_name text, birth_date date, birthday_year integer,
               reward_points integer, message text, already_gifted boolean)
language sql stable
security definer
set search_path = ''
as $$ select b.* from passbell.birthdays_today($1, $2) b $$;


-- functions/61_gifts.sql ────────────────────────────────────────────────────────────────────────────────────────

-- Giving: one member, some members, their greetings. The callers hold the program's row of birthday_programs
-- (lock_birthdays), so that the gifts of one program come one after the other, whoever gives them.
-- Locks: birthday_programs, birthday_runs, the host's rows, then campaign, then chunks.

-- Puts the gifts of a program in a row: waits for whoever is giving there now.
create or replace function passbell.lock_birthdays(p_program uuid) returns void
language sql
set search_path = ''
as $$
    insert into passbell.birthday_programs (program_id, since)
    select g.program_id, case when g.birthday_bot_enabled then passbell.birthdays_since(g.program_id) end
      from passbell.programs g
     where g.program_id = p_program
    on conflict do nothing;
    select b.program_id from passbell.birthday_programs b where b.program_id = p_program for update;
$$;

-- Gives one member the gift, or nothing: the birthday_logs row and the points stand or fall together, in a
-- subtransaction, so that an award that fails takes nobody else along. Outcomes:
--
--   gifted, already_gifted
--   failed        with the reason: the award function refused, raised, or waited three seconds for a lock
--   timed_out     the caller's statement_timeout struck while this member's award hung. It strikes once per statement:
--                 the caller must start nobody else
--
-- A cancel that is not the time-out's (Ctrl-C, pg_cancel_backend) goes through.
create or replace function passbell.gift_member(
    p_program uuid, p_program_name text, p_points integer, p_date date, p_pass uuid, p_message text, p_fields text[],
    out outcome text, out reason text)
language plpgsql
set search_path = ''
set lock_timeout = '3s'
as $$
declare
    v_year     constant integer := extract(year from p_date);
    v_timeout  numeric;
begin
    begin
        insert into public.birthday_logs (pass_id, program_id, year, local_date, created_at, points_awarded, message_sent)
        values (p_pass, p_program, v_year, p_date, passbell.now(), p_points, p_message)
        on conflict (pass_id, year) do nothing;
        if not found then
            outcome := 'already_gifted';
            return;
        end if;
        if p_points > 0 then
            perform passbell.award_gift(p_pass, p_points, 'Birthday ' || v_year);
        end if;
        if p_fields <> '{}' then        -- the text with this member's name and the balance as it is now
            update public.birthday_logs l
               set message_sent = passbell.render_message(m.layout, m.fields, m.fallbacks, r.points, r.first_name, r.last_name, r.tier_points, p_program_name)
              from passbell.compile_message(p_message) m, passbell.recipients r
             where l.pass_id = p_pass and l.year = v_year and r.pass_id = p_pass;
        end if;
        outcome := 'gifted';
    exception
        when query_canceled then
            select s.setting::numeric into v_timeout from pg_catalog.pg_settings s where s.name = 'statement_timeout';
            if v_timeout = 0 or extract(epoch from clock_timestamp() - statement_timestamp()) * 1000 < v_timeout - 20 then
                raise;
            end if;
            outcome := 'timed_out';
            reason := 'the award took too long';
        when others then
            outcome := 'failed';
            reason := coalesce(nullif(btrim(sqlerrm), ''), sqlstate);
    end;
end
$$;

-- The award itself, with the search path that the host's function was written for: the callers' is empty, and a
-- function of the host that names its tables without a schema would not find them.
create or replace function passbell.award_gift(p_pass uuid, p_points integer, p_note text) returns void
language plpgsql
set search_path = public, extensions
as $$
begin
    perform passbell.award_points(p_pass, p_points, p_note);
end
$$;

-- Gives up to p_limit members of a run their gifts (NULL: all), starting nobody after p_until, and hands those who did
-- not opt out to the day's campaign. A member whose award fails is recorded and left alone until the next pass.
-- `remaining` counts those not tried in this pass yet; it is 0 when the program may no longer give.
create or replace function passbell.give_gifts(
    p_program uuid, p_date date, p_limit integer, p_until timestamptz, p_greet_at timestamptz,
    out gifted integer, out already_gifted integer, out failed integer, out remaining integer, out stopped boolean,
    out failed_passes uuid[], out reasons text[])
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_program  record;
    v_run      passbell.birthday_runs;
    v_message  record;
    v_member   record;
    v_gift     record;
    v_greet    uuid[] := '{}';
begin
    gifted := 0;  already_gifted := 0;  failed := 0;  remaining := 0;  stopped := false;
    failed_passes := '{}';  reasons := '{}';
    select g.* into v_program
      from passbell.programs g
     where g.program_id = p_program and g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null;
    if not found then
        stopped := true;
        return;
    end if;
    select r.* into strict v_run from passbell.birthday_runs r where r.program_id = p_program and r.local_date = p_date for update;
    select b.message, b.problem, c.fields into v_message
      from passbell.birthday_greeting(v_program.birthday_message) b, passbell.compile_message(b.message) c;

    for v_member in
        select b.pass_id, b.opted_in, count(*) over () as todo
          from passbell.birthday_people(p_program, p_date) b
         where not b.already_gifted
           and not exists (select from passbell.birthday_failures f
                            where f.program_id = p_program and f.local_date = p_date and f.pass_id = b.pass_id and f.attempt = v_run.attempt)
         order by b.pass_id
         limit p_limit
    loop
        remaining := coalesce(nullif(remaining, 0), v_member.todo);
        exit when stopped or clock_timestamp() >= p_until;
        select m.* into v_gift
          from passbell.gift_member(p_program, v_program.name, greatest(v_program.birthday_reward_points, 0), p_date, v_member.pass_id,
                                    case when v_member.opted_in then v_message.message end,
                                    case when v_member.opted_in then v_message.fields else '{}' end) m;
        case v_gift.outcome
            when 'gifted' then
                gifted := gifted + 1;
                if v_member.opted_in then
                    v_greet := v_greet || v_member.pass_id;
                end if;
                delete from passbell.birthday_failures f
                 where f.program_id = p_program and f.local_date = p_date and f.pass_id = v_member.pass_id;
            when 'already_gifted' then
                already_gifted := already_gifted + 1;
            else
                failed := failed + 1;
                failed_passes := failed_passes || v_member.pass_id;
                reasons := reasons || v_gift.reason;
                insert into passbell.birthday_failures as f (program_id, local_date, pass_id, reason, attempt, last_at)
                values (p_program, p_date, v_member.pass_id, left(v_gift.reason, 500), v_run.attempt, passbell.now())
                on conflict (program_id, local_date, pass_id) do update
                   set reason = excluded.reason, attempt = excluded.attempt, attempts = f.attempts + 1, last_at = excluded.last_at;
                stopped := v_gift.outcome = 'timed_out';
        end case;
    end loop;
    remaining := remaining - gifted - already_gifted - failed;

    perform passbell.greet(v_run, v_message.message, v_message.problem, v_greet, p_greet_at);
    update passbell.birthday_runs r
       set gifted = r.gifted + give_gifts.gifted
     where r.program_id = p_program and r.local_date = p_date and give_gifts.gifted > 0;
end
$$;

-- Adds passes to the day's BIRTHDAY campaign of the program, which is made with the first of them; recipient_count
-- grows with the chunks. The last chunk is held back (not_before infinity) until the next batch comes or the run ends
-- (release_greetings), so that the campaign cannot complete while gifts are still being given; one that had completed,
-- before awards that failed in the morning worked at noon, goes on. Nobody is greeted in a cancelled campaign, and
-- nobody twice in the same.
create or replace function passbell.greet(
    p_run passbell.birthday_runs, p_message text, p_problem text, p_passes uuid[], p_greet_at timestamptz) returns void
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_campaign  public.push_campaigns;
    v_passes    uuid[];
    v_last      integer;
    v_size      constant integer := 50;
begin
    if p_passes = '{}' then
        return;
    end if;
    select c.* into v_campaign from public.push_campaigns c where c.id = p_run.campaign_id for update;
    if not found then
        insert into public.push_campaigns (program_id, name, message_text, target_query, kind, status, started_at, status_detail)
        values (p_run.program_id, 'Birthdays ' || p_run.local_date, p_message, 'BIRTHDAY', 'BIRTHDAY', 'PROCESSING', passbell.now(), p_problem)
        returning * into v_campaign;
        update passbell.birthday_runs r
           set campaign_id = v_campaign.id, detail = p_problem
         where r.program_id = p_run.program_id and r.local_date = p_run.local_date;
        insert into passbell.turns (program_id) values (p_run.program_id) on conflict do nothing;
    elsif v_campaign.status in ('CANCELLED', 'FAILED') then
        return;
    end if;

    select array_agg(p.pass_id order by p.pass_id) into v_passes
      from unnest(p_passes) as p (pass_id)
     where not exists (select from passbell.deliveries d where d.campaign_id = v_campaign.id and d.pass_id = p.pass_id)
       and not exists (select from passbell.chunks k where k.campaign_id = v_campaign.id and p.pass_id = any (k.pass_ids));
    if v_passes is null then
        return;
    end if;
    update passbell.chunks k set not_before = p_greet_at where k.campaign_id = v_campaign.id and k.not_before = 'infinity';
    select coalesce(max(k.chunk_no), 0) into v_last from passbell.chunks k where k.campaign_id = v_campaign.id;
    insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, not_before)
    select v_campaign.id, v_last + n.chunk_no, p_run.program_id, array_agg(n.pass_id order by n.pass_id),
           case when n.chunk_no = (cardinality(v_passes) - 1) / v_size + 1 then 'infinity' else p_greet_at end
      from (select p.pass_id, ((p.n - 1) / v_size + 1)::integer as chunk_no from unnest(v_passes) with ordinality as p (pass_id, n)) n
     group by n.chunk_no;
    update public.push_campaigns c
       set recipient_count = c.recipient_count + cardinality(v_passes), completed_at = null,
           status = case when c.status = 'COMPLETED' then 'PROCESSING' else c.status end
     where c.id = v_campaign.id;
end
$$;

-- Lets the held chunk go: no more greetings come for now.
create or replace function passbell.release_greetings(p_campaign uuid, p_greet_at timestamptz) returns void
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
begin
    perform from public.push_campaigns c where c.id = p_campaign for update;
    update passbell.chunks k set not_before = p_greet_at where k.campaign_id = p_campaign and k.not_before = 'infinity';
    if found then
        perform pg_notify('passbell', 'processing');
    end if;
end
$$;

-- When a run of the daemon may buzz: from the program's hour on, in its own zone. A birthday that is caught up at
-- three in the morning gets its points then and its greeting at nine.
create or replace function passbell.greet_at(p_program uuid) returns timestamptz
language sql stable
set search_path = ''
as $$
    select greatest(passbell.now(), ((passbell.now() at time zone passbell.zone(g.timezone))::date + g.birthday_send_at) at time zone passbell.zone(g.timezone))
      from passbell.programs g
     where g.program_id = p_program
$$;


-- functions/62_birthday_runs.sql ────────────────────────────────────────────────────────────────────────────────

-- Birthday runs: one per program and local date. The scheduler in every daemon only ticks; these rows decide.

-- Takes the next run that is due, or nothing. Called by every daemon at every tick, until it returns nothing.
--
-- Due is every local date from the program's first day with the bot on, at most seven days back, that no run has
-- completed; today only from birthday_send_at on, by the wall clock of the program's zone (a send time inside a DST gap
-- comes when the clock has jumped over it; one that an overlap shows twice counts once, because the row is there). The
-- oldest date first. The insert decides who runs: of two daemons one gets the row back. A run whose worker died is
-- taken over when its lease has run out, one with failed awards when its pause is over. A lease or pause that lies
-- further ahead than any we give was written before the clock jumped back, and does not count.
create or replace function passbell.claim_birthday_run(p_worker uuid, p_lease_seconds double precision default 60)
returns table (program_id uuid, local_date date, attempt integer)
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
#variable_conflict use_column
declare
    v_now   constant timestamptz := passbell.now();
    v_due   record;
begin
    perform passbell.require_birthday_guard();
    perform passbell.note_birthday_programs();
    perform passbell.close_birthday_runs();

    for v_due in
        select b.program_id, d.local_date::date as local_date
          from (select g.program_id, g.birthday_send_at, w.since, v_now at time zone passbell.zone(g.timezone) as local_now
                  from passbell.programs g
                  join passbell.birthday_programs w on w.program_id = g.program_id
                 where w.since is not null and g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null) b
         cross join lateral generate_series(greatest(b.since, b.local_now::date - 7)::timestamp, b.local_now::date::timestamp, interval '1 day') as d (local_date)
          left join passbell.birthday_runs r on r.program_id = b.program_id and r.local_date = d.local_date::date
         where (d.local_date < b.local_now::date or b.local_now::time >= b.birthday_send_at)
           and (r.program_id is null or passbell.may_take_run(r, p_lease_seconds))
         order by d.local_date, b.program_id
    loop
        insert into passbell.birthday_runs as r (program_id, local_date, started_at, not_before, worker, lease_until)
        values (v_due.program_id, v_due.local_date, v_now, '-infinity', p_worker, v_now + make_interval(secs => p_lease_seconds))
        on conflict (program_id, local_date) do update
           set worker = excluded.worker, lease_until = excluded.lease_until
         where passbell.may_take_run(r, p_lease_seconds)
        returning r.program_id, r.local_date, r.attempt into program_id, local_date, attempt;
        if found then
            return next;
            return;
        end if;
    end loop;
end
$$;

-- Is the run open, unleased and not pausing? See claim_birthday_run for the upper bounds.
create or replace function passbell.may_take_run(p_run passbell.birthday_runs, p_lease_seconds double precision) returns boolean
language sql stable
set search_path = ''
as $$
    select p_run.completed_at is null
       and not coalesce(p_run.lease_until > n.t and p_run.lease_until <= n.t + make_interval(secs => greatest(p_lease_seconds, 600)), false)
       and not (p_run.not_before > n.t and p_run.not_before <= n.t + interval '1 hour')
      from (select passbell.now() as t) n
$$;

-- Remembers since when each program's bot is on: its own date when it was first seen ready. So switching it on starts
-- with today, never seven days back, and what fell into a time with the bot off is not caught up.
create or replace function passbell.note_birthday_programs() returns void
language sql
set search_path = ''
as $$
    update passbell.birthday_programs b
       set since = null
      from (select w.program_id
              from passbell.birthday_programs w
             where w.since is not null
               and not exists (select from passbell.programs g where g.program_id = w.program_id and g.birthday_bot_enabled)
               for update skip locked) gone
     where b.program_id = gone.program_id;
    insert into passbell.birthday_programs as b (program_id, since)
    select g.program_id, passbell.birthdays_since(g.program_id)
      from passbell.programs g
     where g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null
       and not exists (select from passbell.birthday_programs b where b.program_id = g.program_id and b.since is not null)
    on conflict (program_id) do update
       set since = (select (passbell.now() at time zone passbell.zone(g.timezone))::date from passbell.programs g where g.program_id = b.program_id)
     where b.since is null;
$$;

-- The first local date that counts for a program seen for the first time: today, or where its runs left off (rows that
-- came with a restored or copied database).
create or replace function passbell.birthdays_since(p_program uuid) returns date
language sql stable
set search_path = ''
as $$
    select least(t.today, (select max(case when r.completed_at is null then r.local_date else r.local_date + 1 end)
                             from passbell.birthday_runs r where r.program_id = p_program))
      from (select (passbell.now() at time zone passbell.zone(g.timezone))::date as today
              from passbell.programs g where g.program_id = p_program) t
$$;

-- Open runs that nobody will take any more: the bot was switched off in the middle, or their week is over. Lets held
-- greetings go; a run whose week is over is completed and says how many gifts were never given.
create or replace function passbell.close_birthday_runs() returns void
language plpgsql
set search_path = ''
as $$
declare
    v_run  record;
begin
    for v_run in
        select r.program_id, r.local_date, r.campaign_id,
               r.local_date < coalesce((passbell.now() at time zone passbell.zone(g.timezone))::date, r.local_date) - 7 as over
          from passbell.birthday_runs r
          left join passbell.programs g on g.program_id = r.program_id
         where r.completed_at is null and coalesce(r.lease_until, '-infinity') <= passbell.now()
           and (r.local_date < coalesce((passbell.now() at time zone passbell.zone(g.timezone))::date, r.local_date) - 7
                or not coalesce(g.birthday_bot_enabled, false)
                   and exists (select from passbell.chunks k where k.campaign_id = r.campaign_id and k.not_before = 'infinity'))
           for update of r skip locked
    loop
        if v_run.campaign_id is not null then
            perform passbell.release_greetings(v_run.campaign_id, passbell.now());
        end if;
        if v_run.over then
            update passbell.birthday_runs r
               set completed_at = passbell.now(), worker = null, lease_until = null,
                   detail = case when r.failed > 0 then format('Given up after seven days: %s gifts could not be given, see passbell.birthday_failures.', r.failed)
                                 else 'Left off: its week was over.' end
             where r.program_id = v_run.program_id and r.local_date = v_run.local_date;
        end if;
    end loop;
end
$$;

-- Gives some members of a claimed run their gifts, in one transaction, and extends the lease. The daemon calls it until
-- `remaining` is 0 or `stopped`, then finish_birthday_run. Call it with a statement_timeout some seconds longer than
-- p_seconds: a hanging award is then cut, recorded and left behind, and the gifts before it stand.
-- Raises PB412 if another worker has the run by now.
create or replace function passbell.gift_batch(
    p_program uuid, p_date date, p_worker uuid, p_limit integer default 50, p_seconds double precision default 5, p_lease_seconds double precision default 60)
returns table (gifted integer, already_gifted integer, failed integer, remaining integer, stopped boolean, failed_passes uuid[], reasons text[])
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
#variable_conflict use_column
begin
    perform passbell.require_birthday_guard();
    perform passbell.lock_birthdays(p_program);
    update passbell.birthday_runs r
       set lease_until = passbell.now() + make_interval(secs => p_lease_seconds)
     where r.program_id = p_program and r.local_date = p_date and r.worker = p_worker;
    if not found then
        raise exception 'the lease on the birthday run of % in program % is lost', p_date, p_program using errcode = 'PB412';
    end if;
    return query
        select g.gifted, g.already_gifted, g.failed, g.remaining, g.stopped, g.failed_passes, g.reasons
          from passbell.give_gifts(p_program, p_date, p_limit, clock_timestamp() + make_interval(secs => p_seconds),
                                   passbell.greet_at(p_program)) g;
end
$$;

-- Ends a pass over a claimed run. Everybody has the gift: completed. Somebody has not: open, and taken up again after
-- 1, 2, 4 … 60 minutes. Raises PB412 if another worker has the run by now.
create or replace function passbell.finish_birthday_run(p_program uuid, p_date date, p_worker uuid)
returns table (eligible integer, gifted integer, failed integer, completed boolean, campaign_id uuid)
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
#variable_conflict use_column
begin
    perform passbell.lock_birthdays(p_program);
    if not exists (select from passbell.birthday_runs r where r.program_id = p_program and r.local_date = p_date and r.worker = p_worker) then
        raise exception 'the lease on the birthday run of % in program % is lost', p_date, p_program using errcode = 'PB412';
    end if;
    return query
        select r.eligible, r.gifted, r.failed, r.completed_at is not null, r.campaign_id
          from passbell.end_birthday_pass(p_program, p_date, passbell.greet_at(p_program)) r;
end
$$;

-- The same for whoever holds the program's lock: counts, completes or pauses, lets the greetings go. A run is complete
-- only once its hour has come, so that one started by hand at seven does not hide those who join before nine. A run
-- of a program that was suspended meanwhile stays open.
create or replace function passbell.end_birthday_pass(p_program uuid, p_date date, p_greet_at timestamptz) returns passbell.birthday_runs
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_run       passbell.birthday_runs;
    v_eligible  integer;
    v_open      integer;
    v_due       boolean;
    v_reason    text;
begin
    select (v_now at time zone passbell.zone(g.timezone)) >= least(p_date + g.birthday_send_at, (p_date + 1)::timestamp)
           and g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null
      into v_due
      from passbell.programs g where g.program_id = p_program;
    select count(*), count(*) filter (where not b.already_gifted) into v_eligible, v_open from passbell.birthday_people(p_program, p_date) b;
    if v_open > 0 then
        select f.reason into v_reason
          from passbell.birthday_failures f where f.program_id = p_program and f.local_date = p_date
         order by f.last_at desc, f.pass_id limit 1;
    end if;

    update passbell.birthday_runs r
       set eligible = v_eligible, failed = v_open, worker = null, lease_until = null,
           completed_at = case when v_open = 0 and v_due then coalesce(r.completed_at, v_now) end,
           attempt = r.attempt + (v_reason is not null)::integer,
           not_before = case when v_open = 0 then '-infinity' else v_now + make_interval(mins => least(60, power(2, least(r.attempt, 6)))::integer) end,
           detail = case when v_reason is not null then format('%s gifts could not be given and are tried again. The last reason: %s', v_open, left(v_reason, 300))
                         when r.detail like '%are tried again%' then null
                         else r.detail end
     where r.program_id = p_program and r.local_date = p_date
    returning r.* into v_run;
    if v_run.campaign_id is not null then
        perform passbell.release_greetings(v_run.campaign_id, p_greet_at);
    end if;
    return v_run;
end
$$;

-- A daemon that stops hands back its runs at once.
create or replace function passbell.release_birthday_runs(p_worker uuid) returns void
language sql
set search_path = ''
as $$
    update passbell.birthday_runs r set worker = null, lease_until = null where r.worker = p_worker
$$;

-- What public.run_birthdays does, see there.
create or replace function passbell.run_birthdays_by_hand(p_program uuid, p_date date)
returns table (program_id uuid, local_date date, eligible integer, gifted integer, already_gifted integer, failed integer, campaign_id uuid)
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
#variable_conflict use_column
declare
    v_program  record;
    v_run      passbell.birthday_runs;
    v_gifts    record;
    v_until    timestamptz;
    v_words    text;
    v_stopped  boolean := false;
begin
    perform passbell.require_calendar_date(p_date);
    perform passbell.require_birthday_guard();
    if p_program is not null and not exists (select from passbell.programs g where g.program_id = p_program) then
        raise exception 'There is no program %.', p_program using errcode = 'PB404';
    end if;
    -- With a statement_timeout (Supabase gives every API role one) stop in time and keep what was given.
    select case when s.setting = '0' then 'infinity' else statement_timestamp() + make_interval(secs => s.setting::double precision / 1000 * 0.7) end
      into v_until
      from pg_catalog.pg_settings s where s.name = 'statement_timeout';

    for v_program in
        select g.program_id, g.name, g.timezone
          from passbell.programs g
         where g.birthday_bot_enabled and not g.suspended and g.passkit_program_id is not null
           and (p_program is null or g.program_id = p_program)
         order by g.program_id
    loop
        program_id := v_program.program_id;
        local_date := coalesce(p_date, (passbell.now() at time zone passbell.zone(v_program.timezone))::date);
        eligible := 0;  gifted := 0;  already_gifted := 0;  failed := 0;  campaign_id := null;
        begin
            perform passbell.lock_birthdays(v_program.program_id);
            insert into passbell.birthday_runs as r (program_id, local_date, started_at, not_before)
            values (v_program.program_id, run_birthdays_by_hand.local_date, passbell.now(), '-infinity')
            on conflict do nothing;
            -- What failed before is tried again now.
            update passbell.birthday_runs r set attempt = r.attempt + 1
             where r.program_id = v_program.program_id and r.local_date = run_birthdays_by_hand.local_date
               and exists (select from passbell.birthday_failures f
                            where f.program_id = r.program_id and f.local_date = r.local_date and f.attempt = r.attempt);
            select count(*), count(*) filter (where b.already_gifted) into eligible, already_gifted
              from passbell.birthday_people(v_program.program_id, run_birthdays_by_hand.local_date) b;

            if eligible > already_gifted then
                select g.* into v_gifts
                  from passbell.give_gifts(v_program.program_id, run_birthdays_by_hand.local_date, null, v_until, passbell.now()) g;
                gifted := v_gifts.gifted;
                failed := v_gifts.failed;
                already_gifted := already_gifted + v_gifts.already_gifted;
                v_stopped := v_gifts.stopped;
            end if;
            select r.* into v_run
              from passbell.birthday_runs r where r.program_id = v_program.program_id and r.local_date = run_birthdays_by_hand.local_date;
            if v_run.completed_at is null or gifted > 0 or failed > 0 then
                v_run := passbell.end_birthday_pass(v_program.program_id, run_birthdays_by_hand.local_date, passbell.now());
            end if;
            campaign_id := v_run.campaign_id;
        exception when others then
            -- This program's trouble is not the others'.
            if p_program is not null then
                raise;
            end if;
            get stacked diagnostics v_words = message_text;
            raise warning 'birthdays of program "%": %', v_program.name, v_words;
            insert into passbell.birthday_runs as r (program_id, local_date, started_at, not_before, detail)
            values (v_program.program_id, run_birthdays_by_hand.local_date, passbell.now(), '-infinity', left(v_words, 500))
            on conflict (program_id, local_date) do update set detail = excluded.detail;
            gifted := 0;
            failed := eligible - already_gifted;
        end;
        return next;
        exit when v_stopped;
    end loop;
end
$$;

-- Gives today's birthday gifts now, in one program or in all whose bot is on, whatever the hour; or those of a given
-- local date. For psql, Supabase Studio, RPC and the command line; daemons do the same in smaller bites. Calling it
-- again, even at the same moment, gives nothing twice: it waits, then finds nothing to do. One row per program; with a
-- statement_timeout it stops in time, and eligible is then more than gifted + already_gifted + failed: call it again.
-- A member whose award fails is counted in `failed`, recorded in passbell.birthday_failures and tried again.
create or replace function public.run_birthdays(program_id uuid default null, on_date date default null)
returns table (program_id uuid, local_date date, eligible integer, gifted integer, already_gifted integer, failed integer, campaign_id uuid)
language sql volatile
security definer
set search_path = ''
as $$ select r.* from passbell.run_birthdays_by_hand($1, $2) r $$;


-- functions/70_import_guard.sql ─────────────────────────────────────────────────────────────────────────────────

-- Stands before every write to member_imports, as campaign_guard does for campaigns: people (a form, SQL, the API) may
-- insert an order and cancel it; counters, times and words belong to the engine. Raises PB422 for anything else.
-- An order that a program's administrator made, or changed, is restricted (see spare_others in 72_import_people); no
-- update takes that back.
create or replace function passbell.import_guard() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_engine  constant boolean := current_setting('geqo_seed') = '0.7365' or coalesce(current_setting('passbell.engine', true), '') = 'on';
    v_server  constant boolean := coalesce(passbell.acts_for_server(), false);
begin
    new.updated_at := passbell.now();
    new.status := upper(btrim(coalesce(nullif(btrim(new.status), ''), 'PENDING')));
    new.date_order := upper(nullif(btrim(new.date_order), ''));
    new.region := upper(nullif(btrim(new.region), ''));
    if v_engine then
        return new;
    end if;
    if tg_op = 'INSERT' then
        if new.status <> 'PENDING' then
            raise exception 'A new import is PENDING, not %.', new.status using errcode = 'PB422';
        end if;
        new.created_at := coalesce(new.created_at, passbell.now());
        new.restricted := coalesce(new.restricted, false) or not v_server;
        new.created_by := case when v_server then coalesce(new.created_by, passbell.caller()) else passbell.caller() end;
        new.total_rows := 0;     new.processed_rows := 0;   new.created_count := 0;   new.updated_count := 0;   new.linked_count := 0;
        new.unchanged_count := 0;  new.rejected_count := 0;  new.passes_linked := 0;  new.notes := '{}';
        new.status_detail := null;  new.started_at := null;  new.completed_at := null;
        perform pg_notify('passbell', 'imports');
        return new;
    end if;
    if new.status <> old.status and not (new.status = 'CANCELLED' and old.status in ('PENDING', 'PROCESSING')) then
        raise exception 'An import that is % cannot become %.', old.status, new.status using errcode = 'PB422';
    end if;
    if old.status <> 'PENDING'
       and (new.program_id, new.csv_upload_url, new.dry_run, new.region, new.date_order)
           is distinct from (old.program_id, old.csv_upload_url, old.dry_run, old.region, old.date_order) then
        raise exception 'The import has started: its file and program can no longer be changed.' using errcode = 'PB422';
    end if;
    new.restricted := old.restricted or new.restricted is true
                      or not v_server and (new.program_id, new.csv_upload_url, new.dry_run, new.region, new.date_order)
                                          is distinct from (old.program_id, old.csv_upload_url, old.dry_run, old.region, old.date_order);
    new.total_rows := old.total_rows;            new.processed_rows := old.processed_rows;  new.created_count := old.created_count;
    new.updated_count := old.updated_count;      new.linked_count := old.linked_count;      new.unchanged_count := old.unchanged_count;
    new.rejected_count := old.rejected_count;    new.passes_linked := old.passes_linked;    new.notes := old.notes;
    new.started_at := old.started_at;            new.completed_at := old.completed_at;      new.status_detail := old.status_detail;
    if new.status = 'CANCELLED' and old.status <> 'CANCELLED' then
        new.completed_at := passbell.now();
        new.status_detail := format('Cancelled by %s after %s of %s rows; those stay imported.', passbell.caller(),
                                    passbell.thousands(old.processed_rows), passbell.thousands(old.total_rows));
    end if;
    return new;
end
$$;

create or replace trigger passbell_guard before insert or update on public.member_imports
    for each row execute function passbell.import_guard();

-- What belongs to an import goes with it; rows not applied yet go with its lease.
create or replace function passbell.drop_import_rows() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_relid = 'public.member_imports'::regclass then
        delete from passbell.import_rows r where r.import_id = old.id;
    else
        delete from passbell.import_staged s where s.import_id = old.import_id;
    end if;
    return null;
end
$$;

create or replace trigger passbell_import_rows after delete on public.member_imports
    for each row execute function passbell.drop_import_rows();
create or replace trigger passbell_import_staged after delete on passbell.import_leases
    for each row execute function passbell.drop_import_rows();


-- functions/71_import_claims.sql ────────────────────────────────────────────────────────────────────────────────

-- Member imports as a queue. An import is read and checked outside the database, staged as a whole in one transaction,
-- and applied in batches; each of these writes carries the claim_token.

-- Takes the oldest import that nobody works on: new, or with a lease that ran out, or of a worker that is gone. Called by
-- every daemon's import loop. FOR UPDATE SKIP LOCKED, so of two daemons one gets it.
--
--   action 'download'   fetch and check the file with this claim_token, stage its rows, then import_staged()
--   action 'apply'      its rows are staged: import_batch() until none is left
--   action 'failed'     the order is broken; status_detail says how
create or replace function passbell.claim_import(p_worker uuid, p_lease_seconds numeric default 60)
returns table (import_id uuid, action text, program_id uuid, csv_url text, claim_token uuid, region text, date_order text, today date, detail text)
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
#variable_conflict use_column
declare
    v_now     constant timestamptz := passbell.now();
    v_import  public.member_imports;
    v_staged  boolean;
begin
    select i.* into v_import
      from public.member_imports i
      left join passbell.import_leases l on l.import_id = i.id
     where i.status in ('PENDING', 'PROCESSING')
       and (l.import_id is null
            or l.not_before <= v_now
               and (coalesce(l.lease_until, v_now) <= v_now
                    or l.worker is not null and not exists (select from passbell.workers w where w.id = l.worker)))
     order by i.created_at, i.id
     limit 1
       for update of i skip locked;
    if not found then
        return;
    end if;
    import_id := v_import.id;
    program_id := v_import.program_id;
    csv_url := nullif(btrim(v_import.csv_upload_url), '');
    select l.staged into v_staged from passbell.import_leases l where l.import_id = v_import.id;

    detail := case
        when v_import.program_id is null then 'No program is named.'
        when not exists (select from passbell.programs g where g.program_id = v_import.program_id) then format('There is no program %s.', v_import.program_id)
        when csv_url is null and v_staged is not true then 'There is no file: csv_upload_url is empty.' end;
    if detail is not null then
        update public.member_imports i set status = 'FAILED', status_detail = detail, completed_at = v_now where i.id = v_import.id;
        action := 'failed';
        return next;
        return;
    end if;

    insert into passbell.import_leases as l (import_id, attempt, lease_until, claim_token, worker)
    values (v_import.id, 1, v_now + make_interval(secs => p_lease_seconds::double precision), gen_random_uuid(), p_worker)
    on conflict (import_id) do update
       set attempt = l.attempt + 1, lease_until = excluded.lease_until, claim_token = excluded.claim_token, worker = excluded.worker
    returning l.claim_token into claim_token;
    update public.member_imports i
       set status = 'PROCESSING', started_at = coalesce(i.started_at, v_now),
           status_detail = case when v_staged then i.status_detail else 'Downloading the file.' end
     where i.id = v_import.id;
    action := case when v_staged then 'apply' else 'download' end;
    region := passbell.import_region(v_import);
    date_order := v_import.date_order;
    today := passbell.import_today(v_import.program_id);
    return next;
end
$$;

-- Two letters: the import's own, else what the program's row says (a column country_code, country or region, where the
-- host has one), else US.
create or replace function passbell.import_region(p_import public.member_imports) returns text
language plpgsql stable
set search_path = ''
as $$
declare
    v_region  text := p_import.region;
begin
    if v_region is null and to_regclass('public.programs') is not null then
        execute format('select coalesce(%s) from public.programs g where g.id = $1',
                       (select string_agg(format('case when length(btrim(%1$s)) = 2 then upper(btrim(%1$s)) end',
                                                 passbell.host_column('public.programs', 'g', c.name, 'text')), ', ' order by c.n)
                          from unnest(array['country_code', 'country', 'region']) with ordinality as c (name, n)))
           into v_region using p_import.program_id;
    end if;
    return coalesce(v_region, 'US');
end
$$;

-- Today, where the program is: no birth date lies after it.
create or replace function passbell.import_today(p_program uuid) returns date
language sql stable
set search_path = ''
as $$
    select (passbell.now() at time zone passbell.zone((select g.timezone from passbell.programs g where g.program_id = p_program)))::date
$$;

-- An import whose file is at hand (passbell import, POST /api/members/import): the order and its claim in one. The same
-- transaction stages the rows and calls import_staged. Raises PB404 for an unknown program.
create or replace function passbell.open_import(
    p_program uuid, p_name text default null, p_dry_run boolean default false, p_region text default null, p_date_order text default null,
    p_created_by text default null, p_lease_seconds numeric default 60, p_worker uuid default null)
returns table (import_id uuid, claim_token uuid, region text, date_order text, today date)
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
#variable_conflict use_column
declare
    v_import  public.member_imports;
begin
    perform passbell.require_program(p_program);
    insert into public.member_imports as i (program_id, name, dry_run, region, date_order, created_by, status, started_at, status_detail)
    values (p_program, p_name, p_dry_run, p_region, p_date_order, coalesce(p_created_by, passbell.caller()), 'PROCESSING', passbell.now(), 'Reading the file.')
    returning i.* into v_import;
    insert into passbell.import_leases as l (import_id, attempt, lease_until, claim_token, worker)
    values (v_import.id, 1, passbell.now() + make_interval(secs => p_lease_seconds::double precision), gen_random_uuid(), p_worker)
    returning l.claim_token into claim_token;
    import_id := v_import.id;
    region := passbell.import_region(v_import);
    date_order := v_import.date_order;
    today := passbell.import_today(p_program);
    return next;
end
$$;

-- Locks the import for the holder of the claim_token. Raises PB412 for anybody else, and when it was cancelled.
create or replace function passbell.hold_import(p_import uuid, p_claim_token uuid) returns public.member_imports
language plpgsql
set search_path = ''
as $$
declare
    v_import  public.member_imports;
begin
    select i.* into v_import from public.member_imports i where i.id = p_import for update;
    if v_import.status is distinct from 'PROCESSING'
       or not exists (select from passbell.import_leases l where l.import_id = p_import and l.claim_token = p_claim_token) then
        raise exception 'the lease on import % is lost', p_import using errcode = 'PB412';
    end if;
    return v_import;
end
$$;

-- Still at it. False if it is another's by now, or was cancelled.
create or replace function passbell.renew_import(p_import uuid, p_claim_token uuid, p_lease_seconds numeric) returns boolean
language plpgsql
set search_path = ''
as $$
begin
    update passbell.import_leases l
       set lease_until = passbell.now() + make_interval(secs => p_lease_seconds::double precision)
     where l.import_id = p_import and l.claim_token = p_claim_token
       and exists (select from public.member_imports i where i.id = p_import and i.status = 'PROCESSING');
    return found;
end
$$;

-- Hands it back at a graceful stop: whoever comes next goes on where it stands.
create or replace function passbell.release_import(p_import uuid, p_claim_token uuid) returns void
language sql
set search_path = ''
as $$
    update passbell.import_leases l
       set lease_until = null, claim_token = null, worker = null, attempt = l.attempt - 1
     where l.import_id = p_import and l.claim_token = p_claim_token
$$;

-- The database went away under this worker, perhaps with the answer to its claim: whatever stands under its name is handed
-- back. It works on one import at a time and calls this between two.
create or replace function passbell.release_imports(p_worker uuid) returns void
language sql
set search_path = ''
as $$
    update passbell.import_leases l
       set lease_until = null, claim_token = null, worker = null, attempt = l.attempt - 1
     where l.worker = p_worker
$$;

-- The file cannot be had or read. A trouble that may pass is tried again, three times in all; then the import fails with
-- the sentence.
create or replace function passbell.import_failed(p_import uuid, p_claim_token uuid, p_detail text, p_again boolean default false) returns void
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_attempt  smallint;
begin
    update passbell.import_leases l
       set lease_until = null, claim_token = null, worker = null,
           not_before = passbell.now() + make_interval(secs => 5 * power(4, l.attempt - 1))
     where l.import_id = p_import and l.claim_token = p_claim_token
    returning l.attempt into v_attempt;
    if not found then
        return;
    end if;
    if p_again and v_attempt < 3 then
        update public.member_imports i set status_detail = left(format('Failed and is tried again: %s', p_detail), 1000)
         where i.id = p_import and i.status = 'PROCESSING';
    else
        update public.member_imports i set status = 'FAILED', status_detail = left(p_detail, 1000), completed_at = passbell.now()
         where i.id = p_import and i.status = 'PROCESSING';
        delete from passbell.import_leases l where l.import_id = p_import;
    end if;
end
$$;

-- Every row is in import_staged (copied in this same transaction): finds out, for the whole file at once, who is meant
-- (resolve_import), and lets import_batch begin. The lease counts from the end of this transaction, which may have taken
-- minutes. Raises PB412 if the import is another's by now.
create or replace function passbell.import_staged(
    p_import uuid, p_claim_token uuid, p_notes text[] default '{}', p_lease_seconds numeric default 60) returns integer
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_import   public.member_imports;
    v_total    integer;
    v_missing  text;
begin
    v_import := passbell.hold_import(p_import, p_claim_token);
    if to_regclass('public.users') is null or to_regclass('public.passes_master') is null then
        raise exception 'The platform''s tables (users, passes_master) are not there.' using errcode = 'PB422';
    end if;
    perform passbell.resolve_import(v_import);
    select count(*) into v_total from passbell.import_staged s where s.import_id = p_import;
    select string_agg(f.field, ', ' order by f.field) into v_missing from passbell.import_fields() f where f.column_name is null;
    update passbell.import_leases l
       set staged = true,
           lease_until = passbell.now() + (clock_timestamp() - pg_catalog.now()) + make_interval(secs => p_lease_seconds::double precision)
     where l.import_id = p_import;
    update public.member_imports i
       set total_rows = v_total, status_detail = 'Importing.',
           notes = p_notes || case when v_missing is null then '{}' else array['Not stored, because the table users has no column for it: ' || v_missing || '.'] end
     where i.id = p_import;
    return v_total;
end
$$;


-- functions/72_import_people.sql ────────────────────────────────────────────────────────────────────────────────

-- Who is meant by each row of an import. All of it is hash joins over the whole file, so no index of the host's is needed.

-- One problem as it stands in import_staged.problems. Fatal ones reject the row; others leave out one cell.
create or replace function passbell.import_problem(p_column text, p_value text, p_reason text, p_fatal boolean) returns jsonb
language sql immutable
set search_path = ''
as $$
    select jsonb_build_array(jsonb_build_object('column', p_column, 'value', p_value, 'reason', p_reason, 'fatal', p_fatal))
$$;

-- The fields of an import and the host's columns for them; column_name is NULL where this generation has none.
create or replace function passbell.import_fields() returns table (field text, column_name text, column_type text, has_default boolean)
language sql stable
set search_path = ''
as $$
    select f.field, a.attname::text, format_type(a.atttypid, a.atttypmod), coalesce(a.atthasdef, false)
      from (values ('first_name', 'first_name'), ('last_name', 'last_name'), ('phone', 'phone_number'), ('birth_date', 'birth_date'),
                   ('zip', 'zip'), ('city', 'city'), ('marketing_opt_in', 'marketing_opt_in')) as f (field, name)
      left join pg_catalog.pg_attribute a
        on a.attrelid = to_regclass('public.users') and a.attname = f.name and a.attnum > 0 and not a.attisdropped
$$;

-- Users are one table for all programs, so an e-mail address in a file may mean somebody whom the import's program has
-- nothing to do with. In a restricted import (a program's administrator ordered it) a row may change
--
--   a new member, or one whom an earlier import of this program created and who has no pass yet;
--   a member all of whose passes are in this program.
--
-- A member who is in another program as well keeps all values, and is given passes of this program at most. A row that
-- means anybody else is rejected: no value changed, and no pass linked, for a link would make them a member of this
-- program. What the row says of them is the same whether they are in another program or in none.
create or replace function passbell.spare_others(p_import public.member_imports) returns void
language plpgsql
set search_path = ''
as $$
begin
    with meant as materialized (
        select s.row_number, s.user_id,
               count(p.id) filter (where p.program_id = p_import.program_id) as here,
               count(p.id) filter (where p.program_id is distinct from p_import.program_id) as elsewhere
          from passbell.import_staged s
          left join public.passes_master p on p.user_id = s.user_id
         where s.import_id = p_import.id and not s.rejected and s.user_id is not null
         group by s.row_number, s.user_id
    ), made as materialized (
        select distinct r.user_id
          from public.member_imports i
          join passbell.import_rows r on r.import_id = i.id
         where i.program_id = p_import.program_id and not i.dry_run and r.result = 'created'
    ), judged as (
        select m.row_number, m.here > 0 as known
          from meant m
         where m.elsewhere > 0 or m.here = 0 and m.user_id not in (select k.user_id from made k where k.user_id is not null)
    )
    update passbell.import_staged s
       set rejected = not j.known,
           problems = s.problems || case when j.known then passbell.import_problem('', '', 'this member is in another program too: only passes were linked, no value was changed', false)
                                         else passbell.import_problem('email', s.email, 'this address belongs to somebody who is not a member of this program; only the platform''s operator may import it', true) end,
           email = case when j.known then null else s.email end,
           first_name = case when j.known then null else s.first_name end,     last_name = case when j.known then null else s.last_name end,
           phone = case when j.known then null else s.phone end,               birth_date = case when j.known then null else s.birth_date end,
           zip = case when j.known then null else s.zip end,                   city = case when j.known then null else s.city end,
           marketing_opt_in = case when j.known then null else s.marketing_opt_in end
      from judged j
     where s.import_id = p_import.id and s.row_number = j.row_number;
end
$$;

-- Fills in user_id, pass_id and pass_ids, and rejects rows that mean nobody or somebody a later row means too:
--
--   1. the pass with the row's external id in this program (case folded; the exact spelling first);
--   2. without an e-mail in the row: that pass's member, else the e-mail that the pass itself carries;
--   3. the user with the e-mail (case folded; the exact spelling first), else the pass's user if that one has no e-mail;
--   4. without a pass by external id: the program's passes with that member e-mail and no user.
--
-- The last row that means a person wins, so that the same file twice ends in the same state.
create or replace function passbell.resolve_import(p_import public.member_imports) returns void
language plpgsql
set search_path = ''
set work_mem = '64MB'
set enable_mergejoin = off      -- the planner takes the folded ids for far from unique, and would sort all members
as $$
begin
    analyze passbell.import_staged;

    with found as materialized (
        select distinct on (s.row_number) s.row_number, r.pass_id, r.program_id is not distinct from p_import.program_id as ours,
               r.user_id, lower(btrim(r.email)) as email
          from passbell.import_staged s
          join passbell.recipients r on lower(btrim(r.external_id)) = lower(s.external_id)
         where s.import_id = p_import.id and not s.rejected and s.external_id is not null
         order by s.row_number, r.program_id is not distinct from p_import.program_id desc, r.external_id = s.external_id desc, r.pass_id
    )
    update passbell.import_staged s
       set pass_id = case when f.ours then f.pass_id end,
           user_id = case when f.ours and s.email is null then f.user_id end,
           email   = coalesce(s.email, case when f.ours and f.user_id is null and f.email like '_%@_%' then f.email end),
           problems = s.problems || case when f.row_number is null or p_import.restricted and not f.ours then passbell.import_problem('external_id', s.external_id, 'there is no pass with this id in this program', s.email is null)
                                         when not f.ours then passbell.import_problem('external_id', s.external_id, 'this id belongs to another program', s.email is null)
                                         else '[]' end,
           rejected = s.email is null and f.ours is not true
      from passbell.import_staged x
      left join found f on f.row_number = x.row_number
     where x.import_id = p_import.id and not x.rejected and x.external_id is not null
       and s.import_id = x.import_id and s.row_number = x.row_number;

    with found as materialized (
        select distinct on (s.row_number) s.row_number, u.id
          from passbell.import_staged s
          join public.users u on lower(btrim(u.email)) = lower(s.email)
         where s.import_id = p_import.id and not s.rejected and s.email is not null
         order by s.row_number, u.email = s.email desc, u.id
    )
    update passbell.import_staged s set user_id = f.id from found f where s.import_id = p_import.id and s.row_number = f.row_number;

    update passbell.import_staged s
       set user_id = r.user_id
      from passbell.recipients r
      join public.users u on u.id = r.user_id
     where s.import_id = p_import.id and not s.rejected and s.user_id is null and r.pass_id = s.pass_id
       and coalesce(btrim(u.email), '') = '';

    update passbell.import_staged s
       set rejected = true,
           problems = s.problems || passbell.import_problem('', '', 'the row has no e-mail address, and its pass has no member yet', true)
     where s.import_id = p_import.id and not s.rejected and s.user_id is null and s.email is null;

    with meant as materialized (
        select s.row_number, max(s.row_number) over (partition by coalesce(s.user_id::text, lower(s.email))) as last
          from passbell.import_staged s
         where s.import_id = p_import.id and not s.rejected
    )
    update passbell.import_staged s
       set rejected = true,
           problems = s.problems || passbell.import_problem('', '', format('row %s means the same member; the last row wins', m.last), true)
      from meant m
     where s.import_id = p_import.id and s.row_number = m.row_number and m.last > m.row_number;

    with found as materialized (
        select s.row_number, array_agg(distinct r.pass_id) as pass_ids
          from passbell.import_staged s
          join passbell.recipients r on lower(btrim(r.email)) = lower(s.email)
         where s.import_id = p_import.id and not s.rejected and s.pass_id is null
           and r.program_id = p_import.program_id and r.user_id is null
           and not exists (select from passbell.import_staged t where t.import_id = p_import.id and not t.rejected and t.pass_id = r.pass_id)
         group by s.row_number
    )
    update passbell.import_staged s set pass_ids = f.pass_ids from found f where s.import_id = p_import.id and s.row_number = f.row_number;

    if p_import.restricted then
        perform passbell.spare_others(p_import);
    end if;
end
$$;


-- functions/73_import_batches.sql ───────────────────────────────────────────────────────────────────────────────

-- Applying an import, batch by batch. Work shrinks, history grows: a staged row turns into its row of import_rows in the
-- transaction that changed the member.

-- Applies the next rows of an import, renews its lease and keeps the counters; completes the import with the last one.
-- Called until `remaining` is 0, by whoever holds the claim_token (PB412 for others, and once it was cancelled). A crash
-- loses at most the batch in hand, which was not committed. A dry run does all of it at once and takes it back.
create or replace function passbell.import_batch(p_import uuid, p_claim_token uuid, p_limit integer default 1000, p_lease_seconds numeric default 60)
returns table (processed integer, remaining integer, status text)
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
#variable_conflict use_column
declare
    v_import  public.member_imports;
    v_rows    integer[];
    v_done    record;
begin
    v_import := passbell.hold_import(p_import, p_claim_token);
    if v_import.dry_run then
        v_rows := array(select s.row_number from passbell.import_staged s where s.import_id = p_import order by s.row_number);
        perform passbell.rehearse_import(v_import, v_rows, p_limit);
    else
        v_rows := array(select s.row_number from passbell.import_staged s where s.import_id = p_import order by s.row_number limit p_limit);
        perform passbell.apply_import_rows(v_import, v_rows);
    end if;

    select count(*) filter (where r.result = 'created') as created, count(*) filter (where r.result = 'updated') as updated,
           count(*) filter (where r.result = 'linked') as linked, count(*) filter (where r.result = 'unchanged') as unchanged,
           count(*) filter (where r.result = 'rejected') as rejected, coalesce(sum(cardinality(r.linked_passes)), 0) as passes
      into v_done
      from passbell.import_rows r where r.import_id = p_import and r.row_number between v_rows[1] and v_rows[cardinality(v_rows)];
    processed := cardinality(v_rows);
    remaining := v_import.total_rows - v_import.processed_rows - processed;
    status := case when remaining > 0 then 'PROCESSING' else 'COMPLETED' end;
    update public.member_imports i
       set processed_rows = i.processed_rows + processed,
           created_count = i.created_count + v_done.created,        updated_count = i.updated_count + v_done.updated,
           linked_count = i.linked_count + v_done.linked,           unchanged_count = i.unchanged_count + v_done.unchanged,
           rejected_count = i.rejected_count + v_done.rejected,     passes_linked = i.passes_linked + v_done.passes,
           status = import_batch.status, completed_at = case when remaining > 0 then null else passbell.now() end
     where i.id = p_import
    returning i.* into v_import;
    if remaining > 0 then
        update passbell.import_leases l set lease_until = passbell.now() + make_interval(secs => p_lease_seconds::double precision)
         where l.import_id = p_import;
    else
        update public.member_imports i set status_detail = passbell.import_summary(v_import) where i.id = p_import;
        delete from passbell.import_leases l where l.import_id = p_import;
    end if;
    return next;
end
$$;

-- "1,200 rows: 40 created, 12 updated, 1,148 unchanged. 35 passes linked."
create or replace function passbell.import_summary(p_import public.member_imports) returns text
language sql stable
set search_path = ''
as $$
    select case when p_import.dry_run then 'Dry run, nothing was changed. ' else '' end
           || passbell.thousands(p_import.total_rows) || case p_import.total_rows when 1 then ' row' else ' rows' end
           || coalesce(': ' || string_agg(passbell.thousands(c.n) || ' ' || c.words, ', ' order by c.place) filter (where c.n > 0), '') || '.'
           || case when p_import.passes_linked > 0 then format(' %s passes linked.', passbell.thousands(p_import.passes_linked)) else '' end
      from (values (1, p_import.created_count, 'created'), (2, p_import.updated_count, 'updated'), (3, p_import.linked_count, 'linked'),
                   (4, p_import.unchanged_count, 'unchanged'), (5, p_import.rejected_count, 'rejected')) as c (place, n, words)
$$;

-- The same report, and nothing changed: applies every row inside a subtransaction, remembers what became of each, and
-- takes everything back.
create or replace function passbell.rehearse_import(p_import public.member_imports, p_rows integer[], p_limit integer) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_results  passbell.import_rows[];
begin
    begin
        for v_from in 1 .. cardinality(p_rows) by p_limit loop
            perform passbell.apply_import_rows(p_import, p_rows[v_from : v_from + p_limit - 1]);
        end loop;
        v_results := array(select r from passbell.import_rows r where r.import_id = p_import.id);
        raise exception 'rehearsed' using errcode = 'PB200';
    exception when sqlstate 'PB200' then
        null;
    end;
    -- Members that were created are gone again: their ids would name nobody.
    insert into passbell.import_rows
    select r.import_id, r.row_number, r.result, r.column_name, r.value, r.reason, r.problems,
           case when r.result <> 'created' then r.user_id end, r.linked_passes, r.previous_user_id
      from unnest(v_results) r;
    delete from passbell.import_staged s where s.import_id = p_import.id;
end
$$;

-- Applies these rows at once. If the host refuses (a check, a trigger, a value too long) the rows are halved until the
-- one is found that it refuses; that one is rejected with the host's words and the others are taken.
create or replace function passbell.apply_import_rows(p_import public.member_imports, p_rows integer[]) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_half    constant integer := cardinality(p_rows) / 2;
    v_reason  text;
begin
    if cardinality(p_rows) = 0 then
        return;
    end if;
    begin
        perform passbell.apply_import_rows_together(p_import, p_rows);
        return;
    exception when data_exception or integrity_constraint_violation or raise_exception or syntax_error_or_access_rule_violation then
        get stacked diagnostics v_reason = message_text;
    end;
    if v_half > 0 then
        perform passbell.apply_import_rows(p_import, p_rows[1 : v_half]);
        perform passbell.apply_import_rows(p_import, p_rows[v_half + 1 :]);
    else
        update passbell.import_staged s
           set rejected = true, problems = s.problems || passbell.import_problem('', '', 'the database refused it: ' || left(v_reason, 300), true)
         where s.import_id = p_import.id and s.row_number = p_rows[1];
        perform passbell.apply_import_rows_together(p_import, p_rows);
    end if;
end
$$;

-- Creates and updates the users of these rows, links their passes, and turns the staged rows into import_rows. Empty
-- cells leave values alone; of passes_master nothing but user_id is written. Host columns are written by name, so that a
-- generation without one still takes the others. No two rows mean the same user or pass (resolve_import).
create or replace function passbell.apply_import_rows_together(p_import public.member_imports, p_rows integer[]) returns void
language plpgsql
set search_path = ''
set enable_seqscan = off        -- a thousand members by their keys; a batch must not read a million to find them
as $fn$
declare
    -- The rows are in order, and import_staged holds no others between them.
    v_first     constant integer := p_rows[1];
    v_last      constant integer := p_rows[cardinality(p_rows)];
    v_created   integer[] := '{}';
    v_updated   integer[] := '{}';
    v_columns   text;
    v_values    text;
    v_set       text;
    v_changed   text;
begin
    -- The platform's own triggers on users and passes_master run in here and may name things as they do everywhere else.
    -- The setting ends with this function; our own names are qualified all the same.
    perform set_config('search_path', 'pg_catalog, public, extensions, pg_temp', true);

    select string_agg(format(', %I', f.column_name), '' order by f.field) filter (where not f.has_default),
           string_agg(format(', s.%I::%s', f.field, f.column_type), '' order by f.field) filter (where not f.has_default),
           string_agg(format(', %I = coalesce(s.%I::%s, u.%I)', f.column_name, f.field, f.column_type, f.column_name), ''),
           string_agg(format(' or (s.%I is not null and u.%I is distinct from s.%I::%s)', f.field, f.column_name, f.field, f.column_type), '')
      into v_columns, v_values, v_set, v_changed
      from passbell.import_fields() f where f.column_name is not null;

    -- A column with a default (marketing_opt_in) is left to it here, and filled below if the file says something.
    execute format($q$
        with fresh as materialized (
            select s.*, gen_random_uuid() as new_id
              from passbell.import_staged s
             where s.import_id = $1 and s.row_number between $2 and $3 and not s.rejected and s.user_id is null
        ), made as (
            insert into public.users (id, email%s)
            select s.new_id, s.email%s from fresh s order by s.row_number
            on conflict do nothing
            returning id
        ), kept as (
            update passbell.import_staged t set user_id = f.new_id
              from fresh f join made m on m.id = f.new_id
             where t.import_id = $1 and t.row_number = f.row_number
            returning t.row_number
        )
        select coalesce(array_agg(k.row_number), '{}') from kept k $q$, v_columns, v_values)
       into v_created using p_import.id, v_first, v_last;

    -- Somebody signed up with this e-mail since the file was read. Whose member that is was not asked: see spare_others.
    update passbell.import_staged s set user_id = u.id
      from public.users u
     where not p_import.restricted and s.import_id = p_import.id and s.row_number between v_first and v_last and not s.rejected and s.user_id is null and u.email = s.email;
    update passbell.import_staged s
       set rejected = true, problems = s.problems || passbell.import_problem('email', s.email, 'the database did not take a new member with this address', true)
     where s.import_id = p_import.id and s.row_number between v_first and v_last and not s.rejected and s.user_id is null;

    execute format($q$
        with changed as (
            update public.users u
               set email = case when coalesce(btrim(u.email), '') = '' then s.email else u.email end%s
              from passbell.import_staged s
             where s.import_id = $1 and s.row_number between $2 and $3 and not s.rejected and u.id = s.user_id
               and ((coalesce(btrim(u.email), '') = '' and s.email is not null)%s)
            returning s.row_number
        )
        select coalesce(array_agg(c.row_number), '{}') from changed c $q$, v_set, v_changed)
       into v_updated using p_import.id, v_first, v_last;

    with wanted as materialized (
        select s.row_number, s.user_id, s.pass_id is not null as named, w.pass_id
          from passbell.import_staged s
         cross join lateral unnest(case when s.pass_id is not null then array[s.pass_id] else s.pass_ids end) as w (pass_id)
         where s.import_id = p_import.id and s.row_number between v_first and v_last and not s.rejected
    ), linked as (
        update public.passes_master p set user_id = w.user_id
          from wanted w
          join public.passes_master o on o.id = w.pass_id
         where p.id = w.pass_id and p.user_id is distinct from w.user_id and (w.named or p.user_id is null)
        returning w.row_number, p.id as pass_id, o.user_id as previous
    ), passes as (
        select l.row_number, array_agg(l.pass_id order by l.pass_id) as pass_ids, (array_agg(l.previous))[1] as previous
          from linked l group by l.row_number
    ), gone as (
        delete from passbell.import_staged s where s.import_id = p_import.id and s.row_number between v_first and v_last returning s.*
    ), told as (
        select g.row_number, g.rejected, g.user_id, p.pass_ids, p.previous,
               g.problems || case when p.previous is null then '[]'
                                  else passbell.import_problem('external_id', g.external_id, 'the pass belonged to another member before', false) end as problems
          from gone g left join passes p on p.row_number = g.row_number
    )
    insert into passbell.import_rows (import_id, row_number, result, column_name, value, reason, problems, user_id, linked_passes, previous_user_id)
    select p_import.id, t.row_number,
           case when t.rejected then 'rejected' when t.row_number = any (v_created) then 'created' when t.row_number = any (v_updated) then 'updated'
                when t.pass_ids is not null then 'linked' else 'unchanged' end,
           nullif(f.problem ->> 'column', ''), nullif(f.problem ->> 'value', ''), f.problem ->> 'reason',
           case when t.problems <> '[]' then t.problems end, case when not t.rejected then t.user_id end, t.pass_ids, t.previous
      from told t
      left join lateral (select e.problem from jsonb_array_elements(t.problems) with ordinality as e (problem, n)
                          order by (e.problem ->> 'fatal')::boolean desc, e.n limit 1) f on true;
end
$fn$;


-- functions/80_actor.sql ────────────────────────────────────────────────────────────────────────────────────────

-- Who acts through the HTTP API, for created_by and "Paused by …": until the end of the transaction passbell.caller()
-- answers this name. It is put where Supabase's API layer puts its user; no right hangs on it, because rights are asked
-- only of the role `authenticated`.
create or replace function passbell.act_as(p_name text) returns void
language sql
set search_path = ''
as $$
    select set_config('request.jwt.claims', jsonb_build_object('email', p_name)::text, true)
     where nullif(current_setting('request.jwt.claims', true), '') is null
$$;

-- A program by its id or its PassKit program id. Raises PB404.
create or replace function passbell.find_program(p_name text) returns uuid
language plpgsql stable
set search_path = ''
as $$
declare
    v_program  uuid;
begin
    select g.program_id into v_program
      from passbell.programs g
     where g.program_id::text = lower(btrim(p_name)) or g.passkit_program_id = btrim(p_name)
     order by g.program_id::text = lower(btrim(p_name)) desc, g.program_id
     limit 1;
    if not found then
        raise exception 'There is no program "%".', left(btrim(p_name), 80) using errcode = 'PB404';
    end if;
    return v_program;
end
$$;

-- A wall-clock time in a program's zone, as a form's field gives it ('2026-12-24T18:00'), as a moment. NULL for none.
-- Raises PB400.
create or replace function passbell.program_moment(p_program uuid, p_local text) returns timestamptz
language plpgsql stable
set search_path = ''
as $$
begin
    return nullif(btrim(p_local), '')::timestamp at time zone
           (select passbell.zone(g.timezone) from passbell.programs g where g.program_id = p_program);
exception when data_exception then
    raise exception '"%" is not a time; write it like 2026-12-24 18:00.', left(btrim(p_local), 40) using errcode = 'PB400';
end
$$;


-- functions/81_api_requests.sql ─────────────────────────────────────────────────────────────────────────────────

-- Idempotency keys. A request with a key is begun, worked on, and ended with its answer; within 24 hours the same key
-- and request get that answer again.

-- What to do with a request that carries a key:
--
--   new        work on it, then end_request; campaign_id is set if an attempt that was cut off had created it already
--   replay     it was answered: status and answer
--   running    somebody is working on it at this moment
--   different  the key was used for another request
create or replace function passbell.begin_request(p_owner text, p_key text, p_fingerprint text, p_lease_seconds integer default 120)
returns table (state text, campaign_id uuid, status integer, answer json)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_now  constant timestamptz := passbell.now();
    v_row  passbell.api_requests;
begin
    delete from passbell.api_requests r where r.created_at < v_now - interval '24 hours';
    insert into passbell.api_requests as r (owner, key, fingerprint, created_at, lease_until)
    values (p_owner, p_key, p_fingerprint, v_now, v_now + make_interval(secs => p_lease_seconds))
    on conflict (owner, key) do update
       set lease_until = excluded.lease_until
     where r.fingerprint = excluded.fingerprint and r.status is null and r.lease_until <= v_now
    returning r.* into v_row;
    if found then
        return query select 'new', v_row.campaign_id, null::integer, null::json;
        return;
    end if;
    select r.* into v_row from passbell.api_requests r where r.owner = p_owner and r.key = p_key;
    return query select case when v_row.fingerprint is distinct from p_fingerprint then 'different'
                             when v_row.status is null then 'running'
                             else 'replay' end,
                        v_row.campaign_id, v_row.status, v_row.answer;
end
$$;

create or replace function passbell.end_request(p_owner text, p_key text, p_status integer, p_answer json) returns void
language sql
set search_path = ''
as $$
    update passbell.api_requests r set status = p_status, answer = p_answer where r.owner = p_owner and r.key = p_key
$$;

-- The request was refused: nothing was created, and a repeat may be tried at once.
create or replace function passbell.forget_request(p_owner text, p_key text) returns void
language sql
set search_path = ''
as $$
    delete from passbell.api_requests r
     where r.owner = p_owner and r.key = p_key and r.campaign_id is null and r.status is null
$$;

-- The campaign that this request created before, if it did: a lock on the key's row until the end of the transaction.
create or replace function passbell.requested_campaign(p_owner text, p_key text) returns uuid
language sql
set search_path = ''
as $$
    select r.campaign_id from passbell.api_requests r where r.owner = p_owner and r.key = p_key for update
$$;

-- push_send for the HTTP API: under the caller's name and once per idempotency key (p_key NULL: no key).
create or replace function passbell.order_push(
    p_owner text, p_key text, p_program uuid, p_message text, p_target text, p_name text, p_scheduled_at timestamptz, p_expected integer) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    v_id  uuid := passbell.requested_campaign(p_owner, p_key);
begin
    if v_id is null then
        perform passbell.act_as(p_owner);
        v_id := public.push_send(p_program, p_message, coalesce(p_target, 'ALL'), p_name, p_scheduled_at, p_expected);
        update passbell.api_requests r set campaign_id = v_id where r.owner = p_owner and r.key = p_key;
    end if;
    return v_id;
end
$$;

-- The verbs of people, under the caller's name.
create or replace function passbell.order_verb(p_owner text, p_verb text, p_campaign uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.act_as(p_owner);
    case p_verb
        when 'pause'        then perform public.push_pause(p_campaign);
        when 'resume'       then perform public.push_resume(p_campaign);
        when 'cancel'       then perform public.push_cancel(p_campaign);
        when 'retry-failed' then perform public.push_retry_failed(p_campaign);
    end case;
end
$$;

create or replace function passbell.order_test(p_owner text, p_program uuid, p_external_id text, p_message text) returns uuid
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.act_as(p_owner);
    return public.push_test(p_program, p_external_id, p_message);
end
$$;


-- functions/82_history.sql ──────────────────────────────────────────────────────────────────────────────────────

-- Campaigns for people to look at, newest first; one page of p_limit after (p_before, p_before_id). Progress is
-- push_progress's. Uses push_campaigns_newest, or push_campaigns_program with a program.
create or replace function passbell.campaign_page(
    p_program uuid default null, p_before timestamptz default null, p_before_id uuid default null, p_limit integer default 25, p_status text default null)
returns table (campaign_id uuid, program_id uuid, program_name text, name text, message text, target text, kind text, status text, status_detail text,
               total integer, sent integer, failed integer, skipped integer, remaining integer, percent numeric, rate_per_second numeric,
               finishes_at timestamptz, scheduled_at timestamptz, created_at timestamptz, started_at timestamptz, completed_at timestamptz, created_by text)
language sql stable
set search_path = ''
as $$
    select k.* from (
        select c.id, c.created_at
          from public.push_campaigns c
         where (p_program is null or c.program_id = p_program)
           and (p_status is null or c.status = upper(btrim(p_status)))
           and (p_before is null or (c.created_at, c.id) < (p_before, coalesce(p_before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')))
         order by c.created_at desc, c.id desc
         limit least(greatest(p_limit, 1), 200)) page
     cross join lateral passbell.campaign_card(page.id) k
     order by page.created_at desc, page.id desc
$$;

-- One campaign, as campaign_page shows it. Raises PB404.
create or replace function passbell.campaign_card(p_campaign uuid)
returns table (campaign_id uuid, program_id uuid, program_name text, name text, message text, target text, kind text, status text, status_detail text,
               total integer, sent integer, failed integer, skipped integer, remaining integer, percent numeric, rate_per_second numeric,
               finishes_at timestamptz, scheduled_at timestamptz, created_at timestamptz, started_at timestamptz, completed_at timestamptz, created_by text)
language sql stable
set search_path = ''
as $$
    select c.id, c.program_id, g.name, c.name, c.message_text,
           coalesce(nullif(btrim(c.target_query), ''), 'ALL')
               || case when nullif(btrim(c.csv_upload_url), '') is not null and coalesce(c.target_query, '') !~* 'csv' then ' & CSV' else '' end,
           c.kind, p.status, p.status_detail,
           p.recipient_count, p.sent, p.failed, p.skipped, p.remaining, p.percent, p.rate_per_second, p.finishes_at,
           c.scheduled_at, c.created_at, c.started_at, c.completed_at, c.created_by
      from public.push_progress(p_campaign) p
      join public.push_campaigns c on c.id = p_campaign
      left join passbell.programs g on g.program_id = c.program_id
$$;

-- Those of these campaigns that are there, in the order asked for.
create or replace function passbell.known_campaigns(p_campaigns uuid[]) returns table (campaign_id uuid, place bigint)
language sql stable
set search_path = ''
as $$
    select w.id, w.place
      from unnest(p_campaigns) with ordinality as w (id, place)
      join public.push_campaigns c on c.id = w.id
     order by w.place
$$;

-- How many campaigns there are in each state.
create or replace function passbell.campaign_states(p_program uuid default null)
returns table (status text, n bigint)
language sql stable
set search_path = ''
as $$
    select c.status, count(*) from public.push_campaigns c where p_program is null or c.program_id = p_program group by c.status
$$;

-- What became of a campaign's recipients, by outcome and reason.
create or replace function passbell.campaign_reasons(p_campaign uuid)
returns table (outcome text, reason text, n bigint)
language sql stable
set search_path = ''
as $$
    select d.outcome, d.reason, count(*)
      from passbell.deliveries d
     where d.campaign_id = p_campaign
     group by d.outcome, d.reason
     order by d.outcome = 'sent' desc, count(*) desc, d.reason
$$;

-- Rows of a campaign's list that reach nobody: how many per reason, with the first few values.
create or replace function passbell.list_reasons(p_campaign uuid)
returns table (reason text, n bigint, examples text)
language sql stable
set search_path = ''
as $$
    select e.key, e.value::bigint,
           (select string_agg(f.value, ', ' order by f.row_number)
              from (select x.value, x.row_number from passbell.list_entries x
                     where x.campaign_id = p_campaign and x.reason = e.key order by x.row_number limit 5) f)
      from passbell.list_loads l
     cross join lateral jsonb_each_text(l.reasons) e
     where l.campaign_id = p_campaign
     order by e.value::bigint desc, e.key
$$;

-- Outcomes over time in p_slots equal slots from the first to the last one: the small chart.
create or replace function passbell.campaign_timeline(p_campaign uuid, p_slots integer default 60)
returns table (slot integer, starts_at timestamptz, seconds double precision, sent bigint, failed bigint)
language sql stable
set search_path = ''
as $$
    with edge as (
        select min(d.sent_at) as first, greatest(extract(epoch from max(d.sent_at) - min(d.sent_at)), p_slots * 1.0)::double precision / p_slots as width
          from passbell.deliveries d
         where d.campaign_id = p_campaign and d.outcome <> 'skipped'
    ), counted as (
        select least(p_slots - 1, floor(extract(epoch from d.sent_at - e.first) / e.width)::integer) as slot,
               count(*) filter (where d.outcome = 'sent') as sent, count(*) filter (where d.outcome = 'failed') as failed
          from passbell.deliveries d, edge e
         where d.campaign_id = p_campaign and d.outcome <> 'skipped'
         group by 1
    )
    select s.slot, e.first + make_interval(secs => s.slot * e.width), e.width, coalesce(c.sent, 0), coalesce(c.failed, 0)
      from edge e
     cross join generate_series(0, p_slots - 1) as s (slot)
      left join counted c on c.slot = s.slot
     where e.first is not null
     order by s.slot
$$;

-- The ledger of a campaign, p_limit rows after a pass id, optionally of one outcome or reason. Uses the primary key.
create or replace function passbell.delivery_page(
    p_campaign uuid, p_after uuid default null, p_limit integer default 100, p_outcome text default null, p_reason text default null)
returns table (pass_id uuid, external_id text, first_name text, last_name text, outcome text, reason text, detail text,
               http_status smallint, attempts smallint, sent_at timestamptz)
language sql stable
set search_path = ''
as $$
    select d.pass_id, r.external_id, r.first_name, r.last_name, d.outcome, d.reason, d.detail, d.http_status, d.attempts, d.sent_at
      from (select x.*
              from passbell.deliveries x
             where x.campaign_id = p_campaign and (p_after is null or x.pass_id > p_after)
               and (p_outcome is null or x.outcome = lower(btrim(p_outcome)))
               and (p_reason is null or x.reason = lower(btrim(p_reason)))
             order by x.pass_id
             limit least(greatest(p_limit, 1), 5000)) d
      left join lateral (select m.external_id, m.first_name, m.last_name from passbell.recipients m where m.pass_id = d.pass_id limit 1) r on true
     order by d.pass_id
$$;


-- functions/83_compose.sql ──────────────────────────────────────────────────────────────────────────────────────

-- One member of the audience with the text that this member would read: the lock screen of the page. The member of
-- p_pass if it belongs to the program, else any reachable one of the audience, else any reachable one of the program.
-- Raises the sentences of push_send for a broken message or target. No row: nobody in the program can be reached.
create or replace function passbell.sample_message(p_program uuid, p_message text, p_target text default 'ALL', p_pass uuid default null)
returns table (pass_id uuid, external_id text, first_name text, message text, program_name text, in_audience boolean)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_condition   text;
    v_parameters  text[];
    v_message     record;
begin
    perform passbell.require_program(p_program);
    v_message := passbell.compile_message(p_message);
    if not exists (select from passbell.parse_target(p_target) t where t.segment = 'CSV') then
        select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition(p_target) a;
    end if;
    if p_pass is not null and exists (select from passbell.recipients r where r.pass_id = p_pass and r.program_id = p_program) then
        pass_id := p_pass;
        in_audience := true;
    end if;
    if pass_id is null and v_condition is not null then
        execute 'select r.pass_id from passbell.recipients r where r.program_id = $1 and r.reachable and r.opted_in and ('
                || v_condition || ') limit 1'
           into pass_id using p_program, v_parameters, null::uuid;
        in_audience := pass_id is not null;
    end if;
    if pass_id is null then
        select r.pass_id into pass_id from passbell.recipients r where r.program_id = p_program and r.reachable and r.opted_in limit 1;
        in_audience := false;
    end if;
    return query
        select r.pass_id, r.external_id, r.first_name,
               passbell.render_message(v_message.layout, v_message.fields, v_message.fallbacks,
                                       r.points, r.first_name, r.last_name, r.tier_points, g.name),
               g.name, sample_message.in_audience
          from passbell.recipients r
          join passbell.programs g on g.program_id = r.program_id
         where r.pass_id = sample_message.pass_id
         limit 1;
exception when data_exception or syntax_error_or_access_rule_violation then
    raise exception 'The audience could not be evaluated: %.', sqlerrm using errcode = 'PB400';
end
$$;

-- Begins an order whose audience is an uploaded file: a DRAFT to stage its pages under (draft_list_campaign). Gives the
-- campaign that an earlier attempt under the same idempotency key had created, with ready = true.
create or replace function passbell.open_list_order(
    p_owner text, p_key text, p_program uuid, p_message text, p_name text, p_scheduled_at timestamptz, out campaign uuid, out ready boolean)
language plpgsql
set search_path = ''
as $$
begin
    campaign := passbell.requested_campaign(p_owner, p_key);
    ready := campaign is not null;
    if not ready then
        perform passbell.act_as(p_owner);
        campaign := passbell.draft_list_campaign(p_program, p_message, null, p_name, p_scheduled_at, p_owner);
        update passbell.api_requests r set campaign_id = open_list_order.campaign where r.owner = p_owner and r.key = p_key;
    end if;
end
$$;

-- The pages are staged (in this same transaction): submits the order, or matches it and leaves it a draft that somebody
-- will confirm. Raises PB400 for a list of which nothing matches.
create or replace function passbell.close_list_order(p_campaign uuid, p_digest text, p_submit boolean) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
    v_load      passbell.list_loads;
begin
    if p_submit then
        perform s.status from passbell.submit_list_campaign(p_campaign, p_digest) s;
        return;
    end if;
    update passbell.list_loads l set loaded = true, digest = p_digest where l.campaign_id = p_campaign;
    select c.* into strict v_campaign from public.push_campaigns c where c.id = p_campaign for update;
    v_load := passbell.match_list(v_campaign);
    if passbell.list_refusal(v_load) is not null then
        raise exception '%', passbell.list_refusal(v_load) using errcode = 'PB400';
    end if;
end
$$;

-- Nobody confirmed it: drops a draft. Anything that was submitted stays.
create or replace function passbell.discard_draft(p_campaign uuid) returns void
language sql
set search_path = ''
as $$
    delete from public.push_campaigns c where c.id = p_campaign and c.status = 'DRAFT'
$$;

-- push_preview for a campaign with a staged list, and how many rows of it name nobody in the program. Matches anew, for
-- members change. Once the audience is frozen: what it was. Matching writes down who was not found, so it waits for the
-- campaign's row: a daemon may be freezing the same list at this moment, or a second preview of it be running.
create or replace function passbell.preview_list(p_campaign uuid)
returns table (matched bigint, in_wallet bigint, opted_out bigint, capped bigint, reachable bigint, seconds_at_rate numeric, finishes_at timestamptz,
               listed bigint, unmatched bigint)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_campaign  public.push_campaigns;
    v_load      passbell.list_loads;
    v_cap       integer;
    v_rate      numeric;
    v_waiting   bigint;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign for no key update;
    select s.daily_cap, s.rate_per_second into v_cap, v_rate from passbell.settings s;
    if exists (select from passbell.list_pages g where g.campaign_id = p_campaign) then
        v_load := passbell.match_list(v_campaign);
        select count(*), count(*) filter (where m.reachable), count(*) filter (where m.reachable and not m.opted_in),
               count(*) filter (where m.reachable and m.opted_in and v_cap > 0
                                  and (select count(*) from passbell.deliveries d
                                        where d.pass_id = m.pass_id and d.sent_at > passbell.now() - interval '24 hours' and d.outcome = 'sent') >= v_cap)
          into matched, in_wallet, opted_out, capped
          from pg_temp.passbell_matches m
         where m.pass_id is not null and m.nth = 1 and m.wanted;
    else
        select l.* into v_load from passbell.list_loads l where l.campaign_id = p_campaign;
        matched := coalesce(v_load.matched, 0);
        opted_out := coalesce((v_load.reasons ->> 'opted_out')::bigint, 0);
        in_wallet := v_campaign.recipient_count + opted_out;
        capped := 0;
    end if;
    listed := coalesce(v_load.rows, 0);
    unmatched := coalesce((select sum(e.value::bigint) from jsonb_each_text(v_load.reasons) e
                            where e.key in ('unknown_member', 'other_program', 'unusable')), 0);
    reachable := in_wallet - opted_out - capped;
    select coalesce(sum(c.recipient_count - c.sent_count - c.failed_count - c.skipped_count), 0)
      into v_waiting from public.push_campaigns c where c.status = 'PROCESSING';
    seconds_at_rate := round(reachable / v_rate, 1);
    finishes_at := passbell.now() + make_interval(secs => ((reachable + v_waiting) / v_rate)::double precision);
    return next;
end
$$;

-- Submits a draft made from an upload, if it still reaches as many phones as were shown; else PB409.
create or replace function passbell.submit_list_order(p_owner text, p_campaign uuid, p_expected integer) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_status     text;
    v_reachable  bigint;
begin
    perform passbell.act_as(p_owner);
    select c.status into v_status from public.push_campaigns c where c.id = p_campaign for update;
    if not found then
        raise exception 'There is no campaign %.', p_campaign using errcode = 'PB404';
    end if;
    if v_status <> 'DRAFT' then
        return;     -- submitted by the first of two clicks
    end if;
    if p_expected is not null then
        select p.reachable into v_reachable from passbell.preview_list(p_campaign) p;
        if v_reachable <> p_expected then
            raise exception 'The audience has changed: % phones now, % when you looked.', passbell.thousands(v_reachable), passbell.thousands(p_expected)
                  using errcode = 'PB409', detail = v_reachable::text;
        end if;
    end if;
    update public.push_campaigns c set status = 'PENDING' where c.id = p_campaign;
end
$$;


-- functions/84_panels.sql ───────────────────────────────────────────────────────────────────────────────────────

-- What the page shows beside the campaigns.

-- Who is next: the coming p_days local dates of a program, today included, with how many birthdays each has and the
-- first few people.
create or replace function passbell.birthdays_ahead(p_program uuid, p_days integer default 7, p_people integer default 6)
returns table (local_date date, today boolean, n bigint, gifted bigint, people jsonb)
language sql stable
set search_path = ''
as $$
    select d.day::date, d.day::date = t.today, count(b.pass_id), count(b.pass_id) filter (where b.already_gifted),
           coalesce(jsonb_agg(jsonb_build_object('external_id', b.external_id, 'first_name', b.first_name, 'gifted', b.already_gifted)
                              order by b.nth) filter (where b.nth <= p_people), '[]')
      from (select (passbell.now() at time zone passbell.zone(g.timezone))::date as today from passbell.programs g where g.program_id = p_program) t
     cross join generate_series(t.today::timestamp, t.today + (p_days - 1) * interval '1 day', interval '1 day') as d (day)
      left join lateral (select p.*, row_number() over (order by p.first_name, p.external_id) as nth
                           from passbell.birthday_people(p_program, d.day::date) p) b on true
     group by d.day, t.today
     order by d.day
$$;

-- The last runs of a program's birthday bot.
create or replace function passbell.birthday_history(p_program uuid, p_limit integer default 7)
returns table (local_date date, started_at timestamptz, completed_at timestamptz, eligible integer, gifted integer, failed integer,
               campaign_id uuid, detail text)
language sql stable
set search_path = ''
as $$
    select r.local_date, r.started_at, r.completed_at, r.eligible, r.gifted, r.failed, r.campaign_id, r.detail
      from passbell.birthday_runs r
     where r.program_id = p_program
     order by r.local_date desc
     limit p_limit
$$;

-- Programs as the page and the API list them.
create or replace function passbell.program_list()
returns table (program_id uuid, name text, protocol text, passkit_program_id text, timezone text, suspended boolean,
               birthday_bot_enabled boolean, birthday_reward_points integer, birthday_message text, birthday_send_at text,
               push_window_start text, push_window_end text)
language sql stable
set search_path = ''
as $$
    select g.program_id, coalesce(nullif(btrim(g.name), ''), g.program_id::text), g.protocol, g.passkit_program_id, passbell.zone(g.timezone), g.suspended,
           g.birthday_bot_enabled, greatest(g.birthday_reward_points, 0), g.birthday_message, to_char(g.birthday_send_at, 'HH24:MI'),
           to_char(g.push_window_start, 'HH24:MI'), to_char(g.push_window_end, 'HH24:MI')
      from passbell.programs g
     order by lower(g.name), g.program_id
$$;

-- Daemons and their PassKit accounts. A daemon reports every five seconds; silent for thirty, it counts as gone.
create or replace function passbell.daemon_list()
returns table (id uuid, host text, pid integer, version text, account text, started_at timestamptz, silent_seconds integer, alive boolean, doing text)
language sql stable
set search_path = ''
as $$
    select w.id, w.host, w.pid, w.version, w.account, w.started_at,
           greatest(0, extract(epoch from clock_timestamp() - w.heartbeat_at))::integer, w.heartbeat_at > clock_timestamp() - interval '30 seconds', w.doing
      from passbell.workers w
     order by w.heartbeat_at desc
     limit 50
$$;

create or replace function passbell.account_list()
returns table (account text, rate_per_second numeric, rate_now numeric, breaker text, breaker_kind text, breaker_reason text, opened_at timestamptz,
               blocked_seconds integer)
language sql stable
set search_path = ''
as $$
    select l.account, l.rate_per_second, least(l.rate_per_second, round((passbell.slot_air() / passbell.slot_width(l))::numeric, 1)), l.breaker, l.breaker_kind, l.breaker_reason,
           l.opened_at, greatest(0, extract(epoch from nullif(l.blocked_until, '-infinity') - clock_timestamp()))::integer
      from passbell.rate_limits l
     where l.account not like 'campaign:%'
     order by l.account
$$;


-- functions/85_import_pages.sql ─────────────────────────────────────────────────────────────────────────────────

-- Member imports for people to look at.

-- The last imports, or one of them.
create or replace function passbell.import_cards(p_import uuid default null, p_limit integer default 25)
returns table (import_id uuid, program_id uuid, program_name text, name text, dry_run boolean, status text, status_detail text, total integer,
               processed integer, created integer, updated integer, linked integer, unchanged integer, rejected integer, passes_linked integer,
               notes text[], created_at timestamptz, completed_at timestamptz, created_by text, percent numeric)
language sql stable
set search_path = ''
as $$
    select i.id, i.program_id, g.name, coalesce(nullif(btrim(i.name), ''), 'Member import'), i.dry_run, i.status, i.status_detail, i.total_rows,
           i.processed_rows, i.created_count, i.updated_count, i.linked_count, i.unchanged_count, i.rejected_count, i.passes_linked,
           i.notes, i.created_at, i.completed_at, i.created_by,
           case when i.total_rows > 0 then round(100.0 * i.processed_rows / i.total_rows, 1) when i.completed_at is not null then 100 else 0 end
      from public.member_imports i
      left join passbell.programs g on g.program_id = i.program_id
     where p_import is null or i.id = p_import
     order by i.created_at desc, i.id
     limit p_limit
$$;

-- The row of one import, for whoever applied it.
create or replace function passbell.member_import(p_import uuid) returns setof public.member_imports
language sql stable
set search_path = ''
as $$
    select i.* from public.member_imports i where i.id = p_import
$$;

-- What became of the rows, p_limit after a row number; only those with a problem unless p_all.
create or replace function passbell.import_report(p_import uuid, p_after integer default 0, p_limit integer default 200, p_all boolean default false)
returns table (row_number integer, result text, column_name text, value text, reason text, problems jsonb)
language sql stable
set search_path = ''
as $$
    select r.row_number, r.result, r.column_name, r.value, r.reason, coalesce(r.problems, '[]')
      from passbell.import_rows r
     where r.import_id = p_import and r.row_number > p_after and (p_all or r.problems is not null)
     order by r.row_number
     limit least(greatest(p_limit, 1), 5000)
$$;

-- Cancels under the caller's name; what was applied stays.
create or replace function passbell.cancel_import(p_owner text, p_import uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.act_as(p_owner);
    update public.member_imports i set status = 'CANCELLED' where i.id = p_import and i.status <> 'CANCELLED';
    if not found and not exists (select from public.member_imports i where i.id = p_import) then
        raise exception 'There is no import %.', p_import using errcode = 'PB404';
    end if;
end
$$;


-- functions/91_migration_warnings.sql ───────────────────────────────────────────────────────────────────────────

-- What a person should know after a migration: things that passbell may not mend by itself.
create or replace function passbell.migration_warnings() returns table (warning text)
language plpgsql stable
set search_path = ''
as $$
begin
    if to_regclass('public.programs') is null or to_regclass('public.passes_master') is null then
        return query select 'The platform''s tables (programs, passes_master) are not there yet: migrate again when they are.';
    end if;
    if not passbell.birthday_guard_exists() then
        return query select format('public.birthday_logs has no UNIQUE (pass_id, year) and duplicates forbid it: %s. Birthday gifts are off. Remove the duplicates, then migrate again.',
                                   coalesce(passbell.birthday_duplicates(), 'none any more'));
    end if;
end
$$;


-- functions/92_queue_state.sql ──────────────────────────────────────────────────────────────────────────────────

-- What lies in the database, in numbers: read by every daemon when its /metrics is scraped. Looks at unfinished
-- campaigns (partial indexes push_campaigns_due, _served, _paused), at single rows, and at an hour of what was
-- not delivered (deliveries_undelivered); never at the queue or the whole ledger. `label` is NULL for a plain number;
-- two labels are separated by a slash.
create or replace function passbell.queue_state(p_account text default '')
returns table (metric text, label text, value double precision)
language sql stable
set search_path = ''
as $$
    with campaign as materialized (
        select case when c.status = 'PENDING' and c.scheduled_at > passbell.now() then 'SCHEDULED' else c.status end as status,
               c.recipient_count - c.sent_count - c.failed_count - c.skipped_count as waiting,
               case c.status
                   when 'PENDING'    then greatest(c.submitted_at, c.scheduled_at)
                   when 'PROCESSING' then c.started_at
                   else c.updated_at
               end as since,
               c.updated_at,
               c.status = 'PROCESSING' and not coalesce(g.suspended, false)
                   and passbell.in_window(passbell.now(), passbell.zone(g.timezone), g.push_window_start, g.push_window_end) as moving
          from public.push_campaigns c
          left join passbell.programs g on g.program_id = c.program_id
         where c.status = 'PENDING' or c.status = 'PROCESSING' or c.status = 'PAUSED'
    ), status as (
        select s.name, count(c.status) as campaigns, coalesce(sum(c.waiting), 0) as waiting,
               coalesce(extract(epoch from passbell.now() - min(c.since)), 0) as age
          from unnest(array['PENDING', 'SCHEDULED', 'PROCESSING', 'PAUSED']) as s (name)
          left join campaign c on c.status = s.name
         group by s.name
    ), account as (
        select l.rate_per_second, l.breaker = 'open' as open, l.breaker_kind,
               greatest(0, extract(epoch from l.blocked_until - clock_timestamp())) as blocked
          from (select) as one left join passbell.rate_limits l on l.account = p_account
    )
    select 'campaigns', s.name, s.campaigns from status s
    union all
    select 'recipients', s.name, s.waiting from status s
    union all
    select 'oldest', s.name, greatest(0, s.age) from status s where s.name <> 'SCHEDULED'
    union all
    select 'idle', null, coalesce(max(extract(epoch from passbell.now() - c.updated_at)) filter (where c.moving), 0) from campaign c
    union all
    select 'breaker', k.kind, (coalesce(a.open, false) and a.breaker_kind = k.kind)::integer
      from account a cross join unnest(array['credentials', 'outage']) as k (kind)
    union all
    select 'blocked', null, case when a.blocked < 1e9 then a.blocked else 0 end from account a
    union all
    select 'rate', null, coalesce(a.rate_per_second, 0) from account a
    union all
    select 'workers', null, count(*) from passbell.workers w where w.heartbeat_at > clock_timestamp() - interval '30 seconds'
    union all
    select 'undelivered', d.outcome || '/' || d.reason, count(*)
      from passbell.deliveries d
     where d.outcome <> 'sent' and d.sent_at > passbell.now() - interval '1 hour'
     group by d.outcome, d.reason
    union all
    select 'birthday_last_run', null, coalesce(extract(epoch from max(b.completed_at)), 0) from passbell.birthday_runs b
    union all
    select 'birthday_open', null, count(*) from passbell.birthday_runs b where b.completed_at is null
    union all
    select 'birthday_failures', null, count(*) from passbell.birthday_failures f
$$;


-- functions/93_callers.sql ──────────────────────────────────────────────────────────────────────────────────────

-- Who may do what, beyond grants: three questions that the rules and policies ask.

-- Does the caller work for the server (its owner, a superuser, service_role, the daemon)? Everybody else acts for a
-- person and only for that person's programs. Asked of the role that the request was made under, which stays visible
-- inside SECURITY DEFINER functions; a role that nobody has thought of is a person's.
create or replace function passbell.acts_for_server() returns boolean
language sql stable
set search_path = ''
as $$
    select r.rolbypassrls or has_table_privilege(r.oid, 'passbell.settings', 'select')
      from pg_catalog.pg_roles r
     where r.rolname = coalesce(nullif(current_setting('role', true), 'none'), session_user)
$$;

-- The programs of the signed-in Supabase user; none for anybody else. For row level security: used as
-- `program_id in (select passbell.admin_programs())` it runs once per statement, not once per row.
create or replace function passbell.admin_programs() returns setof uuid
language plpgsql stable
security definer
set search_path = ''
as $$
declare
    v_user  text := coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
                             nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub');
begin
    if v_user is not null and to_regclass('public.admin_profiles') is not null then
        return query execute 'select a.program_id from public.admin_profiles a where a.id::text = $1 and a.program_id is not null' using v_user;
    end if;
end
$$;

-- The engine's functions move counters and times, people's statements do not; a trigger has to tell them apart. Each of
-- the engine's functions is marked by a setting that lasts as long as it runs. It cannot be a setting with a name of our
-- own: only a superuser may attach an unknown setting to a function, and neither Supabase's `postgres` nor most other
-- owners are. So it is one of PostgreSQL's that anybody may set, that nobody does, and that changes nothing here:
-- geqo_seed, which seeds the search for a join order among twelve relations and more. passbell.engine = on does the same
-- for a person who repairs something by hand.
--
-- Anybody can set a setting, so it counts only where the queue itself may be written: inside our functions, and for the
-- owner. Fires before passbell_guard, and as the caller, because only an invoker's function sees in whose name a
-- statement runs.
create or replace function passbell.only_the_engine() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if not has_table_privilege('passbell.chunks', 'update') then
        raise exception 'passbell.engine is for passbell''s own functions.' using errcode = 'PB403';
    end if;
    return coalesce(new, old);
end
$$;

create or replace trigger passbell_engine before insert or update or delete on public.push_campaigns
    for each row when (current_setting('geqo_seed') = '0.7365' or coalesce(current_setting('passbell.engine', true), '') = 'on')
    execute function passbell.only_the_engine();
create or replace trigger passbell_engine before insert or update on public.member_imports
    for each row when (current_setting('geqo_seed') = '0.7365' or coalesce(current_setting('passbell.engine', true), '') = 'on')
    execute function passbell.only_the_engine();


-- functions/94_prune.sql ────────────────────────────────────────────────────────────────────────────────────────

-- Retention. The daemon calls claim_prune every hour and, when it says yes (once a day over all daemons), prune until it
-- returns nothing more.
--
-- prune looks at one finished campaign that is older than passbell.settings.retention, at most p_limit of its ledger
-- rows, in one short transaction; where it is in the campaign stands in passbell.pruned. It never touches a campaign
-- that is not over. A pass's newest sent row stays whatever its age, because the rule that the same text twice must
-- buzz twice asks what the pass shows. What goes is counted in passbell.pruned, so that the conservation law still
-- holds. A campaign is looked at again after 30 days: rows that were somebody's newest may no longer be.
-- Uses push_campaigns_finished, the ledger's primary key and deliveries_pass.

create or replace function passbell.claim_prune() returns boolean
language plpgsql
set search_path = ''
as $$
begin
    update passbell.settings s set pruned_at = passbell.now()
     where s.retention is not null and coalesce(s.pruned_at, '-infinity') < passbell.now() - interval '1 day';
    return found;
end
$$;

create or replace function passbell.prune(p_limit integer default 2000)
returns table (relation text, removed bigint, done boolean)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_horizon   timestamptz;
    v_campaign  uuid;
    v_from      uuid;
    v_last      uuid;
    v_looked    integer;
    v_sent      integer;
    v_failed    integer;
    v_skipped   integer;
begin
    select passbell.now() - s.retention into v_horizon from passbell.settings s where s.retention is not null;
    if not found then
        return query select 'deliveries', 0::bigint, true;
        return;
    end if;

    select c.id, p.next_pass into v_campaign, v_from
      from public.push_campaigns c
      left join passbell.pruned p on p.campaign_id = c.id
     where c.completed_at < v_horizon and c.status in ('COMPLETED', 'FAILED', 'CANCELLED')
       and (p.campaign_id is null or p.next_pass is not null or p.looked_at is null or p.looked_at < passbell.now() - interval '30 days')
       and not exists (select from passbell.chunks k where k.campaign_id = c.id)
     order by c.completed_at
     limit 1
       for update of c skip locked;
    if not found then           -- no campaign is left: the rows of old imports
        delete from passbell.import_rows r
         using (select x.import_id, x.row_number
                  from public.member_imports i
                  join passbell.import_rows x on x.import_id = i.id
                 where i.completed_at < v_horizon and i.status in ('COMPLETED', 'FAILED', 'CANCELLED')
                 limit p_limit) old
         where r.import_id = old.import_id and r.row_number = old.row_number;
        get diagnostics v_looked = row_count;
        return query select 'import_rows', v_looked::bigint, v_looked < p_limit;
        return;
    end if;

    with looked as materialized (
        select d.pass_id, d.outcome, d.sent_at
          from passbell.deliveries d
         where d.campaign_id = v_campaign and (v_from is null or d.pass_id > v_from)
         order by d.pass_id
         limit p_limit
    ), gone as (
        delete from passbell.deliveries d
         using looked l
         where d.campaign_id = v_campaign and d.pass_id = l.pass_id
           and (l.outcome <> 'sent'
                or exists (select from passbell.deliveries n
                            where n.pass_id = l.pass_id and n.outcome = 'sent'
                              and (n.sent_at, n.campaign_id) > (l.sent_at, v_campaign)))
        returning d.outcome
    )
    select (select count(*) from looked), (select l.pass_id from looked l order by l.pass_id desc limit 1),
           count(*) filter (where g.outcome = 'sent'), count(*) filter (where g.outcome = 'failed'), count(*) filter (where g.outcome = 'skipped')
      into v_looked, v_last, v_sent, v_failed, v_skipped
      from gone g;

    insert into passbell.pruned as p (campaign_id, sent, failed, skipped, next_pass, looked_at)
    values (v_campaign, v_sent, v_failed, v_skipped, case when v_looked = p_limit then v_last end, passbell.now())
    on conflict (campaign_id) do update
       set sent = p.sent + excluded.sent, failed = p.failed + excluded.failed, skipped = p.skipped + excluded.skipped,
           next_pass = excluded.next_pass, looked_at = excluded.looked_at;
    return query select 'deliveries', (v_sent + v_failed + v_skipped)::bigint, false;

    if v_looked < p_limit then       -- the campaign's ledger is through: now its list
        delete from passbell.list_entries e where e.campaign_id = v_campaign;
        get diagnostics v_looked = row_count;
        return query select 'list_entries', v_looked::bigint, false;
    end if;
end
$$;


-- functions/95_forget.sql ───────────────────────────────────────────────────────────────────────────────────────

-- Erases what passbell keeps about one member: ledger rows with their texts, rows of lists and imports, failed gifts,
-- the words of birthday greetings, and the id in orders that are over (IDS: targets, test sends). The counts of
-- campaigns stay as they are (passbell.pruned). The gift rows themselves stay, without words: they are the proof that a
-- gift is given once. The platform's own tables (users, passes_master) are the platform's to erase; do that afterwards,
-- or campaigns still to come will reach the member.
--
-- `external_id` is the pass's external id, or the pass id itself when the pass is gone already. Says per table how many
-- rows were erased. Raises PB404 if there is nothing under that name, PB422 while a push to the member is in flight.
create or replace function public.push_forget(external_id text)
returns table (relation text, erased bigint)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_name    constant text := lower(btrim(push_forget.external_id));
    v_passes  uuid[];
    v_users   uuid[];
    v_count   bigint;
    v_total   bigint := 0;
begin
    if not passbell.acts_for_server() then
        raise exception 'Only a server may erase members.' using errcode = 'PB403';
    end if;
    if coalesce(v_name, '') = '' then
        raise exception 'Which member? Give the external id of a pass.' using errcode = 'PB400';
    end if;
    select coalesce(array_agg(distinct x.pass_id), '{}') into v_passes
      from (select r.pass_id from passbell.recipients r where lower(btrim(r.external_id)) = v_name or r.pass_id = any (passbell.pass_id_list(v_name))
            union all
            select e.pass_id from passbell.list_entries e where lower(btrim(e.value)) = v_name and e.pass_id is not null
            union all
            select d.pass_id from passbell.deliveries d where d.pass_id = any (passbell.pass_id_list(v_name))) x;

    select coalesce(array_agg(distinct r.user_id), '{}') into v_users
      from passbell.recipients r where r.pass_id = any (v_passes) and r.user_id is not null;

    if exists (select from passbell.chunks k where k.pass_ids && v_passes and k.lease_until > passbell.now()) then
        raise exception 'A push to this member is in flight: try again in a minute.' using errcode = 'PB422';
    end if;

    -- Work that waits: skipped as for a member who is gone, so that the counts add up before the rows go.
    with waiting as (
        select k.campaign_id, k.chunk_no, k.attempt, p.pass_id
          from passbell.chunks k cross join lateral unnest(k.pass_ids) as p (pass_id)
         where k.pass_ids && v_passes and p.pass_id = any (v_passes)
    )
    insert into passbell.deliveries (campaign_id, pass_id, sent_at, attempts, outcome, reason)
    select w.campaign_id, w.pass_id, passbell.now(), w.attempt, 'skipped', 'unknown_member' from waiting w;
    get diagnostics v_count = row_count;
    if v_count > 0 then
        perform passbell.take_from_chunks(v_passes);
    end if;
    v_total := v_total + v_count;
    return query select 'chunks', v_count;

    with gone as (
        delete from passbell.deliveries d where d.pass_id = any (v_passes) returning d.campaign_id, d.outcome
    ), tally as (
        insert into passbell.pruned as p (campaign_id, sent, failed, skipped)
        select g.campaign_id, count(*) filter (where g.outcome = 'sent'), count(*) filter (where g.outcome = 'failed'),
               count(*) filter (where g.outcome = 'skipped')
          from gone g group by g.campaign_id
        on conflict (campaign_id) do update
           set sent = p.sent + excluded.sent, failed = p.failed + excluded.failed, skipped = p.skipped + excluded.skipped
    )
    select count(*) into v_count from gone;
    v_total := v_total + v_count;
    return query select 'deliveries', v_count;

    delete from passbell.list_entries e where e.pass_id = any (v_passes) or lower(btrim(e.value)) = v_name;
    get diagnostics v_count = row_count;
    v_total := v_total + v_count;
    return query select 'list_entries', v_count;

    delete from passbell.import_rows r
     where r.user_id = any (v_users) or r.linked_passes && v_passes or lower(btrim(r.value)) = v_name
        or exists (select from jsonb_array_elements(r.problems) b where lower(btrim(b ->> 'value')) = v_name);
    get diagnostics v_count = row_count;
    v_total := v_total + v_count;
    return query select 'import_rows', v_count;

    delete from passbell.birthday_failures f where f.pass_id = any (v_passes);
    get diagnostics v_count = row_count;
    v_total := v_total + v_count;
    return query select 'birthday_failures', v_count;

    update public.birthday_logs l set message_sent = null where l.pass_id = any (v_passes) and l.message_sent is not null;
    get diagnostics v_count = row_count;
    v_total := v_total + v_count;
    return query select 'birthday_logs', v_count;

    perform passbell.redact_orders(v_name);
    if v_passes = '{}' and v_total = 0 then
        raise exception 'There is no pass "%" here.', left(btrim(push_forget.external_id), 80) using errcode = 'PB404';
    end if;
end
$$;

-- Takes passes out of the queue, deletes chunks that are empty then, counts them as skipped, and completes campaigns
-- that were waiting for nothing else.
create or replace function passbell.take_from_chunks(p_passes uuid[]) returns void
language plpgsql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
declare
    v_chunk  record;
begin
    for v_chunk in
        select k.campaign_id, k.chunk_no, kept.pass_ids, kept.texts, k.texts is null as plain, cardinality(k.pass_ids) as before
          from passbell.chunks k
          cross join lateral (select coalesce(array_agg(i.pass_id order by i.n), '{}') as pass_ids, array_agg(i.text order by i.n) as texts
                                from unnest(k.pass_ids, k.texts) with ordinality as i (pass_id, text, n)
                               where i.pass_id <> all (p_passes)) kept
         where k.pass_ids && p_passes
         order by k.campaign_id, k.chunk_no
    loop
        if v_chunk.pass_ids = '{}' then
            delete from passbell.chunks k where k.campaign_id = v_chunk.campaign_id and k.chunk_no = v_chunk.chunk_no;
        else
            update passbell.chunks k
               set pass_ids = v_chunk.pass_ids, texts = case when not v_chunk.plain then v_chunk.texts end
             where k.campaign_id = v_chunk.campaign_id and k.chunk_no = v_chunk.chunk_no;
        end if;
        update public.push_campaigns c
           set skipped_count = skipped_count + v_chunk.before - cardinality(v_chunk.pass_ids)
         where c.id = v_chunk.campaign_id;
        perform passbell.settle_campaign(v_chunk.campaign_id);
    end loop;
end
$$;

-- Orders that name the member by id, and test sends altogether.
create or replace function passbell.redact_orders(p_name text) returns void
language sql
set search_path = ''
set geqo_seed = 0.7365     -- the engine speaks: see 93_callers
as $$
    update public.push_campaigns c
       set name = 'Test to an erased member', target_query = 'IDS:erased', message_text = 'erased'
     where c.kind = 'TEST' and c.status in ('COMPLETED', 'FAILED', 'CANCELLED') and lower(btrim(c.target_query)) = 'ids:' || p_name;
    update public.push_campaigns c
       set target_query = regexp_replace(c.target_query, '([:,]\s*)' || regexp_replace(p_name, '([^a-z0-9])', '\\\1', 'g') || '(?=\s*(,|&|$))',
                                         '\1erased', 'gi')
     where c.target_query ilike '%ids%' and strpos(lower(c.target_query), p_name) > 0 and c.status in ('COMPLETED', 'FAILED', 'CANCELLED')
$$;


-- functions/96_import_views.sql ─────────────────────────────────────────────────────────────────────────────────

-- What an administrator may read of lists and imports, in schema public, where Supabase's Data API and Softr look. The
-- tables themselves stay closed; the views show a person only rows of programs they administer, a server all.
-- The table member_imports has its policies in 99_grants.sql.
create or replace view public.push_list_problems with (security_barrier = true) as
select e.campaign_id, c.program_id, e.row_number, e.value, e.reason, e.detail
  from passbell.list_entries e
  join public.push_campaigns c on c.id = e.campaign_id
 where e.reason is not null
   and ((select has_table_privilege('passbell.settings', 'select')) or c.program_id in (select passbell.admin_programs()));
comment on view public.push_list_problems is 'Rows of hit lists by which nobody is reached, with the reason.';

create or replace view public.member_import_rows with (security_barrier = true) as
select r.import_id, i.program_id, r.row_number, r.result, r.column_name, r.value, r.reason, r.problems, r.user_id, r.linked_passes, r.previous_user_id
  from passbell.import_rows r
  join public.member_imports i on i.id = r.import_id
 where (select has_table_privilege('passbell.settings', 'select')) or i.program_id in (select passbell.admin_programs());
comment on view public.member_import_rows is 'What became of each row of a member import.';

do $$
declare
    v_role  text;
begin
    revoke all on public.push_list_problems, public.member_import_rows from public;
    for v_role in select r.rolname from pg_catalog.pg_roles r where r.rolname in ('anon', 'authenticated', 'service_role') loop
        execute format('revoke all on public.push_list_problems, public.member_import_rows from %I', v_role);
        if v_role <> 'anon' then
            execute format('grant select on public.push_list_problems, public.member_import_rows to %I', v_role);
        end if;
    end loop;
end
$$;


-- functions/97_comments.sql ─────────────────────────────────────────────────────────────────────────────────────

-- What Supabase Studio, psql and docs/reference/sql.md show beside the names that people use. Sentences about tables and
-- columns of ours that have none from the migration which made them; on the owner's columns only where there is none.
create or replace function passbell.comment_where_none(p_table text, p_column text, p_comment text) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_table   constant regclass := to_regclass(p_table);
    v_number  smallint;
begin
    select a.attnum into v_number from pg_catalog.pg_attribute a where a.attrelid = v_table and a.attname = p_column and not a.attisdropped;
    if v_number is not null and col_description(v_table, v_number) is null then
        execute format('comment on column %s.%I is %L', v_table, p_column, p_comment);
    end if;
end
$$;

do $$
declare
    v_line  record;
begin
    for v_line in
        select * from (values
            ('public.push_campaigns', 'id',              'The campaign.'),
            ('public.push_campaigns', 'program_id',      'Whose members it goes to.'),
            ('public.push_campaigns', 'name',            'A name for people.'),
            ('public.push_campaigns', 'message_text',    'What the phones show. {points}, {first_name}, {last_name}, {tier_points}, {program} are filled in; {first_name|there} with a fallback; {{ and }} are braces.'),
            ('public.push_campaigns', 'csv_upload_url',  'A link to a list of members; narrows the target.'),
            ('public.push_campaigns', 'sent_count',      'Passes whose text PassKit has stored.'),
            ('public.push_campaigns', 'failed_count',    'Passes that could not be reached; push_retry_failed tries them again.'),
            ('public.push_campaigns', 'skipped_count',   'Passes left out, each with a reason in passbell.deliveries.'),
            ('public.push_campaigns', 'recipient_count', 'Passes of the frozen audience: sent, failed, skipped and still to do.'),
            ('public.push_campaigns', 'created_at',      'When it was inserted.'),
            ('public.push_campaigns', 'updated_at',      'When it last changed.'),
            ('public.push_campaigns', 'scheduled_at',    'Not before; empty is at once.'),
            ('public.push_campaigns', 'started_at',      'When the audience was frozen.'),
            ('public.push_campaigns', 'completed_at',    'When it was over, whichever way.'),
            ('public.push_campaigns', 'kind',            'BROADCAST, BIRTHDAY (made by passbell), TEST (one pass, at any hour).'),
            ('public.push_campaigns', 'rate_per_second', 'Slower than the account allows, for this campaign alone.'),
            ('public.push_campaigns', 'created_by',      'Who ordered it: e-mail of the signed-in user, name of the API key, or the role.'),
            ('public.member_imports', 'id',              'The import.'),
            ('public.member_imports', 'program_id',      'Whose members they are.'),
            ('public.member_imports', 'csv_upload_url',  'A link to the file.'),
            ('public.member_imports', 'name',            'A name for people.'),
            ('public.member_imports', 'status_detail',   'In plain words: what is going on, or what went wrong.'),
            ('public.member_imports', 'total_rows',      'Rows of the file.'),
            ('public.member_imports', 'processed_rows',  'Rows done so far: the five counts together.'),
            ('public.member_imports', 'created_count',   'Members who were not there.'),
            ('public.member_imports', 'updated_count',   'Members of whom something changed.'),
            ('public.member_imports', 'unchanged_count', 'Rows that said nothing new.'),
            ('public.member_imports', 'rejected_count',  'Rows that were not taken; member_import_rows says why.'),
            ('public.member_imports', 'created_at',      'When it was inserted.'),
            ('public.member_imports', 'started_at',      'When a daemon took it.'),
            ('public.member_imports', 'completed_at',    'When it was over, whichever way.'),
            ('public.member_imports', 'updated_at',      'When it last changed.'),
            ('public.member_imports', 'created_by',      'Who ordered it.'),
            ('passbell.deliveries', 'campaign_id',       'The campaign.'),
            ('passbell.deliveries', 'pass_id',           'The recipient.'),
            ('passbell.deliveries', 'attempts',          'Requests that were made for it.'),
            ('passbell.deliveries', 'http_status',       'PassKit''s last answer; empty if there was none.'),
            ('passbell.deliveries', 'outcome',           'sent, failed or skipped.'),
            ('passbell.deliveries', 'reason',            'Why not, one of a closed list; empty if sent.'),
            ('passbell.deliveries', 'detail',            'PassKit''s words, or the bad placeholder.')
        ) as c (relation, name, words)
    loop
        perform passbell.comment_where_none(v_line.relation, v_line.name, v_line.words);
    end loop;
end
$$;

comment on table passbell.import_leases is 'Who works on an import, leased like a chunk.';
comment on table passbell.migrations    is 'Which migrations are installed, and since when.';
comment on table passbell.settings      is 'One row: the schema''s version, and the account''s defaults as the daemons last said them; retention.';
comment on table passbell.turns         is 'Which program was served last, so that a small campaign does not wait behind a large one.';
comment on table passbell.workers       is 'One row per running daemon: who, since when, what it is doing.';

comment on function public.push_preview(uuid, text) is
    'The honest count of an audience: matched, in_wallet, opted_out, capped, reachable; how long it takes, and when it would be done behind what waits already. Changes nothing.';
comment on function public.push_send(uuid, text, text, text, timestamptz, integer) is
    'Orders a campaign; returns its id. With expected, the number that a preview showed, it refuses with PB409 if the audience has changed since.';
comment on function public.push_test(uuid, text, text) is
    'One real push to one pass, by its external id, ahead of everything else and whatever the hour; returns the campaign''s id.';
comment on function public.push_pause(uuid) is
    'Stops a campaign within a second; what is in flight ends. Returns the campaign.';
comment on function public.push_resume(uuid) is
    'Goes on with a paused or held campaign, with those not reached yet. Returns the campaign.';
comment on function public.push_cancel(uuid) is
    'Ends a campaign for good: passes not reached yet become skipped, reason cancelled. Returns the campaign.';
comment on function public.push_retry_failed(uuid) is
    'Moves the failed passes of a campaign back into the queue. Returns the campaign.';
comment on function public.push_progress(uuid) is
    'How far a campaign is: counts, percent, pushes a second since it started, and when it will be done at that pace.';
comment on function public.get_birthdays_today(uuid, date) is
    'Whose birthday it is, in one program or in all whose bot is on, today in each program''s zone or on a local date, with the greeting as that member would read it. Changes nothing.';
comment on function public.run_birthdays(uuid, date) is
    'Gives the gifts of a day by hand; as often as you like, everybody is gifted once. Returns what was done per program.';
comment on function public.push_forget(text) is
    'Erases what passbell keeps about one member, by external id or pass id; says how many rows of which table. The platform''s own tables are the platform''s to erase.';
comment on function passbell.check_conservation(uuid) is
    'Campaigns for which recipient_count is not what waits plus what is decided, or where a pass is in both: normally none.';
comment on function passbell.after_restore(timestamptz) is
    'After a restore from a snapshot: pauses everything that would be sent again, so that a person decides; says what it found. For the owner, before the first daemon is started.';


-- functions/98_build_adapters.sql ───────────────────────────────────────────────────────────────────────────────

-- Builds the adapters from the host's columns as they are now. Before the grants: views and functions that are made
-- after them would be nobody's or everybody's until the next migrate.
select passbell.build_adapters();


-- functions/99_grants.sql ───────────────────────────────────────────────────────────────────────────────────────

-- Who may do what. Last of all files, so that whatever the others made is covered, the adapters included; runs again
-- with every migrate and says everything anew. docs/security.md has the table of roles.
--
--   anon             nothing
--   authenticated    push_campaigns of their own programs (row level security), the push_ functions for the same
--   service_role     the owner's tables, all public functions, reading everything of ours
--   passbell_daemon  (optional: `create role passbell_daemon login …`, then migrate) what `passbell run` needs, no more:
--                    the daemon's functions, two tables to copy files into, two to read
--   passbell_web     (optional, likewise) what `passbell web` needs: the page's functions, the same two tables to copy files
--                    into, settings and segments to read. It acts for every program, as the API's keys do
--
-- EXECUTE is PUBLIC's by default, so it is revoked from PUBLIC, and by name where old Supabase projects grant it by
-- default privileges. Since 30 Oct 2026 new tables in `public` need explicit grants for the Data API. The owner of the
-- tables, whom the daemon uses unless told otherwise, is not subject to row level security.

-- A role that is not there is not granted anything.
create or replace function passbell.grant_to(p_role text, p_what text) returns void
language plpgsql
set search_path = ''
as $$
begin
    if exists (select from pg_catalog.pg_roles r where r.rolname = p_role) then
        execute format('grant %s to %I', p_what, p_role);
    end if;
end
$$;

-- Our functions: all of schema passbell, and those in public that work on it; signatures fully qualified.
create or replace function passbell.own_functions()
returns table (id oid, schema text, name text, signature text)
language sql stable
set search_path = ''
as $$
    select p.oid, n.nspname::text, p.proname::text, p.oid::regprocedure::text
      from pg_catalog.pg_proc p
      join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where n.nspname = 'passbell'
        or n.nspname = 'public' and p.prosrc like '%passbell.%'
           and (p.proname like 'push\_%' or p.proname in ('get_birthdays_today', 'run_birthdays'))
$$;

do $$
declare
    v_function  record;
    v_table     text;
    v_role      text;
    v_people    constant text[] := array(select r.rolname::text from pg_catalog.pg_roles r
                                          where r.rolname in ('anon', 'authenticated', 'service_role', 'passbell_daemon', 'passbell_web') order by 1);
    -- What `passbell run` calls. They run as their owner, so that the daemon's role needs no rights on anybody's tables.
    v_daemon    constant text[] := array[
        'begin_list', 'bury_workers', 'claim_birthday_run', 'claim_campaign', 'claim_chunk', 'claim_import', 'claim_probe',
        'claim_prune', 'close_breaker', 'drain_cancelled', 'explain_waiting', 'finish_birthday_run', 'finish_chunk', 'gift_batch',
        'heartbeat', 'import_batch', 'import_failed', 'import_staged', 'list_failed', 'list_loaded', 'neighbours', 'open_breaker',
        'prune', 'queue_state', 'register_worker', 'release_birthday_runs', 'release_import', 'release_imports',
        'release_list_load', 'release_list_orphans', 'release_orphans', 'renew_import', 'renew_leases', 'renew_list_load', 'take_slots', 'throttle', 'unregister_worker',
        'work_waiting'];
    -- What `passbell web` calls, likewise.
    v_web       constant text[] := array[
        'account_list', 'begin_request', 'birthday_history', 'birthdays_ahead', 'campaign_card', 'campaign_page', 'campaign_reasons',
        'campaign_timeline', 'cancel_import', 'close_list_order', 'daemon_list', 'delivery_page', 'discard_draft', 'end_request',
        'find_program', 'forget_request', 'import_batch', 'import_cards', 'import_report', 'import_staged', 'known_campaigns',
        'list_reasons', 'member_import', 'open_import', 'open_list_order', 'order_push', 'order_test', 'order_verb', 'preview_list', 'program_list',
        'program_moment', 'release_import', 'sample_message', 'sample_messages', 'submit_list_order'];
    v_web_public constant text[] := array['get_birthdays_today', 'push_preview', 'run_birthdays'];
    -- Of schema passbell, what people's servers may call besides push_: nothing here changes anything.
    v_server    constant text[] := array['check_conservation', 'is_admin_of', 'admin_programs', 'queue_state', 'sample_messages'];
    -- What the policies below call in the caller's name.
    v_policy    constant text[] := array['admin_programs', 'is_admin_of'];
begin
    -- Functions ----------------------------------------------------------------------------------------------
    for v_function in select f.signature, f.schema, f.name from passbell.own_functions() f
    loop
        execute format('revoke all on function %s from public', v_function.signature);
        foreach v_role in array v_people loop
            execute format('revoke all on function %s from %I', v_function.signature, v_role);
        end loop;
        if v_function.schema = 'public' then
            perform passbell.grant_to('service_role', 'execute on function ' || v_function.signature);
            if v_function.name like 'push\_%' and v_function.name <> 'push_forget' then
                perform passbell.grant_to('authenticated', 'execute on function ' || v_function.signature);
            end if;
        end if;
        if v_function.name = any (v_server) then
            perform passbell.grant_to('service_role', 'execute on function ' || v_function.signature);
        end if;
        if v_function.name = any (v_policy) then
            perform passbell.grant_to('authenticated', 'execute on function ' || v_function.signature);
        end if;
        if v_function.schema = 'passbell' and v_function.name = any (v_daemon) then
            execute format('alter function %s security definer', v_function.signature);
            perform passbell.grant_to('passbell_daemon', 'execute on function ' || v_function.signature);
        end if;
        if v_function.schema = 'passbell' and v_function.name = any (v_web) then
            execute format('alter function %s security definer', v_function.signature);
            perform passbell.grant_to('passbell_web', 'execute on function ' || v_function.signature);
        end if;
        if v_function.schema = 'public' and v_function.name = any (v_web_public) then
            perform passbell.grant_to('passbell_web', 'execute on function ' || v_function.signature);
        end if;
    end loop;

    -- An empty search path still looks into the session's temporary schema first, for tables and *types*: a domain named
    -- text or uuid made there would run its maker's code in our name. Named last, it is looked into last.
    for v_function in
        select f.signature,
               case when s.path in ('""', '') then 'pg_catalog' else s.path end || ', pg_temp' as path
          from passbell.own_functions() f
          join pg_catalog.pg_proc p on p.oid = f.id
          left join lateral (select substr(c, length('search_path=') + 1) as path
                               from unnest(p.proconfig) c where c like 'search\_path=%') s on true
         where s.path is not null and s.path not like '%pg_temp%'
    loop
        execute format('alter function %s set search_path = %s', v_function.signature, v_function.path);
    end loop;

    -- Our schema ---------------------------------------------------------------------------------------------
    execute 'revoke all on schema passbell from public';
    execute 'revoke all on all tables in schema passbell from public';
    foreach v_role in array v_people loop
        execute format('revoke all on schema passbell from %I', v_role);
        execute format('revoke all on all tables in schema passbell from %I', v_role);
    end loop;
    perform passbell.grant_to('authenticated', 'usage on schema passbell');     -- for the policies, nothing else
    perform passbell.grant_to('service_role', 'usage on schema passbell');
    perform passbell.grant_to('service_role', 'select on all tables in schema passbell');
    perform passbell.grant_to('passbell_daemon', 'usage on schema passbell');
    perform passbell.grant_to('passbell_daemon', 'select on passbell.settings, passbell.rate_limits');
    perform passbell.grant_to('passbell_daemon', 'insert on passbell.list_pages, passbell.import_staged');
    perform passbell.grant_to('passbell_web', 'usage on schema passbell');
    perform passbell.grant_to('passbell_web', 'select on passbell.settings, passbell.segments');
    perform passbell.grant_to('passbell_web', 'insert on passbell.list_pages, passbell.import_staged');

    -- Our tables in public: row level security, and a policy per action for the program's administrators ------------
    foreach v_table in array array['push_campaigns', 'member_imports'] loop
        continue when to_regclass('public.' || v_table) is null;
        execute format('alter table public.%I enable row level security', v_table);
        execute format('revoke all on public.%I from public', v_table);
        foreach v_role in array v_people loop
            execute format('revoke all on public.%I from %I', v_table, v_role);
        end loop;
        perform passbell.grant_to('service_role', format('select, insert, update, delete on public.%I', v_table));
        perform passbell.grant_to('authenticated', format('select, insert, update on public.%I', v_table));
        execute format('drop policy if exists passbell_select on public.%I', v_table);
        execute format('drop policy if exists passbell_insert on public.%I', v_table);
        execute format('drop policy if exists passbell_update on public.%I', v_table);
        if 'authenticated' = any (v_people) then
            execute format('create policy passbell_select on public.%I for select to authenticated
                            using (program_id in (select passbell.admin_programs()))', v_table);
            execute format('create policy passbell_insert on public.%I for insert to authenticated
                            with check (program_id in (select passbell.admin_programs()))', v_table);
            execute format('create policy passbell_update on public.%I for update to authenticated
                            using (program_id in (select passbell.admin_programs()))
                            with check (program_id in (select passbell.admin_programs()))', v_table);
        end if;
    end loop;

    -- The owner's log tables. Their policies and grants are the owner's; those that 0001 had to make itself (it left its
    -- comment on them) are read by the program's administrators, written by servers.
    foreach v_table in array array['notification_logs', 'birthday_logs'] loop
        perform passbell.grant_to('service_role', format('select, insert, update, delete on public.%I', v_table));
        continue when coalesce(obj_description(to_regclass('public.' || v_table), 'pg_class'), '') not like 'Made by passbell%';
        execute format('alter table public.%I enable row level security', v_table);
        foreach v_role in array v_people loop
            continue when v_role = 'service_role';
            execute format('revoke all on public.%I from %I', v_table, v_role);
        end loop;
        perform passbell.grant_to('authenticated', format('select on public.%I', v_table));
        execute format('drop policy if exists passbell_select on public.%I', v_table);
        if 'authenticated' = any (v_people) then
            execute format('create policy passbell_select on public.%I for select to authenticated
                            using (program_id in (select passbell.admin_programs()))', v_table);
        end if;
    end loop;
end
$$;

update passbell.settings set bundle = '969549465afe9d7a', schema_version = 13
 where (bundle, schema_version) is distinct from ('969549465afe9d7a', 13);
notify pgrst, 'reload schema';
reset check_function_bodies;
