/* heaps.c: registered heaps under a limit of the process: what is in them is swapped and comes back, in forked children
 * too; a heap can be destroyed while most of it is away; pages of a heap with noswap stay in memory; a heap at its own
 * limit has its own pages taken away, and one above its soft limit is the first to lose some. */
// limit: weir cases=swapped,destroyed,noswap,forked,own_limit,soft_limit timeout=120
#include "limit.h"
#include "weir/weir.h"

#pragma weak weir_heap_create
#pragma weak weir_heap_destroy
#pragma weak weir_heap_malloc
#pragma weak weir_heap_of
#pragma weak weir_heap_stats
#pragma weak weir_debug_verify

static struct Dataset data, kept;

static weir_heap_t make_heap(const char* name, unsigned noswap) {
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.noswap = noswap;
  weir_heap_t heap = weir_heap_create(name, &options);
  CHECK(heap != NULL);
  return heap;
}

static void add_block(struct Dataset* set, weir_heap_t heap, size_t size) {
  struct Block* block = &set->blocks[set->count];
  block->words = weir_heap_malloc(heap, size);
  CHECK(block->words != NULL && weir_heap_of(block->words) == heap);
  block->count = size / 8;
  set->bytes += size;
  write_block(set, set->count++, 1);
}

/* As make_data, in a heap: twice the limit, in objects of all sizes. */
static weir_heap_t fill_heap(const char* name) {
  uint64_t random = 54321;
  weir_heap_t heap = make_heap(name, 0);
  data.count = 0;
  data.bytes = 0;
  while (data.bytes < 2 * memory_limit()) add_block(&data, heap, block_size(data.count, &random) & ~(size_t)7);
  expect_away(&data);
  expect_within_limit(0);
  return heap;
}

static void expect_verified(void) {
  CHECK(weir_debug_verify() == 1);
}

static void swapped(void) {
  weir_heap_t heap = fill_heap("swapped");
  for (int round = 0; round < 2; ++round) check_data(&data);
  expect_within_limit(0);
  expect_verified();
  for (unsigned b = 0; b < data.count; b += 2) free(data.blocks[b].words);
  for (unsigned b = 1; b < data.count; b += 2) check_block(&data, b);
  expect_verified();
  CHECK(weir_heap_destroy(heap) == 0);
  expect_verified();
}

static void destroyed(void) {
  for (int round = 0; round < 5; ++round) {
    weir_heap_t heap = fill_heap("destroyed");
    CHECK(weir_heap_destroy(heap) == 0);
    CHECK(weir_heap_of(data.blocks[0].words) == NULL);
    expect_verified();
  }
  expect_within_limit(0);
}

/* A third of the limit stays, slabs as well as an object that is charged by what is touched of it, while others pass
 * through. Some of it was used by others before, and was away. */
static void noswap(void) {
  weir_heap_t others = fill_heap("others");
  for (unsigned b = 0; b < data.count; b += 3) {
    free(data.blocks[b].words);
    data.blocks[b].count = 0;
  }
  weir_heap_t heap = make_heap("kept", 1);
  add_block(&kept, heap, 9 * MIB / 2);
  while (kept.bytes < memory_limit() / 3) add_block(&kept, heap, kept.count % 10 == 0 ? 40 * KIB : 2000);
  check_data(&data);
  check_data(&kept); /* what was on its way out while it was being allocated is back */
  for (int round = 0; round < 3; ++round) {
    check_data(&data);
    CHECK(data_away(&data) > 0 && data_away(&kept) == 0);
  }
  check_data(&kept);
  expect_within_limit(0);
  expect_verified();
  /* In a child, too, and when they are resized. */
  kept.blocks[0].words = realloc(kept.blocks[0].words, 5 * MIB);
  CHECK(kept.blocks[0].words != NULL && weir_heap_of(kept.blocks[0].words) == heap);
  pid_t child = fork();
  if (child == 0) {
    check_data(&kept);
    check_data(&data);
    CHECK(data_away(&kept) == 0);
    expect_verified();
    _exit(0);
  }
  CHECK(status_of(child) == 0);
  /* What it had may leave again. */
  CHECK(weir_heap_destroy(heap) == 0);
  expect_verified();
  for (unsigned b = 0; b < data.count; b += 3) {
    struct Block* block = &data.blocks[b];
    block->words = weir_heap_malloc(others, 20 * KIB);
    CHECK(block->words != NULL);
    block->count = 20 * KIB / 8;
    write_block(&data, b, 2);
  }
  check_data(&data);
  expect_within_limit(0);
  expect_verified();
}

static void forked(void) {
  weir_heap_t heap = fill_heap("forked");
  for (int i = 0; i < 3; ++i) {
    pid_t child = fork();
    if (child == 0) {
      check_data(&data);
      for (unsigned b = 0; b < data.count; b += 5) free(data.blocks[b].words);
      expect_verified();
      if (i % 2 == 0) CHECK(weir_heap_destroy(heap) == 0);
      expect_verified();
      _exit(0);
    }
    CHECK(status_of(child) == 0);
  }
  check_data(&data);
  expect_verified();
}

static weir_heap_info info_of(weir_heap_t heap) {
  weir_heap_info info;
  CHECK(weir_heap_stats(heap, &info, sizeof info) == 0);
  CHECK(info.swapped <= info.charged);
  return info;
}

/* Four times its limit, and half of the process's goes into the heap; nobody else loses anything. */
static void own_limit(void) {
  const size_t limit = memory_limit() / 4;
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.limit = limit;
  weir_heap_t heap = weir_heap_create("small", &options);
  CHECK(heap != NULL);
  add_block(&kept, NULL, memory_limit() / 8);
  uint64_t random = 999;
  while (data.bytes < 3 * limit) {
    add_block(&data, heap, block_size(1, &random) & ~(size_t)7);
    weir_heap_info info = info_of(heap);
    CHECK(info.charged - info.swapped <= limit);
  }
  CHECK(info_of(heap).swapped >= limit && info_of(heap).limit_failures == 0);
  CHECK(data_away(&kept) == 0);
  for (int round = 0; round < 2; ++round) check_data(&data);
  weir_heap_info info = info_of(heap);
  /* A fault brings back some pages at a time, and makes room for them before. */
  CHECK(info.charged - info.swapped <= limit + MIB);
  expect_verified();
  pid_t child = fork();
  if (child == 0) {
    expect_verified();
    add_block(&data, heap, 300 * KIB);
    check_data(&data);
    expect_verified();
    _exit(0);
  }
  CHECK(status_of(child) == 0);
  /* What no reclaim can make room for fails as before. */
  CHECK(weir_heap_malloc(heap, limit + PAGE) == NULL && errno == ENOMEM);
  for (unsigned b = 0; b < data.count; b += 2) free(data.blocks[b].words);
  expect_verified();
  CHECK(weir_heap_destroy(heap) == 0);
  CHECK(data_away(&kept) == 0);
  check_data(&kept);
  expect_verified();
}

/* Two heaps of equal age and size; the one without a soft limit stays while the other has what it should not. */
static void soft_limit(void) {
  const size_t size = memory_limit() / 8 * 3;
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.soft_limit = size / 4;
  weir_heap_t stays = make_heap("stays", 0), leaves = weir_heap_create("leaves", &options);
  CHECK(leaves != NULL);
  while (data.bytes < size) {
    add_block(&kept, stays, 30 * KIB);
    add_block(&data, leaves, 30 * KIB);
  }
  /* Older pages of nobody's are what would leave otherwise: a third comes in addition. */
  weir_heap_t more = make_heap("more", 0);
  static struct Dataset third;
  while (third.bytes < size / 2) add_block(&third, more, 30 * KIB);
  CHECK(info_of(leaves).swapped > 0);
  CHECK(info_of(stays).swapped < info_of(leaves).swapped / 2);
  check_data(&kept);
  check_data(&data);
  check_data(&third);
  expect_verified();
}

int main(int argc, char** argv) {
  contract_begin(110);
  CHECK(argc == 2 && weir_heap_create != NULL);
  if (strcmp(argv[1], "swapped") == 0) swapped();
  if (strcmp(argv[1], "destroyed") == 0) destroyed();
  if (strcmp(argv[1], "noswap") == 0) noswap();
  if (strcmp(argv[1], "forked") == 0) forked();
  if (strcmp(argv[1], "own_limit") == 0) own_limit();
  if (strcmp(argv[1], "soft_limit") == 0) soft_limit();
  return 0;
}
