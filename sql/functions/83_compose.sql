-- One member of the audience with the text that this member would read: the lock screen of the page. The member of
-- p_pass if it belongs to the program, else any reachable one of the audience, else any reachable one of the program.
-- Raises the sentences of push_send for a broken message or target. No row: nobody in the program can be reached.
create or replace function passbell.sample_message(p_program uuid, p_message text, p_target text default 'ALL', p_pass uuid default null)
returns table (pass_id uuid, external_id text, first_name text, message text, program_name text, in_audience boolean)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_condition   text;
    v_parameters  text[];
    v_message     record;
begin
    perform passbell.require_program(p_program);
    v_message := passbell.compile_message(p_message);
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
        select r.pass_id, r.external_id, r.first_name,
               passbell.render_message(v_message.layout, v_message.fields, v_message.fallbacks,
                                       r.points, r.first_name, r.last_name, r.tier_points, g.name),
               g.name, sample_message.in_audience
          from passbell.recipients r
          join passbell.programs g on g.program_id = r.program_id
         where r.pass_id = sample_message.pass_id
         limit 1;
exception when data_exception or syntax_error_or_access_rule_violation then
    raise exception 'The audience could not be evaluated: %.', sqlerrm using errcode = 'PB400';
end
$$;

-- Begins an order whose audience is an uploaded file: a DRAFT to stage the rows under. p_file names the file's content,
-- so that the same upload twice within a minute is recognised as one, and two different ones are not. Gives the campaign
-- that an earlier attempt under the same idempotency key had created, with ready = true.
create or replace function passbell.open_list_order(
    p_owner text, p_key text, p_program uuid, p_message text, p_name text, p_scheduled_at timestamptz, p_file text, out campaign uuid, out ready boolean)
language plpgsql
set search_path = ''
as $$
begin
    campaign := passbell.requested_campaign(p_owner, p_key);
    ready := campaign is not null;
    if ready then
        return;
    end if;
    perform passbell.act_as(p_owner);
    perform passbell.require_program(p_program);
    perform passbell.compile_message(p_message);
    insert into public.push_campaigns (program_id, name, message_text, target_query, csv_upload_url, scheduled_at, status)
    values (p_program, p_name, p_message, 'CSV', 'upload:' || p_file, p_scheduled_at, 'DRAFT')
    returning id into campaign;
    update passbell.api_requests r set campaign_id = open_list_order.campaign where r.owner = p_owner and r.key = p_key;
end
$$;

-- The rows are staged: matches them, and submits the order or leaves it a draft. Raises PB400 for a list of which
-- nothing matches.
create or replace function passbell.close_list_order(p_campaign uuid, p_submit boolean) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
begin
    select c.* into strict v_campaign from public.push_campaigns c where c.id = p_campaign for update;
    insert into passbell.list_loads (campaign_id, attempt, loaded) values (p_campaign, 1, true)
    on conflict (campaign_id) do update set loaded = true;
    perform passbell.report_list(v_campaign);
    if p_submit then
        update public.push_campaigns c set status = 'PENDING' where c.id = p_campaign and c.status = 'DRAFT';
    end if;
end
$$;

-- push_preview for a campaign whose list is staged, and how many rows of the file reach nobody we know.
create or replace function passbell.preview_list(p_campaign uuid)
returns table (matched bigint, in_wallet bigint, opted_out bigint, capped bigint, reachable bigint, seconds_at_rate numeric, finishes_at timestamptz,
               listed bigint, unmatched bigint)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_program  uuid;
    v_cap      integer;
    v_rate     numeric;
    v_waiting  bigint;
begin
    select c.program_id into v_program from public.push_campaigns c where c.id = p_campaign;
    select s.daily_cap, s.rate_per_second into v_cap, v_rate from passbell.settings s;
    select count(*), count(*) filter (where e.reason in ('unknown_member', 'other_program', 'unusable')) into listed, unmatched
      from passbell.list_entries e where e.campaign_id = p_campaign;
    select count(*), count(*) filter (where a.reachable), count(*) filter (where a.reachable and not a.opted_in),
           count(*) filter (where a.reachable and a.opted_in and a.capped)
      into matched, in_wallet, opted_out, capped
      from (select distinct on (r.pass_id) r.pass_id, r.reachable, r.opted_in,
                   v_cap > 0 and (select count(*) from passbell.deliveries d
                                   where d.pass_id = r.pass_id and d.sent_at > passbell.now() - interval '24 hours' and d.outcome = 'sent') >= v_cap as capped
              from passbell.list_entries e
              join passbell.recipients r on r.pass_id = e.pass_id and r.program_id = v_program
             where e.campaign_id = p_campaign) a;
    reachable := in_wallet - opted_out - capped;
    select coalesce(sum(c.recipient_count - c.sent_count - c.failed_count - c.skipped_count), 0)
      into v_waiting from public.push_campaigns c where c.status = 'PROCESSING';
    seconds_at_rate := round(reachable / v_rate, 1);
    finishes_at := passbell.now() + make_interval(secs => ((reachable + v_waiting) / v_rate)::double precision);
    return next;
end
$$;

-- Submits a draft made from an upload, if it still reaches as many phones as were shown; else PB409.
create or replace function passbell.submit_list_order(p_owner text, p_campaign uuid, p_expected integer) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_status     text;
    v_reachable  bigint;
begin
    perform passbell.act_as(p_owner);
    select c.status into v_status from public.push_campaigns c where c.id = p_campaign for update;
    if not found then
        raise exception 'There is no campaign %.', p_campaign using errcode = 'PB404';
    end if;
    if v_status <> 'DRAFT' then
        return;     -- submitted by the first of two clicks
    end if;
    if p_expected is not null then
        select p.reachable into v_reachable from passbell.preview_list(p_campaign) p;
        if v_reachable <> p_expected then
            raise exception 'The audience has changed: % phones now, % when you looked.', passbell.thousands(v_reachable), passbell.thousands(p_expected)
                  using errcode = 'PB409', detail = v_reachable::text;
        end if;
    end if;
    update public.push_campaigns c set status = 'PENDING' where c.id = p_campaign;
end
$$;
