-- Paying debts: campaigns that were set aside, counters and audit rows that the host has refused (25_set_aside).

-- Called by the daemons at every turn: what is aside and due, debts, audit rows, campaigns of programs that are gone. Each
-- in a subtransaction of its own, each lock waited for half a second at most.
create or replace function passbell.look_again() returns integer
language plpgsql
set search_path = ''
set lock_timeout = '500ms'
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_campaign  uuid;
    v_count     integer := 0;
    v_context   text;
    v_message   text;
begin
    for v_campaign in
        select distinct o.campaign_id
          from passbell.owed_counts o
          left join passbell.set_aside a on a.campaign_id = o.campaign_id
         where a.campaign_id is null or a.next_look_at <= v_now
         limit 20
    loop
        perform passbell.pay_counts(v_campaign);
        v_count := v_count + 1;
        if passbell.has_run_long() then
            -- A rule that hangs for one campaign of a program hangs for all of them: they rest together, and other programs go on.
            update passbell.set_aside a
               set next_look_at = greatest(a.next_look_at, passbell.now() + 4 * (clock_timestamp() - statement_timestamp()))
              from public.push_campaigns c, public.push_campaigns v
             where v.id = v_campaign and c.program_id = v.program_id and a.campaign_id = c.id;
            return v_count;
        end if;
    end loop;
    -- A campaign that was ended or paused meanwhile has nothing left to be tried; one that runs is tried by its claim.
    delete from passbell.set_aside a
     where a.next_look_at <= v_now
       and not exists (select from passbell.owed_counts o where o.campaign_id = a.campaign_id)
       and not exists (select from public.push_campaigns c
                        where c.id = a.campaign_id
                          and (c.status in ('PENDING', 'PROCESSING')
                               or c.status = 'CANCELLED' and exists (select from passbell.chunks k where k.campaign_id = c.id)));
    for v_campaign in
        select o.campaign_id from passbell.owed_logs o where o.next_try_at <= v_now order by o.next_try_at limit 20
    loop
        perform passbell.pay_log(v_campaign);
        v_count := v_count + 1;
        if passbell.has_run_long() then
            return v_count;
        end if;
    end loop;
    begin
        perform passbell.close_deserted();
    exception when query_canceled then      -- what was paid stands
        if not passbell.was_cut() then
            raise;
        end if;
        get stacked diagnostics v_context = pg_exception_context, v_message = message_text;
        perform passbell.note_hang('programs', v_message, v_context);
    end;
    return v_count;
end
$$;

-- Counts a campaign anew from the ledger and the queue, and completes it if its last chunk is through. Holding the campaign's row, so
-- that a report which comes meanwhile either is counted here or adds itself afterwards; notes of debt that are not seen
-- here stay for the next look.
create or replace function passbell.pay_counts(p_campaign uuid) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
    v_owed      uuid[];
    v_counts    record;
    v_written   boolean;
begin
    perform from passbell.set_aside a where a.campaign_id = p_campaign for update skip locked;
    if not found and exists (select from passbell.set_aside a where a.campaign_id = p_campaign) then
        return;     -- another daemon looks at it
    end if;
    begin
        set constraints all immediate;
        select c.* into v_campaign from public.push_campaigns c where c.id = p_campaign for no key update;
        select array_agg(o.owed_id) into v_owed from passbell.owed_counts o where o.campaign_id = p_campaign;
        if v_campaign.id is not null then
            select coalesce(max(p.sent), 0) + count(*) filter (where d.outcome = 'sent') as sent,
                   coalesce(max(p.failed), 0) + count(*) filter (where d.outcome = 'failed') as failed,
                   coalesce(max(p.skipped), 0) + count(*) filter (where d.outcome = 'skipped') as skipped,
                   (select coalesce(sum(cardinality(k.pass_ids)), 0) from passbell.chunks k where k.campaign_id = p_campaign)
                   + coalesce(max(p.sent + p.failed + p.skipped), 0) + count(d.pass_id) as recipients
              into v_counts
              from (select) as one
              left join passbell.pruned p on p.campaign_id = p_campaign
              left join passbell.deliveries d on d.campaign_id = p_campaign;
            perform passbell.engine_begins();
            update public.push_campaigns c
               set sent_count = v_counts.sent, failed_count = v_counts.failed, skipped_count = v_counts.skipped, recipient_count = v_counts.recipients
             where c.id = p_campaign
               and (c.sent_count, c.failed_count, c.skipped_count, c.recipient_count)
                   is distinct from (v_counts.sent, v_counts.failed, v_counts.skipped, v_counts.recipients);
            v_written := found;
            perform passbell.engine_ends();
            if exists (select from public.push_campaigns c
                        where c.id = p_campaign
                          and (c.sent_count, c.failed_count, c.skipped_count, c.recipient_count)
                              is distinct from (v_counts.sent, v_counts.failed, v_counts.skipped, v_counts.recipients)) then
                if v_written then
                    perform passbell.refuse_counters();
                end if;
                perform passbell.require_change(p_campaign);
            end if;
            perform passbell.settle_campaign(p_campaign);
        end if;
        delete from passbell.owed_counts o where o.owed_id = any (v_owed);
        delete from passbell.set_aside a where a.campaign_id = p_campaign;
        perform pg_notify('passbell', 'processing');
    exception when query_canceled or assert_failure or others then
        perform passbell.put_aside(p_campaign, sqlstate, passbell.refusal('to record what was sent', sqlstate, sqlerrm));
    end;
end
$$;

-- Tries an owed audit row again.
create or replace function passbell.pay_log(p_campaign uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    -- Under the campaign's lock, like the end of a campaign: two rows for one campaign are impossible.
    perform from public.push_campaigns c where c.id = p_campaign for no key update skip locked;
    if found then
        perform passbell.log_campaign(p_campaign);
    elsif not exists (select from public.push_campaigns c where c.id = p_campaign) then
        delete from passbell.owed_logs o where o.campaign_id = p_campaign;
    end if;
exception when query_canceled or assert_failure or others then
    update passbell.owed_logs o
       set tries = o.tries + 1, next_try_at = passbell.now() + passbell.pause_after(o.tries + 1, passbell.is_passing(sqlstate))
     where o.campaign_id = p_campaign;
end
$$;

-- Cancels running campaigns whose program was deleted: no member can be reached any more, and no daemon would end them. Only
-- where the whole table of programs is seen; a row that row security hides, or that hangs, is not gone.
create or replace function passbell.close_deserted() returns void
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  uuid;
begin
    if to_regclass('public.programs') is null or passbell.hidden_words('public.programs') is not null
       or exists (select from passbell.host_hangs h where h.relation = 'programs') then
        return;
    end if;
    for v_campaign in
        select c.id
          from public.push_campaigns c
         where c.status = 'PROCESSING'
           and not exists (select from passbell.programs g where g.program_id = c.program_id)
           and not exists (select from passbell.set_aside a where a.campaign_id = c.id and a.next_look_at > passbell.now())
         order by c.id
         limit 20
           for no key update of c skip locked
    loop
        begin
            set constraints all immediate;
            perform passbell.engine_begins();
            update public.push_campaigns c
               set status = 'CANCELLED', completed_at = passbell.now(), status_detail = 'Cancelled: its program was deleted.'
             where c.id = v_campaign;
            perform passbell.engine_ends();
            if not exists (select from public.push_campaigns c where c.id = v_campaign and c.status = 'CANCELLED') then
                perform passbell.require_change(v_campaign);
            end if;
        exception when query_canceled or assert_failure or others then
            perform passbell.put_aside(v_campaign, sqlstate, passbell.refusal('to cancel this campaign, whose program was deleted', sqlstate, sqlerrm));
        end;
        exit when passbell.has_run_long();
    end loop;
end
$$;
