// scan_balance_test.cc: the kernel's formulas for how much of each kind is reclaimed, with numbers worked out by hand.
#include "reclaim/scan_balance.h"

#include <gtest/gtest.h>

namespace weir {
namespace {

// Nothing that nobody needs (inactive is not much), so that the proportion decides.
ScanInput equal() {
  ScanInput in;
  in.heap = 10000;
  in.active_file = 6000;
  in.inactive_file = 4000;
  in.free = 100;
  in.high = 200;
  return in;
}

TEST(ScanBalance, ByDefaultSevenFilePagesForThreeOfTheHeap) {
  const ScanShares shares = scan_shares(equal());
  EXPECT_EQ(shares.heap, 10000u * 60);
  EXPECT_EQ(shares.file, 10000u * 140);
}

TEST(ScanBalance, SwappinessIsTheProportion) {
  ScanInput in = equal();
  in.swappiness = 100;
  EXPECT_EQ(scan_shares(in).heap, scan_shares(in).file);
  in.swappiness = 0;
  EXPECT_EQ(scan_shares(in).heap, 0u);
  EXPECT_GT(scan_shares(in).file, 0u);
  in.swappiness = 200;
  EXPECT_GT(scan_shares(in).heap, 0u);
  EXPECT_EQ(scan_shares(in).file, 0u);
}

TEST(ScanBalance, WhatCostsMoreIsSparedMore) {
  ScanInput in = equal();
  in.heap_cost = 300;
  // heap: 60 * 901 / 601, file: 140 * 901 / 301
  EXPECT_EQ(scan_shares(in).heap, 10000u * 89);
  EXPECT_EQ(scan_shares(in).file, 10000u * 419);
  in.heap_cost = 0;
  in.file_cost = 300;
  EXPECT_EQ(scan_shares(in).heap, 10000u * (60 * 901 / 301));
  EXPECT_EQ(scan_shares(in).file, 10000u * (140 * 901 / 601));
}

TEST(ScanBalance, FilePagesThatNobodyNeedsGoFirst) {
  ScanInput in = equal();
  in.active_file = 4000;
  in.inactive_file = 6000;
  EXPECT_EQ(scan_shares(in).heap, 0u);
  in.file_refaults = true;
  EXPECT_GT(scan_shares(in).heap, 0u);
  in.file_refaults = false;
  // Too few of them for this round (6000 >> 13).
  in.priority = 13;
  EXPECT_GT(scan_shares(in).heap, 0u);
}

TEST(ScanBalance, TheLastFilePagesAreSpared) {
  ScanInput in = equal();
  in.active_file = 60;
  in.inactive_file = 40;
  EXPECT_EQ(scan_shares(in).file, 0u);
  in.free = 101;
  EXPECT_GT(scan_shares(in).file, 0u);
}

TEST(ScanBalance, WithoutSwapSpaceOnlyFiles) {
  ScanInput in = equal();
  in.can_swap = false;
  EXPECT_EQ(scan_shares(in).heap, 0u);
  EXPECT_GT(scan_shares(in).file, 0u);
  in.active_file = in.inactive_file = 0;
  EXPECT_EQ(scan_shares(in).heap, 0u);
  EXPECT_EQ(scan_shares(in).file, 0u);
}

TEST(LruCostTest, CountsAndForgets) {
  LruCost cost;
  cost.note(2, 1, 10000);
  EXPECT_EQ(cost.heap(), 64u);
  EXPECT_EQ(cost.file(), 32u);
  // More than a quarter of the pages: all counts for half.
  cost.note(80, 0, 10000);
  EXPECT_EQ(cost.heap(), (64u + 80 * 32) / 2);
  EXPECT_EQ(cost.file(), 16u);
  cost.note(0, 1000000, 10000);
  EXPECT_LE(cost.heap() + cost.file(), 2500u);
  cost.note(1, 1, 0);
  EXPECT_EQ(cost.heap() + cost.file(), 0u);
}

}  // namespace
}  // namespace weir
