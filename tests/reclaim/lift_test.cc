// lift_test.cc: pages that lie in short runs leave memory by clusters (reclaim/lift.cc): content survives, also of
// pages that a device writes to meanwhile, and what is locked or must not be touched stays what it is.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>
#include <vector>

#include "os/page_refs.h"
#include "os/pins.h"
#include "os/vm.h"
#include "support/page_content.h"
#include "support/random.h"
#include "support/squeeze.h"
#include "support/swap_place.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{32} << 20;
constexpr size_t kBlock = size_t{1} << 20;
constexpr unsigned kBlocks = 12;
constexpr size_t kPagesPerBlock = kBlock / kPageSize;
// Far enough apart that no page is brought in with another.
constexpr size_t kStride = 3;

// On kernels that give pages back where they are, on those that do not (before Linux 6.14), and on those that do not
// move pages either (before 6.8).
enum class Kernel { kDropsInPlace, kMoves, kOnlyLifts };

class LiftTest : public testing::TestWithParam<Kernel> {
 protected:
  void start(
      Content kind = Content::kCompressible, void (*more)(Options&) = [](Options&) {}) {
    kind_ = kind;
    a_.options().uffd_move = GetParam() != Kernel::kOnlyLifts;
    a_.options().drop_in_place = GetParam() == Kernel::kDropsInPlace;
    more(a_.options());
    if (const char* why = a_.start(kLimit, size_t{256} << 20)) GTEST_SKIP() << why;
    if (GetParam() != Kernel::kOnlyLifts && !moves_pages(a_)) GTEST_SKIP() << "the kernel cannot move pages";
    if (GetParam() == Kernel::kDropsInPlace && !os::can_drop_in_place()) GTEST_SKIP() << "not before Linux 6.14";
    for (unsigned i = 0; i < kBlocks; ++i) {
      blocks_.push_back(static_cast<char*>(a_->malloc(nullptr, kBlock)));
      ASSERT_NE(blocks_.back(), nullptr);
      write_content(blocks_[i], kBlock, seed_of(i));
    }
    ASSERT_TRUE(swap_out(kBlocks / 2 * kPagesPerBlock));
  }
  uint64_t seed_of(unsigned i) const { return content_seed(uint64_t{i + 1} << 20, kind_); }
  // Every third page, so that present pages are single ones.
  void touch_scattered(size_t first) {
    for (unsigned i = 0; i < kBlocks; ++i)
      for (size_t page = first; page < kPagesPerBlock; page += kStride) ASSERT_TRUE(is_intact(i, page)) << i;
  }
  bool is_intact(unsigned i, size_t page) const {
    return check_content_at(blocks_[i], page * kPageSize, kPageSize, seed_of(i));
  }
  void expect_all() {
    for (unsigned i = 0; i < kBlocks; ++i) ASSERT_TRUE(check_content_at(blocks_[i], 0, kBlock, seed_of(i))) << i;
    EXPECT_STREQ(find_fault(a_), nullptr);
  }
  [[nodiscard]] bool swap_out(uint64_t pages) {
    return squeeze(a_, Pages(1), [&] { return a_.node().swapped_pages() >= pages; });
  }
  // Until pages were lifted; they are tried for at least a round, whatever else happens to them.
  [[nodiscard]] bool lift_some(uint64_t most_left) {
    const uint64_t before = a_.reclaimer().stats().pglift;
    const uint64_t all = kBlocks * kPagesPerBlock;
    return squeeze(a_, Pages(1), [&] {
      return a_.node().swapped_pages() + most_left >= all && a_.reclaimer().stats().pglift > before;
    });
  }
  // Two threads do `work`, told which of them they are and when to stop, until so many times as many pages as there are
  // were lifted.
  template <class Work>
  void work_until_lifted(uint64_t times, Work work) {
    std::atomic<bool> stop{false};
    const uint64_t enough = a_.reclaimer().stats().pglift + times * kBlocks * kPagesPerBlock;
    std::thread first([&] { work(0u, stop); }), second([&] { work(1u, stop); });
    // With what is compressed, a quarter of the data fits.
    a_.zone().set_managed(Pages(kBlocks * kPagesPerBlock / 2));
    EXPECT_TRUE(wait_until([&] { return a_.reclaimer().stats().pglift > enough; }));
    stop = true;
    first.join();
    second.join();
    a_.zone().set_managed(pages_of(kLimit));
    settle(a_);
  }
  // They touch what they like of the blocks from `first` on.
  void touch_until_lifted(uint64_t times, size_t first = 0) {
    std::atomic<unsigned> wrong{0};
    work_until_lifted(times, [&](unsigned which, const std::atomic<bool>& stop) {
      for (Random random(which + 1); !stop;) {
        const size_t at = first * kPagesPerBlock + random.below((kBlocks - first) * kPagesPerBlock);
        if (!is_intact(static_cast<unsigned>(at / kPagesPerBlock), at % kPagesPerBlock)) ++wrong;
      }
    });
    EXPECT_EQ(wrong, 0u);
  }
  // They write to pages of their own.
  void write_until_lifted(uint64_t times) {
    std::atomic<unsigned> lost{0};
    work_until_lifted(times, [&](unsigned which, const std::atomic<bool>& stop) {
      std::vector<uint64_t> written(kBlocks * kPagesPerBlock, 0);
      Random random(which);
      const auto check_and_write = [&](size_t at, uint64_t value) {
        auto* const word = reinterpret_cast<volatile uint64_t*>(
            page(static_cast<unsigned>(at / kPagesPerBlock), at % kPagesPerBlock) + kPageSize / 2);
        if (written[at] != 0) lost += *word != written[at];
        *word = written[at] = value;
      };
      while (!stop) check_and_write(random.below(written.size() / 2) * 2 + which, random.next() | 1);
      for (size_t at = which; at < written.size(); at += 2) check_and_write(at, 1);
    });
    EXPECT_EQ(lost, 0u);
    EXPECT_STREQ(find_fault(a_), nullptr);
  }
  // Pages that are held have the protection that a thread gives them, or so many bytes from the first block on.
  void protect_meanwhile(size_t bytes);
  char* page(unsigned i, size_t n) { return blocks_[i] + n * kPageSize; }
  // A page, as by the preloaded library's mlock and munlock; 0 or -errno.
  long lock(char* page) { return a_.reclaimer().lock(page, page + kPageSize, 0); }
  long unlock(char* page) { return a_.reclaimer().unlock(page, page + kPageSize); }

  Content kind_ = Content::kCompressible;
  LimitedAllocator a_;
  std::vector<char*> blocks_;
};

TEST_P(LiftTest, ScatteredPagesKeepTheirContent) {
  start();
  if (testing::Test::IsSkipped()) return;
  for (size_t round = 0; round < 6; ++round) {
    touch_scattered(round % kStride);
    ASSERT_TRUE(lift_some(0)) << round;
    EXPECT_STREQ(find_fault(a_), nullptr);
  }
  expect_all();
}

TEST_P(LiftTest, WhatIsWrittenInBetweenIsNotLost) {
  start();
  if (testing::Test::IsSkipped()) return;
  Random random(3);
  std::vector<uint64_t> seeds(kBlocks * kPagesPerBlock, 0);
  for (unsigned round = 0; round < 6; ++round) {
    for (unsigned n = 0; n < kBlocks * kPagesPerBlock / 4; ++n) {
      const size_t at = random.below(seeds.size());
      seeds[at] = content_seed(random.next() | 4, Content::kCompressible);
      write_content(page(static_cast<unsigned>(at / kPagesPerBlock), at % kPagesPerBlock), kPageSize, seeds[at]);
    }
    ASSERT_TRUE(lift_some(0));
    for (size_t at = 0; at < seeds.size(); ++at) {
      const auto i = static_cast<unsigned>(at / kPagesPerBlock);
      if (seeds[at] == 0) {
        ASSERT_TRUE(is_intact(i, at % kPagesPerBlock)) << at;
      } else {
        ASSERT_TRUE(check_content_at(page(i, at % kPagesPerBlock), 0, kPageSize, seeds[at])) << at;
      }
    }
    ASSERT_TRUE(swap_out(seeds.size()));
  }
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_P(LiftTest, LockedPagesStayAndStayLocked) {
  start();
  if (testing::Test::IsSkipped()) return;
  for (size_t n = 8; n < kPagesPerBlock; n += 16) ASSERT_EQ(lock(page(2, n)), 0);
  const size_t locked = kPagesPerBlock / 16;
  touch_scattered(1);
  ASSERT_TRUE(lift_some(locked));
  for (size_t n = 8; n < kPagesPerBlock; n += 16) {
    EXPECT_TRUE(os::vm_is_locked(page(2, n), kPageSize)) << n;
    EXPECT_EQ(os::vm_resident(page(2, n), kPageSize), Pages(1)) << n;
    ASSERT_EQ(unlock(page(2, n)), 0);
  }
  ASSERT_TRUE(swap_out(kBlocks * kPagesPerBlock));
  expect_all();
}

TEST_P(LiftTest, LockingWhilePagesAreLiftedIsNotUndone) {
  start();
  if (testing::Test::IsSkipped()) return;
  std::atomic<bool> stop{false};
  std::atomic<unsigned> unlocked{0};
  std::thread locker([&] {
    for (size_t n = 0; !stop; n = (n + 7) % kPagesPerBlock) {
      if (lock(page(5, n)) != 0) continue;
      usleep(300);
      if (!os::vm_is_locked(page(5, n), kPageSize)) ++unlocked;
      unlock(page(5, n));
    }
  });
  for (size_t round = 0; round < 10; ++round) {
    touch_scattered(round % kStride);
    EXPECT_TRUE(lift_some(kPagesPerBlock));
  }
  stop = true;
  locker.join();
  EXPECT_EQ(unlocked, 0u);
  expect_all();
}

// Pages that are not given back, because something else refers to them, return to their addresses by page tables; what
// was locked there meanwhile stays locked.
TEST_P(LiftTest, LockingWhilePagesArePutBackIsNotUndone) {
  start();
  if (testing::Test::IsSkipped()) return;
  constexpr size_t kHeld = 128;
  os::PageRefs refs;
  if (!refs.open(Pages(kHeld))) GTEST_SKIP() << "no pipe is large enough";
  os::VmRange ranges[kHeld];
  for (size_t n = 0; n < kHeld; ++n) ranges[n] = {page(5, 2 * n), kPageSize};
  ASSERT_TRUE(refs.take(ranges, kHeld));
  std::atomic<unsigned> unlocked{0}, wrong{0};
  work_until_lifted(6, [&](unsigned which, const std::atomic<bool>& stop) {
    for (Random random(which + 1); !stop;) {
      char* const held = page(5, 4 * random.below(kHeld / 2) + 2 * which);
      if (lock(held) == 0) {
        unlocked += os::vm_is_locked(held, kPageSize) ? 0 : 1;
        unlock(held);
      }
      const size_t at = random.below(kBlocks * kPagesPerBlock);
      wrong += is_intact(static_cast<unsigned>(at / kPagesPerBlock), at % kPagesPerBlock) ? 0 : 1;
    }
  });
  EXPECT_EQ(unlocked, 0u);
  EXPECT_EQ(wrong, 0u);
  refs.drop();
  refs.close();
  expect_all();
}

TEST_P(LiftTest, ProtectionStaysAsItIs) {
  start();
  if (testing::Test::IsSkipped()) return;
  touch_scattered(0);
  for (size_t n = 0; n < kPagesPerBlock; n += 12) ASSERT_EQ(mprotect(page(4, n), kPageSize, PROT_READ), 0);
  for (size_t n = 6; n < kPagesPerBlock; n += 12) ASSERT_EQ(mprotect(page(4, n), kPageSize, PROT_NONE), 0);
  ASSERT_TRUE(lift_some(kPagesPerBlock));
  for (size_t n = 0; n < kPagesPerBlock; n += 12) ASSERT_TRUE(is_intact(4, n)) << n;
  for (size_t n = 6; n < kPagesPerBlock; n += 12) ASSERT_EQ(mprotect(page(4, n), kPageSize, PROT_READ | PROT_WRITE), 0);
  for (size_t n = 0; n < kPagesPerBlock; n += 12) ASSERT_EQ(mprotect(page(4, n), kPageSize, PROT_READ | PROT_WRITE), 0);
  expect_all();
}

// They go back to their addresses, by copy, and are no longer in the way of those that do compress.
TEST_P(LiftTest, WhatDoesNotCompressGoesHome) {
  start();
  if (testing::Test::IsSkipped()) return;
  kind_ = Content::kRandom;
  for (unsigned i = 0; i < 2; ++i) write_content(blocks_[i], kBlock, seed_of(i));
  const auto is_whole = [&] {
    for (unsigned i = 0; i < kBlocks; ++i) {
      kind_ = i < 2 ? Content::kRandom : Content::kCompressible;
      if (!check_content_at(blocks_[i], 0, kBlock, seed_of(i))) return false;
    }
    return true;
  };
  for (unsigned round = 0; round < 3; ++round) {
    ASSERT_TRUE(swap_out((kBlocks - 3) * kPagesPerBlock));
    ASSERT_TRUE(is_whole());
  }
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_P(LiftTest, WhatDoesNotCompressGoesToTheFile) {
  static SwapFolder folder;
  start(Content::kRandom, [](Options& options) { options.swap.assign(folder.path()); });
  if (testing::Test::IsSkipped()) return;
  ASSERT_STREQ(a_.reclaimer().swap_problem(), nullptr);
  for (size_t round = 0; round < 3; ++round) {
    for (unsigned i = 0; i < kBlocks; ++i)
      for (size_t n = round; n < kPagesPerBlock; n += kStride) {
        volatile char* const first = page(i, n);
        *first = *first;
      }
    ASSERT_TRUE(lift_some(0));
  }
  EXPECT_GT(settled_stats(a_).pswpout, kBlocks * kPagesPerBlock);
  expect_all();
}

// A pipe refers to pages that were spliced into it.
TEST_P(LiftTest, PagesThatThePipeRefersToComeBack) {
  start();
  if (testing::Test::IsSkipped()) return;
  touch_scattered(1);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::vector<iovec> vectors;
  for (size_t n = 1; n < kPagesPerBlock && vectors.size() < 8; n += 4 * kStride)
    vectors.push_back({page(1, n), kPageSize});
  const auto bytes = static_cast<ssize_t>(vectors.size() * kPageSize);
  ASSERT_EQ(vmsplice(ends[1], vectors.data(), vectors.size(), 0), bytes);
  ASSERT_TRUE(lift_some(kPagesPerBlock));
  EXPECT_GT(settled_stats(a_).pglift_back, 0u);
  std::vector<char> got(static_cast<size_t>(bytes));
  for (size_t done = 0; done < got.size();) {
    const ssize_t here = read(ends[0], got.data() + done, got.size() - done);
    ASSERT_GT(here, 0);
    done += static_cast<size_t>(here);
  }
  for (size_t k = 0; k < vectors.size(); ++k)
    EXPECT_EQ(memcmp(got.data() + k * kPageSize, vectors[k].iov_base, kPageSize), 0) << k;
  close(ends[0]);
  close(ends[1]);
  expect_all();
}

// Registered buffers are pinned: what the kernel puts into them later has to be what the program sees.
class Ring {
 public:
  [[nodiscard]] bool open(const iovec* buffers, unsigned count) {
    fd_ = static_cast<int>(syscall(SYS_io_uring_setup, 8, &p_));
    if (fd_ < 0) return false;
    sq_ = map(p_.sq_off.array + p_.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    cq_ = map(p_.cq_off.cqes + p_.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING);
    entries_ = reinterpret_cast<io_uring_sqe*>(map(p_.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
    return pin(buffers, count);
  }
  [[nodiscard]] bool pin(const iovec* buffers, unsigned count) const {
    return syscall(SYS_io_uring_register, fd_, IORING_REGISTER_BUFFERS, buffers, count) == 0;
  }
  [[nodiscard]] bool unpin() const { return syscall(SYS_io_uring_register, fd_, IORING_UNREGISTER_BUFFERS, 0, 0) == 0; }
  // The kernel keeps registered buffers as long as something of the ring is mapped.
  ~Ring() {
    for (const iovec& mapping : mappings_) munmap(mapping.iov_base, mapping.iov_len);
    if (fd_ >= 0) close(fd_);
  }
  // Reads a page from the file's start into a registered buffer; what the kernel says of it.
  int read_fixed(int file, void* to, uint16_t index) {
    auto* tail = reinterpret_cast<unsigned*>(sq_ + p_.sq_off.tail);
    const unsigned slot = *tail & *reinterpret_cast<unsigned*>(sq_ + p_.sq_off.ring_mask);
    entries_[slot] = {};
    entries_[slot].opcode = IORING_OP_READ_FIXED;
    entries_[slot].fd = file;
    entries_[slot].addr = reinterpret_cast<uintptr_t>(to);
    entries_[slot].len = kPageSize;
    entries_[slot].buf_index = index;
    reinterpret_cast<unsigned*>(sq_ + p_.sq_off.array)[slot] = slot;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, fd_, 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) < 0) return -errno;
    auto* head = reinterpret_cast<unsigned*>(cq_ + p_.cq_off.head);
    const unsigned done = *head & *reinterpret_cast<unsigned*>(cq_ + p_.cq_off.ring_mask);
    const int result = reinterpret_cast<io_uring_cqe*>(cq_ + p_.cq_off.cqes)[done].res;
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return result;
  }

 private:
  char* map(size_t bytes, uint64_t offset) {
    void* const memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, static_cast<off_t>(offset));
    mappings_.push_back({memory, bytes});
    return static_cast<char*>(memory);
  }
  io_uring_params p_ = {};
  std::vector<iovec> mappings_;
  int fd_ = -1;
  char *sq_ = nullptr, *cq_ = nullptr;
  io_uring_sqe* entries_ = nullptr;
};

TEST_P(LiftTest, PinnedPagesKeepWhatADeviceWrites) {
  start();
  if (testing::Test::IsSkipped()) return;
  touch_scattered(1);
  std::vector<iovec> buffers;
  for (size_t n = 1; buffers.size() < 8; n += 4 * kStride) buffers.push_back({page(3, n), kPageSize});
  Ring ring;
  if (!ring.open(buffers.data(), static_cast<unsigned>(buffers.size())))
    GTEST_SKIP() << "io_uring: " << strerror(errno);
  const int file = memfd_create("content", 0);
  std::vector<char> content(kPageSize);
  const uint64_t lifted = settled_stats(a_).pglift;
  for (unsigned round = 0; round < 4; ++round) {
    // The others can be moved; where they cannot, everything stays.
    if (GetParam() != Kernel::kOnlyLifts) {
      ASSERT_TRUE(swap_out((kBlocks - 1) * kPagesPerBlock));
    } else {
      const uint64_t rotated = a_.reclaimer().stats().pgrotated;
      ASSERT_TRUE(squeeze(a_, Pages(1), [&] { return a_.reclaimer().stats().pgrotated > rotated + kPagesPerBlock; }));
    }
    EXPECT_EQ(settled_stats(a_).pglift, lifted);
    for (unsigned b = 0; b < buffers.size(); ++b) {
      const uint64_t seed = content_seed(uint64_t{round + 1} << 32 | uint64_t{b} << 8, Content::kCompressible);
      write_content(content.data(), kPageSize, seed);
      ASSERT_EQ(pwrite(file, content.data(), kPageSize, 0), static_cast<ssize_t>(kPageSize));
      ASSERT_EQ(ring.read_fixed(file, buffers[b].iov_base, static_cast<uint16_t>(b)), static_cast<int>(kPageSize));
      EXPECT_TRUE(check_content_at(buffers[b].iov_base, 0, kPageSize, seed)) << round << " " << b;
    }
    // The page's neighbours again, so that it lies in short runs; none of the pinned ones, which are there.
    for (unsigned i = 0; i < kBlocks; ++i)
      for (size_t n = 2; n < kPagesPerBlock; n += kStride) ASSERT_TRUE(is_intact(i, n));
  }
  close(file);
}

// A device may write, and let go of the page, at any moment of its being lifted.
TEST_P(LiftTest, WhatADeviceWritesBeforeItLetsGoIsNotLost) {
  start();
  if (testing::Test::IsSkipped()) return;
  constexpr unsigned kBuffers = 16;
  // Where nothing else can be done kswapd lifts pages and puts them back all the time.
  const unsigned rounds = GetParam() == Kernel::kOnlyLifts ? 10 : 100;
  std::vector<iovec> buffers;
  for (unsigned b = 0; b < kBuffers; ++b)
    buffers.push_back({page(1 + b % (kBlocks - 1), (b + 1) * 4 * kStride), kPageSize});
  Ring ring;
  if (!ring.open(buffers.data(), kBuffers)) GTEST_SKIP() << "io_uring: " << strerror(errno);
  ASSERT_TRUE(ring.unpin());
  const int file = memfd_create("content", 0);
  std::vector<char> content(kPageSize);
  std::atomic<bool> stop{false};
  // What is touched meanwhile leaves at once, again and again.
  const Pages before = a_.zone().managed();
  a_.zone().set_managed(Pages(1));
  std::thread pusher([&] {
    for (size_t n = 0; !stop; n = (n + kStride) % kPagesPerBlock) {
      for (unsigned i = 1; i < kBlocks; ++i) static_cast<void>(*static_cast<volatile char*>(page(i, n)));
      a_.reclaimer().wake_kswapd(a_.zone().node());
    }
  });
  Random random(9);
  unsigned lost = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    const uint64_t seed = content_seed(uint64_t{round + 1} << 32, Content::kCompressible);
    write_content(content.data(), kPageSize, seed);
    ASSERT_EQ(pwrite(file, content.data(), kPageSize, 0), static_cast<ssize_t>(kPageSize));
    ASSERT_TRUE(ring.pin(buffers.data(), kBuffers)) << strerror(errno);
    usleep(static_cast<unsigned>(random.below(10000)));
    for (unsigned b = 0; b < kBuffers; ++b)
      ASSERT_EQ(ring.read_fixed(file, buffers[b].iov_base, static_cast<uint16_t>(b)), static_cast<int>(kPageSize));
    ASSERT_TRUE(ring.unpin());
    for (const iovec& buffer : buffers) lost += !check_content_at(buffer.iov_base, 0, kPageSize, seed);
  }
  stop = true;
  pusher.join();
  a_.zone().set_managed(before);
  EXPECT_EQ(lost, 0u);
  settle(a_);
  close(file);
}

// What is mapped meanwhile, by the program or by weir, lies at none of the addresses that pages are lifted to.
TEST_P(LiftTest, OtherMappingsKeepTheirContent) {
  start();
  if (testing::Test::IsSkipped()) return;
  // What a pipe refers to goes back to where it was, and so does what lies between active pages without a hole.
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  for (size_t n = 1; n < 8 * 4 * kStride; n += 4 * kStride) {
    const iovec vector = {page(1, n), kPageSize};
    ASSERT_EQ(vmsplice(ends[1], &vector, 1, 0), static_cast<ssize_t>(kPageSize));
  }
  std::atomic<bool> stop{false};
  std::atomic<unsigned> lost{0};
  std::thread mapper([&] {
    constexpr unsigned kHeld = 16;
    char* held[kHeld] = {};
    const auto map_pages = [](unsigned i) { return (i % 4 + 1) * kPageSize; };
    for (unsigned i = 0; !stop; i = (i + 1) % kHeld) {
      if (held[i] != nullptr && (held[i][0] != 77 || munmap(held[i], map_pages(i)) != 0)) ++lost;
      void* const p = mmap(nullptr, map_pages(i), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      held[i] = p == MAP_FAILED ? nullptr : static_cast<char*>(p);
      if (held[i] != nullptr) held[i][0] = 77;
    }
    for (unsigned i = 0; i < kHeld; ++i)
      if (held[i] != nullptr) munmap(held[i], map_pages(i));
  });
  touch_until_lifted(40);
  stop = true;
  mapper.join();
  EXPECT_EQ(lost, 0u);
  close(ends[0]);
  close(ends[1]);
  expect_all();
}

// A page that is written and then protected while it is on its way keeps what was written.
TEST_P(LiftTest, WhatIsWrittenBeforeItIsProtectedStays) {
  start();
  if (testing::Test::IsSkipped()) return;
  std::atomic<bool> stop{false};
  std::atomic<unsigned> lost{0};
  std::thread protector([&] {
    Random random(8);
    for (char version = 1; !stop; ++version) {
      char* const p = page(0, random.below(kPagesPerBlock));
      const char before = *p;
      *p = version;
      EXPECT_EQ(mprotect(p, kPageSize, PROT_READ), 0);
      usleep(static_cast<unsigned>(random.below(300)));
      lost += *static_cast<volatile char*>(p) != version;
      mprotect(p, kPageSize, PROT_READ | PROT_WRITE);
      lost += *static_cast<volatile char*>(p) != version;
      *p = before;
    }
  });
  for (size_t round = 0; round < 20; ++round) {
    for (unsigned i = 1; i < kBlocks; ++i)
      for (size_t n = round % kStride; n < kPagesPerBlock; n += kStride) EXPECT_TRUE(is_intact(i, n)) << i;
    EXPECT_TRUE(lift_some(2 * kPagesPerBlock));
  }
  stop = true;
  protector.join();
  EXPECT_EQ(lost, 0u);
  expect_all();
}

// With a sanitizer, which makes them five times as slow, fewer; what is looked for happens without one, too.
constexpr uint64_t kRounds = kTsan || kAsan ? 5 : 20;

// Pages of the first block that a pipe refers to, so that they stay where they are.
class HeldPages {
 public:
  static constexpr unsigned kCount = 8;
  [[nodiscard]] bool hold(char* block) {
    if (pipe(ends_) != 0) return false;
    for (unsigned i = 0; i < kCount; ++i) {
      pages_[i] = block + i * 4 * kStride * kPageSize;
      const iovec vector = {pages_[i], kPageSize};
      if (vmsplice(ends_[1], &vector, 1, 0) != static_cast<ssize_t>(kPageSize)) return false;
    }
    return true;
  }
  ~HeldPages() {
    for (const int end : ends_) close(end);
  }
  char* any(Random& random) const { return pages_[random.below(kCount)]; }

 private:
  int ends_[2] = {-1, -1};
  char* pages_[kCount] = {};
};

// The program protects them, and writes to them, in turn; by system calls of which weir knows nothing.
TEST_P(LiftTest, WhatIsWrittenBetweenProtectionsStays) {
  start();
  if (testing::Test::IsSkipped()) return;
  HeldPages held;
  ASSERT_TRUE(held.hold(blocks_[0]));
  std::atomic<bool> stop{false};
  unsigned lost = 0;
  std::thread protector([&] {
    for (Random random(8); !stop;) {
      volatile char* const p = held.any(random);
      void* const begin = const_cast<char*>(p);
      const char before = *p;
      char last = before;
      for (unsigned n = 0; n < 1000; ++n) {
        mprotect(begin, kPageSize, n % 8 == 0 ? PROT_NONE : PROT_READ);
        mprotect(begin, kPageSize, PROT_READ | PROT_WRITE);
        lost += *p != last;
        *p = last = static_cast<char>(n);
      }
      *p = before;
    }
  });
  touch_until_lifted(kRounds, 1);
  stop = true;
  protector.join();
  EXPECT_EQ(lost, 0u);
  expect_all();
}

// What is put back brings the protection along that it left with. By calls of which weir knows, no page leaves while
// its protection changes.
void LiftTest::protect_meanwhile(size_t bytes) {
  start();
  if (testing::Test::IsSkipped()) return;
  for (size_t at = kBlock; at < bytes; at += kBlock) ASSERT_EQ(blocks_[at / kBlock], blocks_[0] + at);
  HeldPages held;
  ASSERT_TRUE(held.hold(blocks_[0]));
  const int zeros = open("/dev/zero", O_RDONLY);
  ASSERT_GE(zeros, 0);
  std::atomic<bool> stop{false};
  unsigned unprotected = 0;
  std::thread protector([&] {
    for (Random random(5); !stop;) {
      char* const p = held.any(random);
      const char before = *p;
      char* const begin = bytes == kPageSize ? p : blocks_[0];
      const auto protect = [&](int protection) {
        EXPECT_EQ(a_.reclaimer().protect(begin, begin + bytes, protection, os::kNoKey), 0);
      };
      for (unsigned n = 0; n < 20; ++n) {
        usleep(100);
        protect(PROT_READ);
        usleep(500);
        unprotected += read(zeros, p, 1) >= 0;
        protect(PROT_READ | PROT_WRITE);
        *p = before;
      }
    }
  });
  touch_until_lifted(kRounds, 1);
  stop = true;
  protector.join();
  EXPECT_EQ(unprotected, 0u);
  close(zeros);
  expect_all();
}

TEST_P(LiftTest, ProtectionThatChangesMeanwhileStays) {
  protect_meanwhile(kPageSize);
}

// By one call, unless something leaves meanwhile.
TEST_P(LiftTest, ProtectionOfALongRangeThatChangesMeanwhileStays) {
  protect_meanwhile(6 * kBlock);
}

TEST_P(LiftTest, TouchesMeanwhileSeeWhatWasThere) {
  start();
  if (testing::Test::IsSkipped()) return;
  touch_until_lifted(20);
  expect_all();
}

TEST_P(LiftTest, DroppedAndFreedPagesAreGone) {
  start();
  if (testing::Test::IsSkipped()) return;
  std::atomic<bool> stop{false};
  std::thread dropper([&] {
    for (Random random(5); !stop;) {
      char* const p = page(0, random.below(kPagesPerBlock));
      madvise(p, kPageSize, MADV_DONTNEED);
      *p = 1;
    }
  });
  std::thread freer([&] {
    while (!stop) {
      auto* p = static_cast<char*>(a_->malloc(nullptr, 20 * kPageSize));
      if (p == nullptr) continue;
      for (size_t n = 0; n < 20; n += kStride) p[n * kPageSize] = 1;
      usleep(200);
      static_cast<void>(a_->free(nullptr, p));
    }
  });
  for (size_t round = 0; round < 20; ++round) {
    for (unsigned i = 1; i < kBlocks; ++i)
      for (size_t n = round % kStride; n < kPagesPerBlock; n += kStride) EXPECT_TRUE(is_intact(i, n)) << i;
    EXPECT_TRUE(lift_some(2 * kPagesPerBlock));
  }
  stop = true;
  dropper.join();
  freer.join();
  write_content(blocks_[0], kBlock, seed_of(0));
  expect_all();
}

// What the kernel may do when the machine is short of memory: it drops pages that are marked and not copied yet.
TEST_P(LiftTest, WhatTheKernelDropsMeanwhileIsNotLost) {
  start();
  if (testing::Test::IsSkipped()) return;
  if (os::vm_system_swaps()) GTEST_SKIP() << "the kernel swaps by itself";
  std::atomic<bool> stop{false};
  std::thread kernel([&] {
    while (!stop)
      for (char* block : blocks_) madvise(block, kBlock, MADV_PAGEOUT);
  });
  touch_until_lifted(10);
  stop = true;
  kernel.join();
  expect_all();
}

// A child that shares all pages, and does nothing; by a bare system call, of which the allocator hears nothing.
pid_t share_for(long ms) {
  const auto pid = static_cast<pid_t>(syscall(SYS_fork));
  if (pid != 0) return pid;
  const timespec time = {0, ms * 1'000'000};
  syscall(SYS_nanosleep, &time, nullptr);
  for (;;) syscall(SYS_exit_group, 0);
}

// What is written to a page that is shared with a child, or was, is written to another page.
TEST_P(LiftTest, WhatIsWrittenToPagesThatAreSharedWithAChildIsNotLost) {
  start();
  if (testing::Test::IsSkipped()) return;
  std::atomic<bool> stop{false};
  std::thread parent([&] {
    while (!stop) {
      const pid_t child = share_for(5);
      ASSERT_GT(child, 0);
      usleep(2'000);
      ASSERT_EQ(waitpid(child, nullptr, 0), child);
    }
  });
  write_until_lifted(10);
  stop = true;
  parent.join();
}

const char* name_of(Kernel kernel) {
  return kernel == Kernel::kDropsInPlace ? "DropsInPlace" : kernel == Kernel::kMoves ? "Moves" : "OnlyLifts";
}

INSTANTIATE_TEST_SUITE_P(Kernels, LiftTest, testing::Values(Kernel::kDropsInPlace, Kernel::kMoves, Kernel::kOnlyLifts),
                         [](const auto& kernel) { return name_of(kernel.param); });

}  // namespace
}  // namespace weir
