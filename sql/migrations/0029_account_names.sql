-- What an account may be called and where its PassKit may be.

-- Two accounts whose variables have the same name would be sent with one key. Only ASCII counts as a letter here, as in the
-- daemon's suffix_of().
create unique index if not exists accounts_variables on passbell.accounts
    (upper(regexp_replace(account collate "C", '[^A-Za-z0-9]', '_', 'g') collate "C"));

do $$
begin
    -- https, or http on loopback; no user, no query, no spaces: what stands here is shown and logged.
    if not exists (select from pg_catalog.pg_constraint where conrelid = 'passbell.accounts'::regclass and conname = 'accounts_url') then
        alter table passbell.accounts add constraint accounts_url check (
            passkit_url ~* '^(https://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])|http://(localhost|127(\.\d{1,3}){3}|\[::1\]))(:\d{1,5})?(/[a-z0-9._~!$&()*+,;=:@%/-]*)?$');
    end if;
    -- "Blue file": its variable would be taken for the name of the file with Blue's key.
    if not exists (select from pg_catalog.pg_constraint where conrelid = 'passbell.accounts'::regclass and conname = 'accounts_no_file') then
        alter table passbell.accounts add constraint accounts_no_file check (account !~* '[^a-z0-9]file$');
    end if;
end
$$;
