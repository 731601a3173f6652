-- Checks every write to member_imports, as campaign_guard does for campaigns: people (a form, SQL, the API) may
-- insert an order and cancel it; counters, times and words belong to the engine. Raises PB422 for anything else.
-- An order that a program's administrator made, or changed, is restricted (see spare_others in 72_import_people); no
-- update can set that back.
create or replace function passbell.import_guard() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_engine  constant boolean := passbell.is_engine();
    v_server  constant boolean := coalesce(passbell.acts_for_server(), false);
begin
    if tg_op = 'INSERT' or new.name is distinct from old.name or new.csv_upload_url is distinct from old.csv_upload_url then
        perform passbell.require_length('name', new.name, 1000), passbell.require_length('csv_upload_url', new.csv_upload_url, 4000);
        new.name := left(new.name, 200);
        new.created_by := left(new.created_by, 200);
    end if;
    new.region := left(new.region, 100);
    new.date_order := left(new.date_order, 100);
    new.updated_at := passbell.now();
    new.status := upper(btrim(coalesce(nullif(btrim(new.status), ''), 'PENDING')));
    new.date_order := upper(nullif(btrim(new.date_order), ''));
    new.region := upper(nullif(btrim(new.region), ''));
    new.encoding := nullif(btrim(new.encoding), '');
    if v_engine then
        return new;
    end if;
    if tg_op = 'INSERT' then
        if new.status <> 'PENDING' then
            raise exception 'A new import is PENDING, not %.', left(new.status, 40) using errcode = 'PB422';
        end if;
        new.created_at := coalesce(new.created_at, passbell.now());
        new.restricted := coalesce(new.restricted, false) or not v_server;
        new.created_by := case when v_server then coalesce(new.created_by, passbell.caller()) else passbell.caller() end;
        new.total_rows := 0;     new.processed_rows := 0;   new.created_count := 0;   new.updated_count := 0;   new.linked_count := 0;
        new.unchanged_count := 0;  new.rejected_count := 0;  new.passes_linked := 0;  new.notes := '{}';
        new.status_detail := null;  new.started_at := null;  new.completed_at := null;
        perform pg_notify('passbell', 'imports');
        return new;
    end if;
    if new.status <> old.status and not (new.status = 'CANCELLED' and old.status in ('PENDING', 'PROCESSING')) then
        raise exception 'An import that is % cannot become %.', old.status, left(new.status, 40) using errcode = 'PB422';
    end if;
    if old.status <> 'PENDING'
       and (new.program_id, new.csv_upload_url, new.dry_run, new.region, new.date_order, new.encoding)
           is distinct from (old.program_id, old.csv_upload_url, old.dry_run, old.region, old.date_order, old.encoding) then
        raise exception 'The import has started: its file and program can no longer be changed.' using errcode = 'PB422';
    end if;
    new.restricted := old.restricted or new.restricted is true
                      or not v_server and (new.program_id, new.csv_upload_url, new.dry_run, new.region, new.date_order, new.encoding)
                                          is distinct from (old.program_id, old.csv_upload_url, old.dry_run, old.region, old.date_order, old.encoding);
    new.total_rows := old.total_rows;            new.processed_rows := old.processed_rows;  new.created_count := old.created_count;
    new.updated_count := old.updated_count;      new.linked_count := old.linked_count;      new.unchanged_count := old.unchanged_count;
    new.rejected_count := old.rejected_count;    new.passes_linked := old.passes_linked;    new.notes := old.notes;
    new.started_at := old.started_at;            new.completed_at := old.completed_at;      new.status_detail := old.status_detail;
    if new.status = 'CANCELLED' and old.status <> 'CANCELLED' then
        new.completed_at := passbell.now();
        new.status_detail := format('Cancelled by %s after %s of %s rows; those stay imported.', passbell.caller(),
                                    passbell.thousands(old.processed_rows), passbell.thousands(old.total_rows));
    end if;
    return new;
end
$$;

create or replace trigger passbell_guard before insert or update on public.member_imports
    for each row execute function passbell.import_guard();

-- Deletes an import's rows with it, and rows that are not applied yet with its lease.
create or replace function passbell.drop_import_rows() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_relid = 'public.member_imports'::regclass then
        delete from passbell.import_rows r where r.import_id = old.id;
    else
        delete from passbell.import_staged s where s.import_id = old.import_id;
    end if;
    return null;
end
$$;

create or replace trigger passbell_import_rows after delete on public.member_imports
    for each row execute function passbell.drop_import_rows();
create or replace trigger passbell_import_staged after delete on passbell.import_leases
    for each row execute function passbell.drop_import_rows();
