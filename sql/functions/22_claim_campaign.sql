-- Takes the next campaign that is due and freezes its audience, all in one transaction; called by every daemon's
-- campaign loop, on each wake-up, until it returns nothing. FOR UPDATE SKIP LOCKED on the PENDING row makes it ours.
--
--   action 'expanded'   its chunks are in the queue, it is PROCESSING (or already COMPLETED if it has no recipient)
--   action 'failed'     the order is broken; status_detail says how
--   action 'held'       PAUSED for a person to decide: a stale schedule or a double submit; or the database refuses it
--   action 'set_aside'  the database refuses every change of its row, or a lock holds it up: passbell.set_aside says so
--   action 'download'   it has a list by URL: download it with this claim_token, then list_loaded() or list_failed()
--
-- Test sends go first. Outside its program's quiet hours' window a campaign stays PENDING (see explain_waiting).
-- A caller that has enough downloads passes p_downloads => false and is given none; other campaigns go on.
-- The claim_token is p_token, chosen anew by the caller for every claim; p_again asks for a lost answer (33_claimed_again).
--
-- The host's rules may hang here. The caller names in p_patience after how many seconds the server cuts the call, and calls
-- first with few: a program whose claim was cut is slow (passbell.slow_programs), and is left to calls with at
-- least as much patience as slow_claim() names. NULL: any program, for as long as it takes.
drop function if exists passbell.claim_campaign(uuid, integer, integer);
drop function if exists passbell.claim_campaign(uuid, integer, integer, boolean);
drop function if exists passbell.claim_campaign(uuid, integer, integer, boolean, text[]);
drop function if exists passbell.claim_campaign(uuid, integer, integer, boolean, text[], uuid, boolean);
drop function if exists passbell.start_campaign(public.push_campaigns, uuid, integer, integer);
create or replace function passbell.claim_campaign(
    p_worker uuid, p_chunk_size integer default 50, p_lease_seconds integer default 120, p_downloads boolean default true,
    p_accounts text[] default array[''], p_token uuid default null, p_again boolean default false, p_patience numeric default null)
returns table (campaign_id uuid, action text, detail text, recipients integer, program_id uuid, csv_url text, claim_token uuid)
language plpgsql
set search_path = ''
set lock_timeout = '1s'
as $$
#variable_conflict use_column
declare
    v_campaign  public.push_campaigns;
    v_sqlstate  text;
    v_message   text;
    v_token     constant uuid := passbell.enter_claim(p_token);
begin
    p_chunk_size := least(greatest(coalesce(p_chunk_size, 50), 1), 1000);
    if p_again then
        select l.campaign_id, l.program_id, l.csv_url into campaign_id, program_id, csv_url
          from passbell.list_claimed(p_worker, v_token, p_lease_seconds) l;
        if campaign_id is not null then
            action := 'download';
            recipients := 0;
            claim_token := v_token;
            return next;
            return;
        end if;
    end if;
    v_campaign := passbell.choose_campaign(p_downloads, p_accounts, p_patience, p_again);
    if v_campaign.id is null then
        return;
    end if;

    campaign_id := v_campaign.id;
    program_id := v_campaign.program_id;
    recipients := 0;

    begin
        set constraints all immediate;      -- a rule that the host has deferred speaks now, while it can be answered
        select s.* into action, detail, recipients, csv_url, claim_token
          from passbell.start_campaign(v_campaign, p_worker, p_chunk_size, p_lease_seconds, v_token) s;
        if action <> 'download' and exists (select from public.push_campaigns c where c.id = v_campaign.id and c.status = 'PENDING') then
            perform passbell.require_change(v_campaign.id);
        end if;
        delete from passbell.set_aside a where a.campaign_id = v_campaign.id;
        v_sqlstate := '00000';
    exception when query_canceled or assert_failure or others then
        get stacked diagnostics v_sqlstate = returned_sqlstate, v_message = message_text;
        if passbell.is_conflict(v_sqlstate) then
            raise;
        end if;
        select r.* into action, detail from passbell.refuse_campaign(v_campaign.id, v_sqlstate, v_message) r;
        recipients := 0;
        csv_url := null;
        claim_token := null;
    end;
    if p_patience is not null then
        perform passbell.note_patience(v_campaign, p_patience, v_sqlstate);
    end if;
    return next;
end
$$;

-- What becomes of a due campaign, see claim_campaign; the caller has locked its row, and answers whatever this raises.
create or replace function passbell.start_campaign(
    p_campaign public.push_campaigns, p_worker uuid, p_chunk_size integer, p_lease_seconds integer, p_token uuid,
    out action text, out detail text, out recipients integer, out csv_url text, out claim_token uuid)
language plpgsql
set search_path = ''
as $$
declare
    v_now       constant timestamptz := passbell.now();
    v_campaign  constant public.push_campaigns := p_campaign;
    v_program   record;
    v_twin      record;
    v_due       timestamptz;
begin
    recipients := 0;

    -- An order that fires long after its time (a restored snapshot, a weekend without a daemon) is a person's decision.
    -- Rows that lay PENDING in the owner's table before passbell came have no submitted_at.
    v_due := coalesce(v_campaign.scheduled_at, v_campaign.submitted_at, v_campaign.created_at);
    if v_campaign.released_at is null and v_due < v_now - interval '24 hours' then
        detail := format('Held: it was due %s, more than 24 hours ago. Resume it to send it now, or cancel it.',
                         to_char(v_due at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'));
        perform passbell.hold_campaign(v_campaign.id, detail);
        action := 'held';
        return;
    end if;

    -- The same order twice within a minute is a form submitted twice. The earlier one is sent, whichever is claimed first.
    if v_campaign.released_at is null and v_campaign.kind = 'BROADCAST' then
        select t.* into v_twin from passbell.find_twin(v_campaign) t;
        if v_twin.created_at is not null then
            detail := format('Held: "%s" with the same text and audience was submitted %s seconds before. Resume it to send it as well, or cancel it.',
                             v_twin.name, greatest(0, round(extract(epoch from v_campaign.created_at - v_twin.created_at))));
            perform passbell.hold_campaign(v_campaign.id, detail);
            action := 'held';
            return;
        end if;
    end if;

    select g.* into v_program from passbell.programs g where g.program_id = v_campaign.program_id;
    if not found then
        raise exception '%', passbell.no_program(v_campaign.program_id)
              using errcode = case when passbell.hidden_words('public.programs') is null then 'PB400' else 'PB503' end;
    elsif v_program.suspended then
        raise exception 'The program "%" is suspended: nothing may be sent.', v_program.name using errcode = 'PB400';
    elsif v_program.passkit_program_id is null then
        raise exception 'The program "%" is not provisioned yet: it has no PassKit program id.', v_program.name using errcode = 'PB400';
    end if;
    perform passbell.compile_message(v_campaign.message_text);
    perform passbell.require_target(v_campaign.program_id, v_campaign.target_query);

    if passbell.is_list(v_campaign) and not passbell.has_list(v_campaign) then
        perform passbell.parse_target(v_campaign.target_query);     -- others are read when their audience is frozen
        if nullif(btrim(v_campaign.csv_upload_url), '') is null then
            raise exception 'The audience is CSV, but csv_upload_url is empty.' using errcode = 'PB400';
        end if;
        insert into passbell.list_loads as l (campaign_id, attempt, lease_until, claim_token, worker)
        values (v_campaign.id, 1, v_now + passbell.lease(p_lease_seconds), p_token, p_worker)
        on conflict (campaign_id) do update
           set attempt = case when l.loaded then 1 else l.attempt + 1 end, loaded = false, lease_until = excluded.lease_until, claim_token = excluded.claim_token, worker = excluded.worker
        returning l.claim_token into claim_token;
        perform passbell.engine_begins();
        update public.push_campaigns set status_detail = 'Downloading the list.' where id = v_campaign.id;
        perform passbell.engine_ends();
        csv_url := btrim(v_campaign.csv_upload_url);
        action := 'download';
        return;
    end if;

    recipients := passbell.expand_campaign(v_campaign.id, p_chunk_size);
    select case when c.status = 'FAILED' then 'failed' else 'expanded' end, case when c.status = 'FAILED' then c.status_detail end
      into action, detail from public.push_campaigns c where c.id = v_campaign.id;
end
$$;

-- The same order, submitted within the minute before: a form that was sent twice. NULLs if there is none.
create or replace function passbell.find_twin(p_campaign public.push_campaigns, out name text, out created_at timestamptz)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
begin
    select t.name, t.created_at into name, created_at
      from (select o.* from public.push_campaigns o      -- by push_campaigns_program, not all programs' last minute
             where o.program_id = p_campaign.program_id
               and o.created_at between p_campaign.created_at - interval '1 minute' and p_campaign.created_at
            offset 0) t
     where t.kind = 'BROADCAST' and t.id <> p_campaign.id
       and t.status not in ('DRAFT', 'FAILED', 'CANCELLED')
       and (t.created_at, t.id) < (p_campaign.created_at, p_campaign.id)
       and btrim(t.message_text) = btrim(p_campaign.message_text)
       and upper(regexp_replace(coalesce(nullif(btrim(t.target_query), ''), 'ALL'), '\s', '', 'g'))
           = upper(regexp_replace(coalesce(nullif(btrim(p_campaign.target_query), ''), 'ALL'), '\s', '', 'g'))
       and coalesce(btrim(t.csv_upload_url), '') = coalesce(btrim(p_campaign.csv_upload_url), '')
       and (coalesce(btrim(t.csv_upload_url), '') <> ''
            or (select l.digest from passbell.list_loads l where l.campaign_id = t.id)
               is not distinct from (select l.digest from passbell.list_loads l where l.campaign_id = p_campaign.id))
       and coalesce(t.scheduled_at, t.created_at) between coalesce(p_campaign.scheduled_at, p_campaign.created_at) - interval '1 minute'
                                                      and coalesce(p_campaign.scheduled_at, p_campaign.created_at) + interval '1 minute'
     order by t.created_at
     limit 1;
end
$$;

-- A campaign that could not be started: FAILED with the sentence; where the database refuses that, PAUSED; where it
-- refuses even that, or where the trouble passes by itself, passbell.set_aside. A broken order says what is broken in it.
create or replace function passbell.refuse_campaign(p_campaign uuid, p_sqlstate text, p_message text, out action text, out detail text)
language plpgsql
set search_path = ''
as $$
declare
    v_status  text;
begin
    detail := passbell.refusal('to start this campaign', p_sqlstate, p_message);
    if not passbell.is_passing(p_sqlstate) then
        foreach v_status in array array['FAILED', 'PAUSED'] loop
            begin
                set constraints all immediate;
                if v_status = 'FAILED' then
                    perform passbell.fail_campaign(p_campaign, detail);
                else
                    perform passbell.hold_campaign(p_campaign, detail);
                end if;
                if exists (select from public.push_campaigns c where c.id = p_campaign and c.status = v_status) then
                    action := case v_status when 'FAILED' then 'failed' else 'held' end;
                    return;
                end if;
            exception when query_canceled or assert_failure or others then
                null;
            end;
        end loop;
    end if;
    perform passbell.put_aside(p_campaign, p_sqlstate, detail);
    action := 'set_aside';
end
$$;

-- Freezes the audience of a PENDING campaign into chunks with one set-based statement and starts it. Who is in:
-- every pass of the program that matches, is installed and active, and whose member did not opt out; the daily cap is
-- judged later, when its chunk is claimed. DISTINCT, because a host that lost a primary key may show a pass twice.
-- With a list, those it matched (match_list) and no others; a list without any known member fails the campaign, and its
-- rows stay readable.
--
-- One array in the order of the ids, cut into chunks: neighbours in a chunk are neighbours in the ledger's indexes, and
-- the cutting costs nothing, where numbering the rows and grouping them by number costs as much as finding them. The
-- array holds 16 bytes per pass while the statement runs; PostgreSQL's limit of 1 GB is at 67 million passes.
create or replace function passbell.expand_campaign(p_campaign uuid, p_chunk_size integer) returns integer
language plpgsql
set search_path = ''
set work_mem = '64MB'
as $$
declare
    v_campaign    public.push_campaigns;
    v_load        passbell.list_loads;
    v_condition   text;
    v_parameters  text[];
    v_recipients  integer;
begin
    select c.* into strict v_campaign from public.push_campaigns c where c.id = p_campaign for no key update;
    begin
        v_load := passbell.match_list(v_campaign);
    exception when data_exception or syntax_error_or_access_rule_violation then
        raise exception 'The audience could not be evaluated: %.', passbell.host_words(sqlerrm) using errcode = 'PB400';
    end;

    if v_load.campaign_id is not null then
        if passbell.list_refusal(v_load) is not null then
            perform passbell.fail_campaign(p_campaign, passbell.list_refusal(v_load));
            return 0;
        end if;
        insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, not_before)
        select p_campaign, n, v_campaign.program_id, a.ids[(n - 1) * p_chunk_size + 1 : n * p_chunk_size], passbell.now()
          from (select array_agg(m.pass_id order by m.pass_id) as ids
                  from pg_temp.passbell_matches m
                 where m.pass_id is not null and m.nth = 1 and m.reachable and m.opted_in and m.wanted) a
         cross join lateral generate_series(1, (cardinality(a.ids) + p_chunk_size - 1) / p_chunk_size) n;
    elsif passbell.is_list(v_campaign) then
        raise exception 'The list is not there.';       -- never all members, whatever went wrong before
    else
        select a.condition, a.parameters into v_condition, v_parameters from passbell.audience_condition(v_campaign.target_query) a;
        begin
            execute $q$
                insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, not_before)
                select $3, n, $1, a.ids[(n - 1) * $4 + 1 : n * $4], $5
                  from (select array_agg(distinct r.pass_id order by r.pass_id) as ids
                          from passbell.recipients r
                         where r.program_id = $1 and r.reachable and r.opted_in and ($q$ || v_condition || $q$)) a
                 cross join lateral generate_series(1, (cardinality(a.ids) + $4 - 1) / $4) n $q$
              using v_campaign.program_id, v_parameters, p_campaign, p_chunk_size, passbell.now();
        exception when data_exception or syntax_error_or_access_rule_violation then
            raise exception 'The audience could not be evaluated: %.', passbell.host_words(sqlerrm) using errcode = 'PB400';
        end;
    end if;

    select coalesce(sum(cardinality(k.pass_ids)), 0) into v_recipients from passbell.chunks k where k.campaign_id = p_campaign;
    insert into passbell.turns (program_id) values (v_campaign.program_id) on conflict do nothing;

    perform passbell.engine_begins();
    update public.push_campaigns
       set status = 'PROCESSING', started_at = passbell.now(), recipient_count = v_recipients, status_detail = v_load.summary,
           holdout_percent = passbell.fix_holdout(v_campaign)
     where id = p_campaign;
    perform passbell.engine_ends();
    if not exists (select from public.push_campaigns c where c.id = p_campaign and c.status = 'PROCESSING' and c.recipient_count = v_recipients) then
        perform passbell.require_change(p_campaign);
    end if;
    if v_recipients = 0 then
        perform passbell.settle_campaign(p_campaign);
    end if;
    return v_recipients;
end
$$;
