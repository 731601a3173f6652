-- What people read beside push_campaigns, built from the host's tables as the adapters are:
--
--   public.push_deliveries                   the ledger with the member's name, for a program's administrators and servers
--   public.programs(push_campaigns), …       relations for Supabase's Data API (`select=*,programs(name)`): PostgREST takes
--   public.push_campaigns(programs), …       a function from one row to others for a relation. A foreign key would do the
--                                            same, and would stop the platform from deleting a program
--
-- The view filters inside itself, because PostgreSQL 14 has no security_invoker; the relations run in the caller's name,
-- under the platform's own row security. It reads the host's tables and not passbell.recipients, which an operator may replace.
create or replace function passbell.build_people_views() returns void
language plpgsql
set search_path = ''
as $fn$
declare
    v_pass  constant text := case when passbell.has_column('public.passes_master', 'id') then 'public.passes_master' end;
    v_user  constant text := case when passbell.has_column('public.users', 'id') and passbell.has_column('public.passes_master', 'user_id') then 'public.users' end;
    v_name  text;
begin
    v_name := format('coalesce(nullif(btrim(concat_ws('' '', %s, %s)), ''''), nullif(btrim(concat_ws('' '', %s, %s)), ''''))',
                     passbell.host_column(v_user, 'u', 'first_name', 'text'), passbell.host_column(v_user, 'u', 'last_name', 'text'),
                     passbell.host_column(v_pass, 'p', 'member_first_name', 'text'), passbell.host_column(v_pass, 'p', 'member_last_name', 'text'));
    execute concat_ws(' left join ', format($v$
        create or replace view public.push_deliveries with (security_barrier = true) as
        select d.campaign_id, c.program_id, c.name as campaign_name, d.pass_id, nullif(btrim(%s), '') as external_id, %s as name,
               d.outcome, d.reason, d.detail, d.sent_at
          from passbell.deliveries d
          join public.push_campaigns c on c.id = d.campaign_id $v$, passbell.host_column(v_pass, 'p', 'external_id', 'text'), v_name),
        v_pass || ' p on ' || passbell.key_join('passbell.deliveries', 'd', 'pass_id', v_pass, 'p', 'id'),
        v_user || ' u on ' || passbell.key_join(v_user, 'u', 'id', v_pass, 'p', 'user_id'))
        || ' where (select has_table_privilege(''passbell.settings'', ''select'')) or c.program_id in (select passbell.admin_programs())';
    comment on view public.push_deliveries is 'What became of each recipient of each campaign, for the program''s administrators.';
    perform passbell.open_to_people('select', 'public.push_deliveries');

    perform passbell.build_relation('public.push_campaigns', 'public.push_deliveries', 'id', 'campaign_id');
    perform passbell.build_relation('public.push_campaigns', 'public.push_list_problems', 'id', 'campaign_id');
    perform passbell.build_relation('public.push_automations', 'public.push_campaigns', 'id', 'automation_id');
    perform passbell.build_relation('public.member_imports', 'public.member_import_rows', 'id', 'import_id');
    if passbell.has_column('public.programs', 'id') then
        foreach v_name in array array['push_campaigns', 'push_automations', 'push_suppressions', 'member_imports',
                                      'push_deliveries', 'push_list_problems', 'member_import_rows'] loop
            perform passbell.build_relation('public.programs', 'public.' || v_name, 'id', 'program_id');
        end loop;
    end if;
end
$fn$;

-- A relation in both directions: from a row of p_many to its row of p_one, and from that row to all of its rows in p_many.
drop function if exists passbell.build_relation(text, text, text, boolean);
create or replace function passbell.build_relation(p_one text, p_many text, p_key text, p_reference text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.build_way(p_one, p_many, format('select o.* from %s o where o.%I = $1.%I', p_one, p_key, p_reference), 1);
    perform passbell.build_way(p_many, p_one, format('select m.* from %s m where m.%I = $1.%I', p_many, p_reference, p_key), 100);
end
$$;

-- One direction: a function named after the table it leads to. A function of the host's under that name stays. PostgREST takes
-- `rows 1` for one row, anything else for a list.
create or replace function passbell.build_way(p_to text, p_from text, p_query text, p_rows integer) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_signature  constant text := p_to || '(' || p_from || ')';
begin
    if to_regprocedure(v_signature) is not null and coalesce(obj_description(to_regprocedure(v_signature), 'pg_proc'), '') not like 'Relation for%' then
        return;
    end if;
    -- If a view has replaced the table, its rows have another type, and the function would still return the old one.
    if exists (select from pg_catalog.pg_proc p where p.oid = to_regprocedure(v_signature) and p.prorettype <> to_regtype(p_to)) then
        execute format('drop function %s', v_signature);
    end if;
    execute format('create or replace function %s returns setof %s language sql stable rows %s as %L', v_signature, p_to, p_rows, p_query);
    execute format('comment on function %s is %L', v_signature, 'Relation for the Data API, made by passbell.');
    perform passbell.open_to_people('execute', 'function ' || v_signature);
end
$$;
