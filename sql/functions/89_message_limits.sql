-- How often is enough, as the page, the API and the command line change it: columns of the host's programs. What they mean is
-- in 29_contact_policy and 04_consent.

-- Changes those that are given, by the names of the columns; null is no limit. push_consent cannot be emptied: that would turn
-- OPT_IN off for all members who did not answer. Runs as the schema's owner, because `passbell web` may not write the host's
-- table. Raises PB400, PB404, PB422.
create or replace function passbell.set_message_limits(p_owner text, p_program uuid, p_fields jsonb) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_known    constant text[] := array['push_max', 'push_max_days', 'push_min_hours', 'push_consent'];
    v_field    record;
    v_old      record;
    v_pair     constant boolean := p_fields ?| array['push_max', 'push_max_days'];
    v_max      integer;
    v_days     integer;
    v_hours    integer;
    v_consent  text;
begin
    perform passbell.act_as(p_owner);
    perform passbell.require_program(p_program);
    for v_field in select f.key, nullif(btrim(f.value), '') as value from jsonb_each_text(p_fields) f loop
        if not v_field.key = any (v_known) then
            raise exception 'Unknown limit "%". Known: %.', left(v_field.key, 60), array_to_string(v_known, ', ') using errcode = 'PB400';
        elsif not passbell.has_column('public.programs', v_field.key) then
            raise exception 'The table programs has no column %: run `passbell migrate`.', v_field.key using errcode = 'PB422';
        elsif v_field.key <> 'push_consent' and v_field.value !~ '^\d{1,6}$' then
            raise exception '% is a whole number, or empty for no limit, not "%".', v_field.key, left(v_field.value, 60) using errcode = 'PB400';
        end if;
    end loop;
    select g.push_max, g.push_max_days, g.push_min_hours, g.push_consent into v_old from passbell.programs g where g.program_id = p_program limit 1;
    v_max     := case when p_fields ? 'push_max'       then nullif(btrim(p_fields ->> 'push_max'), '')::integer       else v_old.push_max end;
    v_days    := case when p_fields ? 'push_max_days'  then nullif(btrim(p_fields ->> 'push_max_days'), '')::integer  else v_old.push_max_days end;
    v_hours   := case when p_fields ? 'push_min_hours' then nullif(btrim(p_fields ->> 'push_min_hours'), '')::integer else v_old.push_min_hours end;
    v_consent := upper(btrim(coalesce(case when p_fields ? 'push_consent' then p_fields ->> 'push_consent' else v_old.push_consent end, '')));
    if v_consent = '' and not p_fields ? 'push_consent' then
        v_consent := 'OPT_OUT';
    end if;
    if v_pair and (v_max is null) <> (v_days is null) then
        raise exception 'push_max and push_max_days belong together: so many messages in so many days.' using errcode = 'PB400';
    elsif v_pair and not v_max between 0 and 1000 then
        raise exception 'push_max is a number from 0 to 1,000, or empty for no limit, not %.', v_max using errcode = 'PB400';
    elsif v_pair and not v_days between 1 and 365 then
        raise exception 'push_max_days is a number from 1 to 365, or empty for no limit, not %.', v_days using errcode = 'PB400';
    elsif p_fields ? 'push_min_hours' and not v_hours between 1 and 8760 then
        raise exception 'push_min_hours is a number from 1 to 8,760, or empty for no limit, not %.', v_hours using errcode = 'PB400';
    elsif p_fields ? 'push_consent' and v_consent not in ('OPT_OUT', 'OPT_IN') then
        raise exception 'push_consent is OPT_OUT or OPT_IN, not "%".', left(v_consent, 60) using errcode = 'PB400';
    end if;
    begin
        if v_pair then
            update public.programs p set push_max = v_max, push_max_days = v_days where p.id = p_program;
        end if;
        if p_fields ? 'push_min_hours' then
            update public.programs p set push_min_hours = v_hours where p.id = p_program;
        end if;
        if p_fields ? 'push_consent' then
            update public.programs p set push_consent = v_consent where p.id = p_program;
        end if;
    exception when insufficient_privilege or undefined_column or undefined_table or wrong_object_type or object_not_in_prerequisite_state then
        raise exception 'The table programs cannot be written here (%): change these columns where programs are managed.', sqlerrm using errcode = 'PB422';
    end;
end
$$;
