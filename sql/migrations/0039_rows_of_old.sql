-- 0039: rows that were in the owner's push_campaigns before passbell came.

-- Where the table had no status, each of them has the added column's PENDING, and would be sent to everybody as if it
-- were ordered today. Where it had no created_at, a PENDING row may be years old. A person decides: they become drafts. After
-- 0020, because the owner's CHECK may not know DRAFT; before the guard, which takes people's hands off status_detail.
do $$
begin
    if current_setting('passbell.rows_of_old', true) = 'yes' then
        alter table public.push_campaigns disable trigger user;
        update public.push_campaigns
           set status = 'DRAFT', status_detail = 'It was in this table before passbell was installed, without a status or a date. Submit it to send it.'
         where upper(btrim(status::text)) = 'PENDING';
        alter table public.push_campaigns enable trigger user;
        perform set_config('passbell.rows_of_old', '', true);
    end if;
end
$$;

-- Counters that the owner's table has without a default: a campaign begins with 0, whether a form or the engine orders it.
do $$
declare
    v_column  name;
begin
    for v_column in
        select a.attname from pg_catalog.pg_attribute a
         where a.attrelid = 'public.push_campaigns'::regclass and not a.attisdropped and not a.atthasdef
           and a.attname in ('sent_count', 'failed_count', 'skipped_count', 'recipient_count')
    loop
        execute format('alter table public.push_campaigns alter column %I set default 0', v_column);
    end loop;
end
$$;
