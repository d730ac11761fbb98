// victim_log_test.cc: the last victims, in order, each once.
#include "reclaim/victim_log.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

namespace weir {
namespace {

weir_victim victim(const std::string& name, uint32_t pid = 1) {
  weir_victim v = {};
  v.pid = pid;
  v.fate = WEIR_FATE_EMPTIED;
  snprintf(v.name, sizeof(v.name), "%s", name.c_str());
  return v;
}

std::vector<std::string> told(VictimLog& log, uint64_t after, unsigned most = VictimLog::kKept) {
  std::vector<weir_victim> kept(most);
  std::vector<std::string> names;
  kept.resize(log.copy(after, kept.data(), most));
  for (const weir_victim& v : kept) names.push_back(std::to_string(v.number) + v.name);
  return names;
}

using Names = std::vector<std::string>;

TEST(VictimLog, TellsWhatCameAfterANumber) {
  VictimLog log;
  EXPECT_EQ(told(log, 0), Names{});
  log.add(victim("a"));
  log.add(victim("b"));
  log.add(victim("c"));
  EXPECT_EQ(told(log, 0), (Names{"1a", "2b", "3c"}));
  EXPECT_EQ(told(log, 1), (Names{"2b", "3c"}));
  EXPECT_EQ(told(log, 1, 1), Names{"2b"});
  EXPECT_EQ(told(log, 3), Names{});
}

TEST(VictimLog, TheSameOneAgainTakesThePlaceOfTheLast) {
  VictimLog log;
  log.add(victim("a"));
  log.add(victim("b"));
  log.add(victim("b"));
  log.add(victim("b", 2));
  log.add(victim("a"));
  EXPECT_EQ(told(log, 0), (Names{"1a", "3b", "4b", "5a"}));
}

TEST(VictimLog, KeepsTheLastOnes) {
  VictimLog log;
  const unsigned all = 3 * VictimLog::kKept;
  for (unsigned i = 1; i <= all; ++i) log.add(victim("v" + std::to_string(i)));
  const Names names = told(log, 0);
  ASSERT_EQ(names.size(), VictimLog::kKept);
  for (unsigned i = 0; i < VictimLog::kKept; ++i) {
    const std::string number = std::to_string(all - VictimLog::kKept + 1 + i);
    EXPECT_EQ(names[i], number + "v" + number);
  }
}

}  // namespace
}  // namespace weir
