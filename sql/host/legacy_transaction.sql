-- The five-argument spelling that one older caller of the platform still uses: the pass by its uuid, the type 'EARN'.
-- Load it after a generation file, and drop the other signature first to stand for a database that has only this one.
-- It works on every generation: the balance is in passes_master where that column exists, else in protocol_membership.
create function public.process_membership_transaction(
  p_member_id uuid, p_transaction_type text, p_points integer, p_description text, p_metadata jsonb default '{}'
)
returns jsonb
language plpgsql
as $$
declare
  v_in_master   boolean := exists (
    select from information_schema.columns
     where table_schema = 'public' and table_name = 'passes_master' and column_name = 'points_balance');
  v_typed       boolean := to_regtype('public.action_type') is not null;
  v_before      integer;
  v_after       integer;
  v_transaction uuid;
begin
  if p_points is null or p_points <= 0 then
    return jsonb_build_object('success', false, 'error', 'INVALID_AMOUNT');
  end if;
  if p_transaction_type is null or p_transaction_type not in ('EARN', 'REDEEM') then
    return jsonb_build_object('success', false, 'error', 'Unknown transaction type');
  end if;

  if v_in_master then
    execute 'select coalesce(points_balance, 0) from public.passes_master where id = $1 and protocol::text = ''MEMBERSHIP'' for update'
       into v_before using p_member_id;
  else
    select points_balance into v_before from public.protocol_membership where pass_id = p_member_id for update;
  end if;
  if v_before is null then
    return jsonb_build_object('success', false, 'error', 'Pass not found');
  end if;

  v_after := v_before + case p_transaction_type when 'EARN' then p_points else -p_points end;
  if v_after < 0 then
    return jsonb_build_object('success', false, 'error', 'Insufficient points', 'previous_balance', v_before);
  end if;

  if v_in_master then
    execute 'update public.passes_master set points_balance = $2, last_updated = now() where id = $1'
      using p_member_id, v_after;
  else
    update public.protocol_membership set points_balance = v_after where pass_id = p_member_id;
    update public.passes_master set last_updated = now() where id = p_member_id;
  end if;
  execute format(
    'insert into public.transactions (pass_id, action_type, value_change, notes) values ($1, $2%s, $3, $4) returning id',
    case when v_typed then '::public.action_type' else '' end)
    into v_transaction
    using p_member_id, 'MEMBER_' || p_transaction_type, v_after - v_before, p_description;

  return jsonb_build_object(
    'success', true, 'transaction_id', v_transaction, 'previous_balance', v_before, 'new_balance', v_after,
    'notification_message', format('You now have %s points', v_after));
end;
$$;
