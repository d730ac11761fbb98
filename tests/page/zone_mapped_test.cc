// zone_mapped_test.cc: runs that are given back in parts: whose a page is, what is left, and that nothing is lost or
// given out twice, whatever parts are taken out of what.
#include <gtest/gtest.h>

#include <vector>

#include "page/zone.h"
#include "support/private_zone.h"
#include "support/random.h"

namespace weir {
namespace {

constexpr MigrateType kMovable = MigrateType::kMovable;
constexpr Pages kCapacity(64 * kMaxOrderPages);

Pfn map(PrivateZone& z, uint64_t pages) {
  const PageRun run = z->alloc_run(Pages(pages), Pages(1), kMovable);
  EXPECT_TRUE(run);
  z->mark_mapped(run.head, Pages(pages));
  return run.head;
}

TEST(ZoneMapped, TellsWhoseAPageIs) {
  PrivateZone z(kCapacity);
  const PageRun other = z->alloc_run(Pages(300), Pages(1), kMovable);
  const Pfn first = map(z, 2000);
  EXPECT_EQ(z->mapped_at(first, Pages(2000)), Pages(2000));
  EXPECT_EQ(z->mapped_at(first + 1999, Pages(2000)), Pages(1)) << "what is behind is free";
  EXPECT_EQ(z->mapped_at(first + 700, Pages(10)), Pages(10));
  EXPECT_EQ(z->mapped_at(other.head, Pages(300)), Pages(0));
  EXPECT_EQ(z->mapped_at(other.head + 150, Pages(1)), Pages(0));
  EXPECT_EQ(z->mapped_at(static_cast<Pfn>(z->accessible_estimate().v), Pages(5)), Pages(0));
  EXPECT_STREQ(z.verify(), nullptr);
  z->release_mapped(first, Pages(2000));
  EXPECT_EQ(z->mapped_at(first, Pages(2000)), Pages(0));
  EXPECT_EQ(z->stats().charged, Pages(300));
  EXPECT_STREQ(z.verify(), nullptr);
}

TEST(ZoneMapped, PartsAreGivenBack) {
  PrivateZone z(kCapacity);
  const Pfn first = map(z, 3000);
  z->release_mapped(first, Pages(10));
  z->release_mapped(first + 2990, Pages(10));
  z->release_mapped(first + 400, Pages(1200));
  EXPECT_EQ(z->stats().charged, Pages(3000 - 1220));
  EXPECT_EQ(z->mapped_at(first + 10, Pages(5000)), Pages(390));
  EXPECT_EQ(z->mapped_at(first + 1600, Pages(5000)), Pages(1390));
  EXPECT_EQ(z->mapped_at(first + 399, Pages(2)), Pages(1));
  EXPECT_EQ(z->mapped_at(first + 1000, Pages(1)), Pages(0));
  EXPECT_STREQ(z.verify(), nullptr);
  z->release_mapped(first + 10, Pages(390));
  z->release_mapped(first + 1600, Pages(1390));
  EXPECT_EQ(z->stats().charged, Pages(0));
  EXPECT_STREQ(z.verify(), nullptr);
}

TEST(ZoneMapped, ExactlyThesePagesAreTakenIfAllAreFree) {
  PrivateZone z(kCapacity);
  const Pfn first = map(z, 2000);
  z->release_mapped(first + 100, Pages(900));
  PageRun run;
  EXPECT_FALSE(z->take_mapped(first + 50, Pages(100), run)) << "its owner has the first of them";
  EXPECT_FALSE(z->take_mapped(first + 950, Pages(100), run)) << "and the last";
  ASSERT_TRUE(z->take_mapped(first + 333, Pages(444), run));
  EXPECT_EQ(run.head, first + 333);
  EXPECT_EQ(run.resident, Pages(444)) << "whoever had them may have touched them";
  EXPECT_FALSE(z->take_mapped(first + 776, Pages(1), run));
  EXPECT_TRUE(z->take_mapped(first + 777, Pages(223), run));
  EXPECT_EQ(z->mapped_at(first + 333, Pages(5000)), Pages(2000 - 333));
  EXPECT_FALSE(z->take_mapped(static_cast<Pfn>(kCapacity.v) - 1, Pages(2), run)) << "behind the end";
  EXPECT_STREQ(z.verify(), nullptr);
}

TEST(ZoneMapped, ProtectionIsNotedByPageblocks) {
  PrivateZone z(kCapacity);
  const Pfn first = map(z, 3000);
  EXPECT_FALSE(z->is_protected(first, Pages(3000)));
  z->note_protected(first + 1100, Pages(1));
  EXPECT_TRUE(z->is_protected(first, Pages(3000)));
  EXPECT_TRUE(z->is_protected(first + 1100, Pages(1)));
  EXPECT_FALSE(z->is_protected(first, Pages(400)));
  // What is left keeps it; who gets it next does not have it.
  z->release_mapped(first + 1100, Pages(1));
  EXPECT_TRUE(z->is_protected(first + 1101, Pages(1)));
  z->release_mapped(first, Pages(1100));
  z->release_mapped(first + 1101, Pages(1899));
  const Pfn again = map(z, 3000);
  EXPECT_FALSE(z->is_protected(again, Pages(3000)));
}

TEST(ZoneMapped, AgreesWithAModel) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    PrivateZone z(kCapacity);
    // 0: not ours; else the number of the mapping.
    std::vector<uint32_t> model(kCapacity.v);
    uint64_t held = 0;
    for (uint32_t step = 1; step < 600; ++step) {
      if (random.below(3) == 0 && held < kCapacity.v / 3) {
        const uint64_t pages = 1 + random.below(random.below(4) == 0 ? 3000 : 200);
        const PageRun run = z->alloc_run(Pages(pages), Pages(1), kMovable);
        if (!run) continue;  // what is free lies in pieces
        const Pfn first = run.head;
        z->mark_mapped(first, Pages(pages));
        for (uint64_t i = first; i < first + pages; ++i) {
          ASSERT_EQ(model[i], 0u) << "given out twice";
          model[i] = step;
        }
        held += pages;
        continue;
      }
      // A stretch that is ours from a random place on.
      const uint64_t place = random.below(z->accessible_estimate().v);
      uint64_t end = place;
      while (end < model.size() && model[end] != 0 && end - place < 1 + step * 7 % 900) ++end;
      ASSERT_EQ(z->mapped_at(static_cast<Pfn>(place), Pages(end - place + 1)).v >= end - place, true);
      if (end == place) {
        ASSERT_EQ(z->mapped_at(static_cast<Pfn>(place), Pages(1)), Pages(0));
        PageRun run;
        if (random.below(4) == 0 && z->take_mapped(static_cast<Pfn>(place), Pages(1), run)) model[place] = step, ++held;
        continue;
      }
      z->release_mapped(static_cast<Pfn>(place), Pages(end - place));
      for (uint64_t i = place; i < end; ++i) model[i] = 0;
      held -= end - place;
      ASSERT_EQ(z->stats().charged, Pages(held));
      if (step % 50 == 0) {
        ASSERT_STREQ(z.verify(), nullptr);
      }
    }
    ASSERT_STREQ(z.verify(), nullptr);
  }
}

}  // namespace
}  // namespace weir
