#!/usr/bin/env bash
# stress-ng inside a limit: stressors that map, move, protect, give up and share memory and verify what is in it,
# two of each, several limits' worth of memory where they take a size. Demanded: they find nothing wrong; each process
# within its limit (5% or 8 MiB above it at most); those with a size as much as the limit; not a word from weir.
. "$(dirname "$0")/../common.sh"
need stress-ng
export PRESSURE_MODE=limited PRESSURE_LIMIT=$((24 << 20)) PRESSURE_COUNT=heap PRESSURE_ERR=$room/err
seconds=2

# stress NAME ARGS...: leaves the sampler's line in $sample.
stress() {
  local name=$1
  shift
  export PRESSURE_SAMPLES=$room/samples.$name
  mkdir "$PRESSURE_SAMPLES"
  "$limited" stress-ng --verify --temp-path "$room" --timeout "$seconds" --log-brief "$@" >"$room/out" 2>&1 ||
    { tail -n 30 "$room/out" >&2; fail "stress-ng $* failed"; }
  grep -a '^weir: ' "$room/out" | grep -av '^weir: summary of process ' >&2 && fail "weir complained of stress-ng $*"
  sample=("$PRESSURE_SAMPLES"/*)
  wait_for test -s "${sample[0]}" || fail "stress-ng $* does not end"
  sample=$(<"${sample[0]}")
  [ "$(field over <<<"$sample")" = 0 ] || fail "stress-ng $*: over its limit: $sample"
}

chmod 1777 "$room"
for name in madvise mmapaddr mmapfixed mmapmany mprotect msync munmap pagemove pageswap vm-addr vm-segv remap rmap \
  tlb-shootdown fork vfork clone daemon aio splice mincore hsearch tree; do
  stress "$name" "--$name" 2
done
for name in vm mmap mremap vm-rw memrate malloc; do
  # Of malloc it is the size of each block.
  if [ "$name" = malloc ]; then size=(2M --malloc-max 64 --malloc-touch); else size=(64M); fi
  stress "$name" "--$name" 2 "--$name-bytes" "${size[@]}"
  [ "$(field peak <<<"$sample")" -ge $((PRESSURE_LIMIT * 3 / 4)) ] || fail "stress-ng --$name is no test of a limit: $sample"
done
echo "stress-ng: 29 stressors within $((PRESSURE_LIMIT >> 20)) MiB each"
