// numa_test.cc: an allocator on a machine of four nodes, one of them without memory. The nodes are made up: what is
// tested is where objects come from and where they go back to.
#include <gtest/gtest.h>

#include <thread>

#include "support/pattern.h"
#include "support/private_allocator.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{64} << 20;
constexpr unsigned kMemoryless = 2;

class Numa : public testing::Test {
 protected:
  void SetUp() override {
    make_topology(a_.topology(), 4, 1u << kMemoryless);
    // Node 3 is nearest to the one without memory; from node 1, node 3 is nearer than node 0.
    a_.topology().set_distance(NodeId(2), NodeId(3), 12);
    a_.topology().set_distance(NodeId(1), NodeId(3), 15);
    ASSERT_TRUE(a_.topology().finish());
    ASSERT_TRUE(a_.start(kCapacity, true));
  }
  ThreadCache* on(unsigned node) {
    ThreadCache* cache = a_->attach();
    // What home_node says of a thread that runs there.
    cache->node = a_.topology().zonelist(to_node_id(node))[0].v;
    return cache;
  }
  unsigned node_of(const void* p) { return a_->pages().zone_of(p)->node().v; }
  uint64_t charged(unsigned node) { return a_->pages().zone(to_node_id(node)).stats().charged.v; }
  void expect_all_free() {
    EXPECT_EQ(a_->verify(), nullptr);
    a_.trim(nullptr);
    EXPECT_EQ(a_.charged(), 0u);
    EXPECT_EQ(a_->verify(), nullptr);
  }
  PrivateAllocator a_;
};

TEST_F(Numa, EachNodeWithMemoryHasAZone) {
  EXPECT_EQ(a_->nr_nodes(), 4u);
  for (unsigned n = 0; n < 4; ++n) EXPECT_EQ(a_->has_zone(to_node_id(n)), n != kMemoryless);
  uint64_t min = 0;
  for (const unsigned n : {0u, 1u, 3u}) {
    const ZoneStats s = a_->pages().zone(to_node_id(n)).stats();
    EXPECT_EQ(s.managed, Pages((uint64_t{4} << 30) >> kPageShift));
    EXPECT_EQ(s.node, to_node_id(n));
    min += s.watermarks.min.v;
  }
  EXPECT_NEAR(static_cast<double>(min) * 4, static_cast<double>(default_min_free_kbytes(Pages(3 << 20))), 12)
      << "min_free_kbytes is shared out";
}

TEST_F(Numa, ObjectsComeFromTheThreadsNode) {
  for (const unsigned n : {0u, 1u, 3u}) {
    ThreadCache* cache = on(n);
    for (const size_t size : {size_t{16}, size_t{1000}, size_t{16384}, size_t{100000}}) {
      void* p = a_.malloc(cache, size);
      EXPECT_EQ(node_of(p), n);
      EXPECT_EQ(a_.free(cache, p).misuse, Misuse::kNone);
    }
    EXPECT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  }
  expect_all_free();
}

TEST_F(Numa, AThreadOnANodeWithoutMemoryUsesTheNearest) {
  ThreadCache* cache = on(kMemoryless);
  for (const size_t size : {size_t{100}, size_t{100000}}) {
    void* p = a_.malloc(cache, size);
    EXPECT_EQ(node_of(p), 3u);
    EXPECT_EQ(a_.free(cache, p).misuse, Misuse::kNone);
  }
  EXPECT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  expect_all_free();
}

TEST_F(Numa, AttachKnowsTheNodeOfTheProcessor) {
  // make_topology gives all processors to node 0.
  ThreadCache* cache = a_->attach();
  EXPECT_EQ(cache->node, 0u);
  EXPECT_EQ(a_->detach(cache).misuse, Misuse::kNone);
}

// What one node's thread allocated and another's frees goes home when it leaves the cache.
TEST_F(Numa, FreedElsewhereGoesHome) {
  ThreadCache* one = on(1);
  ThreadCache* three = on(3);
  std::vector<void*> all;
  for (int i = 0; i < 5000; ++i) {
    all.push_back(a_.malloc(i % 2 == 0 ? one : three, 200));
    write_pattern(all.back(), 200, static_cast<uint64_t>(i));
  }
  for (size_t i = 0; i < all.size(); ++i) EXPECT_TRUE(check_pattern(all[i], 200, 200, i));
  // All mixed, by the thread of one node.
  for (void* p : all) ASSERT_EQ(a_.free(three, p).misuse, Misuse::kNone);
  ASSERT_EQ(a_->verify(), nullptr);
  EXPECT_EQ(a_->detach(three).misuse, Misuse::kNone);
  EXPECT_EQ(a_->detach(one).misuse, Misuse::kNone);
  ASSERT_EQ(a_->verify(), nullptr);
  a_.trim(nullptr);
  for (const unsigned n : {0u, 1u, 3u}) EXPECT_EQ(charged(n), 0u) << "node " << n;
}

TEST_F(Numa, LargeRunsAreFreedFromAnywhere) {
  ThreadCache* one = on(1);
  ThreadCache* zero = on(0);
  for (const size_t size : {size_t{20000}, size_t{300000}, size_t{3000000}}) {
    void* p = a_.malloc(one, size);
    EXPECT_EQ(node_of(p), 1u);
    EXPECT_EQ(a_.free(zero, p).misuse, Misuse::kNone);
  }
  EXPECT_EQ(a_->detach(zero).misuse, Misuse::kNone);
  EXPECT_EQ(a_->detach(one).misuse, Misuse::kNone);
  expect_all_free();
}

TEST_F(Numa, AFullNodeFallsBackToTheNearestWithMemory) {
  ThreadCache* cache = on(1);
  std::vector<void*> all;
  std::vector<unsigned> order;
  while (void* p = a_.malloc(cache, kMaxSmallSize)) {
    if (order.empty() || order.back() != node_of(p)) order.push_back(node_of(p));
    all.push_back(p);
  }
  EXPECT_EQ(order, (std::vector<unsigned>{1, 3, 0})) << "by distance, then by number";
  EXPECT_GE(all.size() * kMaxSmallSize, 3 * kCapacity - (size_t{1} << 20));
  EXPECT_EQ(a_.malloc(cache, 100000), nullptr);
  EXPECT_EQ(a_->verify(), nullptr);
  for (void* p : all) ASSERT_EQ(a_.free(cache, p).misuse, Misuse::kNone);
  EXPECT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  expect_all_free();
}

TEST_F(Numa, MovedRunsStayOnTheirNode) {
  if (kTsan) GTEST_SKIP() << "the sanitizer has no shadow for bare space";
  ThreadCache* cache = on(3);
  void* p = a_.malloc(cache, size_t{2} << 20);
  void* wall = a_.malloc(cache, 100000);
  write_pattern(p, size_t{2} << 20, 9);
  void* q = a_->resize_large(p, size_t{10} << 20);
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(node_of(q), 3u);
  EXPECT_TRUE(check_pattern(q, size_t{2} << 20, size_t{2} << 20, 9));
  EXPECT_EQ(a_.free(cache, q).misuse, Misuse::kNone);
  EXPECT_EQ(a_.free(cache, wall).misuse, Misuse::kNone);
  EXPECT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  expect_all_free();
}

TEST_F(Numa, PointersIntoTheGapOfANodeWithoutMemoryAreMisuse) {
  char* base = a_->pages().zone(NodeId(0)).arena().memory();
  char* gap = base + kMemoryless * kCapacity + 4096;
  EXPECT_EQ(a_->kind_of(gap), PointerKind::kNotGivenOut);
  EXPECT_EQ(a_.free(nullptr, gap).misuse, Misuse::kNotGivenOut);
  EXPECT_EQ(a_->usable_size(gap), 0u);
}

TEST(NumaOff, OneArenaForAllNodes) {
  PrivateAllocator a;
  make_topology(a.topology(), 4, 0b0001);
  a.options().numa = false;
  ASSERT_TRUE(a.start(kCapacity));
  EXPECT_EQ(a->nr_nodes(), 1u);
  EXPECT_EQ(a->pages().zone(NodeId(0)).stats().managed, Pages((uint64_t{12} << 30) >> kPageShift));
  ThreadCache* cache = a->attach();
  void* p = a.malloc(cache, 100);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(a.free(cache, p).misuse, Misuse::kNone);
  EXPECT_EQ(a->verify(), nullptr);
}

TEST(Numa64, AllNodesThatThereMayBe) {
  PrivateAllocator a;
  make_topology(a.topology(), kMaxNodes);
  ASSERT_TRUE(a.start(size_t{8} << 20));
  ThreadCache* cache = a->attach();
  std::vector<void*> all;
  for (unsigned n = 0; n < kMaxNodes; ++n) {
    cache->node = static_cast<uint16_t>(n);
    all.push_back(a.malloc(cache, 100000));
    ASSERT_NE(all.back(), nullptr);
    EXPECT_EQ(a->pages().zone_of(all.back())->node().v, n);
  }
  EXPECT_EQ(a->verify(), nullptr);
  for (void* p : all) EXPECT_EQ(a.free(cache, p).misuse, Misuse::kNone);
  EXPECT_EQ(a->verify(), nullptr);
}

}  // namespace
}  // namespace weir
