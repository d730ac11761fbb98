// swap_queue_test.cc: several transfers under way, by io_uring and without.
#include "swap/swap_queue.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>

#include <memory>
#include <thread>
#include <vector>

#include "support/page_buffer.h"
#include "support/random.h"
#include "support/swap_place.h"

namespace weir {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr unsigned kRun = SwapFile::kMaxRun;
using Completion = SwapQueue::Completion;

class SwapQueueTest : public testing::TestWithParam<SwapQueue::Mode> {
 protected:
  void open(const char* plan = "", bool encrypt = false) {
    ASSERT_FALSE(faults_.parse(plan)) << plan;
    ASSERT_EQ(file_.open({folder_.path().c_str(), 32 * kMiB, encrypt, &faults_}), SwapFile::Open::kOk);
    ASSERT_TRUE(queue_.open(file_, GetParam()));
    ASSERT_TRUE(GetParam() == SwapQueue::Mode::kBest || !queue_.asynchronous());
  }
  ~SwapQueueTest() override {
    if (queue_.is_open()) queue_.close();
    if (!file_.is_open()) return;
    EXPECT_EQ(file_.verify(), nullptr);
    file_.close();
  }
  Slots put(uint64_t seed, unsigned count) {
    const PageBuffer out(count);
    out.fill(seed);
    Slots slots = file_.alloc(count);
    EXPECT_EQ(file_.write(slots, out.data()), IoResult::kOk);
    return slots;
  }
  Completion wait_one() {
    Completion c;
    EXPECT_EQ(queue_.wait(&c, 1), 1u);
    return c;
  }
  SwapFolder folder_;
  os::FaultInjector faults_;
  SwapFile file_;
  SwapQueue queue_;
};

TEST_P(SwapQueueTest, ReadsInFlight) {
  open();
  std::vector<Slots> runs;
  std::vector<std::unique_ptr<PageBuffer>> buffers;
  for (uint64_t i = 0; i < SwapQueue::kDepth; ++i) {
    runs.push_back(put(i * 100, 1 + static_cast<unsigned>(i)));
    buffers.push_back(std::make_unique<PageBuffer>(kRun));
  }
  // Half of them one by one, the others together.
  for (uint64_t i = 0; i < SwapQueue::kDepth / 2; ++i)
    ASSERT_TRUE(queue_.submit_read(runs[i].first, runs[i].count, buffers[i]->data(), i));
  for (uint64_t i = SwapQueue::kDepth / 2; i < SwapQueue::kDepth; ++i)
    ASSERT_TRUE(queue_.prepare_read(runs[i].first, runs[i].count, buffers[i]->data(), i));
  queue_.submit();
  EXPECT_EQ(queue_.pending(), SwapQueue::kDepth);
  EXPECT_FALSE(queue_.submit_read(runs[0].first, 1, buffers[0]->data(), 0)) << "deeper than it is";
  std::vector<bool> seen(SwapQueue::kDepth);
  while (queue_.pending() != 0) {
    Completion c[5];
    const unsigned count = queue_.wait(c, 5);
    ASSERT_GT(count, 0u);
    for (unsigned k = 0; k < count; ++k) {
      ASSERT_FALSE(seen[c[k].cookie]);
      seen[c[k].cookie] = true;
      EXPECT_EQ(c[k].result, IoResult::kOk);
      EXPECT_FALSE(c[k].is_write);
      EXPECT_EQ(c[k].slots.count, runs[c[k].cookie].count);
      EXPECT_TRUE(buffers[c[k].cookie]->is(c[k].cookie * 100, c[k].slots.count));
    }
  }
  Completion none;
  EXPECT_EQ(queue_.poll(&none, 1), 0u);
  EXPECT_EQ(queue_.wait(&none, 1), 0u) << "nothing is under way";
}

TEST_P(SwapQueueTest, WritesInFlight) {
  for (bool encrypt : {false, true}) {
    open("", encrypt);
    std::vector<std::unique_ptr<PageBuffer>> buffers;
    std::vector<Slots> runs;
    for (uint64_t i = 0; i < 20; ++i) {
      buffers.push_back(std::make_unique<PageBuffer>(kRun));
      buffers.back()->fill(i * 1000);
      runs.push_back(file_.alloc(kRun));
      ASSERT_EQ(runs.back().count, kRun);
      ASSERT_TRUE(queue_.submit_write(runs.back(), buffers.back()->data(), i));
    }
    while (queue_.pending() != 0) {
      const Completion c = wait_one();
      EXPECT_EQ(c.result, IoResult::kOk);
      EXPECT_TRUE(c.is_write);
      EXPECT_EQ(c.slots.first, runs[c.cookie].first);
      EXPECT_EQ(c.slots.count, kRun);
    }
    for (uint64_t i = 0; i < 20; ++i) {
      const PageBuffer in(kRun);
      uint64_t bad = 0;
      ASSERT_EQ(file_.read(runs[i].first, kRun, in.data(), bad), IoResult::kOk);
      EXPECT_TRUE(in.is(i * 1000));
    }
    queue_.close();
    file_.close();
  }
}

TEST_P(SwapQueueTest, TheDescriptorTells) {
  open();
  const Slots run = put(3, kRun);
  const PageBuffer in(kRun);
  struct pollfd entry = {queue_.fd(), POLLIN, 0};
  EXPECT_EQ(poll(&entry, 1, 0), 0);
  for (int round = 0; round < 50; ++round) {
    ASSERT_TRUE(queue_.submit_read(run.first, kRun, in.data(), 1));
    Completion c;
    while (queue_.poll(&c, 1) == 0) poll(&entry, 1, 10000);
    ASSERT_EQ(c.result, IoResult::kOk);
    ASSERT_TRUE(in.is(3));
    EXPECT_EQ(poll(&entry, 1, 0), 0) << "nothing more to come";
  }
}

TEST_P(SwapQueueTest, FaultsOfReads) {
  open("read:EIO:after=1:times=1,read:short:after=40:every=3,read:corrupt:after=100:times=1");
  const Slots run = put(5, kRun);
  const PageBuffer in(kRun);
  bool saw_corrupt = false;
  for (int round = 0; round < 60; ++round) {
    memset(in.data(), 0, in.bytes());
    ASSERT_TRUE(queue_.submit_read(run.first, kRun, in.data(), 9));
    const Completion c = wait_one();
    saw_corrupt |= c.result == IoResult::kCorrupt;
    ASSERT_EQ(c.result == IoResult::kOk, c.bad_mask == 0);
    for (unsigned i = 0; i < kRun; ++i) ASSERT_EQ(in.page_is(i, 5 + i), (c.bad_mask >> i & 1) == 0) << round;
    ASSERT_TRUE(round != 0 || c.result == IoResult::kOk) << "the pages are read one by one";
  }
  EXPECT_TRUE(saw_corrupt);
  EXPECT_EQ(file_.stats().corrupt_pages, 1u);
}

TEST_P(SwapQueueTest, PagesThatCannotBeRead) {
  open("read:EIO:after=1:times=4");  // the run and its first three pages
  const Slots run = put(5, kRun);
  const PageBuffer in(kRun);
  ASSERT_TRUE(queue_.submit_read(run.first, kRun, in.data(), 0));
  const Completion c = wait_one();
  EXPECT_EQ(c.result, IoResult::kIoError);
  EXPECT_EQ(c.bad_mask, 7u);
}

TEST_P(SwapQueueTest, FaultsOfWrites) {
  open(
      "write:short:after=1:times=1,write:EIO:after=2:times=2,write:ENOSPC:after=5:times=1,write:EAGAIN:after=7:times="
      "3");
  const PageBuffer out(kRun);
  out.fill(1);
  const auto write = [&] {
    EXPECT_TRUE(queue_.submit_write(file_.alloc(kRun), out.data(), 0));
    return wait_one();
  };
  Completion c = write();  // 2 stops in the middle, 3 and 4 fail
  EXPECT_EQ(c.result, IoResult::kIoError);
  EXPECT_EQ(c.slots.count, kRun / 2);
  EXPECT_EQ(file_.stats().slots.retired, 1u);
  const PageBuffer in(kRun);
  uint64_t bad = 0;
  ASSERT_EQ(file_.read(c.slots.first, c.slots.count, in.data(), bad), IoResult::kOk);
  EXPECT_TRUE(in.is(1, kRun / 2));
  const Completion good = write();  // 5
  EXPECT_EQ(good.result, IoResult::kOk);
  c = write();  // 6
  EXPECT_EQ(c.result, IoResult::kNoSpace);
  EXPECT_EQ(c.slots.count, 0u);
  EXPECT_EQ(file_.stats().slots.starved, kRun);
  for (int i = 0; i < 2; ++i) {  // 7; 8 to 11
    file_.free(good.slots.first, good.slots.count);
    c = write();
    EXPECT_EQ(c.result, IoResult::kOk);
    EXPECT_TRUE(c.slots.first == good.slots.first || file_.stats().slots.starved == 0)
        << "only what was written is used while the disk is full";
  }
  EXPECT_EQ(faults_.injected(), 7u);
}

TEST_P(SwapQueueTest, EndlessInterruptionsEnd) {
  open("read:EAGAIN:after=1");
  const Slots run = put(5, 2);
  const PageBuffer in(2);
  ASSERT_TRUE(queue_.submit_read(run.first, 2, in.data(), 0));
  const Completion c = wait_one();
  EXPECT_EQ(c.result, IoResult::kIoError);
  EXPECT_EQ(c.bad_mask, 3u);
}

TEST_P(SwapQueueTest, AReadersFileTakesNoWrites) {
  open();
  const Slots run = put(5, 2);
  const PageBuffer out(2);
  file_.become_reader();
  ASSERT_TRUE(queue_.submit_write(run, out.data(), 8));
  const Completion c = wait_one();
  EXPECT_EQ(c.result, IoResult::kReadOnly);
  EXPECT_EQ(c.slots.count, 0u);
  ASSERT_TRUE(queue_.submit_read(run.first, 2, out.data(), 9));
  EXPECT_EQ(wait_one().result, IoResult::kOk);
  EXPECT_TRUE(out.is(5));
}

TEST_P(SwapQueueTest, CloseWaitsForWhatIsUnderWay) {
  open();
  const Slots run = put(5, kRun);
  std::vector<std::unique_ptr<PageBuffer>> buffers;
  for (int i = 0; i < 32; ++i) {
    buffers.push_back(std::make_unique<PageBuffer>(kRun));
    ASSERT_TRUE(queue_.submit_read(run.first, kRun, buffers.back()->data(), 0));
  }
  queue_.close();
  for (const auto& buffer : buffers) EXPECT_TRUE(buffer->is(5)) << "the kernel was not done with it";
  EXPECT_FALSE(queue_.is_open());
  ASSERT_TRUE(queue_.open(file_, GetParam())) << "again";
}

TEST_P(SwapQueueTest, AChildHasAQueueOfItsOwn) {
  open();
  const Slots run = put(5, kRun);
  const PageBuffer mine(kRun);
  ASSERT_TRUE(queue_.submit_read(run.first, kRun, mine.data(), 1));
  const pid_t child = fork();
  if (child == 0) {
    queue_.abandon(true);
    file_.become_reader();
    const PageBuffer in(kRun);
    if (!queue_.open(file_, GetParam()) || !queue_.submit_read(run.first, kRun, in.data(), 2)) _exit(1);
    const Completion c = wait_one();
    _exit(c.cookie == 2 && c.result == IoResult::kOk && in.is(5) ? 0 : 2);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(wait_one().cookie, 1u);
  EXPECT_TRUE(mine.is(5));
}

TEST_P(SwapQueueTest, ALostDescriptorLosesNoTransfer) {
  open();
  if (!queue_.asynchronous()) GTEST_SKIP() << "there is no ring";
  const Slots run = put(5, kRun);
  const PageBuffer in(kRun);
  const int number = queue_.fd();
  const int spare = dup(number);
  close(number);
  ASSERT_TRUE(queue_.submit_read(run.first, kRun, in.data(), 4));
  const Completion c = wait_one();
  EXPECT_EQ(c.result, IoResult::kOk);
  EXPECT_TRUE(in.is(5));
  ASSERT_EQ(dup2(spare, number), number);
  close(spare);
}

// Each thread has a queue; all share the file. Writes and reads mixed, every byte checked.
TEST_P(SwapQueueTest, Stress) {
  open("write:short:every=13,read:short:every=17,read:EINTR:every=19", true);
  const auto work = [this](uint64_t id) {
    SwapQueue queue;
    ASSERT_TRUE(queue.open(file_, GetParam()));
    constexpr unsigned kWorkers = 12;
    struct Work {
      Work() : buffer(kRun) {}
      PageBuffer buffer;
      Slots slots;
      uint64_t seed = 0;
    };
    std::vector<Work> works(kWorkers);
    Random random(id);
    unsigned written = 0;
    const auto write = [&](uint64_t i) {
      Work& w = works[i];
      w.slots = file_.alloc(1 + static_cast<unsigned>(random.below(kRun)));
      ASSERT_NE(w.slots.count, 0u);
      w.seed = random.next() >> 8;
      w.buffer.fill(w.seed);
      ASSERT_TRUE(queue.submit_write(w.slots, w.buffer.data(), i));
      ++written;
    };
    for (uint64_t i = 0; i < kWorkers; ++i) write(i);
    while (queue.pending() != 0) {
      Completion c[4];
      const unsigned count = queue.wait(c, 4);
      for (unsigned k = 0; k < count; ++k) {
        Work& w = works[c[k].cookie];
        ASSERT_EQ(c[k].result, IoResult::kOk);
        if (c[k].is_write) {
          memset(w.buffer.data(), 0, w.buffer.bytes());
          ASSERT_TRUE(queue.submit_read(w.slots.first, w.slots.count, w.buffer.data(), c[k].cookie));
          continue;
        }
        ASSERT_TRUE(w.buffer.is(w.seed, w.slots.count));
        file_.free(w.slots.first, w.slots.count);
        if (written < 200) write(c[k].cookie);
      }
    }
    queue.close();
  };
  std::vector<std::thread> threads;
  for (uint64_t id = 1; id <= 3; ++id) threads.emplace_back(work, id);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(file_.stats().slots.used, 0u);
}

INSTANTIATE_TEST_SUITE_P(Modes, SwapQueueTest, testing::Values(SwapQueue::Mode::kBest, SwapQueue::Mode::kSynchronous),
                         [](const auto& mode) {
                           return mode.param == SwapQueue::Mode::kBest ? "Best" : "Synchronous";
                         });

}  // namespace
}  // namespace weir
