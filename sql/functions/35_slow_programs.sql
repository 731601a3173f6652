-- Programs whose campaigns take long to start: a large audience, or a rule of the host's that hangs (22_claim_campaign).

-- What a claim says of its program: slow if the time-out cut it, and it gets three times as long the next time; a claim that was
-- quick makes it like the others again. A slow one rests for twice as long as it was tried, so that other slow
-- ones get their turn.
create or replace function passbell.note_patience(p_campaign public.push_campaigns, p_patience numeric, p_sqlstate text) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_took  constant numeric := extract(epoch from clock_timestamp() - statement_timestamp());
    v_test  constant boolean := p_campaign.kind = 'TEST';
begin
    if p_campaign.program_id is null then
        return;
    elsif p_sqlstate = '57014' and v_took > 0.9 * p_patience then
        insert into passbell.slow_programs as s (program_id, tests, seconds, looked_at)
        values (p_campaign.program_id, v_test, least(300, ceil(3 * p_patience)), clock_timestamp())
        on conflict (program_id, tests) do update set seconds = greatest(s.seconds, excluded.seconds), looked_at = excluded.looked_at;
        update passbell.set_aside a
           set next_look_at = greatest(a.next_look_at, passbell.now() + make_interval(secs => (3 * v_took)::double precision))
         where a.campaign_id = p_campaign.id and p_patience > passbell.quick_seconds();
    elsif v_took < passbell.quick_seconds() / 2 then
        delete from passbell.slow_programs s where s.program_id = p_campaign.program_id and s.tests = v_test;
    else
        update passbell.slow_programs s set looked_at = clock_timestamp() where s.program_id = p_campaign.program_id and s.tests = v_test;
    end if;
end
$$;

-- How long a claim of a program that is not known as slow may take, in seconds.
create or replace function passbell.quick_seconds() returns numeric
language sql immutable
set search_path = ''
as $$ select 10.0 $$;

-- How many seconds the next claim of a slow program needs; NULL if none of them has anything to start.
create or replace function passbell.slow_claim() returns integer
language plpgsql stable
set search_path = ''
as $$
begin
    return (select s.seconds
              from passbell.slow_programs s
             where exists (select from public.push_campaigns c
                            where c.status = 'PENDING' and c.program_id = s.program_id and (c.kind = 'TEST') = s.tests
                              and coalesce(c.scheduled_at, passbell.now()) <= passbell.now()
                              and (select a.next_look_at > passbell.now() from passbell.set_aside a where a.campaign_id = c.id) is not true)
             order by s.looked_at
             limit 1);
end
$$;
