-- Why a trial order was refused, as a sentence with the remedy.
create or replace function passbell.order_refusal(p_message text, p_constraint text, p_column text) returns text
language sql stable
set search_path = ''
as $$
    select format('The table push_campaigns refuses the campaigns that passbell keeps there: %s%s. Remedy: %s.', passbell.host_words(p_message), ' (' || d.definition || ')',
        case when d.definition is not null and p_constraint in ('push_campaigns_status_known', 'push_campaigns_kind_known', 'push_campaigns_counts')
                  then 'a trigger or rule of the platform''s on push_campaigns changes these columns; let it leave them alone'
             when d.definition is not null then format('alter table public.push_campaigns drop constraint %I', p_constraint)
             when p_constraint <> '' and to_regclass('public.' || quote_ident(p_constraint)) is not null then format('drop index public.%I', p_constraint)
             when p_column <> '' then format('alter table public.push_campaigns alter column %I drop not null', p_column)
             else 'change the trigger, rule or column type that refuses it' end)
      from (select (select pg_catalog.pg_get_constraintdef(k.oid) from pg_catalog.pg_constraint k
                     where k.conrelid = 'public.push_campaigns'::regclass and k.conname = p_constraint) as definition) d
$$;

-- Would the host's rules let a campaign through? Four are ordered and walked through their states as the daemon does it, and
-- undone at once. Answers the refusal as a sentence with its remedy, or NULL: nothing refuses, or this role or moment cannot
-- tell. A trigger that stops single campaigns is not found here; those say so in status_detail (25_set_aside).
create or replace function passbell.order_trial() returns text
language plpgsql
set search_path = ''
set lock_timeout = '2s'
as $$
declare
    v_program     uuid;
    v_id          uuid;
    v_end         text;
    v_name        constant text := 'A trial of passbell''s, undone at once';
    v_text        text;
    v_constraint  text;
    v_column      text;
begin
    select g.program_id into v_program from passbell.programs g order by g.program_id limit 1;
    if not found and exists (select from pg_catalog.pg_attribute a where a.attrelid = 'public.push_campaigns'::regclass and a.attname = 'program_id' and a.attnotnull) then
        return null;
    end if;
    begin
        perform passbell.engine_begins();
        foreach v_end in array array['COMPLETED', 'FAILED', 'CANCELLED', 'PAUSED'] loop
            v_id := gen_random_uuid();
            insert into public.push_campaigns (id, program_id, name, message_text, status, kind)
            values (v_id, v_program, v_name || ' ' || v_end, v_name, 'PENDING', case v_end when 'FAILED' then 'BIRTHDAY' when 'CANCELLED' then 'TEST' when 'PAUSED' then 'AUTOMATION' else 'BROADCAST' end);
            update public.push_campaigns c set status = 'PROCESSING', started_at = passbell.now(), recipient_count = 3 where c.id = v_id;
            update public.push_campaigns c set sent_count = 1, failed_count = 1, skipped_count = 1 where c.id = v_id;
            update public.push_campaigns c
               set status = v_end, status_detail = rpad(v_name, 300, '.'), completed_at = case when v_end <> 'PAUSED' then passbell.now() end
             where c.id = v_id;
            if not found then
                raise exception 'row security, a rule or a trigger of the platform''s hides the row from %', current_user using errcode = 'PB001';
            end if;
        end loop;
        raise exception using errcode = 'PB000';        -- undoes all of it
    exception
        when sqlstate 'PB000' then
            return null;
        when insufficient_privilege or read_only_sql_transaction or lock_not_available then
            return case when sqlstate = '42501' then 'Campaigns cannot be read: ' || passbell.hidden_words('public.push_campaigns') end;
        when query_canceled then
            return 'A trial campaign in push_campaigns took too long: a trigger or rule of the platform''s hangs there. Remedy: mend or drop it (`\d push_campaigns` lists them).';
        when assert_failure or others then
            get stacked diagnostics v_constraint = constraint_name, v_column = column_name, v_text = message_text;
            if passbell.unseen_words(sqlstate) is not null then       -- migration_warnings says it better
                return null;
            end if;
            return passbell.order_refusal(v_text, v_constraint, v_column);
    end;
end
$$;

-- What a person should know after a migration: problems that passbell may not mend by itself.
create or replace function passbell.migration_warnings() returns table (warning text)
language plpgsql
set search_path = ''
as $$
declare
    v_refusal  constant text := passbell.order_trial();
begin
    if to_regclass('public.programs') is null or to_regclass('public.passes_master') is null then
        return query select 'The platform''s tables (programs, passes_master) are not there yet: migrate again when they are.';
    end if;
    if not passbell.birthday_guard_exists() then
        return query select format('public.birthday_logs has no UNIQUE (pass_id, year) and duplicates forbid it: %s. Birthday gifts are off. Remove the duplicates, then migrate again.',
                                   coalesce(passbell.birthday_duplicates(), 'none any more'));
    end if;
    return query
        select format('The time zone "%s" of %s is not understood: America/New_York is used. Write it like Europe/Berlin or UTC+2.', left(g.timezone, 60),
                      string_agg('"' || coalesce(g.name, g.program_id::text) || '"', ', ' order by g.name))
          from passbell.programs g
         where nullif(btrim(g.timezone), '') is not null and passbell.known_zone(g.timezone) is null
         group by g.timezone;
    if passbell.is_open_schema('public') then
        return query
            select format('Everybody may create objects in the schema public, so passbell does not look into it when the platform''s triggers run. '
                          'Those that name tables without a schema fail then, and stop campaigns: %s. Run `revoke create on schema public from public`, then `passbell migrate`.',
                          string_agg(format('%s on %s', t.tgname, t.tgrelid::regclass), ', ' order by t.tgname))
              from pg_catalog.pg_trigger t
              join pg_catalog.pg_proc p on p.oid = t.tgfoid
             where t.tgrelid in (to_regclass('public.push_campaigns'), to_regclass('public.notification_logs'), to_regclass('public.birthday_logs'))
               and not t.tgisinternal and t.tgenabled <> 'D' and p.pronamespace <> 'passbell'::regnamespace
               and not exists (select from unnest(p.proconfig) c where starts_with(c, 'search_path='))
            having count(*) > 0;
    end if;
    if v_refusal is not null then
        return query select v_refusal;
    end if;
    -- What an earlier layout of the table was given in Supabase Studio: policies are added up, and one of these lets every
    -- signed-in user at the campaigns of every program. One that looks at the row, asks a table or calls a function has a reason of its own.
    return query
        select format('The policy "%s" of %s gives every signed-in user access to the rows of all programs. Run `drop policy %I on %2$s`: passbell''s own policies give administrators access to the rows of their programs.',
                      p.polname, p.polrelid::regclass, p.polname)
          from pg_catalog.pg_policy p
         where p.polrelid in (to_regclass('public.push_campaigns'), to_regclass('public.member_imports'), to_regclass('public.push_automations'), to_regclass('public.push_suppressions'))
           and p.polpermissive and p.polname not like 'passbell\_%'
           and (0 = any (p.polroles) or exists (select from pg_catalog.pg_roles r where r.rolname = 'authenticated' and r.oid = any (p.polroles)))
           and regexp_replace(concat_ws(' ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), '\m(auth\.)?(uid|role)\(\)', '', 'gi')
               !~* '\mfrom\M|\m\w+\s*\('
           and not exists (select from pg_catalog.pg_depend d
                            where d.classid = 'pg_catalog.pg_policy'::regclass and d.objid = p.oid and d.refobjid = p.polrelid and d.refobjsubid > 0)
         order by 1;
    return query
        select format('birthday_logs.%s must be filled in and has no default, so that no birthday gift can be noted or given. Run `alter table public.birthday_logs alter column %1$I drop not null`, or set a default.', a.attname)
          from pg_catalog.pg_attribute a
         where a.attrelid = to_regclass('public.birthday_logs') and a.attnum > 0 and not a.attisdropped and a.attnotnull and not a.atthasdef and a.attidentity = ''
           and a.attname not in ('pass_id', 'program_id', 'year', 'local_date', 'created_at', 'points_awarded', 'message_sent')
         order by a.attnum;
    if passbell.consent_trouble() is not null then
        return query select passbell.consent_trouble();
    end if;
    if passbell.all_hidden('public.programs') is not null then
        return query select 'Programs cannot be read: ' || passbell.all_hidden('public.programs');
    end if;
end
$$;
