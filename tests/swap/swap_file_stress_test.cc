// swap_file_stress_test.cc: threads on one swap file, with forks, space given back and failures meanwhile.
#include "swap/swap_file.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "os/proc.h"
#include "support/random.h"
#include "support/swap_file_test_base.h"

namespace weir {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr unsigned kRun = SwapFile::kMaxRun;

// Threads that write, read and free runs of their own, and check every byte.
class SwapFileStress : public SwapFileTest {
 protected:
  void worker(uint64_t id, unsigned rounds) {
    Random random(id);
    const PageBuffer buffer(kRun);
    std::vector<std::pair<Slots, uint64_t>> live;
    for (unsigned i = 0; i < rounds && !HasFatalFailure(); ++i) {
      if (live.size() < 20 && random.below(2) == 0) {
        const uint64_t seed = random.next() >> 8;
        buffer.fill(seed);
        Slots slots = file_.alloc(1 + static_cast<unsigned>(random.below(kRun)));
        if (slots.count == 0) continue;
        const IoResult result = file_.write(slots, buffer.data());
        EXPECT_TRUE(result == IoResult::kOk || faults_.injected() != 0);
        if (slots.count != 0) live.push_back({slots, seed});
      } else if (!live.empty()) {
        const size_t at = random.below(live.size());
        const auto [slots, seed] = live[at];
        uint64_t bad = 0;
        const IoResult result = file_.read(slots.first, slots.count, buffer.data(), bad);
        EXPECT_EQ(result == IoResult::kOk, bad == 0);
        for (unsigned k = 0; k < slots.count; ++k) {
          ASSERT_TRUE((bad >> k & 1) != 0 || buffer.page_is(k, seed + k)) << "wrong content";
        }
        EXPECT_TRUE(bad == 0 || faults_.injected() != 0);
        if (random.below(3) == 0) continue;
        file_.free(slots.first, slots.count);
        live[at] = live.back();
        live.pop_back();
      }
    }
    for (const auto& [slots, seed] : live) file_.free(slots.first, slots.count);
  }
  void run(bool encrypt, const char* plan) {
    ASSERT_EQ(open(encrypt, plan, 8 * kMiB), SwapFile::Open::kOk);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (uint64_t t = 1; t <= 4; ++t) threads.emplace_back([this, t] { worker(t, 300); });
    std::thread keeper([&] {
      Random random(99);
      std::vector<uint64_t> forks;
      while (!stop.load()) {
        if (forks.size() < 5) forks.push_back(file_.freeze());
        file_.give_back(random.below(2) * 512);
        if (!forks.empty() && random.below(2) == 0) {
          file_.thaw(forks.front());
          forks.erase(forks.begin());
        }
        EXPECT_EQ(file_.verify(), nullptr);
        os::sleep_ms(1);
      }
      for (uint64_t fork_number : forks) file_.thaw(fork_number);
    });
    for (std::thread& t : threads) t.join();
    stop = true;
    keeper.join();
    const SwapFileStats stats = file_.stats();
    EXPECT_EQ(stats.slots.used, 0u);
    EXPECT_EQ(stats.slots.held, 0u);
    EXPECT_EQ(stats.slots.cleaning, 0u);
    EXPECT_GT(stats.pages_written, 1000u);
  }
};

TEST_F(SwapFileStress, Plain) {
  run(false, "");
}
TEST_F(SwapFileStress, Encrypted) {
  run(true, "");
}
TEST_F(SwapFileStress, WithFaults) {
  run(false,
      "write:EIO:every=29,write:short:every=7,read:short:every=11,read:corrupt:every=31,read:EIO:every=17,"
      "write:ENOSPC:after=100:times=20");
}
TEST_F(SwapFileStress, EncryptedWithFaults) {
  run(true, "write:EINTR:every=3,write:EIO:every=13,read:EAGAIN:every=5,read:corrupt:every=9");
}

}  // namespace
}  // namespace weir
