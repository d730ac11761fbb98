// stats_page_test.cc: what other processes see: the page of an allocator of the test's own agrees with what that knows.
#include "malloc/stats_page.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string>

#include "os/file.h"
#include "support/private_allocator.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{256} << 20;

std::map<std::string, uint64_t> counters(const char* names, const uint64_t* values, unsigned count) {
  std::map<std::string, uint64_t> all;
  for (unsigned i = 0; i < count; ++i) {
    all[names] = values[i];
    names += std::string(names).size() + 1;
  }
  EXPECT_EQ(all.size(), count) << "a name is missing or there twice";
  return all;
}

class StatsPageTest : public testing::Test {
 protected:
  ~StatsPageTest() override { os::close_descriptor(page_.take_descriptor()); }
  void start(unsigned nr_nodes) {
    make_topology(topology_, nr_nodes);
    page_.map(nr_nodes, false, nullptr, options_);
    AllocatorSetup setup;
    setup.options = &options_;
    setup.topology = &topology_;
    setup.bare = false;
    setup.capacity = Pages(kCapacity >> kPageShift);
    setup.stats = &page_;
    ASSERT_TRUE(allocator_->init(setup));
  }
  void TearDown() override {
    if (allocator_->nr_nodes() != 0) allocator_->destroy();
  }
  const weir_stats_node& node(unsigned n) { return *weir_stats_node_at(page_.page(), n); }

  // Everything that is shown of a node is what its zone and depots say.
  void expect_agreement(unsigned n) {
    const NodeId id(static_cast<uint16_t>(n));
    const ZoneStats s = allocator_->pages().zone(id).stats();
    const weir_stats_node& shown = node(n);
    EXPECT_EQ(shown.present_node, 1u);
    EXPECT_EQ(shown.spanned, s.capacity.v);
    EXPECT_EQ(shown.present, s.accessible.v);
    EXPECT_EQ(shown.managed, s.managed.v);
    EXPECT_EQ(shown.charged, s.charged.v);
    EXPECT_EQ(shown.free_resident, s.free_resident.v);
    EXPECT_EQ(shown.watermark_min, s.watermarks.min.v);
    EXPECT_EQ(shown.watermark_low, s.watermarks.low.v);
    EXPECT_EQ(shown.watermark_high, s.watermarks.high.v);
    EXPECT_EQ(shown.metadata_bytes, s.metadata_bytes);
    uint64_t free = 0, blocks = 0;
    for (unsigned t = 0; t < kNrMigrateTypes; ++t) {
      blocks += shown.pageblocks[t];
      for (unsigned o = 0; o < kNrOrders; ++o) {
        EXPECT_EQ(shown.free_blocks[t][o], s.buddy.free_blocks[t][o]) << "type " << t << " order " << o;
        free += shown.free_blocks[t][o] << o;
      }
    }
    EXPECT_EQ(free, shown.present - shown.charged);
    EXPECT_EQ(blocks, (shown.present + kPageblockPages - 1) / kPageblockPages);
    const auto all = counters(page_.page()->node_counter_names, shown.counters, page_.page()->nr_node_counters);
#define VMSTAT(name, help) EXPECT_EQ(all.at(#name), s.name) << #name;
#include "page/vmstat.def"
#undef VMSTAT
    EXPECT_EQ(all.at("pgalloc_normal") - all.at("pgfree"), shown.charged);
    for (unsigned c = 1; c < kNrSizeClasses; ++c) {
      const DepotStats d = allocator_->depots(id).stats(c);
      weir_stats_slab slab = {};
      for (unsigned lane = 0; lane < page_.page()->nr_lanes; ++lane) {
        const weir_stats_slab& part = *weir_stats_slab_at(page_.page(), n, lane, c);
        if (part.slabs == 0) continue;
        slab.object_size = part.object_size;
        slab.objects_per_slab = part.objects_per_slab;
        slab.slabs += part.slabs;
        slab.free_objects += part.free_objects;
      }
      EXPECT_EQ(slab.slabs, d.slabs) << "class " << c;
      EXPECT_EQ(slab.free_objects, d.free_objects + d.transfer_objects) << "class " << c;
      if (d.slabs == 0) continue;
      EXPECT_EQ(slab.object_size, kSizeClasses[c].size);
      EXPECT_EQ(slab.objects_per_slab, kSizeClasses[c].objects);
      EXPECT_LE(slab.free_objects, slab.slabs * slab.objects_per_slab);
    }
  }

  // Before the allocator, which keeps pointers to it.
  StatsPage page_;
  Options options_;
  Topology topology_;
  std::unique_ptr<Allocator> allocator_ = std::make_unique<Allocator>();
};

TEST_F(StatsPageTest, TheHeadSaysWhereEverythingIs) {
  start(3);
  const weir_stats_page& p = *page_.page();
  EXPECT_EQ(p.magic, WEIR_STATS_MAGIC);
  EXPECT_EQ(memcmp(&p.magic, "weirstat", 8), 0);
  EXPECT_EQ(p.version, WEIR_STATS_VERSION);
  EXPECT_EQ(p.pid, static_cast<uint32_t>(getpid()));
  EXPECT_EQ(p.nr_nodes, 3u);
  EXPECT_GE(p.node_offset, sizeof(p));
  EXPECT_GE(p.slab_offset, p.node_offset + 3 * p.node_size);
  EXPECT_GE(p.swap_path_offset, p.slab_offset + 3 * p.nr_lanes * p.nr_classes * p.slab_size);
  EXPECT_GE(p.size, p.swap_path_offset + size_t{WEIR_STATS_PATH});
  EXPECT_EQ(p.limit, 0u);
  EXPECT_EQ(p.mode, uint64_t{WEIR_STATS_UNLIMITED});
  EXPECT_EQ(counters(p.counter_names, p.counters, p.nr_counters).count("pgscan_kswapd"), 1u);
}

TEST_F(StatsPageTest, TextsAreShown) {
  ASSERT_TRUE(options_.pool.assign("builds"));
  ASSERT_TRUE(options_.swap.assign(std::string(Text::kCapacity - 1, 's')));
  ASSERT_TRUE(options_.swap_fault.assign(std::string(Text::kCapacity - 1, 'f')));
  start(1);
  const weir_stats_page& p = *page_.page();
  ASSERT_NE(p.text_offset, 0u);
  ASSERT_LE(p.text_offset + size_t{WEIR_STATS_TEXTS}, p.size);
  const char* at = reinterpret_cast<const char*>(&p) + p.text_offset;
  for (const std::string& word :
       {std::string("pool"), std::string("builds"), std::string("swap"), std::string(Text::kCapacity - 1, 's'),
        std::string("swap_fault"), std::string(Text::kCapacity - 1, 'f'), std::string()}) {
    EXPECT_EQ(at, word);
    at += word.size() + 1;
  }
}

TEST_F(StatsPageTest, AgreesWithZonesAndDepotsAtEveryStep) {
  start(2);
  ThreadCache* cache = allocator_->attach();
  std::vector<void*> objects;
  for (size_t size = 16; size < (size_t{8} << 20); size += size / 3) {
    const bool small = size <= kMaxSmallSize;
    void* p = small ? allocator_->alloc_slow(cache, class_of_size(size))
                    : allocator_->alloc_large(cache, size, kPageSize, false);
    ASSERT_NE(p, nullptr);
    objects.push_back(p);
    expect_agreement(0);
    expect_agreement(1);
  }
  for (void* p : objects) ASSERT_EQ(allocator_->free_slow(cache, p).misuse, Misuse::kNone);
  expect_agreement(0);
  size_t bytes = 0;
  ASSERT_EQ(allocator_->trim(cache, bytes).misuse, Misuse::kNone);
  expect_agreement(0);
  expect_agreement(1);
  EXPECT_EQ(node(0).charged + node(1).charged, 0u);
  EXPECT_EQ(allocator_->verify(), nullptr);
}

TEST_F(StatsPageTest, PagesOfAnotherNodeAreMisses) {
  start(2);
  // All processors belong to node 0, whose arena ends sooner than the program does.
  std::vector<void*> runs;
  constexpr size_t kRun = size_t{4} << 20;
  for (size_t taken = 0; taken < kCapacity + kCapacity / 2; taken += kRun)
    runs.push_back(allocator_->alloc_large(nullptr, kRun, kPageSize, false));
  const unsigned count = page_.page()->nr_node_counters;
  const auto near = counters(page_.page()->node_counter_names, node(0).counters, count);
  const auto far = counters(page_.page()->node_counter_names, node(1).counters, count);
  EXPECT_GT(near.at("numa_hit"), 0u);
  EXPECT_EQ(near.at("numa_miss"), 0u);
  EXPECT_GT(far.at("numa_miss"), 0u);
  EXPECT_EQ(near.at("numa_foreign"), far.at("numa_miss"));
  EXPECT_EQ(near.at("numa_hit") + far.at("numa_miss"), runs.size());
  for (void* p : runs) ASSERT_EQ(allocator_->free_slow(nullptr, p).misuse, Misuse::kNone);
}

TEST(StatsPageFile, AChildHasItsOwn) {
  const Options options;
  StatsPage page;
  page.map(1, true, nullptr, options);
  ASSERT_NE(page.page(), nullptr);
  const int fd = page.take_descriptor();
  if (fd < 0) GTEST_SKIP() << "no memfd here";
  page.page()->limit = 4711;
  weir_stats_page through_descriptor = {};
  ASSERT_EQ(pread(fd, &through_descriptor, sizeof(through_descriptor), 0), ssize_t{sizeof(through_descriptor)});
  EXPECT_EQ(through_descriptor.limit, 4711u);
  for (const bool quietly : {false, true}) {
    const pid_t child = fork();
    if (child == 0) {
      if (!page.renew(quietly) || page.page()->limit != 0) _exit(1);
      if (page.page()->pid != static_cast<uint32_t>(getpid())) _exit(2);
      page.page()->limit = 1;
      _exit((page.take_descriptor() < 0) == quietly ? 0 : 3);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "quietly: " << quietly;
    EXPECT_EQ(page.page()->limit, 4711u) << "the parent's is untouched";
    EXPECT_EQ(page.page()->pid, static_cast<uint32_t>(getpid()));
  }
  close(fd);
}

TEST(StatsPageFile, InTheRoomThatIsGiven) {
  alignas(kPageSize) static char room[StatsPage::kBytesOfOneNode] = {};
  const Options options;
  StatsPage page;
  page.map(1, false, room, options);
  EXPECT_EQ(static_cast<void*>(page.page()), room);
  EXPECT_LT(page.take_descriptor(), 0);
  page.page()->sequence = 7;
  EXPECT_FALSE(page.renew(false)) << "private memory is the child's own already";
  EXPECT_EQ(page.page()->sequence, 8u) << "nobody in the child is writing";
}

}  // namespace
}  // namespace weir
