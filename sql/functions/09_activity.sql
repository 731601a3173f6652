-- When a member was last active: what counts as a visit, and how the last one is looked up, for one pass and for a program.

-- Which rows of the host's transactions (alias t) are visits, as a condition: earned or redeemed, and no award that passbell
-- made (asked only where there was any). NULL where the host records none. Labels of an enum are judged once, here.
create or replace function passbell.visit_condition() returns text
language sql stable
set search_path = ''
as $$
    select format('%s is not null and t.pass_id is not null and %s and not case when (select exists (select from passbell.awards)) then exists (select from passbell.awards a where a.pass_id = %3$s and a.at = %1$s) else false end',
                  passbell.host_column('public.transactions', 't', 'created_at', 'timestamptz'),
                  case when y.typtype = 'e'
                       then coalesce((select 't.action_type in (' || string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder) || ')'
                                        from pg_catalog.pg_enum e where e.enumtypid = y.oid and passbell.is_visit(e.enumlabel::text)), 'false')
                       else 'passbell.is_visit(t.action_type::text)' end,
                  passbell.host_column('public.transactions', 't', 'pass_id', 'uuid'))
      from pg_catalog.pg_attribute a
      join pg_catalog.pg_type y on y.oid = a.atttypid
     where a.attrelid = to_regclass('public.transactions') and a.attname = 'action_type' and a.attnum > 0 and not a.attisdropped
       and passbell.has_column('public.transactions', 'created_at') and passbell.has_column('public.transactions', 'pass_id')
$$;

-- The member's last visit; where the host records none of this pass, last_updated stands in, less what an award of ours
-- did to it (the sync and the webhooks of the platform set it too, which is why visits come first). The visit is looked
-- up per pass, in the index transactions_pass_created alone; an operator's own passbell.visits is asked instead of that.
create or replace function passbell.last_activity(p_coupon text, p_ticket text) returns text
language sql stable
set search_path = ''
as $$
    select format('coalesce(%s, case when (select true from passbell.awards a where a.pass_id = p.id and a.updated_after = %2$s limit 1)'
                  ' then (select a.activity_before from passbell.awards a where a.pass_id = p.id and a.updated_after = %2$s order by a.at limit 1) else %2$s end)',
                  case when passbell.is_own_view('visits') then '(select max(v.at) from passbell.visits v where v.pass_id = p.id)'
                       else format('greatest(%s, %s, %s)',
                                   coalesce((select format('(select %1$s from public.transactions t where %2$s and %3$s order by t.created_at desc limit 1)',
                                                           passbell.host_column('public.transactions', 't', 'created_at', 'timestamptz'),
                                                           passbell.key_join('public.transactions', 't', 'pass_id', 'public.passes_master', 'p', 'id'), w.condition)
                                               from passbell.visit_condition() as w (condition) where w.condition is not null), 'null::timestamptz'),
                                   passbell.host_column(p_coupon, 'c', 'redeemed_at', 'timestamptz'),
                                   passbell.host_column(p_ticket, 'e', 'checked_in_at', 'timestamptz')) end,
                  passbell.host_column('public.passes_master', 'p', 'last_updated', 'timestamptz'))
$$;

-- Makes passbell.asleep(program, before): the passes of a program whose last activity is older, as recipients has it
-- (last_activity), for SLUMBER and DORMANT. A read of recipients goes in the order of the table, and each lookup in
-- transactions_pass_created then begins at another page of the index: 8 µs. Here passes are looked up in the order of their
-- ids, which is the order of that index: 2 µs. They are sorted a quarter of all ids at a time, so that a million are sorted
-- in memory; nullif keeps the planner from reading the table in the order of its primary key, another page for every row.
-- Parallel workers cannot help: PostgreSQL runs correlated sub-selects in the session itself. If an operator has a recipients
-- view of their own, that is read instead.
create or replace function passbell.build_asleep(p_coupon text, p_ticket text) returns void
language plpgsql
set search_path = ''
as $fn$
declare
    v_pass      constant text := 'public.passes_master';
    v_bounds    constant text[] := array['00000000-0000-0000-0000-000000000000', '40000000-0000-0000-0000-000000000000',
                                         '80000000-0000-0000-0000-000000000000', 'c0000000-0000-0000-0000-000000000000'];
    v_quarters  text;
begin
    if to_regclass(v_pass) is null then
        v_quarters := 'select null::uuid where false';
    else
        select string_agg(concat_ws(' left join ',
                   format('select p.id::uuid from (select p.id%s from %s p where p.program_id = p_program and p.id >= %L%s order by nullif(p.id, %L) offset 0) p',
                          case when passbell.has_column(v_pass, 'last_updated') then ', p.last_updated' else '' end, v_pass, v_bounds[n],
                          case when n < 4 then format(' and p.id < %L', v_bounds[n + 1]) else '' end, v_bounds[1]),
                   p_coupon || ' c on ' || passbell.key_join(p_coupon, 'c', 'pass_id', v_pass, 'p', 'id'),
                   p_ticket || ' e on ' || passbell.key_join(p_ticket, 'e', 'pass_id', v_pass, 'p', 'id'))
                   || ' where ' || passbell.last_activity(p_coupon, p_ticket) || ' < p_before', E'\n union all ' order by n)
          into v_quarters
          from generate_series(1, 4) n;
    end if;
    -- Asked once, as a constant of the plan: if passbell never awarded points, the lookup disappears.
    v_quarters := replace(replace(v_quarters, '(select exists (select from passbell.awards))', 'v_awards'),
                          'case when (select true from passbell.awards', 'case when v_awards and (select true from passbell.awards');
    execute format($f$
        create or replace function passbell.asleep(p_program uuid, p_before timestamptz) returns setof uuid
        language plpgsql stable parallel restricted rows 50000
        set search_path = ''
        set plan_cache_mode = 'force_custom_plan'
        set work_mem = '32MB'
        set jit = off
        as %L $f$, format($body$
        declare
            v_awards  constant boolean := exists (select from passbell.awards);
        begin
            if passbell.is_own_view('recipients') then
                return query select r.pass_id from passbell.recipients r where r.program_id = p_program and r.last_activity < p_before;
                return;
            end if;
            return query %s;
        end
        $body$, v_quarters));
    comment on function passbell.asleep(uuid, timestamptz) is 'The passes of a program whose last activity is older; made by migrate from the columns that are there.';
end
$fn$;
