#!/usr/bin/env bash
# Every C and C++ file is as clang-format leaves it (.clang-format at the top).
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/check/files.sh
command -v clang-format >/dev/null || { echo "skipped: clang-format is not installed"; exit 77; }
mapfile -t files < <(project_files | grep -E '\.(c|cc|h)$')
[ "${#files[@]}" -gt 0 ] || { echo "format: found no source files" >&2; exit 1; }
# All in one process: starting one takes longer than formatting fifty files.
if clang-format --dry-run -Werror "${files[@]}" 2>/dev/null; then
  echo "format: ${#files[@]} files"
  exit 0
fi
for file in "${files[@]}"; do
  clang-format --dry-run -Werror "$file" 2>/dev/null || echo "format: clang-format -i $file would change it" >&2
done
exit 1
