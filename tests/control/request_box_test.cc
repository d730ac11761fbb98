// request_box_test.cc: what other processes ask, written as they write it: answered when threads come by, refused in
// words, ignored when it is damaged or withdrawn, and never answered by the child of a fork.
#include "weir/control_box.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>

#include "malloc/process.h"
#include "support/sanitizer.h"
#include "weir/stats_page.h"
#include "weir/weir.h"

namespace weir {
namespace {

class RequestBox : public testing::Test {
 protected:
  void SetUp() override {
    if (kTsan) GTEST_SKIP() << "a process's own arenas are bare, where the sanitizer has no shadow";
    page_ = const_cast<weir_stats_page*>(weir_stats());
    ASSERT_NE(page_, nullptr);
    ASSERT_EQ(page_->control_version, WEIR_CONTROL_VERSION);
    box_ = reinterpret_cast<weir_control_box*>(reinterpret_cast<char*>(page_) + page_->control_offset);
  }
  void TearDown() override {
    if (page_ != nullptr) page_->request = 0;
    if (!kTsan) weir_sysctl("decay_ms", nullptr, 0, "10000", nullptr, 0);
  }
  void write(uint32_t operation, const std::string& name, const std::string& value) {
    weir_control_request request = {};
    request.ticket = ++ticket_;
    request.operation = operation;
    memcpy(request.name, name.data(), name.size());
    memcpy(request.value, value.data(), value.size());
    box_->request = request;
    box_->checksum = weir_control_checksum(&request);
  }
  void post() { __atomic_store_n(&page_->request, ticket_, __ATOMIC_RELEASE); }
  bool is_answered() const { return box_->answered == ticket_; }
  // A free that must go to the slow path: of a run.
  static void come_by() { weir_free(weir_malloc(100000)); }

  weir_stats_page* page_ = nullptr;
  weir_control_box* box_ = nullptr;
  static inline uint64_t ticket_ = 0x1000;  // never used twice in a process
};

TEST_F(RequestBox, ASettingIsChangedByTheSlowPath) {
  write(WEIR_CONTROL_SET, "decay_ms", "1h");
  EXPECT_FALSE(is_answered());
  post();
  errno = 4711;
  come_by();
  EXPECT_EQ(errno, 4711);
  ASSERT_TRUE(is_answered());
  EXPECT_EQ(box_->taken, ticket_);
  EXPECT_EQ(box_->error, 0);
  EXPECT_STREQ(box_->old_value, "10000");
  EXPECT_STREQ(box_->new_value, "3600000");
  EXPECT_STREQ(box_->report, "");
  EXPECT_EQ(process_options().decay_ms, 3600000);
  EXPECT_EQ(page_->options[static_cast<size_t>(OptionId::decay_ms)], 3600000) << "and shown";
  // Not a second time.
  ASSERT_EQ(weir_sysctl("decay_ms", nullptr, 0, "5000", nullptr, 0), 0);
  come_by();
  EXPECT_EQ(process_options().decay_ms, 5000);
}

TEST_F(RequestBox, ARefusalComesWithItsReason) {
  write(WEIR_CONTROL_SET, "decay_ms", "25h");
  post();
  come_by();
  ASSERT_TRUE(is_answered());
  EXPECT_EQ(box_->error, EINVAL);
  EXPECT_STREQ(box_->report, "expected a time 0..86400000 (ms, or with s, m, h; -1: never)");
  EXPECT_EQ(process_options().decay_ms, 10000);
  write(WEIR_CONTROL_GET, "vm.min_free_kbytes", "ignored");
  post();
  come_by();
  ASSERT_TRUE(is_answered());
  EXPECT_EQ(box_->error, 0);
  EXPECT_STREQ(box_->new_value, "0");
  EXPECT_STREQ(box_->report, "");
}

TEST_F(RequestBox, WhatIsDamagedIsIgnored) {
  const auto expect_ignored = [&](const char* what) {
    post();
    come_by();
    EXPECT_FALSE(is_answered()) << what;
    EXPECT_EQ(process_options().decay_ms, 10000) << what;
  };
  for (size_t at = 0; at < sizeof(weir_control_request); at += 7) {
    write(WEIR_CONTROL_SET, "decay_ms", "1h");
    reinterpret_cast<char*>(&box_->request)[at] ^= 0x40;
    expect_ignored("a flipped bit");
  }
  write(WEIR_CONTROL_SET, "decay_ms", "1h");
  ++ticket_;
  expect_ignored("another ticket");
  write(WEIR_CONTROL_SET, "decay_ms", "1h");
  memset(box_->request.value, '1', sizeof(box_->request.value));
  box_->checksum = weir_control_checksum(&box_->request);
  expect_ignored("a value without an end");
  write(WEIR_CONTROL_SET, "decay_ms", "1h");
  come_by();
  EXPECT_FALSE(is_answered()) << "written, but not posted";
}

TEST_F(RequestBox, AChildDoesNotAnswerItsParentsRequest) {
  // A decay thread would answer before the fork.
  ASSERT_EQ(weir_sysctl("decay_ms", nullptr, 0, "-1", nullptr, 0), 0);
  const auto nr_threads = [] {
    const auto tasks = std::filesystem::directory_iterator("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  for (int i = 0; i < 1000 && nr_threads() > 1; ++i) usleep(1000);
  if (nr_threads() > 1) GTEST_SKIP() << "other tests' threads are there, and cannot be told from a decay thread";
  write(WEIR_CONTROL_SET, "decay_ms", "1h");
  post();
  const pid_t child = fork();
  if (child == 0) {
    come_by();
    const bool quiet = !is_answered() && process_options().decay_ms == kNeverMs && page_->request == 0;
    write(WEIR_CONTROL_SET, "decay_ms", "2s");
    post();
    come_by();
    _exit(quiet && is_answered() && process_options().decay_ms == 2000 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  come_by();
  EXPECT_TRUE(is_answered());
  EXPECT_EQ(process_options().decay_ms, 3600000);
}

TEST_F(RequestBox, TheCFunction) {
  char old_value[8] = "", report[200] = "x";
  errno = 4711;
  EXPECT_EQ(weir_sysctl("decay_ms", old_value, sizeof(old_value), "2s", report, sizeof(report)), 0);
  EXPECT_STREQ(old_value, "10000");
  EXPECT_STREQ(report, "");
  EXPECT_EQ(weir_sysctl("decay_ms", old_value, 3, nullptr, nullptr, 0), 0);
  EXPECT_STREQ(old_value, "20") << "cut";
  EXPECT_EQ(weir_sysctl("limit", nullptr, 0, "64M", report, sizeof(report)), ENXIO);
  EXPECT_STREQ(report, "the program was started without a limit; start it under weir run --limit SIZE");
  EXPECT_EQ(weir_sysctl("tcache", nullptr, 0, "0", report, sizeof(report)), EPERM);
  EXPECT_EQ(weir_sysctl("nonsense", old_value, sizeof(old_value), nullptr, report, sizeof(report)), ENOENT);
  EXPECT_STREQ(old_value, "");
  EXPECT_EQ(errno, 4711);
}

TEST_F(RequestBox, DecayCanBeSwitchedOffAndOn) {
  constexpr size_t kBytes = size_t{32} << 20;
  const auto free_some = [] {
    char* p = static_cast<char*>(weir_malloc(kBytes));
    memset(p, 1, kBytes);
    weir_free(p);
    for (int i = 0; i < 64; ++i) come_by();
  };
  const auto resident = [] { return process_allocator().decayable_bytes(); };
  ASSERT_EQ(weir_sysctl("decay_ms", nullptr, 0, "-1", nullptr, 0), 0);
  free_some();
  EXPECT_GE(resident(), kBytes);
  ASSERT_EQ(weir_sysctl("decay_ms", nullptr, 0, "0", nullptr, 0), 0);
  EXPECT_LT(resident(), kBytes / 8) << "at once";
}

}  // namespace
}  // namespace weir
