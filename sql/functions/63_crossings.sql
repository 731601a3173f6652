-- The narrow state that some occasions need: who is inside a mark, and since when a pass has been in a wallet.

-- Stores which people have come in and gone out since the last look, on local date p_date. NULL: they were inside before.
create or replace function passbell.note_crossings(p_automation uuid, p_date date) returns void
language plpgsql
set search_path = ''
as $$
begin
    with inside as materialized (
        select distinct i.person_id from passbell.people_inside(p_automation) i
    ), gone as (
        update passbell.crossings c set inside = false
         where c.automation_id = p_automation and c.inside and not exists (select from inside i where i.person_id = c.person_id)
    )
    insert into passbell.crossings as c (automation_id, person_id, inside, number, entered_on)
    select p_automation, i.person_id, true, case when p_date is null then 0 else 1 end, p_date from inside i
    on conflict (automation_id, person_id) do update
       set inside = true, number = c.number + case when p_date is null then 0 else 1 end, entered_on = p_date
     where not c.inside;
end
$$;

-- Stores passes of a program that are in a wallet for the first time: since they were made, if that was after the last look,
-- else since now. At the first look at a program all passes count as already there. The same holds if an automation is
-- switched on (p_switching) and the last look is more than a day old, because it is not known since when each is there.
drop function if exists passbell.look_at_wallets(uuid);
create or replace function passbell.look_at_wallets(p_program uuid, p_switching boolean default false) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now   constant timestamptz := passbell.now();
    v_last  timestamptz;
begin
    insert into passbell.sighted_programs (program_id, looked_at) values (p_program, v_now) on conflict do nothing;
    if not found then
        select s.looked_at into v_last from passbell.sighted_programs s where s.program_id = p_program for update;
        update passbell.sighted_programs s set looked_at = v_now where s.program_id = p_program;
    end if;
    insert into passbell.sightings (pass_id, program_id, seen_at)
    select distinct on (r.pass_id) r.pass_id, r.program_id,
           case when v_last is null then null
                when j.at > v_last and j.at <= v_now then j.at
                when p_switching and v_last < v_now - interval '1 day' then null
                else v_now end
      from passbell.recipients r
      left join passbell.joins j on j.pass_id = r.pass_id
     where r.program_id = p_program and r.reachable
       and not exists (select from passbell.sightings s where s.pass_id = r.pass_id)
     order by r.pass_id
    on conflict do nothing;
end
$$;

-- Looks at the wallets of the next program that has an automation on a first sighting and was not looked at for an hour;
-- false if there is none. Called by every daemon, so that the day of a sighting does not hang on the hour of a run.
create or replace function passbell.watch_wallets() returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_program  uuid;
begin
    select s.program_id into v_program
      from passbell.sighted_programs s
     where (s.looked_at < passbell.now() - interval '1 hour' or s.looked_at > passbell.now() + interval '1 hour')
       and exists (select from public.push_automations a
                     join passbell.programs g on g.program_id = a.program_id
                    where a.program_id = s.program_id and a.is_on and not g.suspended and a.occasion ilike 'JOINED%')
     order by s.looked_at
     limit 1
       for update of s skip locked;
    if v_program is null then
        return false;
    end if;
    begin
        perform passbell.look_at_wallets(v_program);
    exception when query_canceled or assert_failure or others then      -- its passes cannot be read: the other programs come all the same
        update passbell.sighted_programs s set looked_at = passbell.now() where s.program_id = v_program;
        raise warning 'passbell: the wallets of program % cannot be read: %', v_program, sqlerrm;
    end;
    return true;
end
$$;
