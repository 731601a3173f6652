-- 0018: what an import only guesses overwrites nothing, and the encoding of a file can be said.

alter table passbell.import_staged add column if not exists unsure text[] not null default '{}';
comment on column passbell.import_staged.unsure is
    'Fields whose value is a guess (of the code page, of where a full name parts): they fill what is empty.';

alter table public.member_imports add column if not exists encoding text;
comment on column public.member_imports.encoding is
    'The encoding of the file (UTF-8, cp1250, Shift_JIS …), where it does not say so itself and the guess was wrong.';
