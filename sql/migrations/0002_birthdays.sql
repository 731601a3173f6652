-- 0002: what the birthday bot stores beyond birthday_runs, and the proof that a gift is given once.

-- The pass number of a run: a failed award is tried once per pass.
alter table passbell.birthday_runs add column if not exists attempt integer not null default 0;
comment on table  passbell.birthday_runs is 'One row per program and local date: the daemon that inserts it, or takes it over after its lease, gives the gifts.';
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
