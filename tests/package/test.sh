#!/usr/bin/env bash
# Installs a build into a temporary prefix and builds and runs programs against it with CMake and with pkg-config.
# Usage: test.sh BUILD_DIRECTORY
set -u
build=$1
here=$(cd "$(dirname "$0")" && pwd)
room=$(mktemp -d) || exit 1
trap 'rm -rf "$room"' EXIT
prefix=$room/prefix

fail() { echo "package: $*" >&2; exit 1; }
# Runs a command silently; its output is shown only if it fails.
quietly() { "$@" >"$room/log" 2>&1 || { cat "$room/log" >&2; fail "failed: $*"; }; }

quietly cmake --install "$build" --prefix "$prefix"
for pattern in include/weir/weir.h include/weir/heap.h include/weir/heap.hpp include/weir/pool.h include/weir/options.h \
  include/weir/shrinker.h include/weir/events.h include/weir/movable.h include/weir/movable.hpp bin/weir lib/libweir.so lib/libweir.so.0 lib/libweir.a lib/libweir-malloc.so \
  lib/cmake/weir/weirConfig.cmake lib/cmake/weir/weirConfigVersion.cmake lib/pkgconfig/weir.pc \
  man1/weir.1 man3/weir.3 man3/weir_malloc.3 man3/weir_register_shrinker.3 man3/weir_events_open.3 man5/weir.conf.5 completions/weir; do
  [ -n "$(find "$prefix" -path "*/$(basename "$(dirname "$pattern")")/*" -name "$(basename "$pattern")")" ] ||
    fail "$pattern is not installed"
done
libraries=$(dirname "$(find "$prefix" -name libweir.so)")
readelf -d "$libraries/libweir.so" | grep -q 'SONAME.*libweir\.so\.0' || fail "libweir.so has no SONAME libweir.so.0"

output=$("$prefix/bin/weir" run -- printenv LD_PRELOAD 2>&1) || fail "weir run ended with status $?: $output"
[ "$output" = "$libraries/libweir-malloc.so" ] || fail "weir run preloads $output"

quietly cmake -S "$here/consumer" -B "$room/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release
quietly cmake --build "$room/build"
for program in in_c in_cxx in_c_static replaced pmr_heap; do
  output=$("$room/build/$program" 2>&1) || fail "$program (built with CMake) ended with status $?: $output"
  echo "CMake, $program: $(echo "$output" | sed "s|$room|ROOM|")"
done

# Far less than what it puts into its cache.
output=$(WEIR_CONF=limit=32M,swap=none "$room/build/shedding_cache" 2>&1) ||
  fail "shedding_cache under a limit ended with status $?: $output"
echo "CMake, shedding_cache under a limit: $(echo "$output" | head -n 1)"

# The one that leaks loses its heap, the others live on.
output=$(WEIR_CONF=limit=32M,swap=none "$room/build/tenants" 2>"$room/errors") ||
  { cat "$room/errors" >&2; fail "tenants under a limit ended with status $?: $output"; }
grep -q '^Out of memory: Emptied heap 3 (tenant 2) ' "$room/errors" || fail "tenants: no report of the victim"
echo "CMake, tenants under a limit: $(echo "$output" | sed -n 3p)"

# In its address space there is room for the page only when tiles are moved.
output=$(WEIR_CONF=arena_size=64M,compaction_proactiveness=0 "$room/build/tiles" 2>&1) ||
  fail "tiles ended with status $?: $output"
echo "CMake, tiles: $output"
output=$(WEIR_CONF=arena_size=64M,compaction_proactiveness=0,extfrag_threshold=1000 "$room/build/tiles" 2>&1)
[ $? = 2 ] || fail "tiles, where nothing is moved for an allocation: $output"

# The cache of the one goes for the work of the other. (Where pages cannot be swapped there are no pools for children.)
output=$(WEIR_CONF=limit=48M,swap=none "$room/build/shared_budget" 2>"$room/errors") ||
  grep -q 'pages cannot be swapped here' "$room/errors" ||
  { cat "$room/errors" >&2; fail "shared_budget ended with status $?: $output"; }
echo "CMake, shared_budget: $(echo "$output" | sed 's/ process [0-9]*//' | head -n 1)"
"$prefix/bin/weir" pool rm shared-budget >/dev/null || fail "weir pool rm ended with status $?"

command -v pkg-config >/dev/null || { echo "pkg-config is not installed: its part is left out"; exit 0; }
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name weir.pc)")
export PKG_CONFIG_PATH LD_LIBRARY_PATH=$libraries
read -r -a flags <<<"$(pkg-config --cflags --libs weir)"
quietly "${CC:-cc}" "$here/consumer/main.c" -o "$room/pc_c" "${flags[@]}"
quietly "${CXX:-c++}" -std=c++17 "$here/consumer/main.cc" -o "$room/pc_cxx" "${flags[@]}"
for program in pc_c pc_cxx; do
  output=$("$room/$program" 2>&1) || fail "$program (built with pkg-config) ended with status $?: $output"
  echo "pkg-config, $program: $output"
done
