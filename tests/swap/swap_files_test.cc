// swap_files_test.cc: which of several swap files is written, which are old, and whose they are after a fork.
#include "swap/swap_files.h"

#include <gtest/gtest.h>

#include <memory>

#include "support/swap_place.h"

namespace weir {
namespace {

class SwapFilesTest : public testing::Test {
 protected:
  void open(unsigned i) {
    SwapFileConfig config;
    config.path = folder_.path().c_str();
    config.max_bytes = size_t{1} << 20;
    ASSERT_EQ(files_[i].open(config), SwapFile::Open::kOk);
    files_.write_to(i);
  }
  Slots take(unsigned i) {
    const Slots slots = files_[i].alloc(1);
    EXPECT_EQ(slots.count, 1u);
    return slots;
  }
  void TearDown() override {
    for (unsigned i = 0; i < SwapFiles::kMost; ++i)
      if (files_.is_open(i)) files_.close(i);
  }

  SwapFolder folder_;
  std::unique_ptr<SwapFiles> made_ = std::make_unique<SwapFiles>();
  SwapFiles& files_ = *made_;
};

TEST_F(SwapFilesTest, TheLastOneIsWritten) {
  EXPECT_EQ(files_.writer(), nullptr);
  EXPECT_FALSE(files_.has_old());
  for (unsigned i = 0; i < SwapFiles::kMost; ++i) {
    ASSERT_EQ(files_.vacant(), i);
    open(i);
    EXPECT_EQ(files_.writer(), &files_[i]);
    EXPECT_FALSE(files_.is_old(i));
    EXPECT_EQ(files_.is_old(0), i != 0);
    const SwapEntry entry = files_.entry(files_[i], take(i).first);
    EXPECT_EQ(entry.file(), i);
    EXPECT_EQ(&files_.of(entry), &files_[i]);
    EXPECT_FALSE(files_.is_old(entry));
    EXPECT_EQ(files_.used_by_old(), i);
  }
  EXPECT_EQ(files_.vacant(), SwapFiles::kNone);
  files_.write_to_none();
  EXPECT_EQ(files_.writer(), nullptr);
  EXPECT_EQ(files_.used_by_old(), SwapFiles::kMost);
  files_.close(3);
  EXPECT_EQ(files_.vacant(), 3u);
  open(3);
  EXPECT_EQ(files_[3].used(), 0u);
  EXPECT_TRUE(files_[3].is_empty());
  EXPECT_EQ(files_.used_by_old(), SwapFiles::kMost - 1);
}

TEST_F(SwapFilesTest, WhatAChildMayStillReadIsNotEmpty) {
  open(0);
  const Slots slots = take(0);
  const uint64_t fork = files_[0].freeze();
  files_[0].free(slots.first, 1);
  EXPECT_EQ(files_[0].used(), 0u);
  EXPECT_FALSE(files_[0].is_empty());
  files_[0].thaw(fork);
  EXPECT_TRUE(files_[0].is_empty());
}

TEST_F(SwapFilesTest, AChildReadsThemAll) {
  open(0);
  open(1);
  const SwapEntry entry = files_.entry(files_[0], take(0).first);
  EXPECT_TRUE(files_.is_old(entry));
  files_.become_readers();
  EXPECT_EQ(files_.writer(), nullptr);
  EXPECT_FALSE(files_.has_old());
  EXPECT_FALSE(files_.is_old(entry));
  EXPECT_EQ(files_.used_by_old(), 0u);
  EXPECT_TRUE(files_[0].read_only() && files_[1].read_only());
  EXPECT_EQ(files_.vacant(), 2u);
  open(2);
  EXPECT_EQ(files_.writer(), &files_[2]);
  EXPECT_FALSE(files_.is_old(0));
}

}  // namespace
}  // namespace weir
