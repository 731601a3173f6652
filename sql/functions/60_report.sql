-- The month of a program on one page, for its owner. Campaigns count to the local month in which they started; test sends are
-- in none of the figures. What happened after a message is judged by the tables as they are now: only a member who could
-- be reached was sent one, so a member who cannot be reached today left afterwards.
drop function if exists public.push_report(uuid, date);
create function public.push_report(program_id uuid, month date)
returns table (program_id uuid, program text, month date, timezone text,
               campaigns bigint, messages bigint, phones bigint, failed bigint,
               held_out bigint, capped bigint, too_often bigint, suppressed bigint, opted_out bigint, not_installed bigint, other_skips bigint,
               gifts bigint, opt_outs_after bigint, uninstalls_after bigint,
               passes bigint, passes_in_wallet bigint, passes_without_phone bigint,
               campaigns_counted bigint, extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text,
               money numeric, money_lo numeric, money_hi numeric)
language sql
security definer
set search_path = ''
as $$ select r.* from passbell.month_report($1, $2) r $$;

create or replace function passbell.month_report(p_program uuid, p_month date)
returns table (program_id uuid, program text, month date, timezone text,
               campaigns bigint, messages bigint, phones bigint, failed bigint,
               held_out bigint, capped bigint, too_often bigint, suppressed bigint, opted_out bigint, not_installed bigint, other_skips bigint,
               gifts bigint, opt_outs_after bigint, uninstalls_after bigint,
               passes bigint, passes_in_wallet bigint, passes_without_phone bigint,
               campaigns_counted bigint, extra double precision, extra_lo double precision, extra_hi double precision, verdict text, sentence text,
               money numeric, money_lo numeric, money_hi numeric)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_from    timestamptz;
    v_to      timestamptz;
    v_ids     uuid[];
begin
    perform passbell.require_program(p_program);
    perform passbell.require_calendar_date(p_month);
    if p_month is null then
        raise exception 'Which month? Give a date in it, such as %.', to_char(passbell.now(), 'YYYY-MM-01') using errcode = 'PB400';
    end if;
    program_id := p_program;
    month := date_trunc('month', p_month::timestamp)::date;
    select g.name, passbell.zone(g.timezone) into program, timezone
      from passbell.programs g where g.program_id = p_program limit 1;
    v_from := month::timestamp at time zone timezone;
    v_to := (month::timestamp + interval '1 month') at time zone timezone;

    select coalesce(array_agg(c.id), '{}'), count(*), coalesce(sum(c.sent_count), 0), coalesce(sum(c.failed_count), 0)
      into v_ids, campaigns, messages, failed
      from public.push_campaigns c
     where c.program_id = p_program and c.kind <> 'TEST' and c.started_at >= v_from and c.started_at < v_to;

    select count(*) filter (where d.reason = 'held_out'), count(*) filter (where d.reason = 'capped'),
           count(*) filter (where d.reason = 'too_often'), count(*) filter (where d.reason = 'suppressed'),
           count(*) filter (where d.reason = 'opted_out'), count(*) filter (where d.reason = 'not_installed'),
           count(*) filter (where d.outcome = 'skipped' and d.reason not in ('held_out', 'capped', 'too_often', 'suppressed', 'opted_out', 'not_installed'))
      into held_out, capped, too_often, suppressed, opted_out, not_installed, other_skips
      from passbell.deliveries d
     where d.campaign_id = any (v_ids) and d.outcome = 'skipped';

    select count(*), count(*) filter (where not r.opted_in), count(*) filter (where r.opted_in and not r.reachable)
      into phones, opt_outs_after, uninstalls_after
      from (select distinct d.pass_id from passbell.deliveries d where d.campaign_id = any (v_ids) and d.outcome = 'sent') s
      left join passbell.recipients r on r.pass_id = s.pass_id;

    select count(*) into gifts
      from public.birthday_logs l where l.program_id = p_program and l.created_at >= v_from and l.created_at < v_to;
    select count(*), count(*) filter (where r.reachable), count(*) filter (where r.passkit_id is not null and not r.reachable)
      into passes, passes_in_wallet, passes_without_phone
      from passbell.recipients r where r.program_id = p_program;

    select t.campaigns, t.extra, t.extra_lo, t.extra_hi, t.verdict, t.sentence, t.money, t.money_lo, t.money_hi
      into campaigns_counted, extra, extra_lo, extra_hi, verdict, sentence, money, money_lo, money_hi
      from public.push_results_total(p_program, month, (month::timestamp + interval '1 month - 1 day')::date) t;
    return next;
end
$$;
