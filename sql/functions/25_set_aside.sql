-- What the host's own rules and locks may do to a campaign: a trigger that raises, a CHECK of an older table, a row that
-- another session keeps locked. It stops that campaign, and the campaign says why. Where its row cannot even be changed
-- for that, passbell.set_aside holds the sentence, and the daemons leave the campaign alone until next_look_at.
--
-- Three kinds of debt, each paid by look_again() (37_debts):
--
--   passbell.set_aside    the campaign itself is to be tried again
--   passbell.owed_counts  outcomes are in the ledger, but the campaign's row could not be told
--   passbell.owed_logs    the campaign is over, but public.notification_logs refused its row

-- Leaves a campaign alone for a while. Writes nothing of the host's.
create or replace function passbell.put_aside(p_campaign uuid, p_sqlstate text, p_reason text) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now      constant timestamptz := passbell.this_moment();
    v_passing  constant boolean := passbell.is_passing(p_sqlstate);
begin
    insert into passbell.set_aside as a (campaign_id, since, next_look_at, reason)
    values (p_campaign, v_now, v_now + passbell.pause_after(1, v_passing), left(p_reason, 1000))
    on conflict (campaign_id) do update
       set looks = a.looks + 1, next_look_at = v_now + passbell.pause_after(a.looks + 1, v_passing), reason = excluded.reason;
end
$$;

-- A rule of the host's hung while passes of a campaign were claimed: that campaign is set aside for six times as long as the
-- claim took, and twice as long each time. If another campaign of the program is aside for that already, all of the program
-- are, because each of them would delay the claims of other programs by as much.
create or replace function passbell.put_hanging_aside(p_campaign uuid, p_program uuid, p_message text) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now     constant timestamptz := passbell.this_moment();
    v_rest    constant interval := least(interval '5 minutes', 6 * (clock_timestamp() - statement_timestamp()));
    v_reason  constant text := passbell.refusal('to send this campaign', '57014', p_message);
    v_again   constant boolean := exists (select from passbell.set_aside a join public.push_campaigns c on c.id = a.campaign_id
                                           where c.program_id = p_program and c.id <> p_campaign and a.reason = v_reason);
begin
    insert into passbell.set_aside as a (campaign_id, since, next_look_at, reason)
    select c.id, v_now, v_now + v_rest, v_reason
      from public.push_campaigns c
     where c.program_id = p_program and c.status = 'PROCESSING' and (v_again or c.id = p_campaign)
     order by c.id
    on conflict (campaign_id) do update
       set looks = a.looks + 1, reason = excluded.reason,
           next_look_at = greatest(a.next_look_at, v_now + least(interval '1 hour', v_rest * power(2, least(a.looks, 6))));
end
$$;

-- What people read of a campaign that is set aside; NULL of any other.
create or replace function passbell.aside_words(p_campaign uuid) returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return (select format('%s It is tried again by itself, next at %s.', a.reason, to_char(a.next_look_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'))
              from passbell.set_aside a where a.campaign_id = p_campaign);
end
$$;

-- Tells the campaign's row what was written to the ledger, and completes the campaign if nothing is left. This is the
-- host's table, so it may be refused: then nothing of it stands, the debt is noted, the campaign is set aside, and the
-- caller's outcomes stand all the same. p_ask false: the last attempt took too long, so the host is not asked.
-- A campaign that is aside already is not asked either: its row would only be waited for once more. Returns the campaign's
-- status, as this leaves it.
drop function if exists passbell.book_outcomes(uuid, integer, integer, integer, text, boolean, boolean);
create function passbell.book_outcomes(
    p_campaign uuid, p_sent integer, p_failed integer, p_skipped integer, p_hold text, p_settle boolean, p_ask boolean default true) returns text
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  record;
    v_found     boolean;
    v_status    text;     -- of the row that was written, and is ours until the end of the transaction
    v_before    text;
    v_mark      text;
begin
    if p_sent = 0 and p_failed = 0 and p_skipped = 0 and p_hold is null and not p_settle then
        return (select c.status from public.push_campaigns c where c.id = p_campaign);
    end if;
    perform from passbell.set_aside a where a.campaign_id = p_campaign;
    if found then
        insert into passbell.owed_counts (campaign_id) values (p_campaign);
        return (select c.status from public.push_campaigns c where c.id = p_campaign);
    end if;
    begin
        if not p_ask then
            raise exception 'it did not answer in time' using errcode = '57014';
        end if;
        if pg_trigger_depth() = 0 then      -- a deferred rule speaks now: at the commit it would undo the outcomes as well
            set constraints all immediate;
        end if;
        if p_sent > 0 or p_failed > 0 or p_skipped > 0 then
            v_before := coalesce(current_setting('passbell.engine', true), '');
            v_mark := passbell.engine_begins();
            update public.push_campaigns c
               set sent_count = sent_count + p_sent, failed_count = failed_count + p_failed, skipped_count = skipped_count + p_skipped
             where c.id = p_campaign;
            v_found := found;
            v_mark := set_config('passbell.engine', v_before, true);      -- engine_ends, without the call
            -- Not by RETURNING: a rule (CREATE RULE) of the host's for one program would refuse that to all. Whether another
            -- chunk is left is asked in the same query, from the far end: see settle_campaign.
            select c.status, c.sent_count, c.failed_count, c.skipped_count, c.recipient_count,
                   (select true from passbell.chunks k where p_settle and k.campaign_id = p_campaign order by k.chunk_no desc limit 1) as goes_on
              into v_campaign from public.push_campaigns c where c.id = p_campaign;
            v_status := v_campaign.status;
            if not v_found then
                perform passbell.require_change(p_campaign);
            elsif v_campaign.sent_count < p_sent or v_campaign.failed_count < p_failed or v_campaign.skipped_count < p_skipped
                  or v_campaign.sent_count + v_campaign.failed_count + v_campaign.skipped_count > v_campaign.recipient_count then
                perform passbell.refuse_counters();
            end if;
        end if;
        if p_hold is not null then
            perform passbell.hold_campaign(p_campaign, p_hold);
            v_status := null;
        end if;
        if p_settle then
            -- The usual case: another chunk is left. The row is ours, so no other session settles meanwhile. See settle_campaign.
            if v_status is not null then
                if v_campaign.goes_on then     -- an IF of its own: PostgreSQL 14 asks for all of a condition's variables, and this may have no value yet
                    return v_status;
                end if;
            end if;
            perform passbell.settle_campaign(p_campaign);
            v_status := null;
        end if;
    exception when query_canceled or assert_failure or others then
        if passbell.is_conflict(sqlstate) then
            raise;
        end if;
        insert into passbell.owed_counts (campaign_id) values (p_campaign);
        begin
            perform passbell.put_aside(p_campaign, sqlstate, passbell.refusal('to record what was sent', sqlstate, sqlerrm));
        exception when lock_not_available or unique_violation then
            null;       -- another session holds it; the debt is noted, and that is enough
        end;
        v_status := null;
    end;
    return coalesce(v_status, (select c.status from public.push_campaigns c where c.id = p_campaign));
end
$$;
