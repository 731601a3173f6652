-- A chunk could not be judged. The passes are read one by one, each in a subtransaction: those that cannot be read are
-- recorded as render_error with the database's words, and the chunk goes on without them (true). If no pass is at fault,
-- or all are and it is not for a value, the campaign is set aside (false).
create or replace function passbell.sift_chunk(
    p_chunk passbell.chunks, p_campaign public.push_campaigns, p_sqlstate text, p_message text) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_message  record;
    v_pass     uuid;
    v_bad      uuid[] := array[]::uuid[];
    v_words    text[] := array[]::text[];
begin
    if not passbell.is_passing(p_sqlstate) and p_sqlstate not like '42%' then
        select m.* into v_message from passbell.compile_message(p_campaign.message_text) m;
        foreach v_pass in array p_chunk.pass_ids loop
            begin
                perform r.reachable, r.opted_in, r.passkit_id, r.external_id, r.protocol,
                        case when v_message.fields <> '{}' then
                             passbell.render_message(v_message.layout, v_message.fields, v_message.fallbacks, r.points, r.first_name, r.last_name, r.tier_points, '')
                        end
                   from passbell.recipients r
                  where r.pass_id = v_pass and r.program_id = p_chunk.program_id
                 offset 0;
            exception when assert_failure or others then
                v_bad := v_bad || v_pass;
                v_words := v_words || passbell.host_words(sqlerrm);
            end;
        end loop;
    end if;
    if v_bad = '{}' or p_sqlstate not like '22%' and cardinality(v_bad) = cardinality(p_chunk.pass_ids) then
        perform passbell.put_aside(p_chunk.campaign_id, p_sqlstate, passbell.refusal('to hand out the next passes of this campaign', p_sqlstate, p_message));
        return false;
    end if;
    insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, outcome, reason, detail, text)
    select p_chunk.campaign_id, b.pass_id, case when p_chunk.rendered then coalesce(p_chunk.claimed_at, passbell.now()) else passbell.now() end,
           case when p_chunk.rendered then hashtextextended(coalesce(t.text, p_campaign.message_text), 0) end, p_chunk.attempt,
           'failed', 'render_error', b.words, case when p_chunk.rendered then coalesce(t.text, p_campaign.message_text) end
      from unnest(v_bad, v_words) as b (pass_id, words)
      left join unnest(p_chunk.pass_ids, p_chunk.texts) as t (pass_id, text) on t.pass_id = b.pass_id;
    if cardinality(v_bad) = cardinality(p_chunk.pass_ids) then
        delete from passbell.chunks k where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    else
        update passbell.chunks k
           set pass_ids = g.pass_ids, texts = case when p_chunk.texts is not null then g.texts end
          from (select array_agg(t.pass_id order by t.n) as pass_ids, array_agg(t.text order by t.n) as texts
                  from unnest(p_chunk.pass_ids, p_chunk.texts) with ordinality as t (pass_id, text, n)
                 where t.pass_id <> all (v_bad)) g
         where k.campaign_id = p_chunk.campaign_id and k.chunk_no = p_chunk.chunk_no;
    end if;
    perform passbell.book_outcomes(p_chunk.campaign_id, 0, cardinality(v_bad), 0, null, true);
    return true;
end
$$;
