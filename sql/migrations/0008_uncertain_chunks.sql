-- 0008: a chunk that came from somebody who never said what became of it stays uncertain in the next hands.

alter table passbell.chunks add column if not exists uncertain boolean not null default false;

comment on column passbell.chunks.uncertain is 'Whoever held it before never reported: what its present holder hands back untouched may be on the phone all the same.';
