#!/usr/bin/env bash
# A program that maps its file, within a limit of the whole process that is less than half of the file: sqlite3 with
# mmap_size reads a table of 100 MiB three times and sorts a part of it. Demands: the same output; nothing refused, and not a
# word from weir but its summary, which says that pages of the file were dropped.
. "$(dirname "$0")/../common.sh"
need sqlite3
title="sqlite3 with mmap_size"
# Not in the room, which may be memory.
data=$(mktemp /var/tmp/weir-programs-XXXXXX) || exit 1
trap 'rm -f "$data"; clean_up' EXIT
[ "$(stat -f -c %T "$data")" != tmpfs ] || skip "/var/tmp is memory"

sqlite3 "$data" "create table t(a integer primary key, b text);
  with recursive n(x) as (select 1 union all select x + 1 from n where x < 450000)
  insert into t select x, hex(x * 2654435761 % 4294967296) || hex(randomblob(90)) from n;" || fail "$title: no table"
[ "$(stat -c %s "$data")" -gt $((90 << 20)) ] || fail "$title: the table is small"
query="pragma mmap_size = 1073741824; select count(*), sum(length(b)) from t; select sum(a) from t where b like '%ABCD%';
  select count(distinct substr(b, 1, 3)) from t; select max(b) from (select b from t order by substr(b, 9) limit 50000);"
sqlite3 "$data" "$query" >"$room/plain.out" || fail "$title fails also without weir"
"$weir" run --rss-limit 40M --summary -- sqlite3 "$data" "$query" >"$room/limited.out" 2>"$room/limited.err" ||
  { cat "$room/limited.err" >&2; fail "$title fails within its limit"; }
same_as_plain limited
no_complaints limited
dropped=$(summed 'Mapped files dropped (MiB)')
awk -v mib="$dropped" 'BEGIN { exit !(mib > 60) }' || fail "$title: only $dropped MiB of its file were dropped"
echo "$title: same output; $dropped MiB of its file dropped, $(summed 'Mapped files that came back (MiB)') came back"
