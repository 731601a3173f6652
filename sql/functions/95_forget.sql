-- Erases what passbell keeps about one member: ledger rows with their texts, rows of lists and imports, failed gifts,
-- the words of birthday greetings, and the id in orders that are over (IDS: targets, test sends). The counts of
-- campaigns stay as they are (passbell.pruned). The gift rows themselves stay, without words: they are the proof that a
-- gift is given once. The platform's own tables (users, passes_master) are the platform's to erase; do that afterwards,
-- or campaigns still to come will reach the member.
--
-- `external_id` is the pass's external id, or the pass id itself when the pass is gone already. Says per table how many
-- rows were erased. Raises PB404 if there is nothing under that name, PB422 while a push to the member is in flight.
create or replace function public.push_forget(external_id text)
returns table (relation text, erased bigint)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_name    constant text := lower(btrim(push_forget.external_id));
    v_passes  uuid[];
    v_users   uuid[];
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

    if exists (select from passbell.chunks k where k.pass_ids && v_passes and k.lease_until > passbell.now()) then
        raise exception 'A push to this member is in flight: try again in a minute.' using errcode = 'PB422';
    end if;

    -- Work that waits: skipped as for a member who is gone, so that the counts add up before the rows go.
    with waiting as (
        select k.campaign_id, k.chunk_no, k.attempt, p.pass_id
          from passbell.chunks k cross join lateral unnest(k.pass_ids) as p (pass_id)
         where k.pass_ids && v_passes and p.pass_id = any (v_passes)
    )
    insert into passbell.deliveries (campaign_id, pass_id, sent_at, attempts, outcome, reason)
    select w.campaign_id, w.pass_id, passbell.now(), w.attempt, 'skipped', 'unknown_member' from waiting w;
    get diagnostics v_count = row_count;
    if v_count > 0 then
        perform passbell.take_from_chunks(v_passes);
    end if;
    v_total := v_total + v_count;
    return query select 'chunks', v_count;

    with gone as (
        delete from passbell.deliveries d where d.pass_id = any (v_passes) returning d.campaign_id, d.outcome
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

    update public.birthday_logs l set message_sent = null where l.pass_id = any (v_passes) and l.message_sent is not null;
    get diagnostics v_count = row_count;
    v_total := v_total + v_count;
    return query select 'birthday_logs', v_count;

    perform passbell.redact_orders(v_name);
    if v_passes = '{}' and v_total = 0 then
        raise exception 'There is no pass "%" here.', left(btrim(push_forget.external_id), 80) using errcode = 'PB404';
    end if;
end
$$;

-- Takes passes out of the queue, deletes chunks that are empty then, counts them as skipped, and completes campaigns
-- that were waiting for nothing else.
create or replace function passbell.take_from_chunks(p_passes uuid[]) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_chunk  record;
begin
    for v_chunk in
        select k.campaign_id, k.chunk_no, kept.pass_ids, kept.texts, k.texts is null as plain, cardinality(k.pass_ids) as before
          from passbell.chunks k
          cross join lateral (select coalesce(array_agg(i.pass_id order by i.n), '{}') as pass_ids, array_agg(i.text order by i.n) as texts
                                from unnest(k.pass_ids, k.texts) with ordinality as i (pass_id, text, n)
                               where i.pass_id <> all (p_passes)) kept
         where k.pass_ids && p_passes
         order by k.campaign_id, k.chunk_no
    loop
        if v_chunk.pass_ids = '{}' then
            delete from passbell.chunks k where k.campaign_id = v_chunk.campaign_id and k.chunk_no = v_chunk.chunk_no;
        else
            update passbell.chunks k
               set pass_ids = v_chunk.pass_ids, texts = case when not v_chunk.plain then v_chunk.texts end
             where k.campaign_id = v_chunk.campaign_id and k.chunk_no = v_chunk.chunk_no;
        end if;
        perform passbell.engine_begins();
        update public.push_campaigns c
           set skipped_count = skipped_count + v_chunk.before - cardinality(v_chunk.pass_ids)
         where c.id = v_chunk.campaign_id;
        perform passbell.engine_ends();
        perform passbell.settle_campaign(v_chunk.campaign_id);
    end loop;
end
$$;

-- Orders that name the member by id, and test sends altogether.
create or replace function passbell.redact_orders(p_name text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.engine_begins();
    update public.push_campaigns c
       set name = 'Test to an erased member', target_query = 'IDS:erased', message_text = 'erased'
     where c.kind = 'TEST' and c.status in ('COMPLETED', 'FAILED', 'CANCELLED') and lower(btrim(c.target_query)) = 'ids:' || p_name;
    update public.push_campaigns c
       set target_query = regexp_replace(c.target_query, '([:,]\s*)' || regexp_replace(p_name, '([^a-z0-9])', '\\\1', 'g') || '(?=\s*(,|&|$))',
                                         '\1erased', 'gi')
     where c.target_query ilike '%ids%' and strpos(lower(c.target_query), p_name) > 0 and c.status in ('COMPLETED', 'FAILED', 'CANCELLED');
    perform passbell.engine_ends();
end
$$;
