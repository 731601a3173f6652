-- Takes the failed deliveries of a completed campaign out of the ledger and back into chunks: the one way, beside
-- retention, that a row leaves the ledger. A text that may have reached PassKit is kept and sent again identically.
create or replace function passbell.reopen_failed(p_campaign uuid) returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
    v_count     integer;
begin
    select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign for no key update;
    if v_campaign.status <> 'COMPLETED' then
        raise exception 'Only a completed campaign can retry its failures; this one is %.', v_campaign.status using errcode = 'PB422';
    end if;
    with failed as (
        delete from passbell.deliveries d
         where d.campaign_id = p_campaign and d.outcome = 'failed'
        returning d.pass_id, d.text
    )
    insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, texts, keep_texts, not_before)
    select p_campaign, f.chunk_no, v_campaign.program_id, array_agg(f.pass_id order by f.pass_id), array_agg(f.text order by f.pass_id), true, passbell.now()
      from (select x.pass_id, x.text, ((row_number() over (order by x.pass_id) - 1) / 50 + 1)::integer as chunk_no from failed x) f
     group by f.chunk_no;
    select coalesce(sum(cardinality(k.pass_ids)), 0) into v_count from passbell.chunks k where k.campaign_id = p_campaign;
    if v_count > 0 then
        perform passbell.engine_begins();
        update public.push_campaigns
           set status = 'PROCESSING', failed_count = failed_count - v_count, completed_at = null, released_at = passbell.now(),
               status_detail = format('Trying %s again that had failed.', passbell.thousands(v_count))
         where id = p_campaign;
        perform passbell.engine_ends();
    end if;
    return v_count;
end
$$;
