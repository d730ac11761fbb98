// flusher_test.cc: which of the files that are mapped for writing are written, when, and for how long they are kept
// open.
#include "file/flusher.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "os/file.h"
#include "support/disk_file.h"

namespace weir {
namespace {

constexpr size_t kPages = 1024;

class FlusherTest : public testing::Test {
 protected:
  FlusherTest() : proc_(os::open_directory("/proc")) {}
  void SetUp() override {
    os::CachedPages pages;
    if (!os::cached_pages(first_.fd(), 0, first_.bytes(), pages)) GTEST_SKIP() << "the kernel does not tell";
    add(first_);
    const unsigned before = descriptors();
    run(0);
    if (descriptors() == before) GTEST_SKIP() << "names of files there are not their own (overlayfs, btrfs)";
    add(second_);
    run(0);
  }
  ~FlusherTest() override {
    EXPECT_EQ(files_.verify(), nullptr);
    files_.forget(first_.begin(), first_.bytes());
    files_.forget(second_.begin(), second_.bytes());
    run(0);
    os::close_descriptor(proc_);
  }
  void add(const MappedFile& file) { files_.add(file.begin(), file.bytes(), FilePages::Kind::kWritable); }
  uint64_t run(uint64_t now_ms) { return flusher_->run(files_, policy_, proc_, now_ms); }
  static uint64_t dirty(const MappedFile& file) {
    os::CachedPages pages;
    EXPECT_TRUE(os::cached_pages(file.fd(), 0, file.bytes(), pages));
    return pages.dirty;
  }
  static unsigned descriptors() {
    unsigned count = 0;
    for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
    return count;
  }

  const int proc_;
  const MappedFile first_{kPages}, second_{kPages};
  FilePages files_;
  std::unique_ptr<Flusher> flusher_ = std::make_unique<Flusher>();
  FlushPolicy policy_{.background = 500, .most = 1000, .expire_ms = 30000, .interval_ms = 5000};
};

TEST_F(FlusherTest, WhatHasBeenDirtyForLongIsWritten) {
  first_.dirty(0, 100);
  EXPECT_EQ(run(1000), 5000u);
  second_.dirty(0, 50);
  run(2000);
  EXPECT_EQ(flusher_->dirty(), Pages(150));
  run(30999);
  EXPECT_EQ(dirty(first_), 100u);
  run(31000);
  EXPECT_EQ(dirty(first_), 0u);
  EXPECT_EQ(dirty(second_), 50u);
  EXPECT_EQ(flusher_->written(), 100u);
  // It is new when it is changed again.
  first_.dirty(0, 1);
  run(40000);
  EXPECT_EQ(dirty(second_), 0u);
  EXPECT_EQ(dirty(first_), 1u);
  EXPECT_EQ(flusher_->dirty(), Pages(1));
}

TEST_F(FlusherTest, WhatIsTooMuchIsWrittenAtOnceTheOldestFirst) {
  second_.dirty(0, 400);
  run(1000);
  first_.dirty(0, 100);
  EXPECT_EQ(run(2000), 5000u);
  EXPECT_EQ(dirty(first_) + dirty(second_), 500u) << "as much as may be";
  first_.dirty(100, 1);
  EXPECT_EQ(run(3000), 5000u);
  EXPECT_EQ(dirty(second_), 0u);
  EXPECT_EQ(dirty(first_), 101u);
  EXPECT_EQ(flusher_->dirty(), Pages(101));
}

TEST_F(FlusherTest, WhatIsFarTooMuchIsLookedAtOften) {
  first_.dirty(0, kPages);
  EXPECT_LT(run(1000), 1000u);
  EXPECT_EQ(dirty(first_), 0u);
  EXPECT_EQ(run(2000), 5000u);
  EXPECT_EQ(flusher_->writeback(), Pages(0)) << "it was waited for";
}

TEST_F(FlusherTest, NothingIsWrittenWhereThatIsOff) {
  policy_.interval_ms = 0;
  policy_.background = policy_.most = policy_.expire_ms = 0;
  first_.dirty(0, 100);
  EXPECT_EQ(run(1000), Flusher::kNever);
  EXPECT_EQ(run(100000), Flusher::kNever);
  EXPECT_EQ(dirty(first_), 100u);
  EXPECT_EQ(flusher_->dirty(), Pages(100)) << "but it is told";
}

TEST_F(FlusherTest, FilesAreNotKeptOpen) {
  const unsigned both = descriptors();
  EXPECT_TRUE(flusher_->holds_any());
  files_.forget(second_.begin(), second_.bytes());
  run(1000);
  EXPECT_EQ(descriptors(), both - 1);
  files_.forget(first_.begin(), first_.bytes());
  run(2000);
  EXPECT_EQ(descriptors(), both - 2);
  EXPECT_FALSE(flusher_->holds_any());
}

// Whatever was mapped there before.
TEST_F(FlusherTest, AnotherFileAtTheSameAddressIsTheOneThatIsWritten) {
  const MappedFile third(kPages);
  files_.forget(first_.begin(), first_.bytes());
  ASSERT_NE(mmap(first_.begin(), first_.bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, third.fd(), 0),
            MAP_FAILED);
  add(first_);
  first_.dirty(0, kPages);
  run(1000);
  EXPECT_EQ(dirty(third), 0u);
  EXPECT_EQ(dirty(first_), 0u);
  EXPECT_EQ(flusher_->written(), kPages);
}

// The part that is left is at another place in the file.
TEST_F(FlusherTest, WhatIsLeftOfAMapping) {
  first_.dirty(0, kPages);
  files_.forget(first_.begin(), 600 * kPageSize);
  policy_.background = 0;
  run(1000);
  EXPECT_EQ(dirty(first_), 600u);
  EXPECT_EQ(flusher_->written(), kPages - 600);
}

TEST_F(FlusherTest, WhatMayNotBeWrittenIsNotLookedAt) {
  files_.forget(first_.begin(), first_.bytes());
  files_.add(first_.begin(), first_.bytes(), FilePages::Kind::kReadOnly);
  EXPECT_TRUE(files_.has_writable());
  first_.dirty(0, kPages);
  run(1000);
  EXPECT_EQ(flusher_->dirty(), Pages(0));
  EXPECT_EQ(dirty(first_), kPages);
  files_.make_writable(first_.begin(), first_.bytes());
  run(2000);
  EXPECT_EQ(dirty(first_), 0u);
}

}  // namespace
}  // namespace weir
