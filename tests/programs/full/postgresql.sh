#!/usr/bin/env bash
# PostgreSQL: initdb, a server, pgbench with several clients, queries with known answers, a dump, a clean shutdown. As
# root it runs as nobody, because PostgreSQL refuses root.
. "$(dirname "$0")/../common.sh"
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -x "$bin/initdb" ] && [ -x "$bin/pgbench" ] || skip "PostgreSQL is not installed"

as_user=()
if [ "$(id -u)" = 0 ]; then
  need setpriv
  as_user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  # The library itself may lie where that user cannot go.
  cp -L "$library" "$room/$(basename "$library")"
  library=$room/$(basename "$library")
  chmod 755 "$room"
fi

cat >"$room/script.sql" <<'SCRIPT'
create table t as select i, md5(i::text) as m, i % 97 as g from generate_series(1, 200000) i;
create index on t(m);
analyze t;
select g, count(*), max(m) from t group by g order by g limit 5;
select count(*) from t a join t b using (g) where a.i < 500;
set work_mem = '64kB';
select md5(string_agg(m, '' order by m desc)) from t;
select sum(length(xmlelement(name x, m)::text)) from t where g < 3;
select jsonb_object_agg(i, m)->>'77' from t where i < 5000;
with recursive r(n) as (select 1 union all select n + 1 from r where n < 50000) select sum(n) from r;
SCRIPT
psql_here() { "${as_user[@]}" "$bin/psql" -h "$PWD" -p 5432 -d postgres -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
use_postgresql() {
  chmod 777 . && cd . || return 1
  "${as_user[@]}" "$bin/initdb" -D data -A trust -U postgres --no-sync >initdb.log 2>&1 || { cat initdb.log >&2; return 1; }
  export PGUSER=postgres HOME=$PWD
  "${as_user[@]}" "$bin/postgres" -D data -k "$PWD" -c listen_addresses= -c fsync=off -c port=5432 >server.log 2>&1 &
  local server=$!
  trap 'kill -INT $server 2>/dev/null; wait $server' EXIT
  wait_for psql_here -c 'select 1' || { cat server.log >&2; return 1; }
  psql_here <"$room/script.sql" || return 1
  "${as_user[@]}" "$bin/pgbench" -h "$PWD" -i -q -s 2 postgres >/dev/null 2>&1 || return 1
  "${as_user[@]}" "$bin/pgbench" -h "$PWD" -n -c 6 -j 2 -t 300 --random-seed=1 postgres 2>/dev/null |
    grep -E 'number of (transactions actually|failed)'
  psql_here -c 'select count(*) from pgbench_history'
  psql_here -c 'select sum(abalance) = (select sum(bbalance) from pgbench_branches) from pgbench_accounts'
  "${as_user[@]}" "$bin/pg_dump" -h "$PWD" -t t postgres | grep -v '^\\\(un\)\?restrict' | sha256sum
  kill -INT "$server"
  wait "$server"
  echo "server ended with $?"
  trap - EXIT
  grep -E 'PANIC|FATAL|crash|signal' server.log | grep -v 'starting up'
  return 0
}
compare "PostgreSQL" use_postgresql
