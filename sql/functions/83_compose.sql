-- One member of the audience with the text that this member would read: the lock screen of the page. The member of
-- p_pass if it belongs to the program, else any reachable one of the audience, else any reachable one of the program.
-- Raises the sentences of push_send for a broken message or target. No row: no member of the program can be reached.
create or replace function passbell.sample_message(p_program uuid, p_message text, p_target text default 'ALL', p_pass uuid default null)
returns table (pass_id uuid, external_id text, first_name text, message text, program_name text, in_audience boolean)
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
    if not exists (select from passbell.parse_target(p_target) t where t.segment = 'CSV') then
        select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition(p_target) a;
    end if;
    if p_pass is not null and exists (select from passbell.recipients r where r.pass_id = p_pass and r.program_id = p_program) then
        pass_id := p_pass;
        in_audience := true;
    end if;
    if pass_id is null and v_condition is not null then
        execute 'select r.pass_id from passbell.recipients r where r.program_id = $1 and r.reachable and r.opted_in and ('
                || v_condition || ') limit 1'
           into pass_id using p_program, v_parameters, null::uuid;
        in_audience := pass_id is not null;
    end if;
    if pass_id is null then
        select r.pass_id into pass_id from passbell.recipients r where r.program_id = p_program and r.reachable and r.opted_in limit 1;
        in_audience := false;
    end if;
    return query
        select r.pass_id, r.external_id, r.first_name, passbell.member_text(r.pass_id, p_message), g.name, sample_message.in_audience
          from passbell.recipients r
          join passbell.programs g on g.program_id = r.program_id
         where r.pass_id = sample_message.pass_id
         limit 1;
exception when data_exception or syntax_error_or_access_rule_violation then
    raise exception 'The audience could not be evaluated: %.', sqlerrm using errcode = 'PB400';
end
$$;

-- Begins an order whose audience is an uploaded file: a DRAFT to stage its pages under (draft_list_campaign). Gives the
-- campaign that an earlier attempt under the same idempotency key had created, with ready = true.
create or replace function passbell.open_list_order(
    p_owner text, p_key text, p_program uuid, p_message text, p_name text, p_scheduled_at timestamptz, out campaign uuid, out ready boolean)
language plpgsql
set search_path = ''
as $$
begin
    campaign := passbell.requested_campaign(p_owner, p_key);
    ready := campaign is not null;
    if not ready then
        perform passbell.act_as(p_owner);
        campaign := passbell.draft_list_campaign(p_program, p_message, null, p_name, p_scheduled_at, p_owner);
        update passbell.api_requests r set campaign_id = open_list_order.campaign where r.owner = p_owner and r.key = p_key;
    end if;
end
$$;

-- The pages are staged (in this same transaction): submits the order, or matches it and leaves it a draft to be
-- confirmed. Raises PB400 if no entry of the list matches.
create or replace function passbell.close_list_order(p_campaign uuid, p_digest text, p_submit boolean) returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_submit then
        perform passbell.submit_list_campaign(p_campaign, p_digest);
    else
        perform passbell.match_staged_list(p_campaign, p_digest);
    end if;
end
$$;

-- Drops a draft that was not confirmed. A submitted campaign stays.
create or replace function passbell.discard_draft(p_campaign uuid) returns void
language sql
set search_path = ''
as $$
    delete from public.push_campaigns c where c.id = p_campaign and c.status = 'DRAFT'
$$;

-- push_preview for a campaign with a staged list, and how many of its rows match no member of the program. It matches again,
-- because members change; once the audience is frozen, it returns what was matched. Matching stores the entries that were not
-- found, so it locks the campaign's row: a daemon may be freezing the same list, or a second preview may run.
drop function if exists passbell.preview_list(uuid);
create function passbell.preview_list(p_campaign uuid)
returns table (matched bigint, in_wallet bigint, opted_out bigint, capped bigint, reachable bigint, seconds_at_rate numeric, finishes_at timestamptz,
               listed bigint, unmatched bigint, too_often bigint, suppressed bigint, would_hold bigint)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_campaign  public.push_campaigns;
    v_load      passbell.list_loads;
    v_cap       integer;
    v_rate      numeric;
    v_policy    record;
    v_suppressed  text[];
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign for no key update;
    select s.daily_cap, s.rate_per_second into v_cap, v_rate from passbell.settings s;
    if exists (select from passbell.list_pages g where g.campaign_id = p_campaign) then
        v_load := passbell.match_list(v_campaign);
        select * into v_policy from passbell.contact_policy(v_campaign.program_id, v_campaign.kind);
        v_suppressed := passbell.suppressed_ids(v_campaign.program_id, v_campaign.kind);
        select count(*), count(*) filter (where a.reachable), count(*) filter (where a.reachable and not a.opted_in),
               count(*) filter (where a.reachable and a.opted_in and a.suppressed),
               count(*) filter (where a.reachable and a.opted_in and not a.suppressed and a.capped),
               count(*) filter (where a.reachable and a.opted_in and not a.suppressed and not a.capped and a.too_often)
          into matched, in_wallet, opted_out, suppressed, capped, too_often
          from (select m.reachable, m.opted_in,
                       v_suppressed is not null and exists (select from passbell.recipients r where r.pass_id = m.pass_id
                                                               and lower(btrim(r.external_id)) = any (v_suppressed)) as suppressed,
                       v_cap > 0 and (select count(*) from passbell.deliveries d
                                       where d.pass_id = m.pass_id and d.sent_at > passbell.now() - interval '24 hours' and d.outcome = 'sent') >= v_cap as capped,
                       v_policy.since is not null and passbell.is_too_often(m.pass_id, v_policy.max, v_policy.days, v_policy.hours, 0) as too_often
                  from pg_temp.passbell_matches m
                 where m.pass_id is not null and m.nth = 1 and m.wanted) a;
    else
        select l.* into v_load from passbell.list_loads l where l.campaign_id = p_campaign;
        matched := coalesce(v_load.matched, 0);
        opted_out := coalesce((v_load.reasons ->> 'opted_out')::bigint, 0);
        in_wallet := v_campaign.recipient_count + opted_out;
        capped := 0;   suppressed := 0;   too_often := 0;
    end if;
    listed := coalesce(v_load.rows, 0);
    unmatched := coalesce((select sum(e.value::bigint) from jsonb_each_text(v_load.reasons) e
                            where e.key in ('unknown_member', 'other_program', 'unusable')), 0);
    reachable := in_wallet - opted_out - suppressed - capped - too_often;
    would_hold := passbell.would_hold(v_campaign.program_id, 'CSV', reachable, v_campaign.holdout_percent);
    select t.seconds, t.finishes_at into seconds_at_rate, finishes_at from passbell.time_to_send(reachable, v_rate) t;
    return next;
end
$$;
