#!/usr/bin/env bash
# Programs preloaded with weir work under vm.overcommit_memory=2, where the kernel commits no more than it has. The
# setting is the whole machine's, so a virtual machine takes it.
# contract: weir full timeout=900
# Usage: test_strict_overcommit.sh LIBRARY BIN_DIRECTORY
set -u
here=$(cd "$(dirname "$0")" && pwd)
library=$1
bin=$2
machine=$here/../../../shared/vm/run-in-vm

[ -x "$machine" ] || { echo "skipped: ../shared/vm/run-in-vm is not there beside the project"; exit 77; }

script="echo 2 >/proc/sys/vm/overcommit_memory || exit 1
for program in overcommit basics calloc_zero operators cross_thread atfork; do
  echo \"\$program, overcommit_memory \$(cat /proc/sys/vm/overcommit_memory)\"
  CONTRACT_ALLOCATOR=weir LD_PRELOAD='$library' '$bin/contract_'\$program || exit 1
done"
# The machine sees its working directory wherever that lies, so it starts where the build is.
cd "$(dirname "$bin")" || exit 1
"$machine" --nodes 1 --mem-per-node 2G -- sh -c "$script"
status=$?
case $status in
  0) exit 0 ;;
  124 | 125) echo "skipped: the virtual machine did not run (status $status)"; exit 77 ;;
  *) echo "test_strict_overcommit.sh: status $status" >&2; exit 1 ;;
esac
