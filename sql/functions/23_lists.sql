-- "488 of 500 matched; 12 not found; 3 opted out." NULL for a campaign without a list.
create or replace function passbell.list_summary(p_campaign uuid) returns text
language sql stable
set search_path = ''
as $$
    select passbell.thousands(coalesce(sum(r.n) filter (where r.matched), 0)) || ' of ' || passbell.thousands(sum(r.n)) || ' matched'
           || coalesce('; ' || string_agg(passbell.thousands(r.n) || ' ' || r.words, '; ' order by r.n desc, r.words) filter (where r.words is not null), '') || '.'
      from (select e.reason,
                   e.reason is null or e.reason in ('not_installed', 'opted_out') as matched,
                   case e.reason when 'unknown_member' then 'not found' when 'other_program' then 'of another program'
                                 when 'duplicate' then 'listed twice' when 'not_installed' then 'not in a wallet'
                                 else replace(e.reason, '_', ' ') end as words,
                   count(*) as n
              from passbell.list_entries e
             where e.campaign_id = p_campaign
             group by e.reason) r
    having count(*) > 0
$$;

-- Matches the campaign's list (rows staged by the loader, or the ids of an IDS: target) to passes of its program and
-- records for every row what it became. Returns the summary, NULL if the campaign has no list. Raises PB400 for a
-- list of which nothing matches: an empty audience is an error there, never "everybody".
create or replace function passbell.report_list(p_campaign public.push_campaigns) returns text
language plpgsql
set search_path = ''
as $$
declare
    v_summary  text;
begin
    insert into passbell.list_entries (campaign_id, row_number, value)
    select p_campaign.id, (row_number() over (order by i.t, i.n))::integer, i.value
      from (select t.ordinality as t, v.ordinality as n, btrim(v.value) as value
              from passbell.parse_target(p_campaign.target_query) with ordinality as t,
                   unnest(string_to_array(t.parameter, ',')) with ordinality as v (value)
             where t.segment = 'IDS' and btrim(v.value) <> '') i
    on conflict do nothing;

    with matched as (
        select e.row_number, coalesce(x.pass_id, y.pass_id) as pass_id, row_number() over (partition by coalesce(x.pass_id, y.pass_id) order by e.row_number) as nth
          from passbell.list_entries e
          left join lateral (select r.pass_id from passbell.recipients r
                              where r.program_id = p_campaign.program_id and lower(btrim(r.external_id)) = lower(e.value) limit 1) x on true
          left join lateral (select r.pass_id from passbell.recipients r
                              where r.program_id = p_campaign.program_id and x.pass_id is null and r.pass_id::text = lower(e.value) limit 1) y on true
         where e.campaign_id = p_campaign.id and e.reason is null
    )
    update passbell.list_entries e
       set pass_id = case when m.nth = 1 then m.pass_id end,
           reason = case
               when m.pass_id is null then 'unknown_member'
               when m.nth > 1 then 'duplicate'
               else (select case when not r.reachable then 'not_installed' when not r.opted_in then 'opted_out' end
                       from passbell.recipients r where r.pass_id = m.pass_id limit 1) end
      from matched m
     where e.campaign_id = p_campaign.id and e.row_number = m.row_number;

    v_summary := passbell.list_summary(p_campaign.id);
    if passbell.is_list(p_campaign) and v_summary is null then
        raise exception 'The list is empty: there is no member id in it.' using errcode = 'PB400';
    end if;
    if v_summary is not null
       and not exists (select from passbell.list_entries e where e.campaign_id = p_campaign.id and e.pass_id is not null) then
        raise exception 'Nobody on the list was found in this program (%).', rtrim(v_summary, '.') using errcode = 'PB400';
    end if;
    return v_summary;
end
$$;
