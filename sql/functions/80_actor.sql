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

-- A program by its id or its PassKit program id. Raises PB404; PB400 where several programs have that PassKit program id.
create or replace function passbell.find_program(p_name text) returns uuid
language plpgsql stable
set search_path = ''
as $$
declare
    v_found  uuid[];
begin
    select array_agg(distinct g.program_id) filter (where g.program_id::text = lower(btrim(p_name))) into v_found from passbell.programs g;
    if v_found is null then
        select array_agg(distinct g.program_id) into v_found
          from passbell.programs g where g.passkit_program_id = btrim(p_name) and btrim(p_name) <> '';
    end if;
    if v_found is null then
        raise exception 'There is no program "%".', left(btrim(p_name), 80) using errcode = 'PB404';
    elsif cardinality(v_found) > 1 then
        raise exception 'Several programs have the PassKit program id "%": name the program by its own id.', left(btrim(p_name), 80) using errcode = 'PB400';
    end if;
    return v_found[1];
end
$$;

-- What a body of the platform's own service says beside the program must be true of it: whose it is (tenant_id, where the
-- platform has that column) and of which kind. Raises PB404 for another tenant's program, PB400 for another kind.
create or replace function passbell.require_scope(p_program uuid, p_tenant text, p_protocol text) returns void
language plpgsql stable
set search_path = ''
as $$
declare
    v_tenant    text;
    v_protocol  text;
begin
    select to_jsonb(g) ->> 'tenant_id' into v_tenant from public.programs g where g.id = p_program;
    select g.protocol into v_protocol from passbell.programs g where g.program_id = p_program;
    if lower(btrim(p_tenant)) <> lower(v_tenant) then
        raise exception 'There is no program % of tenant "%".', p_program, left(btrim(p_tenant), 80) using errcode = 'PB404';
    elsif upper(btrim(p_protocol)) is distinct from v_protocol and p_protocol is not null then
        raise exception 'The program is of another kind (%) than the order says (%).', coalesce(v_protocol, 'none'), left(btrim(p_protocol), 40)
              using errcode = 'PB400';
    end if;
end
$$;

-- A wall-clock time in a program's zone, as a form's field gives it ('2026-12-24T18:00'), as a moment. NULL for none.
-- Raises PB400.
create or replace function passbell.program_moment(p_program uuid, p_local text) returns timestamptz
language plpgsql stable
set search_path = ''
set datestyle = 'ISO, MDY'
as $$
begin
    return nullif(btrim(p_local), '')::timestamp at time zone passbell.program_zone(p_program);
exception when data_exception then
    raise exception '"%" is not a time; write it like 2026-12-24 18:00.', left(btrim(p_local), 40) using errcode = 'PB400';
end
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
