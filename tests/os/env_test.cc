// env_test.cc: the environment, also where the C library does not have it yet, and what the process may use.
#include "os/env.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <iterator>
#include <string>

#include "support/disk_file.h"

namespace weir::os {
namespace {

TEST(SecureEnv, AgreesWithGetenv) {
  setenv("WEIR_ENV_TEST", "a=b", 1);
  setenv("WEIR_ENV_TEST_EMPTY", "", 1);
  errno = 4711;
  EXPECT_STREQ(secure_env("WEIR_ENV_TEST"), "a=b");
  EXPECT_STREQ(secure_env("WEIR_ENV_TEST_EMPTY"), "");
  EXPECT_EQ(secure_env("WEIR_ENV_TES"), nullptr) << "the beginning of a name is not a name";
  EXPECT_EQ(secure_env("WEIR_ENV_TEST_EMPTYX"), nullptr);
  EXPECT_EQ(errno, 4711);
  unsetenv("WEIR_ENV_TEST");
  EXPECT_EQ(secure_env("WEIR_ENV_TEST"), nullptr);
}

// As in the first malloc of a process, when the C library's constructor has not run.
TEST(SecureEnv, FindsTheEnvironmentOnTheStack) {
  ASSERT_NE(environ, nullptr);
  ASSERT_NE(environ[0], nullptr) << "run with an environment";
  const std::string entry = environ[0];
  const std::string name = entry.substr(0, entry.find('='));
  char** const saved = environ;
  environ = nullptr;
  const char* value = secure_env(name.c_str());
  const char* missing = secure_env("WEIR_ENV_TEST_NOT_THERE");
  environ = saved;
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(name + "=" + value, entry);
  EXPECT_EQ(missing, nullptr);
}

TEST(SecureEnv, TestsRunWithoutMoreRights) {
  EXPECT_FALSE(is_secure_process());
}

TEST(IdSet, BoundsAreKept) {
  IdSet<128> set;
  for (size_t id : {0, 63, 64, 127, 128, 4000}) set.add(id);
  for (size_t id : {0, 63, 64, 127}) EXPECT_TRUE(set.has(id));
  for (size_t id : {1, 62, 65, 126, 128, 4000}) EXPECT_FALSE(set.has(id));
}

TEST(AllowedNodes, HaveTheNodeOfThisMemory) {
  IdSet<kMaxOsNodes> nodes;
  errno = 4711;
  if (!allowed_memory_nodes(nodes)) GTEST_SKIP() << "the system does not tell";
  EXPECT_EQ(errno, 4711);
  unsigned count = 0;
  for (size_t id = 0; id < kMaxOsNodes; ++id) count += nodes.has(id) ? 1 : 0;
  EXPECT_GE(count, 1u);
}

// Containers' system call filters refuse get_mempolicy; /proc then says the same.
TEST(AllowedNodes, AreFoundWithoutTheSystemCall) {
  IdSet<kMaxOsNodes> wanted;
  if (!allowed_memory_nodes(wanted)) GTEST_SKIP() << "the system does not tell";
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_get_mempolicy, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program = {std::size(code), code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
      _exit(77);
    IdSet<kMaxOsNodes> nodes;
    const bool refused = syscall(SYS_get_mempolicy, nullptr, nullptr, 0, nullptr, 0) != 0;
    const bool same = allowed_memory_nodes(nodes) && memcmp(nodes.words, wanted.words, sizeof(nodes.words)) == 0;
    _exit(refused && same ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no system call filters here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(AllowedCpus, AgreeWithSchedGetaffinity) {
  IdSet<kMaxOsCpus> cpus;
  ASSERT_TRUE(allowed_cpus(cpus));
  cpu_set_t wanted;
  ASSERT_EQ(sched_getaffinity(0, sizeof(wanted), &wanted), 0);
  for (size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) EXPECT_EQ(cpus.has(cpu), CPU_ISSET(cpu, &wanted) != 0) << cpu;
}

TEST(ResidentTest, TellsPagesOfFilesFromOthers) {
  constexpr uint64_t kPages = 2048, kNearly = kPages * 7 / 8;
  const Resident before = resident();
  EXPECT_GT(before.all.v, before.of_files.v);
  EXPECT_GT(before.of_files.v, 0u) << "the program itself";
  const DiskFile file(kPages);
  char* mapped = file.map(PROT_READ, MAP_SHARED);
  ASSERT_NE(mapped, nullptr);
  for (size_t page = 0; page < kPages; ++page)
    ASSERT_EQ(first_word(mapped + page * kPageSize), DiskFile::word_of(page));
  const Resident with_file = resident();
  EXPECT_GE(with_file.of_files.v, before.of_files.v + kNearly);
  EXPECT_GE(with_file.all.v, before.all.v + kNearly);
  munmap(mapped, file.bytes());
  auto* own =
      static_cast<char*>(mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(own, MAP_FAILED);
  memset(own, 1, kPages * kPageSize);
  const Resident with_own = resident();
  EXPECT_GE(with_own.all.v, before.all.v + kNearly);
  EXPECT_LT(with_own.of_files.v, before.of_files.v + kPages / 8);
  munmap(own, kPages * kPageSize);
}

TEST(MajorFaults, AreThoseThatReadADisk) {
  const DiskFile file(16);
  char* mapped = file.map(PROT_READ, MAP_SHARED);
  ASSERT_NE(mapped, nullptr);
  unsigned char there[16];
  if (fsync(file.fd()) != 0 || posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED) != 0 ||
      mincore(mapped, file.bytes(), there) != 0 || (there[0] & 1) != 0)
    GTEST_SKIP() << "the file stays in memory";
  const uint64_t before = major_faults();
  ASSERT_EQ(first_word(mapped), DiskFile::word_of(0));
  EXPECT_GT(major_faults(), before);
  const uint64_t after = major_faults();
  ASSERT_EQ(first_word(mapped), DiskFile::word_of(0));
  EXPECT_EQ(major_faults(), after);
  munmap(mapped, file.bytes());
}

TEST(TotalMemory, AgreesWithSysconf) {
  const auto pages = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES));
  EXPECT_EQ(total_memory_bytes(), pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)));
}

}  // namespace
}  // namespace weir::os
