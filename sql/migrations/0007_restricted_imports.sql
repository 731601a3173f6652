-- 0007: an import that a program's administrator orders never changes members of other programs.

alter table public.member_imports add column if not exists restricted boolean not null default false;

comment on column public.member_imports.restricted is
    'Ordered by a program''s administrator: does not change members of other programs. Set by passbell; a server may set it too.';
