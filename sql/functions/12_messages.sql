-- Reads a message once into what rendering needs: a format() string and, for each placeholder in turn, the field and
-- the fallback. '{{' and '}}' are literal braces. Raises PB400 for an unknown placeholder, a lone brace or an empty
-- message, so that a broken text stops the campaign before anything is sent.
create or replace function passbell.compile_message(p_text text, out layout text, out fields text[], out fallbacks text[])
language plpgsql immutable
set search_path = ''
as $$
declare
    v_token     text;
    v_field     text;
    v_known     constant text[] := array['points', 'first_name', 'last_name', 'tier_points', 'program'];
begin
    if coalesce(btrim(p_text, E' \t\r\n'), '') = '' then
        raise exception 'The message is empty.' using errcode = 'PB400';
    end if;
    if length(p_text) > 1000 then
        raise exception 'The message has % characters; a lock screen shows about 140, and 1,000 is the limit.', length(p_text) using errcode = 'PB400';
    end if;
    layout := '';
    fields := '{}';
    fallbacks := '{}';
    for v_token in
        select m[1] from regexp_matches(p_text, '(\{\{|\}\}|\{[^{}]*\}|[^{}]+|[{}])', 'g') as m
    loop
        if v_token = '{{' then
            layout := layout || '{';
        elsif v_token = '}}' then
            layout := layout || '}';
        elsif v_token in ('{', '}') then
            raise exception 'The message has a lone "%". Write {{ or }} for a brace, or a placeholder such as {first_name|there}.', v_token
                  using errcode = 'PB400';
        elsif left(v_token, 1) = '{' then
            v_field := lower(btrim(split_part(substr(v_token, 2, length(v_token) - 2), '|', 1)));
            if not v_field = any (v_known) then
                raise exception 'Unknown placeholder %. Known: {%}.', left(v_token, 60), array_to_string(v_known, '}, {') using errcode = 'PB400';
            end if;
            fields := fields || v_field;
            -- Points that nobody ever booked are zero; a missing name without a fallback is left out.
            fallbacks := fallbacks || case
                when position('|' in v_token) > 0 then substr(v_token, position('|' in v_token) + 1, length(v_token) - position('|' in v_token) - 1)
                when v_field in ('points', 'tier_points') then '0'
                else '' end;
            layout := layout || '%s';
        else
            layout := layout || replace(v_token, '%', '%%');
        end if;
    end loop;
end
$$;

-- One member's text. A placeholder that turned out empty takes the space before it along ("Hi {first_name}, …" reads
-- "Hi, …"). Control characters in members' data become spaces. NULL if nothing is left to say.
create or replace function passbell.render_message(
    p_layout text, p_fields text[], p_fallbacks text[],
    p_points bigint, p_first_name text, p_last_name text, p_tier_points bigint, p_program text) returns text
language sql immutable
set search_path = ''
as $$
    select nullif(btrim(case when bool_or(v.value = '')
                             then regexp_replace(regexp_replace(
                                      format(p_layout, variadic array_agg(coalesce(nullif(v.value, ''), chr(1)) order by v.n)),
                                      ' ?' || chr(1), '', 'g'), '^[\s,;:!.]+', '')
                             else format(p_layout, variadic array_agg(v.value order by v.n)) end), '')
      from (select f.n,
                   coalesce(nullif(btrim(regexp_replace(case f.field
                       when 'points'      then p_points::text
                       when 'first_name'  then p_first_name
                       when 'last_name'   then p_last_name
                       when 'tier_points' then p_tier_points::text
                       when 'program'     then p_program end, '[[:cntrl:]]+', ' ', 'g')), ''), f.fallback) as value
              from unnest(p_fields, p_fallbacks) with ordinality as f (field, fallback, n)) v
$$;

-- Invisible variation number p_n of a text: 0 is the text itself, each step adds a zero-width space at the end. A
-- wallet shows a message only when the field's value changed, so the same words twice need a different value
-- (PassKit help centre 4097979; Apple, PassFieldContent.changeMessage).
create or replace function passbell.vary(p_text text, p_n integer) returns text
language sql immutable
set search_path = ''
as $$
    select p_text || repeat(chr(8203), p_n)
$$;

-- The first variation of the text that is none of those the phone may be showing.
create or replace function passbell.vary_from(p_text text, p_shown bigint[]) returns text
language sql immutable
set search_path = ''
as $$
    select passbell.vary(p_text, n)
      from generate_series(0, coalesce(cardinality(p_shown), 0)) as n
     where hashtextextended(passbell.vary(p_text, n), 0) <> all (coalesce(p_shown, '{}'))
     order by n
     limit 1
$$;
