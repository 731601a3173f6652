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
comment on table  passbell.list_loads is 'One row per campaign with a list: which daemon downloads it, leased like a chunk, and what became of its rows.';
comment on column passbell.list_loads.url is 'Where the loaded list came from; NULL for one that was uploaded. Another csv_upload_url is another list.';
comment on column passbell.list_loads.digest is 'Of the ids in their order: two uploads with the same digest are the same list.';
comment on column passbell.list_loads.reasons is 'How many rows per reason in list_entries: {"unknown_member": 12}.';

alter table passbell.list_entries add column if not exists detail text;
drop index if exists passbell.list_entries_pass;
comment on table  passbell.list_entries is 'Hit lists: the rows that reach no member, with the reason. Matched rows leave none.';
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
comment on column public.member_imports.linked_count is 'Rows whose member did not change and got a pass.';
comment on column public.member_imports.passes_linked is 'Passes that were linked to a member, in rows of any result.';
comment on column public.member_imports.notes is 'What was decided for the whole file: encoding, date order, unused columns.';

create index if not exists member_imports_open on public.member_imports (created_at) where status in ('PENDING', 'PROCESSING');
create index if not exists member_imports_program on public.member_imports (program_id, created_at);

-- Which daemon works on an import; leased like a chunk. A worker that is not in passbell.workers any more holds nothing.
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
comment on column passbell.import_rows.previous_user_id is 'The user that the row''s pass belonged to before.';
