-- Fields of a request to the HTTP API and the page: a program by its name, what else a body says of it, a time.

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
