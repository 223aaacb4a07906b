# Puts a backup in the place of the database: BACKUP names it, else it is the newest. What was there before
# stays, as the database marquee_before_TIME.
set -eu
cd /backups
name=${BACKUP:-$(ls -1 marquee-*.dump | tail -n 1)}
before=marquee_before_$(date -u +%Y%m%d%H%M%S)
sql() { psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname=postgres "$@"; }

[ -s "$name" ] || { echo "restore: there is no backup $name in $PWD" >&2; exit 1; }
echo "restore: $name, $(stat -c %s "$name") bytes"
# Beside the one that is used: one that fails half-way changes nothing.
sql --command='DROP DATABASE IF EXISTS marquee_restored' --command='CREATE DATABASE marquee_restored'
pg_restore --exit-on-error --dbname=marquee_restored "$name"
# What roles have by default there (their search_path) is of the database, and in no dump.
sql --file=- <<'SQL'
SELECT format('ALTER ROLE %I IN DATABASE marquee_restored SET %I = %s', rolname, split_part(setting, '=', 1),
              substr(setting, strpos(setting, '=') + 1))
FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase JOIN pg_roles ON pg_roles.oid = setrole,
     unnest(setconfig) AS setting
WHERE datname = 'marquee'
\gexec
SQL
sql --command='REVOKE ALL ON DATABASE marquee_restored FROM PUBLIC'
sql --file=- <<'SQL'
SELECT format('GRANT CONNECT ON DATABASE marquee_restored TO %I', rolname)
FROM pg_roles WHERE rolcanlogin AND has_database_privilege(rolname, 'marquee', 'CONNECT') AND NOT rolsuper
\gexec
SQL
# Nobody may be in a database while it is renamed. From here to the end it is milliseconds.
sql --command='ALTER DATABASE marquee ALLOW_CONNECTIONS false' \
    --command="SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = 'marquee'" \
    --command="ALTER DATABASE marquee RENAME TO $before" \
    --command='ALTER DATABASE marquee_restored RENAME TO marquee' \
    --command="ALTER DATABASE $before ALLOW_CONNECTIONS true" >/dev/null
echo "restore: done; what was there before is the database $before"
