-- Reading what a host column says when its type is not the one we work with (text where a date should be, numeric where
-- an integer should be). What cannot be read is NULL for that member, never an error: one odd cell must not stop a query
-- over all members. passbell.recipients uses these functions, for columns of another type only (passbell.host_column).
-- Without a search path of their own they are inlined into the query.

-- 'no', 'false', '0', 'unsubscribed' are a no; unknown words are NULL.
create or replace function passbell.read_boolean(p_value text) returns boolean
language sql immutable parallel safe
as $$
    select case
        when pg_catalog.lower(pg_catalog.btrim(p_value)) in ('t', 'true', 'y', 'yes', '1', 'on', 'subscribed', 'active', 'enabled', 'granted', 'accepted',
                                                             'confirmed', 'opted in', 'opted_in', 'opted-in', 'opt in', 'opt_in', 'opt-in', 'optin', 'ja', 'oui', 'si', 'sí', 'sim') then true
        when pg_catalog.lower(pg_catalog.btrim(p_value)) in ('f', 'false', 'n', 'no', '0', 'off', 'inactive', 'nein', 'non', 'não', 'nee', 'none', 'nej', 'nie')
          or p_value ~* E'^\\s*(un-?sub|un-?confirm|non[ _-]|not[ _-]|no[ _-]|never|do[ _-]?not|don.?t|opt(ed)?[ _-]?out|clean|bounc|block|suppress|spam|complain|cancel|reject|refus|declin|revok|withdr|den(y|ied)|disab)' then false
    end
$$;

-- Whole numbers, rounded; a thousands separator is not guessed at.
create or replace function passbell.read_bigint(p_value text) returns bigint
language sql immutable parallel safe
as $$
    select case when p_value ~ E'^\\s*[+-]?\\d{1,18}(\\.\\d*)?\\s*$' then pg_catalog.round(p_value::numeric)::bigint end
$$;

create or replace function passbell.read_numeric(p_value text) returns numeric
language sql immutable parallel safe
as $$
    select case when p_value ~ E'^\\s*[+-]?\\d{1,30}(\\.\\d{0,30})?\\s*$' then p_value::numeric end
$$;

-- Dates that begin with the year; whether another one begins with the month cannot be told from one cell.
create or replace function passbell.read_date(p_value text) returns date
language sql immutable parallel safe
as $$
    select case when p_value ~ E'^\\s*(?!0000)\\d{4}([-/.])(0[1-9]|1[0-2])\\1(0[1-9]|[12]\\d|3[01])(\\s*$|[T ]\\d)'
                 and pg_catalog.substr(pg_catalog.ltrim(p_value), 9, 2)::integer
                     <= case when pg_catalog.substr(pg_catalog.ltrim(p_value), 6, 2) in ('04', '06', '09', '11') then 30
                             when pg_catalog.substr(pg_catalog.ltrim(p_value), 6, 2) <> '02' then 31
                             when pg_catalog.substr(pg_catalog.ltrim(p_value), 1, 4)::integer % 4 = 0
                                  and (pg_catalog.substr(pg_catalog.ltrim(p_value), 1, 4)::integer % 100 <> 0
                                       or pg_catalog.substr(pg_catalog.ltrim(p_value), 1, 4)::integer % 400 = 0) then 29
                             else 28 end
                then pg_catalog.make_date(pg_catalog.substr(pg_catalog.ltrim(p_value), 1, 4)::integer,
                                          pg_catalog.substr(pg_catalog.ltrim(p_value), 6, 2)::integer,
                                          pg_catalog.substr(pg_catalog.ltrim(p_value), 9, 2)::integer) end
$$;

create or replace function passbell.read_time(p_value text) returns time
language sql immutable parallel safe
as $$
    select case when p_value ~ E'^\\s*([01]?\\d|2[0-3]):[0-5]\\d(:[0-5]\\d(\\.\\d+)?)?\\s*$' then p_value::time end
$$;

create or replace function passbell.read_uuid(p_value text) returns uuid
language sql immutable parallel safe
as $$
    select case when p_value ~* E'^\\s*[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}\\s*$' then pg_catalog.btrim(p_value)::uuid end
$$;

-- An instant in ISO's order; without an offset it is UTC, whatever the session's zone.
create or replace function passbell.read_instant(p_value text) returns timestamptz
language plpgsql immutable parallel safe
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
as $$
begin
    if p_value !~ '^\s*\d{4}-\d\d-\d\d' then
        return null;
    end if;
    return p_value::timestamptz;
exception when data_exception then
    return null;
end
$$;

-- Is a transaction a visit? Earning and redeeming are. An adjustment, an installation, a reversal, an expiry and an unknown
-- word are not.
create or replace function passbell.is_visit(p_action text) returns boolean
language sql immutable parallel safe
as $$
    select case when p_action in ('MEMBER_EARN', 'MEMBER_REDEEM', 'COUPON_REDEEM', 'TICKET_CHECK_IN') then true
                else p_action ~* '(^|[^a-z])(earn|earned|redeem|redeemed|redemption|spend|spent|purchase|visit|check[ _-]?in|checked[ _-]?in)($|[^a-z])'
                     and p_action !~* '(adjust|install|revers|refund|void|undo|cancel|correct|expir|import|sync|migrat)' end
$$;
