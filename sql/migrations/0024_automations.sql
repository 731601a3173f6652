-- Messages that send themselves: rules, the runs of each day, the proofs, and the narrow state that crossings need.

create table if not exists public.push_automations (
    id                uuid        primary key default gen_random_uuid(),
    program_id        uuid        not null,
    name              text,
    occasion          text        not null,
    message_text      text        not null,
    target_query      text,
    is_on             boolean     not null default false,
    send_at           time        not null default '09:00',
    send_days         text,
    again_after_days  integer     not null default 0,
    catch_up_days     integer     not null default 7,
    daily_limit       integer,
    holdout_percent   numeric     not null default 10,
    measure_days      integer     not null default 7,
    reward_points     integer     not null default 0,
    priority          integer     not null default 5,
    starts_on         date,
    ends_on           date,
    switched_on_on    date,
    last_run_on       date,
    fired_count       integer     not null default 0,
    status_detail     text,
    created_by        text,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now()
);
create index if not exists push_automations_program on public.push_automations (program_id);
comment on table  public.push_automations is 'One row is one message that sends itself: on which occasion a member gets which words. (program_id, occasion, message_text, is_on) is enough.';
comment on column public.push_automations.occasion is 'DORMANT:30, EXPIRING:3, AFTER_VISIT:1, JOINED:2, ANNIVERSARY, EVENT:-1, EVERY:FRI, REACHED:500, ALMOST:90%, ENTERS:segment; see passbell.triggers.';
comment on column public.push_automations.target_query is 'Which of the members with the occasion, as in push_campaigns; empty is all.';
comment on column public.push_automations.is_on is 'Only occasions on or after the day of switching on are sent: switching on never sends for earlier occasions.';
comment on column public.push_automations.send_at is 'The earliest time of day, in the program''s zone.';
comment on column public.push_automations.send_days is 'On which days of the week, as THU,FRI; empty is every day. What is due on another day waits for the next.';
comment on column public.push_automations.again_after_days is 'At least so many days between two messages of this automation to one person.';
comment on column public.push_automations.catch_up_days is 'For how many days an occasion may be late, after an outage for instance.';
comment on column public.push_automations.daily_limit is 'If more members are due on one day, the campaign is PAUSED until a person resumes it. Empty: no limit.';
comment on column public.push_automations.holdout_percent is 'How many in 100 are held back, to learn what the messages bring: 0 to 50.';
comment on column public.push_automations.reward_points is 'Points that each member with the occasion gets, once, also if the message is held back.';
comment on column public.push_automations.switched_on_on is 'The program''s date when it was last switched on; kept by a trigger.';

-- The rules. A row answers who is due: `query` (see passbell.due_rows) or, for a crossing, `condition` over recipients r.
create table if not exists passbell.triggers (
    name               text     primary key check (name = upper(btrim(name)) and name !~ '[:&]'),
    description        text     not null default '',
    parameter_kind     text     not null default 'none'
                       check (parameter_kind in ('none', 'days', 'signed_days', 'points', 'mark', 'weekdays', 'segment', 'text')),
    default_parameter  text,
    query              text,
    condition          text,
    builtin            boolean  not null default false,
    check (num_nonnulls(query, condition) = 1)
);
comment on table  passbell.triggers is 'The occasions of automations. Only the owner of the database may write here: queries are SQL.';
comment on column passbell.triggers.query is 'Rows (pass_id uuid, occasion text, due_on date, moment timestamptz) of one program whose due_on lies between two dates. $1 program, $2 parameter, $3 first date, $4 last date, $5 zone, $6 as of, $7 automation.';
comment on column passbell.triggers.condition is 'Instead of query: a condition over recipients r ($1 program, $2 parameter). An occasion is its becoming true.';

create table if not exists passbell.automation_runs (
    automation_id       uuid        not null,
    local_date          date        not null,
    program_id          uuid        not null,
    started_at          timestamptz not null default now(),
    completed_at        timestamptz,
    campaign_id         uuid,
    due                 integer     not null default 0,
    fired               integer     not null default 0,
    failed              integer     not null default 0,
    held_back_by_limit  integer     not null default 0,
    attempt             integer     not null default 0,
    not_before          timestamptz not null default '-infinity',
    worker              uuid,
    lease_until         timestamptz,
    detail              text,
    primary key (automation_id, local_date)
);
alter table passbell.automation_runs add column if not exists terms jsonb;
comment on column passbell.automation_runs.terms is 'The automation''s row as it was when this pass began; a change of it counts from the next one. Empty between passes.';
comment on table passbell.automation_runs is 'One row per automation and local date: which daemon runs the day, and its result.';

create table if not exists passbell.occasions (
    automation_id  uuid  not null,
    person_id      uuid  not null,
    occasion       text  not null,
    pass_id        uuid  not null,
    local_date     date  not null,
    campaign_id    uuid,
    moment         timestamptz,
    primary key (automation_id, person_id, occasion)
);
create index if not exists occasions_pass on passbell.occasions (pass_id);
comment on table  passbell.occasions is 'The proof that an occasion has had its message: once, for ever.';
comment on column passbell.occasions.person_id is 'The user, or the pass where it has none.';
comment on column passbell.occasions.moment is 'The instant that the occasion''s date was read from, so that a program that moves to another zone does not ring twice.';

-- One person that a run is about to give points to; see give_each in functions/52_daily_runs.sql.
do $$
begin
    if to_regtype('passbell.on_occasion') is null then
        create type passbell.on_occasion as (pass_id uuid, person_id uuid, opted_in boolean, occasion text, moment timestamptz, keys text[]);
    end if;
end
$$;

create table if not exists passbell.occasion_failures (
    automation_id  uuid        not null,
    person_id      uuid        not null,
    occasion       text        not null,
    local_date     date        not null,
    reason         text,
    attempt        integer     not null default 0,
    attempts       integer     not null default 1,
    last_at        timestamptz not null default now(),
    primary key (automation_id, person_id, occasion)
);
comment on table passbell.occasion_failures is 'Rewards that the platform''s award function refused; tried again until the occasion is over.';

-- On which side of a mark a person is: only people who are, or once were, inside have a row.
create table if not exists passbell.crossings (
    automation_id  uuid     not null,
    person_id      uuid     not null,
    inside         boolean  not null,
    number         integer  not null default 0,
    entered_on     date,
    primary key (automation_id, person_id)
);
comment on column passbell.crossings.entered_on is 'The date on which the last crossing was seen; NULL where the person was inside when the automation was switched on.';

-- When a pass was first seen in a wallet.
create table if not exists passbell.sightings (
    pass_id     uuid        primary key,
    program_id  uuid        not null,
    seen_at     timestamptz
);
create index if not exists sightings_program on passbell.sightings (program_id, seen_at) where seen_at is not null;
comment on column passbell.sightings.seen_at is 'NULL: it was there already when passbell looked for the first time.';
create table if not exists passbell.sighted_programs (
    program_id  uuid        primary key,
    looked_at   timestamptz not null
);

-- ── how often is enough ─────────────────────────────────────────────────────────────────────────────────────

create table if not exists public.push_suppressions (
    id           uuid        primary key default gen_random_uuid(),
    program_id   uuid        not null,
    external_id  text        not null,
    until        timestamptz,
    reason       text,
    created_by   text,
    created_at   timestamptz not null default now()
);
create index if not exists push_suppressions_member on public.push_suppressions (program_id, lower(btrim(external_id)));
comment on table  public.push_suppressions is 'Members who get no messages for now: staff, complainers. Test sends still reach them.';
comment on column public.push_suppressions.until is 'Empty: until the row is deleted.';

do $$
declare
    v_add  record;
begin
    for v_add in
        select a.name, a.definition
          from (values ('push_max', 'integer'), ('push_max_days', 'integer'), ('push_min_hours', 'integer')) as a (name, definition)
         where (select c.relkind from pg_catalog.pg_class c where c.oid = to_regclass('public.programs')) in ('r', 'p')
           and not exists (select from pg_catalog.pg_attribute x
                            where x.attrelid = to_regclass('public.programs')
                              and x.attname = a.name and x.attnum > 0 and not x.attisdropped)
    loop
        execute format('alter table public.programs add column %I %s', v_add.name, v_add.definition);
    end loop;
end
$$;
