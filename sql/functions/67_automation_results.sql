-- What an automation has brought so far, over all its days: the columns of push_results, with an interval that is valid at
-- every look, so that looking every day claims nothing by chance.
create or replace function passbell.automation_result(p_automation uuid)
returns table (campaign_id uuid, measure_days integer, ready_at timestamptz, counted_at timestamptz,
               sent bigint, sent_came bigint, held bigint, held_came bigint,
               diff double precision, diff_lo double precision, diff_hi double precision,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_automation  public.push_automations := passbell.automation_for_caller(p_automation);
    v_percent     numeric;
    v_visits      boolean;
    v_spread      double precision;     -- a person keeps one lot for a year, however often there is an occasion
begin
    perform passbell.count_due_results(100);
    select coalesce(sum(r.sent), 0)::bigint, coalesce(sum(r.sent_came), 0)::bigint, coalesce(sum(r.held), 0)::bigint, coalesce(sum(r.held_came), 0)::bigint,
           max(r.ready_at), max(r.counted_at), bool_and(r.visits_recorded),
           sum((r.sent + r.held) * r.percent) / nullif(sum(r.sent + r.held), 0)
      into sent, sent_came, held, held_came, ready_at, counted_at, v_visits, v_percent
      from passbell.results r where r.automation_id = v_automation.id;
    select sum(p.times * p.times) / sum(p.times) into v_spread
      from (select count(distinct o.campaign_id) as times from passbell.occasions o
             where o.automation_id = v_automation.id group by o.person_id, extract(year from o.local_date)) p
     where p.times > 0;
    campaign_id := null;
    measure_days := v_automation.measure_days;
    if sent + held = 0 then
        verdict := 'open';
        sentence := format('Can be counted %s after its first message.', passbell.days(measure_days));
        return next;
        return;
    end if;
    select a.diff, a.lo, a.hi into diff, diff_lo, diff_hi from passbell.always_valid(sent_came, sent, held_came, held) a;
    extra := sent * diff;   extra_lo := sent * diff_lo;   extra_hi := sent * diff_hi;
    select j.verdict, j.sentence into verdict, sentence
      from passbell.judge_result(v_visits, passbell.drawn_as_planned(held, sent + held, v_percent, coalesce(v_spread, 1)), sent, sent_came, held, held_came,
                                 diff, coalesce(diff_lo, -1), coalesce(diff_hi, 1), measure_days) j;
    sentence := replace(sentence, 'This campaign was', 'This automation is still');
    if verdict in ('no_holdout', 'untrusted') then
        diff := null;   diff_lo := null;   diff_hi := null;   extra := null;   extra_lo := null;   extra_hi := null;
    end if;
    return next;
end
$$;

drop function if exists public.automation_results(uuid);
create function public.automation_results(id uuid)
returns table (campaign_id uuid, measure_days integer, ready_at timestamptz, counted_at timestamptz,
               sent bigint, sent_came bigint, held bigint, held_came bigint,
               diff double precision, diff_lo double precision, diff_hi double precision,
               extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text)
language sql
security definer
set search_path = ''
as $$ select * from passbell.automation_result($1) $$;
