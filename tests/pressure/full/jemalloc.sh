#!/usr/bin/env bash
# A program that brings its own malloc, as some servers do: jemalloc, linked into it, so that nothing of weir's malloc is
# called. What jemalloc maps is within the limit all the same. Blocks of about 200 MiB, by four threads.
. "$(dirname "$0")/../common.sh"
need cc
archive=$(cc -print-file-name=libjemalloc_pic.a)
[ -e "$archive" ] || skip "jemalloc is not installed"

cat >"$room/program.c" <<'SOURCE'
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { kThreads = 4, kBlocks = 1500 };

static void* work(void* number) {
  static _Thread_local uint64_t* blocks[kBlocks];
  static _Thread_local size_t words[kBlocks];
  uint64_t x = (uintptr_t)number, sum = 0;
  for (int i = 0; i < 6 * kBlocks; ++i) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    unsigned slot = (unsigned)(x >> 33) % kBlocks;
    for (size_t w = 0; blocks[slot] != NULL && w < words[slot]; w += 64) sum += blocks[slot][w] * (w + 1);
    if (i % 3 != 0 && blocks[slot] != NULL) continue;
    free(blocks[slot]);
    words[slot] = 1000 + (x >> 40) % 8000;
    blocks[slot] = malloc(words[slot] * 8);
    if (blocks[slot] == NULL) return NULL;
    for (size_t w = 0; w < words[slot]; ++w) blocks[slot][w] = w % 5 == 0 ? x + w : w;
  }
  return (void*)(uintptr_t)sum;
}

int main(void) {
  pthread_t threads[kThreads];
  for (uintptr_t i = 0; i < kThreads; ++i) pthread_create(&threads[i], NULL, work, (void*)(i + 1));
  for (int i = 0; i < kThreads; ++i) {
    void* sum;
    pthread_join(threads[i], &sum);
    printf("%llu\n", (unsigned long long)(uintptr_t)sum);
  }
  return 0;
}
SOURCE
cc -O2 -o "$room/program" "$room/program.c" "$archive" -lpthread -ldl -lm -lstdc++ || fail "the program cannot be built"
run_program() { "$limited" "$room/program"; }
compare_limited "a program with jemalloc" run_program
