-- 0008: a chunk whose earlier holder never reported stays uncertain for the next one.

alter table passbell.chunks add column if not exists uncertain boolean not null default false;

comment on column passbell.chunks.uncertain is 'An earlier holder never reported: passes that the present holder hands back untouched may have been sent all the same.';
