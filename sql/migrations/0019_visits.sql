-- 0019: visits and awards: a gift of passbell's own is no visit of the member's.

-- Every award that passbell made. `at` is the database's own now() of the award, which the transaction row that the
-- platform writes carries as created_at (and any other created_at that row may have): passbell.visits leaves it out.
create table if not exists passbell.awards (
    pass_id          uuid         not null,
    at               timestamptz  not null,
    points           integer,
    activity_before  timestamptz,
    updated_after    timestamptz,
    primary key (pass_id, at)
);
comment on table  passbell.awards is 'Every award that passbell made, so that its transaction does not count as a visit.';
comment on column passbell.awards.at is 'The database''s own time of the award, as the platform''s transaction row has it.';
comment on column passbell.awards.activity_before is 'The pass''s last activity before the award.';
comment on column passbell.awards.updated_after is 'What the award made of passes_master.last_updated; while it says this, activity_before counts instead. NULL: the award left it alone.';

-- The last visit is looked up per pass, in this index alone. One that is there is left alone; `passbell migrate` builds it
-- beforehand, beside the platform's writes, where the table is large.
do $$
declare
    v_columns  text[];
begin
    select array_agg(a.attname::text) into v_columns
      from pg_catalog.pg_attribute a
      join pg_catalog.pg_class c on c.oid = a.attrelid
     where c.oid = to_regclass('public.transactions') and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped;
    if v_columns @> array['pass_id', 'created_at'] and to_regclass('public.transactions_pass_created') is null then
        execute 'create index transactions_pass_created on public.transactions (pass_id, created_at)'
                || case when 'action_type' = any (v_columns) then ' include (action_type)' else '' end;
    end if;
end
$$;

-- What no answer to "may we write to you?" means in a program.
do $$
begin
    if exists (select from pg_catalog.pg_class c where c.oid = to_regclass('public.programs') and c.relkind in ('r', 'p'))
       and not exists (select from pg_catalog.pg_attribute a where a.attrelid = to_regclass('public.programs')
                          and a.attname = 'push_consent' and a.attnum > 0 and not a.attisdropped) then
        alter table public.programs add column push_consent text default 'OPT_OUT';
        comment on column public.programs.push_consent is 'OPT_OUT: a member who never answered may be reached. OPT_IN: only an explicit yes may.';
    end if;
    if exists (select from pg_catalog.pg_class c where c.oid = to_regclass('public.programs') and c.relkind in ('r', 'p'))
       and not exists (select from pg_catalog.pg_constraint k where k.conrelid = to_regclass('public.programs') and k.conname = 'programs_push_consent_known') then
        alter table public.programs add constraint programs_push_consent_known check (push_consent in ('OPT_OUT', 'OPT_IN')) not valid;
    end if;
end
$$;
