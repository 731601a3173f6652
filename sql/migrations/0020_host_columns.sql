-- 0020: which of the host's columns the adapters read, so that one that is renamed is noticed; whether opt-outs can be read.

create table if not exists passbell.host_columns (
    relation     text      not null,
    column_name  text      not null,
    number       smallint  not null,
    primary key (relation, column_name)
);
comment on table  passbell.host_columns is 'Columns of the platform that passbell reads, by number: one that is renamed keeps its number. Delete a row to accept that the column is gone.';

alter table passbell.settings add column if not exists consent_problem text;
comment on column passbell.settings.consent_problem is 'Why opt-outs cannot be read; nothing is sent while it says something.';

-- A CHECK of the owner's on status alone that refuses a state a campaign passes through would stop every campaign in the
-- middle. It is dropped, with a warning that quotes it: push_campaigns_status_known, which knows all states, stands in its place.
do $$
declare
    v_check   record;
    v_state   text;
    v_passes  boolean;
begin
    for v_check in
        select k.conname, pg_get_expr(k.conbin, k.conrelid) as expression, pg_get_constraintdef(k.oid) as definition
          from pg_catalog.pg_constraint k
          join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attname = 'status'
         where k.conrelid = 'public.push_campaigns'::regclass and k.contype = 'c' and k.conkey = array[a.attnum]
           and k.conname not like 'push\_campaigns\_status\_known%'
    loop
        foreach v_state in array array['DRAFT', 'PENDING', 'PROCESSING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED'] loop
            execute format('select (%s) is not false from (select $1::text as status) push_campaigns', v_check.expression) into v_passes using v_state;
            if not v_passes then
                execute format('alter table public.push_campaigns drop constraint %I', v_check.conname);
                raise warning 'The constraint % of push_campaigns was dropped, because it refuses the state %: %. push_campaigns_status_known stands in its place.',
                              v_check.conname, v_state, v_check.definition;
                exit;
            end if;
        end loop;
    end loop;
end
$$;

-- The zones that a bare city means ('Berlin', 'new york'), for passbell.zone: looked up here, because PostgreSQL reads its
-- list of zones from files. Of several names for one place (America/Buenos_Aires too) the shortest; a city of two zones that
-- keep different time is left out.
create table if not exists passbell.zone_names (
    city  text  primary key,
    name  text  not null
);
comment on table passbell.zone_names is 'Time zones by city, as people write them in programs.timezone.';
do $$
begin
    if not exists (select from passbell.zone_names) then
        insert into passbell.zone_names (city, name)
        select lower(regexp_replace(z.name, '^.*/', '')), (array_agg(z.name order by length(z.name), z.name))[1]
          from pg_catalog.pg_timezone_names z
         where z.name ~ '^(Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific)/'
         group by 1
        having count(distinct (z.utc_offset, z.is_dst)) = 1;
    end if;
end
$$;

-- A campaign that is ordered without an id gets one, where the owner's own program used to make it.
do $$
begin
    if exists (select from pg_catalog.pg_attribute a
                where a.attrelid = 'public.push_campaigns'::regclass and a.attname = 'id' and not a.atthasdef) then
        alter table public.push_campaigns alter column id set default gen_random_uuid();
    end if;
end
$$;
