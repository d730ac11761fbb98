// heap_threads_test.cc: heaps of threads that are made and destroyed while others allocate and free in theirs, objects
// that other threads free, and handles that become stale under the hands of others.
#include <errno.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "support/pattern.h"
#include "support/private_heaps.h"
#include "support/sanitizer.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{1} << 30;
constexpr unsigned kThreads = 6;
constexpr unsigned kRounds = kTsan ? 60 : 200;

class HeapThreads : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(h_.start(kCapacity)); }
  template <class Body>
  void run(Body body) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t) threads.emplace_back([&, t] { body(t); });
    for (std::thread& t : threads) t.join();
  }
  void* alloc(ThreadCache* thread, HeapId id, size_t size) {
    HeapCall call;
    call.thread = thread;
    return h_.registry->alloc(id, size, kMinAlignment, false, call);
  }
  static size_t any_size(std::mt19937& random) {
    const uint64_t what = random() % 100;
    return what < 80 ? random() % 1000 : what < 97 ? random() % 20000 : random() % 300000;
  }

  PrivateHeaps h_;
  std::atomic<unsigned> mistakes_{0};
};

TEST_F(HeapThreads, HeapsComeAndGoWhileOthersWork) {
  std::atomic<bool> done{false};
  std::thread looker([&] {
    while (!done.load()) {
      if (h_.allocator->verify() != nullptr) ++mistakes_;
      if (h_.allocator->decay_tick().misuse != Misuse::kNone) ++mistakes_;
      for (HeapId id = h_.registry->next({}); id; id = h_.registry->next(id)) {
        HeapStats s;
        static_cast<void>(h_.registry->stats(id, s));
      }
      std::this_thread::yield();
    }
  });
  run([&](unsigned t) {
    std::mt19937 random(t);
    ThreadCache* cache = h_.allocator->attach();
    for (unsigned round = 0; round < kRounds; ++round) {
      const HeapId id = h_.create();
      std::vector<std::pair<void*, size_t>> live;
      for (unsigned i = 0; i < 300; ++i) {
        const size_t size = any_size(random);
        void* p = i % 10 == 0 ? h_.allocator.malloc(cache, size) : alloc(cache, id, size);
        if (p == nullptr) {
          ++mistakes_;
          continue;
        }
        write_pattern(p, size, size ^ t);
        live.emplace_back(p, size);
        if (random() % 3 == 0) {
          const size_t at = random() % live.size();
          if (!check_pattern(live[at].first, live[at].second, live[at].second, live[at].second ^ t)) ++mistakes_;
          if (h_.allocator.free(cache, live[at].first).misuse != Misuse::kNone) ++mistakes_;
          live[at] = live.back();
          live.pop_back();
        }
      }
      for (const auto& [p, size] : live)
        if (h_.registry->heap_of(p) != id && h_.allocator.free(cache, p).misuse != Misuse::kNone) ++mistakes_;
      h_.destroy(id);
    }
    if (h_.allocator->detach(cache).misuse != Misuse::kNone) ++mistakes_;
  });
  done.store(true);
  looker.join();
  EXPECT_EQ(mistakes_.load(), 0u);
  h_.allocator.trim(nullptr);
  EXPECT_EQ(h_.allocator.charged(), 0u);
  EXPECT_EQ(h_.registry->nr_heaps(), 0u);
  EXPECT_EQ(h_.allocator->verify(), nullptr);
}

// Each thread frees what the one before it allocated, and all share two heaps, one of them at its limit.
TEST_F(HeapThreads, FreedByOthers) {
  HeapSettings settings;
  settings.limit = 8 << 20;
  const HeapId heaps[] = {h_.create("free"), h_.create("limited", settings)};
  struct Box {
    std::mutex mutex;
    std::vector<void*> objects;
  } boxes[kThreads];
  run([&](unsigned t) {
    std::mt19937 random(t + 100);
    // Half of them with caches.
    ThreadCache* cache = t % 2 == 0 ? h_.allocator->attach() : nullptr;
    HeapId id = heaps[0];
    for (unsigned round = 0; round < kRounds * 5; ++round) {
      for (unsigned i = 0; i < 20; ++i) {
        if (random() % 32 == 0) id = heaps[random() % 2];
        void* p = alloc(cache, id, any_size(random));
        if (p == nullptr) {
          if (id == heaps[0]) ++mistakes_;
          continue;
        }
        if (h_.registry->heap_of(p) != id) ++mistakes_;
        std::lock_guard guard(boxes[t].mutex);
        boxes[t].objects.push_back(p);
      }
      std::vector<void*> taken;
      {
        Box& box = boxes[(t + 1) % kThreads];
        std::lock_guard guard(box.mutex);
        taken.swap(box.objects);
      }
      for (void* p : taken)
        if (h_.allocator.free(cache, p).misuse != Misuse::kNone) ++mistakes_;
    }
    if (cache != nullptr && h_.allocator->detach(cache).misuse != Misuse::kNone) ++mistakes_;
  });
  for (Box& box : boxes)
    for (void* p : box.objects) EXPECT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNone));
  EXPECT_EQ(mistakes_.load(), 0u);
  EXPECT_LE(bytes_of(h_.stats(heaps[1]).peak), settings.limit);
  h_.allocator.trim(nullptr);
  for (const HeapId id : heaps) EXPECT_EQ(h_.charged(id), 0u);
  EXPECT_EQ(h_.allocator.charged(), 0u);
  EXPECT_EQ(h_.allocator->verify(), nullptr);
}

// Allocating with a handle that another thread makes stale: either it works, or EINVAL is the answer (or the heap is
// full), and nothing stays behind in the next heap of that place.
TEST_F(HeapThreads, HandlesThatBecomeStale) {
  HeapSettings settings;
  settings.limit = 4 << 20;
  std::atomic<uint64_t> current{h_.create(nullptr, settings).bits};
  std::atomic<bool> done{false};
  std::atomic<uint64_t> got{0}, refused{0};
  std::thread owner([&] {
    uint64_t before = 0;
    for (unsigned round = 0; round < kRounds * 5; ++round) {
      // Not before somebody is at work in it. Counted from before it is there: it may be full soon.
      while (got.load() == before) std::this_thread::yield();
      h_.destroy(HeapId{current.load()});
      before = got.load();
      current.store(h_.create(nullptr, settings).bits);
    }
    done.store(true);
  });
  run([&](unsigned t) {
    std::mt19937 random(t);
    while (!done.load()) {
      HeapCall call;
      const HeapId id{current.load()};
      void* p = h_.registry->alloc(id, t % 2 == 0 ? 100 : 50000, kMinAlignment, false, call);
      if (p != nullptr)
        ++got;
      else if (call.error == EINVAL)
        ++refused;
      else if (call.error != ENOMEM)
        ++mistakes_;
    }
  });
  owner.join();
  EXPECT_EQ(mistakes_.load(), 0u);
  EXPECT_GT(got.load(), 0u);
  h_.destroy(HeapId{current.load()});
  EXPECT_EQ(h_.allocator.charged(), 0u) << "nothing was given out on behalf of a heap that was gone";
  EXPECT_EQ(h_.allocator->verify(), nullptr);
}

}  // namespace
}  // namespace weir
