// budget_pool_test.cc: how a budget is divided, and what becomes of it when its members come, go and are killed.
#include "reclaim/budget_pool.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "os/shared_file.h"
#include "support/sanitizer.h"

namespace weir {
namespace {

constexpr Pages kLimit(10000);

std::vector<uint64_t> shares_of(uint64_t total, const std::vector<uint64_t>& demands) {
  std::vector<uint64_t> shares(demands.size());
  share_out_fairly(total, demands, shares);
  return shares;
}

TEST(FairShares, WhoWantsLittleGetsItAndTheOthersHaveEqualParts) {
  EXPECT_EQ(shares_of(100, {10, 20, 30}), (std::vector<uint64_t>{10, 20, 30}));
  EXPECT_EQ(shares_of(100, {10, 200, 300}), (std::vector<uint64_t>{10, 45, 45}));
  EXPECT_EQ(shares_of(100, {40, 30, 1000}), (std::vector<uint64_t>{35, 30, 35}));
  EXPECT_EQ(shares_of(0, {5, 5}), (std::vector<uint64_t>{0, 0}));
  EXPECT_EQ(shares_of(7, {}), std::vector<uint64_t>{});
}

// Max-min fairness: nobody has more than it wants; nothing is left over while anybody wants more; and whoever has less
// than it wants has as much as anybody else, but for the pages that do not divide.
TEST(FairShares, AreMaxMinFair) {
  std::mt19937_64 random(7);
  for (unsigned round = 0; round < 5000; ++round) {
    std::vector<uint64_t> demands(random() % 12);
    const uint64_t scale = uint64_t{1} << (random() % 40);
    for (uint64_t& d : demands) d = random() % (2 * scale);
    const uint64_t total = random() % (scale * 8);
    const std::vector<uint64_t> shares = shares_of(total, demands);
    const uint64_t given = std::accumulate(shares.begin(), shares.end(), uint64_t{0});
    const uint64_t wanted = std::accumulate(demands.begin(), demands.end(), uint64_t{0});
    ASSERT_LE(given, total);
    if (wanted <= total) {
      ASSERT_EQ(given, wanted);
    } else {
      ASSERT_LT(total - given, demands.size());
    }
    const uint64_t most = shares.empty() ? 0 : *std::max_element(shares.begin(), shares.end());
    for (size_t i = 0; i < shares.size(); ++i) {
      ASSERT_LE(shares[i], demands[i]);
      if (shares[i] < demands[i]) {
        ASSERT_EQ(shares[i], most);
      }
    }
  }
}

class BudgetPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    // Descriptors of other threads' tables are what locks belong to: the test's members are processes.
    if (kTsan) GTEST_SKIP() << "the sanitizer's runtime does not survive forks in plenty";
    const int probe = open((path() + ".probe").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (probe < 0) GTEST_SKIP() << WEIR_POOL_DIRECTORY " cannot be written to";
    close(probe);
    unlink((path() + ".probe").c_str());
  }
  void TearDown() override {
    for (const pid_t pid : children_) end(pid);
    unlink(path().c_str());
  }
  std::string name() const { return "test-" + std::to_string(getpid()); }
  std::string path() const {
    std::string file(WEIR_POOL_DIRECTORY);
    return file.append("/weir-pool.").append(std::to_string(geteuid())).append(".").append(name());
  }
  // A process that is in the pool and calls `work` again and again.
  template <class Work>
  pid_t member(Work work) {
    const std::string pool = name();
    const pid_t pid = fork();
    if (pid == 0) {
      BudgetPool own;
      if (own.join(pool, kLimit, -1) != BudgetPool::Join::kOk) _exit(3);
      // As often as kswapd comes by at most.
      for (;; usleep(100)) work(own);
    }
    children_.push_back(pid);
    return pid;
  }
  void end(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  void end_one(size_t i) {
    end(children_[i]);
    children_.erase(children_.begin() + static_cast<ptrdiff_t>(i));
  }

  std::vector<pid_t> children_;
};

BudgetPool::Usage uses(uint64_t pages) {
  BudgetPool::Usage usage;
  usage.used = Pages(pages);
  return usage;
}

TEST_F(BudgetPoolTest, OneMemberGetsWhatItNeedsAndMore) {
  BudgetPool pool;
  ASSERT_EQ(pool.join(name(), kLimit, -1), BudgetPool::Join::kOk);
  EXPECT_EQ(pool.limit(), kLimit);
  const Pages part = pool.update(uses(1000));
  EXPECT_GT(part, Pages(1000));
  EXPECT_LT(part, kLimit) << "what nobody needs stays free";
  EXPECT_EQ(pool.update(uses(50000)), kLimit);
  EXPECT_FALSE(pool.is_owed());
  EXPECT_EQ(pool.verify(), nullptr);
}

TEST_F(BudgetPoolTest, BadNamesAreRefused) {
  for (const std::string& bad : {std::string(), std::string("."), std::string("a/b"), std::string("a b"),
                                 std::string(64, 'x'), std::string("\xc3\xa4")}) {
    BudgetPool pool;
    EXPECT_EQ(pool.join(bad, kLimit, -1), BudgetPool::Join::kBadName) << bad;
    EXPECT_FALSE(pool.is_member());
  }
}

TEST_F(BudgetPoolTest, AForeignFileIsRefused) {
  const int fd = open(path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(write(fd, "something else!!", 16), 16);
  BudgetPool pool;
  EXPECT_EQ(pool.join(name(), kLimit, -1), BudgetPool::Join::kOtherVersion);
  ASSERT_EQ(fchmod(fd, 0666), 0);
  BudgetPool other;
  EXPECT_EQ(other.join(name(), kLimit, -1), BudgetPool::Join::kNoAccess) << "others could write to it";
  close(fd);
  unlink(path().c_str());
  ASSERT_EQ(symlink("/dev/null", path().c_str()), 0);
  BudgetPool third;
  EXPECT_EQ(third.join(name(), kLimit, -1), BudgetPool::Join::kNoAccess);
}

// What a member of the pool learns is written where the test sees it.
struct Shown {
  std::atomic<uint64_t> part{0}, used{0};
};

Shown* shown_by(size_t members) {
  return static_cast<Shown*>(
      mmap(nullptr, members * sizeof(Shown), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

template <class Condition>
bool comes_true(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

// A member that holds as much as it may, and wants more.
void greedy(BudgetPool& pool, Shown& shown) {
  const Pages part = pool.update({Pages(shown.used), kLimit, Pages(0)});
  shown.part = part.v;
  shown.used = part.v;
}

TEST_F(BudgetPoolTest, TwoGreedyMembersComeToHaveEqualParts) {
  Shown* shown = shown_by(2);
  member([&](BudgetPool& pool) { greedy(pool, shown[0]); });
  ASSERT_TRUE(comes_true([&] { return shown[0].part == kLimit.v; })) << "alone it has everything";
  member([&](BudgetPool& pool) { greedy(pool, shown[1]); });
  EXPECT_TRUE(comes_true([&] { return shown[0].part == kLimit.v / 2 && shown[1].part == kLimit.v / 2; }))
      << shown[0].part << " and " << shown[1].part;
  end_one(0);
  EXPECT_TRUE(comes_true([&] { return shown[1].part == kLimit.v; })) << "what the dead one had is free";
}

TEST_F(BudgetPoolTest, AStoppedMemberHoldsUpNobody) {
  Shown* shown = shown_by(2);
  const pid_t first = member([&](BudgetPool& pool) { greedy(pool, shown[0]); });
  ASSERT_TRUE(comes_true([&] { return shown[0].part == kLimit.v; }));
  ASSERT_EQ(kill(first, SIGSTOP), 0);
  int status = 0;
  ASSERT_EQ(waitpid(first, &status, WUNTRACED), first);
  std::atomic<uint64_t>& rounds = shown[1].used;
  member([&](BudgetPool& pool) {
    shown[1].part = pool.update({Pages(0), kLimit, Pages(0)}).v;
    ++rounds;
  });
  // Unless it was stopped with the lock, the other joins; in no case it gets what is not there.
  const bool joined = comes_true([&] { return rounds > 100; });
  if (joined) {
    EXPECT_EQ(shown[1].part, 0u);
  }
  ASSERT_EQ(kill(first, SIGCONT), 0);
  EXPECT_TRUE(comes_true([&] { return shown[1].part == kLimit.v / 2 || !joined; }));
}

// Members come, use what they may, fork, and are killed at any moment; what they were granted is never more than there
// is, and nothing is lost.
TEST_F(BudgetPoolTest, MembersMayBeKilledAtAnyMoment) {
  constexpr size_t kMembers = 12;
  Shown* shown = shown_by(kMembers);
  std::mt19937 random(11);
  const auto start = [&](size_t i) {
    const unsigned seed = static_cast<unsigned>(random());
    shown[i].used = 0;
    return member([shown, i, seed](BudgetPool& pool) {
      static std::minstd_rand own(seed);
      const uint64_t part = pool.update({Pages(shown[i].used), Pages(own() % 3000), Pages(own() % 64)}).v;
      shown[i].used = own() % 4 == 0 ? own() % (part + 1) : part;
    });
  };
  for (size_t i = 0; i < kMembers; ++i) start(i);
  BudgetPool watcher;
  ASSERT_EQ(watcher.join(name(), kLimit, -1), BudgetPool::Join::kOk);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  unsigned checks = 0;
  while (std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    const size_t victim = random() % children_.size();
    end_one(victim);
    children_.insert(children_.begin() + static_cast<ptrdiff_t>(victim), start(victim));
    children_.pop_back();
    static_cast<void>(watcher.update(uses(0)));
    for (unsigned i = 0; i < 20; ++i, ++checks) {
      // As of one moment: with the lock.
      if (!os::try_lock_byte(watcher.fd(), WEIR_POOL_LOCK)) continue;
      const char* wrong = watcher.verify();
      os::unlock_byte(watcher.fd(), WEIR_POOL_LOCK);
      ASSERT_EQ(wrong, nullptr);
    }
  }
  EXPECT_GT(checks, 100u);
  while (!children_.empty()) end_one(0);
  EXPECT_EQ(watcher.update({kLimit, Pages(0), Pages(0)}), kLimit) << "all of it is there again";
}

TEST_F(BudgetPoolTest, HasRoomForAsManyAsItSays) {
  Shown* shown = shown_by(1);
  BudgetPool first;
  ASSERT_EQ(first.join(name(), kLimit, -1), BudgetPool::Join::kOk);
  std::atomic<uint64_t>& in = shown[0].part;
  for (unsigned i = 1; i < WEIR_POOL_MEMBERS; ++i) {
    member([&, told = false](BudgetPool&) mutable {
      if (!told) ++in;
      told = true;
      pause();
    });
  }
  ASSERT_TRUE(comes_true([&] { return in == WEIR_POOL_MEMBERS - 1; }));
  const std::string full = name();
  const pid_t late = fork();
  if (late == 0) {
    BudgetPool pool;
    _exit(static_cast<int>(pool.join(full, kLimit, -1)));
  }
  int status = 0;
  ASSERT_EQ(waitpid(late, &status, 0), late);
  EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(BudgetPool::Join::kFull));
}

}  // namespace
}  // namespace weir
