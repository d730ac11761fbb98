#!/usr/bin/env bash
# Programs preloaded with weir work where there is neither /proc nor /sys nor /dev: in a chroot that holds nothing but
# the programs and the libraries they are linked with.
# contract: weir
# Usage: test_chroot.sh LIBRARY BIN_DIRECTORY
set -u
library=$1
bin=$2
programs="basics calloc_zero aligned usable_size operators cross_thread tls_destructors atfork"

skip() { echo "skipped: $*"; exit 77; }
fail() { echo "test_chroot.sh: $*" >&2; exit 1; }

root=$(mktemp -d) || fail "cannot make a temporary directory"
trap 'rm -rf "$root"' EXIT
enter=(chroot "$root")
[ "$(id -u)" = 0 ] || enter=(unshare --map-root-user chroot "$root")

mkdir -p "$root/bin"
for program in $programs; do
  install -m 755 "$bin/contract_$program" "$root/bin/"
  ldd "$bin/contract_$program" | grep -o '/[^ ]*'
done | sort -u | while read -r file; do
  mkdir -p "$root$(dirname "$file")"
  cp -L "$file" "$root$file"
done
cp -L "$library" "$root/libweir-malloc.so"
"${enter[@]}" /bin/contract_basics || skip "chroot is not permitted here"

for program in $programs; do
  LD_PRELOAD='' "${enter[@]}" /bin/contract_"$program" || fail "$program fails in the chroot even without weir"
  # env is not in the chroot; the loader there takes the library as its own argument.
  "${enter[@]}" "$(ldd "$bin/contract_$program" | grep -o '/[^ ]*ld-linux[^ ]*')" --preload /libweir-malloc.so \
    /bin/contract_"$program" || fail "$program fails in a chroot without /proc and /sys"
  echo "$program works"
done
