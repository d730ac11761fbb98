#!/usr/bin/env bash
# The rooms of src/ are layered: each includes only itself and those before it in the list below. What stands above src/
# sees still less: tools/ only the public headers, interpose/ the public headers, src/malloc, src/os
# and the helpers of src/base.
set -u
cd "$(dirname "$0")/../.." || exit 1
rooms=(base os config topology page swap file reclaim compact oom mm malloc heap control)
violations=0

complain() {
  echo "$1 includes \"$2\": $3"
  violations=$((violations + 1))
}

# Prints "file:line<tab>included path" of every quoted include below a directory.
quoted_includes() {
  grep -rnHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' --include='*.cc' --include='*.h' --include='*.def' \
    --include='*.c' "$1" 2>/dev/null | sed -E 's/^([^:]*:[0-9]*):[^"]*"([^"]*)".*/\1\t\2/'
}

for directory in src/*/; do
  room=$(basename "$directory")
  allowed=" weir "
  known=no
  for each in "${rooms[@]}"; do
    allowed="$allowed$each "
    [ "$each" = "$room" ] && known=yes && break
  done
  if [ "$known" = no ]; then
    echo "src/$room is not in the list of rooms (tests/check/layering.sh)"
    violations=$((violations + 1))
    continue
  fi
  while IFS=$'\t' read -r place path; do
    case $path in
      */*) [[ "$allowed" == *" ${path%%/*} "* ]] || complain "$place" "$path" "src/$room may include only$allowed" ;;
      *) complain "$place" "$path" "an include names its room: \"room/file.h\"" ;;
    esac
  done < <(quoted_includes "$directory")
done

while IFS=$'\t' read -r place path; do
  [[ "$path" == weir/* ]] || [ -e "$(dirname "${place%%:*}")/$path" ] || [ -e "tools/$path" ] ||
    complain "$place" "$path" "tools/ may include only weir/ and its own files"
done < <(quoted_includes tools)

while IFS=$'\t' read -r place path; do
  [[ "$path" == weir/* || "$path" == malloc/* || "$path" == base/* || "$path" == os/* || "$path" == interpose/* ]] ||
    complain "$place" "$path" "interpose/ may include only weir/, malloc/, os/, base/ and its own files"
done < <(quoted_includes interpose)

while IFS=$'\t' read -r place path; do
  [[ "$path" == weir/* ]] || complain "$place" "$path" "public headers include only public headers"
done < <(quoted_includes include)

[ "$violations" = 0 ] || { echo "layering: $violations violations" >&2; exit 1; }
echo "layering: every include goes down"
