-- A few members of an audience with the text each would get: what `passbell send --dry-run` and the page show before
-- anything is sent. Reads only; raises the same sentences as push_send. Members who would be skipped are left out;
-- the daily cap is not looked at.
create or replace function passbell.sample_messages(p_program uuid, p_message text, p_target text default 'ALL', p_limit integer default 5)
returns table (pass_id uuid, external_id text, first_name text, message text)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_condition   text;
    v_parameters  text[];
begin
    perform passbell.require_program(p_program);
    perform passbell.require_target(p_program, p_target);
    perform passbell.compile_message(p_message);
    select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition(p_target) a;
    return query execute $q$
        select r.pass_id, r.external_id, left(r.first_name, 200), passbell.member_text(r.pass_id, $3)
          from passbell.recipients r
         where r.program_id = $1 and r.reachable and r.opted_in and ($q$ || v_condition || $q$)
         order by r.external_id
         limit $4 $q$
     using p_program, v_parameters, p_message, least(greatest(p_limit, 0), 100);
exception when data_exception or syntax_error_or_access_rule_violation then
    raise exception 'The audience could not be evaluated: %.', sqlerrm using errcode = 'PB400';
end
$$;
