// signals_test.cc: a signal's handler may touch memory that is away whatever the thread was doing for the allocator, by
// which it may hold what bringing memory back takes.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "os/proc.h"
#include "support/random.h"
#include "support/squeeze.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{16} << 20;
constexpr size_t kBlock = size_t{64} << 10;
constexpr size_t kBlocks = 160;
constexpr size_t kBlockPages = kBlock / kPageSize;
// What an idle machine sends in a second or two. On a busy one, where each takes some turns of the scheduler, not all.
constexpr unsigned kSignals = 16000;
constexpr uint64_t kMostMs = 4000;

char* volatile g_data[kBlocks];
std::atomic<unsigned> g_handled{0}, g_wrong{0};
std::atomic<uint64_t> g_random{1};
const volatile char* g_given_up = nullptr;

uint64_t word_of(size_t block, size_t page) {
  return block << 32 | page << 8 | 1;
}

volatile uint64_t& word_at(size_t block, size_t page) {
  return *reinterpret_cast<volatile uint64_t*>(g_data[block] + page * kPageSize + page % 64 * 8);
}

void touch_some(int) {
  for (int i = 0; i < 4; ++i) {
    const uint64_t random = g_random.fetch_add(0x9e37'79b9'7f4a'7c15u);
    const size_t block = (random >> 20) % kBlocks, page = (random >> 40) % kBlockPages;
    g_wrong += word_at(block, page) != word_of(block, page);
  }
  if (g_given_up != nullptr) static_cast<void>(*g_given_up);
  ++g_handled;
}

class SignalsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const char* why = a_.start(kLimit, size_t{128} << 20)) GTEST_SKIP() << why;
    for (size_t i = 0; i < kBlocks; ++i) {
      g_data[i] = static_cast<char*>(a_->malloc(nullptr, kBlock));
      ASSERT_NE(g_data[i], nullptr);
      for (size_t page = 0; page < kBlockPages; ++page) word_at(i, page) = word_of(i, page);
    }
    struct sigaction action = {};
    action.sa_handler = touch_some;
    ASSERT_EQ(sigaction(SIGUSR1, &action, &before_), 0);
    g_handled = g_wrong = 0;
  }
  void TearDown() override {
    if (testing::Test::IsSkipped()) return;
    sigaction(SIGUSR1, &before_, nullptr);
    EXPECT_EQ(g_wrong, 0u);
    EXPECT_STREQ(find_fault(a_), nullptr);
  }
  // Sends signals to a thread that does `work` over and over; each when the one before it has been handled.
  template <class Work>
  void send_to(Work work) {
    a_.zone().set_managed(pages_of(kLimit / 4));
    a_.reclaimer().wake_all_kswapds();
    EXPECT_TRUE(wait_until([&] { return a_.node().swapped_pages() > kBlocks * kBlockPages / 2; }));
    std::atomic<bool> stop{false};
    std::thread worker([&] {
      for (Random random(5); !stop;) work(random);
    });
    const uint64_t start = os::now_ms();
    for (unsigned n = 0; n < kSignals && os::now_ms() - start < kMostMs; ++n) {
      ASSERT_EQ(pthread_kill(worker.native_handle(), SIGUSR1), 0);
      if (wait_until_soon([&] { return g_handled == n + 1; })) continue;
      ADD_FAILURE() << "signal " << n << " is handled for a minute";
      abort();  // the thread cannot be joined
    }
    stop = true;
    worker.join();
    a_.zone().set_managed(pages_of(kLimit));
    settle(a_);
  }

  void free(char* p) { EXPECT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone); }

  LimitedAllocator a_;

 private:
  template <class Done>
  static bool wait_until_soon(Done done) {
    for (int spins = 0; spins < 1000; ++spins) {
      if (done()) return true;
      sched_yield();
    }
    return wait_until(done);
  }
  struct sigaction before_ = {};
};

// Freeing takes what is kept of pages that are away out of the pool and of the file.
TEST_F(SignalsTest, WhileWhatIsAwayIsFreed) {
  std::vector<char*> mine(512, nullptr);
  send_to([&](Random& random) {
    char*& p = mine[random.below(mine.size())];
    if (p != nullptr) free(p);
    p = static_cast<char*>(a_->malloc(nullptr, kBlock));
    for (size_t page = 0; p != nullptr && page < kBlockPages; ++page) p[page * kPageSize] = 1;
  });
  for (char* p : mine)
    if (p != nullptr) free(p);
}

// Pages that the thread gives up are touched by its handler.
TEST_F(SignalsTest, WhileWhatTheHandlerTouchesIsGivenUp) {
  auto* const p = static_cast<char*>(a_->malloc(nullptr, kBlock));
  ASSERT_NE(p, nullptr);
  g_given_up = p;
  send_to([&](Random&) {
    *p = 1;
    EXPECT_EQ(a_.reclaimer().give_up(p, p + kPageSize, MADV_DONTNEED), 0);
  });
  g_given_up = nullptr;
  free(p);
}

TEST_F(SignalsTest, WhileEverythingIsVerified) {
  send_to([&](Random&) { EXPECT_STREQ(a_.allocator().verify(), nullptr); });
}

}  // namespace
}  // namespace weir
