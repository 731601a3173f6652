-- 0011: a pass is found by its external id, as people type it, without looking through all members.

-- The expression is what passbell.recipients makes of lower(btrim(external_id)); queries that ask the view for that use the
-- index (a view of the operator's own may say it differently, and is then merely slow). One that is there is left alone, also
-- while it is still being built: `passbell migrate` builds it beforehand, beside the platform's writes, where the table is
-- large. Statistics at once, because without them the planner takes folded ids for far from unique.
do $$
begin
    if to_regclass('public.passes_master_external_id_folded') is null
       and (select c.relkind from pg_catalog.pg_class c where c.oid = to_regclass('public.passes_master')) in ('r', 'p')
       and exists (select from pg_catalog.pg_attribute a
                    where a.attrelid = to_regclass('public.passes_master') and a.attname = 'external_id'
                      and a.attnum > 0 and not a.attisdropped) then
        create index passes_master_external_id_folded on public.passes_master (lower(btrim(nullif(btrim(external_id::text), ''))));
        analyze public.passes_master;
    end if;
end
$$;
