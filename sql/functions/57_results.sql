-- Did a campaign bring guests? The counting. Which share is held back: 18_holdouts; the formulas: 56_statistics; what is said of
-- the counts: 58_result_sentences; what is asked: 59_result_answers.
--
-- The comparison is that of ghost ads (G. Johnson, R. Lewis, E. Nubbemeyer, Journal of Marketing Research 54:867, 2017): those
-- held back went through the same queue to the very last check and were then not sent, so both arms are alike but for the
-- message. `came` is at least one visit after the message and within measure_days × 24 hours, once per person. A push that
-- failed after a request went out stays in the sent arm; what was skipped for another reason is in neither.

-- From when on a campaign can be counted: its last message plus measure_days. NULL while it is not over, and if it
-- neither reached nor held back a member.
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

-- Counts both arms of a campaign as the tables are now. A person with several passes counts once; one who has come to be in
-- both arms (two members merged afterwards) counts in neither.
--
-- Bounded by the campaign's own passes and their windows, whatever is known of the tables: `offset 0` makes the visits of a
-- pass a lookup of their own (transactions_pass_created), where a join may be planned as every pass against every visit.
-- Planned anew each time, because the plan of a session's first day would be kept when the tables are full.
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
begin
    execute $q$
        with arm as (
            select coalesce(r.user_id, d.pass_id) as person, d.sent_at, coalesce(d.reason = 'held_out', false) as held, v.came, v.came_before
              from passbell.deliveries d
              left join passbell.recipients r on r.pass_id = d.pass_id
             cross join lateral (
                    select bool_or(v.at > d.sent_at) as came, bool_or(v.at <= d.sent_at) as came_before
                      from passbell.visits v
                     where v.pass_id = d.pass_id and v.at > d.sent_at - $2 and v.at <= d.sent_at + $2
                    offset 0) v
             where d.campaign_id = $1 and passbell.is_measured(d.outcome, d.reason)
        ), people as (
            select min(a.sent_at) as first_at, max(a.sent_at) as last_at, bool_or(a.held) as held, bool_and(a.held) as only_held,
                   bool_or(a.came) is true as came, bool_or(a.came_before) is true as came_before
              from arm a group by a.person
        )
        select min(p.first_at), max(p.last_at),
               count(*) filter (where not p.held), count(*) filter (where not p.held and p.came), count(*) filter (where not p.held and p.came_before),
               count(*) filter (where p.only_held), count(*) filter (where p.only_held and p.came), count(*) filter (where p.only_held and p.came_before)
          from people p $q$
       into first_sent_at, last_sent_at, sent, sent_came, sent_came_before, held, held_came, held_came_before
      using p_campaign, make_interval(hours => 24 * p_days);
end
$$;

-- Counts a campaign whose window has closed and stores the result for good. False if it is stored already, the window is
-- open, retention has taken rows of it before it was counted, or another session counts it right now. It waits
-- for that session only if p_wait says so (a person asks for this result), and then for some seconds.
drop function if exists passbell.count_result(uuid);
create or replace function passbell.count_result(p_campaign uuid, p_wait boolean default false) returns boolean
language plpgsql
set search_path = ''
set lock_timeout = '10s'
as $$
declare
    v_lock      constant bigint := passbell.private_lock('counts the result of ' || p_campaign);        -- saves work; what is stored, it is stored once
    v_campaign  public.push_campaigns;
    v_ready     timestamptz;
    v_holdout   passbell.holdouts;
    v_arms      record;
    v_days      integer;
begin
    if exists (select from passbell.results r where r.campaign_id = p_campaign) then
        return false;
    end if;
    if not pg_try_advisory_xact_lock(v_lock) then
        if not p_wait then
            return false;
        end if;
        begin
            perform pg_advisory_xact_lock(v_lock);
        exception when lock_not_available then
            return false;
        end;
    end if;
    if exists (select from passbell.results r where r.campaign_id = p_campaign) then
        return false;
    end if;
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign;
    v_ready := passbell.result_ready_at(p_campaign);
    if v_ready is null or v_ready > passbell.now() or passbell.was_pruned(p_campaign) then
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

-- Is nothing left to count of a campaign: its result is stored, it measured no member, or retention had begun before results were
-- counted?
create or replace function passbell.is_counted(p_campaign uuid) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from passbell.results r where r.campaign_id = p_campaign)
        or not exists (select from passbell.deliveries d where d.campaign_id = p_campaign and passbell.is_measured(d.outcome, d.reason))
        or passbell.was_pruned(p_campaign)
$$;

-- Whether retention has removed rows of the campaign before it was counted (older releases did). The rest cannot be counted.
create or replace function passbell.was_pruned(p_campaign uuid) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from passbell.pruned p where p.campaign_id = p_campaign and p.looked_at is not null and p.sent + p.failed + p.skipped > 0)
       and not exists (select from passbell.holdouts h where h.campaign_id = p_campaign)
$$;

-- Does the host record visits at all? A stand-in for last activity is not a visit.
create or replace function passbell.visits_recorded() returns boolean
language sql stable
set search_path = ''
as $$
    select exists (select from passbell.visits)
$$;

-- Other campaigns of the program with a share held back, whose windows (first message to last plus measure_days) overlap
-- this one's, and that have a person in common with it: their differences are not independent and must not be added up.
-- Each of the two asks when it is counted, so that a pair is known even if retention has removed the rows of one.
create or replace function passbell.overlapping(p_campaign uuid, p_program uuid, p_first timestamptz, p_last timestamptz, p_days integer) returns uuid[]
language plpgsql stable
set search_path = ''
set jit = off
as $$
declare
    v_size   constant integer := (select c.recipient_count from public.push_campaigns c where c.id = p_campaign);
    v_other  record;
    v_found  uuid[] := array[]::uuid[];
begin
    for v_other in
        select o.id, o.recipient_count
          from public.push_campaigns o
          join passbell.holdouts h on h.campaign_id = o.id
          left join passbell.results r on r.campaign_id = o.id
         cross join lateral (select make_interval(hours => 24 * coalesce(o.measure_days, 7)) as days) m
         cross join lateral (select min(d.sent_at) as first_at, max(d.sent_at) as last_at
                               from passbell.deliveries d
                              where d.campaign_id = o.id and r.campaign_id is null and passbell.is_measured(d.outcome, d.reason)) l
         where o.program_id = p_program and o.id <> p_campaign
           and o.started_at <= p_last + make_interval(hours => 24 * p_days)
           and coalesce(o.completed_at, 'infinity') > p_first - m.days
           and coalesce(r.first_sent_at, l.first_at) < p_last + make_interval(hours => 24 * p_days)
           and coalesce(r.last_sent_at, l.last_at) + m.days > p_first
         order by o.started_at, o.id
    loop
        if (case when v_other.recipient_count < v_size then passbell.share_people(v_other.id, p_campaign)
                 else passbell.share_people(p_campaign, v_other.id) end) then
            v_found := v_found || v_other.id;
        end if;
    end loop;
    return v_found;
end
$$;

-- Did two campaigns measure the same person, on the same pass or on two passes of one user? Each pass of the first is looked
-- up in the second, until one is found; `offset 0` keeps it a lookup. The first is the smaller one: the automations of a day
-- are compared with every broadcast around them.
create or replace function passbell.share_people(p_small uuid, p_large uuid) returns boolean
language plpgsql stable
set search_path = ''
set jit = off
as $$
begin
    return exists (
        select from passbell.deliveries a
         where a.campaign_id = p_small and passbell.is_measured(a.outcome, a.reason)
           and (exists (select from passbell.deliveries b
                         where b.campaign_id = p_large and b.pass_id = a.pass_id and passbell.is_measured(b.outcome, b.reason) offset 0)
                or exists (select from passbell.recipients x
                             join passbell.recipients y on y.user_id = x.user_id
                             join passbell.deliveries b on b.campaign_id = p_large and b.pass_id = y.pass_id
                            where x.pass_id = a.pass_id and passbell.is_measured(b.outcome, b.reason) offset 0)));
end
$$;

drop function if exists passbell.arm_users(uuid);

-- Counts what is due, at most p_limit campaigns, oldest first; says how many. One that cannot be counted now does not hold up
-- the next. With p_program: those of this program with a share held back. The daemon calls it; retention waits for it.
drop function if exists passbell.count_due_results(integer);
create or replace function passbell.count_due_results(p_limit integer default 20, p_program uuid default null) returns integer
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
           and (p_program is null or c.program_id = p_program and exists (select from passbell.holdouts h where h.campaign_id = c.id))
           and not exists (select from passbell.results r where r.campaign_id = c.id)
           and not passbell.was_pruned(c.id)
           and not exists (select from passbell.set_aside a where a.campaign_id = c.id and a.next_look_at > passbell.now())
           and exists (select from passbell.deliveries d
                        where d.campaign_id = c.id and passbell.is_measured(d.outcome, d.reason))
         order by c.completed_at
    loop
        begin
            if passbell.count_result(v_campaign) then
                v_counted := v_counted + 1;
                exit when v_counted >= greatest(coalesce(p_limit, 1), 1);
            end if;
        exception when query_canceled or assert_failure or others then
            if passbell.is_conflict(sqlstate) then
                raise;
            end if;
            -- What the host records of visits cannot be read, or hangs: the other campaigns are counted all the same.
            perform passbell.put_aside(v_campaign, sqlstate, passbell.refusal('to count what this campaign brought', sqlstate, sqlerrm));
            update passbell.set_aside a set next_look_at = greatest(a.next_look_at, passbell.now() + interval '1 hour') where a.campaign_id = v_campaign;
            exit when sqlstate = '57014';       -- a time-out strikes once per statement
        end;
    end loop;
    return v_counted;
end
$$;
