#!/usr/bin/env bash
# gdb under weir debugs a program that runs under it too: breakpoints, calls into the program (where gdb can),
# expressions, Python.
. "$(dirname "$0")/../common.sh"
need gdb gcc

cat >"$room/program.c" <<'SCRIPT'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct Node { struct Node* next; char text[40]; };
static struct Node* list;
static void add(int i) {
  struct Node* node = malloc(sizeof *node);
  snprintf(node->text, sizeof node->text, "node %d", i);
  node->next = list;
  list = node;
}
int length(void) {
  int n = 0;
  for (struct Node* at = list; at != NULL; at = at->next) ++n;
  return n;
}
int main(void) {
  for (int i = 0; i < 100; ++i) add(i);
  printf("%d\n", length());
  return 0;
}
SCRIPT
cat >"$room/commands" <<'SCRIPT'
set pagination off
set confirm off
set startup-with-shell off
set debuginfod enabled off
break length
run
backtrace
delete
print list->next->text
print $_regex(list->text, "node [0-9]+")
finish
print list->text
info line main
python print(sum(len(str(i)) for i in range(100000)))
continue
SCRIPT
env -u LD_PRELOAD gcc -g -O0 "$room/program.c" -o "$room/program" || fail "cannot compile the program to debug"
# gdb 13 writes the state of a processor as it knows it: on newer ones a program cannot go on from a call.
env -u LD_PRELOAD gdb -nx -batch -ex 'set startup-with-shell off' -ex 'break length' -ex run -ex 'print length()' \
  "$room/program" 2>/dev/null | grep -q '^\$1 = 100$' &&
  sed -i 's/^finish$/print length()\nprint $_strlen((char*)malloc(10)) >= 0\nfinish/' "$room/commands"
debug() {
  gdb -nx -batch -x "$room/commands" "$room/program" 2>gdb.err | grep -E '^(100|\$[0-9]|#|Run till|Value|488890|Line)'
  return "${PIPESTATUS[0]}"
}
compare "gdb" debug
