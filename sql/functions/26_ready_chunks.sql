-- Which chunk is next: the search of passbell.claim_chunk, program by program.

-- Whether a program has a chunk that no worker holds. Looks first where the last claim left off, then from the far end of
-- chunks_ready, because the entries of deleted chunks are at the near end until the next vacuum. Its conditions are those of
-- next_chunk. It stays a function of its own: a claim asks it of every program before it locks one, and next_chunk locks.
drop function if exists passbell.has_ready_chunk(uuid, uuid[]);
drop function if exists passbell.has_ready_chunk(uuid, uuid[], boolean);
create or replace function passbell.has_ready_chunk(p_turn passbell.turns, p_busy_campaigns uuid[], p_tests_only boolean, p_now timestamptz) returns boolean
language plpgsql stable
set search_path = ''
set enable_sort = off          -- never the primary key and a sort, whatever little is known of the table
as $$
begin
    if p_turn.program_id = any (p_busy_campaigns) then
        return false;
    end if;
    perform from public.push_campaigns c
      where c.program_id = p_turn.program_id and c.status = 'PROCESSING' and c.id <> all (p_busy_campaigns)
        and (c.kind = 'TEST' or not p_tests_only)
        and (c.rate_per_second is null or passbell.is_slot_near(c.id))
        and (c.id = p_turn.campaign_id
             and (select true from passbell.chunks k
                   where k.campaign_id = c.id and (k.ready_at, k.chunk_no) > (p_turn.ready_at, p_turn.chunk_no) and k.ready_at <= p_now
                   order by k.ready_at, k.chunk_no
                   limit 1)
             or (select true from passbell.chunks k
                  where k.campaign_id = c.id and k.ready_at <= p_now
                  order by k.ready_at desc, k.chunk_no desc
                  limit 1))
      limit 1;
    return found;
end
$$;

-- The next chunk of a program that may be claimed now, locked; NULL if there is none. Quiet hours and the kill switch
-- stop everything but test sends (quiet hours) and everything (suspension). First behind the chunk that was found last;
-- only when nothing is ready there, from the beginning: another session may have locked a chunk during the search.
drop function if exists passbell.next_chunk(uuid, uuid[]);
drop function if exists passbell.next_chunk(passbell.turns, uuid[]);
drop function if exists passbell.next_chunk(passbell.turns, uuid[], boolean);
create or replace function passbell.next_chunk(p_turn passbell.turns, p_busy_campaigns uuid[], p_tests_only boolean, p_now timestamptz) returns passbell.chunks
language plpgsql
set search_path = ''
set enable_sort = off          -- never the primary key and a sort, whatever little is known of the table
as $$
declare
    v_open      boolean;
    v_campaign  record;
    v_chunk     passbell.chunks;
begin
    select g.push_window_start is null or passbell.in_window(p_now, passbell.zone(g.timezone), g.push_window_start, g.push_window_end)
      into v_open
      from passbell.known_programs() g
     where g.program_id = p_turn.program_id and not g.suspended and g.passkit_program_id is not null
       and (select s.consent_problem from passbell.settings s) is null;
    if not found then
        return null;
    elsif passbell.members_are_hidden() then
        perform passbell.look_at_consent();
        return null;
    end if;
    for v_campaign in
        select c.id, c.rate_per_second from public.push_campaigns c
         where c.program_id = p_turn.program_id and c.status = 'PROCESSING' and c.id <> all (p_busy_campaigns)
           and (c.kind = 'TEST' or (v_open and not p_tests_only))
           and (c.rate_per_second is null or passbell.is_slot_near(c.id))
         order by c.kind = 'TEST' desc, c.priority desc, c.started_at, c.id
    loop
        if v_campaign.id = p_turn.campaign_id then
            select k.* into v_chunk
              from passbell.chunks k
             where k.campaign_id = v_campaign.id and (k.ready_at, k.chunk_no) > (p_turn.ready_at, p_turn.chunk_no) and k.ready_at <= p_now
             order by k.ready_at, k.chunk_no
             limit 1
               for update skip locked;
        end if;
        if v_chunk.campaign_id is null then
            select k.* into v_chunk
              from passbell.chunks k
             where k.campaign_id = v_campaign.id and k.ready_at <= p_now
             order by k.ready_at, k.chunk_no
             limit 1
               for update skip locked;
        end if;
        if v_chunk.campaign_id is not null then
            if v_campaign.rate_per_second is null then
                return v_chunk;
            end if;
            return passbell.part_of(v_chunk, v_campaign.rate_per_second);
        end if;
    end loop;
    return null;
end
$$;

-- Whether the next slot of a campaign's own rate begins within three seconds, a little more than a poll. Before, a claim of
-- it would only wait in the caller's hands: 70 campaigns at one push in ten seconds would fill them.
create or replace function passbell.is_slot_near(p_campaign uuid) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return (select l.next_slot <= clock_timestamp() + interval '3 seconds'
              from passbell.rate_limits l where l.account = 'campaign:' || p_campaign) is not false;
end
$$;

-- The part of a locked chunk that is handed out: of a campaign with a rate of its own, five seconds of its work. The rest
-- becomes a chunk of its own, behind the others.
drop function if exists passbell.part_of(passbell.chunks);
create or replace function passbell.part_of(p_chunk passbell.chunks, p_rate numeric) returns passbell.chunks
language plpgsql
set search_path = ''
as $$
declare
    v_size  integer;
begin
    v_size := greatest(1, least(5 * p_rate, cardinality(p_chunk.pass_ids)));
    if v_size >= cardinality(p_chunk.pass_ids) then
        return p_chunk;
    end if;
    insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, texts, rendered, attempt, not_before, claimed_at, uncertain, keep_texts)
    select k.campaign_id, (select max(o.chunk_no) from passbell.chunks o where o.campaign_id = k.campaign_id) + 1, k.program_id,
           k.pass_ids[v_size + 1 :], k.texts[v_size + 1 :], k.rendered, k.attempt, k.not_before, k.claimed_at, k.uncertain, k.keep_texts
      from passbell.chunks k
     where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    update passbell.chunks k
       set pass_ids = k.pass_ids[: v_size], texts = k.texts[: v_size]
     where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no
    returning k.* into p_chunk;
    return p_chunk;
end
$$;
