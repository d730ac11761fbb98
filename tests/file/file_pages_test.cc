// file_pages_test.cc: what is known of mapped files, what is dropped of them and in which order, and what never is.
#include "file/file_pages.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "os/file.h"
#include "os/page_scan.h"
#include "os/uffd.h"
#include "support/disk_file.h"
#include "support/memory_lock.h"

namespace weir {
namespace {

constexpr size_t kChunks = 16;
constexpr size_t kPages = kChunks * kChunkPages;

class FilePagesTest : public testing::Test {
 protected:
  FilePagesTest() {
    proc_ = os::open_directory("/proc");
    how_.pagemap = os::open_pagemap(proc_);
  }
  ~FilePagesTest() override {
    EXPECT_EQ(files_.verify(), nullptr);
    os::close_descriptor(how_.pagemap);
    os::close_descriptor(proc_);
  }
  // At a multiple of kChunkBytes, so that a chunk is a chunk.
  char* map(int protection = PROT_READ, int flags = MAP_SHARED) {
    void* room = mmap(nullptr, file_.bytes() + kChunkBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    auto* begin = reinterpret_cast<char*>(align_up(reinterpret_cast<uintptr_t>(room), kChunkBytes));
    EXPECT_EQ(mmap(begin, file_.bytes(), protection, flags | MAP_FIXED, file_.fd(), 0), begin);
    // What lies around is not what the kernel maps with it.
    madvise(begin, file_.bytes(), MADV_RANDOM);
    return begin;
  }
  char* add(FilePages::Kind kind = FilePages::Kind::kReadOnly) {
    const bool writable = kind == FilePages::Kind::kWritable;
    char* begin = map(writable ? PROT_READ | PROT_WRITE : PROT_READ,
                      kind == FilePages::Kind::kPrivate ? MAP_PRIVATE : MAP_SHARED);
    files_.add(begin, file_.bytes(), kind);
    return begin;
  }
  void touch(const char* begin, size_t first, size_t end) const {
    for (size_t page = first; page < end; ++page)
      ASSERT_EQ(first_word(begin + page * kPageSize), DiskFile::word_of(page)) << page;
  }
  void touch_all(const char* begin) const { touch(begin, 0, kPages); }
  static void touch_chunk(const char* begin, size_t chunk) {
    ASSERT_EQ(first_word(begin + chunk * kChunkBytes), DiskFile::word_of(chunk * kChunkPages));
  }
  uint64_t mapped(char* begin, size_t bytes) const {
    os::MappedRun runs[64];
    uint64_t pages = 0;
    for (char *at = begin, *end = begin + bytes; at < end;) {
      const long count = os::mapped_runs(how_.pagemap, at, end, runs, 64);
      EXPECT_GE(count, 0);
      if (count < 0) break;
      for (long i = 0; i < count; ++i) pages += static_cast<uint64_t>(runs[i].end - runs[i].begin) >> kPageShift;
    }
    return pages;
  }
  uint64_t mapped(char* begin) const { return mapped(begin, file_.bytes()); }
  bool is_chunk_mapped(char* begin, size_t chunk) const {
    return mapped(begin + chunk * kChunkBytes, kChunkBytes) != 0;
  }
  FilePages::Found look() { return files_.look(how_); }

  DiskFile file_{kPages};
  FilePages files_;
  FilePages::Look how_;
  int proc_ = -1;
};

TEST_F(FilePagesTest, DropsWhatIsMappedAndItComesBack) {
  for (const auto kind : {FilePages::Kind::kReadOnly, FilePages::Kind::kPrivate, FilePages::Kind::kWritable}) {
    char* begin = add(kind);
    touch_all(begin);
    ASSERT_EQ(mapped(begin), kPages);
    EXPECT_EQ(look().refaulted, 0u);
    EXPECT_EQ(files_.inactive(), Pages(kPages));
    const FilePages::Dropped dropped = files_.shrink(Pages(kPages));
    EXPECT_EQ(dropped.dropped, kPages);
    EXPECT_EQ(dropped.scanned, kPages);
    EXPECT_EQ(mapped(begin), 0u);
    EXPECT_EQ(files_.inactive(), Pages(0));
    touch_all(begin);
    EXPECT_EQ(look().refaulted, kPages);
    files_.forget(begin, file_.bytes());
    EXPECT_TRUE(files_.is_empty());
    EXPECT_EQ(files_.mapped(), Pages(0));
    munmap(begin, file_.bytes());
  }
}

TEST_F(FilePagesTest, DropsNoMoreThanItIsAskedFor) {
  char* begin = add();
  touch_all(begin);
  look();
  EXPECT_EQ(files_.shrink(Pages(1)).dropped, kChunkPages) << "a chunk is what goes at least";
  EXPECT_EQ(files_.shrink(Pages(3 * kChunkPages)).dropped, 3 * kChunkPages);
  EXPECT_EQ(mapped(begin), kPages - 4 * kChunkPages);
  EXPECT_EQ(files_.shrink(Pages(2 * kPages)).dropped, kPages - 4 * kChunkPages) << "and as much as there is";
  EXPECT_EQ(files_.shrink(Pages(1)).scanned, 0u);
}

TEST_F(FilePagesTest, WhatWasWrittenIsInTheFile) {
  char* begin = add(FilePages::Kind::kWritable);
  for (size_t page = 0; page < kPages; ++page)
    memset(begin + page * kPageSize, static_cast<int>(page % 251), kPageSize);
  look();
  ASSERT_EQ(files_.shrink(Pages(kPages)).dropped, kPages);
  ASSERT_EQ(mapped(begin), 0u);
  char read[8];
  for (size_t page = 0; page < kPages; ++page) {
    ASSERT_EQ(pread(file_.fd(), read, sizeof(read), static_cast<off_t>(page * kPageSize)), 8);
    ASSERT_EQ(static_cast<unsigned char>(read[7]), page % 251);
    ASSERT_EQ(static_cast<unsigned char>(begin[page * kPageSize + 4095]), page % 251);
  }
}

TEST_F(FilePagesTest, TheOldestGoFirst) {
  char* begin = add();
  for (const size_t chunk : {5u, 2u, 9u}) {
    touch_chunk(begin, chunk);
    look();
  }
  for (const size_t chunk : {5u, 2u, 9u}) {
    ASSERT_TRUE(is_chunk_mapped(begin, chunk));
    files_.shrink(Pages(1));
    EXPECT_FALSE(is_chunk_mapped(begin, chunk));
  }
}

TEST_F(FilePagesTest, WhatComesBackSoonIsActiveAndOutlivesWhatIsReadOnce) {
  char* begin = add();
  touch_chunk(begin, 0);
  look();
  files_.shrink(Pages(1));
  touch_chunk(begin, 0);
  how_.others = Pages(kPages);
  const FilePages::Found found = look();
  EXPECT_GT(found.refaulted, 0u);
  EXPECT_EQ(found.activated, found.refaulted);
  EXPECT_EQ(found.at_once, found.refaulted);
  EXPECT_EQ(files_.active(), Pages(found.activated));
  for (size_t chunk = 1; chunk < kChunks; ++chunk) touch_chunk(begin, chunk);
  look();
  while (files_.inactive().v >= files_.active().v + kChunkPages) files_.shrink(Pages(1));
  EXPECT_TRUE(is_chunk_mapped(begin, 0)) << "younger ones went before it";
  EXPECT_FALSE(is_chunk_mapped(begin, 1));
  // In the end all go.
  EXPECT_GT(files_.shrink(Pages(kPages)).deactivated, 0u);
  EXPECT_EQ(mapped(begin), 0u);
}

TEST_F(FilePagesTest, WhatComesBackLateOrForNothingIsNot) {
  char* begin = add();
  touch_all(begin);
  look();
  files_.shrink(Pages(kPages));
  look();
  // As many were dropped since as there are, but for its own chunk, and nothing else could have gone.
  touch_chunk(begin, 0);
  FilePages::Found found = look();
  EXPECT_GT(found.refaulted, 0u);
  EXPECT_EQ(found.at_once, 0u);
  EXPECT_EQ(found.activated, 0u);
  EXPECT_EQ(files_.active(), Pages(0));
  files_.shrink(Pages(kPages));
  touch_chunk(begin, 0);
  how_.others = Pages(kPages);
  how_.activates = false;
  found = look();
  EXPECT_EQ(found.at_once, found.refaulted);
  EXPECT_EQ(found.activated, 0u);
  EXPECT_EQ(files_.active(), Pages(0));
}

TEST_F(FilePagesTest, WhatTheProgramGaveUpIsNotCounted) {
  char* begin = add();
  touch_all(begin);
  look();
  ASSERT_EQ(madvise(begin, 3 * kChunkBytes, MADV_DONTNEED), 0);
  look();
  EXPECT_EQ(files_.inactive(), Pages(kPages - 3 * kChunkPages));
  // And it has not come back when it is touched anew.
  touch(begin, 0, 3 * kChunkPages);
  EXPECT_EQ(look().refaulted, 0u);
}

TEST_F(FilePagesTest, LockedPagesStay) {
  char* begin = add();
  touch_all(begin);
  look();
  if (!lock_memory(begin + 4 * kChunkBytes, kPageSize)) GTEST_SKIP() << "memory cannot be locked here";
  const FilePages::Dropped dropped = files_.shrink(Pages(kPages));
  EXPECT_EQ(dropped.refused, kChunkPages);
  EXPECT_EQ(dropped.dropped, kPages - kChunkPages);
  EXPECT_EQ(dropped.scanned, kPages);
  EXPECT_TRUE(is_chunk_mapped(begin, 4));
  look();
  EXPECT_EQ(files_.inactive(), Pages(0)) << "they are not tried at once again";
}

// A debugger writes to pages that the program cannot write to.
TEST_F(FilePagesTest, WhatIsNotTheFilesStays) {
  char* begin = add(FilePages::Kind::kPrivate);
  touch_all(begin);
  const int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  const uint64_t word = 4711;
  const auto at = static_cast<off_t>(reinterpret_cast<uintptr_t>(begin + 2 * kChunkBytes));
  if (pwrite(memory, &word, sizeof(word), at) != sizeof(word)) GTEST_SKIP() << "/proc/self/mem cannot be written here";
  close(memory);
  look();
  EXPECT_EQ(files_.shrink(Pages(kPages)).dropped, kPages - kChunkPages);
  EXPECT_EQ(first_word(begin + 2 * kChunkBytes), word);
}

TEST_F(FilePagesTest, NothingIsDroppedOfWhatWasForgotten) {
  char* begin = add();
  touch_all(begin);
  look();
  // Before it, in the middle of a chunk, behind it.
  files_.forget(begin, 2 * kChunkBytes);
  files_.forget(begin + 5 * kChunkBytes + 7 * kPageSize, 9 * kPageSize);
  files_.forget(begin + 12 * kChunkBytes, 4 * kChunkBytes);
  ASSERT_EQ(files_.verify(), nullptr);
  EXPECT_EQ(files_.mapped(), Pages(kPages - 6 * kChunkPages - 9));
  look();
  files_.shrink(Pages(kPages));
  EXPECT_EQ(mapped(begin), 6 * kChunkPages + 9);
  EXPECT_EQ(mapped(begin + 5 * kChunkBytes + 7 * kPageSize, 9 * kPageSize), 9u);
}

TEST_F(FilePagesTest, WhatIsSplitKeepsItsAge) {
  char* begin = add();
  for (size_t chunk = 0; chunk < kChunks; ++chunk) {
    touch_chunk(begin, (chunk * 5) % kChunks);
    look();
  }
  files_.forget(begin + 7 * kChunkBytes, kChunkBytes);
  for (size_t chunk = 0; chunk < kChunks; ++chunk) {
    const size_t oldest = (chunk * 5) % kChunks;
    if (oldest == 7) continue;
    ASSERT_TRUE(is_chunk_mapped(begin, oldest));
    files_.shrink(Pages(1));
    EXPECT_FALSE(is_chunk_mapped(begin, oldest));
  }
  EXPECT_TRUE(is_chunk_mapped(begin, 7));
}

TEST_F(FilePagesTest, WhatBecomesWritableIsForgottenIfItIsPrivate) {
  char* shared = add(FilePages::Kind::kReadOnly);
  char* own = add(FilePages::Kind::kPrivate);
  touch_all(shared);
  touch_all(own);
  files_.make_writable(own + kChunkBytes, kChunkBytes);
  files_.make_writable(shared, file_.bytes());
  ASSERT_EQ(mprotect(own + kChunkBytes, kChunkBytes, PROT_READ | PROT_WRITE), 0);
  memset(own + kChunkBytes, 7, kChunkBytes);
  look();
  EXPECT_EQ(files_.shrink(Pages(2 * kPages)).dropped, 2 * kPages - kChunkPages);
  EXPECT_EQ(own[kChunkBytes], 7);
}

TEST_F(FilePagesTest, FindsTheWholeOfAMapping) {
  char* begin = add();
  files_.forget(begin, kChunkBytes);
  char* found = nullptr;
  size_t bytes = 0;
  FilePages::Kind kind = FilePages::Kind::kPrivate;
  EXPECT_FALSE(files_.find(begin, found, bytes, kind));
  EXPECT_FALSE(files_.find(begin + file_.bytes(), found, bytes, kind));
  ASSERT_TRUE(files_.find(begin + file_.bytes() - 1, found, bytes, kind));
  EXPECT_EQ(found, begin + kChunkBytes);
  EXPECT_EQ(bytes, file_.bytes() - kChunkBytes);
  EXPECT_EQ(kind, FilePages::Kind::kReadOnly);
}

TEST_F(FilePagesTest, SmallMappingsAreNotWorthIt) {
  char* begin = map();
  files_.add(begin, FilePages::kLeastBytes - kPageSize, FilePages::Kind::kReadOnly);
  EXPECT_TRUE(files_.is_empty());
  files_.add(begin, FilePages::kLeastBytes, FilePages::Kind::kReadOnly);
  EXPECT_FALSE(files_.is_empty());
}

// The second has a part of the chunk that the first ends in.
TEST_F(FilePagesTest, MappingsSideBySide) {
  char* begin = map();
  const size_t half = file_.bytes() / 2 + 5 * kPageSize;
  files_.add(begin + half, file_.bytes() - half, FilePages::Kind::kReadOnly);
  files_.add(begin, half, FilePages::Kind::kReadOnly);
  touch_all(begin);
  look();
  EXPECT_EQ(files_.inactive(), Pages(kPages));
  EXPECT_EQ(files_.shrink(Pages(kPages)).dropped, kPages);
  EXPECT_EQ(mapped(begin), 0u);
  // What is mapped there anew takes the place of what was.
  files_.add(begin + kChunkBytes, file_.bytes() - kChunkBytes, FilePages::Kind::kWritable);
  EXPECT_EQ(files_.mapped(), Pages(kPages));
}

// Of a mapping of 64 GiB that has but a few pages, what takes time is what there is.
TEST_F(FilePagesTest, LargeMappings) {
  constexpr size_t kBytes = size_t{64} << 30;
  auto* begin = static_cast<char*>(mmap(nullptr, kBytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, file_.fd(), 0));
  ASSERT_NE(begin, MAP_FAILED);
  files_.add(begin, kBytes, FilePages::Kind::kReadOnly);
  touch_all(begin);
  look();
  EXPECT_EQ(files_.inactive(), Pages(kPages));
  files_.forget(begin + kBytes / 2, kBytes / 2);
  EXPECT_EQ(files_.inactive(), Pages(kPages));
  files_.forget(begin, kBytes / 2);
  EXPECT_EQ(files_.inactive(), Pages(0));
  munmap(begin, kBytes);
}

// Otherwise a touch maps those around it, too.
TEST_F(FilePagesTest, WhatComesBackAtOnceIsMappedPageByPage) {
  how_.silent_uffd = os::uffd_open_silent();
  if (how_.silent_uffd < 0) GTEST_SKIP() << "not before Linux 6.7";
  how_.others = Pages(kPages);
  char* begin = add();
  char* written = add(FilePages::Kind::kWritable);
  for (char* each : {begin, written}) madvise(each, file_.bytes(), MADV_NORMAL);
  const auto drop_all = [&] {
    look();
    files_.shrink(Pages(2 * kPages));
  };
  // A while after they were dropped.
  for (unsigned round = 0; round < 3; ++round) {
    touch_all(begin);
    drop_all();
    look();
  }
  touch_chunk(begin, 3);
  const uint64_t together = mapped(begin);
  EXPECT_GT(together, 1u);
  // At once.
  for (unsigned round = 0; round < 10; ++round) {
    touch_all(begin);
    touch_all(written);
    drop_all();
  }
  touch_chunk(begin, 3);
  touch_chunk(written, 3);
  EXPECT_EQ(mapped(begin), 1u);
  EXPECT_EQ(mapped(written), together) << "there each write would be a fault";
  touch_all(begin);
  os::close_descriptor(how_.silent_uffd);
}

}  // namespace
}  // namespace weir
