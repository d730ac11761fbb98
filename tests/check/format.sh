#!/usr/bin/env bash
# Every C and C++ file is as clang-format leaves it (.clang-format at the top).
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/check/files.sh
command -v clang-format >/dev/null || { echo "skipped: clang-format is not installed"; exit 77; }
mapfile -t files < <(project_files | grep -E '\.(c|cc|h)$')
[ "${#files[@]}" -gt 0 ] || { echo "format: found no source files" >&2; exit 1; }
# All in one process: starting one takes longer than formatting fifty files.
if errors=$(clang-format --dry-run -Werror "${files[@]}" 2>&1); then
  echo "format: ${#files[@]} files"
  exit 0
fi
named=$(grep -E '^[^ ]+:[0-9]+:[0-9]+: error: ' <<<"$errors" | cut -d: -f1 | sort -u |
  sed 's/.*/format: clang-format -i & would change it/')
echo "${named:-$errors}" >&2
exit 1
