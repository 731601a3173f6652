-- 0006: what the queue must know so that two campaigns never have the same pass under way at the same moment.

alter table passbell.chunks add column if not exists claimed_at timestamptz;
alter table passbell.chunks add column if not exists keep_texts boolean not null default false;

comment on column passbell.chunks.rendered is 'Handed out with these texts: they may be on their way or on the phone, and a repeat sends identical bytes.';
comment on column passbell.chunks.claimed_at is 'When it was last handed out.';
comment on column passbell.chunks.keep_texts is 'The texts are those of an earlier attempt that may have landed; they are never chosen anew.';
