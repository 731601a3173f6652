-- Retention. The daemon calls claim_prune every hour and, when it says yes (once a day over all daemons), prune until it
-- returns nothing more.
--
-- prune looks at one finished campaign that is older than passbell.settings.retention, at most p_limit of its ledger
-- rows, in one short transaction; passbell.pruned says how far it is in the campaign. It never touches a campaign
-- that is not over. A pass's newest sent row stays whatever its age, because the rule that the same text twice must
-- buzz twice asks what the pass shows. What goes is counted in passbell.pruned, so that the conservation law still
-- holds. A campaign is looked at again after 30 days: rows that were a pass's newest may no longer be.
-- Uses push_campaigns_finished, the ledger's primary key and deliveries_pass.

create or replace function passbell.claim_prune() returns boolean
language plpgsql
set search_path = ''
as $$
begin
    perform passbell.look_at_consent();      -- this is what every daemon does hourly
    update passbell.settings s set pruned_at = passbell.now()
     where s.retention is not null and coalesce(s.pruned_at, '-infinity') < passbell.now() - interval '1 day';
    return found;
end
$$;

-- For how many hours the program's own limits (29_contact_policy) look back: its ledger stays as long, whatever retention says.
create or replace function passbell.limit_hours(p_program uuid) returns integer
language sql stable
set search_path = ''
as $$
    select coalesce((select greatest(least(coalesce(g.push_max_days, 0), 3650) * 24, least(coalesce(g.push_min_hours, 0), 87600), 0)
                       from passbell.programs g where g.program_id = p_program limit 1), 0)
$$;

create or replace function passbell.prune(p_limit integer default 2000)
returns table (relation text, removed bigint, done boolean)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_horizon   timestamptz;
    v_campaign  uuid;
    v_from      uuid;
    v_counted   boolean;
    v_last      uuid;
    v_looked    integer;
    v_sent      integer;
    v_failed    integer;
    v_skipped   integer;
begin
    p_limit := least(greatest(coalesce(p_limit, 2000), 1), 10000);
    select passbell.now() - s.retention into v_horizon from passbell.settings s where s.retention is not null;
    if not found then
        return query select 'deliveries', 0::bigint, true;
        return;
    end if;

    select c.id, p.next_pass into v_campaign, v_from
      from public.push_campaigns c
      left join passbell.pruned p on p.campaign_id = c.id
     where c.completed_at < v_horizon and c.status in ('COMPLETED', 'FAILED', 'CANCELLED')
       and (p.campaign_id is null or p.next_pass is not null or p.looked_at is null or p.looked_at < passbell.now() - interval '30 days')
       and not exists (select from passbell.chunks k where k.campaign_id = c.id)
       and c.completed_at <= passbell.now() - make_interval(hours => 24 * coalesce(c.measure_days, 7))
       and c.completed_at <= passbell.now() - make_interval(hours => passbell.limit_hours(c.program_id))
     order by c.completed_at
     limit 1
       for update of c skip locked;
    if not found then           -- no campaign is left: the rows of old imports
        delete from passbell.import_rows r
         using (select x.import_id, x.row_number
                  from public.member_imports i
                  join passbell.import_rows x on x.import_id = i.id
                 where i.completed_at < v_horizon and i.status in ('COMPLETED', 'FAILED', 'CANCELLED')
                 limit p_limit) old
         where r.import_id = old.import_id and r.row_number = old.row_number;
        get diagnostics v_looked = row_count;
        return query select 'import_rows', v_looked::bigint, v_looked < p_limit;
        return;
    end if;

    -- What it brought is counted from these rows: first that, then they may go. Where it cannot be counted now (its window is
    -- open after all, another session takes longer than ten seconds for it), they stay for another day. Counted and asked in two
    -- statements: one statement would not see what another session counted while this one waited for it.
    v_counted := v_from is not null or passbell.count_result(v_campaign, true);
    if not v_counted and not passbell.is_counted(v_campaign) then
        insert into passbell.pruned as p (campaign_id, sent, failed, skipped, looked_at)
        values (v_campaign, 0, 0, 0, passbell.now() - interval '29 days')
        on conflict (campaign_id) do update set looked_at = excluded.looked_at;
        return query select 'deliveries', 0::bigint, false;
        return;
    end if;

    with looked as materialized (
        select d.pass_id, d.outcome, d.sent_at
          from passbell.deliveries d
         where d.campaign_id = v_campaign and (v_from is null or d.pass_id > v_from)
         order by d.pass_id
         limit p_limit
    ), gone as (
        delete from passbell.deliveries d
         using looked l
         where d.campaign_id = v_campaign and d.pass_id = l.pass_id
           and (l.outcome <> 'sent'
                or exists (select from passbell.deliveries n
                            where n.pass_id = l.pass_id and n.outcome = 'sent'
                              and (n.sent_at, n.campaign_id) > (l.sent_at, v_campaign)))
        returning d.outcome
    )
    select (select count(*) from looked), (select l.pass_id from looked l order by l.pass_id desc limit 1),
           count(*) filter (where g.outcome = 'sent'), count(*) filter (where g.outcome = 'failed'), count(*) filter (where g.outcome = 'skipped')
      into v_looked, v_last, v_sent, v_failed, v_skipped
      from gone g;

    insert into passbell.pruned as p (campaign_id, sent, failed, skipped, next_pass, looked_at)
    values (v_campaign, v_sent, v_failed, v_skipped, case when v_looked = p_limit then v_last end, passbell.now())
    on conflict (campaign_id) do update
       set sent = p.sent + excluded.sent, failed = p.failed + excluded.failed, skipped = p.skipped + excluded.skipped,
           next_pass = excluded.next_pass, looked_at = excluded.looked_at;
    return query select 'deliveries', (v_sent + v_failed + v_skipped)::bigint, false;

    if v_looked < p_limit then       -- the campaign's ledger is through: now its list
        delete from passbell.list_entries e where e.campaign_id = v_campaign;
        get diagnostics v_looked = row_count;
        return query select 'list_entries', v_looked::bigint, false;
    end if;
end
$$;
