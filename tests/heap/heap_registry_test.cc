// heap_registry_test.cc: names, handles and places of heaps, many of them, and nodes.
#include "heap/heap_registry.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "os/vm.h"
#include "support/private_heaps.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{512} << 20;

class HeapRegistryTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(h_.start(kCapacity)); }
  int try_create(const char* name, const HeapSettings& settings = {}) {
    HeapId id;
    return h_.registry->create(name, settings, id);
  }
  std::string name_of(HeapId id) {
    char name[Heap::kNameBytes];
    return h_.registry->name(id, name) ? name : "";
  }
  PrivateHeaps h_;
};

TEST_F(HeapRegistryTest, Names) {
  const HeapId a = h_.create("a"), b = h_.create("b");
  EXPECT_EQ(h_.registry->find("a"), a);
  EXPECT_EQ(h_.registry->find("b"), b);
  EXPECT_EQ(h_.registry->find("c"), HeapId());
  EXPECT_EQ(try_create("a"), EEXIST);
  EXPECT_EQ(try_create(""), EINVAL);
  EXPECT_EQ(try_create("two\nlines"), EINVAL);
  EXPECT_EQ(try_create("\x7f"), EINVAL);
  const std::string longest(Heap::kNameBytes - 1, 'x');
  EXPECT_EQ(try_create((longest + "x").c_str()), EINVAL);
  EXPECT_EQ(name_of(h_.create(longest.c_str())), longest);
  h_.destroy(a);
  EXPECT_EQ(h_.registry->find("a"), HeapId());
  EXPECT_EQ(name_of(a), "");
  const HeapId again = h_.create("a");
  EXPECT_NE(again, a);
  EXPECT_EQ(h_.registry->find("a"), again);
  h_.create("heap-1");
  EXPECT_EQ(name_of(h_.create(nullptr)), "heap-2") << "the first one is taken";
  EXPECT_EQ(h_.allocator->verify(), nullptr);
}

TEST_F(HeapRegistryTest, SettingsOutOfRange) {
  const auto with = [](auto change) {
    HeapSettings s;
    change(s);
    return s;
  };
  EXPECT_EQ(try_create("x", with([](HeapSettings& s) { s.oom_score_adj = 1001; })), EINVAL);
  EXPECT_EQ(try_create("x", with([](HeapSettings& s) { s.oom_score_adj = -1001; })), EINVAL);
  EXPECT_EQ(try_create("x", with([](HeapSettings& s) { s.node = 1; })), EINVAL);
  EXPECT_EQ(try_create("x", with([](HeapSettings& s) { s.node = -2; })), EINVAL);
  EXPECT_EQ(try_create("x", with([](HeapSettings& s) { s.flags = 1; })), EINVAL);
  EXPECT_EQ(h_.registry->nr_heaps(), 0u);
  HeapSettings all;
  all.oom_score_adj = -1000;
  all.node = 0;
  all.soft_limit = 12345;
  all.limit = 123456;
  all.noswap = true;
  const HeapId id = h_.create("x", all);
  const HeapStats s = h_.stats(id);
  EXPECT_EQ(s.oom_score_adj, -1000);
  EXPECT_EQ(s.soft_limit, 12345u);
  EXPECT_EQ(s.limit, 123456u / kPageSize);
  EXPECT_TRUE(s.noswap);
  EXPECT_EQ(h_.registry->set_oom_score_adj(id, 1001), EINVAL);
  EXPECT_EQ(h_.registry->set_oom_score_adj(id, 1000), 0);
  EXPECT_EQ(h_.registry->set_soft_limit(id, 1), 0);
  EXPECT_EQ(h_.stats(id).oom_score_adj, 1000);
  EXPECT_EQ(h_.stats(id).soft_limit, 1u);
}

TEST_F(HeapRegistryTest, StaleHandlesNameNobody) {
  const HeapId old = h_.create("first");
  void* p = h_.malloc(old, 100);
  ASSERT_NE(p, nullptr);
  h_.destroy(old);
  const HeapId fresh = h_.create("second");
  ASSERT_EQ(fresh.index(), old.index()) << "in the same place";
  for (const HeapId id : {old, HeapId{1}, HeapId{~uint64_t{0}}, HeapId::of(60000, 1), HeapId::of(0, 1),
                          HeapId::of(fresh.index(), fresh.generation() + 1)}) {
    h_.error = 0;
    EXPECT_EQ(h_.malloc(id, 100), nullptr);
    EXPECT_EQ(h_.error, EINVAL);
    EXPECT_EQ(h_.malloc(id, 100000), nullptr);
    EXPECT_EQ(h_.error, EINVAL);
    Pages released;
    EXPECT_EQ(h_.registry->destroy_heap(id, released), EINVAL);
    EXPECT_EQ(h_.registry->set_limit(id, 1), EINVAL);
    HeapStats s;
    EXPECT_FALSE(h_.registry->stats(id, s));
  }
  EXPECT_EQ(h_.charged(fresh), 0u);
  EXPECT_EQ(h_.stats(fresh).limit, PageOwner::kNoLimit);
  EXPECT_EQ(h_.allocator->verify(), nullptr);
}

TEST_F(HeapRegistryTest, ANewHeapInAnOldPlaceKnowsNothing) {
  HeapSettings settings;
  settings.limit = 64 << 10;
  settings.oom_score_adj = 5;
  const HeapId old = h_.create("old", settings);
  while (h_.malloc(old, 1000) != nullptr) {
  }
  h_.destroy(old);
  const HeapStats s = h_.stats(h_.create("new"));
  EXPECT_EQ(s.charged.v, 0u);
  EXPECT_EQ(s.peak.v, 0u);
  EXPECT_EQ(s.limit, PageOwner::kNoLimit);
  EXPECT_EQ(s.oom_score_adj, 0);
  EXPECT_EQ(s.limit_failures, 0u);
}

TEST_F(HeapRegistryTest, OneAfterTheOther) {
  std::vector<HeapId> ids;
  for (int i = 0; i < 200; ++i) ids.push_back(h_.create());
  for (int i = 0; i < 200; i += 3) h_.destroy(ids[static_cast<size_t>(i)]);
  std::set<uint64_t> seen;
  for (HeapId id = h_.registry->next({}); id; id = h_.registry->next(id)) EXPECT_TRUE(seen.insert(id.bits).second);
  for (size_t i = 0; i < 200; ++i) EXPECT_EQ(seen.count(ids[i].bits), i % 3 != 0 ? 1u : 0u);
  EXPECT_EQ(seen.size(), h_.registry->nr_heaps());
  EXPECT_EQ(h_.registry->next(ids[0]).index(), ids[1].index()) << "a heap that is gone has a place in the order";
}

// Cheap when empty, and when used: what is touched is counted.
TEST_F(HeapRegistryTest, TenThousand) {
  constexpr size_t kHeaps = 10000;
  std::vector<HeapId> ids;
  for (size_t i = 0; i < kHeaps; ++i) ids.push_back(h_.create(("tenant-" + std::to_string(i)).c_str()));
  EXPECT_EQ(h_.allocator.charged(), 0u);
  EXPECT_LE(sizeof(Heap), 384u) << "all that an empty heap touches";
  for (size_t i = 0; i < kHeaps; i += 7) {
    void* p = h_.malloc(ids[i], 100);
    ASSERT_NE(p, nullptr);
    ASSERT_EQ(h_.registry->heap_of(p), ids[i]);
    ASSERT_EQ(h_.charged(ids[i]), 4u);
  }
  EXPECT_EQ(h_.allocator.charged(), (kHeaps + 6) / 7 * 4);
  EXPECT_EQ(h_.registry->find("tenant-4711"), ids[4711]);
  EXPECT_EQ(h_.allocator->verify(), nullptr);
  for (const HeapId id : ids) h_.destroy(id);
  EXPECT_EQ(h_.allocator.charged(), 0u);
  EXPECT_EQ(h_.registry->nr_heaps(), 0u);
  EXPECT_EQ(h_.allocator->verify(), nullptr);
}

TEST_F(HeapRegistryTest, AsManyAsThereMayBe) {
  std::vector<HeapId> ids(HeapRegistry::kMostHeaps);
  for (HeapId& id : ids) ASSERT_EQ(h_.registry->create(nullptr, {}, id), 0);
  EXPECT_EQ(try_create("one too many"), ENOSPC);
  EXPECT_NE(h_.malloc(ids.back(), 100), nullptr);
  EXPECT_EQ(ids.back().index(), HeapRegistry::kMostHeaps);
  h_.destroy(ids[12345]);
  EXPECT_EQ(try_create("in its place"), 0);
  EXPECT_EQ(h_.allocator->verify(), nullptr);
}

TEST(HeapNodes, MemoryIsOfTheHeapsNode) {
  PrivateHeaps h;
  make_topology(h.allocator.topology(), 4, 0b0100);
  ASSERT_TRUE(h.start(kCapacity));
  HeapSettings settings;
  settings.node = 2;
  HeapId id;
  EXPECT_EQ(h.registry->create("x", settings, id), EINVAL) << "no memory there";
  for (int round = 0; round < 2; ++round) {
    for (const int node : {3, 1, -1}) {
      settings.node = node;
      id = h.create("x", settings);
      const NodeId wanted(static_cast<uint16_t>(node == -1 ? 0 : node));
      EXPECT_EQ(h.stats(id).node, wanted);
      for (const size_t size : {size_t{100}, size_t{10000}, size_t{1000000}, size_t{20} << 20}) {
        void* p = h.malloc(id, size);
        ASSERT_NE(p, nullptr);
        EXPECT_EQ(h.allocator->pages().zone_of(p)->node(), wanted);
        EXPECT_EQ(h.registry->heap_of(p), id);
      }
      EXPECT_EQ(h.allocator->pages().zone(wanted).stats().charged.v, h.charged(id));
      EXPECT_EQ(h.allocator->verify(), nullptr);
      h.destroy(id);
    }
  }
  EXPECT_EQ(h.allocator.charged(), 0u);
}

}  // namespace
}  // namespace weir
