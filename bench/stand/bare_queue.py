"""A queue in bare SQL, of the shape that passbell's has and without its rules: what such a queue cannot do without."""

from __future__ import annotations

from typing import LiteralString

__all__ = ["BARE_CLAIM", "BARE_ENQUEUE", "BARE_FINISH", "BARE_RECIPIENTS", "BARE_TABLES"]

BARE_TABLES: tuple[LiteralString, ...] = (
    "create schema bare",
    """
    create table bare.chunks (campaign_id uuid, chunk_no integer, pass_ids uuid[] not null,
                              lease_until timestamptz, claim_token uuid, primary key (campaign_id, chunk_no))
    """,
    """
    create table bare.deliveries (campaign_id uuid, pass_id uuid, sent_at timestamptz not null default now(),
                                  text_hash bigint, attempts smallint, http_status smallint, outcome text not null,
                                  primary key (campaign_id, pass_id))
    """,
    "create index on bare.deliveries (pass_id, sent_at)",
)
BARE_ENQUEUE: LiteralString = """
    insert into bare.chunks (campaign_id, chunk_no, pass_ids)
    select %s::uuid, n.chunk_no, array_agg(n.id order by n.id)
      from (select p.id, ((row_number() over (order by p.id) - 1) / %s + 1)::integer as chunk_no
              from public.passes_master p
             where p.program_id = %s and p.status = 'INSTALLED' and p.is_active and p.points_balance > %s) n
     group by n.chunk_no
"""
BARE_CLAIM: LiteralString = """
    update bare.chunks k set lease_until = now() + interval '60 seconds', claim_token = gen_random_uuid()
     where (k.campaign_id, k.chunk_no) = (
               select c.campaign_id, c.chunk_no from bare.chunks c
                where c.campaign_id = %s and (c.lease_until is null or c.lease_until <= now())
                order by c.chunk_no limit 1 for update skip locked)
    returning k.chunk_no, k.claim_token, k.pass_ids
"""
BARE_RECIPIENTS: LiteralString = """
    select p.id::text, p.passkit_internal_id, p.external_id, m.points_balance
      from public.passes_master p
      left join public.protocol_membership m on m.pass_id = p.id
     where p.id = any (%s::uuid[])
"""
BARE_FINISH: LiteralString = """
    with done as (
        insert into bare.deliveries (campaign_id, pass_id, text_hash, attempts, http_status, outcome)
        select %s, u.pass_id, 4711, 1, u.http, u.outcome
          from unnest(%s::uuid[], %s::text[], %s::smallint[]) as u (pass_id, outcome, http))
    delete from bare.chunks where campaign_id = %s and chunk_no = %s and claim_token = %s
"""
