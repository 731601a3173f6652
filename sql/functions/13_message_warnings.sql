-- Merge tags of other tools. passbell fills in {first_name}; elsewhere the same is written {{first_name}}, *|FNAME|*,
-- %first_name%, [[name]], <<First Name>>, «name», {{1}} or ${name}, and would be sent unchanged. Such a text is accepted,
-- because the braces may be intended; the order gets a warning with the right spelling.

-- What a merge tag most likely means: one of our placeholders, or NULL. Exact words only, so that "[New]" means nothing.
create or replace function passbell.placeholder_alias(p_tag text) returns text
language sql immutable
set search_path = ''
as $$
    select a.placeholder
      from (values ('first_name', 'firstname|fname|givenname|forename|vorname|prenom|prénom|nombre|nome|voornaam|name|fullname|customername'
                                  '|membername|username|contactname|guestname|recipientname|subscribername|displayname|nickname|customer|member'),
                   ('last_name', 'lastname|lname|surname|familyname|nachname|nomdefamille|apellido|apellidos|cognome|sobrenome|achternaam'),
                   ('points', 'points|point|pts|pointsbalance|pointbalance|balance|loyaltypoints|rewardpoints|mypoints|currentpoints|totalpoints|punkte|puntos|punti|punten'),
                   ('tier_points', 'tierpoints|tierpoint|levelpoints|statuspoints'),
                   ('program', 'program|programname|programme|company|companyname|business|businessname|storename|shopname|brand|brandname|organisation|organization')
           ) as a (placeholder, words)
     cross join lateral (
           -- The part behind the last dot, without a filter or default: contact.FIRST_NAME | default: "there".
           select regexp_replace(lower(regexp_replace(split_part(split_part(split_part(p_tag, '|', 1), ',', 1), ' or ', 1), '^.*[.:!]', '')), '[^[:alpha:]]', '', 'g') as word) w
     where w.word = any (string_to_array(a.words, '|'))
$$;

-- The placeholder that looks most like a misspelt one, or NULL: an alias, else by pairs of letters in common.
create or replace function passbell.nearest_placeholder(p_tag text) returns text
language sql immutable
set search_path = ''
as $$
    select coalesce(passbell.placeholder_alias(p_tag),
                    (select k.name
                       from unnest(array['first_name', 'last_name', 'points', 'tier_points', 'program']) with ordinality as k (name, nth)
                      cross join lateral (
                            select passbell.likeness(left(regexp_replace(lower(split_part(p_tag, '|', 1)), '[^[:alpha:]_]', '', 'g'), 40), k.name) as share) s
                      where s.share >= 0.4
                      order by s.share desc, k.nth
                      limit 1))
$$;

-- Warnings about an order's text before the order is given: merge tags of other tools, and how many members get no
-- message because their balance cannot be read.
create or replace function passbell.order_warnings(p_program uuid, p_text text) returns setof text
language plpgsql stable
set search_path = ''
as $$
declare
    v_message  record;
    v_count    bigint;
begin
    return query select w from passbell.message_warnings(p_text) w;
    begin
        v_message := passbell.compile_message(p_text);
    exception when sqlstate 'PB400' then        -- the order says it
        return;
    end;
    if passbell.says_zero(v_message.fields, v_message.fallbacks) then
        v_count := passbell.unreadable_balances(p_program);
        if v_count > 0 then
            return next format('The balance of %s cannot be read: this text is not sent to them (render_error). {points|some} gives it other words.',
                               case v_count when 1 then 'one member' else passbell.thousands(v_count) || ' members' end);
        end if;
    end if;
end
$$;

-- One sentence for each merge tag of another tool in a message, at most ten. Called by push_send's callers before anything
-- is sent: dry run, preview, page and command line. Placeholders of our own are passed over. Runs as the owner, because
-- servers may call it, and the functions below it are not granted to them.
create or replace function passbell.message_warnings(p_text text) returns setof text
language plpgsql immutable
security definer
set search_path = ''
as $$
declare
    v_tag       text;
    v_inside    text;
    v_sure      boolean;
    v_meant     text;
    v_default   text;
    v_seen      text[] := '{}';
    v_own       constant text := '^\{\s*(points|first_name|last_name|tier_points|program)\s*(\|[^{}]*)?\}$';
    -- First tags that are certain by their form, then those that only their word gives away, then bare words, then our own.
    v_form      constant text := '\{\{+[^{}]{1,80}\}\}+|[$#@%!&]\{[^{}]{1,80}\}|\*\|[^|*]{1,80}\|\*|\[\[[^][]{1,80}\]\]|<<[^<>]{1,80}>>|<%[^<>]{1,80}%>|\[%[^][]{1,80}%\]|%%[^%]{1,80}%%';
    v_word      constant text := '%\[?[[:alpha:]][^%{}]{0,60}%|\[[^][{}]{1,60}\]|<[[:alpha:]][^<>{}]{0,60}>|\|[[:alpha:]][\w .]{0,60}\||~[[:alpha:]]\w{0,60}~|#[[:alpha:]]\w{0,60}#|@[[:alpha:]]\w{0,60}@|\$[[:alpha:]]\w{0,60}\$?|«[^«»]{1,80}»|‹[^‹›]{1,80}›|__[[:alpha:]]\w{0,60}__|\^[[:alpha:]]\w{0,60}\^|\(\([^()]{1,60}\)\)|:[[:alpha:]]\w{0,60}:|=[[:alpha:]]\w{0,60}=|\\[[:alpha:]]\w{0,60}\\|/\*[^*/]{1,60}\*/';
    v_bare      constant text := '\m(?:first|last|full|given|family|customer|member|program|company|business|tier|points?)_(?:name|points?|balance)\M|\m(?:FNAME|LNAME|firstname|lastname|firstName|lastName|FirstName|LastName|FIRSTNAME|LASTNAME)\M';
begin
    for v_tag in
        select m[1] from regexp_matches(left(p_text, 1000), '(' || v_form || '|' || v_word || '|' || v_bare || '|\{[^{}]*\})', 'g') as m
    loop
        continue when v_tag ~* v_own or v_tag ~ '^\{[^{]' or v_tag = any (v_seen);
        v_inside := regexp_replace(v_tag, '^[^[:alpha:]]+|[^[:alpha:]''"]+$', '', 'g');
        v_sure := v_tag ~ ('^(?:' || v_form || ')$') and (v_inside ~ '[[:alpha:]]{2}' or v_tag ~ '^\{\{\s*\d+\s*\}\}$');
        v_meant := case when v_sure then passbell.nearest_placeholder(v_inside) else passbell.placeholder_alias(v_inside) end;
        continue when not v_sure and v_meant is null;
        v_seen := v_seen || v_tag;
        v_default := (regexp_match(v_inside, '(?:default\s*:?|\|\|| or )\s*["'']([^"''{}|]*)["'']', 'i'))[1];
        return next case
            when v_meant is null then
                format('"%s" goes out as "%s". If it stands for something of the member: passbell fills in {first_name}, {last_name}, {points}, {tier_points} and {program}.',
                       v_tag, replace(replace(v_tag, '{{', '{'), '}}', '}'))
            when v_tag ~ '^[$#@%!&]\{' and v_tag ~* ('^.\{\s*' || v_meant || '\s*(\|[^{}]*)?\}$') then
                format('"%s" shows the "%s" in front of the value. Write {%s}%s.', v_tag, left(v_tag, 1), v_meant, case when v_meant = 'first_name' then ' or {first_name|there}' else '' end)
            else
                format('"%s" is a merge tag of another tool and is not filled in. Write {%s}%s.', v_tag,
                       v_meant || coalesce('|' || nullif(btrim(v_default), ''), ''),
                       case when v_meant = 'first_name' and nullif(btrim(v_default), '') is null then ' or {first_name|there}' else '' end)
        end;
        exit when cardinality(v_seen) >= 10;
    end loop;
end
$$;
