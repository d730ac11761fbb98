#!/usr/bin/env bash
# No file names a place that only one machine has, and every source file and script opens with a comment that says what
# it is for; a .cc file may leave that to the header of the same name.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/check/files.sh
failures=0

# Brackets, so that the pattern does not find itself.
places='(^|[^A-Za-z0-9_.])/(hom[e]|roo[t]|wor[k]|User[s])/[A-Za-z0-9]'
if project_files | tr '\n' '\0' | xargs -0 grep -nIE "$places"; then
  echo "text: the lines above name places of one machine" >&2
  failures=1
fi

while IFS= read -r file; do
  case $file in
    *.c | *.cc | *.h | *.def) pattern='^(//|/\*) ?[A-Za-z]' ;;
    *CMakeLists.txt | *.cmake) pattern='^# [A-Za-z]' ;;
    *.map) pattern='^(#|/\*) ?[A-Za-z]' ;;
    *.py | *.sh | .ci/* | tools/* | bench/run) pattern='^(# ?[A-Za-z]|"""[A-Za-z])' ;;
    *) continue ;;
  esac
  case $file in *.in | *.json | *.md) continue ;; esac
  case $file in *.cc) [ -e "${file%.cc}.h" ] && continue ;; esac
  # Without starting a program for each of a thousand files.
  while IFS= read -r first; do [[ $first =~ ^(#!.*)?$ ]] || break; done <"$file"
  if ! [[ $first =~ $pattern ]]; then
    echo "text: $file does not open with a comment that says its purpose" >&2
    failures=1
  fi
done < <(project_files)

[ "$failures" = 0 ] || exit 1
echo "text: $(project_files | wc -l) files"
