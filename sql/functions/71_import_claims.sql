-- Member imports as a queue. An import is read and checked outside the database, staged as a whole in one transaction,
-- and applied in batches; each of these writes carries the claim_token.

-- Takes the oldest import that no daemon works on: a new one, or one whose lease has expired or whose worker has ended. Every
-- daemon's import loop calls it. FOR UPDATE SKIP LOCKED, so of two daemons one gets it.
--
--   action 'download'   fetch and check the file with this claim_token, stage its rows, then import_staged(). `today` is the
--                       program's date: no birth date lies after it
--   action 'apply'      its rows are staged: import_batch() until none is left
--   action 'failed'     the order is broken; status_detail says how
--
-- The claim_token is p_token, chosen anew by the caller for every claim. With p_again the caller asks for an answer that was
-- lost, or goes on after the database was away: an import that stands under the token is answered, as the same try.
drop function if exists passbell.claim_import(uuid, numeric);
create or replace function passbell.claim_import(
    p_worker uuid, p_lease_seconds numeric default 60, p_token uuid default null, p_again boolean default false)
returns table (import_id uuid, action text, program_id uuid, csv_url text, claim_token uuid, region text, date_order text, today date, detail text)
language plpgsql
set search_path = ''
set lock_timeout = '1s'
as $$
#variable_conflict use_column
declare
    v_now     constant timestamptz := passbell.now();
    v_import  public.member_imports;
    v_staged  boolean;
    v_token   constant uuid := passbell.enter_claim(p_token);
    v_again   uuid;     -- what stands under the token already
begin
    if p_again then
        update passbell.import_leases l set attempt = l.attempt - 1, lease_until = null, claim_token = null, worker = null, not_before = '-infinity'
         where l.claim_token = v_token and l.worker = p_worker
        returning l.import_id into v_again;
    end if;
    select i.* into v_import
      from public.member_imports i
      left join passbell.import_leases l on l.import_id = i.id
     where i.status in ('PENDING', 'PROCESSING')
       and i.id = coalesce(v_again, i.id)
       and (v_again is not null or not exists (            -- one at a time of a program: a daemon works on a few side by side
                select from passbell.import_leases h
                  join public.member_imports o on o.id = h.import_id
                 where h.lease_until > v_now and o.id <> i.id and o.program_id = i.program_id and o.status = 'PROCESSING'
                   and exists (select from passbell.workers w where w.id = h.worker)))
       and (l.import_id is null
            or l.not_before <= v_now
               and (coalesce(l.lease_until, v_now) <= v_now
                    or l.worker is not null and not exists (select from passbell.workers w where w.id = l.worker)))
     order by i.created_at, i.id
     limit 1
       for update of i skip locked;
    if not found then
        return;
    end if;
    import_id := v_import.id;
    program_id := v_import.program_id;
    csv_url := nullif(btrim(v_import.csv_upload_url), '');
    begin
        set constraints all immediate;      -- a rule that the host has deferred speaks now, while it can be answered
        select l.staged into v_staged from passbell.import_leases l where l.import_id = v_import.id;

        detail := case
            when v_import.program_id is null then 'No program is named.'
            when not exists (select from passbell.programs g where g.program_id = v_import.program_id) then passbell.no_program(v_import.program_id)
            when csv_url is null and v_staged is not true then 'There is no file: csv_upload_url is empty.' end;
        if detail like 'The program % is not seen: %' then
            raise exception '%', detail using errcode = 'PB503';
        elsif detail is not null then
            perform passbell.engine_begins();
            update public.member_imports i set status = 'FAILED', status_detail = detail, completed_at = v_now where i.id = v_import.id;
            perform passbell.engine_ends();
            if exists (select from public.member_imports i where i.id = v_import.id and i.status = 'PENDING') then
                perform passbell.swallowed('member_imports');
            end if;
            action := 'failed';
            return next;
            return;
        end if;

        insert into passbell.import_leases as l (import_id, attempt, lease_until, claim_token, worker)
        values (v_import.id, 1, v_now + passbell.lease(p_lease_seconds), v_token, p_worker)
        on conflict (import_id) do update
           set attempt = l.attempt + 1, lease_until = excluded.lease_until, claim_token = excluded.claim_token, worker = excluded.worker
        returning l.claim_token into claim_token;
        perform passbell.engine_begins();
        update public.member_imports i
           set status = 'PROCESSING', started_at = coalesce(i.started_at, v_now),
               status_detail = case when v_staged then i.status_detail else 'Downloading the file.' end
         where i.id = v_import.id;
        perform passbell.engine_ends();
        action := case when v_staged then 'apply' else 'download' end;
        region := passbell.import_region(v_import);
        date_order := v_import.date_order;
        today := passbell.local_date(v_import.program_id);
    exception when query_canceled or assert_failure or others then
        -- A fault of this import (a rule of the host's, a lock): it pauses, the others go on.
        detail := passbell.refusal('to begin this import', sqlstate, sqlerrm);
        insert into passbell.import_leases as l (import_id, attempt, not_before)
        values (v_import.id, 1, v_now + passbell.pause_after(1, passbell.is_passing(sqlstate)))
        on conflict (import_id) do update
           set attempt = l.attempt + 1, lease_until = null, claim_token = null, worker = null,
               not_before = v_now + passbell.pause_after(l.attempt + 1, passbell.is_passing(sqlstate));
        action := 'failed';
        claim_token := null;
    end;
    return next;
end
$$;

-- The encoding that the order of an import names, for the daemon that holds it: its role reads no order.
create or replace function passbell.import_encoding(p_import uuid, p_claim_token uuid) returns text
language sql stable
set search_path = ''
as $$
    select i.encoding
      from public.member_imports i
      join passbell.import_leases l on l.import_id = i.id and l.claim_token = p_claim_token
     where i.id = p_import
$$;

-- Two letters: the import's own, else what the program's row says (a column country_code, country or region, where the
-- host has one), else US.
create or replace function passbell.import_region(p_import public.member_imports) returns text
language plpgsql stable
set search_path = ''
as $$
declare
    v_region  text := p_import.region;
begin
    if v_region is null and to_regclass('public.programs') is not null then
        execute format('select coalesce(%s) from public.programs g where g.id = $1',
                       (select string_agg(format('case when length(btrim(%1$s)) = 2 then upper(btrim(%1$s)) end',
                                                 passbell.host_column('public.programs', 'g', c.name, 'text')), ', ' order by c.n)
                          from unnest(array['country_code', 'country', 'region']) with ordinality as c (name, n)))
           into v_region using p_import.program_id;
    end if;
    return coalesce(v_region, 'US');
end
$$;

drop function if exists passbell.import_today(uuid);

-- An import whose file is at hand (passbell import, POST /api/members/import): the order and its claim in one. The same
-- transaction stages the rows and calls import_staged. Raises PB404 for an unknown program.
drop function if exists passbell.open_import(uuid, text, boolean, text, text, text, numeric, uuid);
create or replace function passbell.open_import(
    p_program uuid, p_name text default null, p_dry_run boolean default false, p_region text default null, p_date_order text default null,
    p_created_by text default null, p_lease_seconds numeric default 60, p_worker uuid default null, p_encoding text default null)
returns table (import_id uuid, claim_token uuid, region text, date_order text, today date)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_import  public.member_imports;
    v_id      constant uuid := gen_random_uuid();
begin
    perform passbell.require_program(p_program);
    perform passbell.engine_begins();
    insert into public.member_imports (id, program_id, name, dry_run, region, date_order, encoding, created_by, status, started_at, status_detail)
    values (v_id, p_program, p_name, p_dry_run, p_region, p_date_order, p_encoding, coalesce(p_created_by, passbell.caller()), 'PROCESSING', passbell.now(), 'Reading the file.');
    perform passbell.engine_ends();
    select i.* into v_import from public.member_imports i where i.id = v_id;
    if not found then
        perform passbell.swallowed('member_imports');
    end if;
    insert into passbell.import_leases as l (import_id, attempt, lease_until, claim_token, worker)
    values (v_import.id, 1, passbell.now() + passbell.lease(p_lease_seconds), gen_random_uuid(), p_worker)
    returning l.claim_token into claim_token;
    import_id := v_import.id;
    region := passbell.import_region(v_import);
    date_order := v_import.date_order;
    today := passbell.local_date(p_program);
    return next;
end
$$;

-- Locks the import for the holder of the claim_token. Raises PB412 for other callers, and if it was cancelled.
create or replace function passbell.hold_import(p_import uuid, p_claim_token uuid) returns public.member_imports
language plpgsql
set search_path = ''
as $$
declare
    v_import  public.member_imports;
begin
    select i.* into v_import from public.member_imports i where i.id = p_import for update;
    if v_import.status is distinct from 'PROCESSING'
       or not exists (select from passbell.import_leases l where l.import_id = p_import and l.claim_token = p_claim_token) then
        raise exception 'the lease on import % is lost', p_import using errcode = 'PB412';
    end if;
    return v_import;
end
$$;

-- Renews the lease. False if another daemon holds the import by now, or it was cancelled.
create or replace function passbell.renew_import(p_import uuid, p_claim_token uuid, p_lease_seconds numeric) returns boolean
language plpgsql
set search_path = ''
as $$
begin
    update passbell.import_leases l
       set lease_until = passbell.now() + passbell.lease(p_lease_seconds)
     where l.import_id = p_import and l.claim_token = p_claim_token
       and exists (select from public.member_imports i where i.id = p_import and i.status = 'PROCESSING');
    return found;
end
$$;

drop function if exists passbell.release_imports(uuid);

-- Hands it back at a graceful stop; the next daemon continues with the rest.
create or replace function passbell.release_import(p_import uuid, p_claim_token uuid) returns void
language sql
set search_path = ''
as $$
    update passbell.import_leases l
       set lease_until = null, claim_token = null, worker = null, attempt = l.attempt - 1
     where l.import_id = p_import and l.claim_token = p_claim_token
$$;

-- The file cannot be downloaded or read. A temporary error is tried again, three times in all; then the import fails with
-- the sentence.
create or replace function passbell.import_failed(p_import uuid, p_claim_token uuid, p_detail text, p_again boolean default false) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_attempt  smallint;
begin
    update passbell.import_leases l
       set lease_until = null, claim_token = null, worker = null,
           not_before = passbell.download_again_at(l.attempt)
     where l.import_id = p_import and l.claim_token = p_claim_token
    returning l.attempt into v_attempt;
    if not found then
        return;
    end if;
    if p_again and v_attempt < 3 then
        perform passbell.engine_begins();
        update public.member_imports i set status_detail = left(format('Failed and is tried again: %s', p_detail), 1000)
         where i.id = p_import and i.status = 'PROCESSING';
        perform passbell.engine_ends();
    else
        perform passbell.engine_begins();
        update public.member_imports i set status = 'FAILED', status_detail = left(p_detail, 1000), completed_at = passbell.now()
         where i.id = p_import and i.status = 'PROCESSING';
        perform passbell.engine_ends();
        delete from passbell.import_leases l where l.import_id = p_import;
    end if;
end
$$;

-- Every row is in import_staged (copied in this same transaction): finds out, for the whole file at once, who is meant
-- (resolve_import), and lets import_batch begin. The lease counts from the end of this transaction, which may have taken
-- minutes. Raises PB412 if another daemon holds the import by now.
create or replace function passbell.import_staged(
    p_import uuid, p_claim_token uuid, p_notes text[] default '{}', p_lease_seconds numeric default 60) returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_import   public.member_imports;
    v_total    integer;
    v_missing  text;
begin
    v_import := passbell.hold_import(p_import, p_claim_token);
    if passbell.import_obstacle() is not null then
        raise exception '%', passbell.import_obstacle() using errcode = 'PB422';
    end if;
    -- A column that knows no word for a no: to leave it out would turn the no into what stands there.
    if exists (select from passbell.import_fields() f where f.field = 'marketing_opt_in' and f.column_name is not null and f.value is null)
       and exists (select from passbell.import_staged s where s.import_id = p_import and s.marketing_opt_in is not null) then
        raise exception 'The file says who opted in or out, but no value of users.marketing_opt_in reads as yes or no: leave that column out of the file, or change the type of users.marketing_opt_in.'
              using errcode = 'PB422';
    end if;
    perform passbell.resolve_import(v_import);
    select count(*) into v_total from passbell.import_staged s where s.import_id = p_import;
    select string_agg(f.field, ', ' order by f.field) into v_missing from passbell.import_fields() f where f.column_name is null;
    update passbell.import_leases l
       set staged = true,
           lease_until = passbell.this_moment() + passbell.lease(p_lease_seconds)
     where l.import_id = p_import;
    perform passbell.engine_begins();
    update public.member_imports i
       set total_rows = v_total, status_detail = 'Importing.',
           notes = array(select left(n, 1000) from unnest(p_notes[1:100]) n) || case when v_missing is null then '{}' else array['Not stored, because the table users has no column for it: ' || v_missing || '.'] end
                         || case when passbell.consent_must_be_said()
                                 then array['The platform''s marketing_opt_in cannot be empty: new members whose row does not answer are stored as not opted in.'] else '{}' end
     where i.id = p_import;
    perform passbell.engine_ends();
    return v_total;
end
$$;
