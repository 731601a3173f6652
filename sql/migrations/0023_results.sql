-- What a message brought: who is held back to compare with, and what was counted when the window had closed.

alter table public.push_campaigns add column if not exists holdout_percent numeric;
alter table public.push_campaigns add column if not exists measure_days    integer default 7;
alter table public.push_campaigns add column if not exists priority        integer default 5;
alter table public.push_campaigns add column if not exists automation_id   uuid;
comment on column public.push_campaigns.holdout_percent is 'How many in 100 are held back by lot, to learn what the message brought: 0 to 50. Empty: the program''s push_holdout_percent. Fixed once it has started.';
comment on column public.push_campaigns.measure_days is 'For how many days after the message a visit counts: 1 to 60.';
comment on column public.push_campaigns.priority is 'Of two campaigns that are due, the one with the higher number is sent first: 0 to 9.';

do $$
declare
    v_add  record;
begin
    for v_add in
        select a.name, a.definition
          from (values ('push_holdout_percent', 'numeric default 0'),
                       ('push_holdout_group', 'boolean default false'),
                       ('average_bill', 'numeric')) as a (name, definition)
         where to_regclass('public.programs') is not null
           and (select c.relkind from pg_catalog.pg_class c where c.oid = to_regclass('public.programs')) in ('r', 'p')
           and not exists (select from pg_catalog.pg_attribute x
                            where x.attrelid = to_regclass('public.programs')
                              and x.attname = a.name and x.attnum > 0 and not x.attisdropped)
    loop
        execute format('alter table public.programs add column %I %s', v_add.name, v_add.definition);
    end loop;

    for v_add in
        select c.name, c.condition as definition
          from (values ('push_campaigns_holdout_known', 'holdout_percent between 0 and 50'),
                       ('push_campaigns_measure_days_known', 'measure_days between 1 and 60'),
                       ('push_campaigns_priority_known', 'priority between 0 and 9')) as c (name, condition)
         where not exists (select from pg_catalog.pg_constraint k
                            where k.conrelid = 'public.push_campaigns'::regclass and k.conname = c.name)
    loop
        execute format('alter table public.push_campaigns add constraint %I check (%s) not valid', v_add.name, v_add.definition);
    end loop;
end
$$;

-- One row per campaign with a share held back, written when it starts and never changed: the share, and the salt of
-- the lot.
create table if not exists passbell.holdouts (
    campaign_id  uuid     primary key,
    percent      numeric  not null check (percent > 0 and percent <= 50),
    salt         text     not null,
    grouped      boolean  not null default false
);
comment on table  passbell.holdouts is 'Campaigns that hold a share of their audience back, as it was fixed when they started.';
comment on column passbell.holdouts.salt is 'What a person''s lot is drawn with: the campaign''s id; the program''s, where one lot holds for all its campaigns; an automation''s with the year.';
comment on column passbell.holdouts.grouped is 'One lot for all campaigns of the program: windows that overlap may be added up.';

-- One row per campaign whose window has closed: counted once, final, without a name.
create table if not exists passbell.results (
    campaign_id       uuid        primary key,
    program_id        uuid        not null,
    automation_id     uuid,
    measure_days      integer     not null,
    percent           numeric     not null default 0,
    grouped           boolean     not null default false,
    first_sent_at     timestamptz,
    last_sent_at      timestamptz,
    ready_at          timestamptz,
    counted_at        timestamptz not null,
    visits_recorded   boolean     not null,
    sent              bigint      not null,
    sent_came         bigint      not null,
    sent_came_before  bigint      not null,
    held              bigint      not null,
    held_came         bigint      not null,
    held_came_before  bigint      not null,
    overlapping uuid[]      not null default '{}'
);
create index if not exists results_program on passbell.results (program_id, first_sent_at);
create index if not exists results_automation on passbell.results (automation_id) where automation_id is not null;
comment on table  passbell.results is 'What each campaign brought: people sent and held back, and how many of either came, counted once when its window had closed.';
comment on column passbell.results.sent_came_before is 'How many of those came in as many days before the message: both arms should have visited alike.';
comment on column passbell.results.overlapping is 'Earlier campaigns whose windows overlap and which reached some of the same people: only one of them is added up.';

alter table passbell.deliveries drop constraint if exists deliveries_reason_check;
do $$
begin
    if not exists (select from pg_catalog.pg_constraint k
                    where k.conrelid = 'passbell.deliveries'::regclass and k.conname = 'deliveries_reason_known') then
        alter table passbell.deliveries add constraint deliveries_reason_known
              check (reason in ('not_installed', 'opted_out', 'capped', 'too_often', 'suppressed', 'held_out', 'same_text', 'unknown_member',
                                'duplicate', 'cancelled', 'render_error', 'not_found', 'rejected', 'attempts_exhausted')) not valid;
    end if;
end
$$;
alter table public.push_campaigns drop constraint if exists push_campaigns_kind_known;
do $$
begin
    if not exists (select from pg_catalog.pg_constraint k
                    where k.conrelid = 'public.push_campaigns'::regclass and k.conname = 'push_campaigns_kind_is_known') then
        alter table public.push_campaigns add constraint push_campaigns_kind_is_known
              check (kind in ('BROADCAST', 'BIRTHDAY', 'AUTOMATION', 'TEST')) not valid;
    end if;
end
$$;
comment on column public.push_campaigns.automation_id is 'The automation that made it; kept by passbell.';
