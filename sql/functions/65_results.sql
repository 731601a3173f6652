-- Did a campaign bring anybody? Counting, and what is said of the counts. The formulas are 64_statistics.
--
-- The comparison is that of ghost ads (G. Johnson, R. Lewis, E. Nubbemeyer, Journal of Marketing Research 54:867, 2017): those
-- held back went through the same queue to the very last check and were then not sent, so both arms are alike but for the
-- message. `came` is at least one visit after the message and within measure_days × 24 hours, once per person. A push that
-- failed after a request went out stays in the sent arm; what was skipped for another reason is in neither.

-- The lot of a campaign that starts now: nothing for tests; gifts, named members and lists only if the campaign says so
-- itself; else the program's share. Called in the transaction that makes the campaign PROCESSING.
create or replace function passbell.fix_holdout(p_campaign public.push_campaigns) returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_named    boolean := p_campaign.kind = 'BIRTHDAY';
    v_program  record;
    v_percent  numeric;
begin
    if p_campaign.kind = 'TEST' then
        return 0;
    elsif p_campaign.kind = 'BROADCAST' then
        v_named := passbell.is_list(p_campaign) or upper(coalesce(p_campaign.target_query, '')) ~ '(^|&)\s*IDS\s*:';
    end if;
    select coalesce(g.holdout_percent, 0) as percent, coalesce(g.holdout_group, false) as grouped into v_program
      from passbell.programs g where g.program_id = p_campaign.program_id;
    v_percent := least(50, greatest(0, coalesce(p_campaign.holdout_percent, case when v_named then 0 else v_program.percent end, 0)));
    if v_percent > 0 then
        insert into passbell.holdouts (campaign_id, percent, salt, grouped)
        values (p_campaign.id, v_percent,
                case when p_campaign.automation_id is not null
                     then p_campaign.automation_id::text
                          || extract(year from passbell.now() at time zone passbell.zone((select g.timezone from passbell.programs g where g.program_id = p_campaign.program_id)))::text
                     when v_program.grouped then p_campaign.program_id::text
                     else p_campaign.id::text end,
                v_program.grouped and p_campaign.automation_id is null)
        on conflict (campaign_id) do nothing;
    end if;
    return v_percent;
end
$$;

-- From when on a campaign can be counted: its last message plus measure_days. NULL while it is not over, and where it
-- reached and held back nobody.
create or replace function passbell.result_ready_at(p_campaign uuid) returns timestamptz
language plpgsql stable
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign;
    if v_campaign.status not in ('COMPLETED', 'CANCELLED', 'FAILED') or v_campaign.started_at is null
       or exists (select from passbell.chunks k where k.campaign_id = p_campaign) then
        return null;
    end if;
    return (select max(d.sent_at) + make_interval(hours => 24 * coalesce(v_campaign.measure_days, 7))
              from passbell.deliveries d
             where d.campaign_id = p_campaign and passbell.is_measured(d.outcome, d.reason));
end
$$;

-- Is a row of the ledger in one of the two arms?
create or replace function passbell.is_measured(p_outcome text, p_reason text) returns boolean
language sql immutable
as $$
    select p_outcome = 'sent' or p_reason in ('held_out', 'not_found', 'rejected', 'attempts_exhausted')
$$;

-- Counts both arms of a campaign as the tables are now. Bounded by the campaign's own passes and its window: visits are
-- looked up by pass and time. A person with several passes counts once; one who has come to be in both arms (two members
-- merged afterwards) counts in neither.
create or replace function passbell.count_arms(
    p_campaign uuid, p_days integer,
    out first_sent_at timestamptz, out last_sent_at timestamptz,
    out sent bigint, out sent_came bigint, out sent_came_before bigint,
    out held bigint, out held_came bigint, out held_came_before bigint)
language plpgsql stable
set search_path = ''
set work_mem = '128MB'
set jit = off
as $$
#variable_conflict use_column
declare
    v_days  constant interval := make_interval(hours => 24 * p_days);
begin
    select min(d.sent_at), max(d.sent_at) into first_sent_at, last_sent_at
      from passbell.deliveries d where d.campaign_id = p_campaign and passbell.is_measured(d.outcome, d.reason);
    with arm as materialized (
        select d.pass_id, d.sent_at, coalesce(d.reason = 'held_out', false) as held, coalesce(r.user_id, d.pass_id) as person
          from passbell.deliveries d
          left join passbell.recipients r on r.pass_id = d.pass_id
         where d.campaign_id = p_campaign and (d.outcome = 'sent' or d.reason in ('held_out', 'not_found', 'rejected', 'attempts_exhausted'))
    ), seen as (
        select a.person, bool_or(v.at > a.sent_at) as came, bool_or(v.at <= a.sent_at) as came_before
          from arm a
          join passbell.visits v on v.pass_id = a.pass_id and v.at > a.sent_at - v_days and v.at <= a.sent_at + v_days
         where v.at > first_sent_at - v_days and v.at <= last_sent_at + v_days
         group by a.person
    ), people as (
        select a.person, bool_or(a.held) as held
          from arm a group by a.person having bool_or(a.held) = bool_and(a.held)
    )
    select count(*) filter (where not p.held), count(*) filter (where not p.held and s.came), count(*) filter (where not p.held and s.came_before),
           count(*) filter (where p.held), count(*) filter (where p.held and s.came), count(*) filter (where p.held and s.came_before)
      into sent, sent_came, sent_came_before, held, held_came, held_came_before
      from people p
      left join seen s on s.person = p.person;
end
$$;

-- Counts a campaign whose window has closed and stores the result for good. False if it is stored already, the window is
-- open, or another session counts it right now; no lock is waited for.
create or replace function passbell.count_result(p_campaign uuid) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
    v_ready     timestamptz;
    v_holdout   passbell.holdouts;
    v_arms      record;
    v_days      integer;
begin
    if exists (select from passbell.results r where r.campaign_id = p_campaign)
       or not pg_try_advisory_xact_lock(hashtextextended('passbell.result ' || p_campaign, 0)) then
        return false;
    end if;
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign;
    v_ready := passbell.result_ready_at(p_campaign);
    if v_ready is null or v_ready > passbell.now() then
        return false;
    end if;
    v_days := coalesce(v_campaign.measure_days, 7);
    select h.* into v_holdout from passbell.holdouts h where h.campaign_id = p_campaign;
    select * into v_arms from passbell.count_arms(p_campaign, v_days);
    insert into passbell.results (campaign_id, program_id, automation_id, measure_days, percent, grouped, first_sent_at, last_sent_at,
                                  ready_at, counted_at, visits_recorded, sent, sent_came, sent_came_before, held, held_came, held_came_before, overlapping)
    select p_campaign, v_campaign.program_id, v_campaign.automation_id, v_days, coalesce(v_holdout.percent, 0), coalesce(v_holdout.grouped, false),
           v_arms.first_sent_at, v_arms.last_sent_at, v_ready, passbell.now(), passbell.visits_recorded(),
           v_arms.sent, v_arms.sent_came, v_arms.sent_came_before, v_arms.held, v_arms.held_came, v_arms.held_came_before,
           case when v_holdout.percent > 0
                then passbell.overlapping(p_campaign, v_campaign.program_id, v_arms.first_sent_at, v_arms.last_sent_at, v_days)
                else '{}' end
    on conflict (campaign_id) do nothing;
    return found;
end
$$;

-- Does the host record visits at all? A stand-in for last activity is not a visit.
create or replace function passbell.visits_recorded() returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from passbell.visits)
$$;

-- Earlier campaigns of the program that held somebody back, whose windows overlap this one's, and that reached one of the
-- same passes at least: their differences are not independent and must not be added up.
create or replace function passbell.overlapping(p_campaign uuid, p_program uuid, p_first timestamptz, p_last timestamptz, p_days integer) returns uuid[]
language sql stable
set search_path = ''
as $$
    select coalesce(array_agg(o.id order by o.started_at), '{}')
      from public.push_campaigns o
      join passbell.holdouts h on h.campaign_id = o.id
     where o.program_id = p_program and o.id <> p_campaign
       and o.started_at <= p_last
       and coalesce(o.completed_at, p_last) + make_interval(hours => 24 * coalesce(o.measure_days, 7)) > p_first
       and (o.started_at, o.id) < (select c.started_at, c.id from public.push_campaigns c where c.id = p_campaign)
       and exists (select from passbell.deliveries a
                     join passbell.deliveries b on b.campaign_id = o.id and b.pass_id = a.pass_id
                    where a.campaign_id = p_campaign
                      and passbell.is_measured(a.outcome, a.reason) and passbell.is_measured(b.outcome, b.reason))
$$;

-- Counts what is due, at most p_limit campaigns, oldest first; says how many. The daemon calls it; retention waits for it.
create or replace function passbell.count_due_results(p_limit integer default 20) returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  uuid;
    v_counted   integer := 0;
begin
    for v_campaign in
        select c.id
          from public.push_campaigns c
         where c.status in ('COMPLETED', 'CANCELLED', 'FAILED') and c.started_at is not null and c.kind <> 'TEST'
           and c.completed_at <= passbell.now() - make_interval(hours => 24 * coalesce(c.measure_days, 7))
           and c.recipient_count > 0
           and not exists (select from passbell.results r where r.campaign_id = c.id)
           and exists (select from passbell.deliveries d
                        where d.campaign_id = c.id and passbell.is_measured(d.outcome, d.reason))
         order by c.completed_at
         limit least(greatest(coalesce(p_limit, 1), 1), 1000)
    loop
        if passbell.count_result(v_campaign) then
            v_counted := v_counted + 1;
        end if;
    end loop;
    return v_counted;
end
$$;

-- What the counts say: the verdict, and the sentence that people read. The one place where these sentences are written.
-- p_others: what follows "too small to say anything", from the program's other campaigns; NULL if there is nothing.
create or replace function passbell.judge_result(
    p_visits boolean, p_trusted boolean, p_sent bigint, p_sent_came bigint, p_held bigint, p_held_came bigint,
    p_diff double precision, p_lo double precision, p_hi double precision, p_days integer, p_others text default null,
    out verdict text, out sentence text)
language plpgsql stable
set search_path = ''
as $$
declare
    v_extra     constant double precision := p_sent * p_diff;
    v_lo        constant double precision := p_sent * p_lo;
    v_hi        constant double precision := p_sent * p_hi;
    v_base      double precision;
    v_smallest  double precision;
begin
    if coalesce(p_held, 0) = 0 then
        verdict := 'no_holdout';
        sentence := format('%s of %s came within %s. Nobody was held back, so nobody knows how many would have come anyway.',
                           passbell.thousands(p_sent_came), passbell.thousands(p_sent), passbell.days(p_days));
    elsif not p_trusted then
        verdict := 'untrusted';
        sentence := 'Something changed who was held back; this number is not shown.';
    elsif p_lo > 0 then
        verdict := 'more';
        sentence := format('It brought about %s more than without it: between %s and %s.',
                           passbell.guests(v_extra), passbell.thousands(round(v_lo::numeric)), passbell.thousands(round(v_hi::numeric)));
    elsif p_hi < 0 then
        verdict := 'fewer';
        sentence := format('Fewer came than without it: between %s and %s fewer. One in forty such results is chance; if the next is the same, stop.',
                           passbell.thousands(round(-v_hi::numeric)), passbell.thousands(round(-v_lo::numeric)));
    else
        v_base := p_held_came::double precision / p_held;
        v_smallest := passbell.smallest_visible(v_base, p_sent, p_held);
        if p_held < 30 or coalesce(p_sent, 0) = 0 or v_smallest > v_base then
            verdict := 'too_small';
            sentence := concat_ws(' ', format('This campaign was too small to say anything (%s held back).', passbell.thousands(p_held)), p_others);
        else
            verdict := 'unclear';
            sentence := format('It cannot be said whether it brought anybody: between %s fewer and %s more. With %s held back, only %s or more would have been seen.',
                               passbell.thousands(round(-v_lo::numeric)), passbell.thousands(round(v_hi::numeric)),
                               passbell.thousands(p_held), passbell.thousands(greatest(1, round((v_smallest * p_sent)::numeric))));
        end if;
    end if;
    if not p_visits then
        verdict := case when verdict = 'no_holdout' then verdict else 'untrusted' end;
        sentence := 'This database records no visits, so nobody knows who came.';
    end if;
end
$$;

-- 1 guest, 410 guests.
create or replace function passbell.guests(p_n double precision) returns text
language sql immutable
set search_path = ''
as $$
    select passbell.thousands(round(p_n::numeric)) || case when round(p_n::numeric) = 1 then ' guest' else ' guests' end
$$;

-- 1 day, 7 days.
create or replace function passbell.days(p_n integer) returns text
language sql immutable
set search_path = ''
as $$
    select p_n || case when p_n = 1 then ' day' else ' days' end
$$;

-- What a campaign brought: one row. Counts it if its window has closed and nobody has counted it yet; after that the
-- numbers never change. `diff`, `diff_lo` and `diff_hi` are fractions, `extra…` people; none is rounded. Before the window
-- has closed: verdict open. Raises PB404, PB403.
drop function if exists public.push_results(uuid);
drop function if exists passbell.campaign_result(uuid);
create function passbell.campaign_result(p_campaign uuid)
returns table (campaign_id uuid, measure_days integer, ready_at timestamptz, counted_at timestamptz,
               sent bigint, sent_came bigint, held bigint, held_came bigint,
               diff double precision, diff_lo double precision, diff_hi double precision,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_campaign  public.push_campaigns;
    v_result    passbell.results;
    v_trusted   boolean;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign;
    if not found then
        raise exception 'There is no campaign %.', coalesce(p_campaign::text, '(none given)') using errcode = 'PB404';
    end if;
    if not passbell.acts_for_server() then
        perform passbell.require_program(v_campaign.program_id);
    end if;
    perform passbell.count_result(v_campaign.id);
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
            when v_campaign.status in ('COMPLETED', 'CANCELLED', 'FAILED') and ready_at is null then 'It reached nobody, so there is nothing to count.'
            when ready_at is null then 'Can be counted ' || passbell.days(measure_days) || ' after its last message.'
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
    end if;
    return next;
end
$$;

create function public.push_results(campaign_id uuid)
returns table (campaign_id uuid, measure_days integer, ready_at timestamptz, counted_at timestamptz,
               sent bigint, sent_came bigint, held bigint, held_came bigint,
               diff double precision, diff_lo double precision, diff_hi double precision,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text)
language sql
security definer
set search_path = ''
as $$ select * from passbell.campaign_result($1) $$;

-- A time as people read it, in the program's zone: 5 Dec, 18:00.
create or replace function passbell.short_time(p_at timestamptz, p_program uuid) returns text
language sql stable
set search_path = ''
as $$
    select ltrim(to_char(t.at, 'FMDD Mon')) || case when extract(year from t.at) <> extract(year from t.today) then to_char(t.at, ' YYYY') else '' end
           || to_char(t.at, ', HH24:MI')
      from (select p_at at time zone z.zone as at, passbell.now() at time zone z.zone as today
              from (select passbell.zone((select g.timezone from passbell.programs g where g.program_id = p_program limit 1)) as zone) z) t
$$;

-- The results of a program that may be added up: counted, trusted, somebody held back, first message between the two local
-- dates; of two whose windows overlap for the same people only the earlier. In one lot for the whole program overlaps do not matter.
create or replace function passbell.addable_results(p_program uuid, p_since date, p_until date) returns setof passbell.results
language plpgsql stable
set search_path = ''
as $$
declare
    v_zone    text;
    v_taken   uuid[] := array[]::uuid[];
    v_result  passbell.results;
begin
    select passbell.zone(g.timezone) into v_zone from passbell.programs g where g.program_id = p_program limit 1;
    for v_result in
        select r.* from passbell.results r
         where r.program_id = p_program and r.held > 0 and r.sent > 0 and r.visits_recorded
           and (p_since is null or (r.first_sent_at at time zone v_zone)::date >= p_since)
           and (p_until is null or (r.first_sent_at at time zone v_zone)::date <= p_until)
           and passbell.drawn_as_planned(r.held, r.sent + r.held, r.percent)
         order by r.first_sent_at, r.campaign_id
    loop
        continue when not v_result.grouped and v_result.overlapping && v_taken;
        v_taken := v_taken || v_result.campaign_id;
        return next v_result;
    end loop;
end
$$;

-- Adds results up: Mantel–Haenszel from five campaigns on, else the pooled counts by Newcombe.
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
           array_agg(r.sent_came) as k1, array_agg(r.sent) as n1, array_agg(r.held_came) as k0, array_agg(r.held) as n0
      into v_sums
      from unnest(p_results) r;
    campaigns := v_sums.n;   sent := v_sums.sent;   sent_came := v_sums.sent_came;   held := v_sums.held;   held_came := v_sums.held_came;
    if campaigns >= 5 then
        select m.diff, m.lo, m.hi into diff, lo, hi from passbell.mantel_haenszel(v_sums.k1, v_sums.n1, v_sums.k0, v_sums.n0) m;
    else
        select n.diff, n.lo, n.hi into diff, lo, hi from passbell.newcombe(sent_came, sent, held_came, held) n;
    end if;
end
$$;

-- "Added to your other 11 since June: about 5 in 100 more came, between 0 and 10." NULL with fewer than four others.
create or replace function passbell.others_since(p_result passbell.results) returns text
language plpgsql stable
set search_path = ''
as $$
declare
    v_results  passbell.results[];
    v_sum      record;
    v_since    timestamptz;
begin
    select array_agg(r), min((r).first_sent_at) into v_results, v_since
      from (select r from passbell.addable_results(p_result.program_id,
                                                   (p_result.first_sent_at - interval '1 year')::date, (p_result.first_sent_at + interval '1 day')::date) r) r;
    if coalesce(cardinality(v_results), 0) < 5 then
        return null;
    end if;
    select * into v_sum from passbell.add_results(v_results);
    return format('Added to your other %s since %s: %s', v_sum.campaigns - 1,
                  to_char(v_since at time zone passbell.zone((select g.timezone from passbell.programs g where g.program_id = p_result.program_id limit 1)), 'FMMonth'),
                  passbell.in_a_hundred(v_sum.diff, v_sum.lo, v_sum.hi));
end
$$;

-- "about 5 in 100 more came, between 0 and 10." Fewer is said so; decimals only below ten in a hundred where they matter.
create or replace function passbell.in_a_hundred(p_diff double precision, p_lo double precision, p_hi double precision) returns text
language sql immutable
set search_path = ''
as $$
    select format('about %s in 100 %s came, between %s and %s.', passbell.per_hundred(abs(p_diff)),
                  case when p_diff < 0 then 'fewer' else 'more' end,
                  case when p_lo < 0 and p_diff >= 0 then passbell.per_hundred(-p_lo) || ' fewer'
                       when p_diff < 0 then passbell.per_hundred(abs(least(p_hi, 0))) || case when p_hi > 0 then ' fewer' else '' end
                       else passbell.per_hundred(p_lo) end,
                  case when p_diff >= 0 then passbell.per_hundred(p_hi) || case when p_lo < 0 then ' more' else '' end
                       else passbell.per_hundred(abs(p_lo)) end)
$$;

-- 0.0512 as "5", 0.0031 as "0.3".
create or replace function passbell.per_hundred(p_share double precision) returns text
language sql immutable
set search_path = ''
as $$
    select case when abs(p_share) >= 0.0095 or abs(p_share) < 0.0005 then round((100 * p_share)::numeric)::text
                else round((100 * p_share)::numeric, 1)::text end
$$;

-- All campaigns of a program added up, whose first message lies between two local dates of the program, inclusive; NULL is
-- all. The columns of push_results, and how many campaigns are in it. Raises PB404, PB403.
drop function if exists public.push_results_total(uuid, date, date);
create function public.push_results_total(program_id uuid, since date default null, until date default null)
returns table (campaign_id uuid, measure_days integer, ready_at timestamptz, counted_at timestamptz,
               sent bigint, sent_came bigint, held bigint, held_came bigint,
               diff double precision, diff_lo double precision, diff_hi double precision,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text, campaigns bigint)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_results  passbell.results[];
    v_sum      record;
begin
    perform passbell.require_program($1);
    perform passbell.count_due_results(100);
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
        verdict := case when passbell.visits_recorded() then 'no_holdout' else 'untrusted' end;
        sentence := case when verdict = 'untrusted' then 'This database records no visits, so nobody knows who came.'
                         else 'No campaign that held somebody back has been counted in this time.' end;
        return next;
        return;
    end if;
    select j.verdict, j.sentence into verdict, sentence
      from passbell.judge_result(true, true, sent, sent_came, held, held_came, diff, diff_lo, diff_hi, measure_days) j;
    sentence := case verdict
        when 'more' then format('%s brought about %s more than without them: between %s and %s.', passbell.campaigns(campaigns),
                                passbell.guests(extra), passbell.thousands(round(extra_lo::numeric)), passbell.thousands(round(extra_hi::numeric)))
        when 'too_small' then format('%s: too small to say anything (%s held back).', passbell.campaigns(campaigns), passbell.thousands(held))
        else passbell.campaigns(campaigns) || ' added up. ' || sentence end;
    return next;
end
$$;

-- 1 campaign, 12 campaigns.
create or replace function passbell.campaigns(p_n bigint) returns text
language sql immutable
set search_path = ''
as $$
    select passbell.thousands(p_n) || case when p_n = 1 then ' campaign' else ' campaigns' end
$$;

-- What holding a share back would show, before the order is placed. base_rate: how many of the program's members come in
-- seven days, from its results, else from the last seven days' visits.
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
        sentence := 'This database records no visits, so nobody knows who came.';
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
