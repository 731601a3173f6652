-- What the host's rules refuse: the sentence about an error, whether it passes by itself, and changes that a rule or trigger
-- swallows without an error. Which campaigns are left alone for it: 25_set_aside.

-- The database's words as a sentence shows them: the first line, shortened, without the full stop.
create or replace function passbell.host_words(p_message text) returns text
language plpgsql immutable
set search_path = ''
as $$
begin
    return coalesce(nullif(rtrim(left(split_part(btrim(p_message, E' \t\r\n'), E'\n', 1), 300), '. '), ''), 'no reason was given');
end
$$;

-- May every login create objects in a schema of the host's? Then passbell's functions do not look into it (99_grants).
create or replace function passbell.is_open_schema(p_schema name) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from pg_catalog.pg_namespace n
                    cross join lateral pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a
                    where n.nspname = p_schema and a.privilege_type = 'CREATE'
                      and (a.grantee = 0 or exists (select from pg_catalog.pg_roles r where r.oid = a.grantee and r.rolname in ('anon', 'authenticated'))))
$$;

-- Why a function of the host does not find what it names without a schema, and the remedy; NULL for any other error.
create or replace function passbell.unseen_words(p_sqlstate text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    if p_sqlstate in ('42P01', '42883', '42704') and passbell.is_open_schema('public') then
        return 'Everybody may create objects in the schema public, so passbell does not look into it: run `revoke create on schema public from public` '
               'and then `passbell migrate`, or let the function name its schema.';
    end if;
    return null;
end
$$;

-- The host's rules that it has deferred to the commit (deferrable initially deferred), by name; NULL if there is none.
create or replace function passbell.deferred_rules() returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return (select string_agg(distinct format('%I.%I', n.nspname, k.conname), ', ')
              from pg_catalog.pg_constraint k
              join pg_catalog.pg_namespace n on n.oid = k.connamespace
             where k.condeferrable and k.condeferred and has_schema_privilege(n.oid, 'usage'));
end
$$;

-- Checks the host's deferred rules now, in the subtransaction of one person or row, so that a refusal undoes that one alone. At
-- the commit it would undo the others as well. Afterwards the rules are deferred again, because a function of the host may
-- write in an order that needs it. p_rules: deferred_rules(), asked once for many.
create or replace function passbell.hear_deferred(p_rules text) returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_rules is not null then
        set constraints all immediate;
        execute 'set constraints ' || p_rules || ' deferred';
    end if;
end
$$;

-- The sentence about an error; p_doing says what was tried ("to start this campaign").
create or replace function passbell.refusal(p_doing text, p_sqlstate text, p_message text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return case
        when p_sqlstate like 'PB4%' then p_message
        when p_sqlstate = 'PB503' then 'Waiting: ' || p_message
        when p_sqlstate = '23514' and strpos(p_message, '"push_campaigns_counts"') > 0 then       -- ours: the counters are no more than the recipients
             format('The database refuses %s: a rule or trigger on push_campaigns changes the counters.', p_doing)
        when p_sqlstate = '55P03' and p_message !~ '^(canceling statement due to lock timeout|could not obtain lock on )' then       -- a rule's own words
             format('Waiting: a lock is missing %s: %s.', p_doing, passbell.host_words(p_message))
        when p_sqlstate = '55P03' then format('Waiting: another session of the database holds a lock that is needed %s.', p_doing)
        when p_sqlstate = '57014' then format('Waiting: the database did not allow enough time %s (%s).', p_doing, passbell.host_words(p_message))
        when passbell.is_passing(p_sqlstate) then format('Waiting: the database could not do it just now, when asked %s: %s.', p_doing, passbell.host_words(p_message))
        else concat_ws(' ', format('The database refuses %s: %s.', p_doing, passbell.host_words(p_message)), passbell.unseen_words(p_sqlstate)) end;
end
$$;

-- May the same statement succeed later, without a person? Locks, deadlocks, serialization, time-outs, memory, disks; and what row
-- security hides for now (PB503).
create or replace function passbell.is_passing(p_sqlstate text) returns boolean
language plpgsql immutable
set search_path = ''
as $$
begin
    return p_sqlstate in ('55P03', 'PB503') or left(p_sqlstate, 2) in ('40', '53', '57', '58');
end
$$;

-- A conflict after which a transaction of a stricter isolation level has to be run again. READ COMMITTED has none.
create or replace function passbell.is_conflict(p_sqlstate text) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return p_sqlstate = '40001' and current_setting('transaction_isolation') <> 'read committed';
end
$$;

-- The pause after the p_times-th attempt in vain: 30 s, doubling to an hour; 1 s, doubling to 30 s, if it passes by itself.
create or replace function passbell.pause_after(p_times integer, p_passing boolean) returns interval
language plpgsql immutable
set search_path = ''
as $$
begin
    return make_interval(secs => case when p_passing then least(30, power(2, least(p_times, 12) - 1))
                                      else least(3600, 30 * power(2, least(p_times, 12) - 1)) end);
end
$$;

-- The row says something else than was written to it: a rule or a trigger has changed it on the way.
create or replace function passbell.refuse_counters() returns void
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'a rule or trigger on push_campaigns changes the counters' using errcode = 'PB500';
end
$$;

-- A row that people asked for, or a change of one, is not there: a trigger or a rule (CREATE RULE) of the host's leaves it out.
-- Their statements name the row beforehand and read it afterwards. RETURNING is not used: PostgreSQL refuses it for a table with a
-- rule, so that a rule for one program would refuse the orders of all.
create or replace function passbell.swallowed(p_table text) returns void
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'A rule or trigger on % swallows the change: nothing was done.', p_table using errcode = 'PB422';
end
$$;

-- Has a table of the host's a rule (CREATE RULE), or is it a view? Then PostgreSQL refuses ON CONFLICT and RETURNING there, and writes in WITH.
create or replace function passbell.has_rules(p_table text) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return coalesce((select c.relhasrules from pg_catalog.pg_class c where c.oid = to_regclass(p_table)), false);
end
$$;

-- An UPDATE that touched no row: fine if the campaign is gone, else a rule or a trigger has swallowed it.
create or replace function passbell.require_change(p_campaign uuid) returns void
language plpgsql stable
set search_path = ''
as $$
begin
    if exists (select from public.push_campaigns c where c.id = p_campaign) then
        raise exception 'a rule or trigger on push_campaigns swallows the change' using errcode = 'PB500';
    end if;
end
$$;
