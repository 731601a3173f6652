-- The loyalty platform's tables, generation 1 before anyone asked for birthdays or an audit trail.
-- Stand-in for demo and tests: passbell is installed beside tables like these and owns none of them.
-- Absent here on purpose: programs.birthday_*, users.birth_date / marketing_opt_in / phone_number, notification_logs, birthday_logs.

create type public.protocol_type as enum ('MEMBERSHIP', 'COUPON', 'EVENT_TICKET');
create type public.pass_status   as enum ('ISSUED', 'INSTALLED', 'UNINSTALLED', 'VOIDED', 'EXPIRED');
create type public.action_type   as enum ('MEMBER_EARN', 'MEMBER_REDEEM', 'COUPON_REDEEM', 'TICKET_CHECK_IN', 'INSTALL', 'UNINSTALL');

create table public.programs (
  id                   uuid primary key default gen_random_uuid(),
  name                 text not null,
  protocol             public.protocol_type not null,
  passkit_program_id   text not null,
  postgrid_template_id text,
  created_at           timestamptz default now()
);

create table public.users (
  id            uuid primary key default gen_random_uuid(),
  email         text unique,
  first_name    text,
  last_name     text,
  address_line1 text,
  city          text,
  state         text,
  zip           text,
  created_at    timestamptz default now()
);

create table public.passes_master (
  id                  uuid primary key default gen_random_uuid(),
  user_id             uuid references public.users (id),
  program_id          uuid references public.programs (id),
  protocol            public.protocol_type,
  passkit_internal_id text not null unique,
  external_id         text not null unique,
  install_url         text,
  status              public.pass_status default 'ISSUED',
  is_active           boolean not null default true,
  last_updated        timestamptz default now()
);

create table public.protocol_membership (
  pass_id          uuid primary key references public.passes_master (id),
  points_balance   integer not null default 0 check (points_balance >= 0),
  tier_points      integer default 0,
  secondary_points integer,
  lifetime_points  integer
);

create table public.protocol_coupon (
  pass_id       uuid primary key references public.passes_master (id),
  offer_details text,
  expiry_date   date,
  redeemed_at   timestamptz
);

create table public.protocol_event_ticket (
  pass_id       uuid primary key references public.passes_master (id),
  event_name    text,
  venue         text,
  checked_in_at timestamptz
);

create table public.transactions (
  id           uuid primary key default gen_random_uuid(),
  pass_id      uuid references public.passes_master (id),
  action_type  public.action_type,
  value_change integer,
  notes        text,
  created_at   timestamptz default now()
);

-- id is a foreign key to auth.users where that schema exists: supabase.sql adds it.
create table public.admin_profiles (
  id         uuid primary key,
  program_id uuid references public.programs (id),
  role       text default 'CLIENT_ADMIN',
  created_at timestamptz default now()
);

-- Physical mail. passbell never touches it; it is here so that a test can show that.
create table public.campaign_runs (
  id         uuid primary key default gen_random_uuid(),
  program_id uuid references public.programs (id),
  created_at timestamptz default now()
);

-- The platform's way to move points. Failure is *returned*, never raised: a caller that only catches
-- exceptions believes every refusal to be a success. Here the balance lives in protocol_membership.
create function public.process_membership_transaction(p_external_id text, p_action text, p_amount integer)
returns json
language plpgsql
as $$
declare
  v_pass        uuid;
  v_before      integer;
  v_after       integer;
  v_transaction uuid;
begin
  if p_amount is null or p_amount <= 0 then
    return json_build_object('success', false, 'error', 'INVALID_AMOUNT');
  end if;
  if p_action is null or p_action not in ('MEMBER_EARN', 'MEMBER_REDEEM') then
    return json_build_object('success', false, 'error', 'Unknown action');
  end if;

  select p.id, m.points_balance
    into v_pass, v_before
    from public.passes_master p
    join public.protocol_membership m on m.pass_id = p.id
   where p.external_id = p_external_id
     for update of m;
  if not found then
    return json_build_object('success', false, 'error', 'Pass not found');
  end if;

  v_after := v_before + case p_action when 'MEMBER_EARN' then p_amount else -p_amount end;
  if v_after < 0 then
    return json_build_object('success', false, 'error', 'Insufficient points', 'previous_balance', v_before);
  end if;

  update public.protocol_membership
     set points_balance  = v_after,
         lifetime_points = coalesce(lifetime_points, 0) + greatest(v_after - v_before, 0)
   where pass_id = v_pass;
  update public.passes_master set last_updated = now() where id = v_pass;
  insert into public.transactions (pass_id, action_type, value_change, notes)
  values (v_pass, p_action::public.action_type, v_after - v_before, 'process_membership_transaction')
  returning id into v_transaction;

  return json_build_object(
    'success', true, 'transaction_id', v_transaction, 'previous_balance', v_before, 'new_balance', v_after,
    'notification_message', format('You now have %s points', v_after));
end;
$$;
