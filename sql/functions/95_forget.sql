-- Erases what passbell keeps about one member: ledger rows with their texts, rows of lists and imports, failed gifts,
-- the words of birthday greetings, and the id in orders that are over (IDS: targets, test sends). The counts of
-- campaigns stay as they are (passbell.pruned). The gift rows themselves stay, without words: they are the proof that a
-- gift is given once; so do the proofs of automations (passbell.occasions), which name a person by number alone. The
-- platform's own tables (users, passes_master) are the platform's to erase; do that afterwards, or campaigns still to come
-- will reach the member.
--
-- `external_id` is the pass's external id, or the pass id itself when the pass is gone already. Says per table how many
-- rows were erased. Raises PB404 if there is nothing under that name, PB422 while a push to the member is in flight or
-- while another transaction holds rows of the member's campaigns for longer than some seconds.
--
-- Erasing touches several campaigns at once, which no other function does. So it never waits for a lock while it holds
-- another: hold_for_erasure takes all of them or none, and is tried again.
create or replace function public.push_forget(external_id text)
returns table (relation text, erased bigint)
language plpgsql
security definer
set search_path = ''
set lock_timeout = '3s'     -- for what is left to wait for: rows of lists and imports, tables of the host
as $$
#variable_conflict use_column
declare
    v_name    constant text := lower(btrim(push_forget.external_id));
    v_passes  uuid[];
    v_users   uuid[];
    v_campaigns  uuid[];
    v_count   bigint;
    v_total   bigint := 0;
begin
    if not passbell.acts_for_server() then
        raise exception 'Only a server may erase members.' using errcode = 'PB403';
    end if;
    if coalesce(v_name, '') = '' then
        raise exception 'Which member? Give the external id of a pass.' using errcode = 'PB400';
    end if;
    select coalesce(array_agg(distinct x.pass_id), '{}') into v_passes
      from (select r.pass_id from passbell.recipients r where lower(btrim(r.external_id)) = v_name or r.pass_id = any (passbell.pass_id_list(v_name))
            union all
            select e.pass_id from passbell.list_entries e where lower(btrim(e.value)) = v_name and e.pass_id is not null
            union all
            select d.pass_id from passbell.deliveries d where d.pass_id = any (passbell.pass_id_list(v_name))) x;

    select coalesce(array_agg(distinct r.user_id), '{}') into v_users
      from passbell.recipients r where r.pass_id = any (v_passes) and r.user_id is not null;

    for v_try in 1 .. 40 loop
        begin
            v_campaigns := passbell.hold_for_erasure(v_passes, v_name);
            exit;
        exception when lock_not_available then
            if v_try = 40 then
                raise exception 'Campaigns of this member are busy: try again in a minute.' using errcode = 'PB422';
            end if;
        end;
        perform pg_sleep(0.02 + 0.1 * random());
    end loop;

    -- Work that waits: skipped as for a member who is gone, so that the counts add up before the rows go.
    v_count := passbell.take_from_chunks(v_campaigns, v_passes);
    v_total := v_total + v_count;
    return query select 'chunks', v_count;

    with gone as (
        delete from passbell.deliveries d where d.pass_id = any (v_passes) and d.campaign_id = any (v_campaigns) returning d.campaign_id, d.outcome
    ), tally as (
        insert into passbell.pruned as p (campaign_id, sent, failed, skipped)
        select g.campaign_id, count(*) filter (where g.outcome = 'sent'), count(*) filter (where g.outcome = 'failed'),
               count(*) filter (where g.outcome = 'skipped')
          from gone g group by g.campaign_id
        on conflict (campaign_id) do update
           set sent = p.sent + excluded.sent, failed = p.failed + excluded.failed, skipped = p.skipped + excluded.skipped
    )
    select count(*) into v_count from gone;
    v_total := v_total + v_count;
    return query select 'deliveries', v_count;

    delete from passbell.list_entries e where e.pass_id = any (v_passes) or lower(btrim(e.value)) = v_name;
    get diagnostics v_count = row_count;
    v_total := v_total + v_count;
    return query select 'list_entries', v_count;

    delete from passbell.import_rows r
     where r.user_id = any (v_users) or r.linked_passes && v_passes or lower(btrim(r.value)) = v_name
        or exists (select from jsonb_array_elements(r.problems) b where lower(btrim(b ->> 'value')) = v_name);
    get diagnostics v_count = row_count;
    v_total := v_total + v_count;
    return query select 'import_rows', v_count;

    delete from passbell.birthday_failures f where f.pass_id = any (v_passes);
    get diagnostics v_count = row_count;
    v_total := v_total + v_count;
    return query select 'birthday_failures', v_count;

    delete from passbell.occasion_failures f where f.person_id = any (v_passes || v_users);
    get diagnostics v_count = row_count;
    v_total := v_total + v_count;
    return query select 'occasion_failures', v_count;

    delete from public.push_suppressions s where lower(btrim(s.external_id)) = v_name;
    get diagnostics v_count = row_count;
    v_total := v_total + v_count;
    return query select 'push_suppressions', v_count;

    v_count := 0;
    if passbell.has_column('public.birthday_logs', 'message_sent') then      -- the host may have dropped it
        update public.birthday_logs l set message_sent = null where l.pass_id = any (v_passes) and l.message_sent is not null;
        get diagnostics v_count = row_count;
    end if;
    v_total := v_total + v_count;
    return query select 'birthday_logs', v_count;

    perform passbell.redact_orders(v_campaigns, v_name);
    if v_passes = '{}' and v_total = 0 then
        raise exception 'There is no pass "%" here.', left(btrim(push_forget.external_id), 80) using errcode = 'PB404';
    end if;
exception when lock_not_available then
    raise exception 'Rows of this member are busy: try again in a minute.' using errcode = 'PB422';
end
$$;

-- Locks what erasing these passes changes, and tells which campaigns that is: those with the passes in a chunk or in the
-- ledger, and finished orders that name the member. NOWAIT throughout: raises 55P03 if anything of it is held by another
-- transaction. While the campaigns are held, no ledger row of theirs appears, is pruned or is retried, and no chunk is
-- closed; while the chunks are held, none is claimed or reported. Raises PB422 while a worker has one of them.
create or replace function passbell.hold_for_erasure(p_passes uuid[], p_name text) returns uuid[]
language plpgsql
set search_path = ''
as $$
declare
    v_campaigns  uuid[];
begin
    v_campaigns := array(
        select c.id from public.push_campaigns c
         where c.id in (select k.campaign_id from passbell.chunks k where k.pass_ids && p_passes
                        union
                        select d.campaign_id from passbell.deliveries d where d.pass_id = any (p_passes))
            or c.status in ('COMPLETED', 'FAILED', 'CANCELLED') and passbell.names_member(c, p_name)
         order by c.id
           for no key update nowait);
    perform from passbell.chunks k
      where k.campaign_id = any (v_campaigns) and k.pass_ids && p_passes
      order by k.campaign_id, k.chunk_no
        for update nowait;
    if exists (select from passbell.chunks k
                where k.campaign_id = any (v_campaigns) and k.pass_ids && p_passes and k.lease_until > passbell.now()) then
        raise exception 'A push to this member is in flight: try again in a minute.' using errcode = 'PB422';
    end if;
    perform from passbell.birthday_failures f where f.pass_id = any (p_passes) for update nowait;
    if passbell.has_column('public.birthday_logs', 'message_sent') then
        perform from public.birthday_logs l where l.pass_id = any (p_passes) and l.message_sent is not null for no key update nowait;
    end if;
    return v_campaigns;
end
$$;

-- Does the order name the member by id? p_name is folded.
create or replace function passbell.names_member(p_campaign public.push_campaigns, p_name text) returns boolean
language sql stable
set search_path = ''
as $$
    select p_campaign.target_query ilike '%ids%' and strpos(lower(p_campaign.target_query), p_name) > 0
$$;

-- Takes passes out of the queue into the ledger, as skipped; the texts of the others stay beside them. Deletes chunks that
-- are empty then, and completes campaigns that were waiting for nothing else. The caller holds the campaigns and their
-- chunks, so what is read here is what is there. Returns how many were taken.
drop function if exists passbell.take_from_chunks(uuid[]);
create or replace function passbell.take_from_chunks(p_campaigns uuid[], p_passes uuid[]) returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_chunk  record;
    v_taken  integer;
    v_total  bigint := 0;
begin
    for v_chunk in
        select k.campaign_id, k.chunk_no, k.attempt, kept.pass_ids, case when k.texts is not null then kept.texts end as texts,
               array(select i from unnest(k.pass_ids) as i where i = any (p_passes)) as taken
          from passbell.chunks k
         cross join lateral (select coalesce(array_agg(i.pass_id order by i.n), '{}') as pass_ids, array_agg(i.text order by i.n) as texts
                               from unnest(k.pass_ids, k.texts) with ordinality as i (pass_id, text, n)
                              where i.pass_id <> all (p_passes)) kept
         where k.campaign_id = any (p_campaigns) and k.pass_ids && p_passes
         order by k.campaign_id, k.chunk_no
    loop
        if v_chunk.pass_ids = '{}' then
            delete from passbell.chunks k where k.campaign_id = v_chunk.campaign_id and k.chunk_no = v_chunk.chunk_no;
        else
            update passbell.chunks k set pass_ids = v_chunk.pass_ids, texts = v_chunk.texts
             where k.campaign_id = v_chunk.campaign_id and k.chunk_no = v_chunk.chunk_no;
        end if;
        insert into passbell.deliveries (campaign_id, pass_id, sent_at, attempts, outcome, reason)
        select v_chunk.campaign_id, t, passbell.now(), v_chunk.attempt, 'skipped', 'unknown_member' from unnest(v_chunk.taken) as t;
        v_taken := cardinality(v_chunk.taken);
        perform passbell.engine_begins();
        update public.push_campaigns c set skipped_count = skipped_count + v_taken where c.id = v_chunk.campaign_id;
        perform passbell.engine_ends();
        perform passbell.settle_campaign(v_chunk.campaign_id);
        v_total := v_total + v_taken;
    end loop;
    return v_total;
end
$$;

-- Removes the member's id from finished orders; test sends to the member lose their name and text as well.
drop function if exists passbell.redact_orders(text);
create or replace function passbell.redact_orders(p_campaigns uuid[], p_name text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.engine_begins();
    update public.push_campaigns c
       set name = 'Test to an erased member', target_query = 'IDS:erased', message_text = 'erased'
     where c.id = any (p_campaigns) and c.kind = 'TEST' and c.status in ('COMPLETED', 'FAILED', 'CANCELLED')
       and lower(btrim(c.target_query)) = 'ids:' || p_name;
    update public.push_campaigns c
       set target_query = regexp_replace(c.target_query, E'([:,]\\s*)' || regexp_replace(p_name, '([^a-z0-9])', E'\\\\\\1', 'g') || E'(?=\\s*(,|&|$))',
                                         E'\\1erased', 'gi')
     where c.id = any (p_campaigns) and c.status in ('COMPLETED', 'FAILED', 'CANCELLED') and passbell.names_member(c, p_name);
    perform passbell.engine_ends();
end
$$;
