#!/usr/bin/env bash
# A setuid program with weir preloaded works and pays no attention to WEIR_CONF, whose reader could otherwise make a
# privileged program do something. The loader preloads into setuid programs only setuid libraries from the system's own
# directories, so the library is mounted over one there that nothing uses, in a mount namespace of our own.
# contract: weir
# Usage: test_setuid.sh LIBRARY BIN_DIRECTORY
set -u
library=$1
program=$2/contract_secure

skip() { echo "skipped: $*"; exit 77; }
fail() { echo "test_setuid.sh: $*" >&2; exit 1; }

if [ "${3:-}" != inside ]; then
  [ "$(id -u)" = 0 ] || skip "needs root to make a setuid program"
  command -v setpriv >/dev/null || skip "needs setpriv (util-linux)"
  unshare --mount true 2>/dev/null || skip "mount namespaces are not permitted here"
  exec unshare --mount --propagation private "$0" "$library" "$2" inside
fi

slot=$(ldconfig -p | awk '$1 == "libmemusage.so" || $1 == "libpcprofile.so" {print $NF; exit}')
[ -n "$slot" ] || slot=$(find /lib/*-linux-gnu -maxdepth 1 -name libmemusage.so -o -maxdepth 1 -name libpcprofile.so | head -n 1)
[ -n "$slot" ] || skip "the C library's libmemusage.so is not there to mount over"

room=$(mktemp -d) || fail "cannot make a temporary directory"
trap 'umount "$slot" "$room" 2>/dev/null; rmdir "$room"' EXIT
mount -t tmpfs -o suid,exec,mode=755 tmpfs "$room" || skip "tmpfs cannot be mounted here"
install -m 4755 "$library" "$room/library"
install -m 4755 "$program" "$room/setuid"
install -m 0755 "$program" "$room/plain"
mount --bind "$room/library" "$slot" || skip "a bind mount is refused here"

# As nobody, so that the setuid bit changes the effective user. setpriv and sh are spared WEIR_CONF.
as_nobody() {
  setpriv --reuid 65534 --regid 65534 --clear-groups \
    /bin/sh -c 'LD_PRELOAD=$1 WEIR_CONF=nonsense=1,abort_conf=1 exec "$2"' sh "$(basename "$slot")" "$1" 2>&1
}

output=$(as_nobody "$room/plain")
status=$?
[ "$status" = 64 ] || fail "without setuid WEIR_CONF should end the program with 64, it ended with $status: $output"
output=$(as_nobody "$room/setuid")
status=$?
[ "$status" = 0 ] || fail "the setuid program ended with status $status: $output"
case $output in
  *"secure=1 "*"$(basename "$slot")"*) ;;
  *) fail "not run as a setuid program with the library preloaded: $output" ;;
esac
[ "$(printf '%s\n' "$output" | wc -l)" = 1 ] || fail "WEIR_CONF was read in a setuid program: $output"
echo "$output"
