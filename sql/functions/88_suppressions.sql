-- Members who get no messages for now, as the API and the page show and change them. What may be in a row is judged by the
-- table's guard (29_contact_policy).

-- Those of a program, or one; newest first.
create or replace function passbell.suppression_list(p_program uuid, p_id uuid default null)
returns table (id uuid, program_id uuid, external_id text, until timestamptz, reason text, created_by text, created_at timestamptz, over boolean)
language sql stable
set search_path = ''
as $$
    select s.id, s.program_id, left(s.external_id, 200), s.until, left(s.reason, 400), s.created_by, s.created_at, coalesce(s.until <= passbell.now(), false)
      from public.push_suppressions s
     where (p_program is null or s.program_id = p_program) and (p_id is null or s.id = p_id)
     order by s.created_at desc, s.id
     limit 500
$$;

-- Adds a member. Raises PB404 for one that the program does not have: a typing error would silence the wrong one.
create or replace function passbell.suppress(p_owner text, p_program uuid, p_external_id text, p_until timestamptz, p_reason text) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    v_known  text;
    v_id     constant uuid := gen_random_uuid();
begin
    perform passbell.act_as(p_owner);
    perform passbell.require_program(p_program);
    select r.external_id into v_known from passbell.recipients r
     where r.program_id = p_program and lower(btrim(r.external_id)) = lower(btrim(p_external_id)) limit 1;
    if not found then
        raise exception 'There is no member "%" in this program.', left(btrim(p_external_id), 80) using errcode = 'PB404';
    elsif p_until <= passbell.now() then
        raise exception '"until" lies in the past: leave it empty for no end.' using errcode = 'PB400';
    end if;
    insert into public.push_suppressions (id, program_id, external_id, until, reason, created_by)
    values (v_id, p_program, v_known, p_until, nullif(left(btrim(p_reason), 400), ''), passbell.caller());
    if not exists (select from public.push_suppressions s where s.id = v_id) then
        perform passbell.swallowed('push_suppressions');
    end if;
    return v_id;
end
$$;

-- Removes a row. Raises PB404 if there is none.
create or replace function passbell.unsuppress(p_owner text, p_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.act_as(p_owner);
    delete from public.push_suppressions s where s.id = p_id;
    if not found then
        raise exception 'There is no suppression %.', p_id using errcode = 'PB404';
    end if;
end
$$;

drop function if exists passbell.page_suppressions(uuid);
drop function if exists passbell.page_suppress(text, uuid, text, text, text);
drop function if exists passbell.page_unsuppress(text, uuid);
