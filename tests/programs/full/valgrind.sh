#!/usr/bin/env bash
# valgrind started under weir: its tool replaces malloc in the program, and the program's leaks and errors are found all
# the same; and a program that has weir preloaded runs under a tool that leaves malloc alone.
. "$(dirname "$0")/../common.sh"
need valgrind gcc

cat >"$room/program.c" <<'SCRIPT'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
  char* kept[100];
  for (int i = 0; i < 100; ++i) {
    kept[i] = malloc((size_t)(i + 1) * 50);
    memset(kept[i], i, (size_t)(i + 1) * 50);
  }
  for (int i = 0; i < 99; ++i) free(kept[i]);
  char* volatile lost = malloc(1234);
  lost = NULL;
  printf("done %d\n", lost == NULL);
  return 0;
}
SCRIPT
env -u LD_PRELOAD gcc -g -O0 "$room/program.c" -o "$room/program" || fail "cannot compile the program to check"
check() {
  valgrind --leak-check=full --soname-synonyms=somalloc=*weir-malloc* --log-file=log "$room/program" || return 1
  sed -E 's/^==[0-9]+== ?//' log | grep -E 'definitely lost: |ERROR SUMMARY'
  valgrind --tool=none --log-file=log.none "$room/program" || return 1
  valgrind --tool=none --log-file=log.none ls / >/dev/null && echo "ls runs"
}
compare "valgrind" check
