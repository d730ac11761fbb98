#!/usr/bin/env bash
# The command `weir run` and programs that cannot be found, cannot be executed, or will not take a preloaded library.
# Usage: test_programs.sh WEIR
weir=$1
. "$(dirname "$0")/common.sh"
cd "$room" || exit 1
chmod 755 "$room"
compiler=$(command -v "${CC:-cc}") || { echo "skipped: no C compiler"; exit 77; }
printf '#include <stdio.h>\nint main(void) { return puts("ran") < 0; }\n' >program.c

# Not found: 127. Found, but not to be executed: 126. As env(1).
refuses 127 'weir: no-such-program: not found in PATH' "$weir" run -- no-such-program
refuses 127 'weir: ./no-such: No such file or directory' "$weir" run -- ./no-such
refuses 127 'weir: program.c/x: Not a directory' "$weir" run -- program.c/x
refuses 127 "weir: '': the program's name is empty" "$weir" run -- ''
refuses 126 'weir: ./program.c: Permission denied' "$weir" run -- ./program.c
refuses 126 'weir: /: Is a directory' "$weir" run -- /
printf '#!/no/such/interpreter\n' >orphan
printf 'echo no magic\n' >plain
printf '\177ELF' >broken
chmod 755 orphan plain broken
refuses 127 'weir: ./orphan: No such file or directory (its interpreter)' "$weir" run -- ./orphan
prints 'no magic' "$weir" run -- ./plain
for each in no-such-program ./program.c ./orphan /; do
  env "$each" >/dev/null 2>&1
  wanted=$?
  refuses_with "$wanted" "$each: " "$weir" run -- "$each"
done

# The order of PATH; what cannot be executed is passed over, an empty entry is the folder one is in.
mkdir one two
printf '#!/bin/sh\necho one\n' >one/tool
printf '#!/bin/sh\necho two\n' >two/tool
chmod 755 two/tool
prints two env PATH="$room/one:$room/two:$PATH" "$weir" run -- tool
chmod 755 one/tool
prints one env PATH="$room/one:$room/two:$PATH" "$weir" run -- tool
(cd two && PATH=":$PATH" prints two "$weir" run -- tool && exit "$failures") || failures=$((failures + 1))
chmod 644 one/tool
refuses 126 'weir: tool: Permission denied' env PATH="$room/one" "$weir" run -- tool

# A library cannot be preloaded: said once, and the program runs.
"$compiler" program.c -o dynamic || exit 1
prints ran "$weir" run -- ./dynamic
if "$compiler" -static program.c -o static 2>/dev/null; then
  warns './static: no limit will be kept, because of the program: it is statically linked' "$weir" run -- ./static
  cp static interpreter
  printf '#!%s/interpreter\n' "$room" >script
  chmod 755 script
  warns "of its interpreter $room/interpreter: it is statically linked" "$weir" run -- ./script
fi
if "$compiler" -static-pie program.c -o static_pie 2>/dev/null; then
  warns 'it is statically linked' "$weir" run -- ./static_pie
fi
loader=$(readelf -l dynamic 2>/dev/null | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
[ -z "$loader" ] || prints ran "$weir" run -- "$loader" ./dynamic
printf '#!/usr/bin/env sh\necho by env\n' >by_env
printf '#! /bin/sh -e\necho by sh\n' >by_sh
chmod 755 by_env by_sh
prints 'by env' "$weir" run -- ./by_env
prints 'by sh' "$weir" run -- ./by_sh

# More rights than the caller's.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && ! findmnt -n -o OPTIONS -T "$room" | grep -q nosuid; then
  as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
  rights='it runs with more rights than yours (setuid, setgid or file capabilities)'
  for mode in 4755 2755; do
    install -m "$mode" dynamic "more$mode"
    warns "$rights" as_nobody "$weir" run -- "./more$mode"
    prints ran "$weir" run -- "./more$mode"
  done
  prints ran as_nobody setpriv --no-new-privs "$weir" run -- ./more4755
  if command -v setcap >/dev/null && install -m 755 dynamic capable && setcap cap_net_raw+ep capable 2>/dev/null; then
    warns "$rights" as_nobody "$weir" run -- ./capable
    prints ran "$weir" run -- ./capable
  fi
fi
finish
