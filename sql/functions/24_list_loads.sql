-- Loading lists: by a daemon from a URL (claim_campaign, renew, loaded or failed), or by a caller that has the file
-- (draft, pages, submit). Either way all pages, and the mark that they are complete, come in one transaction.

-- Renews the lease of a load. False if another daemon holds the load by now, or the campaign was cancelled.
create or replace function passbell.renew_list_load(p_campaign uuid, p_claim_token uuid, p_lease_seconds numeric) returns boolean
language plpgsql
set search_path = ''
as $$
begin
    update passbell.list_loads l
       set lease_until = passbell.now() + passbell.lease(p_lease_seconds)
     where l.campaign_id = p_campaign and l.claim_token = p_claim_token
       and exists (select from public.push_campaigns c where c.id = p_campaign and c.status in ('PENDING', 'PAUSED'));
    return found;
end
$$;

-- Hands an unfinished load back, at a graceful stop: the next daemon may begin at once.
create or replace function passbell.release_list_load(p_campaign uuid, p_claim_token uuid) returns void
language sql
set search_path = ''
as $$
    update passbell.list_loads l
       set lease_until = null, claim_token = null, worker = null, attempt = l.attempt - 1
     where l.campaign_id = p_campaign and l.claim_token = p_claim_token
$$;

drop function if exists passbell.release_list_orphans(uuid, uuid[]);

-- Called before the loader writes the pages, in the same transaction: removes the pages of an earlier try. Raises PB412 if
-- another daemon holds the load.
create or replace function passbell.begin_list(p_campaign uuid, p_claim_token uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    if not exists (select from passbell.list_loads l where l.campaign_id = p_campaign and l.claim_token = p_claim_token) then
        raise exception 'the lease on the list of campaign % is lost', p_campaign using errcode = 'PB412';
    end if;
    delete from passbell.list_pages g where g.campaign_id = p_campaign;
    update passbell.list_loads l
       set encoding = c.csv_encoding
      from public.push_campaigns c
     where l.campaign_id = p_campaign and c.id = p_campaign;
end
$$;

-- The encoding that the order of a list names, for the daemon that loads it: its role may not read orders.
create or replace function passbell.list_encoding(p_campaign uuid, p_claim_token uuid) returns text
language sql stable
set search_path = ''
as $$
    select l.encoding from passbell.list_loads l where l.campaign_id = p_campaign and l.claim_token = p_claim_token
$$;

-- The loader has staged every page of the campaign's list (in this same transaction): the next claim expands it.
-- p_url is where it came from. Raises PB412 if another daemon holds the load by now.
create or replace function passbell.list_loaded(p_campaign uuid, p_claim_token uuid, p_url text, p_digest text) returns void
language plpgsql
set search_path = ''
as $$
begin
    update passbell.list_loads l
       set loaded = true, lease_until = null, claim_token = null, worker = null, url = nullif(left(btrim(p_url), 4000), ''), digest = left(p_digest, 200)
     where l.campaign_id = p_campaign and l.claim_token = p_claim_token;
    if not found then
        raise exception 'the lease on the list of campaign % is lost', p_campaign using errcode = 'PB412';
    end if;
    perform pg_notify('passbell', 'pending');
end
$$;

-- The list could not be downloaded or read. An error that may pass (p_again) is tried again, three times in all; then the
-- campaign fails with the sentence.
create or replace function passbell.list_failed(p_campaign uuid, p_claim_token uuid, p_detail text, p_again boolean) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_attempt  smallint;
begin
    update passbell.list_loads l
       set lease_until = null, claim_token = null, worker = null,
           not_before = passbell.download_again_at(l.attempt)
     where l.campaign_id = p_campaign and l.claim_token = p_claim_token
    returning l.attempt into v_attempt;
    if not found then
        return;
    end if;
    if p_again and v_attempt < 3 then
        begin
            set constraints all immediate;
            perform passbell.engine_begins();
            update public.push_campaigns c
               set status_detail = left(format('Downloading the list failed and is tried again: %s', p_detail), 1000)
             where c.id = p_campaign and c.status = 'PENDING';
            perform passbell.engine_ends();
        exception when query_canceled or assert_failure or others then
            perform passbell.put_aside(p_campaign, sqlstate, passbell.refusal('to note that the list could not be had', sqlstate, sqlerrm));
        end;
    elsif exists (select from public.push_campaigns c where c.id = p_campaign and c.status = 'PENDING') then
        perform passbell.refuse_campaign(p_campaign, 'PB400', p_detail);
    end if;
end
$$;

-- When a file that could not be downloaded is tried again, of a list or of an import: after 5 and 20 seconds.
create or replace function passbell.download_again_at(p_attempt integer) returns timestamptz
language sql stable
set search_path = ''
as $$
    select passbell.now() + make_interval(secs => 5 * power(4, p_attempt - 1))
$$;

-- First half of a campaign whose list is at hand (passbell send --csv, POST /api/notifications/targeted): checks the
-- order and makes a DRAFT that waits for its pages. The same transaction then copies them into passbell.list_pages and
-- calls submit_list_campaign, so half a list is never visible.
create or replace function passbell.draft_list_campaign(
    p_program uuid, p_message text, p_target text default null, p_name text default null, p_scheduled_at timestamptz default null,
    p_created_by text default null) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    v_id  constant uuid := gen_random_uuid();
begin
    perform passbell.require_program(p_program);
    perform passbell.compile_message(p_message);
    perform passbell.require_order(p_program, p_target, p_scheduled_at);
    insert into public.push_campaigns (id, program_id, name, message_text, target_query, scheduled_at, status, created_by)
    values (v_id, p_program, p_name, p_message,
            case when exists (select from passbell.parse_target(p_target) t where t.segment = 'CSV') then p_target
                 when coalesce(btrim(p_target), '') = '' or (select bool_and(t.segment = 'ALL') from passbell.parse_target(p_target) t) then 'CSV'
                 else p_target || ' & CSV' end,
            p_scheduled_at, 'DRAFT', p_created_by);
    if not found then
        perform passbell.swallowed('push_campaigns');
    end if;
    insert into passbell.list_loads (campaign_id) values (v_id);
    return v_id;
end
$$;

-- Every page of an uploaded list is staged (in this same transaction): matches it. Raises PB400 if no entry is a member.
create or replace function passbell.match_staged_list(p_campaign uuid, p_digest text) returns passbell.list_loads
language plpgsql
set search_path = ''
as $$
declare
    v_campaign  public.push_campaigns;
    v_load      passbell.list_loads;
begin
    update passbell.list_loads l set loaded = true, digest = p_digest where l.campaign_id = p_campaign;
    select c.* into strict v_campaign from public.push_campaigns c where c.id = p_campaign for update;
    v_load := passbell.match_list(v_campaign);
    if passbell.list_refusal(v_load) is not null then
        raise exception '%', passbell.list_refusal(v_load) using errcode = 'PB400';
    end if;
    return v_load;
end
$$;

-- Second half: matches the list now, so that the caller can say "500 targeted, 12 unmatched", and submits the campaign.
-- targeted is how many would be buzzed, as things stand; the daemon matches again when it is due. Raises PB400 if
-- no entry of the list is a member.
create or replace function passbell.submit_list_campaign(p_campaign uuid, p_digest text)
returns table (rows integer, matched integer, targeted integer, unmatched integer, reasons jsonb, summary text, status text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_load  passbell.list_loads;
begin
    v_load := passbell.match_staged_list(p_campaign, p_digest);
    rows := v_load.rows;  matched := v_load.matched;  reasons := v_load.reasons;  summary := v_load.summary;
    unmatched := rows - matched;
    select count(*) into targeted
      from pg_temp.passbell_matches m where m.pass_id is not null and m.nth = 1 and m.reachable and m.opted_in and m.wanted;
    perform passbell.engine_begins();
    update public.push_campaigns c set status = 'PENDING' where c.id = p_campaign;
    perform passbell.engine_ends();
    status := (select c.status from public.push_campaigns c where c.id = p_campaign);
    return next;
end
$$;

-- The pages are of no use once the audience is frozen, or will never be.
create or replace function passbell.drop_list_pages() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from passbell.list_pages g where g.campaign_id = new.id;
    return null;
end
$$;

create or replace trigger passbell_list_pages after update of status on public.push_campaigns
    for each row when (old.status is distinct from new.status and new.status in ('PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED'))
    execute function passbell.drop_list_pages();
