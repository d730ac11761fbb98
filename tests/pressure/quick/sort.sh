#!/usr/bin/env bash
# sort of a large file in a memory buffer that is larger than the limit, with two threads.
. "$(dirname "$0")/../common.sh"
need sort awk sha256sum

awk 'BEGIN { for (i = 0; i < 1500000; ++i) printf "%d word%d %x\n", (i * 7919) % 1000003, i % 977, i * i }' >"$room/lines"
use_sort() {
  "$limited" sort -S 400M --parallel=2 -k2,2 -k1,1n "$room/lines" >sorted || return 1
  sha256sum <sorted
  wc <sorted
}
compare_limited "sort" use_sort
