-- Builds passbell.award_points(pass_id, points, note) around whichever signature of the host's
-- process_membership_transaction exists. The host reports failure by *returning* {"success": false, "error": …};
-- the wrapper raises it instead, so that a failed award undoes the transaction it stands in. Preferred: the
-- signature by external id with the most arguments we know; then the legacy one by member id; then the _atomic twin.
-- Returns the new balance if the host tells it. Raises PB502 with the host's reason.
create or replace function passbell.build_award_points() returns void
language plpgsql
set search_path = ''
as $fn$
declare
    v_proc  record;
    v_args  text;
begin
    select p.oid, p.proname, p.proargnames, p.proargtypes::oid[] as types
      into v_proc
      from pg_catalog.pg_proc p
     where p.pronamespace = to_regnamespace('public')
       and p.proname in ('process_membership_transaction', 'process_membership_transaction_atomic')
       and (p.proargnames[1 : p.pronargs] @> array['p_external_id', 'p_action', 'p_amount']
            or p.proargnames[1 : p.pronargs] @> array['p_member_id', 'p_transaction_type', 'p_points'])
     order by p.proname = 'process_membership_transaction_atomic',
              not p.proargnames @> array['p_external_id'],
              p.pronargs desc
     limit 1;

    if found then
        select string_agg(format('%I => %s::%s', n.name,
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
                                 end,
                                 format_type(v_proc.types[n.ord - 1], null)), ', ')
          into v_args
          from unnest(v_proc.proargnames) with ordinality as n (name, ord)
         where n.ord <= coalesce(array_length(v_proc.types, 1), 0)
           and n.name in ('p_external_id', 'p_action', 'p_amount', 'p_transaction_amount',
                          'p_member_id', 'p_transaction_type', 'p_points', 'p_description', 'p_metadata');
    end if;

    execute format($v$
        create or replace function passbell.award_points(p_pass_id uuid, p_points integer, p_note text) returns bigint
        language plpgsql
        as $award$
        declare
            v_external_id  text;
            v_answer       jsonb;
        begin
            select r.external_id into v_external_id from passbell.recipients r where r.pass_id = p_pass_id limit 1;
            if not found then
                raise exception 'the pass is not there any more' using errcode = 'PB502';
            end if;
            %s
            if (v_answer ->> 'success')::boolean is not true then
                raise exception '%%', coalesce(v_answer ->> 'error', v_answer ->> 'message', 'the award function gave no reason')
                      using errcode = 'PB502';
            end if;
            return nullif(v_answer ->> 'new_balance', '')::numeric::bigint;
        end
        $award$ $v$,
        case
            when v_args is null
            then 'raise exception ''this database has no process_membership_transaction: points cannot be awarded'' using errcode = ''PB502'';'
            else format('v_answer := to_jsonb(public.%I(%s));', v_proc.proname, v_args)
        end);
    revoke all on function passbell.award_points(uuid, integer, text) from public;
end
$fn$;
