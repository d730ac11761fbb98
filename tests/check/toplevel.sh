#!/usr/bin/env bash
# The top of the tree holds exactly what a newcomer is told of, besides dot files.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/check/files.sh
wanted="CMakeLists.txt CMakePresets.json LICENSE README.md bench include interpose src tests tools"
found=$(project_files | cut -d/ -f1 | grep -v '^\.' | LC_ALL=C sort -u)
if [ "$found" != "$(printf '%s\n' $wanted | LC_ALL=C sort)" ]; then
  echo "toplevel: differs (< wanted, > found):" >&2
  diff <(printf '%s\n' $wanted | LC_ALL=C sort) <(printf '%s\n' "$found") >&2
  exit 1
fi
echo "toplevel: as it should be"
