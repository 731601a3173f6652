-- The columns of the host that segments and texts are read from, with the number of members on a phone: for `instead` of
-- them the second source is read, for `missing` nothing is known, for `unreadable` the cell cannot be read (07_reading).
-- For `passbell check`; reads each member once.
create or replace function passbell.host_sources()
returns table (what text, source text, members bigint, instead bigint, missing bigint, unreadable bigint)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
declare
    v_no_points    bigint;
    v_no_tier      bigint;
    v_no_activity  bigint;
    v_no_visit     bigint;
    v_no_row       bigint;
    v_rows         boolean := passbell.has_column('public.protocol_membership', 'pass_id');
    v_balance      boolean := passbell.has_column('public.passes_master', 'points_balance');
    v_column       record;
begin
    execute format($q$
        select count(*) as members, count(*) filter (where r.points is null) as no_points, count(*) filter (where r.tier_points is null) as no_tier,
               count(*) filter (where r.last_activity is null) as no_activity,
               count(*) filter (where not exists (select from passbell.visits v where v.pass_id = r.pass_id)) as no_visit,
               count(*) filter (where %s) as no_row
          from passbell.recipients r where r.reachable and r.protocol = 'MEMBERSHIP' $q$,
        case when v_rows then 'not exists (select from public.protocol_membership m where m.pass_id::text = r.pass_id::text)' else 'true' end)
       into members, v_no_points, v_no_tier, v_no_activity, v_no_visit, v_no_row;
    unreadable := 0;

    what := 'points';
    source := case when v_balance then 'passes_master.points_balance' else 'protocol_membership.points_balance' end;
    instead := 0;
    missing := v_no_points;
    return next;
    what := 'tier points';
    source := case when passbell.has_column('public.protocol_membership', 'tier_points') then 'protocol_membership.tier_points, else the balance' else 'the balance' end;
    instead := v_no_row;
    missing := v_no_tier;
    return next;
    what := 'last activity';
    source := case when passbell.is_own_view('visits') then 'your own passbell.visits, else passes_master.last_updated'
                   when passbell.visit_condition() is not null then 'transactions (earned, redeemed), else passes_master.last_updated'
                   else 'passes_master.last_updated: this database records no visits' end;
    instead := v_no_visit;
    missing := v_no_activity;
    return next;

    for v_column in
        select w.relation, w.name, passbell.host_column(w.relation, 'x', w.name, w.type) as expression
          from (values ('public.passes_master', 'points_balance', 'bigint'), ('public.passes_master', 'last_updated', 'timestamptz'),
                       ('public.passes_master', 'is_active', 'boolean'), ('public.users', 'marketing_opt_in', 'boolean'), ('public.users', 'birth_date', 'date'),
                       ('public.protocol_membership', 'points_balance', 'bigint'), ('public.protocol_membership', 'tier_points', 'bigint'),
                       ('public.protocol_coupon', 'expiry_date', 'date'), ('public.programs', 'is_suspended', 'boolean')) as w (relation, name, type)
         where passbell.has_column(w.relation, w.name)
    loop
        continue when v_column.expression !~ '(passbell\.read_|case when)';     -- a plain cast loses nothing
        execute format('select count(x.%1$I), count(x.%1$I) filter (where %2$s is null) from %3$s x', v_column.name, v_column.expression, v_column.relation)
           into members, unreadable;
        what := 'unreadable';
        source := replace(v_column.relation, 'public.', '') || '.' || v_column.name;
        instead := 0;
        missing := 0;
        return next;
    end loop;
end
$$;
