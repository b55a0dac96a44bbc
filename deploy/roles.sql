-- What the API and the workers may do in PostgreSQL. To be run by psql as the owner of the tables, who migrates, after each
-- migration; again and again does no harm. The owner must be allowed to make roles (CREATEROLE) the first time.
--   APP_PASSWORD=… psql --file=deploy/roles.sql "$DATABASE_URL_OF_THE_OWNER"
\set ON_ERROR_STOP on
\getenv password APP_PASSWORD
SELECT length(:'password') >= 16 AS is_long \gset
\if :is_long
\else
    \warn 'APP_PASSWORD needs 16 characters at least'
    SELECT 1 / 0;
\endif

BEGIN;

SELECT 'CREATE ROLE lenet_app' WHERE to_regrole('lenet_app') IS NULL \gexec
SELECT format('ALTER ROLE lenet_app LOGIN NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD %L', :'password') \gexec

-- Nobody else comes in, and nobody at all makes anything in the schema but its owner.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO lenet_app', current_database()) \gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC, lenet_app;
GRANT USAGE ON SCHEMA public TO lenet_app;

-- Rows may be read and written. Tables may be neither changed, emptied at a stroke, nor referred to by others.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, lenet_app;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, lenet_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lenet_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO lenet_app;

-- The version of the schema is the owner's to write; what was done stays written down.
REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM lenet_app;
SELECT 'REVOKE UPDATE, DELETE ON audit_events FROM lenet_app'
WHERE to_regclass('public.audit_events') IS NOT NULL \gexec

COMMIT;
