# common.sh: sourced by the tests of programs inside a limit, which are called with LIBRARY WEIR SAMPLER: the drop-in, the
# command `weir` and rss_sampler. Stands on ../programs/common.sh.
#
#   compare_limited TITLE FUNCTION [anon|heap|mapped]
#       runs FUNCTION plainly, with weir and no limit, and with half of the peak found then as limit, each in an empty
#       directory of its own (a half again, up to twice, when nothing had to be swapped then). Demands: the same standard
#       output and exit status each time; resident memory, which the kernel tells every 10 ms, within the limit (5% or
#       8 MiB above it at most) and at its highest what weir says that it was; pages that really were swapped out; not a
#       word from weir but its summary. What is counted: rss_sampler.cc; heap for programs that map much which weir has
#       no part in; mapped for those whose memory is weir's only under a limit: then the limit is half of their anon.
#       The times are printed to be known, and judged by nobody.
# In FUNCTION, the programs that are the subject are started with "$limited" PROGRAM ARGS..., servers with their standard
# error appended to "$PRESSURE_ERR".
. "$(dirname "${BASH_SOURCE[0]}")/../programs/common.sh"

weir=${2:-} sampler=${3:-}
[ -x "$weir" ] && [ -x "$sampler" ] || { echo "$name: use: $name.sh LIBRARY WEIR SAMPLER" >&2; exit 64; }
limited=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/limited
# Below this a half is too near to what a program needs at any moment, and says nothing about swapping.
least_peak=$((24 << 20))
# Others' readers of these: servers that change their user.
chmod 755 "$room"
mkdir -m 1777 "$room/swap"
export PRESSURE_WEIR=$weir PRESSURE_SAMPLER=$sampler PRESSURE_SWAP=$room/swap WEIR_LIBRARY=$library

refusal=$("$weir" run --limit 64M -- true 2>&1) || skip "no limit can be set: ${refusal:-weir run failed}"
# A warning: the limit is kept without swapping, by refusing memory.
[ -z "$refusal" ] || skip "$refusal"

declare -A took
field() { sed -nE "s/.*\b$1=([0-9]+).*/\1/p"; }

run_pressure_mode() {
  local mode=$1 function=$2 sample started=${EPOCHREALTIME/[.,]/}
  export PRESSURE_MODE=$mode PRESSURE_SAMPLES=$room/samples.$mode PRESSURE_ERR=$room/$mode.err
  mkdir "$room/$mode" "$PRESSURE_SAMPLES"
  (cd "$room/$mode" && "$function") >"$room/$mode.out" 2>"$PRESSURE_ERR"
  echo "exit status $?" >>"$room/$mode.out"
  took[$mode]=$(awk -v us="$((${EPOCHREALTIME/[.,]/} - started))" 'BEGIN { printf "%.1f", us / 1e6 }')
  for sample in "$PRESSURE_SAMPLES"/*; do
    [ ! -e "$sample" ] || wait_for test -s "$sample" || fail "$title: a process started in mode $mode does not end"
  done
  rm -rf "${room:?}/$mode"
}

same_as_plain() {
  cmp -s "$room/plain.out" "$room/$1.out" && return
  echo "$title: output differs (< plain, > $1):" >&2
  diff -a "$room/plain.out" "$room/$1.out" | head -n 40 >&2
  tail -n 20 "$room/$1.err" >&2
  fail "$title differs in mode $1"
}

# Everything that weir writes begins so; the summary goes on in lines with a tab.
no_complaints() {
  if grep -a '^weir: ' "$room/$1.err" | grep -av '^weir: summary of process ' >&2; then
    fail "$title: weir complained in mode $1"
  fi
}

# The sum of a label of all summaries.
summed() {
  awk -F': ' -v label="$1" '$1 == "\t" label { sum += $2 } END { print sum + 0 }' "$room/limited.err"
}

# The highest value of a label in MiB, as bytes.
highest() {
  awk -F': ' -v label="$1" '$1 == "\t" label && $2 + 0 > most { most = $2 } END { printf "%d", most * 1048576 }' \
    "$room/limited.err"
}

pages_out() {
  echo $(($(summed 'Swapped out to compressed memory (pages)') + $(summed 'Swapped out to file (pages)') +
    $(summed 'Same-filled pages (pages)')))
}
has_summary() { grep -aq '^weir: summary of process ' "$room/limited.err"; }

# What the kernel tells and what weir counts is the same memory: a peak may fall between two samples, and the kernel
# counts weir's bookkeeping too.
same_peak() {
  local told=$1 counted=$2
  [ "$told" -ge $((counted * 3 / 4)) ] || fail "$title: weir counted $counted bytes at most, of which only $told were seen"
  [ "$told" -le $((counted * 21 / 20 + (8 << 20))) ] || fail "$title: $told bytes were seen, weir counted $counted at most"
}

check_samples() {
  local worst out
  worst=$(cat "$room"/samples.limited/* | sort -t= -k2,2n | tail -n 1)
  [ "$(cat "$room"/samples.limited/* | field over | sort -n | tail -n 1)" = 0 ] || { grep -a "Peak resident" "$room/limited.err" >&2; fail "$title: over its limit: $worst"; }
  out=$(pages_out)
  # Some programs close their standard error before they end; then half the peak within the limit has to do.
  if ! has_summary; then
    out="(no summary was printed)"
  else
    same_peak "$(field peak <<<"$worst")" "$(highest 'Peak resident (MiB)')"
  fi
  [ "$out" != 0 ] || fail "$title: no summary says that a page was swapped out; $worst"
  echo "$title: same output; peak $((peak >> 10)) KiB, limit $((PRESSURE_LIMIT >> 10)) KiB, most resident" \
    "$(($(field peak <<<"$worst") >> 10)) KiB in $(field samples <<<"$worst") samples at most" \
    "$(field longest_gap_ms <<<"$worst") ms apart; $out pages out; ${took[plain]} s plainly, ${took[unlimited]} s with" \
    "weir, ${took[limited]} s within the limit"
}

compare_limited() {
  local title=$1 function=$2 peak divisor
  export PRESSURE_COUNT=${3:-anon} PRESSURE_LIMIT=0
  [ "$PRESSURE_COUNT" != mapped ] || PRESSURE_COUNT=anon
  rm -rf "${room:?}"/samples.* "${room:?}"/{plain,unlimited,limited}{,.out,.err}
  run_pressure_mode plain "$function"
  grep -qax 'exit status 0' "$room/plain.out" || { tail -n 5 "$room/plain.err" >&2; fail "$title fails also without weir"; }
  [ "$(wc -l <"$room/plain.out")" -gt 1 ] || fail "$title printed nothing to compare"
  run_pressure_mode unlimited "$function"
  same_as_plain unlimited
  no_complaints unlimited
  peak=$(cat "$room"/samples.unlimited/* | field peak | sort -n | tail -n 1)
  [ "${peak:-0}" -ge "$least_peak" ] || fail "$title holds $((${peak:-0} >> 10)) KiB: too little to be a test of limits"
  [ "${3:-}" != mapped ] || PRESSURE_COUNT=heap
  for divisor in 2 4 8; do
    PRESSURE_LIMIT=$((peak / divisor))
    rm -rf "$room/samples.limited"
    run_pressure_mode limited "$function"
    same_as_plain limited
    no_complaints limited
    # A program that frees much lives in half of its peak without swapping: that half is not the test yet.
    if ! has_summary || [ "$(pages_out)" -gt 0 ]; then break; fi
  done
  check_samples
}
