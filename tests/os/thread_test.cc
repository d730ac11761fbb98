// thread_test.cc: weir's own threads, and the code of the dynamic linker.
#include "os/thread.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace weir::os {
namespace {

std::atomic<bool> ran{false};
std::atomic<bool> all_blocked{false};
std::atomic<bool> is_other_thread{false};
pthread_t starter;

void body() {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  bool blocked = true;
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    // 32 and 33 are the C library's own, sigismember calls them invalid.
    if (signal == 32 || signal == 33 || signal == SIGKILL || signal == SIGSTOP) continue;
    blocked = blocked && sigismember(&mask, signal) == 1;
  }
  all_blocked = blocked;
  is_other_thread = pthread_equal(pthread_self(), starter) == 0;
  ran = true;
}

TEST(Thread, RunsWithAllSignalsBlocked) {
  starter = pthread_self();
  sigset_t before, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  ASSERT_TRUE(start_thread(body));
  for (int i = 0; i < 10000 && !ran; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_TRUE(ran);
  EXPECT_TRUE(all_blocked);
  EXPECT_TRUE(is_other_thread);
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (int signal = 1; signal < 32; ++signal) EXPECT_EQ(sigismember(&before, signal), sigismember(&after, signal));
}

TEST(Thread, TellsTheDynamicLinkerApart) {
  EXPECT_FALSE(in_dynamic_linker(reinterpret_cast<void*>(&body)));
  EXPECT_FALSE(in_dynamic_linker(dlsym(RTLD_DEFAULT, "malloc")));
  EXPECT_FALSE(in_dynamic_linker(nullptr));
  // The linker's own function, found in its own object.
  void* linker_code = dlsym(RTLD_DEFAULT, "__tls_get_addr");
  ASSERT_NE(linker_code, nullptr);
  Dl_info info;
  ASSERT_NE(dladdr(linker_code, &info), 0);
  if (std::string_view(info.dli_fname).find("ld-") == std::string_view::npos) GTEST_SKIP() << "not in the linker here";
  EXPECT_TRUE(in_dynamic_linker(linker_code));
}

TEST(Thread, ProcessIdIsTheKernels) {
  EXPECT_EQ(process_id(), getpid());
  const pid_t child = fork();
  if (child == 0) _exit(process_id() == getpid() ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace weir::os
