-- What is asked of results: one campaign, a program's added up, and what a plan would show. Counting is 57_results.

-- Guests as money, with the same interval; NULL unless the program says what a guest is worth.
create or replace function passbell.in_money(
    p_program uuid, p_extra double precision, p_lo double precision, p_hi double precision,
    out money numeric, out money_lo numeric, out money_hi numeric)
language sql stable
set search_path = ''
as $$
    select round(p_extra::numeric * g.average_bill, 2), round(p_lo::numeric * g.average_bill, 2), round(p_hi::numeric * g.average_bill, 2)
      from passbell.programs g where g.program_id = p_program and g.average_bill > 0 limit 1
$$;

-- What a campaign brought: one row. Counts it if its window has closed and it is not counted yet; after that the
-- numbers never change. `diff`, `diff_lo` and `diff_hi` are fractions, `extra…` people; none is rounded. Before the window
-- has closed: verdict open. `beside` and `arms_before` are sentences beside the number; money only where the program says
-- what a guest is worth (average_bill). Raises PB404, PB403.
drop function if exists public.push_results(uuid);
drop function if exists passbell.campaign_result(uuid);
create function passbell.campaign_result(p_campaign uuid)
returns table (campaign_id uuid, measure_days integer, ready_at timestamptz, counted_at timestamptz,
               sent bigint, sent_came bigint, held bigint, held_came bigint,
               diff double precision, diff_lo double precision, diff_hi double precision,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text,
               beside text, arms_before text, money numeric, money_lo numeric, money_hi numeric)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_campaign  constant public.push_campaigns := passbell.campaign_for_caller(p_campaign);
    v_result    passbell.results;
    v_trusted   boolean;
begin
    perform passbell.count_result(v_campaign.id, true);
    select r.* into v_result from passbell.results r where r.campaign_id = v_campaign.id;

    campaign_id := v_campaign.id;
    if v_result.campaign_id is null then
        measure_days := coalesce(v_campaign.measure_days, 7);
        ready_at := passbell.result_ready_at(v_campaign.id);
        select count(*) filter (where d.reason is distinct from 'held_out'), count(*) filter (where d.reason = 'held_out')
          into sent, held
          from passbell.deliveries d
         where d.campaign_id = v_campaign.id and passbell.is_measured(d.outcome, d.reason);
        verdict := 'open';
        sentence := case
            when v_campaign.status in ('COMPLETED', 'CANCELLED', 'FAILED') and ready_at is null then 'It reached no member, so there is nothing to count.'
            when passbell.was_pruned(v_campaign.id) then 'Its deliveries were removed by retention before it was counted, so nobody knows who came.'
            when ready_at is null then 'Can be counted ' || passbell.days(measure_days) || ' after its last message.'
            when ready_at <= passbell.now() then 'It is being counted right now.'
            else 'Can be counted on ' || passbell.short_time(ready_at, v_campaign.program_id) || '.' end;
        return next;
        return;
    end if;

    measure_days := v_result.measure_days;   ready_at := v_result.ready_at;     counted_at := v_result.counted_at;
    sent := v_result.sent;                   sent_came := v_result.sent_came;
    held := v_result.held;                   held_came := v_result.held_came;
    select n.diff, n.lo, n.hi into diff, diff_lo, diff_hi from passbell.newcombe(sent_came, sent, held_came, held) n;
    extra := sent * diff;   extra_lo := sent * diff_lo;   extra_hi := sent * diff_hi;
    v_trusted := passbell.drawn_as_planned(held, sent + held, v_result.percent);
    select j.verdict, j.sentence into verdict, sentence
      from passbell.judge_result(v_result.visits_recorded, v_trusted, sent, sent_came, held, held_came, diff, diff_lo, diff_hi, measure_days) j;
    if verdict = 'too_small' then
        sentence := concat_ws(' ', sentence, passbell.others_since(v_result));
    end if;
    if verdict in ('no_holdout', 'untrusted') then
        diff := null;   diff_lo := null;   diff_hi := null;   extra := null;   extra_lo := null;   extra_hi := null;
    else
        beside := passbell.came_anyway(sent_came, held, held_came, sent_came - extra, measure_days);
        arms_before := passbell.alike_before(sent, v_result.sent_came_before, held, v_result.held_came_before, measure_days);
        select m.money, m.money_lo, m.money_hi into money, money_lo, money_hi
          from passbell.in_money(v_campaign.program_id, extra, extra_lo, extra_hi) m;
    end if;
    if not v_result.visits_recorded then
        sent_came := null;   held_came := null;     -- unknown, and not 0
    end if;
    return next;
end
$$;

create function public.push_results(campaign_id uuid)
returns table (campaign_id uuid, measure_days integer, ready_at timestamptz, counted_at timestamptz,
               sent bigint, sent_came bigint, held bigint, held_came bigint,
               diff double precision, diff_lo double precision, diff_hi double precision,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text,
               beside text, arms_before text, money numeric, money_lo numeric, money_hi numeric)
language sql
security definer
set search_path = ''
as $$ select * from passbell.campaign_result($1) $$;

-- The results of a program that may be added up: counted, trusted, with a share held back, first message between the two local
-- dates; of two whose windows overlap for the same people only the earlier. In one lot for the whole program overlaps do not matter.
create or replace function passbell.addable_results(p_program uuid, p_since date, p_until date) returns setof passbell.results
language plpgsql stable
set search_path = ''
as $$
declare
    v_zone    constant text := passbell.program_zone(p_program);
    v_taken   passbell.results[] := array[]::passbell.results[];
    v_result  passbell.results;
begin
    for v_result in
        select r.* from passbell.results r
         where r.program_id = p_program and r.held > 0 and r.sent > 0 and r.visits_recorded
           and (p_since is null or (r.first_sent_at at time zone v_zone)::date >= p_since)
           and (p_until is null or (r.first_sent_at at time zone v_zone)::date <= p_until)
           and passbell.drawn_as_planned(r.held, r.sent + r.held, r.percent)
         order by r.first_sent_at, r.campaign_id
    loop
        continue when exists (select from unnest(v_taken) t
                               where not (v_result.grouped and t.grouped)
                                 and (t.campaign_id = any (v_result.overlapping) or v_result.campaign_id = any (t.overlapping)));
        v_taken := v_taken || v_result;
        return next v_result;
    end loop;
end
$$;

-- Adds results up: Mantel–Haenszel from five campaigns on. Fewer by Newcombe: of the pooled counts where all held the same
-- share back, else stratum by stratum with the same weights, because pooling arms of different shares compares the
-- campaigns and not the arms (Simpson).
-- Source of the latter: X. Yan, X. G. Su, Statistics in Biopharmaceutical Research 2:329, 2010.
create or replace function passbell.add_results(
    p_results passbell.results[],
    out campaigns bigint, out sent bigint, out sent_came bigint, out held bigint, out held_came bigint,
    out diff double precision, out lo double precision, out hi double precision)
language plpgsql immutable
set search_path = ''
as $$
declare
    v_sums  record;
begin
    select count(*) as n, coalesce(sum(r.sent), 0)::bigint as sent, coalesce(sum(r.sent_came), 0)::bigint as sent_came,
           coalesce(sum(r.held), 0)::bigint as held, coalesce(sum(r.held_came), 0)::bigint as held_came,
           count(distinct r.percent) > 1 as mixed,
           array_agg(r.sent_came) as k1, array_agg(r.sent) as n1, array_agg(r.held_came) as k0, array_agg(r.held) as n0
      into v_sums
      from unnest(p_results) r;
    campaigns := v_sums.n;   sent := v_sums.sent;   sent_came := v_sums.sent_came;   held := v_sums.held;   held_came := v_sums.held_came;
    if campaigns >= 5 then
        select m.diff, m.lo, m.hi into diff, lo, hi from passbell.mantel_haenszel(v_sums.k1, v_sums.n1, v_sums.k0, v_sums.n0) m;
    elsif v_sums.mixed then
        select s.diff, s.diff - s.below, s.diff + s.above into diff, lo, hi
          from (select sum(w.w * n.diff) / sum(w.w) as diff, sqrt(sum(power(w.w * (n.diff - n.lo), 2))) / sum(w.w) as below,
                       sqrt(sum(power(w.w * (n.hi - n.diff), 2))) / sum(w.w) as above
                  from unnest(p_results) r
                 cross join lateral (select r.sent::double precision * r.held / (r.sent + r.held) as w) w
                 cross join lateral passbell.newcombe(r.sent_came, r.sent, r.held_came, r.held) n) s;
    else
        select n.diff, n.lo, n.hi into diff, lo, hi from passbell.newcombe(sent_came, sent, held_came, held) n;
    end if;
end
$$;

-- "Added to your other 11 since June: about 5 in 100 more came, between 0 and 10." Of the year before it; NULL with fewer
-- than four others, and where it is not added itself because an earlier one overlaps it.
create or replace function passbell.others_since(p_result passbell.results) returns text
language plpgsql stable
set search_path = ''
as $$
declare
    v_zone     constant text := passbell.program_zone(p_result.program_id);
    v_day      constant date := (p_result.first_sent_at at time zone v_zone)::date;
    v_results  passbell.results[];
    v_sum      record;
    v_since    timestamptz;
begin
    select array_agg(r), min((r).first_sent_at) into v_results, v_since
      from (select r from passbell.addable_results(p_result.program_id, (v_day - interval '1 year' + interval '1 day')::date, v_day) r) r;
    if coalesce(cardinality(v_results), 0) < 5
       or not exists (select from unnest(v_results) r where r.campaign_id = p_result.campaign_id) then
        return null;
    end if;
    select * into v_sum from passbell.add_results(v_results);
    return format('Added to your other %s since %s: %s', v_sum.campaigns - 1, to_char(v_since at time zone v_zone, 'FMMonth'),
                  passbell.in_a_hundred(v_sum.diff, v_sum.lo, v_sum.hi));
end
$$;

-- All campaigns of a program added up, whose first message lies between two local dates of the program, inclusive; NULL is
-- all. The columns of push_results, and how many campaigns are in it. Raises PB404, PB403.
drop function if exists public.push_results_total(uuid, date, date);
create function public.push_results_total(program_id uuid, since date default null, until date default null)
returns table (campaign_id uuid, measure_days integer, ready_at timestamptz, counted_at timestamptz,
               sent bigint, sent_came bigint, held bigint, held_came bigint,
               diff double precision, diff_lo double precision, diff_hi double precision,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text, campaigns bigint,
               beside text, arms_before text, money numeric, money_lo numeric, money_hi numeric)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_results  passbell.results[];
    v_sum      record;
    v_open     timestamptz;
    v_zone     constant text := passbell.program_zone($1);
begin
    perform passbell.require_program($1);
    perform passbell.count_due_results(50, $1);
    select array_agg(r order by (r).first_sent_at) into v_results from passbell.addable_results($1, $2, $3) r;
    select * into v_sum from passbell.add_results(coalesce(v_results, '{}'));
    campaign_id := null;
    campaigns := v_sum.campaigns;
    select case when min(r.measure_days) = max(r.measure_days) then min(r.measure_days) end, max(r.ready_at), max(r.counted_at)
      into measure_days, ready_at, counted_at from unnest(v_results) r;
    sent := v_sum.sent;   sent_came := v_sum.sent_came;   held := v_sum.held;   held_came := v_sum.held_came;
    diff := v_sum.diff;   diff_lo := v_sum.lo;   diff_hi := v_sum.hi;
    extra := sent * diff;   extra_lo := sent * diff_lo;   extra_hi := sent * diff_hi;
    if campaigns = 0 then
        select min(coalesce(passbell.result_ready_at(c.id), 'infinity')) into v_open
          from public.push_campaigns c
          join passbell.holdouts h on h.campaign_id = c.id
         where c.program_id = $1 and not exists (select from passbell.results r where r.campaign_id = c.id)
           and ($2 is null or (c.started_at at time zone v_zone)::date >= $2) and ($3 is null or (c.started_at at time zone v_zone)::date <= $3);
        if v_open is not null then
            verdict := 'open';
            sentence := case when isfinite(v_open) then 'The first of them can be counted on ' || passbell.short_time(v_open, $1) || '.'
                             else 'Nothing of this time can be counted yet.' end;
            ready_at := case when isfinite(v_open) then v_open end;
        elsif not passbell.visits_recorded() then
            verdict := 'untrusted';
            sentence := passbell.no_visits_words();
            sent_came := null;   held_came := null;
        elsif exists (select from passbell.results r
                       where r.program_id = $1 and r.held > 0 and r.visits_recorded and not passbell.drawn_as_planned(r.held, r.sent + r.held, r.percent)
                         and ($2 is null or (r.first_sent_at at time zone v_zone)::date >= $2) and ($3 is null or (r.first_sent_at at time zone v_zone)::date <= $3)) then
            verdict := 'untrusted';
            sentence := passbell.untrusted_words();
        else
            verdict := 'no_holdout';
            sentence := 'No campaign with a share held back has been counted in this time.';
        end if;
        return next;
        return;
    end if;
    beside := passbell.came_anyway(sent_came, held, held_came, sent_came - extra, measure_days);
    select passbell.alike_before(push_results_total.sent, sum(r.sent_came_before)::bigint, push_results_total.held, sum(r.held_came_before)::bigint, min(r.measure_days))
      into arms_before
      from unnest(v_results) r having count(distinct r.percent) = 1 and count(distinct r.measure_days) = 1;
    select m.money, m.money_lo, m.money_hi into money, money_lo, money_hi from passbell.in_money($1, extra, extra_lo, extra_hi) m;
    select j.verdict, j.sentence into verdict, sentence
      from passbell.judge_result(true, true, sent, sent_came, held, held_came, diff, diff_lo, diff_hi, coalesce(measure_days, 7)) j;
    sentence := case verdict
        when 'more' then format('%s brought about %s more than without them: between %s and %s.', passbell.campaigns(campaigns),
                                passbell.guests(extra), passbell.thousands(round(extra_lo::numeric)), passbell.thousands(round(extra_hi::numeric)))
        when 'too_small' then format('%s: too small to say anything (%s held back).', passbell.campaigns(campaigns), passbell.thousands(held))
        else passbell.campaigns(campaigns) || ' added up. ' || sentence end;
    return next;
end
$$;

-- What holding a share back would show, before the order is placed. base_rate: how many of this audience came in the last
-- seven days.
drop function if exists public.push_plan(uuid, text, numeric);
create function public.push_plan(program_id uuid, target text default 'ALL', holdout_percent numeric default 10)
returns table (reachable bigint, would_send bigint, would_hold bigint, base_rate double precision, smallest_visible double precision, sentence text)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_condition   text;
    v_parameters  text[];
begin
    perform passbell.require_program($1);
    if $3 is null or not $3 between 0 and 50 then
        raise exception 'holdout_percent is a number from 0 to 50, not %.', coalesce($3::text, 'nothing') using errcode = 'PB400';
    end if;
    select p.reachable into reachable from public.push_preview($1, $2) p;
    would_hold := round(reachable * $3 / 100);
    would_send := reachable - would_hold;
    if not passbell.visits_recorded() then
        sentence := passbell.no_visits_words();
        return next;
        return;
    end if;
    select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition($2) a;
    execute $q$
        select (count(*) filter (where exists (select from passbell.visits v
                                                where v.pass_id = r.pass_id and v.at > $3 - interval '7 days' and v.at <= $3)))::double precision
               / nullif(count(*), 0)
          from passbell.recipients r
         where r.program_id = $1 and r.reachable and r.opted_in and ($q$ || v_condition || $q$) $q$
       into base_rate using $1, v_parameters, passbell.now();
    base_rate := coalesce(base_rate, 0);
    smallest_visible := passbell.smallest_visible(base_rate, would_send, would_hold);
    sentence := case
        when would_hold = 0 then 'Nobody is held back, so nobody will know how many would have come anyway.'
        when would_hold < 30 or smallest_visible is null or base_rate = 0 or smallest_visible > base_rate
            then format('With %s held back this campaign alone is too small to say anything; several added up can say more.', passbell.thousands(would_hold))
        else format('With %s %% held back, only %s more or fewer would be seen.', trim_scale($3), passbell.guests(greatest(1, smallest_visible * would_send))) end;
    return next;
end
$$;
