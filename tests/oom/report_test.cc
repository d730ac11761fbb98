// report_test.cc: the report in the kernel's layout, word for word, and that no name can spoil it.
#include "oom/report.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace weir {
namespace {

void collect(void* lines, std::string_view line) {
  static_cast<std::vector<std::string>*>(lines)->emplace_back(line);
}

std::vector<std::string> report(const OomContext& context, const std::vector<OomCandidate>& candidates,
                                const OomDecision& decision) {
  std::vector<std::string> lines;
  report_oom(context, candidates, decision, {collect, &lines});
  return lines;
}

OomCandidate make(uint64_t id, std::string_view name, uint64_t pages, uint64_t swapped, int adj) {
  OomCandidate c;
  c.id = id;
  c.process = 4711;
  c.user = 1000;
  c.name = name;
  c.pages = Pages(pages);
  c.swapped = Pages(swapped);
  c.oom_score_adj = adj;
  return c;
}

OomContext context() {
  OomContext c;
  c.asking = "server";
  c.wanted = Pages(5);
  c.limit = Pages(4096);
  c.used = Pages(4000);
  c.swap_total = Pages(1024);
  c.swap_used = Pages(1000);
  return c;
}

TEST(OomReport, AVictim) {
  const std::vector<OomCandidate> all = {make(1, "tenants", 3000, 12, 0), make(2, "cache", 900, 988, 500),
                                         make(3, "log", 100, 0, -1000)};
  const OomDecision decision = select_victim(all, 0, Pages(5120), false, {});
  const std::vector<std::string> want = {
      "server invoked oom-killer: order=3, oom_score_adj=0\n",
      "memory: usage 16000kB, limit 16384kB\n",
      "swap: usage 4000kB, limit 4096kB\n",
      "Tasks state (memory values in pages):\n",
      "[  pid  ]   uid  tgid total_vm      rss swapents oom_score_adj name\n",
      "[      1]  1000  4711     3012     3000       12             0 tenants\n",
      "[      2]  1000  4711     1888      900      988           500 cache\n",
      "[      3]  1000  4711      100      100        0         -1000 log\n",
      "oom-kill:constraint=CONSTRAINT_MEMCG,task=cache,pid=2,uid=1000,points=4388\n",
      "Out of memory: Killed process 2 (cache) total-vm:7552kB, anon-rss:3600kB, swapents:3952kB, UID:1000 "
      "oom_score_adj:500: most points\n"};
  EXPECT_EQ(report(context(), all, decision), want);
}

TEST(OomReport, WhatItCameTo) {
  const struct {
    OomKill kill;
    const char* text;
  } rows[] = {{OomKill::kFail, "Out of memory: Failed an allocation of process 9 (a) total-vm:40kB"},
              {OomKill::kAbort, "Out of memory: Aborted process 9 (a) total-vm:40kB"},
              {OomKill::kRelease, "Out of memory: Emptied heap 9 (a) total-vm:40kB"},
              {OomKill::kSignal, "Out of memory: Killed process 9 (a) total-vm:40kB"}};
  for (const auto& row : rows) {
    std::vector<OomCandidate> all = {make(9, "a", 10, 0, 0)};
    all[0].kill = row.kill;
    EXPECT_EQ(report(context(), all, select_victim(all, 0, Pages(5120), false, {})).back().find(row.text), 0u);
    all[0].state = OomState::kDying;
    const std::string waits = report(context(), all, select_victim(all, 3, Pages(5120), false, {})).back();
    EXPECT_EQ(waits.find("Out of memory: Waiting for process 9 (a)"), 0u) << waits;
  }
}

TEST(OomReport, NobodyAndWhy) {
  const std::vector<OomCandidate> all = {make(1, "db", 4000, 0, -1000)};
  const std::vector<std::string> nobody =
      report(context(), all, select_victim(all, OomDecision::kNone, Pages(5120), false, {}));
  EXPECT_EQ(nobody.back(), "Out of memory: the allocation of server fails: there is nobody to choose\n");
  const std::vector<std::string> leak = report(context(), all, select_victim(all, 0, Pages(5120), false, {true}));
  EXPECT_EQ(leak.back(),
            "Out of memory: the allocation of server fails: it is exempt and has grown most since the last kill\n");
}

TEST(OomReport, WhoLeaksIsNamedBesideTheVictim) {
  const std::vector<OomCandidate> all = {make(1, "db", 4000, 0, -1000), make(2, "web", 10, 0, 0)};
  const std::vector<std::string> lines = report(context(), all, select_victim(all, 1, Pages(5120), false, {true}));
  ASSERT_GE(lines.size(), 2u);
  EXPECT_NE(lines[lines.size() - 2].find("Killed process 2 (web)"), std::string::npos);
  EXPECT_EQ(lines.back(),
            "Out of memory: the allocations of db fail from now on: it is exempt and has grown most since the last "
            "kill\n");
}

TEST(OomReport, LinesAreWholeWhateverTheNames) {
  const std::string nasty = "a\nb\x1b[31m\x7f" + std::string(500, 'x');
  OomContext asks = context();
  asks.asking = nasty;
  const std::vector<OomCandidate> all = {make(UINT64_MAX, nasty, UINT64_MAX, 0, 1000)};
  for (const std::string& line : report(asks, all, select_victim(all, 0, Pages(UINT64_MAX), false, {true}))) {
    ASSERT_FALSE(line.empty());
    EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
    EXPECT_EQ(line.find('\x7f'), std::string::npos);
    EXPECT_LT(line.size(), 400u);
  }
}

}  // namespace
}  // namespace weir
