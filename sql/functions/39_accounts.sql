-- Several PassKit accounts in one database. A program names its account (programs.passkit_account); one that names none
-- belongs to the account of the daemon that sends it, whose name here is ''. A daemon serves the accounts it has credentials
-- for and asks for work of those alone; a program whose account no daemon serves waits and says so.

-- Where an account's limit and breaker stand in passbell.rate_limits.
create or replace function passbell.rate_key(p_account text, p_own text) returns text
language sql immutable
as $$
    select case when coalesce(p_account, '') = '' then p_own else 'account:' || p_account end
$$;

-- Those of the accounts that are switched on and may send now: breaker closed, not told to pause.
create or replace function passbell.open_accounts(p_accounts text[], p_own text) returns text[]
language plpgsql stable
set search_path = ''
as $$
declare
    v_open     text[] := array[]::text[];
    v_account  text;
begin
    foreach v_account in array coalesce(p_accounts, array[]::text[]) loop
        perform from passbell.rate_limits l
          where l.account = passbell.rate_key(v_account, p_own)
            and (l.breaker = 'open' or l.blocked_until > clock_timestamp() + interval '1 second');
        if not found then
            v_open := v_open || v_account;
        end if;
    end loop;
    return v_open;
end
$$;

-- Programs whose account is none of these, or is switched off. Where all programs belong to the daemon's own account that
-- is one look into an empty index (programs_passkit_account).
create or replace function passbell.programs_elsewhere(p_accounts text[]) returns uuid[]
language plpgsql stable
set search_path = ''
as $$
declare
    v_elsewhere  uuid[];
    v_here       constant text[] := array(select a.account from passbell.accounts a where a.enabled and a.account = any (p_accounts));
begin
    select coalesce(array_agg(g.program_id), array[]::uuid[]) into v_elsewhere
      from passbell.known_programs() g
     where g.passkit_account is not null and g.account <> '' and g.account <> all (v_here);
    if not '' = any (p_accounts) then
        v_elsewhere := v_elsewhere || coalesce((select array_agg(g.program_id) from passbell.known_programs() g where g.account = ''), array[]::uuid[]);
    end if;
    return v_elsewhere;
end
$$;

-- Is the account there and switched on? The daemon's own always is.
create or replace function passbell.is_enabled(p_account text) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return coalesce(p_account, '') = '' or coalesce((select a.enabled from passbell.accounts a where a.account = p_account), false);
end
$$;

-- Does a running daemon serve the account?
create or replace function passbell.is_served(p_account text) returns boolean
language sql stable
set search_path = ''
as $$
    select passbell.is_enabled(p_account)
       and exists (select from passbell.workers w
                    where w.heartbeat_at > clock_timestamp() - interval '30 seconds' and coalesce(p_account, '') = any (w.accounts))
$$;

-- Where the limit and the breaker of programs without an account stand: under the name of the daemon that sends them. The
-- caller's, if it is one of those; a daemon without credentials of its own says what the others meet.
create or replace function passbell.own_key(p_own text default '') returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return coalesce((select w.account from passbell.workers w
                      where w.heartbeat_at > clock_timestamp() - interval '30 seconds' and '' = any (w.accounts)
                      order by w.account = p_own desc, w.heartbeat_at desc
                      limit 1), p_own);
end
$$;

-- Why a program's account sends nothing, as a sentence; NULL if it does.
create or replace function passbell.account_trouble(p_account text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    if p_account = '' then
        -- Where no daemon runs at all, others say so.
        return case when passbell.daemons_running() > 0 and not passbell.is_served('') then
                    'Waiting: no running daemon has the credentials of the PassKit account of programs that name none.' end;
    elsif not exists (select from passbell.accounts a where a.account = p_account) then
        return format('Waiting: there is no PassKit account "%s" in passbell.accounts.', p_account);
    elsif not passbell.is_enabled(p_account) then
        return format('Waiting: the PassKit account "%s" is switched off.', p_account);
    elsif not passbell.is_served(p_account) then
        return format('Waiting: no running daemon has the credentials of the PassKit account "%s".', p_account);
    end if;
    return null;
end
$$;

-- Asked along with every poll (47_work_waiting): a number that changes when a daemon must look at the accounts again. That is
-- what account_settings answers, and what serve_accounts keeps true: the accounts in the daemon's row, the accounts' rates.
create or replace function passbell.accounts_mark(p_worker uuid) returns bigint
language plpgsql stable
set search_path = ''
as $$
begin
    return hashtextextended(concat_ws(' ',
        (select string_agg(row(a.account, a.passkit_url, a.message_key, a.rate_per_second, l.rate_per_second)::text, ' ' order by a.account)
           from passbell.accounts a
           left join passbell.rate_limits l on l.account = passbell.rate_key(a.account, '')
          where a.enabled),
        (select w.accounts::text from passbell.workers w where w.id = p_worker)), 0);
end
$$;

-- The daemon's question when the mark has changed: which accounts there are.
create or replace function passbell.account_settings()
returns table (account text, passkit_url text, message_key text, rate_per_second numeric)
language sql stable
set search_path = ''
as $$
    select a.account, a.passkit_url, a.message_key, a.rate_per_second from passbell.accounts a where a.enabled order by a.account
$$;

-- Every account: the daemons' own ('' under its row's name), those of passbell.accounts, those that a program names
-- without a row. For the command line, the page and metrics; secrets are not in the database.
create or replace function passbell.account_states(p_own text default '')
returns table (account text, passkit_url text, programs bigint, served boolean, enabled boolean, rate_per_second numeric, breaker text,
               breaker_kind text, breaker_reason text, opened_at timestamptz, blocked_until timestamptz, trouble text, limit_row text)
language sql stable
set search_path = ''
as $$
    select n.account, a.passkit_url, coalesce(g.n, 0), passbell.is_served(n.account), coalesce(a.enabled, n.account = ''),
           coalesce(l.rate_per_second, a.rate_per_second), coalesce(l.breaker, 'closed'), l.breaker_kind, l.breaker_reason, l.opened_at,
           case when isfinite(l.blocked_until) then l.blocked_until end, passbell.account_trouble(n.account), l.account
      from (select ''::text as account
            union
            select s.account from passbell.accounts s
            union
            select p.account from passbell.known_programs() p where p.passkit_account is not null) n
      left join passbell.accounts a on a.account = n.account
      left join (select p.account, count(*) as n from passbell.known_programs() p group by p.account) g on g.account = n.account
      left join passbell.rate_limits l on l.account = passbell.rate_key(n.account, passbell.own_key(p_own))
     order by n.account
$$;

-- A daemon says which accounts it serves, and at what pace those with a rate of their own go.
create or replace function passbell.serve_accounts(p_worker uuid, p_accounts text[], p_rate numeric) returns void
language plpgsql
set search_path = ''
as $$
begin
    if cardinality(p_accounts) > 1000 or (p_rate > 0 and p_rate <= 100000) is not true then
        raise exception 'serve_accounts takes at most 1,000 accounts, and needs a rate above 0 up to 100,000.' using errcode = 'PB400';
    end if;
    update passbell.workers w set accounts = p_accounts where w.id = p_worker and w.accounts is distinct from p_accounts;
    insert into passbell.rate_limits as l (account, rate_per_second)
    select passbell.rate_key(a.account, ''), coalesce(a.rate_per_second, p_rate)
      from passbell.accounts a where a.account = any (p_accounts)
    on conflict (account) do update set rate_per_second = excluded.rate_per_second
     where l.rate_per_second <> excluded.rate_per_second;
end
$$;

-- A program's account decides with whose key its passes are changed: only servers move it. Stands on the platform's own
-- table, so it looks at nothing but this one column.
create or replace function passbell.program_account_guard() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if (tg_op = 'INSERT' and nullif(btrim(new.passkit_account), '') is not null
        or tg_op = 'UPDATE' and new.passkit_account is distinct from old.passkit_account)
       and not passbell.acts_for_server() then
        raise exception 'Only a server may say to which PassKit account a program belongs.' using errcode = 'PB403';
    end if;
    return new;
end
$$;

do $$
begin
    if passbell.has_column('public.programs', 'passkit_account')
       and (select c.relkind from pg_catalog.pg_class c where c.oid = to_regclass('public.programs')) in ('r', 'p') then
        create or replace trigger passbell_account before insert or update of passkit_account on public.programs
            for each row execute function passbell.program_account_guard();
    end if;
end
$$;
