#!/usr/bin/env bash
# A pool: prefork nginx and PostgreSQL, who fork a process for each worker and each connection, share half of what they
# hold together without a limit. Demanded: the same output as without weir; all members together within the pool's
# limit (5% or 8 MiB above it at most), as they tell it and as the kernel does; pages that were swapped out; every
# process a member while it lives, and none left in the end.
. "$(dirname "$0")/../common.sh"
. "$(dirname "$0")/../../programs/nginx_site.bash"
export PATH=$PATH:/usr/sbin
need nginx curl setpriv
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -x "$bin/initdb" ] && [ -x "$bin/psql" ] || skip "PostgreSQL is not installed"
# A pool is of one user, and PostgreSQL refuses root.
as_user=() as_server=()
if [ "$(id -u)" = 0 ]; then
  as_user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  as_server=("${as_user[@]}" --inh-caps +sys_ptrace --ambient-caps +sys_ptrace)
  cp -L "$library" "$weir" "$room/"
  export WEIR_LIBRARY=$room/$(basename "$library") weir=$room/$(basename "$weir")
fi
pool=test-pressure-$$
trap 'rm -f "/dev/shm/weir-pool.65534.$pool" "/dev/shm/weir-pool.$(id -u).$pool"' EXIT

cat >"$room/script.sql" <<'SCRIPT'
set work_mem = '1GB';
set max_parallel_workers_per_gather = 0;
select count(*), md5(string_agg(m, '' order by m desc)) from (select md5(i::text) as m from generate_series(1, 400000) i) s;
select count(*), sum(c), max(k) from (select md5((i % 200000)::text) as k, count(*) as c from generate_series(1, 400000) i
  group by 1) s;
select length(jsonb_object_agg(i, md5(i::text))::text) from generate_series(1, 100000) i;
SCRIPT
psql_here() { "${as_user[@]}" "$bin/psql" -h "$PWD" -p 5432 -d postgres -U postgres -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
# member PROGRAM ARGS...: becomes the program, in the pool with $limit; plainly when that is empty.
member() {
  [ -n "$limit" ] || exec "${as_server[@]}" "$@"
  exec "${as_server[@]}" "$weir" run --pool "$pool" --limit "$limit" --swap "$room/swap" -- "$@"
}

fetch_all() {
  local path
  for path in "" again/; do
    curl -s --compressed --parallel --parallel-max 20 "http://127.0.0.1:$port/$path[1-40].txt" -o 'got#1' || return 1
    cat $(seq -f 'got%g' 40) | sha256sum
  done
}

# The most that all members held and had swapped out, looked at every 0.2 s until there is a file `done`; one line at
# the end: used_mib swapped_mib members kernel_mib.
watch_pool() {
  local used=0 swapped=0 members=0 kernel=0 text now
  until [ -e done ]; do
    text=$("${as_user[@]}" "$weir" pool show "$pool" 2>/dev/null)
    read -r now_used now_swapped < <(awk '$1 == "all" {print int($3 + 0.999), int($4)}' <<<"$text")
    now=$(awk '$1 ~ /^[0-9]+$/' <<<"$text" | wc -l)
    [ "${now_used:-0}" -le "$used" ] || used=$now_used
    [ "${now_swapped:-0}" -le "$swapped" ] || swapped=$now_swapped
    [ "$now" -le "$members" ] || members=$now
    now=$(awk '$1 ~ /^[0-9]+$/ {print "/proc/" $1 "/smaps"}' <<<"$text" | xargs -r cat 2>/dev/null |
      awk '/^[0-9a-f]+-/ {split($1, a, "-"); heap = length(a[1]) == 12 && a[1] >= "200000000000" && a[1] < "540000000000"}
           /^Pss:/ && heap {kb += $2} END {print int(kb / 1024)}')
    [ "$now" -le "$kernel" ] || kernel=$now
    sleep 0.2
  done
  echo "$used $swapped $members $kernel"
}

use_both() {
  chmod 777 . && mkdir -m 777 pg web || return 1
  port=$(free_port) || return 1
  (cd web && write_nginx_site 4 40 && chmod -R a+rwX .)
  cd pg || return 1
  "${as_user[@]}" "$bin/initdb" -D data -A trust -U postgres --no-sync >initdb.log 2>&1 || { cat initdb.log >&2; return 1; }
  (member "$bin/postgres" -D data -k "$PWD" -c listen_addresses= -c fsync=off -c port=5432 -c jit=off -c shared_buffers=16MB) &
  postgres=$!
  (cd ../web && member nginx -p "$PWD" -c "$PWD/nginx.conf" -e "$PWD/logs/error") &
  nginx=$!
  trap 'touch done; kill -INT $postgres 2>/dev/null; kill $nginx 2>/dev/null; wait' EXIT
  wait_for psql_here -c 'select 1' || return 1
  wait_for bash -c ": </dev/tcp/127.0.0.1/$port" || { cat ../web/logs/error >&2; return 1; }
  if [ -n "$limit" ]; then watch_pool >"$room/watched" & watcher=$!; fi
  psql_here <"$room/script.sql" >first & local first=$!
  psql_here <"$room/script.sql" >second & local second=$!
  (cd ../web && for _ in 1 2 3; do fetch_all || exit 1; done) || return 1
  wait "$first" && wait "$second" || return 1
  cat first second
  (cd ../web && fetch_all) || return 1
  touch done
  [ -z "$limit" ] || wait "$watcher"
  kill -INT "$postgres" && kill -QUIT "$nginx"
  wait "$postgres"; echo "postgres ended with $?"
  wait "$nginx"; echo "nginx ended with $?"
  trap - EXIT
}

# in_mode NAME LIMIT: its output is NAME.out.
in_mode() {
  limit=$2
  mkdir -m 777 "$room/$1"
  (cd "$room/$1" && use_both) >"$room/$1.out" 2>"$room/$1.err"
  echo "exit status $?" >>"$room/$1.out"
  rm -rf "${room:?}/$1"
  if grep -a '^weir: ' "$room/$1.err" >&2; then fail "weir complained, $1"; fi
}

in_mode plain ""
grep -qx 'exit status 0' "$room/plain.out" || { tail -n 5 "$room/plain.err" >&2; fail "they fail also without weir"; }
in_mode pooled 4G
cmp "$room/plain.out" "$room/pooled.out" >&2 || { tail -n 5 "$room/pooled.err" >&2; fail "their output differs in a pool"; }
read -r peak swapped members kernel <"$room/watched"
[ "${peak:-0}" -ge 24 ] || fail "they hold ${peak:-0} MiB: too little to be a test of limits"
[ "$members" -ge 8 ] || fail "$members processes were members, less than a master each, four workers and two backends"
half=$((peak / 2))
in_mode half "${half}M"
cmp "$room/plain.out" "$room/half.out" >&2 || { tail -n 5 "$room/half.err" >&2; fail "their output differs at half"; }
read -r used swapped members kernel <"$room/watched"
most=$((half * 21 / 20 > half + 8 ? half * 21 / 20 : half + 8))
[ "$used" -le "$most" ] || fail "they held $used MiB with a limit of $half"
[ "$kernel" -le "$most" ] || fail "the kernel says that they held $kernel MiB with a limit of $half"
[ "$swapped" -gt 0 ] || fail "nothing was swapped out at half of $peak MiB"
left=$("${as_user[@]}" "$weir" pool ls | awk -v n="$pool" '$1 == n {print $2}')
[ "${left:-0}" = 0 ] || fail "$left members are left"
echo "pool of nginx and PostgreSQL: same output; peak $peak MiB, limit $half, most held $used by their own count and" \
  "$kernel by the kernel's, $swapped swapped out, $members members at most"
