-- Messages: placeholders, the text of one member, and invisible variations, so that a phone buzzes for the same words again.

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
    v_meant     text;
    v_known     constant text[] := array['points', 'first_name', 'last_name', 'tier_points', 'program'];
begin
    -- Invisible characters do not count as text: no-break and zero-width spaces, marks of direction.
    if coalesce(p_text, '') !~ '[^\s\u0001-\u001f\u00a0\u00ad\u034f\u115f\u1160\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufeff\uffa0]' then
        raise exception 'The message is empty.' using errcode = 'PB400';
    end if;
    if length(p_text) > 1000 then
        raise exception 'The message has % characters; a lock screen shows about 140, and 1,000 is the limit.', length(p_text) using errcode = 'PB400';
    end if;
    layout := '';
    fields := '{}';
    fallbacks := '{}';
    if position('{' in p_text) = 0 and position('}' in p_text) = 0 then
        layout := replace(p_text, '%', '%%');
        return;
    end if;
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
                v_meant := passbell.nearest_placeholder(substr(v_token, 2, length(v_token) - 2));
                raise exception 'Unknown placeholder %. Known: {%}.', left(v_token, 60) || coalesce(' (did you mean {' || v_meant || '}?)', ''),
                      array_to_string(v_known, '}, {') using errcode = 'PB400';
            end if;
            fields := fields || v_field;
            -- Points that were never booked are zero; a missing name without a fallback is left out.
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

-- One member's text. If a placeholder is empty, the space before it is left out as well ("Hi {first_name}, …" reads
-- "Hi, …"). Control characters in members' data become spaces. NULL if no text is left. It is a loop in plpgsql, because
-- it is called once per member of a personalised campaign (12 µs; as one SQL expression 150 µs).
create or replace function passbell.render_message(
    p_layout text, p_fields text[], p_fallbacks text[],
    p_points bigint, p_first_name text, p_last_name text, p_tier_points bigint, p_program text) returns text
language plpgsql immutable
as $$
declare
    v_values  text[] := p_fields;
    v_value   text;
    v_gap     boolean := false;
    v_text    text;
begin
    for i in 1 .. cardinality(p_fields) loop
        v_value := case p_fields[i]
                       when 'points'      then p_points::text
                       when 'first_name'  then p_first_name
                       when 'last_name'   then p_last_name
                       when 'tier_points' then p_tier_points::text
                       when 'program'     then p_program
                   end;
        if length(v_value) > 200 then       -- a longer value would fill the record and the screen
            v_value := left(v_value, 200);
        end if;
        if v_value ~ '[[:cntrl:]]' then
            v_value := pg_catalog.regexp_replace(v_value, '[[:cntrl:]]+', ' ', 'g');
        end if;
        v_value := coalesce(nullif(pg_catalog.btrim(v_value), ''), p_fallbacks[i]);
        if v_value = '' then
            v_value := pg_catalog.chr(1);
            v_gap := true;
        end if;
        v_values[i] := v_value;
    end loop;
    v_text := pg_catalog.format(p_layout, variadic v_values);
    if v_gap then
        v_text := pg_catalog.regexp_replace(pg_catalog.regexp_replace(v_text, ' ?' || pg_catalog.chr(1), '', 'g'), E'^[\\s,;:!.]+', '');
    end if;
    return nullif(pg_catalog.btrim(v_text), '');
end
$$;

-- Would the text say 0 of points that are not known? A fallback of its own ({points|some}) says something else.
create or replace function passbell.says_zero(p_fields text[], p_fallbacks text[]) returns boolean
language sql immutable
set search_path = ''
as $$
    select exists (select from unnest(p_fields, p_fallbacks) as f (field, fallback) where f.field in ('points', 'tier_points') and btrim(f.fallback) in ('0', ''))
$$;

-- The text of one member, by what the host says now. NULL if no text is left, or if it would say 0 of a balance that cannot be
-- read. For single members: a claim renders a whole chunk by the same rules (27_judge_chunk).
create or replace function passbell.member_text(p_pass uuid, p_message text) returns text
language plpgsql stable
set search_path = ''
as $$
declare
    v_message  constant record := passbell.compile_message(p_message);
    v_member   record;
begin
    if v_message.fields = '{}' then
        return format(v_message.layout);
    end if;
    select r.points, r.tier_points, r.first_name, r.last_name,
           case when 'program' = any (v_message.fields) then (select g.name from passbell.programs g where g.program_id = r.program_id limit 1) end as program
      into v_member
      from passbell.recipients r where r.pass_id = p_pass limit 1;
    if passbell.says_zero(v_message.fields, v_message.fallbacks) and (v_member.points is null or v_member.tier_points is null)
       and passbell.balance_unreadable(p_pass) then
        return null;
    end if;
    return passbell.render_message(v_message.layout, v_message.fields, v_message.fallbacks,
                                   v_member.points, v_member.first_name, v_member.last_name, v_member.tier_points, v_member.program);
end
$$;

-- Invisible variation number p_n of a text: 0 is the text itself, each step adds a zero-width space at the end. A
-- wallet shows a message only when the field's value changed, so the same words twice need a different value
-- (PassKit help centre 4097979; Apple, PassFieldContent.changeMessage).
create or replace function passbell.vary(p_text text, p_n integer) returns text
language plpgsql immutable
set search_path = ''
as $$
begin
    if p_n = 0 then
        return p_text;
    elsif getdatabaseencoding() = 'UTF8' then
        return p_text || repeat(chr(8203), p_n);
    elsif getdatabaseencoding() = 'SQL_ASCII' then      -- which stores bytes; those of UTF-8 are what clients make of them
        return p_text || repeat(convert_from('\xe2808b', 'SQL_ASCII'), p_n);
    elsif getdatabaseencoding() ~ '^(LATIN|ISO_8859|WIN125)' then       -- no zero-width space there: a no-break space
        return p_text || repeat(chr(160), p_n);
    end if;
    return p_text || repeat(' ', p_n);
end
$$;

-- The first variation of the text that is none of those the phone may be showing.
create or replace function passbell.vary_from(p_text text, p_shown bigint[]) returns text
language plpgsql immutable
set search_path = ''
as $$
declare
    v_n  integer := 0;
begin
    while hashtextextended(passbell.vary(p_text, v_n), 0) = any (p_shown) loop
        v_n := v_n + 1;
    end loop;
    return passbell.vary(p_text, v_n);
end
$$;
