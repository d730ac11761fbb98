// movable_table_test.cc: handles, what is refused of them, and who waits for whom.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "compact/movable.h"

namespace weir {
namespace {

class MovableTableTest : public testing::Test {
 protected:
  ~MovableTableTest() override { table().destroy(); }
  MovableTable& table() { return *table_; }
  MovableId make(char* address, size_t bytes) {
    const MovableId id = table().make();
    if (id) table().publish(id, address, bytes);
    return id;
  }
  void free(MovableId id) {
    char* address = nullptr;
    ASSERT_EQ(table().take_away(id, address), MovableCall::kDone);
    table().give_up(id);
  }
  char place_[3] = {};

 private:
  std::unique_ptr<MovableTable> table_ = std::make_unique<MovableTable>();
};

TEST_F(MovableTableTest, PinTellsWhere) {
  const MovableId id = make(&place_[0], 5000);
  ASSERT_TRUE(id);
  EXPECT_EQ(table().bytes_of_object(id), 5000u);
  EXPECT_EQ(table().nr_objects(), 1u);
  EXPECT_EQ(table().bytes(), 5000u);
  char* address = nullptr;
  EXPECT_EQ(table().pin(id, address), MovableCall::kDone);
  EXPECT_EQ(address, &place_[0]);
  EXPECT_EQ(table().unpin(id), MovableCall::kDone);
  free(id);
  EXPECT_EQ(table().nr_objects(), 0u);
  EXPECT_EQ(table().bytes(), 0u);
}

TEST_F(MovableTableTest, MistakesAreRefused) {
  const MovableId id = make(&place_[0], 1);
  char* address = nullptr;
  EXPECT_EQ(table().unpin(id), MovableCall::kNotPinned);
  EXPECT_EQ(table().pin(id, address), MovableCall::kDone);
  EXPECT_EQ(table().pin(id, address), MovableCall::kDone);
  EXPECT_EQ(table().take_away(id, address), MovableCall::kPinned);
  EXPECT_EQ(table().unpin(id), MovableCall::kDone);
  EXPECT_EQ(table().take_away(id, address), MovableCall::kPinned);
  EXPECT_EQ(table().unpin(id), MovableCall::kDone);
  EXPECT_EQ(table().unpin(id), MovableCall::kNotPinned);
  free(id);
  EXPECT_EQ(table().pin(id, address), MovableCall::kNoObject);
  EXPECT_EQ(table().unpin(id), MovableCall::kNoObject);
  EXPECT_EQ(table().take_away(id, address), MovableCall::kNoObject);
  EXPECT_EQ(table().bytes_of_object(id), 0u);
  for (const uint64_t bits : {uint64_t{0}, ~uint64_t{0}, uint64_t{1} << 32 | 777777, uint64_t{4711}}) {
    EXPECT_EQ(table().pin({bits}, address), MovableCall::kNoObject) << bits;
    EXPECT_EQ(table().unpin({bits}), MovableCall::kNoObject) << bits;
  }
}

TEST_F(MovableTableTest, APlaceThatIsUsedAgainHasAnotherHandle) {
  std::set<uint64_t> seen;
  for (int i = 0; i < 100; ++i) {
    const MovableId id = make(&place_[0], 1);
    EXPECT_TRUE(seen.insert(id.bits).second);
    EXPECT_EQ(id.index(), 0u);
    free(id);
  }
}

TEST_F(MovableTableTest, GrowsAndFillsItsGaps) {
  std::vector<MovableId> ids;
  std::set<uint32_t> places;
  for (uint32_t i = 0; i < 5000; ++i) {
    ids.push_back(make(&place_[i % 3], i + 1));
    ASSERT_TRUE(places.insert(ids.back().index()).second);
    ASSERT_LT(ids.back().index(), 5 * 1024u);
  }
  free(ids[1234]);
  EXPECT_EQ(make(&place_[0], 1).index(), ids[1234].index());
  for (uint32_t i = 0; i < 5000; ++i) {
    if (i == 1234) continue;
    ASSERT_EQ(table().bytes_of_object(ids[i]), i + 1);
  }
}

TEST_F(MovableTableTest, WhatIsPinnedDoesNotMove) {
  const MovableId id = make(&place_[0], 1);
  char* address = nullptr;
  ASSERT_EQ(table().pin(id, address), MovableCall::kDone);
  EXPECT_FALSE(table().begin_move(id.index(), &place_[0]));
  ASSERT_EQ(table().unpin(id), MovableCall::kDone);
  EXPECT_FALSE(table().begin_move(id.index(), &place_[1])) << "another object was meant";
  EXPECT_TRUE(table().begin_move(id.index(), &place_[0]));
  EXPECT_FALSE(table().begin_move(id.index(), &place_[0])) << "somebody is at it";
  table().end_move(id.index(), &place_[1]);
  ASSERT_EQ(table().pin(id, address), MovableCall::kDone);
  EXPECT_EQ(address, &place_[1]);
  ASSERT_EQ(table().unpin(id), MovableCall::kDone);
  free(id);
  EXPECT_FALSE(table().begin_move(id.index(), &place_[1])) << "no object";
  EXPECT_FALSE(table().begin_move(4711, &place_[1])) << "nor any place";
}

// A thread that pins or frees meanwhile goes on when the move has ended, with the new address.
TEST_F(MovableTableTest, WhoWantsWhatMovesWaits) {
  for (int round = 0; round < 50; ++round) {
    const MovableId pinned = make(&place_[0], 1), freed = make(&place_[0], 1);
    ASSERT_TRUE(table().begin_move(pinned.index(), &place_[0]));
    ASSERT_TRUE(table().begin_move(freed.index(), &place_[0]));
    std::atomic<bool> moved{false};
    std::thread pins([&] {
      char* address = nullptr;
      EXPECT_EQ(table().pin(pinned, address), MovableCall::kDone);
      EXPECT_TRUE(moved.load());
      EXPECT_EQ(address, &place_[1]);
      EXPECT_EQ(table().unpin(pinned), MovableCall::kDone);
    });
    std::thread frees([&] {
      char* address = nullptr;
      EXPECT_EQ(table().take_away(freed, address), MovableCall::kDone);
      EXPECT_TRUE(moved.load());
      EXPECT_EQ(address, &place_[2]);
    });
    if (round % 2 != 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    moved = true;
    table().end_move(pinned.index(), &place_[1]);
    table().end_move(freed.index(), &place_[2]);
    pins.join();
    frees.join();
    table().give_up(freed);
    free(pinned);
  }
}

}  // namespace
}  // namespace weir
