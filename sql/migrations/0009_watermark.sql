-- 0009: what keeps claims fast while an old snapshot (a dump, a forgotten transaction) keeps every finished chunk's index
-- entries alive: where the last claim found its chunk, and an index in which a campaign can step over its own.

alter table passbell.turns add column if not exists campaign_id uuid;
alter table passbell.turns add column if not exists ready_at timestamptz;
alter table passbell.turns add column if not exists chunk_no integer;

comment on column passbell.turns.campaign_id is 'With ready_at and chunk_no: where in chunks_ready the last claim found its chunk. A hint of where to look on, never a proof that nothing is left before it.';

create index if not exists chunks_in_flight on passbell.chunks (program_id, campaign_id) where rendered;
drop index if exists passbell.chunks_rendered;
