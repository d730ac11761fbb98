#!/usr/bin/env bash
# The command `weir run`: every option as the program gets it, every mistake as the user sees it, with nothing started.
# Usage: test_run.sh WEIR LIBRARY
weir=$1
library=$(dirname "$2")/libweir-malloc.so
. "$(dirname "$0")/common.sh"

conf='echo "$WEIR_CONF"'
prints_conf() { local wanted=$1; shift; prints "$wanted" "$weir" run "$@" -- sh -c "$conf"; }

size='expected a size 1M..16T (bytes, or with K, M, G, T), 0 (none) or cgroup'
place='expected the path of a directory, file or block device, at most 511 bytes, or none'

# What the program gets.
prints_conf limit=512M --limit 512M
prints_conf limit=512M --limit=512M
prints_conf limit=cgroup
prints_conf limit=0 --limit 0
prints_conf limit=0 --set limit=0
prints_conf rss_limit=1.5G --rss-limit 1.5G
prints_conf limit=1G,rss_limit=2G --limit 1G --rss-limit 2G
prints_conf limit=2M --limit 1M --limit 2M
prints_conf limit=1G,zswap_max=256M,zswap=1 --limit 1G --zswap 256M
prints_conf limit=1G,zswap=on --limit 1G --zswap on
# The number is the program's, which has taken the command's place.
prints "limit=1G,summary=1,summary_pid is mine" "$weir" run --limit 1G --summary -- \
  sh -c '[ "${WEIR_CONF##*=}" = $$ ] && echo "${WEIR_CONF%=*} is mine"'
prints_conf limit=1G,tcache=0,limit=2G --limit 1G --set tcache=0 --set limit=2G
prints_conf limit=1G,swappiness=100 --limit 1G --set ' swappiness =100'
prints_conf "limit=1G,swap=$room,swap_size=64M" --limit 1G --swap "$room" --swap-size 64M
prints_conf limit=1G,swap=none --limit 1G --swap none
prints_conf 'limit=1G,swap_fault="write:ENOSPC:after=3,read:EIO"' --limit 1G --set swap_fault=write:ENOSPC:after=3,read:EIO

# Paths: relative ones do not depend on where the program goes; a comma or blanks need quotes in WEIR_CONF.
mkdir -p "$room/a, b" "$room/it\"s" "$room/c,d\"e"
cd "$room" || exit 1
prints_conf "limit=1G,swap=$room/file" --limit 1G --swap file
prints_conf "limit=1G,swap=$room/file" --limit 1G --set swap=./file
prints_conf "limit=1G,swap=\"$room/a, b\"" --limit 1G --swap 'a, b'
prints_conf "limit=1G,swap=\"$room/a, b/x \"" --limit 1G --swap 'a, b/x '
prints_conf "limit=1G,swap=$room/it\"s" --limit 1G --swap 'it"s'
refuses 64 "weir: --swap $room/c,d\"e: a value with a comma, or with blanks or a quote at its ends, may have no double quote in it" \
  "$weir" run --swap "$room/c,d\"e" -- touch started
[ -z "$(find "$room" -name '.weir*' -o -name file -o -name x)" ] || { invoke find "$room"; complain "a probe left a file"; }

# An inherited WEIR_CONF comes first, so that ours wins.
WEIR_CONF=decay_ms=1s, prints_conf decay_ms=1s,limit=1G --limit 1G
WEIR_CONF=limit=3M prints_conf limit=3M
WEIR_CONF=limit=3M prints_conf limit=3M,limit=4M --limit 4M
WEIR_CONF=' swap="/a, b" ' prints_conf 'swap="/a, b",limit=4M,swap=none' --set swap=none --limit 4M
WEIR_CONF=gaurd=1 refuses 64 "weir: WEIR_CONF: unknown key 'gaurd' (did you mean 'guard'?)" "$weir" run touch started
WEIR_CONF='swap="/a' refuses_with 64 'WEIR_CONF: ' "$weir" run touch started
WEIR_CONF=swap=/no/such/folder/x refuses 64 "weir: WEIR_CONF: no such file or directory; $place" "$weir" run touch started
prints limit=1G,limit=2G "$weir" run --limit 1G -- "$weir" run --limit 2G -- sh -c "$conf"

# LD_PRELOAD.
prints "$library" "$weir" run -- sh -c 'echo "$LD_PRELOAD"'
prints "$library" "$weir" run -- "$weir" run -- sh -c 'echo "$LD_PRELOAD"'
prints "$library:libm.so.6:libdl.so.2" env LD_PRELOAD=" libm.so.6 libdl.so.2:$library" "$weir" run -- printenv LD_PRELOAD
invoke "$weir" run -- grep -c libweir-malloc /proc/self/maps
checks=$((checks + 1))
[ "$status" = 0 ] && [ "$output" -gt 0 ] || complain "the library is not in the program"
cp "$library" "$room/other.so"
prints "$room/other.so" env WEIR_LIBRARY=other.so "$weir" run -- printenv LD_PRELOAD
refuses 125 "weir: WEIR_LIBRARY=/no/such.so: expected the path of libweir-malloc.so" \
  env WEIR_LIBRARY=/no/such.so "$weir" run -- touch started
cp "$library" "$room/a, b/other.so"
refuses_with 125 'cannot be preloaded; set WEIR_LIBRARY to a copy or link elsewhere' \
  env WEIR_LIBRARY="a, b/other.so" "$weir" run -- touch started

# Somewhere else in the file system, reached by a link, as an installation is.
mkdir -p "$room/prefix/bin" "$room/prefix/lib" "$room/bare/bin" "$room/links"
cp "$weir" "$room/prefix/bin/weir"
cp "$weir" "$room/bare/bin/weir"
cp "$library" "$room/prefix/lib/libweir-malloc.so"
ln -s ../prefix/bin/weir "$room/links/weir"
PATH=$room/links:$PATH prints "$room/prefix/lib/libweir-malloc.so" weir run -- printenv LD_PRELOAD
refuses_with 125 'libweir-malloc.so is not in ' "$room/bare/bin/weir" run -- touch started

# Where our options end.
prints '-c --limit' "$weir" run echo -c --limit
prints 'a -- b' "$weir" run echo a -- b
prints 'a -- b' "$weir" run -- echo a -- b
prints '--limit 5' "$weir" run --limit 2M -- echo --limit 5
prints '' "$weir" run -- echo
prints 'a  b;*' "$weir" run -- echo 'a  b;*'
invoke "$weir" run -- sh -c 'exit 37'
checks=$((checks + 1))
[ "$status" = 37 ] || complain "the program's status is ours"
( "$weir" run -- sh -c 'kill -9 $$'; exit $? ) 2>/dev/null  # without the shell's own word about it
status=$?
checks=$((checks + 1))
[ "$status" = 137 ] || complain "the program's signal is ours"

# Mistakes: one line, and the program is not started.
refuses 64 "weir: --limit 12Q: $size" "$weir" run --limit 12Q -- touch started
refuses 64 "weir: --limit 512: $size" "$weir" run --limit 512 -- touch started
refuses 64 "weir: --limit -1: $size" "$weir" run --limit -1 -- touch started
refuses 64 "weir: --limit : $size" "$weir" run --limit '' -- touch started
refuses 64 "weir: --rss-limit 1X: $size" "$weir" run --rss-limit 1X -- touch started
refuses 64 "weir: --swap-size much: expected a size 0..16T (bytes, or with K, M, G, T)" "$weir" run --swap-size much touch started
refuses 64 "weir: --zswap half: expected a size 0..16T (bytes, or with K, M, G, T), on or off" "$weir" run --zswap half touch started
refuses 64 "weir: --set x=1: unknown key 'x'" "$weir" run --set x=1 -- touch started
refuses 64 "weir: --set limti=1G: unknown key 'limti' (did you mean 'limit'?)" "$weir" run --set limti=1G -- touch started
refuses 64 "weir: --set swappiness=201: expected a whole number 0..200" "$weir" run --set swappiness=201 -- touch started
refuses 64 "weir: --set swappiness: expected key=value" "$weir" run --set swappiness -- touch started
refuses 64 "weir: --set =1: expected key=value" "$weir" run --set =1 -- touch started
refuses 64 "weir: --set zswap_compressor=gzip: expected lz4|zstd" "$weir" run --set zswap_compressor=gzip -- touch started
refuses_with 64 "'sometimes': expected " "$weir" run --set swap_fault=write:sometimes -- touch started
refuses 64 "weir: run: unknown option --limti; see weir run --help" "$weir" run --limti 1G -- touch started
refuses 64 "weir: run: PROGRAM is missing; see weir run --help" "$weir" run --limit 1G
refuses 64 "weir: run: PROGRAM is missing; see weir run --help" "$weir" run --
refuses_with 64 'see weir run --help' "$weir" run --limit
refuses 64 "weir: unknown command 'walk'; see weir --help" "$weir" walk
refuses 64 "weir: a command is missing; see weir --help" "$weir"
refuses_with 64 'see weir --help' "$weir" --nonsense
# A size and a program that are both wrong: nothing is looked for before the options are right.
refuses 64 "weir: --limit x: $size" "$weir" run --limit x -- no-such-program

# Swap files.
many=$(printf 'x%.0s' $(seq 600))
refuses 64 "weir: --swap no/such: no such file or directory; $place" "$weir" run --swap no/such -- touch started
refuses 64 "weir: --swap : $place" "$weir" run --swap '' -- touch started
refuses_with 64 '--swap /dev/null: ' "$weir" run --swap /dev/null -- touch started
refuses_with 64 "--swap $room --swap-size 4K: too small" "$weir" run --swap "$room" --swap-size 4K -- touch started
refuses 64 "weir: --swap /${many::192}...: $place" "$weir" run --swap "/$many" -- touch started
seq 100000 >"$room/data"
sum=$(cksum <"$room/data")
refuses_with 64 "--swap data: holds data" "$weir" run --swap data -- touch started
checks=$((checks + 1))
[ "$sum" = "$(cksum <"$room/data")" ] || complain "a file with data was changed"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  chmod 755 "$room"
  mkdir -m 755 "$room/foreign"
  refuses 64 "weir: --swap $room/foreign: permission denied; $place" \
    setpriv --reuid 65534 --regid 65534 --clear-groups "$weir" run --swap "$room/foreign" -- touch started
fi
if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ]; then
  warns '/dev/shm lies in memory (tmpfs)' "$weir" run --swap /dev/shm -- true
fi
warns 'neither compressed memory nor a swap file' "$weir" run --zswap off -- true
prints '' "$weir" run --zswap off --swap "$room" -- true

# Help and version.
prints "weir $("$weir" --version | cut -d' ' -f2)" "$weir" --version
invoke "$weir" --help
checks=$((checks + 1))
[ "$status" = 0 ] && [[ "$output" == *"weir run --limit 512M"* ]] && [ -z "$errors" ] || complain "--help has no example"
invoke "$weir" run --help
checks=$((checks + 1))
for each in --limit --rss-limit --swap --swap-size --zswap --set --summary 'Exit status' 64 125 126 127; do
  [[ "$output" == *"$each"* ]] || complain "run --help says nothing of $each"
done
invoke "$weir" options
checks=$((checks + 1))
for each in limit=0 rss_limit=0 swap=none zswap=1 swappiness=60 abort_conf=0; do
  grep -q "^  $each " "$room/output" || complain "options does not list $each"
done

checks=$((checks + 1))
[ ! -e started ] || complain "a program was started in spite of a mistake"
finish
