// mapped_file_test.cc: which file is mapped at an address, and what of it is dirty.
#include "os/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "os/file.h"
#include "support/disk_file.h"

namespace weir::os {
namespace {

constexpr size_t kPages = 256;

class MappedFileTest : public testing::Test {
 protected:
  MappedFileTest() : proc_(open_directory("/proc")) {}
  ~MappedFileTest() override { close_descriptor(proc_); }
  // The number of the file that was opened; 0: none was.
  ino_t open(const void* address) {
    at_ = MappedAt();
    if (!open_mapped_file(proc_, address, at_)) return 0;
    struct stat status = {};
    EXPECT_EQ(fstat(at_.fd, &status), 0);
    close_descriptor(at_.fd);
    return status.st_ino;
  }
  static ino_t number_of(int fd) {
    struct stat status = {};
    EXPECT_EQ(fstat(fd, &status), 0);
    return status.st_ino;
  }

  int proc_;
  MappedAt at_;
};

TEST_F(MappedFileTest, IsFoundWithItsOffset) {
  const MappedFile file(kPages), other(kPages);
  if (open(file.begin()) == 0) GTEST_SKIP() << "names of files there are not their own (overlayfs, btrfs)";
  EXPECT_EQ(open(file.begin()), number_of(file.fd()));
  EXPECT_EQ(at_.offset, 0u);
  EXPECT_EQ(open(file.begin() + 7 * kPageSize), number_of(file.fd()));
  EXPECT_EQ(at_.offset, 7 * kPageSize);
  EXPECT_EQ(open(other.begin()), number_of(other.fd()));
  void* part = mmap(nullptr, kPageSize, PROT_READ, MAP_SHARED, file.fd(), 100 * kPageSize);
  ASSERT_NE(part, MAP_FAILED);
  EXPECT_EQ(open(part), number_of(file.fd()));
  EXPECT_EQ(at_.offset, 100 * kPageSize);
  munmap(part, kPageSize);
}

TEST_F(MappedFileTest, OfWhatHasNoNameNothingIsOpened) {
  const DiskFile nameless(1);
  char* const deleted = nameless.map(PROT_READ, MAP_SHARED);
  ASSERT_NE(deleted, nullptr);
  EXPECT_EQ(open(deleted), 0u);
  munmap(deleted, kPageSize);
  EXPECT_EQ(open(deleted), 0u) << "nothing is mapped there";
  EXPECT_EQ(open(&at_), 0u) << "a stack";
  void* const anonymous = mmap(nullptr, kPageSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(open(anonymous), 0u);
  munmap(anonymous, kPageSize);
  EXPECT_EQ(open(nullptr), 0u);
}

TEST_F(MappedFileTest, AnotherFileOfItsNameIsNotTakenForIt) {
  const MappedFile file(kPages), other(kPages);
  ASSERT_EQ(rename(other.path().c_str(), file.path().c_str()), 0);
  EXPECT_EQ(open(file.begin()), 0u);
}

TEST_F(MappedFileTest, TellsWhatIsDirtyAndHasItWritten) {
  const MappedFile file(kPages);
  if (open(file.begin()) == 0) GTEST_SKIP() << "overlayfs has pages of its own";
  CachedPages pages;
  if (!cached_pages(file.fd(), 0, file.bytes(), pages)) GTEST_SKIP() << "before Linux 6.5 the kernel does not tell";
  EXPECT_EQ(pages.dirty, 0u);
  file.dirty(0, 10);
  file.dirty(200, 20);
  ASSERT_TRUE(cached_pages(file.fd(), 0, file.bytes(), pages));
  EXPECT_EQ(pages.dirty, 30u);
  ASSERT_TRUE(cached_pages(file.fd(), 0, 100 * kPageSize, pages));
  EXPECT_EQ(pages.dirty, 10u);
  EXPECT_EQ(write_dirty_pages(file.fd(), 0, 100 * kPageSize, true), 0);
  ASSERT_TRUE(cached_pages(file.fd(), 0, file.bytes(), pages));
  EXPECT_EQ(pages.dirty, 20u);
  file.dirty(3, 1);
  EXPECT_EQ(write_dirty_pages(file.fd(), 0, file.bytes(), false), 0);
  ASSERT_TRUE(cached_pages(file.fd(), 0, file.bytes(), pages));
  EXPECT_EQ(pages.dirty, 0u);
  EXPECT_FALSE(cached_pages(-1, 0, file.bytes(), pages));
}

}  // namespace
}  // namespace weir::os
