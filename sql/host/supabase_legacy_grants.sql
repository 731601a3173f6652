-- Projects created before 30 October 2026 give the API roles everything that is created in public from then on,
-- functions included: there, revoking EXECUTE from PUBLIC alone leaves it with anon. Load it after supabase.sql and
-- before passbell's own migrations.
alter default privileges in schema public grant all on tables    to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
