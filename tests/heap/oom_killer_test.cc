// oom_killer_test.cc: who loses memory when it runs out, against an independent model of the formula and the policies;
// the report word for word; heaps that are emptied while others allocate, free and destroy.
#include "heap/oom_killer.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/pattern.h"
#include "support/private_heaps.h"
#include "support/sanitizer.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{1} << 30;
constexpr uint64_t kTotal = 200000;
constexpr uint64_t kRest = 500;

std::string text;

OomAsk make_ask(HeapId asking, uint64_t pages_of_heaps, bool kill_allocating = false) {
  OomAsk ask;
  ask.owner = asking.index();
  ask.process.id = ask.process.process = 4711;
  ask.process.user = 1000;
  ask.process.name = "server";
  ask.process.pages = Pages(pages_of_heaps + kRest);
  ask.process.kill = OomKill::kFail;
  ask.context.asking = "server";
  ask.context.wanted = Pages(4);
  ask.context.limit = Pages(kTotal);
  ask.context.used = Pages(kTotal - 10);
  ask.kill_allocating = kill_allocating;
  ask.decided = [](const OomCandidate*, const OomDecision&) { return true; };
  ask.sink = {[](void*, std::string_view line) { text += line; }, nullptr};
  return ask;
}

HeapSettings settings(int adj, OomKill policy) {
  HeapSettings s;
  s.oom_score_adj = adj;
  s.oom_policy = policy;
  return s;
}

class OomKillers : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(h_.start(kCapacity));
    text.clear();
  }
  HeapId make(const char* name, int adj, OomKill policy, size_t pages) {
    const HeapId id = h_.create(name, settings(adj, policy));
    EXPECT_NE(h_.malloc(id, pages * kPageSize), nullptr);
    return id;
  }
  bool alive(HeapId id) {
    HeapStats s;
    return h_.registry->stats(id, s);
  }
  uint64_t charged_all() {
    uint64_t all = 0;
    for (HeapId id = h_.registry->next({}); id; id = h_.registry->next(id)) all += h_.charged(id);
    return all;
  }
  OomVerdict run(HeapId asking, bool kill_allocating = false) {
    OomAsk ask = make_ask(asking, charged_all(), kill_allocating);
    const OomVerdict verdict = h_.registry->out_of_memory(ask);
    EXPECT_EQ(h_.allocator->verify(), nullptr);
    return verdict;
  }

  PrivateHeaps h_;
};

TEST_F(OomKillers, TheReport) {
  make("cache", 0, OomKill::kRelease, 900);
  const HeapId log = make("log", -1000, OomKill::kFail, 2000);
  const HeapId tenant = make("tenant", 1, OomKill::kRelease, 800);
  EXPECT_EQ(run(log), OomVerdict::kTryAgain);
  EXPECT_EQ(text,
            "log invoked oom-killer: order=2, oom_score_adj=-1000\n"
            "memory: usage 799960kB, limit 800000kB\n"
            "swap: usage 0kB, limit 0kB\n"
            "Tasks state (memory values in pages):\n"
            "[  pid  ]   uid  tgid total_vm      rss swapents oom_score_adj name\n"
            "[   4711]  1000  4711      500      500        0             0 server\n"
            "[      1]  1000  4711      900      900        0             0 cache\n"
            "[      2]  1000  4711     2000     2000        0         -1000 log\n"
            "[      3]  1000  4711      800      800        0             1 tenant\n"
            "oom-kill:constraint=CONSTRAINT_MEMCG,task=tenant,pid=3,uid=1000,points=1000\n"
            "Out of memory: Emptied heap 3 (tenant) total-vm:3200kB, anon-rss:3200kB, swapents:0kB, UID:1000 "
            "oom_score_adj:1: most points\n");
  EXPECT_FALSE(alive(tenant));
  // Its name may be used again; its place only when it was destroyed.
  const HeapId next = make("tenant", 0, OomKill::kRelease, 1);
  EXPECT_NE(next.index(), tenant.index());
  Pages released;
  EXPECT_EQ(h_.registry->destroy_heap(tenant, released), 0);
  EXPECT_EQ(released, Pages(800));
  EXPECT_EQ(h_.registry->destroy_heap(tenant, released), EINVAL);
}

TEST_F(OomKillers, OfEqualsTheLaterOne) {
  const HeapId first = make("first", 0, OomKill::kRelease, 1000);
  const HeapId gone = make("gone", 0, OomKill::kRelease, 10);
  const HeapId last = make("last", 0, OomKill::kRelease, 1000);
  // Made last, in the place of one that was made before.
  h_.destroy(gone);
  const HeapId latest = make("latest", 0, OomKill::kRelease, 1000);
  ASSERT_LT(latest.index(), last.index());
  EXPECT_EQ(run(first), OomVerdict::kTryAgain);
  EXPECT_FALSE(alive(latest));
  EXPECT_TRUE(alive(first) && alive(last));
}

TEST_F(OomKillers, WhoAsks) {
  const HeapId small = make("small", 0, OomKill::kRelease, 10);
  const HeapId large = make("large", 0, OomKill::kRelease, 1000);
  EXPECT_EQ(run(small, true), OomVerdict::kTryAgain);
  EXPECT_FALSE(alive(small));
  EXPECT_TRUE(alive(large));
  // Of the program itself that is an allocation that fails.
  EXPECT_EQ(run({}, true), OomVerdict::kFail);
  EXPECT_TRUE(alive(large));
}

TEST_F(OomKillers, AHeapMayEndTheProcess) {
  make("vital", 0, OomKill::kAbort, 1000);
  EXPECT_EQ(run({}), OomVerdict::kAbort);
}

TEST_F(OomKillers, ACapIsLiftedByGivingBack) {
  const HeapId id = h_.create("capped", settings(0, OomKill::kFail));
  std::vector<void*> all;
  for (int i = 0; i < 100; ++i) all.push_back(h_.malloc(id, 10 * kPageSize));
  EXPECT_EQ(run(id), OomVerdict::kFail);
  EXPECT_TRUE(h_.stats(id).capped);
  EXPECT_EQ(h_.malloc(id, 10 * kPageSize), nullptr);
  EXPECT_EQ(h_.error, ENOMEM);
  // What was given back may be had again, no more.
  ASSERT_EQ(h_.free(all.back()).misuse, Misuse::kNone);
  EXPECT_NE(all.back() = h_.malloc(id, 10 * kPageSize), nullptr);
  EXPECT_EQ(h_.malloc(id, 10 * kPageSize), nullptr);
  for (int i = 0; i < 13; ++i, all.pop_back()) ASSERT_EQ(h_.free(all.back()).misuse, Misuse::kNone);
  EXPECT_FALSE(h_.stats(id).capped);
  for (int i = 0; i < 50; ++i) EXPECT_NE(h_.malloc(id, 10 * kPageSize), nullptr);
}

TEST_F(OomKillers, TheOwnerIsAsked) {
  static HeapId asked;
  static int answer;
  static PrivateHeaps* heaps;
  static void* object;
  heaps = &h_;
  HeapSettings s = settings(0, OomKill::kRelease);
  s.on_oom = [](weir_heap_t heap, size_t wanted, void* arg) {
    asked = {reinterpret_cast<uint64_t>(heap)};
    EXPECT_EQ(wanted, 4 * kPageSize);
    EXPECT_EQ(arg, &answer);
    if (object == nullptr) return answer;
    EXPECT_EQ(heaps->free(object).misuse, Misuse::kNone);
    object = nullptr;
    return answer;
  };
  s.oom_arg = &answer;
  const HeapId id = h_.create("asked", s);
  const HeapId other = make("other", 0, OomKill::kRelease, 20);
  object = h_.malloc(id, 1000 * kPageSize);
  ASSERT_NE(h_.malloc(id, 1000 * kPageSize), nullptr);
  // It frees enough.
  EXPECT_EQ(run(other), OomVerdict::kTryAgain);
  EXPECT_TRUE(asked == id && alive(id) && alive(other));
  // It refuses: the next one is chosen, and then nobody can be.
  answer = WEIR_HEAP_STAYS;
  EXPECT_EQ(run(other), OomVerdict::kTryAgain);
  EXPECT_TRUE(alive(id) && !alive(other));
  EXPECT_EQ(run(id), OomVerdict::kFail);
  answer = WEIR_HEAP_MAY_GO;
  EXPECT_EQ(run(id), OomVerdict::kTryAgain);
  EXPECT_FALSE(alive(id));
}

TEST_F(OomKillers, WhatIsLeftOfAnEmptiedHeap) {
  const HeapId id = make("emptied", 0, OomKill::kRelease, 1000);
  std::vector<void*> small;
  for (int i = 0; i < 5000; ++i) small.push_back(h_.malloc(id, 100));
  void* run_object = h_.malloc(id, 100 * kPageSize);
  EXPECT_EQ(run({}), OomVerdict::kTryAgain);
  EXPECT_EQ(h_.malloc(id, 100), nullptr);
  EXPECT_EQ(h_.error, EINVAL);
  EXPECT_FALSE(h_.registry->heap_of(small[0]));
  EXPECT_FALSE(h_.registry->find("emptied"));
  // Objects may be freed, once.
  for (void* p : small) ASSERT_EQ(h_.free(p).misuse, Misuse::kNone);
  EXPECT_EQ(h_.free(run_object).misuse, Misuse::kNone);
  EXPECT_EQ(h_.free(run_object).misuse, Misuse::kNotGivenOut);
  EXPECT_EQ(h_.allocator->verify(), nullptr);
  Pages released;
  EXPECT_EQ(h_.registry->destroy_heap(id, released), 0);
  EXPECT_EQ(h_.allocator->verify(), nullptr);
  EXPECT_EQ(h_.registry->nr_heaps(), 0u);
}

// -- against a model -------------------------------------------------------------------------------------------------

// Written from the documentation in weir/heap.h, not from the code.
struct ModelHeap {
  HeapId id;
  int adj;
  OomKill policy;
  int64_t pages = 0, held_then = 0, cap = -1;
  bool alive = true;
  std::vector<void*> objects;
  bool capped() const { return cap >= 0 && pages >= cap - cap / 8; }
};

struct Model {
  std::vector<ModelHeap> heaps;  // in the order of creation
  bool killed = false;
  int64_t rest_then = 0;

  // -1: the rest of the program.
  OomVerdict run(int asking, bool kill_allocating) {
    std::vector<bool> passed(heaps.size());
    bool rest_passed = false;
    for (size_t i = 0; i < heaps.size(); ++i) passed[i] = heaps[i].capped();
    for (;;) {
      const int leak = leaking(asking);
      if (leak >= 0) heaps[static_cast<size_t>(leak)].cap = heaps[static_cast<size_t>(leak)].pages;
      const auto may = [&](int i) {
        if (i < 0) return !rest_passed;
        const ModelHeap& h = heaps[static_cast<size_t>(i)];
        return h.alive && !passed[static_cast<size_t>(i)] && h.adj != -1000 && h.pages != 0;
      };
      int victim = -2;
      if (kill_allocating && may(asking)) {
        victim = asking;
      } else {
        if (leak >= 0 && leak == asking) return OomVerdict::kFail;
        for (int i = -1; i < static_cast<int>(heaps.size()); ++i)
          if (may(i) && (victim == -2 || points(i) >= points(victim))) victim = i;
      }
      if (victim == -2) return OomVerdict::kFail;
      if (victim == -1) {
        if (asking == -1) return OomVerdict::kFail;
        rest_passed = true;
        continue;
      }
      ModelHeap& h = heaps[static_cast<size_t>(victim)];
      if (h.policy == OomKill::kAbort) return OomVerdict::kAbort;
      for (ModelHeap& each : heaps) each.held_then = each.pages;
      rest_then = static_cast<int64_t>(kRest);
      killed = true;
      if (h.policy == OomKill::kRelease) {
        h.alive = false;
        return OomVerdict::kTryAgain;
      }
      h.cap = h.pages;
      if (victim == asking) return OomVerdict::kFail;
      passed[static_cast<size_t>(victim)] = true;
    }
  }

 private:
  int64_t points(int i) const {
    if (i < 0) return static_cast<int64_t>(kRest);
    const ModelHeap& h = heaps[static_cast<size_t>(i)];
    return h.pages + h.adj * static_cast<int64_t>(kTotal / 1000);
  }
  // The exempt one that grew most, if nobody grew more.
  int leaking(int asking) const {
    if (!killed) return -1;
    int64_t most = static_cast<int64_t>(kRest) - rest_then;
    for (const ModelHeap& h : heaps)
      if (h.alive) most = std::max(most, h.pages - h.held_then);
    if (most <= 0) return -1;
    int found = -1;
    for (int i = 0; i < static_cast<int>(heaps.size()); ++i) {
      const ModelHeap& h = heaps[static_cast<size_t>(i)];
      if (!h.alive || h.adj != -1000 || h.pages - h.held_then != most) continue;
      if (i == asking) return i;
      if (found < 0) found = i;
    }
    return found;
  }
};

class OomModel : public OomKillers, public testing::WithParamInterface<unsigned> {
 protected:
  void create() {
    ModelHeap h;
    constexpr int kAdjs[] = {0, 0, 0, 0, -1000, -5, 3, 10, 1000};
    constexpr OomKill kPolicies[] = {OomKill::kRelease, OomKill::kRelease, OomKill::kFail, OomKill::kAbort};
    h.adj = kAdjs[random_() % 9];
    h.policy = kPolicies[random_() % (random_() % 4 == 0 ? 4 : 3)];
    h.id = h_.create(nullptr, settings(h.adj, h.policy));
    model_.heaps.push_back(h);
  }
  void grow(ModelHeap& h) {
    // Runs, which are charged exactly what they have.
    const int64_t pages = static_cast<int64_t>(pages_of(kMaxSmallSize).v + 1 + random_() % 100);
    if (h.cap >= 0 && !h.capped()) h.cap = -1;
    const bool allowed = h.cap < 0 || h.pages + pages <= h.cap;
    void* p = h_.malloc(h.id, static_cast<size_t>(pages) * kPageSize);
    ASSERT_EQ(p != nullptr, allowed);
    if (p == nullptr) return;
    h.pages += pages;
    h.objects.push_back(p);
  }
  void shrink(ModelHeap& h) {
    if (h.objects.empty()) return;
    ASSERT_EQ(h_.free(h.objects.back()).misuse, Misuse::kNone);
    h.objects.pop_back();
    h.pages = static_cast<int64_t>(h_.charged(h.id));
  }
  void compare() {
    for (const ModelHeap& h : model_.heaps) {
      ASSERT_EQ(alive(h.id), h.alive) << "heap " << h.id.index() << "\n" << text;
      if (!h.alive) continue;
      ASSERT_EQ(h_.charged(h.id), static_cast<uint64_t>(h.pages));
      ASSERT_EQ(h_.stats(h.id).capped, h.capped()) << "heap " << h.id.index() << "\n" << text;
    }
  }
  // They would end the process each time.
  void destroy_vital() {
    std::erase_if(model_.heaps, [&](const ModelHeap& h) {
      if (h.policy == OomKill::kAbort) h_.destroy(h.id);
      return h.policy == OomKill::kAbort;
    });
  }
  void forget_dead() {
    std::erase_if(model_.heaps, [&](const ModelHeap& h) {
      if (!h.alive) h_.destroy(h.id);
      return !h.alive;
    });
  }

  std::mt19937 random_{GetParam()};
  Model model_;
};

TEST_P(OomModel, ChoosesAsPredicted) {
  unsigned verdicts[3] = {};
  for (int round = 0; round < 400; ++round) {
    if (model_.heaps.size() < 2 || random_() % 8 == 0) create();
    for (int i = 0; i < 6; ++i) {
      ModelHeap& h = model_.heaps[random_() % model_.heaps.size()];
      random_() % 3 != 0 ? grow(h) : shrink(h);
      if (HasFatalFailure()) return;
    }
    if (random_() % 3 != 0) continue;
    const int asking = static_cast<int>(random_() % (model_.heaps.size() + 1)) - 1;
    const bool kill_allocating = random_() % 6 == 0;
    text.clear();
    const OomVerdict want = model_.run(asking, kill_allocating);
    const OomVerdict got = run(asking < 0 ? HeapId() : model_.heaps[static_cast<size_t>(asking)].id, kill_allocating);
    ASSERT_EQ(got, want) << "round " << round << "\n" << text;
    ++verdicts[static_cast<unsigned>(got)];
    compare();
    if (HasFatalFailure()) return;
    forget_dead();
    if (got == OomVerdict::kAbort) destroy_vital();
  }
  EXPECT_GT(verdicts[0], 10u);
  EXPECT_GT(verdicts[1], 10u);
}
INSTANTIATE_TEST_SUITE_P(Seeds, OomModel, testing::Range(1u, kTsan ? 3u : 9u));

// -- threads ---------------------------------------------------------------------------------------------------------

// Each works in a heap of its own, which may be emptied under its hands; it never looks into an object that it has no
// right to. Somebody chooses victims all the time.
TEST_F(OomKillers, ChosenWhileOthersAllocate) {
  constexpr unsigned kThreads = 4;
  constexpr unsigned kRounds = kTsan ? 40 : 150;
  // On a busy machine, who chooses may not get a processor in so few rounds.
  constexpr unsigned kMostRounds = 1000 * kRounds;
  std::atomic<unsigned> mistakes{0}, running{kThreads}, emptied{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      ThreadCache* cache = h_.allocator->attach();
      for (unsigned round = 0; round < kRounds || (emptied.load() == 0 && round < kMostRounds); ++round) {
        const OomKill policy = round % 5 == 4 ? OomKill::kFail : OomKill::kRelease;
        HeapId id;
        if (h_.registry->create(nullptr, settings(round % 7 == 6 ? -1000 : 0, policy), id) != 0) ++mistakes;
        std::vector<void*> live;
        for (unsigned i = 0; i < 200; ++i) {
          HeapCall call;
          call.thread = cache;
          const size_t size = random() % 10 == 0 ? random() % 300000 : random() % 3000;
          void* p = h_.registry->alloc(id, size, kMinAlignment, false, call);
          if (p != nullptr) live.push_back(p);
          if (p == nullptr && call.error == EINVAL) {
            ++emptied;
            break;
          }
          if (random() % 2 == 0 && !live.empty()) {
            if (h_.allocator.free(cache, live.back()).misuse != Misuse::kNone) ++mistakes;
            live.pop_back();
          }
        }
        if (round % 2 == 0)
          for (void* p : live)
            if (h_.allocator.free(cache, p).misuse != Misuse::kNone) ++mistakes;
        Pages released;
        if (h_.registry->destroy_heap(id, released) != 0) ++mistakes;
      }
      if (h_.allocator->detach(cache).misuse != Misuse::kNone) ++mistakes;
      --running;
    });
  while (running.load() != 0) {
    OomAsk ask = make_ask({}, 0);
    ask.process.pages = Pages(0);
    ask.decided = [](const OomCandidate*, const OomDecision&) { return false; };
    static_cast<void>(h_.registry->out_of_memory(ask));
    if (h_.allocator->verify() != nullptr) ++mistakes;
    std::this_thread::yield();
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(mistakes.load(), 0u);
  EXPECT_GT(emptied.load(), 0u);
  EXPECT_EQ(h_.registry->nr_heaps(), 0u);
  EXPECT_EQ(h_.allocator->verify(), nullptr);
}

}  // namespace
}  // namespace weir
