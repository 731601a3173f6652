-- What the Notification Manager page asks beside the API: one function per question, each under the caller's name where
-- something changes. `passbell web` calls them as passbell_web (99_grants).

-- A campaign with its reasons, chart and list, read in one statement: the numbers of one page are those of one moment.
create or replace function passbell.page_campaign(p_campaign uuid)
returns table (card jsonb, reasons jsonb, slots jsonb, listed jsonb, average_per_second numeric)
language sql stable
set search_path = ''
as $$
    select to_jsonb(k),
           coalesce((select jsonb_agg(to_jsonb(r)) from passbell.campaign_reasons(p_campaign) r), '[]'),
           coalesce((select jsonb_agg(to_jsonb(s) order by s.slot) from passbell.campaign_timeline(p_campaign) s), '[]'),
           coalesce((select jsonb_agg(to_jsonb(l)) from passbell.list_reasons(p_campaign) l), '[]'),
           -- A chunk is reported as a whole, so a short stretch seems faster than it was. From the start to the last report
           -- is the only stretch whose rate can be told.
           (select round((count(*) / greatest(1, extract(epoch from max(d.sent_at) - k.started_at)))::numeric, 1)
              from passbell.deliveries d where d.campaign_id = p_campaign and d.outcome <> 'skipped')
      from passbell.campaign_card(p_campaign) k
$$;

-- ── orders and drafts ────────────────────────────────────────────────────────────────────────────────────────

-- The share of an order that has not started that is held back; NULL leaves it as it is. Raises PB400.
create or replace function passbell.page_hold_back(p_campaign uuid, p_holdout numeric) returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_holdout is not null then
        if not p_holdout between 0 and 50 then
            raise exception 'Hold back 0 to 50 %%, not %.', p_holdout using errcode = 'PB400';
        end if;
        update public.push_campaigns c set holdout_percent = p_holdout where c.id = p_campaign and c.started_at is null;
    end if;
end
$$;

-- A draft as the form shows it. Raises PB404, PB422 for a campaign that is no draft any more.
create or replace function passbell.page_draft(p_campaign uuid)
returns table (campaign_id uuid, program_id uuid, name text, message text, target text, at_local text, holdout_percent numeric, is_list boolean)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_campaign  constant public.push_campaigns := passbell.campaign_for_caller(p_campaign);
begin
    if v_campaign.status <> 'DRAFT' then
        raise exception 'Campaign "%" is no draft any more: it is %.', left(v_campaign.name, 80), lower(v_campaign.status) using errcode = 'PB422';
    end if;
    return query
        select v_campaign.id, v_campaign.program_id, left(v_campaign.name, 200), v_campaign.message_text,
               coalesce(nullif(btrim(v_campaign.target_query), ''), 'ALL'),
               to_char(v_campaign.scheduled_at at time zone passbell.program_zone(v_campaign.program_id), 'YYYY-MM-DD"T"HH24:MI'),
               v_campaign.holdout_percent, passbell.is_list(v_campaign);
end
$$;

-- Writes a draft: a new one without p_campaign, else over the one that is there, whose list stays. Raises the sentences of
-- push_send, PB422 for a campaign that is no draft any more.
create or replace function passbell.page_save_draft(
    p_owner text, p_campaign uuid, p_program uuid, p_message text, p_target text, p_name text, p_scheduled_at timestamptz, p_holdout numeric) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    v_id  constant uuid := coalesce(p_campaign, gen_random_uuid());
begin
    perform passbell.act_as(p_owner);
    perform passbell.require_program(p_program);
    perform passbell.compile_message(p_message);
    perform passbell.require_audience(p_target);
    if p_campaign is null then
        perform passbell.parse_target(p_target);
        insert into public.push_campaigns (id, program_id, name, message_text, target_query, scheduled_at, status)
        values (v_id, p_program, p_name, p_message, p_target, p_scheduled_at, 'DRAFT');
    else
        perform d.campaign_id from passbell.page_draft(p_campaign) d;
        update public.push_campaigns c
           set program_id = case when passbell.is_list(c) then c.program_id else p_program end,
               target_query = case when passbell.is_list(c) then c.target_query else p_target end,
               name = coalesce(p_name, c.name), message_text = p_message, scheduled_at = p_scheduled_at, holdout_percent = p_holdout
         where c.id = p_campaign and c.status = 'DRAFT';
    end if;
    if not found then
        perform passbell.swallowed('push_campaigns');
    end if;
    perform passbell.page_hold_back(v_id, p_holdout);
    return v_id;
end
$$;

-- Submits a draft as it was confirmed: over it what the form says, and only if it still reaches as many phones as were
-- shown (PB409). A draft whose file is still to be fetched cannot be counted: p_expected NULL.
create or replace function passbell.page_submit_draft(
    p_owner text, p_campaign uuid, p_program uuid, p_message text, p_target text, p_name text, p_scheduled_at timestamptz, p_expected integer, p_holdout numeric) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
begin
    perform passbell.act_as(p_owner);
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign for update;
    if v_campaign.status <> 'DRAFT' then
        return p_campaign;      -- submitted by the first of two clicks
    end if;
    perform passbell.page_save_draft(p_owner, p_campaign, p_program, p_message, p_target, p_name, p_scheduled_at, p_holdout);
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign;
    perform passbell.require_order(v_campaign.program_id, v_campaign.target_query, v_campaign.scheduled_at);
    if p_expected is not null then
        if exists (select from passbell.list_pages g where g.campaign_id = p_campaign) then
            perform passbell.require_expected(p.reachable, p_expected) from passbell.preview_list(p_campaign) p;
        elsif not passbell.is_list(v_campaign) then
            perform passbell.require_expected(p.reachable, p_expected) from public.push_preview(v_campaign.program_id, v_campaign.target_query) p;
        end if;
    end if;
    update public.push_campaigns c set status = 'PENDING' where c.id = p_campaign and c.status = 'DRAFT';
    return p_campaign;
end
$$;

-- ── results ──────────────────────────────────────────────────────────────────────────────────────────────────

-- The verdicts of those campaigns that are counted; nothing is counted for it.
create or replace function passbell.page_verdicts(p_campaigns uuid[]) returns table (campaign_id uuid, verdict text)
language sql
set search_path = ''
as $$
    select r.campaign_id, v.verdict
      from passbell.results r
     cross join lateral passbell.campaign_result(r.campaign_id) v
     where r.campaign_id = any (p_campaigns)
$$;

-- A program's results added up: the last twelve local months, newest first, and before them the whole span (month NULL).
create or replace function passbell.page_program_results(p_program uuid)
returns table (month date, since date, until date, campaigns bigint, sent bigint, sent_came bigint, held bigint, held_came bigint,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text,
               money numeric, money_lo numeric, money_hi numeric)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_this  date;
begin
    perform passbell.require_program(p_program);
    v_this := date_trunc('month', passbell.local_date(p_program)::timestamp)::date;
    for month, since, until in
        select null::date, (v_this - interval '11 months')::date, (v_this + interval '1 month - 1 day')::date
        union all
        select (v_this - make_interval(months => n))::date, (v_this - make_interval(months => n))::date,
               (v_this - make_interval(months => n) + interval '1 month - 1 day')::date
          from generate_series(0, 11) n
    loop
        return query
            select month, since, until, t.campaigns, t.sent, t.sent_came, t.held, t.held_came, t.extra, t.extra_lo, t.extra_hi, t.verdict, t.sentence,
                   t.money, t.money_lo, t.money_hi
              from public.push_results_total(p_program, since, until) t;
    end loop;
end
$$;

-- What a program says about its messages, for its own page and for compose.
drop function if exists passbell.page_program(uuid);
drop function if exists passbell.submit_list_order(text, uuid, integer);
create function passbell.page_program(p_program uuid)
returns table (program_id uuid, name text, timezone text, suspended boolean, push_window_start text, push_window_end text,
               holdout_percent numeric, holdout_group boolean, average_bill numeric, push_max integer, push_max_days integer, push_min_hours integer,
               push_consent text, this_month date, daily_cap integer)
language sql stable
set search_path = ''
as $$
    select g.program_id, coalesce(nullif(btrim(g.name), ''), g.program_id::text), passbell.zone(g.timezone), g.suspended,
           to_char(g.push_window_start, 'HH24:MI'), to_char(g.push_window_end, 'HH24:MI'), coalesce(g.holdout_percent, 0), coalesce(g.holdout_group, false),
           g.average_bill, g.push_max, g.push_max_days, g.push_min_hours, coalesce(g.push_consent, 'OPT_OUT'),
           date_trunc('month', passbell.local_date(g.program_id)::timestamp)::date, s.daily_cap
      from passbell.programs g
     cross join passbell.settings s
     where g.program_id = p_program
     limit 1
$$;

create or replace function passbell.page_report(p_program uuid, p_month date) returns jsonb
language sql
set search_path = ''
as $$ select to_jsonb(r) from public.push_report(p_program, p_month) r $$;

-- The rows of an import that have a problem: those that were rejected first, then those of which cells were left out.
create or replace function passbell.page_import_rows(p_import uuid, p_rejected boolean, p_after integer, p_limit integer)
returns table (row_number integer, result text, column_name text, value text, reason text, problems jsonb)
language sql stable
set search_path = ''
as $$
    select r.row_number, r.result, r.column_name, r.value, r.reason, coalesce(r.problems, '[]')
      from passbell.import_rows r
     where r.import_id = p_import and r.row_number > p_after and r.problems is not null and (r.result = 'rejected') = p_rejected
     order by r.row_number
     limit least(greatest(p_limit, 1), 5000)
$$;

-- The rules that an automation's occasion can name.
create or replace function passbell.page_occasions()
returns table (name text, description text, parameter_kind text, default_parameter text)
language sql stable
set search_path = ''
as $$
    select t.name, t.description, t.parameter_kind, t.default_parameter from passbell.triggers t order by t.builtin desc, t.name
$$;
