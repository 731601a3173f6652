-- Who acts through the HTTP API, for created_by and "Paused by …": until the end of the transaction passbell.caller()
-- answers this name. It is put where Supabase's API layer puts its user. No right depends on it: rights are judged
-- only for the role `authenticated`.
create or replace function passbell.act_as(p_name text) returns void
language sql
set search_path = ''
as $$
    select set_config('request.jwt.claims', jsonb_build_object('email', p_name)::text, true)
     where nullif(current_setting('request.jwt.claims', true), '') is null
$$;

-- A session of the page begins. Those that are over are removed on the way; a key has at most a thousand.
create or replace function passbell.open_session(p_digest text, p_name text, p_seconds integer) returns void
language sql
set search_path = ''
as $$
    delete from passbell.web_sessions s
     where s.ends_at <= passbell.now()
        or s.digest in (select o.digest from passbell.web_sessions o where o.key_name = p_name order by o.opened_at desc offset 999);
    insert into passbell.web_sessions (digest, key_name, opened_at, ends_at)
    values (p_digest, p_name, passbell.now(), passbell.now() + make_interval(secs => p_seconds))
$$;

-- Does the session hold: was it opened under this name, and has neither its time nor its owner ended it?
create or replace function passbell.session_holds(p_digest text, p_name text) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from passbell.web_sessions s where s.digest = p_digest and s.key_name = p_name and s.ends_at > passbell.now())
$$;

create or replace function passbell.end_session(p_digest text) returns void
language sql
set search_path = ''
as $$
    delete from passbell.web_sessions s where s.digest = p_digest
$$;
