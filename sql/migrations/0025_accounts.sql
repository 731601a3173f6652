-- Several PassKit accounts in one database. Their secrets are never here: a daemon has them in its environment.

create table if not exists passbell.accounts (
    account          text     primary key check (account = btrim(account) and account <> '' and length(account) <= 100),
    passkit_url      text     not null default 'https://api.pub1.passkit.io'
                              check (passkit_url ~* '^(https://|http://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?(/|$))' and length(passkit_url) <= 300),
    message_key      text     check (message_key ~ '^[A-Za-z_][A-Za-z0-9_]*$' and length(message_key) <= 64),
    rate_per_second  numeric  check (rate_per_second > 0 and rate_per_second <= 100000),
    enabled          boolean  not null default true,
    note             text
);
comment on table  passbell.accounts is 'PassKit accounts beside the daemons'' own. Only the owner of the database may write here; the secrets are in the daemons'' environment.';
comment on column passbell.accounts.account is 'The name that programs.passkit_account and the daemons'' variables carry.';
comment on column passbell.accounts.passkit_url is 'PassKit''s REST API of this account: pub1 is Europe, pub2 the USA. https, or http on loopback.';
comment on column passbell.accounts.message_key is 'The key in metaData whose field carries the change message; empty: the daemon''s.';
comment on column passbell.accounts.rate_per_second is 'Pushes per second, over all daemons together; empty: the daemon''s.';
comment on column passbell.accounts.enabled is 'False: its programs wait, as if no daemon had its credentials.';

do $$
begin
    if (select c.relkind from pg_catalog.pg_class c where c.oid = to_regclass('public.programs')) in ('r', 'p') then
        if not exists (select from pg_catalog.pg_attribute x
                        where x.attrelid = to_regclass('public.programs') and x.attname = 'passkit_account' and not x.attisdropped) then
            alter table public.programs add column passkit_account text;
        end if;
        create index if not exists programs_passkit_account on public.programs (passkit_account) where passkit_account is not null;
    end if;
end
$$;

-- Under which account a worker holds a chunk; NULL is the daemon's own.
alter table passbell.chunks add column if not exists account text;
-- The accounts a daemon serves; '' is its own.
alter table passbell.workers add column if not exists accounts text[] not null default array[''];
