-- 0030: what each claim of a chunk asks for, at a cost that does not grow with what it passes over.

-- The running campaigns of a program in the order in which they are served (next_chunk), however many wait.
create index if not exists push_campaigns_in_turn on public.push_campaigns (program_id, (kind = 'TEST') desc, priority desc, started_at, id)
 where status = 'PROCESSING';
drop index if exists public.push_campaigns_served;

-- Whether any program sends only to those who said yes (passbell.recipients): without it each claim would read all programs.
do $$
begin
    if (select c.relkind from pg_catalog.pg_class c where c.oid = to_regclass('public.programs')) in ('r', 'p')
       and exists (select from pg_catalog.pg_attribute a
                    where a.attrelid = to_regclass('public.programs') and a.attname = 'push_consent' and a.atttypid = 'text'::regtype and not a.attisdropped) then
        create index if not exists programs_ask_first on public.programs (push_consent) where upper(btrim(push_consent)) = 'OPT_IN';
    end if;
end
$$;
