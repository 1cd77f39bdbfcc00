#!/bin/bash
# What docker/compose.yaml relies on in the official image: an empty data folder becomes a database of POSTGRES_USER, _PASSWORD, _DB and
# _INITDB_ARGS, and of the scripts in /docker-entrypoint-initdb.d, while a server listens on the socket only.
set -euo pipefail
[[ $1 != -* ]] || set -- postgres "$@"
[ "$1" = postgres ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
  chown -R postgres "$PGDATA"
  chmod 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
[ ! -s "$PGDATA/PG_VERSION" ] || exec "$@"

user=${POSTGRES_USER:-postgres} method=${POSTGRES_HOST_AUTH_METHOD:-md5}
database=${POSTGRES_DB:-$user}
if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
  echo "stand-in: POSTGRES_PASSWORD is missing" >&2
  exit 1
fi
read -ra options <<<"${POSTGRES_INITDB_ARGS:-}"
initdb --username="$user" --pwfile=<(echo "${POSTGRES_PASSWORD:-}") "${options[@]}"
echo "host all all all $method" >>"$PGDATA/pg_hba.conf"

export PGUSER=$user PGPASSWORD=${POSTGRES_PASSWORD:-} PGDATABASE=$database
pg_ctl start --wait --options "$(printf '%q ' "${@:2}" -c listen_addresses=)"
[ "$database" = postgres ] || echo 'CREATE DATABASE :"name"' | psql --no-psqlrc -v ON_ERROR_STOP=1 -v name="$database" postgres
for script in /docker-entrypoint-initdb.d/*; do
  case $script in
    *.sh) bash "$script" ;;
    *.sql) psql --no-psqlrc -v ON_ERROR_STOP=1 -f "$script" ;;
  esac
done
pg_ctl stop --wait --mode fast
unset PGUSER PGPASSWORD PGDATABASE
exec "$@"
