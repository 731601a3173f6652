-- How a column of the host is written in an adapter (08_adapters): as an expression of the type that passbell works with,
-- whatever its type is there, and NULL where it is missing.

-- The expression that reads a host column as the type we work with; a NULL of that type where the column is missing.
-- A plain cast where that cannot fail, so that the usual column costs nothing; else one of 07_reading, which gives NULL for
-- a value that cannot be read. NaN and a number outside the type are NULL as well. A time without a zone is UTC.
create or replace function passbell.host_column(p_table text, p_alias text, p_column text, p_type text) returns text
language sql stable
set search_path = ''
as $$
    select coalesce((
        select case
                   when p_type = 'text' or t.name = p_type                     then format('%s::%s', c.expression, p_type)
                   when p_type in ('bigint', 'numeric') and t.name in ('smallint', 'integer', 'bigint')
                     or p_type = 'integer' and t.name = 'smallint'
                     or p_type = 'time' and t.name = 'time without time zone'
                     or p_type = 'timestamptz' and t.name = 'timestamp with time zone' then format('%s::%s', c.expression, p_type)
                   when p_type in ('bigint', 'integer', 'numeric') and t.name in ('bigint', 'numeric', 'real', 'double precision')
                        then format('case when %1$s between %2$s then %1$s::%3$s end', c.expression,
                                    case p_type when 'integer' then '-2147483648 and 2147483647' when 'bigint' then '-9e18 and 9e18'
                                                else case when t.name = 'numeric' then '-1e100 and 1e100' else '-1e15 and 1e15' end end, p_type)
                   when p_type = 'integer'                                     then format('case when passbell.read_bigint(%1$s::text) between -2147483648 and 2147483647 then passbell.read_bigint(%1$s::text)::integer end', c.expression)
                   when p_type = 'bigint'                                      then format('passbell.read_bigint(%s::text)', c.expression)
                   when p_type = 'numeric'                                     then format('passbell.read_numeric(%s::text)', c.expression)
                   when p_type = 'boolean' and t.name in ('smallint', 'integer', 'bigint', 'numeric') then format('(%s <> 0)', c.expression)
                   when p_type = 'boolean'                                     then format('passbell.read_boolean(%s::text)', c.expression)
                   when p_type = 'date' and t.name = 'timestamp without time zone' then format('%s::date', c.expression)
                   when p_type = 'date' and t.name = 'timestamp with time zone'    then format('(%s at time zone ''UTC'')::date', c.expression)
                   when p_type = 'date'                                        then format('passbell.read_date(%s::text)', c.expression)
                   when p_type = 'time' and t.name in ('timestamp without time zone', 'time with time zone') then format('%s::time', c.expression)
                   when p_type = 'time'                                        then format('passbell.read_time(%s::text)', c.expression)
                   when p_type = 'timestamptz' and t.name = 'date'             then format('(%s::timestamp at time zone ''UTC'')', c.expression)
                   when p_type = 'timestamptz' and t.name = 'timestamp without time zone' then format('(%s at time zone ''UTC'')', c.expression)
                   when p_type = 'timestamptz'                                 then format('passbell.read_instant(%s::text)', c.expression)
                   when p_type = 'uuid'                                        then format('passbell.read_uuid(%s::text)', c.expression)
                   else format('%s::%s', c.expression, p_type)
               end
          from pg_catalog.pg_attribute a
         cross join lateral (select passbell.base_type(a.atttypid) as name) t
         cross join lateral (select format('%I.%I', p_alias, p_column) as expression) c
         where a.attrelid = to_regclass(p_table) and a.attname = p_column and a.attnum > 0 and not a.attisdropped), 'null::' || p_type)
$$;

-- Two key columns as a join; by their text where their types differ.
create or replace function passbell.key_join(p_table text, p_alias text, p_column text, p_other_table text, p_other_alias text, p_other_column text) returns text
language sql stable
set search_path = ''
as $$
    select case when min(passbell.base_type(a.atttypid)) = max(passbell.base_type(a.atttypid)) then format('%I.%I = %I.%I', p_alias, p_column, p_other_alias, p_other_column)
                else format('%I.%I::text = %I.%I::text', p_alias, p_column, p_other_alias, p_other_column) end
      from pg_catalog.pg_attribute a
     where (a.attrelid = to_regclass(p_table) and a.attname = p_column or a.attrelid = to_regclass(p_other_table) and a.attname = p_other_column)
$$;

-- An expression over the pass's program, alias g; NULL where the host has no programs.
drop function if exists passbell.of_program(text);
create or replace function passbell.of_program(p_expression text, p_type text default 'text') returns text
language sql stable
set search_path = ''
as $$
    select case when to_regclass('public.programs') is null then 'null::' || p_type
                else format('(select %s from public.programs g where g.id = p.program_id)', p_expression) end
$$;

-- Is the column there?
create or replace function passbell.has_column(p_table text, p_column text) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from pg_catalog.pg_attribute a
                    where a.attrelid = to_regclass(p_table) and a.attname = p_column and a.attnum > 0 and not a.attisdropped)
$$;

-- The type without its domain and its length: 'character varying', 'timestamp without time zone', 'protocol_type'.
create or replace function passbell.base_type(p_type oid) returns text
language sql stable
set search_path = ''
set quote_all_identifiers = off         -- else types have quotes as well
as $$
    with recursive base as (
        select t.oid, t.typtype, t.typbasetype from pg_catalog.pg_type t where t.oid = p_type
        union all
        select t.oid, t.typtype, t.typbasetype from base b join pg_catalog.pg_type t on t.oid = b.typbasetype where b.typtype = 'd'
    )
    select format_type(b.oid, null) from base b where b.typtype <> 'd'
$$;
