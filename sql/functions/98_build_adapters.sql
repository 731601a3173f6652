-- Builds the adapters from the host's columns as they are now. Before the grants: views and functions that are made
-- after them would be nobody's or everybody's until the next migrate.
select passbell.build_adapters();
select passbell.backfill_awards();
select passbell.build_occasion_adapters();
select passbell.build_people_views();
