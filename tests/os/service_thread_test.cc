// service_thread_test.cc: threads that the C library does not know: what they have of their own, and how descriptors
// come and go between their table and the program's.
#include "os/service_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "base/port.h"
#include "os/syscall.h"
#include "support/sanitizer.h"

namespace weir::os {
namespace {

// One service thread that is told, step by step, what to do: it may use system calls and atomics only.
class Service {
 public:
  explicit Service(FileTable files) {
    EXPECT_GE(start_service_thread(stack_, files, main, this), 0);
    wait(kReady);
  }
  ~Service() { end(); }
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Has the thread call `work` and waits for its result.
  long call(long (*work)(long), long argument = 0) {
    work_ = work;
    value_ = argument;
    tell(kWork);
    wait(kReady);
    return value_;
  }
  // Waits until the kernel, too, is done with the thread.
  void end() {
    if (ended_) return;
    const uint32_t thread = id();
    tell(kEnd);
    while (stack_.thread.load() != 0) yield();
    while (syscall6(SYS_tgkill, syscall6(SYS_getpid), thread, 0) != -ESRCH) yield();
    ended_ = true;
  }
  uint32_t id() const { return stack_.thread.load(); }
  ServiceStack& stack() { return stack_; }

 private:
  enum : uint32_t { kStarting, kReady, kWork, kEnd };

  static void main(void* self) {
    auto& s = *static_cast<Service*>(self);
    for (;;) {
      s.tell(kReady);
      while (s.word_.load() == kReady) port::futex_wait(s.word_, kReady);
      if (s.word_.load() == kEnd) return;
      s.value_ = s.work_(s.value_);
    }
  }
  void tell(uint32_t what) {
    word_.store(what);
    port::futex_wake(word_, 1);
  }
  void wait(uint32_t until) {
    for (uint32_t now = word_.load(); now != until; now = word_.load()) port::futex_wait(word_, now);
  }

  ServiceStack stack_;
  std::atomic<uint32_t> word_{kStarting};
  long (*work_)(long) = nullptr;
  long value_ = 0;
  bool ended_ = false;
};

long open_null(long) {
  return syscall6(SYS_openat, AT_FDCWD, as_arg("/dev/null"), O_RDWR, 0);
}
long close_one(long fd) {
  return syscall6(SYS_close, fd);
}
long is_open(long fd) {
  return syscall6(SYS_fcntl, fd, F_GETFD, 0) >= 0;
}
long close_all_but(long kept) {
  const int fds[] = {static_cast<int>(kept)};
  close_all_descriptors_but(fds, 1);
  return 0;
}

// A number that no descriptor of the program has.
int far_descriptor(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 200);
  EXPECT_GE(copy, 200);
  return copy;
}

TEST(ServiceThread, IsAThreadOfThisProcess) {
  Service service(FileTable::kShared);
  EXPECT_EQ(service.call([](long) { return syscall6(SYS_getpid); }), getpid());
  EXPECT_EQ(service.call([](long) { return static_cast<long>(thread_id()); }), static_cast<long>(service.id()));
  EXPECT_NE(service.id(), thread_id());
  service.end();
  EXPECT_EQ(service.id(), 0u) << "it has ended";
}

TEST(ServiceThread, HasAllSignalsBlockedAndLeavesTheStartersAsTheyWere) {
  sigset_t before, after;
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, nullptr, &before), 0);
  Service service(FileTable::kShared);
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, nullptr, &after), 0);
  for (int signal = 1; signal < 32; ++signal) EXPECT_EQ(sigismember(&before, signal), sigismember(&after, signal));
  if (kAsan || kTsan) GTEST_SKIP() << "sanitizers make the thread, with the C library's own signals open";
  const uint64_t blocked = static_cast<uint64_t>(service.call([](long) {
    uint64_t mask = 0;
    syscall6(SYS_rt_sigprocmask, SIG_SETMASK, 0, as_arg(&mask), sizeof(mask));
    return static_cast<long>(mask);
  }));
  constexpr uint64_t kNever = uint64_t{1} << (SIGKILL - 1) | uint64_t{1} << (SIGSTOP - 1);
  EXPECT_EQ(blocked, ~kNever);
}

TEST(ServiceThread, ASharedTableIsThatOfTheProgram) {
  Service service(FileTable::kShared);
  const int fd = static_cast<int>(service.call(open_null));
  ASSERT_GE(fd, 0);
  EXPECT_TRUE(is_open(fd));
  EXPECT_EQ(close(fd), 0);
  EXPECT_FALSE(service.call(is_open, fd));
}

TEST(ServiceThread, ATableOfItsOwnIsOutOfReach) {
  const int before = far_descriptor(1);
  Service service(FileTable::kOwn);
  EXPECT_TRUE(service.call(is_open, before)) << "a copy of the program's";
  ASSERT_EQ(close(before), 0);
  EXPECT_TRUE(service.call(is_open, before)) << "what the program closes stays open here";
  const int later = far_descriptor(1);
  // The number is that of the copy, so that the file behind it tells which table is meant.
  EXPECT_EQ(later, before);
  EXPECT_EQ(service.call(close_one, before), 0);
  EXPECT_TRUE(is_open(later)) << "what the thread closes stays open in the program";
  const long own = service.call(open_null);
  ASSERT_GE(own, 0);
  EXPECT_EQ(service.call(close_one, own), 0);
  close(later);
}

TEST(ServiceThread, ClosesAllButSome) {
  const int kept = far_descriptor(1), gone = far_descriptor(1), behind = fcntl(1, F_DUPFD_CLOEXEC, 1000);
  Service service(FileTable::kOwn);
  service.call(close_all_but, kept);
  EXPECT_TRUE(service.call(is_open, kept));
  for (const int fd : {0, 1, 2, gone, behind}) {
    EXPECT_FALSE(service.call(is_open, fd)) << fd;
    EXPECT_TRUE(is_open(fd)) << "of the program: " << fd;
  }
  service.call([](long) {
    close_all_descriptors_but(nullptr, 0);
    return long{0};
  });
  EXPECT_FALSE(service.call(is_open, kept));
  for (const int fd : {kept, gone, behind}) EXPECT_EQ(close(fd), 0);
}

// What weir's threads have to say when a check fails, they say to the program's standard error, which they do not have.
TEST(ServiceThread, WritesToTheStandardErrorOfTheProgram) {
  testing::internal::CaptureStderr();
  Service service(FileTable::kOwn);
  service.call([](long) {
    close_all_descriptors_but(nullptr, 0);
    port::write_error("heard\n", 6);
    return long{0};
  });
  service.end();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "heard\n");
}

TEST(ServiceThread, KeepsNeighboursAndTheFirst) {
  static int fds[3];
  fds[0] = 0;
  fds[1] = far_descriptor(1);
  fds[2] = far_descriptor(1);
  const int between = far_descriptor(1);
  ASSERT_EQ(fds[2], fds[1] + 1);
  Service service(FileTable::kOwn);
  service.call([](long) {
    close_all_descriptors_but(fds, 3);
    return long{0};
  });
  for (const int fd : fds) EXPECT_TRUE(service.call(is_open, fd)) << fd;
  for (const int fd : {1, 2, between}) EXPECT_FALSE(service.call(is_open, fd)) << fd;
  for (const int fd : {fds[1], fds[2], between}) EXPECT_EQ(close(fd), 0);
}

TEST(ServiceThread, HandsOutWhatIsInItsTable) {
  Service service(FileTable::kOwn);
  static int ends[2];
  ASSERT_EQ(service.call([](long) { return syscall6(SYS_pipe2, as_arg(ends), O_CLOEXEC); }), 0);
  const int reading = copy_descriptor(service.id(), ends[0]);
  if (reading == -EPERM) GTEST_SKIP() << "the system lets no descriptor be copied";
  ASSERT_GE(reading, 0);
  EXPECT_EQ(service.call([](long) { return syscall6(SYS_write, ends[1], as_arg("word"), 4); }), 4);
  char got[5] = {};
  EXPECT_EQ(read(reading, got, 4), 4);
  EXPECT_STREQ(got, "word");
  EXPECT_EQ(copy_descriptor(service.id(), 4000), -EBADF);
  const uint32_t gone = service.id();
  close(reading);
  service.end();
  EXPECT_LT(copy_descriptor(gone, ends[0]), 0);
}

// As copy_descriptor does before Linux 6.9.
TEST(ServiceThread, WhatIsInItsTableCanBeOpenedOnceMore) {
  Service service(FileTable::kOwn);
  static int ends[2];
  ASSERT_EQ(service.call([](long) { return syscall6(SYS_pipe2, as_arg(ends), O_CLOEXEC | O_NONBLOCK); }), 0);
  const int writing = reopen_descriptor(service.id(), ends[1]), reading = reopen_descriptor(service.id(), ends[0]);
  ASSERT_GE(reading, 0);
  ASSERT_GE(writing, 0);
  EXPECT_EQ(write(writing, "word", 4), 4);
  char got[5] = {};
  EXPECT_EQ(read(reading, got, 4), 4);
  EXPECT_STREQ(got, "word");
  // Its own end counts, and this one.
  EXPECT_EQ(service.call([](long) { return syscall6(SYS_close, ends[1]); }), 0);
  EXPECT_EQ(read(reading, got, 4), -1);
  EXPECT_EQ(errno, EAGAIN);
  close(writing);
  EXPECT_EQ(read(reading, got, 4), 0) << "nobody writes any more";
  close(reading);
  // A file without a name.
  static int file;
  ASSERT_GE(service.call([](long) {
    return long{file = static_cast<int>(syscall6(SYS_openat, AT_FDCWD, as_arg("/tmp"), O_TMPFILE | O_RDWR, 0600))};
  }),
            0);
  EXPECT_EQ(service.call([](long) { return syscall6(SYS_pwrite64, file, as_arg("text"), 4, 100); }), 4);
  const int again = reopen_descriptor(service.id(), file);
  ASSERT_GE(again, 0);
  EXPECT_EQ(pread(again, got, 4, 100), 4);
  EXPECT_STREQ(got, "text");
  EXPECT_EQ(pwrite(again, "more", 4, 0), 4);
  EXPECT_NE(fcntl(again, F_GETFD) & FD_CLOEXEC, 0);
  close(again);
  EXPECT_EQ(reopen_descriptor(service.id(), 4000), -EBADF);
  // The writing end of a pipe that nobody reads waits for nobody.
  ASSERT_EQ(service.call([](long) { return syscall6(SYS_pipe2, as_arg(ends), O_CLOEXEC); }), 0);
  ASSERT_EQ(service.call([](long) { return syscall6(SYS_close, ends[0]); }), 0);
  const int unread = reopen_descriptor(service.id(), ends[1]);
  EXPECT_GE(unread, 0);
  close(unread);
}

TEST(ServiceThread, SeesTheProgramsDescriptors) {
  Service service(FileTable::kOwn);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const int far = far_descriptor(ends[1]);
  EXPECT_FALSE(service.call(is_open, far));
  const long copy = service.call([](long fd) { return long{copy_descriptor_of_program(static_cast<int>(fd))}; }, far);
  if (copy == -EPERM || copy == -ENOSYS) GTEST_SKIP() << "the system lets no descriptor be copied";
  ASSERT_GE(copy, 0);
  EXPECT_EQ(service.call([](long fd) { return syscall6(SYS_write, fd, as_arg("word"), 4); }, copy), 4);
  char got[5] = {};
  EXPECT_EQ(read(ends[0], got, 4), 4);
  EXPECT_STREQ(got, "word");
  for (const int fd : {ends[0], ends[1], far}) close(fd);
}

// As in the child of a fork, where the thread is gone and its memory is there.
TEST(ServiceThread, AStackIsUsedAgain) {
  if (kAsan || kTsan) GTEST_SKIP() << "sanitizers make the thread, on a stack of theirs";
  Service first(FileTable::kShared);
  first.end();
  ServiceStack& stack = first.stack();
  const char* memory = stack.memory;
  ASSERT_NE(memory, nullptr);
  static std::atomic<const char*> where;
  ASSERT_GE(start_service_thread(
                stack, FileTable::kShared,
                [](void*) {
                  char local = 0;
                  where.store(&local);
                },
                nullptr),
            0);
  while (stack.thread.load() != 0) yield();
  EXPECT_EQ(stack.memory, memory);
  EXPECT_GE(where.load(), memory);
  EXPECT_LT(where.load(), memory + (size_t{1} << 20));
}

TEST(ServiceThread, DoesNotKeepTheProcessAlive) {
  if (kAsan || kTsan) GTEST_SKIP() << "sanitizers make the thread with the C library";
  pid_t child = -1;
  // Forked by a thread that pthread_exit can unwind: below it there is nothing that catches.
  const auto fork_and_leave = [](void* result) -> void* {
    const pid_t forked = fork();
    *static_cast<pid_t*>(result) = forked;
    if (forked != 0) return nullptr;
    static ServiceStack stack;
    const auto forever = [](void*) {
      for (;;) syscall6(SYS_ppoll);
    };
    alarm(60);  // ends the child with a signal, should it go on without threads of its own
    if (start_service_thread(stack, FileTable::kOwn, forever, nullptr) < 0) _exit(1);
    pthread_exit(nullptr);
  };
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, nullptr, fork_and_leave, &child), 0);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
  ASSERT_GT(child, 0);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(ServiceThread, RunsOnAProcessorThatExists) {
  std::thread([] {
    const unsigned cpu = static_cast<unsigned>(sched_getcpu());
    EXPECT_TRUE(run_on_cpu(0, cpu));
    cpu_set_t set;
    ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    EXPECT_EQ(CPU_COUNT(&set), 1);
    EXPECT_TRUE(CPU_ISSET(cpu, &set));
    if (const volatile uint32_t* word = cpu_word(); word != nullptr && static_cast<int>(*word) >= 0) {
      EXPECT_EQ(*word, cpu);
    }
    EXPECT_FALSE(run_on_cpu(0, 1023)) << "more than this machine has";
    EXPECT_FALSE(run_on_cpu(0, 1024)) << "more than a mask holds";
    EXPECT_EQ(static_cast<unsigned>(sched_getcpu()), cpu);
  }).join();
}

TEST(ServiceThread, RunsOnlyWhereNothingElseDoes) {
  std::thread([] {
    EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
    run_when_idle();
    EXPECT_EQ(sched_getscheduler(0), SCHED_IDLE);
  }).join();
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER) << "the calling thread alone";
}

TEST(ServiceThread, RunsWhereAnotherThreadMay) {
  const uint32_t first = thread_id();
  std::thread([&] {
    cpu_set_t all, set;
    ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
    ASSERT_TRUE(run_on_cpu(0, static_cast<unsigned>(sched_getcpu())));
    EXPECT_TRUE(run_where(first));
    ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    EXPECT_TRUE(CPU_EQUAL(&set, &all));
    // That thread may be bound, too.
    const unsigned cpu = static_cast<unsigned>(sched_getcpu());
    std::thread([cpu, own = thread_id()] {
      cpu_set_t mine;
      std::atomic<uint32_t> bound{0};
      std::atomic<bool> done{false};
      std::thread other([&] {
        EXPECT_TRUE(run_on_cpu(0, cpu));
        bound = thread_id();
        while (!done) sched_yield();
      });
      while (bound == 0) sched_yield();
      EXPECT_TRUE(run_where(bound));
      ASSERT_EQ(sched_getaffinity(0, sizeof(mine), &mine), 0);
      EXPECT_TRUE(CPU_COUNT(&mine) == 1 && CPU_ISSET(cpu, &mine));
      done = true;
      other.join();
      EXPECT_FALSE(run_where(bound)) << "it is gone";
      EXPECT_TRUE(run_where(own));
    }).join();
  }).join();
}

TEST(ServiceThread, SleepsUntilAWordChanges) {
  std::atomic<uint32_t> word{1};
  constexpr uint64_t kHour = 3600 * 1000;
  futex_wait_ms(word, 0, kHour);  // holds something else
  futex_wait_ms(word, 1, 1);      // the time is over
  std::thread changer([&] {
    word.store(2);
    port::futex_wake(word, 1);
  });
  while (word.load() == 1) futex_wait_ms(word, 1, kHour);
  changer.join();
  EXPECT_EQ(word.load(), 2u);
}

}  // namespace
}  // namespace weir::os
