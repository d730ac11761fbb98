// Where kswapd goes to unmap pages and where it goes afterwards, as the kernel says.
#include "reclaim/unmap_place.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace weir {
namespace {

constexpr uint64_t kSpread = 0x1111111111111111;  // pages of a cluster, none beside another
constexpr uint64_t kInARow = ~uint64_t{0};

os::CpuMask here() {
  os::CpuMask mask;
  EXPECT_TRUE(os::get_cpus(mask));
  return mask;
}

bool same(const os::CpuMask& a, const os::CpuMask& b) {
  for (unsigned cpu = 0; cpu < os::CpuMask::kMost; ++cpu)
    if (a.has(cpu) != b.has(cpu)) return false;
  return true;
}

// What a thread may run on is changed: each test is a thread of its own. `cpu`: the last that there is.
void on_a_thread(void (*test)(const os::CpuMask& all, unsigned cpu)) {
  std::thread([test] {
    const os::CpuMask all = here();
    unsigned cpu = 0;
    for (unsigned i = 0; i < os::CpuMask::kMost; ++i)
      if (all.has(i)) cpu = i;
    test(all, cpu);
  }).join();
}

#define NEEDS_TWO_PROCESSORS() \
  if (here().count() < 2) GTEST_SKIP() << "there is one processor"

TEST(UnmapPlace, OnTheBusyProcessorAndThenOnTheOthers) {
  NEEDS_TWO_PROCESSORS();
  on_a_thread([](const os::CpuMask& all, unsigned cpu) {
    BusyCpu busy;
    UnmapPlace place(busy);
    busy.note(static_cast<int>(cpu));
    for (int round = 0; round < 2; ++round) {
      place.enter();
      place.enter();
      EXPECT_EQ(here().count(), 1u);
      EXPECT_TRUE(here().has(cpu));
      EXPECT_EQ(sched_getcpu(), static_cast<int>(cpu));
      place.leave();
      place.leave();
      EXPECT_FALSE(here().has(cpu));
      EXPECT_EQ(here().count(), all.count() - 1);
    }
  });
}

TEST(UnmapPlace, AnywhereWhenSeveralThreadsFault) {
  on_a_thread([](const os::CpuMask& all, unsigned cpu) {
    BusyCpu busy;
    UnmapPlace place(busy);
    place.enter();
    EXPECT_TRUE(same(here(), all));
    busy.note(static_cast<int>(cpu));
    busy.note(BusyCpu::kNone);
    place.enter();
    place.leave();
    EXPECT_TRUE(same(here(), all));
  });
}

TEST(UnmapPlace, AnywhereWhenPagesLieInARow) {
  NEEDS_TWO_PROCESSORS();
  on_a_thread([](const os::CpuMask& all, unsigned cpu) {
    BusyCpu busy;
    UnmapPlace place(busy);
    busy.note(static_cast<int>(cpu));
    place.note(kInARow);
    place.enter();
    EXPECT_TRUE(same(here(), all));
    for (int i = 0; i < 1000; ++i) place.note(kSpread);
    place.enter();
    EXPECT_EQ(here().count(), 1u) << "what was long ago is forgotten";
    place.leave();
    for (int i = 0; i < 1000; ++i) place.note(kInARow);
    place.enter();
    EXPECT_FALSE(here().has(cpu));
  });
}

TEST(UnmapPlace, StaysWhereThereIsOneProcessor) {
  on_a_thread([](const os::CpuMask&, unsigned cpu) {
    ASSERT_TRUE(os::run_on_cpu(cpu));
    BusyCpu busy;
    UnmapPlace place(busy);
    busy.note(static_cast<int>(cpu));
    place.enter();
    place.leave();
    EXPECT_TRUE(here().has(cpu));
    EXPECT_EQ(here().count(), 1u);
  });
}

TEST(UnmapPlace, NotOnAProcessorThatIsNotTheProcesss) {
  on_a_thread([](const os::CpuMask& all, unsigned) {
    BusyCpu busy;
    UnmapPlace place(busy);
    busy.note(os::CpuMask::kMost - 1);
    place.enter();
    EXPECT_TRUE(same(here(), all));
    busy.note(os::CpuMask::kMost + 5);
    place.enter();
    EXPECT_TRUE(same(here(), all));
  });
}

}  // namespace
}  // namespace weir
