-- Which share of a campaign's members is held back to measure. Who of them is drawn: passbell.lot in 56_statistics.

-- The lot of a campaign that starts now: nothing for tests; gifts, named members and lists only if the campaign says so
-- itself; else the program's share. Called in the transaction that makes the campaign PROCESSING.
create or replace function passbell.fix_holdout(p_campaign public.push_campaigns) returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_named    boolean := p_campaign.kind = 'BIRTHDAY';
    v_percent  numeric;
    v_grouped  boolean;
begin
    if p_campaign.kind = 'TEST' then
        return 0;
    elsif p_campaign.kind = 'BROADCAST' then
        v_named := passbell.is_list(p_campaign) or passbell.names_members(p_campaign.target_query);
    end if;
    v_percent := passbell.holdout_share(p_campaign.program_id, v_named, p_campaign.holdout_percent);
    if v_percent > 0 then
        v_grouped := coalesce((select g.holdout_group from passbell.programs g where g.program_id = p_campaign.program_id limit 1), false);
        insert into passbell.holdouts (campaign_id, percent, salt, grouped)
        values (p_campaign.id, v_percent,
                case when p_campaign.automation_id is not null
                     then p_campaign.automation_id::text || extract(year from passbell.local_date(p_campaign.program_id))::text
                     when v_grouped then p_campaign.program_id::text
                     else p_campaign.id::text end,
                v_grouped and p_campaign.automation_id is null)
        on conflict (campaign_id) do nothing;
    end if;
    return v_percent;
end
$$;

-- How many in 100 are held back: the campaign's own share (p_percent); without one none of named members (p_named), else the program's share.
create or replace function passbell.holdout_share(p_program uuid, p_named boolean, p_percent numeric) returns numeric
language plpgsql stable
set search_path = ''
as $$
begin
    return least(50, greatest(0, coalesce(p_percent, case when not p_named then
                     (select g.holdout_percent from passbell.programs g where g.program_id = p_program limit 1) end, 0)));
end
$$;

-- Does a target name its members one by one (IDS:, a list)?
create or replace function passbell.names_members(p_target text) returns boolean
language sql immutable
set search_path = ''
as $$
    select upper(coalesce(p_target, '')) ~ '(^|&)\s*(IDS\s*:|CSV\s*(&|$))'
$$;

-- About how many of so many are held back to measure.
create or replace function passbell.would_hold(p_program uuid, p_target text, p_reachable bigint, p_percent numeric default null) returns bigint
language sql stable
set search_path = ''
as $$
    select round(p_reachable * passbell.holdout_share(p_program, passbell.names_members(p_target), p_percent) / 100)::bigint
$$;
