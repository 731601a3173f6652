-- Firing: each person who is due gets the occasion row (the proof), the points and a place in the day's campaign.

-- Gives up to p_limit people their occasion (NULL: all). Proof, points and the place in the day's campaign are written
-- together or not at all: without a reward in one statement for all, with one in a subtransaction per person (give_each).
-- Except for the first, no person is begun after p_until; NULL: p_seconds after the rule has answered. A slow rule is asked
-- less often: up to 500 people are then done at once.
drop function if exists passbell.fire(uuid, date, integer, timestamptz);
create or replace function passbell.fire(p_automation uuid, p_date date, p_limit integer, p_until timestamptz, p_seconds double precision default 0,
    out due integer, out fired integer, out failed integer, out remaining integer, out held_back integer, out campaign_id uuid)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_automation  public.push_automations;
    v_run         passbell.automation_runs;
    v_began       timestamptz;
    v_limit       integer := p_limit;
    v_people      passbell.on_occasion[];
    v_passes      uuid[];
    v_coming      integer := 0;
begin
    due := 0;   fired := 0;   failed := 0;   remaining := 0;   held_back := 0;
    select a.* into v_automation from public.push_automations a where a.id = p_automation;
    select r.* into strict v_run from passbell.automation_runs r where r.automation_id = p_automation and r.local_date = p_date for update;
    if not exists (select from passbell.programs g
                    where g.program_id = v_automation.program_id and not g.suspended and g.passkit_program_id is not null)
       or not v_automation.is_on then
        return;
    end if;
    -- A change in the middle of a pass counts from the next one. Switching off, above, counts at once.
    if v_run.terms is null then
        update passbell.automation_runs r set terms = to_jsonb(v_automation) where r.automation_id = p_automation and r.local_date = p_date;
    else
        v_automation := jsonb_populate_record(v_automation, v_run.terms);
    end if;
    if exists (select from public.push_campaigns c where c.id = v_run.campaign_id and c.status in ('CANCELLED', 'FAILED')) then
        return;         -- a person has ended this day's messages
    end if;
    -- One run at a time looks at a program's wallets. Its rule may hang afterwards, so only rules of first sightings wait for it.
    perform from passbell.sighted_programs s where s.program_id = v_automation.program_id for update skip locked;
    if found or v_automation.occasion ilike 'JOINED%' or not exists (select from passbell.sighted_programs s where s.program_id = v_automation.program_id) then
        perform passbell.look_at_wallets(v_automation.program_id);
    end if;
    if passbell.is_crossing(v_automation.occasion) then
        perform passbell.note_crossings(p_automation, p_date);
    end if;

    if v_automation.reward_points <= 0 then
        with people as materialized (
            select d.* from passbell.due_people(v_automation, p_date, passbell.now()) d
        ), proof as (
            insert into passbell.occasions (automation_id, person_id, occasion, pass_id, local_date, moment)
            select p_automation, p.person_id, k.occasion, p.pass_id, p_date, case when k.occasion = p.occasion then p.moment end
              from people p cross join lateral unnest(p.keys) as k (occasion)
            on conflict do nothing
            returning person_id, occasion
        )
        select array_agg(p.pass_id) into v_passes
          from people p where exists (select from proof o where o.person_id = p.person_id and o.occasion = p.occasion);
        due := coalesce(cardinality(v_passes), 0);
        fired := due;
    else
        v_began := clock_timestamp();
        select coalesce(array_agg(row(d.pass_id, d.person_id, d.opted_in, d.occasion, d.moment, d.keys)::passbell.on_occasion order by d.pass_id),
                        array[]::passbell.on_occasion[]),
               coalesce(max(d.todo), 0), coalesce(max(d.messages), 0)
          into v_people, remaining, v_coming
          from (select d.*, count(*) over () as todo, count(*) filter (where d.opted_in) over () as messages
                  from passbell.due_people(v_automation, p_date, passbell.now()) d
                 where not exists (select from passbell.occasion_failures f
                                    where f.automation_id = p_automation and f.person_id = d.person_id and f.occasion = d.occasion
                                      and f.local_date = p_date and f.attempt = v_run.attempt)
                 order by d.pass_id
                 limit case when p_limit is not null then greatest(p_limit, 500) end) d;
        if v_limit < 500 and clock_timestamp() - v_began > interval '250 milliseconds' then
            v_limit := 500;
        end if;
        with tried as materialized (
            select e.* from passbell.give_each(v_automation, v_automation.program_id, p_date, v_automation.reward_points, null,
                                               v_people[1 : coalesce(v_limit, cardinality(v_people))],
                                               coalesce(p_until, clock_timestamp() + make_interval(secs => p_seconds))) e
        ), mended as (
            delete from passbell.occasion_failures f
             using tried t
             where t.outcome = 'given' and f.automation_id = p_automation and f.person_id = t.person_id and f.occasion = t.occasion
        ), noted as (
            insert into passbell.occasion_failures as f (automation_id, person_id, occasion, local_date, reason, attempt, last_at)
            select p_automation, t.person_id, t.occasion, p_date, left(t.reason, 500), v_run.attempt, passbell.now()
              from tried t where t.outcome in ('failed', 'timed_out')
            on conflict (automation_id, person_id, occasion) do update
               set local_date = excluded.local_date, reason = excluded.reason, attempt = excluded.attempt,
                   attempts = f.attempts + 1, last_at = excluded.last_at
        )
        select count(*), count(*) filter (where t.outcome = 'given'), count(*) filter (where t.outcome in ('failed', 'timed_out')),
               array_agg(t.pass_id) filter (where t.outcome = 'given' and t.opted_in)
          into due, fired, failed, v_passes
          from tried t;
        remaining := remaining - due;
        v_coming := v_coming - coalesce(cardinality(v_passes), 0);
        if remaining = 0 then       -- members who have come back since are not due any more
            delete from passbell.occasion_failures f
             where f.automation_id = p_automation and (f.local_date < p_date or f.local_date = p_date and f.attempt < v_run.attempt);
        end if;
    end if;

    campaign_id := v_run.campaign_id;
    if v_passes <> '{}' then
        select g.campaign_id, g.held_back into campaign_id, held_back from passbell.ring(v_automation, v_run, v_passes, v_coming) g;
    end if;
    update passbell.automation_runs r
       set due = r.due + fire.due, fired = r.fired + fire.fired, held_back_by_limit = greatest(r.held_back_by_limit, fire.held_back)
     where r.automation_id = p_automation and r.local_date = p_date;
end
$$;

-- Adds passes to the day's campaign, which is made with the first of them. If more than daily_limit are due on one day, later
-- batches included (p_coming), the campaign is PAUSED with all of them in it, and a person resumes it.
create or replace function passbell.ring(
    p_automation public.push_automations, p_run passbell.automation_runs, p_passes uuid[], p_coming integer,
    out campaign_id uuid, out held_back integer)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_campaign  public.push_campaigns;
    v_total     integer;
begin
    held_back := 0;
    select c.* into v_campaign from public.push_campaigns c where c.id = p_run.campaign_id for no key update;
    if not found then
        v_campaign := passbell.begin_day_campaign(p_automation, p_automation.program_id, p_run.local_date, p_automation.message_text, 'PROCESSING', null);
        update passbell.automation_runs r set campaign_id = v_campaign.id
         where r.automation_id = p_run.automation_id and r.local_date = p_run.local_date;
    end if;
    campaign_id := v_campaign.id;
    v_total := v_campaign.recipient_count + passbell.add_to_day_campaign(v_campaign, p_passes, passbell.now(), false);
    update passbell.occasions o set campaign_id = v_campaign.id
     where o.automation_id = p_automation.id and o.local_date = p_run.local_date and o.campaign_id is null and o.pass_id = any (p_passes);
    if v_total + p_coming > p_automation.daily_limit and v_campaign.released_at is null then
        held_back := v_total;
        perform passbell.engine_begins();
        update public.push_campaigns c
           set status = 'PAUSED',
               status_detail = format('Held: %s are due today, more than the daily limit of %s. Resume it to send them, or cancel it.',
                                      passbell.thousands(v_total + p_coming), passbell.thousands(p_automation.daily_limit))
         where c.id = v_campaign.id;
        perform passbell.engine_ends();
    end if;
    perform pg_notify('passbell', 'processing');
end
$$;
