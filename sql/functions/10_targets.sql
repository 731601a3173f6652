-- Audiences as people write them (target_query): read, checked, and made a condition over passbell.recipients.

drop function if exists passbell.list_pattern(text);

-- A list of zip codes or cities as data: with a pattern of a hundred entries each row is compared with all of them, and
-- PostgreSQL caches only some thirty patterns. Entries that are compared as a whole, upper case:
create or replace function passbell.list_words(p_list text) returns text[]
language sql immutable
set search_path = ''
as $$
    select coalesce(array_agg(distinct upper(btrim(x))) filter (where btrim(x) <> '' and btrim(x) not like '%*'), '{}')
      from unnest(string_to_array(p_list, ',')) as x
$$;

-- The beginnings, without their closing '*':
create or replace function passbell.list_prefixes(p_list text) returns text[]
language sql immutable
set search_path = ''
as $$
    select coalesce(array_agg(distinct left(upper(btrim(x)), -1)) filter (where btrim(x) like '%*'), '{}')
      from unnest(string_to_array(p_list, ',')) as x
$$;

-- And their lengths: a value is cut to each of these, and the piece looked up.
create or replace function passbell.prefix_lengths(p_list text) returns integer[]
language sql immutable
set search_path = ''
as $$
    select coalesce(array_agg(distinct length(p)), '{}') from unnest(passbell.list_prefixes(p_list)) as p
$$;

-- The ids of IDS:a,b,c, trimmed and lower case.
create or replace function passbell.id_list(p_list text) returns text[]
language sql immutable
set search_path = ''
as $$
    select coalesce(array_agg(lower(btrim(x))) filter (where btrim(x) <> ''), '{}')
      from unnest(string_to_array(p_list, ',')) as x
$$;

-- Those of them that are pass ids, so that the primary key finds them.
create or replace function passbell.pass_id_list(p_list text) returns uuid[]
language sql immutable
set search_path = ''
as $$
    select coalesce(array_agg(case when x ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then x::uuid end)
                    filter (where x ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'), '{}')
      from unnest(passbell.id_list(p_list)) as x
$$;

-- The loyalty platform's own names of audiences, in ours. NULL for any other name.
create or replace function passbell.platform_audience(p_name text) returns text
language sql immutable
set search_path = ''
as $$
    select case when p_name ~ '^TIER_[1-4]$'   then 'TIER:' || right(p_name, 1)
                when p_name = 'TIER_BRONZE'    then 'TIER:1'
                when p_name = 'TIER_SILVER'    then 'TIER:2'
                when p_name = 'TIER_GOLD'      then 'TIER:3'
                when p_name = 'TIER_PLATINUM'  then 'TIER:4'
                when p_name = 'ALL_ACTIVE'     then 'UNREDEEMED'
                when p_name = 'EXPIRING_SOON'  then 'EXPIRING'
                when p_name = 'ALL_TICKETED'   then 'ALL' end
$$;

-- Returns the target unchanged; refuses one that is longer than any real one, because it would slow down the database for all
-- other orders. A list of 5,000 pass ids has 185,000 characters.
create or replace function passbell.bounded_target(p_target text) returns text
language plpgsql immutable
set search_path = ''
as $$
declare
    v_length  constant integer := length(p_target);
    v_parts   integer;
begin
    if v_length > 200000 then
        raise exception 'The audience is % characters long; 200,000 are allowed. For a long list of members use a CSV file.',
              passbell.thousands(v_length) using errcode = 'PB400';
    end if;
    v_parts := v_length - length(replace(p_target, '&', '')) + 1;
    if v_parts > 30 then
        raise exception 'The audience joins % parts with &; 30 are allowed.', passbell.thousands(v_parts) using errcode = 'PB400';
    end if;
    return p_target;
end
$$;

-- Does a target evidently mean everybody? The usual ones need not be parsed for that; others that do are not recognized.
create or replace function passbell.is_everybody(p_target text) returns boolean
language plpgsql immutable
set search_path = ''
as $$
begin
    return coalesce(upper(btrim(p_target)), '') in ('', 'ALL', 'ALL ACTIVE MEMBERS');
end
$$;

-- Each run of spaces as one space, also of those that a web page or a spreadsheet pastes along (no-break, zero width).
create or replace function passbell.plain_spaces(p_text text) returns text
language plpgsql immutable
set search_path = ''
as $$
begin
    return regexp_replace(p_text, '[\s\u00a0\u2000-\u200d\u202f\u205f\u2060\u3000\ufeff]+', ' ', 'g');
end
$$;

-- How much a word looks like a known one, from 0 to 1: the share of pairs of letters that they have in common.
create or replace function passbell.likeness(p_word text, p_known text) returns numeric
language sql immutable
set search_path = ''
as $$
    select 2.0 * count(*) filter (where strpos(p_known, g.pair) > 0) / nullif(count(*) + length(p_known) - 1, 0)
      from (select distinct substr(p_word, i, 2) as pair from generate_series(1, length(p_word) - 1) as i) g
$$;

-- The letters of a word in the order of the alphabet.
create or replace function passbell.letters(p_word text) returns text
language sql immutable
set search_path = ''
as $$
    select string_agg(c, '' order by c collate "C") from regexp_split_to_table(p_word, '') c
$$;

-- The segment whose name or alias has most pairs of letters in common with a misspelt one, or the same letters; NULL if none
-- has half of them.
create or replace function passbell.nearest_segment(p_name text) returns text
language sql stable
set search_path = ''
as $$
    select k.name
      from (select s.name, regexp_replace(upper(n), '[^[:alnum:]]', '', 'g') as word from passbell.segments s cross join unnest(s.name || s.aliases) n) k
     cross join lateral (select passbell.likeness(left(regexp_replace(upper(p_name), '[^[:alnum:]]', '', 'g'), 40), k.word) as share) x
     where x.share >= 0.5
        or passbell.letters(k.word) = passbell.letters(regexp_replace(upper(left(p_name, 40)), '[^[:alnum:]]', '', 'g'))     -- two letters swapped
     order by x.share desc, k.name limit 1
$$;

-- Reads a target such as 'whale & LOCAL:90210, 902*' into its segments, in order. Only names are looked up and only
-- parameters are kept: nothing a person types becomes SQL. Spaces do not matter: not those that a web page or a
-- spreadsheet pastes along (no-break, zero width), not doubled ones, and none at all in names and numbers
-- ("AllActiveMembers", "VIP: 1 000"). Raises PB400 with a sentence that lists what is known.
create or replace function passbell.parse_target(p_target text)
returns table (segment text, parameter text, predicate text)
language plpgsql stable
set search_path = ''
as $$
declare
    v_target   constant text := btrim(passbell.plain_spaces(passbell.bounded_target(p_target)));
    v_part     text;
    v_name     text;
    v_param    text;
    v_segment  passbell.segments;
    v_known    text;
begin
    foreach v_part in array string_to_array(coalesce(nullif(v_target, ''), 'ALL'), '&') loop
        v_name  := upper(btrim(split_part(v_part, ':', 1)));
        v_param := case when position(':' in v_part) > 0 then btrim(substr(v_part, position(':' in v_part) + 1)) end;

        select s.* into v_segment
          from passbell.segments s
         where replace(v_name, ' ', '') in (select replace(upper(n), ' ', '') from unnest(s.name || s.aliases) n)
         order by upper(btrim(s.name)) = v_name desc, v_name in (select upper(btrim(a)) from unnest(s.aliases) a) desc, s.builtin desc, s.name
         limit 1;
        if not found and passbell.platform_audience(v_name) is not null then
            select s.* into v_segment from passbell.segments s where s.name = split_part(passbell.platform_audience(v_name), ':', 1);
            if v_name = 'ALL_TICKETED' then
                v_segment.predicate := 'protocol = ''EVENT_TICKET''';
            elsif v_segment.parameter_kind = 'tier' and v_param is null then
                v_param := split_part(passbell.platform_audience(v_name), ':', 2);
            elsif v_segment.parameter_kind = 'tier' then
                raise exception 'The audience % takes no value, but "%" was given.', v_name, left(v_param, 60) using errcode = 'PB400';
            end if;
        end if;
        if v_segment.name is null then
            select string_agg(s.name || case s.parameter_kind when 'none' then '' when 'text' then ''
                                             else case when s.default_parameter is null then ':…' else '[:…]' end end,
                              ', ' order by s.builtin desc, s.name)
              into v_known from passbell.segments s;
            raise exception 'Unknown audience "%".% Known: %. Join several with &.', left(btrim(v_part), 60),
                  coalesce(' Did you mean ' || passbell.nearest_segment(v_name) || '?', ''), v_known using errcode = 'PB400';
        end if;

        if v_segment.parameter_kind in ('number', 'days', 'tier') then
            v_param := replace(v_param, ' ', '');
        end if;
        if v_param is null then
            v_param := v_segment.default_parameter;
            if v_param is null and v_segment.parameter_kind in ('number', 'days', 'tier', 'list') then
                raise exception 'The audience % needs a value, such as %.', v_segment.name,
                      v_segment.name || case v_segment.parameter_kind when 'tier' then ':2' when 'list' then ':a,b' else ':30' end
                      using errcode = 'PB400';
            end if;
        elsif v_segment.parameter_kind = 'none' then
            raise exception 'The audience % takes no value, but "%" was given.', v_segment.name, left(v_param, 60) using errcode = 'PB400';
        elsif v_segment.parameter_kind = 'number' and v_param !~ '^\d{1,12}(\.\d{1,6})?$' then
            raise exception 'The audience % needs a number, not "%".', v_segment.name, left(v_param, 60) using errcode = 'PB400';
        elsif v_segment.parameter_kind = 'days' and v_param !~ '^\d{1,5}$' then
            raise exception 'The audience % needs a number of days, not "%".', v_segment.name, left(v_param, 60) using errcode = 'PB400';
        elsif v_segment.parameter_kind = 'tier' and v_param !~ '^[1-4]$' then
            raise exception 'The audience % needs a tier from 1 to 4, not "%".', v_segment.name, left(v_param, 60) using errcode = 'PB400';
        elsif v_segment.parameter_kind = 'list' and btrim(v_param, ' ,') = '' then
            raise exception 'The audience % needs at least one entry.', v_segment.name using errcode = 'PB400';
        end if;

        segment := v_segment.name;
        parameter := v_param;
        predicate := v_segment.predicate;
        return next;
    end loop;
end
$$;

-- Some of the platform's names belong to one kind of program: ALL_ACTIVE and EXPIRING_SOON to coupons, ALL_TICKETED to
-- event tickets. Raises PB400 if the program is of another kind; otherwise such a name could reach all members.
create or replace function passbell.require_target(p_program uuid, p_target text) returns void
language plpgsql stable
set search_path = ''
as $$
declare
    v_wrong  record;
begin
    select n.name, case n.protocol when 'COUPON' then 'coupons' else 'event tickets' end as kind, g.protocol as actual
      into v_wrong
      from unnest(string_to_array(replace(passbell.plain_spaces(upper(p_target)), ' ', ''), '&')) as t (part)
      join (values ('ALL_ACTIVE', 'COUPON'), ('EXPIRING_SOON', 'COUPON'), ('ALL_TICKETED', 'EVENT_TICKET')) as n (name, protocol)
        on n.name = split_part(t.part, ':', 1)
      left join passbell.programs g on g.program_id = p_program
     where g.protocol is distinct from n.protocol
       and not exists (select from passbell.segments s where n.name in (select replace(upper(x), ' ', '') from unnest(s.name || s.aliases) x))
     limit 1;
    if found then
        raise exception 'The audience % is for %; this program is of another kind (%).', v_wrong.name, v_wrong.kind, coalesce(v_wrong.actual, 'none')
              using errcode = 'PB400';
    end if;
end
$$;

-- A target as one condition over `passbell.recipients r`, to be EXECUTEd USING program_id uuid ($1), the parameters
-- text[] ($2) and the campaign's id ($3, for lists). Predicates come from passbell.segments alone; in them $1 is the
-- parameter and $2 the program.
create or replace function passbell.audience_condition(p_target text, out condition text, out parameters text[])
language plpgsql stable
set search_path = ''
as $$
declare
    v_part  record;
    v_n     integer := 0;
    v_text  text;
begin
    for v_part in select p.predicate, p.parameter from passbell.parse_target(p_target) p loop
        v_n := v_n + 1;
        v_text := v_part.predicate;
        if position('$' in v_text) > 0 then
            v_text := replace(replace(regexp_replace(regexp_replace(v_text, '\$1(?![0-9])', chr(1), 'g'), '\$2(?![0-9])', chr(2), 'g'),
                                      chr(1), '($2)[' || v_n || ']'), chr(2), '$1');
        end if;
        condition := concat_ws(' and ', condition, '(' || v_text || ')');
        parameters := parameters || v_part.parameter;
    end loop;
end
$$;
