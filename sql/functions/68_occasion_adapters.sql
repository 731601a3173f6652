-- What occasions ask of the host beside visits. Views like those of 08_adapters: built from the columns that are there, and
-- left alone where an operator has written their own.
--
--   passbell.joins   (pass_id, program_id, at)       since when a person is a member
--   passbell.events  (pass_id, program_id, on_date)  when the event of a ticket is
create or replace function passbell.build_occasion_adapters() returns void
language plpgsql
set search_path = ''
as $fn$
declare
    v_pass    constant text := 'public.passes_master';
    v_ticket  constant text := 'public.protocol_event_ticket';
    v_users   constant boolean := passbell.has_column('public.users', 'created_at') and passbell.has_column(v_pass, 'user_id');
    v_column  text;
    v_type    text;
begin
    if to_regclass('passbell.visits') is null then
        perform passbell.replace_adapter('visits', 'select null::uuid as pass_id, null::timestamptz as at, null::numeric as points where false');
    end if;
    if to_regclass(v_pass) is null then
        perform passbell.replace_adapter('joins', 'select null::uuid as pass_id, null::uuid as program_id, null::timestamptz as at where false');
    else
        perform passbell.replace_adapter('joins', format($v$
            select p.id as pass_id, p.program_id, coalesce(%s, %s, s.seen_at) as at
              from public.passes_master p
              left join passbell.sightings s on s.pass_id = p.id %s $v$,
            passbell.host_column(v_pass, 'p', 'created_at', 'timestamptz'),
            case when v_users then passbell.host_column('public.users', 'u', 'created_at', 'timestamptz') else 'null::timestamptz' end,
            case when v_users then 'left join public.users u on u.id = p.user_id' else '' end));
    end if;

    select a.attname, a.atttypid::regtype::text into v_column, v_type
      from pg_catalog.pg_attribute a
      join unnest(array['event_date', 'event_start_date', 'event_start', 'starts_at', 'start_date', 'event_datetime', 'event_at']) with ordinality as n (name, n)
           on n.name = a.attname
     where a.attrelid = to_regclass(v_ticket) and a.attnum > 0 and not a.attisdropped
     order by n.n limit 1;
    if v_column is null or to_regclass(v_pass) is null then
        perform passbell.replace_adapter('events', 'select null::uuid as pass_id, null::uuid as program_id, null::date as on_date where false');
    else
        perform passbell.replace_adapter('events', format($v$
            select t.pass_id, p.program_id, %s as on_date
              from public.protocol_event_ticket t
              join public.passes_master p on p.id = t.pass_id $v$,
            case when v_type like '%with time zone' then format('(t.%I at time zone passbell.zone((select g.timezone from passbell.programs g where g.program_id = p.program_id)))::date', v_column)
                 when v_type in ('date', 'timestamp without time zone') then format('t.%I::date', v_column)
                 else format('case when t.%1$I::text ~ ''^\d{4}-\d\d-\d\d'' then to_date(left(t.%1$I::text, 10), ''YYYY-MM-DD'') end', v_column) end));
    end if;
end
$fn$;

-- When a member was last active: visits; on a host that records none at all, the stand-in of recipients. Without a search
-- path of its own it is inlined into the query that calls it.
create or replace function passbell.activity() returns table (pass_id uuid, at timestamptz)
language sql stable
as $$
    select v.pass_id, v.at from passbell.visits v
    union all
    select r.pass_id, r.last_activity from passbell.recipients r
     where r.last_activity is not null and not (select passbell.visits_recorded())
$$;
