-- Hit lists, from CSV files (staged in passbell.list_pages) or from the target IDS:a,b,c.

-- "488 of 500 matched; 12 not found; 3 opted out." NULL for a campaign without a list.
create or replace function passbell.list_summary(p_campaign uuid) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return (select l.summary from passbell.list_loads l where l.campaign_id = p_campaign);
end
$$;

-- The words of a summary.
create or replace function passbell.list_words(p_rows bigint, p_matched bigint, p_reasons jsonb) returns text
language sql stable
set search_path = ''
as $$
    select passbell.thousands(p_matched) || ' of ' || passbell.thousands(p_rows) || ' matched'
           || coalesce('; ' || string_agg(passbell.thousands(r.n) || ' ' || r.words, '; ' order by r.n desc, r.words), '') || '.'
      from (select e.value::bigint as n,
                   case e.key when 'unknown_member' then 'not found' when 'other_program' then 'of another program'
                              when 'duplicate' then 'listed twice' when 'not_installed' then 'not in a wallet'
                              else replace(e.key, '_', ' ') end as words
              from jsonb_each_text(p_reasons) e) r
$$;

-- Does the campaign's audience come from a CSV? A URL always narrows: whatever the target says, a campaign with a list
-- never goes to "everybody".
create or replace function passbell.is_list(p_campaign public.push_campaigns) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    if nullif(btrim(p_campaign.csv_upload_url), '') is not null then
        return true;
    elsif passbell.is_everybody(p_campaign.target_query) then
        return false;
    end if;
    return exists (select from passbell.parse_target(p_campaign.target_query) t where t.segment = 'CSV');
end
$$;

-- Is the campaign's CSV read, and is it still the one that the order names?
create or replace function passbell.has_list(p_campaign public.push_campaigns) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from passbell.list_loads l
                    where l.campaign_id = p_campaign.id and l.loaded
                      and l.url is not distinct from nullif(btrim(p_campaign.csv_upload_url), '')
                      and (l.url is null or l.encoding is not distinct from p_campaign.csv_encoding))
$$;

-- What the campaign's list holds, one row per id: the pages of its CSV; without a CSV the ids of the first IDS: part.
create or replace function passbell.listed_ids(p_campaign public.push_campaigns)
returns table (list_row integer, list_value text, problem text)
language plpgsql stable rows 1000
set search_path = ''
as $$
begin
    if passbell.is_list(p_campaign) then
        return query
            select u.row_number, u.id, nullif(u.problem, '')
              from passbell.list_pages g
             cross join lateral unnest(g.row_numbers, g.ids, g.problems) as u (row_number, id, problem)
             where g.campaign_id = p_campaign.id;
    else
        return query
            select (row_number() over (order by v.n))::integer, btrim(v.value), null::text
              from (select t.parameter from passbell.parse_target(p_campaign.target_query) with ordinality as t
                     where t.segment = 'IDS' order by t.ordinality limit 1) t
             cross join lateral unnest(string_to_array(t.parameter, ',')) with ordinality as v (value, n)
             where btrim(v.value) <> '';
    end if;
end
$$;

-- How many of them can be used.
create or replace function passbell.listed_count(p_campaign public.push_campaigns) returns bigint
language sql stable
set search_path = ''
as $$
    select case when passbell.is_list(p_campaign)
                then (select coalesce(sum(cardinality(g.ids) - case when g.problems is null then 0 else (select count(nullif(p, '')) from unnest(g.problems) p) end), 0)
                        from passbell.list_pages g where g.campaign_id = p_campaign.id)
                else (select count(*) from passbell.listed_ids(p_campaign)) end
$$;

-- The rest of the campaign's target, which narrows its list: everything but CSV, or but the IDS: that is the list.
create or replace function passbell.target_beside_list(p_campaign public.push_campaigns) returns text
language sql stable
set search_path = ''
as $$
    select string_agg(t.segment || coalesce(':' || t.parameter, ''), ' & ' order by t.n)
      from (select p.segment, p.parameter, p.ordinality as n, row_number() over (partition by p.segment order by p.ordinality) as nth
              from passbell.parse_target(p_campaign.target_query) with ordinality as p) t
     where t.segment <> 'CSV' and not (t.segment = 'IDS' and t.nth = 1 and not passbell.is_list(p_campaign))
$$;

-- What is evidently wrong with ids that no member of the program has, if exactly one other id can be meant: 1042.0, #1042,
-- No. 1042 and 1,042 for 1042, 42 for 00042, M–1 for M-1. Advice for people: it never matches a member, because 42 may be another member.
create or replace function passbell.id_advice(p_program uuid, p_values text[]) returns table (value text, advice text)
language sql stable
set search_path = ''
as $$
    with given as (
        -- Three zeros after the sign are thousands: 1.000 is not 1.
        select distinct v.value, lower(btrim(v.value)) as id,
               regexp_replace(regexp_replace(translate(lower(btrim(v.value, ' #№="''’‘“”')), '‐‑‒–—−', '------'),
                                             '^(no|nr|n)[.°º:]?\s*(?=\d)', ''), '[.,]0{1,2}$', '') as bare
          from unnest(p_values) v (value)
    ), cleaned as (
        select g.value, g.id, case when g.bare ~ '^\d{1,3}([,.''’ ]\d{3})+$' then regexp_replace(g.bare, '\D', '', 'g')
                                   else regexp_replace(g.bare, '\s', '', 'g') end as bare
          from given g
    ), tried as (
        select c.value, c.id, c.bare, c.bare as try from cleaned c
        union
        select c.value, c.id, c.bare, lpad(c.bare, n, '0') from cleaned c cross join lateral generate_series(length(c.bare) + 1, 16) n where c.bare ~ '^\d{1,15}$'
        union
        select c.value, c.id, c.bare, ltrim(c.bare, '0') from cleaned c where c.bare ~ '^0+\d+$'
    ), hits as (
        select t.value, t.id, t.bare, min(r.external_id) as external_id
          from tried t join passbell.recipients r on r.program_id = p_program and lower(btrim(r.external_id)) = t.try
         where t.try <> t.id and t.try <> ''
         group by t.value, t.id, t.bare
        having count(distinct r.external_id) = 1
    )
    select h.value, format('%s exists: %s', h.external_id, concat_ws(', ',
               case when h.id ~ '^\W*[#№]' then 'remove the #' end,
               case when h.id ~ '^[="''’‘“”]|["’”]$' then 'remove the quotation marks' end,
               case when h.id ~ '^(no|nr|n)[.°º:]?\s*\d' then 'remove the word before it' end,
               case when h.id ~ '[‐‑‒–—−]' then 'write its dash as -' end,
               case when h.id ~ '\.0{1,2}$' then 'remove the .0' when h.id ~ ',0{1,2}$' then 'remove the ,0' end,
               case when h.id ~ '\d[,.''’ ]\d{3}' and h.bare !~ '[,.''’ ]' then 'remove the separators of thousands'
                    when h.id ~ '\s' then 'remove the spaces' end,
               case when length(btrim(h.external_id)) > length(h.bare) then 'its leading zeros were lost, format the column as text'
                    when length(btrim(h.external_id)) < length(h.bare) then 'remove the leading zeros' end))
      from hits h
$$;

-- Matches the campaign's list to the passes of its program: external id, else PassKit id, else pass id, trimmed and without regard to
-- case; of passes whose ids differ in case alone the one spelt as listed, else the first. Stores the matches in
-- pg_temp.passbell_matches until the transaction ends, for expand_campaign:
--
--     list_row, list_value, pass_id (NULL: no match), nth (1: the first row that names this pass, else 2),
--     reachable, opted_in, wanted (the rest of the target holds)
--
-- and for people only the rows that reach no member, in passbell.list_entries with the reason, and the totals in
-- passbell.list_loads. Each id is looked up in the index on folded external ids (passes_master_external_id_folded), so that a
-- test send beside a million members takes milliseconds; without it (a view of the operator's own), and for hundreds of
-- thousands of ids, one hash join over the program's members: a million take a few seconds. Returns NULL for a campaign
-- without a list. May be called again: members change.
create or replace function passbell.match_list(p_campaign public.push_campaigns) returns passbell.list_loads
language plpgsql
set search_path = ''
set work_mem = '64MB'
set enable_mergejoin = off      -- the planner cannot know how long a list is, and would sort all members by their ids
set enable_nestloop = on        -- until a list turns out to be long; named here, so that it is on again afterwards
as $fn$
declare
    v_condition   text;
    v_parameters  text[];
    v_members     text;
    v_update      text;     -- of ids that are no external id
    v_uuid        constant text := '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
    v_listed      bigint;
    v_load        passbell.list_loads;
    v_value       text;
    v_advice      text;
begin
    if not passbell.is_list(p_campaign)
       and (passbell.is_everybody(p_campaign.target_query)
            or not exists (select from passbell.parse_target(p_campaign.target_query) t where t.segment = 'IDS')) then
        return null;
    end if;
    select a.condition, a.parameters into v_condition, v_parameters
      from passbell.audience_condition(passbell.target_beside_list(p_campaign)) a;

    if to_regclass('pg_temp.passbell_matches') is not null then
        drop table pg_temp.passbell_matches;
    end if;
    create temporary table passbell_matches (
        list_row integer, list_value text, pass_id uuid, exact boolean, reachable boolean, opted_in boolean, wanted boolean, nth integer not null default 1
    ) on commit drop;

    -- Without statistics, in the first minute of a table, the planner would compare every id with every member. Under forced row
    -- level security pg_stats hides them, and they count as there.
    if passbell.listed_count(p_campaign) > 200000
       or exists (select from pg_catalog.pg_class c
                   where c.oid = to_regclass('public.passes_master') and c.relkind = 'r' and not pg_catalog.row_security_active(c.oid))
          and not exists (select from pg_catalog.pg_stats s where s.schemaname = 'public' and s.tablename = 'passes_master') then
        perform set_config('enable_nestloop', 'off', true);
    end if;
    v_members := 'select r.pass_id, r.external_id, r.passkit_id, r.reachable, r.opted_in, (' || v_condition || ') as wanted'
                 || ' from passbell.recipients r where r.program_id = $1';
    execute 'insert into pg_temp.passbell_matches (list_row, list_value, pass_id, exact, reachable, opted_in, wanted)'
         || ' select i.list_row, i.list_value, x.pass_id, x.external_id = i.list_value, x.reachable, x.opted_in, x.wanted'
         || '   from passbell.listed_ids($4) i left join (' || v_members || ') x on lower(btrim(x.external_id)) = lower(i.list_value)'
         || '  where i.problem is null'
      using p_campaign.program_id, v_parameters, p_campaign.id, p_campaign;
    get diagnostics v_listed = row_count;

    v_update := 'update pg_temp.passbell_matches m set pass_id = x.pass_id, reachable = x.reachable, opted_in = x.opted_in, wanted = x.wanted'
                || ' from (' || v_members || ') x where m.pass_id is null and ';

    -- Some id stands for several passes (they differ in case, or a host without a primary key shows one twice).
    if v_listed > passbell.listed_count(p_campaign) then
        delete from pg_temp.passbell_matches m
         using (select d.ctid, row_number() over (partition by d.list_row order by d.exact desc, d.pass_id) as choice
                  from pg_temp.passbell_matches d) c
         where m.ctid = c.ctid and c.choice > 1;
        v_listed := passbell.listed_count(p_campaign);
    end if;
    if exists (select from pg_temp.passbell_matches m where m.pass_id is null and length(m.list_value) = 22 and m.list_value ~ '^[0-9A-Za-z]+$') then
        execute v_update || 'length(m.list_value) = 22 and x.passkit_id = m.list_value'
          using p_campaign.program_id, v_parameters, p_campaign.id;
    end if;
    if exists (select from pg_temp.passbell_matches m where m.pass_id is null and length(m.list_value) = 36) then
        execute v_update || 'x.pass_id = case when length(m.list_value) = 36 and lower(m.list_value) ~ $4 then m.list_value::uuid end'
          using p_campaign.program_id, v_parameters, p_campaign.id, v_uuid;
    end if;
    with twice as (
        select d.pass_id, min(d.list_row) as first from pg_temp.passbell_matches d
         where d.pass_id is not null group by d.pass_id having count(*) > 1
    )
    update pg_temp.passbell_matches m set nth = 2 from twice t where m.pass_id = t.pass_id and m.list_row > t.first;

    delete from passbell.list_entries e where e.campaign_id = p_campaign.id;
    insert into passbell.list_entries (campaign_id, row_number, value, reason, detail)
    select p_campaign.id, u.row_number, u.id, 'unusable', u.problem
      from passbell.list_pages g
     cross join lateral unnest(g.row_numbers, g.ids, g.problems) as u (row_number, id, problem)
     where g.campaign_id = p_campaign.id and g.problems is not null and u.problem <> '';
    insert into passbell.list_entries (campaign_id, row_number, value, pass_id, reason)
    select p_campaign.id, m.list_row, m.list_value, m.pass_id,
           case when m.nth > 1 then 'duplicate' when not m.reachable then 'not_installed' else 'opted_out' end
      from pg_temp.passbell_matches m
     where m.pass_id is not null and (m.nth > 1 or not m.reachable or not m.opted_in)
     order by m.list_row;
    if exists (select from pg_temp.passbell_matches m where m.pass_id is null) then
        with missing as materialized (
            select m.list_row, m.list_value, lower(m.list_value) as key from pg_temp.passbell_matches m where m.pass_id is null
        ), elsewhere as (
            select s.list_row from missing s join passbell.recipients r on lower(btrim(r.external_id)) = s.key
             where r.program_id is distinct from p_campaign.program_id
            union
            select s.list_row
              from missing s
              join passbell.recipients r on r.pass_id = case when length(s.key) = 36 and s.key ~ v_uuid then s.key::uuid end
             where r.program_id is distinct from p_campaign.program_id
        )
        insert into passbell.list_entries (campaign_id, row_number, value, reason)
        select p_campaign.id, s.list_row, s.list_value, case when e.list_row is null then 'unknown_member' else 'other_program' end
          from missing s left join elsewhere e on e.list_row = s.list_row;
        with lost as (
            select e.row_number, e.value from passbell.list_entries e
             where e.campaign_id = p_campaign.id and e.reason = 'unknown_member' order by e.row_number limit 200
        )
        update passbell.list_entries e
           set detail = a.advice
          from lost l join passbell.id_advice(p_campaign.program_id, array(select x.value from lost x)) a on a.value = l.value
         where e.campaign_id = p_campaign.id and e.row_number = l.row_number;
        select e.value, e.detail into v_value, v_advice from passbell.list_entries e
         where e.campaign_id = p_campaign.id and e.reason = 'unknown_member' and e.detail is not null order by e.row_number limit 1;
    end if;

    insert into passbell.list_loads as l (campaign_id, loaded, rows, matched, reasons)
    select p_campaign.id, true, v_listed + coalesce(sum(e.n) filter (where e.reason = 'unusable'), 0),
           v_listed - coalesce(sum(e.n) filter (where e.reason in ('unknown_member', 'other_program', 'duplicate')), 0),
           coalesce(jsonb_object_agg(e.reason, e.n) filter (where e.reason is not null), '{}')
      from (select e.reason, count(*) as n from passbell.list_entries e where e.campaign_id = p_campaign.id group by e.reason) e
    on conflict (campaign_id) do update set rows = excluded.rows, matched = excluded.matched, reasons = excluded.reasons;
    update passbell.list_loads l
       set summary = passbell.list_words(l.rows, l.matched, l.reasons) || case when v_advice is null then '' else format(' "%s" is not there, but %s.', left(v_value, 60), v_advice) end
     where l.campaign_id = p_campaign.id
    returning l.* into v_load;
    return v_load;
end
$fn$;

-- Why a matched list cannot be used at all, as the sentence for status_detail; NULL if it can. An empty audience is an
-- error there, never "everybody".
create or replace function passbell.list_refusal(p_load passbell.list_loads) returns text
language sql stable
set search_path = ''
as $$
    select case when p_load.rows = 0 then 'The list is empty: there is no member id in it.'
                when p_load.matched = 0 then format('Nobody on the list was found in this program (%s).', rtrim(p_load.summary, '.')) end
$$;
