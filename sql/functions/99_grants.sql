-- Who may do what. Last of all files, so that whatever the others made is covered, the adapters included; runs again
-- with every migrate and says everything anew. docs/security.md has the table of roles.
--
--   anon             nothing
--   authenticated    push_campaigns of their own programs (row level security), the push_ functions for the same
--   service_role     the owner's tables, all public functions, reading everything of ours
--   passbell_daemon  (optional: `create role passbell_daemon login …`, then migrate) what `passbell run` needs, no more:
--                    the daemon's functions, two tables to copy files into, two to read
--   passbell_web     (optional, likewise) what `passbell web` needs: the page's functions, the same two tables to copy files
--                    into, settings and segments to read. It acts for every program, as the API's keys do
--
-- EXECUTE is PUBLIC's by default, so it is revoked from PUBLIC, and by name where old Supabase projects grant it by
-- default privileges. Since 30 Oct 2026 new tables in `public` need explicit grants for the Data API. The owner of the
-- tables is not subject to row level security; the daemon connects as the owner unless its URL names another role.

do $$
declare
    v_function  record;
    v_ids       oid[];
    v_schemas   text[];
    v_names     text[];
    v_signed    text[];
    v_host_path text;
    v_table     text;
    v_role      text;
    v_action    text;
    v_people    constant text[] := array(select r.rolname::text from pg_catalog.pg_roles r
                                          where r.rolname in ('anon', 'authenticated', 'service_role', 'passbell_daemon', 'passbell_web') order by 1);
    -- What `passbell run` calls. They run as their owner, so that the daemon's role needs no rights on any table of the host.
    v_daemon    constant text[] := array[
        'account_settings',
        'accounts_mark',
        'serve_accounts',
        'automation_batch',
        'automation_failed',
        'begin_list',
        'birthday_run_failed',
        'bury_workers',
        'claim_automation_run',
        'claim_birthday_run',
        'claim_campaign',
        'claim_chunk',
        'claim_import',
        'claim_probe',
        'claim_prune',
        'close_breaker',
        'count_due_results',
        'drain_cancelled',
        'explain_waiting',
        'finish_birthday_run',
        'finish_chunk',
        'gift_batch',
        'heartbeat',
        'import_batch',
        'import_encoding',
        'import_failed',
        'import_staged',
        'list_encoding',
        'list_failed',
        'list_loaded',
        'look_again',
        'neighbours',
        'open_breaker',
        'prune',
        'queue_state',
        'register_worker',
        'release_automation_runs',
        'release_birthday_runs',
        'release_import',
        'release_list_load',
        'rest_run',
        'renew_import',
        'renew_leases',
        'renew_list_load',
        'slow_claim',
        'take_slots',
        'throttle',
        'unregister_worker',
        'watch_wallets',
        'withdrawn',
        'work_waiting'];
    -- What `passbell web` calls, likewise.
    v_web       constant text[] := array[
        'account_list',
        'automation_cards',
        'automation_history',
        'begin_request',
        'birthday_history',
        'birthdays_ahead',
        'campaign_card',
        'campaign_page',
        'campaign_reasons',
        'cancel_import',
        'close_list_order',
        'daemon_list',
        'delete_automation',
        'delivery_page',
        'discard_draft',
        'end_request',
        'end_session',
        'find_program',
        'forget_request',
        'import_batch',
        'import_cards',
        'import_report',
        'import_staged',
        'known_campaigns',
        'list_reasons',
        'member_import',
        'open_import',
        'open_list_order',
        'open_session',
        'order_outlook',
        'order_warnings',
        'order_push',
        'order_test',
        'order_verb',
        'page_campaign',
        'page_draft',
        'page_import_rows',
        'page_occasions',
        'page_program',
        'page_program_results',
        'page_report',
        'page_save_draft',
        'page_submit_draft',
        'page_verdicts',
        'page_when',
        'preview_list',
        'program_list',
        'program_moment',
        'release_import',
        'require_order',
        'require_scope',
        'sample_message',
        'sample_messages',
        'save_automation',
        'session_holds',
        'set_message_limits',
        'suppress',
        'suppression_list',
        'unsuppress'];
    v_web_public constant text[] := array['automation_preview', 'automation_results', 'get_birthdays_today', 'push_plan', 'push_preview',
        'push_results', 'push_results_total', 'run_birthdays'];
    -- Of schema passbell, what people's servers may call besides push_: nothing here changes anything.
    v_server    constant text[] := array['check_conservation', 'is_admin_of', 'admin_programs', 'queue_state', 'sample_messages',
        'daemons_running', 'message_warnings', 'order_outlook'];
    -- What the policies below call in the caller's name.
    v_policy    constant text[] := array['admin_programs', 'is_admin_of'];
begin
    -- Functions ----------------------------------------------------------------------------------------------
    -- One statement for all of them, and one for each role: each change of a function throws away what the session has
    -- cached of it, and there are hundreds.
    select array_agg(f.id), array_agg(f.schema), array_agg(f.name), array_agg(f.signature)
      into v_ids, v_schemas, v_names, v_signed
      from passbell.own_functions() f;
    execute format('revoke all on function %s from %s',
                   array_to_string(v_signed, ', '),
                   concat_ws(', ', 'public', (select string_agg(quote_ident(p), ', ') from unnest(v_people) p)));
    for v_function in
        select g.grantee, string_agg(f.signature, ', ') as signatures
          from unnest(v_schemas, v_names, v_signed) f (schema, name, signature)
         cross join lateral (values
               ('service_role', f.schema = 'public'
                -- Functions in a view are called as its reader; these only look at their argument (07_reading).
                or f.name like 'read\_%' or f.name = 'is_visit'
                or f.name = any (v_server)),
               ('authenticated', f.schema = 'public' and (f.name like 'push\_%' and f.name <> 'push_forget'
                                 or f.name in ('get_due', 'run_automations', 'automation_preview', 'automation_results'))
                or f.name = any (v_policy)),
               ('passbell_daemon', f.schema = 'passbell' and f.name = any (v_daemon)),
               ('passbell_web', f.schema = 'passbell' and f.name = any (v_web)
                or f.schema = 'public' and f.name = any (v_web_public))
               ) as g (grantee, is_due)
         where g.is_due
         group by g.grantee
    loop
        perform passbell.grant_to(v_function.grantee, 'execute on function ' || v_function.signatures);
    end loop;

    -- What the daemon's and the page's roles call runs as its owner.
    --
    -- An empty search path still looks into the session's temporary schema first, for tables and *types*: a domain named
    -- text or uuid made there would run its maker's code in our name. Named last, it is looked into last.
    --
    -- A trigger of the host's runs with the search path of the function that writes the row, and usually names its tables
    -- without a schema, as Supabase Studio lets it: those of our functions that write where the host may have triggers look
    -- into the host's schemas as well. Not into one where strangers may create: an operator made there for just our types
    -- would run in our name.
    --
    -- The body of a function is read anew in every session. Where standard_conforming_strings is off, as any login may set
    -- it, '\s' in it would be an s: the rules would judge other texts than they were written for. (Functions without a
    -- search path disappear into their caller and cannot have a setting: theirs are E'' strings.)
    select 'pg_catalog, ' || string_agg(quote_ident(n.nspname) || ', ', '' order by n.nspname = 'extensions') || 'pg_temp'
      into v_host_path
      from pg_catalog.pg_namespace n
     where n.nspname in ('public', 'extensions')
       and not passbell.is_open_schema(n.nspname);
    for v_function in
        select f.signature,
               concat_ws(' ',
                   case when f.schema = 'passbell' and f.name = any (v_daemon || v_web) then 'security definer' end,
                   case when w.path is distinct from s.path then 'set search_path = ' || w.path end,
                   case when strpos(p.prosrc, E'\\') > 0 and s.path is not null
                             and not exists (select from unnest(p.proconfig) c where starts_with(c, 'standard_conforming_strings='))
                        then 'set standard_conforming_strings = on' end) as actions
          from unnest(v_ids, v_schemas, v_names, v_signed) f (id, schema, name, signature)
          join pg_catalog.pg_proc p on p.oid = f.id
          left join lateral (select substr(c, length('search_path=') + 1) as path
                               from unnest(p.proconfig) c where starts_with(c, 'search_path=')) s on true
         cross join lateral (select case when s.path like '%pg_temp%' then s.path
                                         when s.path in ('""', '') then 'pg_catalog, pg_temp'
                                         else s.path || ', pg_temp' end as path) t
         cross join lateral (select case when t.path = 'pg_catalog, pg_temp'
                                              and p.prosrc ~* '\m(update|insert\s+into|delete\s+from)\s+public[.](push_campaigns|notification_logs|birthday_logs)\M'
                                         then coalesce(v_host_path, t.path) else t.path end as path
                             offset 0) w      -- or each source is searched twice
    loop
        continue when v_function.actions = '';
        execute format('alter function %s %s', v_function.signature, v_function.actions);
    end loop;

    -- Our schema ---------------------------------------------------------------------------------------------
    execute 'revoke all on schema passbell from public';
    execute 'revoke all on all tables in schema passbell from public';
    foreach v_role in array v_people loop
        execute format('revoke all on schema passbell from %I', v_role);
        execute format('revoke all on all tables in schema passbell from %I', v_role);
    end loop;
    perform passbell.grant_to('authenticated', 'usage on schema passbell');     -- for the policies, nothing else
    perform passbell.grant_to('service_role', 'usage on schema passbell');
    perform passbell.grant_to('service_role', 'select on all tables in schema passbell');
    if 'service_role' = any (v_people) then
        revoke all on passbell.secrets from service_role;       -- what the engine's mark is made with: the owner's alone
    end if;
    perform passbell.grant_to('passbell_daemon', 'usage on schema passbell');
    perform passbell.grant_to('passbell_daemon', 'select on passbell.settings, passbell.rate_limits');
    perform passbell.grant_to('passbell_daemon', 'insert on passbell.list_pages, passbell.import_staged');
    perform passbell.grant_to('passbell_web', 'usage on schema passbell');
    perform passbell.grant_to('passbell_web', 'select on passbell.settings, passbell.segments');
    perform passbell.grant_to('passbell_web', 'insert on passbell.list_pages, passbell.import_staged');

    -- Our tables in public: row level security, and a policy per action for the program's administrators ------------
    foreach v_table in array array['push_campaigns', 'member_imports', 'push_automations', 'push_suppressions'] loop
        continue when to_regclass('public.' || v_table) is null;
        execute format('alter table public.%I enable row level security', v_table);
        execute format('revoke all on public.%I from public', v_table);
        foreach v_role in array v_people loop
            execute format('revoke all on public.%I from %I', v_table, v_role);
        end loop;
        perform passbell.grant_to('service_role', format('select, insert, update, delete on public.%I', v_table));
        perform passbell.grant_to('authenticated', format('select, insert, update%s on public.%I',
                                  case when v_table in ('push_automations', 'push_suppressions') then ', delete' else '' end, v_table));
        foreach v_action in array array['select', 'insert', 'update', 'delete'] loop
            perform passbell.put_policy(v_table, v_action, 'authenticated' = any (v_people)
                                                           and (v_action <> 'delete' or v_table in ('push_automations', 'push_suppressions')));
        end loop;
    end loop;

    -- The owner's log tables. Their policies and grants are the owner's; those that 0001 had to make itself (it left its
    -- comment on them) are read by the program's administrators, written by servers.
    foreach v_table in array array['notification_logs', 'birthday_logs'] loop
        perform passbell.grant_to('service_role', format('select, insert, update, delete on public.%I', v_table));
        continue when coalesce(obj_description(to_regclass('public.' || v_table), 'pg_class'), '') not like 'Made by passbell%';
        execute format('alter table public.%I enable row level security', v_table);
        foreach v_role in array v_people loop
            continue when v_role = 'service_role';
            execute format('revoke all on public.%I from %I', v_table, v_role);
        end loop;
        perform passbell.grant_to('authenticated', format('select on public.%I', v_table));
        perform passbell.put_policy(v_table, 'select', 'authenticated' = any (v_people));
    end loop;
end
$$;
