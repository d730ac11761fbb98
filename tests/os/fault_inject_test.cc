// fault_inject_test.cc: plans of failures, as text and in effect.
#include "os/fault_inject.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace weir::os {
namespace {

using Op = FaultInjector::Op;
using Effect = FaultInjector::Effect;

// Which of the first `count` operations are hit, numbered from 1.
std::vector<unsigned> hits(const char* plan, Op op, unsigned count) {
  FaultInjector faults;
  const auto problem = faults.parse(plan);
  EXPECT_FALSE(problem) << problem.expected;
  std::vector<unsigned> found;
  for (unsigned i = 1; i <= count; ++i)
    if (faults.next(op).effect != Effect::kNone) found.push_back(i);
  EXPECT_EQ(faults.injected(), found.size());
  return found;
}

TEST(FaultInject, NothingFailsWithoutAPlan) {
  FaultInjector faults;
  EXPECT_TRUE(faults.empty());
  EXPECT_EQ(faults.next(Op::kRead).effect, Effect::kNone);
  EXPECT_FALSE(faults.parse(""));
  EXPECT_TRUE(faults.empty());
  EXPECT_EQ(faults.next(Op::kWrite).effect, Effect::kNone);
  EXPECT_EQ(faults.injected(), 0u);
}

TEST(FaultInject, ConditionsSelectOperations) {
  using List = std::vector<unsigned>;
  EXPECT_EQ(hits("write:EIO", Op::kWrite, 3), (List{1, 2, 3}));
  EXPECT_EQ(hits("write:EIO", Op::kRead, 3), List{});
  EXPECT_EQ(hits("write:ENOSPC:after=3", Op::kWrite, 5), (List{4, 5}));
  EXPECT_EQ(hits("read:EIO:every=3", Op::kRead, 10), (List{3, 6, 9}));
  EXPECT_EQ(hits("read:short:after=2:every=3", Op::kRead, 10), (List{5, 8}));
  EXPECT_EQ(hits("read:corrupt:every=2:times=2", Op::kRead, 10), (List{2, 4}));
  EXPECT_EQ(hits("read:corrupt:times=0", Op::kRead, 10), List{});
  EXPECT_EQ(hits("read:EIO:every=4,read:short:every=6", Op::kRead, 12), (List{4, 6, 8, 12}));
}

TEST(FaultInject, EffectsAndTheFirstRuleThatAppliesWins) {
  FaultInjector faults;
  ASSERT_FALSE(faults.parse("read:EIO:every=2,read:corrupt,write:short,write:ENOSPC"));
  EXPECT_FALSE(faults.empty());
  EXPECT_EQ(faults.next(Op::kRead).effect, Effect::kCorrupt);
  const auto second = faults.next(Op::kRead);
  EXPECT_EQ(second.effect, Effect::kError);
  EXPECT_EQ(second.error, EIO);
  EXPECT_EQ(faults.next(Op::kWrite).effect, Effect::kShort);
}

TEST(FaultInject, EveryErrorHasItsNumber) {
  const std::pair<const char*, int> errors[] = {{"EIO", EIO},     {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},
                                                {"EINTR", EINTR}, {"EAGAIN", EAGAIN}, {"ENOMEM", ENOMEM},
                                                {"EROFS", EROFS}, {"EBADF", EBADF},   {"EFBIG", EFBIG}};
  for (const auto& [name, number] : errors) {
    FaultInjector faults;
    ASSERT_FALSE(faults.parse(std::string("write:") + name)) << name;
    EXPECT_EQ(faults.next(Op::kWrite).error, number);
  }
}

TEST(FaultInject, BadTextIsNamedAndLeavesNoRules) {
  struct Case {
    const char* plan;
    const char* where;
    const char* expected;
  };
  const Case cases[] = {{"bogus", "bogus", "read or write"},
                        {"open:EIO", "open", "read or write"},
                        {",", "", "read or write"},
                        {"read:EIO,,read:EIO", "", "read or write"},
                        {"read", "", "short, corrupt"},
                        {"read:EFOO", "EFOO", "short, corrupt"},
                        {"write:corrupt", "corrupt", "reads only"},
                        {"write:eio", "eio", "EIO"},
                        {"read:EIO:never", "never", "after=N"},
                        {"read:EIO:every=0", "every=0", "1 or more"},
                        {"read:EIO:every=", "every=", "after=N"},
                        {"read:EIO:every=-1", "every=-1", "after=N"},
                        {"read:EIO:after=9999999999999999999", "after=9999999999999999999", "after=N"},
                        {"read:EIO:after=1x", "after=1x", "after=N"},
                        {"read:EIO:every=2,write:what:every=1", "what", "short"}};
  for (const Case& c : cases) {
    FaultInjector faults;
    const auto problem = faults.parse(c.plan);
    ASSERT_TRUE(problem) << c.plan;
    EXPECT_EQ(std::string(problem.where), c.where) << c.plan;
    EXPECT_NE(std::string(problem.expected).find(c.expected), std::string::npos) << c.plan << ": " << problem.expected;
    EXPECT_TRUE(faults.empty()) << c.plan;
    EXPECT_EQ(faults.next(Op::kRead).effect, Effect::kNone);
  }
}

TEST(FaultInject, AsManyRulesAsThereIsRoomFor) {
  std::string plan;
  for (unsigned i = 0; i < FaultInjector::kMaxRules; ++i) plan += (i == 0 ? "" : ",") + std::string("read:EIO:after=7");
  FaultInjector faults;
  EXPECT_FALSE(faults.parse(plan));
  plan += ",write:EIO";  // what is wrong is told by a part of it
  const auto problem = faults.parse(plan);
  ASSERT_TRUE(problem);
  EXPECT_EQ(problem.where, "write:EIO");
  EXPECT_NE(std::string(problem.expected).find(std::to_string(FaultInjector::kMaxRules)), std::string::npos);
}

TEST(FaultInject, ThreadsShareTheCount) {
  FaultInjector faults;
  ASSERT_FALSE(faults.parse("read:EIO:every=5:times=100"));
  std::atomic<unsigned> hit{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) hit += faults.next(Op::kRead).effect == Effect::kError;
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(hit, 100u);
  EXPECT_EQ(faults.injected(), 100u);
}

}  // namespace
}  // namespace weir::os
