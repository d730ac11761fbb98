#!/usr/bin/env bash
# PostgreSQL: sorts, hash joins and aggregates in the memory of one backend (work_mem far above the limit), several
# backends at once, pgbench, a clean shutdown. As root it runs as nobody, because PostgreSQL refuses root.
. "$(dirname "$0")/../common.sh"
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -x "$bin/initdb" ] && [ -x "$bin/psql" ] && [ -x "$bin/pgbench" ] || skip "PostgreSQL is not installed"

as_user=() as_server=()
if [ "$(id -u)" = 0 ]; then
  need setpriv
  as_user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  # What a service manager would give it: without it that user may have no userfaultfd, and nothing could be swapped.
  as_server=("${as_user[@]}" --inh-caps +sys_ptrace --ambient-caps +sys_ptrace)
  # The library itself may lie where that user cannot go.
  cp -L "$library" "$room/$(basename "$library")"
  export WEIR_LIBRARY=$room/$(basename "$library")
fi

cat >"$room/script.sql" <<'SCRIPT'
set work_mem = '1GB';
set max_parallel_workers_per_gather = 0;
select count(*), md5(string_agg(m, '' order by m desc)) from (select md5(i::text) as m from generate_series(1, 600000) i) s;
select count(*), max(a.m) from (select i, md5(i::text) as m from generate_series(1, 400000) i) a
  join (select i * 2 as i, md5((i * 3)::text) as m from generate_series(1, 400000) i) b using (i);
select count(*), sum(c), max(k) from (select md5((i % 300000)::text) as k, count(*) as c from generate_series(1, 600000) i
  group by 1) s;
select length(jsonb_object_agg(i, md5(i::text))::text) from generate_series(1, 150000) i;
SCRIPT
psql_here() { "${as_user[@]}" "$bin/psql" -h "$PWD" -p 5432 -d postgres -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
use_postgresql() {
  chmod 777 . && cd . || return 1
  "${as_user[@]}" "$bin/initdb" -D data -A trust -U postgres --no-sync >initdb.log 2>&1 || { cat initdb.log >&2; return 1; }
  export PGUSER=postgres HOME=$PWD
  "$limited" "${as_server[@]}" "$bin/postgres" -D data -k "$PWD" -c listen_addresses= -c fsync=off -c port=5432 -c jit=off \
    -c shared_buffers=16MB 2>>"$PRESSURE_ERR" &
  server=$!  # not local: the trap runs when the function is left
  trap 'kill -INT $server 2>/dev/null; wait $server' EXIT
  wait_for psql_here -c 'select 1' || return 1
  psql_here <"$room/script.sql" || return 1
  psql_here <"$room/script.sql" >first & local first=$!
  psql_here <"$room/script.sql" >second || return 1
  wait "$first" || return 1
  cat first second
  "${as_user[@]}" "$bin/pgbench" -h "$PWD" -i -q -s 2 postgres >/dev/null 2>&1 || return 1
  "${as_user[@]}" "$bin/pgbench" -h "$PWD" -n -c 6 -j 2 -t 300 --random-seed=1 postgres 2>/dev/null |
    grep -E 'number of (transactions actually|failed)'
  psql_here -c 'select sum(abalance) = (select sum(bbalance) from pgbench_branches) from pgbench_accounts'
  kill -INT "$server"
  wait "$server"
  echo "server ended with $?"
  trap - EXIT
  grep -aE 'PANIC|FATAL|crash|signal' "$PRESSURE_ERR" | grep -vE 'starting up|terminating connection due to administrator'
  return 0
}
compare_limited "PostgreSQL" use_postgresql
