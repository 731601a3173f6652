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

-- What stands in for a member's visits where the host records none of the pass.
create or replace function passbell.stand_in() returns text
language sql stable
set search_path = ''
as $$
    select format('case when (select true from passbell.awards a where a.pass_id = p.id and a.updated_after = %1$s limit 1)'
                  ' then (select a.activity_before from passbell.awards a where a.pass_id = p.id and a.updated_after = %1$s order by a.at limit 1) else %1$s end',
                  passbell.host_column('public.passes_master', 'p', 'last_updated', 'timestamptz'))
$$;

-- The member's last visit; where the host records none of this pass, last_updated stands in, less what an award of ours
-- did to it (the sync and the webhooks of the platform set it too, which is why visits come first). The visit is looked
-- up per pass, in the index transactions_pass_created alone; an operator's own passbell.visits is asked instead of that.
create or replace function passbell.last_activity(p_coupon text, p_ticket text) returns text
language sql stable
set search_path = ''
as $$
    select format('coalesce(%s, %s)',
                  case when passbell.is_own_view('visits') then '(select max(v.at) from passbell.visits v where v.pass_id = p.id)'
                       else format('greatest(%s, %s, %s)',
                                   coalesce((select format('(select %1$s from public.transactions t where %2$s and %3$s order by t.created_at desc limit 1)',
                                                           passbell.host_column('public.transactions', 't', 'created_at', 'timestamptz'),
                                                           passbell.key_join('public.transactions', 't', 'pass_id', 'public.passes_master', 'p', 'id'), w.condition)
                                               from passbell.visit_condition() as w (condition) where w.condition is not null), 'null::timestamptz'),
                                   passbell.host_column(p_coupon, 'c', 'redeemed_at', 'timestamptz'),
                                   passbell.host_column(p_ticket, 'e', 'checked_in_at', 'timestamptz')) end,
                  passbell.stand_in())
$$;

-- Makes passbell.asleep(program, before): the passes of a program whose last activity is older, as recipients has it
-- (last_activity), for SLUMBER and DORMANT. A read of recipients goes in the order of the table, and each lookup in
-- transactions_pass_created then begins at another page of the index: 8 µs. Here the last visit itself is looked up for no pass:
--
--   1. Passes with a visit since are left out. The whole index is read once and merged with the passes in the order of
--      their ids; times are compared inside the index, so that 10,000,000 visits take half a second. If the program is
--      small beside the table, each pass is looked up instead; the planner decides by size.
--   2. Of the others, a pass whose stand-in (last_updated) is older too is asleep, with visits or without.
--   3. The rest is asleep if there is any visit: a look at the index in its order, 1 µs.
--
-- The inner `offset 0` keeps the planner from reading the passes in the order of their primary key, another page for every
-- row; after a hash join they would have to be sorted. If an operator has a recipients or visits view of their own, that is
-- read instead.
create or replace function passbell.build_asleep(p_coupon text, p_ticket text) returns void
language plpgsql
set search_path = ''
as $fn$
declare
    v_pass       constant text := 'public.passes_master';
    v_visits     constant text := 'public.transactions';
    v_passes     constant text := format('(select p.id%s from %s p where p.program_id = p_program', case when passbell.has_column(v_pass, 'last_updated') then ', p.last_updated' end, v_pass);
    v_condition  constant text := case when not passbell.is_own_view('visits') then passbell.visit_condition() end;
    v_redeemed   constant text := nullif(passbell.host_column(p_coupon, 'c', 'redeemed_at', 'timestamptz'), 'null::timestamptz');
    v_attended   constant text := nullif(passbell.host_column(p_ticket, 'e', 'checked_in_at', 'timestamptz'), 'null::timestamptz');
    v_coupon     constant text := passbell.key_join(p_coupon, 'c', 'pass_id', v_pass, 'p', 'id');
    v_ticket     constant text := passbell.key_join(p_ticket, 'e', 'pass_id', v_pass, 'p', 'id');
    v_visit      text;
    v_time       text;
    v_before     text := 'p_before';
    v_body       text;
begin
    if to_regclass(v_pass) is null then
        v_body := 'select null::uuid where false';
    elsif v_condition is null then
        v_body := concat_ws(' left join ', 'select p.id::uuid from ' || v_passes || ' order by nullif(p.id, ''00000000-0000-0000-0000-000000000000'') offset 0) p', p_coupon || ' c on ' || v_coupon, p_ticket || ' e on ' || v_ticket)
                  || ' where ' || passbell.last_activity(p_coupon, p_ticket) || ' < p_before';
    else
        v_visit := format('exists (select from %s t where %s and %s', v_visits, passbell.key_join(v_visits, 't', 'pass_id', v_pass, 'p', 'id'), v_condition);
        v_time := passbell.host_column(v_visits, 't', 'created_at', 'timestamptz');
        if v_time = '(t.created_at at time zone ''UTC'')' then      -- said so that the index can compare it
            v_time := 't.created_at';
            v_before := '(p_before at time zone ''UTC'')';
        end if;
        v_body := concat_ws(E'\n    left join ',
                'select p.id::uuid from (select p.id, ' || concat_ws(' or ', case when v_redeemed is not null then 'c.at is not null' end, case when v_attended is not null then 'e.at is not null' end,
                                                                    passbell.stand_in() || ' < p_before') || ' as settled from ' || v_passes || ' offset 0) p',
                '(select c.pass_id, ' || v_redeemed || ' as at from ' || p_coupon || ' c where ' || v_redeemed || ' is not null) c on ' || v_coupon,
                '(select e.pass_id, ' || v_attended || ' as at from ' || p_ticket || ' e where ' || v_attended || ' is not null) e on ' || v_ticket)
            || E'\n   where ' || concat_ws(' and ', 'not ' || v_visit || ' and ' || v_time || ' >= ' || v_before || ')',
                                          case when v_redeemed is not null then '(c.at >= p_before) is not true' end, case when v_attended is not null then '(e.at >= p_before) is not true' end)
            || E'\n order by p.id offset 0) p where p.settled or ' || v_visit || ' and ' || v_time || ' < ' || v_before || ' offset 0)';
    end if;
    -- Asked once, as a constant of the plan: if passbell never awarded points, the lookup disappears.
    v_body := replace(replace(v_body, '(select exists (select from passbell.awards))', 'v_awards'),
                      'case when (select true from passbell.awards', 'case when v_awards and (select true from passbell.awards');
    execute format($f$
        create or replace function passbell.asleep(p_program uuid, p_before timestamptz) returns setof uuid
        language plpgsql stable parallel restricted rows 50000
        set search_path = ''
        set plan_cache_mode = 'force_custom_plan'
        set work_mem = '32MB'
        set random_page_cost = 1.1
        set enable_hashjoin = on
        set jit = off
        as %L $f$, format($body$
        declare
            v_awards  constant boolean := exists (select from passbell.awards);
        begin
            if p_before is null then
                return;
            elsif passbell.is_own_view('recipients') then
                return query select r.pass_id from passbell.recipients r where r.program_id = p_program and r.last_activity < p_before;
                return;
            end if;
            %s
            return query %s;
        end
        $body$, case when v_condition is not null then 'perform set_config(''enable_hashjoin'', ''off'', true);     -- until the end of this function' end, v_body));
    comment on function passbell.asleep(uuid, timestamptz) is 'The passes of a program whose last activity is older; made by migrate from the columns that are there.';
end
$fn$;
