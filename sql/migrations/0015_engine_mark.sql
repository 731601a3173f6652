-- 0015: the engine's mark is made with a secret of the installation, instead of a setting that every login can make.

-- One row, which 93_callers.sql writes. Only the owner reads it: 99_grants.sql gives it to no role, and row security
-- without a policy keeps it from roles that may read every table.
create table if not exists passbell.secrets (
    name    text primary key,
    secret  text not null
);
alter table passbell.secrets enable row level security;

comment on table passbell.secrets is 'The secret behind the engine''s mark (docs/security.md). Only the owner can read it.';

drop trigger if exists passbell_engine on public.push_campaigns;
drop trigger if exists passbell_engine on public.member_imports;
drop function if exists passbell.only_the_engine();
