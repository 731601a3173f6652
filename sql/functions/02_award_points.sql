-- Builds passbell.award_points(pass_id, points, note) around the host's award function that works. The host reports
-- failure by *returning* {"success": false, "error": …}; the wrapper raises it instead, so that a failed award undoes
-- its transaction. Returns the new balance if the host tells it. Raises PB502 with the host's reason.
--
-- Which function works is found out by trying (award_trial): the platform has shipped one that always raises beside a twin
-- that does the work. If there is no member to try it with, the order is that of the names. If the chosen function
-- turns out to use a name that does not exist (SQLSTATE class 42), the next one is called instead.
create or replace function passbell.build_award_points() returns void
language plpgsql
set search_path = ''
as $fn$
declare
    v_trial  record;
    v_calls  text[] := array[]::text[];
    v_names  text[] := array[]::text[];
    v_body   text;
begin
    -- A function that the operator wrote stays.
    if exists (select from pg_catalog.pg_proc p
                where p.oid = to_regprocedure('passbell.award_points(uuid,integer,text)') and p.prosrc not like '%the pass is not there any more%') then
        return;
    end if;
    for v_trial in select t.signature, t.call from passbell.award_trial() t order by t.place loop
        v_calls := v_calls || v_trial.call;
        v_names := v_names || v_trial.signature;
    end loop;
    v_body := 'raise exception ''this database has no process_membership_transaction: points cannot be awarded'' using errcode = ''PB502'';';
    for i in reverse cardinality(v_calls) .. 1 loop
        v_body := case when i = cardinality(v_calls) then format('v_answer := %s;', v_calls[i])
                       else format(E'begin\n v_answer := %s;\nexception when syntax_error_or_access_rule_violation then\n %s\nend;', v_calls[i], v_body) end;
    end loop;

    execute format($v$
        create or replace function passbell.award_points(p_pass_id uuid, p_points integer, p_note text) returns bigint
        language plpgsql
        as $award$
        declare
            v_external_id  text;
            v_answer       jsonb;
            v_activity     timestamptz;
            v_updated      timestamptz;
            v_known        timestamptz[];
        begin
            select r.external_id, r.last_activity into v_external_id, v_activity from passbell.recipients r where r.pass_id = p_pass_id limit 1;
            if not found then
                raise exception 'the pass is not there any more' using errcode = 'PB502';
            end if;
            select s.updated_at, s.transactions_at into v_updated, v_known from passbell.award_traces(p_pass_id) s;
            %s
            if lower(v_answer ->> 'success') is distinct from 'true' then
                raise exception '%%', coalesce(v_answer ->> 'error', v_answer ->> 'message', 'the award function gave no reason')
                      using errcode = 'PB502';
            end if;
            -- An award is no visit: its transaction is left out of passbell.visits, and what it did to last_updated is undone there.
            insert into passbell.awards as w (pass_id, at, points, activity_before, updated_after)
            select p_pass_id, x.at, p_points, v_activity, nullif(s.updated_at, v_updated)
              from passbell.award_traces(p_pass_id) s
             cross join lateral (select pg_catalog.now() as at
                                 union
                                 select y.at from unnest(s.transactions_at) as y (at) where y.at <> all (v_known)) x
                on conflict (pass_id, at) do update set points = w.points + excluded.points, updated_after = coalesce(excluded.updated_after, w.updated_after);
            return case when v_answer ->> 'new_balance' ~ '^-?[0-9]{1,18}([.][0-9]*)?$' then (v_answer ->> 'new_balance')::numeric::bigint end;
        end
        $award$ $v$, v_body);
    revoke all on function passbell.award_points(uuid, integer, text) from public;

    -- What an award leaves behind: when the platform last touched the pass, and the transactions of this very moment.
    execute format($v$
        create or replace function passbell.award_traces(p_pass_id uuid, out updated_at timestamptz, out transactions_at timestamptz[])
        language sql stable
        set search_path = ''
        as $traces$ select %s, %s $traces$ $v$,
        case when to_regclass('public.passes_master') is null then 'null::timestamptz'
             else format('(select %s from public.passes_master p where p.id = p_pass_id)', passbell.host_column('public.passes_master', 'p', 'last_updated', 'timestamptz')) end,
        case when passbell.visit_condition() is null then '''{}''::timestamptz[]'
             else format('array(select %1$s from public.transactions t where %2$s = p_pass_id and %1$s >= pg_catalog.now())',
                         passbell.host_column('public.transactions', 't', 'created_at', 'timestamptz'),
                         passbell.host_column('public.transactions', 't', 'pass_id', 'uuid')) end);
    revoke all on function passbell.award_traces(uuid) from public;
end
$fn$;

-- The host's award functions, the lowest place first, each with the call as award_points makes it and what became of a trial: one
-- point to one member, rolled back. works: true, it gave the point; false, it raised, `detail` says what; NULL, there is
-- no member to try it with, or it refused that member. Preferred among equals: the signature by external id with the most
-- arguments we know, then the legacy one by member id, then the _atomic twin.
create or replace function passbell.award_trial()
returns table (place integer, signature text, call text, works boolean, detail text)
language plpgsql
set search_path = public, extensions     -- as award_gift: the host's functions may name their tables without a schema
set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    v_member  record;
    v_proc    record;
    v_answer  jsonb;
    v_late    boolean := false;
begin
    select r.pass_id, r.external_id into v_member
      from passbell.recipients r
      left join passbell.programs g on g.program_id = r.program_id
     where r.external_id is not null and r.protocol = 'MEMBERSHIP' and r.reachable and not coalesce(g.suspended, false)
     limit 1;

    for v_proc in
        select p.oid::regprocedure::text as signature, p.proname, p.prorettype in ('text'::regtype, 'varchar'::regtype) as returns_text, row_number() over (
                   order by p.proname = 'process_membership_transaction_atomic', not p.proargnames @> array['p_external_id'], p.pronargs desc) as place,
               (select string_agg(format('%I => %s::%s', n.name,
                                         case n.name
                                             when 'p_external_id'      then 'v_external_id'
                                             when 'p_action'           then quote_literal('MEMBER_EARN')
                                             when 'p_amount'           then 'p_points'
                                             when 'p_member_id'        then 'p_pass_id'
                                             when 'p_transaction_type' then quote_literal('EARN')
                                             when 'p_points'           then 'p_points'
                                             when 'p_description'      then 'p_note'
                                             when 'p_metadata'         then quote_literal('{"source": "passbell"}')
                                             else 'null'
                                         end, format_type((p.proargtypes::oid[])[n.ord - 1], null)), ', ' order by n.ord)
                  from unnest(p.proargnames) with ordinality as n (name, ord)
                 where n.ord <= p.pronargs
                   and n.name in ('p_external_id', 'p_action', 'p_amount', 'p_transaction_amount',
                                  'p_member_id', 'p_transaction_type', 'p_points', 'p_description', 'p_metadata')) as arguments
          from pg_catalog.pg_proc p
         where p.pronamespace = to_regnamespace('public') and p.prokind = 'f'
           and p.proname in ('process_membership_transaction', 'process_membership_transaction_atomic')
           and (p.proargnames[1 : p.pronargs] @> array['p_external_id', 'p_action', 'p_amount']
                or p.proargnames[1 : p.pronargs] @> array['p_member_id', 'p_transaction_type', 'p_points'])
    loop
        place := v_proc.place;
        signature := v_proc.signature;
        call := format(case when v_proc.returns_text then '(public.%I(%s))::jsonb' else 'to_jsonb(public.%I(%s))' end, v_proc.proname, v_proc.arguments);
        works := null;
        detail := 'there is no member to try it with';
        if v_late then
            detail := 'it was not tried, because another one took too long';
        elsif v_member.pass_id is not null then
            begin
                execute format('select %s from (select $1::uuid as p_pass_id, $2::text as v_external_id, 1 as p_points, ''trial'' as p_note) x', call)
                   into v_answer using v_member.pass_id, v_member.external_id;
                raise exception using errcode = 'PB000', message = coalesce(v_answer::text, 'null');    -- gives the point back
            exception
                when sqlstate 'PB000' then
                    v_answer := sqlerrm::jsonb;
                    works := case when lower(v_answer ->> 'success') = 'true' then true end;
                    detail := case when works then null else coalesce(v_answer ->> 'error', v_answer ->> 'message', 'it refused without a reason') end;
                when lock_not_available then
                    detail := 'its trial had to wait for a lock';
                when query_canceled then      -- a time-out strikes once per statement: another trial would run without one
                    works := false;
                    detail := 'its trial took too long';
                    v_late := true;
                when assert_failure or others then
                    works := false;
                    detail := sqlerrm;
            end;
        end if;
        place := place + case works when true then 0 when false then 200 else 100 end;
        return next;
    end loop;
end
$$;

-- Stores awards that were given before passbell kept them: a gift's log row and its transaction have the same instant. The
-- member's activity before the gift is the last visit before it, else the day on which the member joined.
create or replace function passbell.backfill_awards() returns void
language plpgsql
set search_path = ''
as $$
begin
    if passbell.visit_condition() is null or not passbell.has_column('public.birthday_logs', 'created_at') then
        return;
    end if;
    execute format($q$
        insert into passbell.awards (pass_id, at, points, activity_before, updated_after)
        select l.pass_id, l.created_at, null, coalesce((select max(v.at) from passbell.visits v where v.pass_id = l.pass_id and v.at < l.created_at), %1$s, 'epoch'), l.created_at
          from (select %2$s as pass_id, %3$s as created_at from public.birthday_logs b) l
         where l.pass_id is not null and l.created_at is not null
           and not exists (select from passbell.awards a where a.pass_id = l.pass_id and a.at = l.created_at)
           and exists (select from public.transactions t where %5$s = l.pass_id and %4$s = l.created_at)
        on conflict do nothing $q$,
        case when passbell.has_column('public.users', 'created_at') and passbell.has_column('public.passes_master', 'user_id')
             then format('(select %s from public.users u join public.passes_master p on %s where p.id = l.pass_id and %1$s < l.created_at)',
                         passbell.host_column('public.users', 'u', 'created_at', 'timestamptz'),
                         passbell.key_join('public.users', 'u', 'id', 'public.passes_master', 'p', 'user_id'))
             else 'null' end,
        passbell.host_column('public.birthday_logs', 'b', 'pass_id', 'uuid'),
        passbell.host_column('public.birthday_logs', 'b', 'created_at', 'timestamptz'),
        passbell.host_column('public.transactions', 't', 'created_at', 'timestamptz'),
        passbell.host_column('public.transactions', 't', 'pass_id', 'uuid'));
end
$$;
