-- The loyalty platform's tables, generation 4: as it is today. The tables of generation 3 under its own row security (TO
-- PUBLIC, by tenant and by admin_profiles), a sync that dates every member it touches, earnings that date no member, and an
-- award function that always raises beside a twin that works.
-- Stand-in for demo and tests: passbell is installed beside tables like these and owns none of them.

-- The user that a request's token names. Supabase has this already; supabase.sql says it again.
create schema if not exists auth;
create or replace function auth.uid() returns uuid
language sql stable
as $$
  select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
                  nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;
grant usage on schema auth to public;

create table public.programs (
  id                     uuid primary key default gen_random_uuid(),
  name                   text not null,
  protocol               text not null check (protocol in ('MEMBERSHIP', 'COUPON', 'EVENT_TICKET')),
  passkit_program_id     text,
  postgrid_template_id   text,
  created_at             timestamptz default now(),
  birthday_bot_enabled   boolean default false,
  birthday_reward_points integer default 0,
  birthday_message       text default 'Happy Birthday! We added points to your pass.',
  -- Kill switch: nothing may be sent for a suspended program.
  is_suspended           boolean default false,
  passkit_tier_id        text,
  enrollment_url         text,
  timezone               varchar default 'America/New_York',
  -- auth.users(id): one tenant may have several programs. supabase.sql adds the foreign key.
  tenant_id              uuid,
  is_primary             boolean default false,
  tier_bronze_max        integer default 999,
  tier_silver_max        integer default 4999,
  tier_gold_max          integer default 14999,
  earn_rate_multiplier   integer default 1
);

create table public.users (
  id               uuid primary key default gen_random_uuid(),
  email            text unique,
  first_name       text,
  last_name        text,
  address_line1    text,
  city             text,
  state            text,
  zip              text,
  created_at       timestamptz default now(),
  birth_date       date,
  -- NULL in rows older than the column: it means yes.
  marketing_opt_in boolean default true,
  phone_number     text
);

create table public.passes_master (
  id                  uuid primary key default gen_random_uuid(),
  user_id             uuid references public.users (id),
  program_id          uuid references public.programs (id),
  protocol            text,
  passkit_internal_id text,
  external_id         text not null unique,
  install_url         text,
  status              text default 'ISSUED',
  is_active           boolean not null default true,
  last_updated        timestamptz default now(),
  enrollment_source   text,
  member_email        text,
  member_first_name   text,
  member_last_name    text,
  points_balance      integer default 0,
  spend_tier_level    integer,
  member_phone        text
);

create unique index passes_master_program_passkit_key on public.passes_master (program_id, passkit_internal_id);

-- The platform no longer writes here: points are passes_master.points_balance, and new members have no row.
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
  action_type  text,
  value_change integer,
  notes        text,
  created_at   timestamptz default now()
);

-- One row per person. A SUPER_ADMIN has no program here, and sees all. id is a foreign key to auth.users: supabase.sql adds it.
create table public.admin_profiles (
  id         uuid primary key,
  program_id uuid references public.programs (id),
  role       text default 'CLIENT_ADMIN',
  created_at timestamptz default now()
);

create table public.notification_logs (
  id              uuid primary key default gen_random_uuid(),
  program_id      uuid references public.programs (id),
  campaign_name   text,
  recipient_count integer default 0,
  success_count   integer default 0,
  failed_count    integer default 0,
  message_content text,
  target_segment  text,
  created_at      timestamptz default now()
);

create table public.birthday_logs (
  id             uuid primary key default gen_random_uuid(),
  pass_id        uuid references public.passes_master (id),
  program_id     uuid references public.programs (id),
  year           integer not null,
  points_awarded integer not null,
  message_sent   text,
  created_at     timestamptz default now(),
  unique (pass_id, year)
);

-- Physical mail. passbell never touches it; it is here so that a test can show that.
create table public.campaign_runs (
  id         uuid primary key default gen_random_uuid(),
  program_id uuid references public.programs (id),
  created_at timestamptz default now()
);

-- Earning and redeeming as the platform's own server calls it: the row is locked first, failure is *returned*, never raised.
-- It leaves last_updated alone; when a member came last stands in transactions.
create function public.process_membership_transaction_atomic(
  p_external_id text, p_action text, p_amount integer, p_transaction_amount numeric default null
)
returns jsonb
language plpgsql
security definer
set search_path = public
as $$
declare
  v_pass        record;
  v_after       integer;
  v_transaction uuid;
begin
  if p_amount is null or p_amount <= 0 then
    return jsonb_build_object('success', false, 'error', 'INVALID_AMOUNT');
  end if;
  if p_action is null or p_action not in ('MEMBER_EARN', 'MEMBER_REDEEM') then
    return jsonb_build_object('success', false, 'error', 'Unknown action');
  end if;

  select p.id, g.is_suspended, coalesce(p.points_balance, 0) as balance
    into v_pass
    from passes_master p
    join programs g on g.id = p.program_id
   where p.external_id = p_external_id
     and p.protocol = 'MEMBERSHIP'
     for update of p;
  if not found then
    return jsonb_build_object('success', false, 'error', 'Pass not found');
  end if;
  if v_pass.is_suspended then
    return jsonb_build_object('success', false, 'error', 'Program is suspended');
  end if;

  v_after := v_pass.balance + case p_action when 'MEMBER_EARN' then p_amount else -p_amount end;
  if v_after < 0 then
    return jsonb_build_object('success', false, 'error', 'Insufficient points', 'previous_balance', v_pass.balance);
  end if;

  update passes_master set points_balance = v_after where id = v_pass.id;
  insert into transactions (pass_id, action_type, value_change, notes)
  values (v_pass.id, p_action, v_after - v_pass.balance, coalesce('bill ' || p_transaction_amount, 'process_membership_transaction'))
  returning id into v_transaction;

  return jsonb_build_object(
    'success', true, 'transaction_id', v_transaction, 'previous_balance', v_pass.balance, 'new_balance', v_after,
    'notification_message', format('You now have %s points', v_after));
end;
$$;

-- What migration 015 left under the first name. It writes columns that transactions has not, and reads a name that
-- passes_master has not: it always raises, whatever it is called with.
create function public.process_membership_transaction(
  p_external_id text, p_action text, p_amount integer, p_transaction_amount numeric default null
)
returns jsonb
language plpgsql
as $$
declare
  v_pass  record;
  v_after integer;
begin
  select * into v_pass from public.passes_master where external_id = p_external_id for update;
  if not found then
    return jsonb_build_object('success', false, 'error', 'Pass not found');
  end if;
  v_after := coalesce(v_pass.points_balance, 0) + case p_action when 'MEMBER_EARN' then p_amount else -p_amount end;
  insert into public.transactions (pass_id, program_id, action_type, value_change, balance_after, notes)
  values (v_pass.id, v_pass.program_id, p_action, p_amount, v_after, 'bill ' || p_transaction_amount);
  update public.passes_master set points_balance = v_after where id = v_pass.id;
  return jsonb_build_object('success', true, 'new_balance', v_after, 'notification_message', v_pass.first_name || ', thank you!');
end;
$$;

-- One member as PassKit has it. Dates everybody it touches, whatever they did; there is never a row in protocol_membership.
create function public.sync_membership_pass(
  p_program_id uuid, p_passkit_internal_id text, p_external_id text, p_status text, p_points integer,
  p_email text default null, p_first_name text default null, p_last_name text default null
)
returns uuid
language sql
security definer
set search_path = public
as $$
  insert into passes_master as p (program_id, protocol, passkit_internal_id, external_id, status, is_active, points_balance,
                                  member_email, member_first_name, member_last_name, enrollment_source, last_updated)
  values (p_program_id, 'MEMBERSHIP', p_passkit_internal_id, p_external_id, p_status, p_status <> 'UNINSTALLED', p_points,
          p_email, p_first_name, p_last_name, 'SYNC', now())
  on conflict (external_id) do update
     set passkit_internal_id = excluded.passkit_internal_id, status = excluded.status, is_active = excluded.is_active,
         points_balance = excluded.points_balance, last_updated = now()
  returning p.id
$$;

-- The tier that the balance stands for, kept beside it.
create function public.keep_spend_tier() returns trigger
language plpgsql
as $$
begin
  select 1 + (coalesce(new.points_balance, 0) > g.tier_bronze_max)::int
           + (coalesce(new.points_balance, 0) > g.tier_silver_max)::int
           + (coalesce(new.points_balance, 0) > g.tier_gold_max)::int
    into new.spend_tier_level
    from public.programs g
   where g.id = new.program_id;
  return new;
end;
$$;
create trigger keep_spend_tier before insert or update of points_balance on public.passes_master
  for each row when (new.protocol = 'MEMBERSHIP') execute function public.keep_spend_tier();

-- Its own row security: the tenant's programs, the program of one's admin_profiles row, everything for a SUPER_ADMIN; for
-- all commands and TO PUBLIC. Other roles see no row, except the owner and roles that bypass it.
create function public.is_super_admin() returns boolean
language sql stable
security definer
set search_path = public
as $$
  select exists (select from admin_profiles a where a.id = auth.uid() and a.role = 'SUPER_ADMIN')
$$;

alter table public.admin_profiles enable row level security;
create policy "own profile" on public.admin_profiles for select using (id = auth.uid());

alter table public.programs enable row level security;
create policy "tenants manage their programs" on public.programs
  using (tenant_id = auth.uid()
         or id in (select a.program_id from public.admin_profiles a where a.id = auth.uid())
         or public.is_super_admin());

alter table public.users enable row level security;
create policy "people of one's programs" on public.users
  using (id in (select p.user_id from public.passes_master p));

do $$
declare
  v_table text;
begin
  foreach v_table in array array['passes_master', 'notification_logs', 'birthday_logs', 'campaign_runs'] loop
    execute format('alter table public.%I enable row level security', v_table);
    execute format('create policy "rows of one''s programs" on public.%I using (program_id in (select g.id from public.programs g))', v_table);
  end loop;
  foreach v_table in array array['protocol_membership', 'protocol_coupon', 'protocol_event_ticket', 'transactions'] loop
    execute format('alter table public.%I enable row level security', v_table);
    execute format('create policy "rows of one''s passes" on public.%I using (pass_id in (select p.id from public.passes_master p))', v_table);
  end loop;
end;
$$;
