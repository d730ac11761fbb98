#!/usr/bin/env bash
# What reads the kernel's files reads weir's: their formats compared with the machine's own files, their numbers as
# procps (vmstat, free, slabtop), numactl (numastat) and sysstat (sar) understand them, and the layouts of vmstat and sar.
# A part whose program is not installed is named and left out.
# Usage: test_formats.sh WEIR LIBRARY HOLDER
weir=$1
library=$(dirname "$2")/libweir-malloc.so
holder=$3
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/processes.sh"
export LC_ALL=C
status=0 output= errors=

start limited "$weir" run --limit 24M --swap "$room" -- "$holder" 64
limited=$pid
start free env LD_PRELOAD="$library" "$holder" 40
free=$pid
left_out=

# -- formats
if command -v python3 >/dev/null; then
  for each in "$limited" "$free"; do
    invoke python3 "$(dirname "$0")/formats.py" "$weir" "$each"
    holds "formats of $each" [ "$status" = 0 ]
    sed 's/^/  /' "$room/output"
  done
else
  left_out="$left_out python3"
fi

# -- numbers, as other programs read them. They see the files in place of the kernel's, in a mount namespace.
field() { awk -v line="$2" -v column="$3" 'NR == line {print $column}' "$room/$1"; }
number_before() { sed -nE "s/^ *([0-9]+) $2\$/\1/p" "$room/$1"; }
row() { awk -v name="$2" '$1 == name {print $2; exit}' "$room/$1"; }
# What FILE, PROGRAM and its arguments print when the kernel's FILE is weir's of the process.
reads() { # PATH-OF-KERNEL FILE COMMAND...
  local place=$1 file=$2
  shift 2
  unshare -m sh -c 'cd "$1" && mount --bind "$2" "$3" && shift 3 && exec "$@"' sh "$room" "$file" "$place" "$@" >"$room/said" 2>"$room/errors"
  status=$?
  output=$(cat "$room/said")
  errors=$(cat "$room/errors")
}

read_by_procps() {
  "$weir" vmstat --counters "$limited" >"$room/vmstat"
  reads /proc/vmstat vmstat vmstat -s
  holds "vmstat reads the counters" [ "$status" = 0 ]
  holds "pages swapped in" [ "$(number_before said 'pages swapped in')" = "$(row vmstat pswpin)" ]
  holds "pages swapped out" [ "$(number_before said 'pages swapped out')" = "$(row vmstat pswpout)" ]
  holds "KiB paged in" [ "$(number_before said 'K paged in')" = "$(row vmstat pgpgin)" ]
  holds "KiB paged out" [ "$(number_before said 'K paged out')" = "$(row vmstat pgpgout)" ]
  "$weir" meminfo "$limited" >"$room/meminfo"
  reads /proc/meminfo meminfo free -k
  holds "free: total" [ "$(field said 2 2)" = "$(row meminfo MemTotal:)" ]
  holds "free: used and free are the total" [ $(($(field said 2 3) + $(field said 2 4))) = "$(field said 2 2)" ]
  holds "free: available" [ "$(field said 2 7)" = "$(row meminfo MemAvailable:)" ]
  holds "free: swap" [ "$(field said 3 2) $(field said 3 4)" = "$(row meminfo SwapTotal:) $(row meminfo SwapFree:)" ]
  "$weir" slabinfo "$free" >"$room/slabinfo"
  reads /proc/slabinfo slabinfo slabtop -o
  holds "slabtop adds up the objects" grep -qF -- "$(awk 'NR > 2 {a += $2; n += $3; s += $15}
    END {printf "Active / Total Objects (%% used)    : %d / %d (", a, n}' "$room/slabinfo")" "$room/said"
  holds "slabtop knows every class" [ "$(grep -c ' malloc-[0-9]* *$' "$room/said")" = "$(($(wc -l <"$room/slabinfo") - 2))" ]
}

read_by_numastat() {
  local node=/sys/devices/system/node/node0/numastat
  "$weir" numastat "$free" >"$room/numastat"
  reads "$node" numastat numastat
  holds "numastat reads the counters" [ "$status" = 0 ]
  for name in numa_hit numa_miss numa_foreign local_node other_node; do
    holds "numastat: $name" [ "$(row said "$name")" = "$(row numastat "$name")" ]
  done
}

read_by_swapon() {
  "$weir" swaps "$limited" >"$room/swaps"
  reads /proc/swaps swaps swapon --show=NAME,TYPE,SIZE,USED --bytes --noheadings --raw
  holds "swapon reads the swap file" [ "$output" = "$(awk 'NR == 2 {print $1, $2, $3 * 1024, $4 * 1024}' "$room/swaps")" ]
}

# sar opens /proc/vmstat once a sample. In its place is a pipe, which tells when that is, and after that another file.
read_by_sar() {
  "$weir" vmstat --counters "$limited" >"$room/before"
  until [ "$("$weir" vmstat --counters "$limited" | awk '$1 == "pgsteal_kswapd" {print $2}')" -gt \
    $(($(row before pgsteal_kswapd) + 100)) ]; do sleep 0.05; done
  "$weir" vmstat --counters "$limited" >"$room/after"
  mkfifo "$room/pipe"
  reads /proc/vmstat pipe sh -c '(cat before >pipe && mount --bind after /proc/vmstat) & timeout 20 sar -B 1 1'
  cp "$room/said" "$room/sar"
  # (Its second is a little more or less than one.)
  holds "sar reads the counters" awk -v before="$room/before" -v after="$room/after" '
    function delta(name) { return b[name] - a[name] }
    function near(name, x, y) {
      if (x > y * 1.2 + 1 || x < y * 0.8 - 1) { print name, x, y; wrong = 1 }
    }
    BEGIN {
      while ((getline line <before) > 0) { split(line, w, " "); a[w[1]] = w[2] }
      while ((getline line <after) > 0) { split(line, w, " "); b[w[1]] = w[2] }
    }
    NR == 4 {
      scanned = delta("pgscan_kswapd") + delta("pgscan_direct")
      stolen = delta("pgsteal_kswapd") + delta("pgsteal_direct")
      near("pgpgin", $2, delta("pgpgin")); near("pgpgout", $3, delta("pgpgout")); near("fault", $4, delta("pgfault"))
      near("majflt", $5, delta("pgmajfault")); near("pgfree", $6, delta("pgfree"))
      near("pgscank", $7, delta("pgscan_kswapd")); near("pgscand", $8, delta("pgscan_direct"))
      near("pgsteal", $9, stolen)
      vmeff = stolen * 100 / scanned
      if ($10 < vmeff - 0.1 || $10 > vmeff + 0.1) { print "%vmeff", $10, vmeff; wrong = 1 }
      read = 1
    }
    END { exit read && !wrong ? 0 : 1 }' "$room/sar"
}

if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
  mode=$("$weir" ps | awk -v p="$limited" '$1 == p {print $2}')
  for program in vmstat slabtop numastat swapon sar; do command -v $program >/dev/null || left_out="$left_out $program"; done
  command -v slabtop >/dev/null && command -v vmstat >/dev/null && read_by_procps
  # With several nodes weir prints numastat's own table, which is no file of a node.
  command -v numastat >/dev/null && [ ! -d /sys/devices/system/node/node1 ] && read_by_numastat
  command -v swapon >/dev/null && [ "$mode" = swap ] && read_by_swapon
  command -v sar >/dev/null && [ "$mode" = swap ] && read_by_sar
else
  left_out="$left_out (programs in place of which files are mounted: no root)"
fi

# -- layouts: the same columns end at the same places while numbers fit
layout() { sed -nE "$1" "$2" | sed -E 's/[0-9]{2}:[0-9]{2}:[0-9]{2}/hh:mm:ss/'; }
"$weir" vmstat "$limited" 0.1 2 >"$room/ours"
if command -v vmstat >/dev/null; then
  vmstat -n 1 1 >"$room/theirs"
  holds "vmstat's headings" [ "$(head -n 2 "$room/ours" | sed 's/ gu$//')" = "$(head -n 2 "$room/theirs" | sed -E 's/-+cpu-+/------cpu-----/; s/ gu$//')" ]
fi
if command -v sar >/dev/null; then
  "$weir" sar -B "$limited" 0.1 1 >"$room/ours"
  sar -B 1 1 >"$room/theirs"
  for line in 1 2 3; do
    holds "sar's line $line" [ "$(layout "${line}p" "$room/ours")" = "$(layout "${line}p" "$room/theirs")" ]
  done
  # Numbers of nine columns, each after a blank.
  row='^(hh:mm:ss|Average:) {3}( *[0-9]+\.[0-9]{2})+$'
  for file in ours theirs; do
    holds "rows of sar ($file)" [ "$(layout '4,5p' "$room/$file" | awk 'length($0) == 101 || /[0-9]{7}\./' | grep -cE "$row")" = 2 ]
  done
fi

[ -z "$left_out" ] || echo "left out:$left_out"
finish
