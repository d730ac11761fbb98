#!/usr/bin/env bash
# gcc, g++ and the binutils compile and link files of weir: the objects must be the same bit for bit.
. "$(dirname "$0")/../common.sh"
need gcc g++ ar ld

compile() {
  local file
  for file in "$project"/src/page/*.cc; do
    g++ -std=gnu++20 -O2 -g -fPIC -fno-exceptions -fno-rtti -D_GNU_SOURCE -DWEIR_VERSION='"0"' -I"$project/src" \
      -I"$project/include" -fdebug-prefix-map="$PWD"=. -c "$file" -o object.o || return 1
    echo "$(basename "$file") $(sha256sum <object.o)"
    ar rD objects.a object.o 2>/dev/null
  done
  for file in basics fork; do
    gcc -std=gnu11 -D_GNU_SOURCE -O3 -flto -fdebug-prefix-map="$PWD"=. -frandom-seed=1 \
      "$project/tests/contract/$file.c" -o "$file" -pthread || return 1
    ./"$file" && echo "$file runs"
  done
  g++ -std=gnu++20 -O1 "$project/tests/contract/exceptions.cc" -o exceptions -pthread && ./exceptions && echo "exceptions runs"
}
compare "gcc and g++" compile
