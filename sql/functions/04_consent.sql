-- Opt-outs: whether they can be read, and which rows of the host row security hides from passbell.

-- Is the column one of those that lead from a pass to its member's answer? Without one of them no member would count as opted out.
-- preflight.sql has the same three.
create or replace function passbell.is_consent_column(p_relation text, p_column text) returns boolean
language sql immutable
set search_path = ''
as $$
    select (p_relation, p_column) in (('public.users', 'marketing_opt_in'), ('public.users', 'id'), ('public.passes_master', 'user_id'))
$$;

-- Does row security keep rows of a table of the host's from the owner of passbell's views (FORCE ROW LEVEL SECURITY, or a table of
-- another owner)? Then rows may exist that are not seen. Returns half a sentence with the remedy, or NULL. Runs as the owner, because
-- the views read with the owner's rights.
create or replace function passbell.hidden_words(p_table text) returns text
language plpgsql stable
security definer
set search_path = ''
as $$
begin
    if row_security_active(to_regclass(p_table)) then
        return format('row security on %s hides rows from %s. Nothing is sent until it may read them: '
                      'alter table %1$s no force row level security, or give the role BYPASSRLS.', p_table, current_user);
    end if;
    return null;
end
$$;

-- hidden_words of a table of which no row is seen; NULL if one is, and of an empty table without row security.
create or replace function passbell.all_hidden(p_table text) returns text
language plpgsql stable
security definer
set search_path = ''
as $$
declare
    v_table  constant regclass := to_regclass(p_table);
    v_seen   boolean := true;
begin
    if row_security_active(v_table) then
        execute format('select exists (select from %s)', v_table) into v_seen;
    end if;
    return case when not v_seen then passbell.hidden_words(p_table) end;
end
$$;

-- Is all of users or passes_master hidden? Every claim of a chunk asks, because look_at_consent notices only at its next turn. Where
-- nothing hides rows, no table is read.
create or replace function passbell.members_are_hidden() returns boolean
language plpgsql stable
security definer
set search_path = ''
as $$
begin
    if row_security_active(to_regclass('public.users')) or row_security_active(to_regclass('public.passes_master')) then
        return coalesce(passbell.all_hidden('public.users'), passbell.all_hidden('public.passes_master')) is not null;
    end if;
    return false;
end
$$;

-- The sentence about a program that is not found.
create or replace function passbell.no_program(p_program uuid) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return coalesce('The program ' || p_program || ' is not seen: ' || passbell.hidden_words('public.programs'),
                    format('There is no program %s.', coalesce(p_program::text, '(none given)')));
end
$$;

-- Can passbell still read who opted out? A message to a member who opted out is the worst that can happen here. So if
-- something hides opt-outs, everything stops until it is mended: no campaign starts, no chunk is handed out, previews refuse.
-- Returns one sentence with the remedy, or NULL. Three things hide them:
--
--   a column on the way to them (is_consent_column), or its table, was renamed or dropped: the platform writes its opt-outs
--   somewhere else by now, and migrate would build a view that takes every member for opted in;
--   the adapter is gone: DROP TABLE … CASCADE takes the views along;
--   row security on public.users hides rows from the owner (FORCE ROW LEVEL SECURITY, or another owner than passbell's):
--   no row is visible there, or passes belong to people whose rows are not (a sample of a thousand passes is checked). All
--   of public.passes_master hidden stops everything as well: each member would look deleted.
--
-- The campaign loop asks at every turn, every daemon at its start and once an hour; so do previews, check and migrate. Runs
-- as the owner, because the views read with the owner's rights.
create or replace function passbell.consent_trouble() returns text
language plpgsql stable
security definer
set search_path = ''
as $$
declare
    v_column  record;
    v_hidden  boolean := false;
begin
    if passbell.hang_words('users') is not null then        -- it hung a moment ago (38_host_hangs)
        return passbell.hang_words('users');
    end if;
    if passbell.is_own_view('recipients') then
        return null;
    end if;
    if to_regclass('passbell.recipients') is null then
        return 'Opt-outs cannot be read: the view passbell.recipients is gone; a table that it reads was dropped. Nothing is sent until `passbell migrate` has made it again.';
    end if;
    select replace(h.relation, 'public.', '') as relation, to_regclass(h.relation) is null as is_gone, h.column_name, a.attname::text as now_called into v_column
      from passbell.host_columns h
      left join pg_catalog.pg_attribute a on a.attrelid = to_regclass(h.relation) and a.attnum = h.number and not a.attisdropped
     where passbell.is_consent_column(h.relation, h.column_name) and not passbell.has_column(h.relation, h.column_name)
     order by h.relation desc, h.column_name = 'marketing_opt_in' desc
     limit 1;
    if v_column.is_gone then
        return format('Opt-outs cannot be read: the table %s is gone. Nothing is sent until it is back.', v_column.relation);
    elsif found then
        return format('Opt-outs cannot be read: %s.%s is gone%s. Nothing is sent until it is back.', v_column.relation, v_column.column_name,
                      coalesce('; the column is now called ' || v_column.now_called, ''));
    end if;
    if passbell.all_hidden('public.passes_master') is not null then
        return 'Members cannot be read: ' || passbell.all_hidden('public.passes_master');
    end if;
    if to_regclass('public.users') is null then
        return null;
    end if;
    if row_security_active('public.users'::regclass) and passbell.has_column('public.users', 'id') and passbell.has_column('public.passes_master', 'user_id') then
        execute format('select not exists (select from public.users) or exists (select from (select p.user_id from public.passes_master p where p.user_id is not null limit 1000) p
                                        where not exists (select from public.users u where %s))',
                       passbell.key_join('public.users', 'u', 'id', 'public.passes_master', 'p', 'user_id'))
           into v_hidden;
    end if;
    if v_hidden then
        return format('Opt-outs cannot be read: row security on public.users hides members from %s. Nothing is sent until it may read them: '
                      'alter table public.users no force row level security, or give the role BYPASSRLS.', current_user);
    end if;
    return null;
end
$$;

-- Keeps passbell.settings.consent_problem up to date, which the claims of chunks read.
create or replace function passbell.look_at_consent() returns text
language plpgsql
set search_path = ''
as $$
declare
    v_trouble  text;
    v_context  text;
    v_message  text;
begin
    begin
        v_trouble := passbell.consent_trouble();
        delete from passbell.host_hangs h where h.relation = 'users' and h.next_look_at <= passbell.now();
    exception when query_canceled then
        if not passbell.was_cut() then
            raise;
        end if;
        get stacked diagnostics v_context = pg_exception_context, v_message = message_text;
        perform passbell.note_hang('users', v_message, v_context);
        return passbell.hang_words('users');
    end;
    update passbell.settings s set consent_problem = v_trouble where s.consent_problem is distinct from v_trouble;
    return v_trouble;
end
$$;

-- Remembers which columns of the host the adapters read, by number: a column that is renamed keeps its number. Called by
-- migrate once they are built. What was remembered before and is gone now stays, so that it is noticed.
create or replace function passbell.remember_columns() returns void
language sql
set search_path = ''
as $$
    insert into passbell.host_columns as h (relation, column_name, number)
    select w.relation, w.name, a.attnum
      from (values ('public.users', 'marketing_opt_in'), ('public.users', 'id'), ('public.passes_master', 'user_id'),
                   ('public.passes_master', 'is_active'), ('public.passes_master', 'status'), ('public.passes_master', 'external_id'),
                   ('public.passes_master', 'passkit_internal_id'), ('public.programs', 'is_suspended'), ('public.programs', 'passkit_program_id'),
                   ('public.users', 'birth_date'), ('public.users', 'phone_number'),
                   ('public.programs', 'timezone'), ('public.programs', 'birthday_bot_enabled'), ('public.programs', 'birthday_reward_points'),
                   ('public.programs', 'birthday_message')) as w (relation, name)
      join pg_catalog.pg_attribute a on a.attrelid = to_regclass(w.relation) and a.attname = w.name and a.attnum > 0 and not a.attisdropped
    on conflict (relation, column_name) do update set number = excluded.number where h.number <> excluded.number
$$;
