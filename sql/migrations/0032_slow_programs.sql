-- 0032: rules of the host's that hang while a campaign starts hold up their own program.

-- Programs whose last claim of a campaign was cut by its time-out; of their test sends, and of their other campaigns. Each
-- daemon makes one claim of these at a time and gives it more time than the last one had. A claim that is quick again
-- deletes the row.
create table if not exists passbell.slow_programs (
    program_id  uuid        not null,
    tests       boolean     not null,
    seconds     integer     not null,
    looked_at   timestamptz not null,
    primary key (program_id, tests)
);
comment on table  passbell.slow_programs is 'Programs whose campaigns take long to start: a large audience, or a rule of the host''s that hangs. They wait for each other; other programs do not wait for them.';
comment on column passbell.slow_programs.tests is 'Its test sends; else its other campaigns.';
comment on column passbell.slow_programs.seconds is 'How long its next claim may take.';
comment on column passbell.slow_programs.looked_at is 'When its last claim began.';

-- Writing what a campaign waits for may hang likewise, and is not tried again at every turn.
alter table passbell.set_aside add column if not exists silent_until timestamptz;
comment on column passbell.set_aside.silent_until is 'No status_detail is written to campaigns of this program before, because that took too long.';
