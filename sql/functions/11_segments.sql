-- The audiences that every installation knows. Rows of your own are never touched; a built-in one is brought back to
-- what this file says.
insert into passbell.segments (name, description, predicate, default_parameter, parameter_kind, aliases, builtin)
values
    ('ALL', 'All active members', 'true', null, 'none', '{ALL ACTIVE MEMBERS,EVERYBODY}', true),
    ('VIP', 'More than 1,000 tier points', 'tier_points > $1::numeric', '1000', 'number', '{}', true),
    ('WHALE', 'A balance of more than 500 points', 'points > $1::numeric', '500', 'number', '{}', true),
    ('POINTS', 'A balance of at least so many points', 'points >= $1::numeric', null, 'number', '{}', true),
    ('SLUMBER', 'No activity for more than 30 days',
     -- `is true` keeps it a set that is asked, not a join: the planner cannot estimate how many there are.
     '(r.pass_id in (select passbell.asleep($2, passbell.now() - make_interval(days => $1::integer)))) is true', '30', 'days', '{DORMANT}', true),
    ('LOCAL', 'By zip code; an entry ending in * is a prefix',
     'upper(btrim(zip)) = any (passbell.list_words($1))
         or passbell.list_prefixes($1) <> ''{}'' and exists (
                select from unnest(passbell.prefix_lengths($1)) as n where left(upper(btrim(zip)), n) = any (passbell.list_prefixes($1)))', null, 'list', '{ZIP,GEO}', true),
    ('CITY', 'By city; an entry ending in * is a prefix',
     'upper(btrim(city)) = any (passbell.list_words($1))
         or passbell.list_prefixes($1) <> ''{}'' and exists (
                select from unnest(passbell.prefix_lengths($1)) as n where left(upper(btrim(city)), n) = any (passbell.list_prefixes($1)))', null, 'list', '{}', true),
    ('TIER', 'By tier, 1 (bronze) to 4 (platinum), from the thresholds of the program',
     'case $1::integer
           when 1 then coalesce(tier_points, 0) <= (select g.tier_bronze_max from passbell.programs g where g.program_id = $2)
           when 2 then tier_points > (select g.tier_bronze_max from passbell.programs g where g.program_id = $2)
                   and tier_points <= (select g.tier_silver_max from passbell.programs g where g.program_id = $2)
           when 3 then tier_points > (select g.tier_silver_max from passbell.programs g where g.program_id = $2)
                   and tier_points <= (select g.tier_gold_max from passbell.programs g where g.program_id = $2)
           when 4 then tier_points > (select g.tier_gold_max from passbell.programs g where g.program_id = $2)
       end', null, 'tier', '{}', true),
    ('UNREDEEMED', 'Coupons not redeemed yet', 'protocol = ''COUPON'' and redeemed_at is null', null, 'none', '{}', true),
    ('EXPIRING', 'Coupons not redeemed that expire within 7 days',
     'protocol = ''COUPON'' and redeemed_at is null and coupon_expires_on between
        ((select passbell.now()) at time zone (select passbell.zone(g.timezone) from passbell.programs g where g.program_id = $2))::date
        and ((select passbell.now()) at time zone (select passbell.zone(g.timezone) from passbell.programs g where g.program_id = $2))::date + $1::integer',
     '7', 'days', '{}', true),
    ('CHECKED_IN', 'Event tickets that were checked in', 'protocol = ''EVENT_TICKET'' and checked_in_at is not null', null, 'none', '{CHECKED IN}', true),
    ('NOT_CHECKED_IN', 'Event tickets not checked in yet', 'protocol = ''EVENT_TICKET'' and checked_in_at is null', null, 'none', '{NOT CHECKED IN}', true),
    ('IDS', 'These members, by external id, else by pass id',
     'lower(btrim(external_id)) = any (passbell.id_list($1)) or pass_id = any (passbell.pass_id_list($1))', null, 'list', '{}', true),
    ('CSV', 'The members listed in the file at csv_upload_url',
     'false /* lists are matched by passbell.match_list; no other caller may take CSV for all members */', null, 'none', '{}', true)
on conflict (name) do update
   set description = excluded.description, predicate = excluded.predicate, default_parameter = excluded.default_parameter,
       parameter_kind = excluded.parameter_kind, aliases = excluded.aliases, builtin = true
 where (segments.description, segments.predicate, segments.default_parameter, segments.parameter_kind, segments.aliases, segments.builtin)
       is distinct from
       (excluded.description, excluded.predicate, excluded.default_parameter, excluded.parameter_kind, excluded.aliases, true);
