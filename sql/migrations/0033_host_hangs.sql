-- 0033: what the host has built may hang where work is chosen, for all programs at once.

-- Relations of the host's that were not read in time. While `programs` is here, what chooses work reads program_copies, which
-- are made one program at a time (38_host_hangs).
create table if not exists passbell.host_hangs (
    relation      text        primary key,
    since         timestamptz not null,
    looks         integer     not null default 1,
    next_look_at  timestamptz not null,
    reason        text        not null
);
comment on table  passbell.host_hangs is 'Which of programs, users and push_campaigns could not be read in time when work was chosen. Empty if all is well.';
comment on column passbell.host_hangs.since is 'When it hung for the first time.';
comment on column passbell.host_hangs.looks is 'How often it was tried in vain.';
comment on column passbell.host_hangs.next_look_at is 'It is tried again then.';
comment on column passbell.host_hangs.reason is 'What people read of it.';

-- What the choice of work needs of a program with unfinished campaigns, while passbell.programs hangs as a whole.
create table if not exists passbell.program_copies (
    program_id          uuid        primary key,
    name                text,
    account             text        not null default '',
    passkit_account     text,
    passkit_program_id  text,
    suspended           boolean     not null default true,
    timezone            text,
    push_window_start   time,
    push_window_end     time,
    read_at             timestamptz not null,
    hangs_since         timestamptz,
    looks               integer     not null default 0,
    next_look_at        timestamptz not null
);
comment on table  passbell.program_copies is 'Programs with unfinished campaigns, read one at a time while reading all of them at once hangs; else empty.';
comment on column passbell.program_copies.hangs_since is 'Since when this program itself cannot be read in time: nothing of it is sent meanwhile.';
comment on column passbell.program_copies.looks is 'How often it was tried in vain.';
comment on column passbell.program_copies.next_look_at is 'It is read again then.';
