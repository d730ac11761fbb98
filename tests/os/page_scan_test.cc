// page_scan_test.cc: which pages are mapped, of what, and whether the kernel maps them one by one.
#include "os/page_scan.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <vector>

#include "os/file.h"
#include "os/uffd.h"
#include "support/disk_file.h"

namespace weir::os {
namespace {

using Scan = long (*)(int, char*&, char*, MappedRun*, unsigned);

class PageScanTest : public testing::TestWithParam<Scan> {
 protected:
  PageScanTest() {
    proc_ = open_directory("/proc");
    pagemap_ = open_pagemap(proc_);
    EXPECT_GE(pagemap_, 0);
  }
  ~PageScanTest() override {
    close_descriptor(pagemap_);
    close_descriptor(proc_);
  }
  // All runs, asked for `most` at a time.
  std::vector<MappedRun> runs(char* begin, char* end, unsigned most) const {
    std::vector<MappedRun> all, some(most);
    while (begin < end) {
      char* const before = begin;
      const long count = GetParam()(pagemap_, begin, end, some.data(), most);
      EXPECT_GE(count, 0);
      EXPECT_GT(begin, before);
      if (count < 0 || begin <= before) break;
      all.insert(all.end(), some.begin(), some.begin() + count);
    }
    return all;
  }

  int proc_ = -1;
  int pagemap_ = -1;
};

TEST_P(PageScanTest, FindsRunsOfMappedPages) {
  constexpr size_t kPages = 1200;
  auto* p = static_cast<char*>(
      mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  ASSERT_NE(p, MAP_FAILED);
  madvise(p, kPages * kPageSize, MADV_NOHUGEPAGE);
  char* const end = p + kPages * kPageSize;
  EXPECT_TRUE(runs(p, end, 8).empty());
  for (const size_t page : {0u, 5u, 6u, 7u, 511u, 512u, 513u, 1199u}) p[page * kPageSize] = 1;
  for (const unsigned most : {1u, 2u, 64u, 300u}) {
    std::vector<size_t> found;
    for (const MappedRun& run : runs(p, end, most)) {
      EXPECT_FALSE(run.of_file);
      for (char* at = run.begin; at < run.end; at += kPageSize)
        found.push_back(static_cast<size_t>(at - p) / kPageSize);
    }
    EXPECT_EQ(found, (std::vector<size_t>{0, 5, 6, 7, 511, 512, 513, 1199})) << most;
  }
  munmap(p, kPages * kPageSize);
}

TEST_P(PageScanTest, TellsWhatIsAFiles) {
  const DiskFile file(4);
  char* p = file.map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(first_word(p + 1 * kPageSize), DiskFile::word_of(1));
  EXPECT_EQ(first_word(p + 2 * kPageSize), DiskFile::word_of(2));
  p[2 * kPageSize] = 1;  // a copy of its own
  bool of_file[4] = {}, other[4] = {};
  for (const MappedRun& run : runs(p, p + file.bytes(), 8))
    for (char* at = run.begin; at < run.end; at += kPageSize) (run.of_file ? of_file : other)[(at - p) / 4096] = true;
  EXPECT_TRUE(of_file[1] && !other[1]);
  EXPECT_TRUE(other[2] && !of_file[2]);
  munmap(p, file.bytes());
}

TEST_P(PageScanTest, MapsSingly) {
  const int uffd = uffd_open_silent();
  if (uffd < 0) GTEST_SKIP() << "not before Linux 6.7";
  const DiskFile file(64);
  char* p = file.map(PROT_READ, MAP_SHARED);
  ASSERT_NE(p, nullptr);
  ASSERT_TRUE(uffd_map_singly(uffd, p, file.bytes()));
  EXPECT_EQ(first_word(p + 20 * kPageSize), DiskFile::word_of(20));
  const auto found = runs(p, p + file.bytes(), 8);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].begin, p + 20 * kPageSize);
  EXPECT_EQ(found[0].end, p + 21 * kPageSize);
  munmap(p, file.bytes());
  close_descriptor(uffd);
}

INSTANTIATE_TEST_SUITE_P(Ways, PageScanTest, testing::Values(mapped_runs, mapped_runs_from_entries),
                         [](const auto& each) { return each.param == Scan{mapped_runs} ? "Any" : "Entries"; });

TEST(IsOnDisk, TellsFilesOnDisksFromOthers) {
  const DiskFile file(1);
  EXPECT_TRUE(is_on_disk(file.fd()));
  EXPECT_FALSE(is_on_disk(-1));
  const int memory = memfd_create("weir-test", MFD_CLOEXEC), device = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  EXPECT_FALSE(is_on_disk(memory));
  EXPECT_FALSE(is_on_disk(device));
  close(memory);
  close(device);
}

}  // namespace
}  // namespace weir::os
