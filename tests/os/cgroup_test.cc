// cgroup_test.cc: the least limit of a process's groups, on made-up trees of both versions, and on the real one where
// this machine lets the test make a group.
#include "os/cgroup.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace weir::os {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVersion1Unlimited = "9223372036854771712\n";

// A folder that stands for "/".
class CgroupTest : public testing::Test {
 protected:
  CgroupTest() {
    std::string name = (fs::temp_directory_path() / "weir-cgroup-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) abort();
    root_ = name;
  }
  ~CgroupTest() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    const fs::path full = root_.string() + path;
    fs::create_directories(full.parent_path());
    std::ofstream(full, std::ios::binary) << text;
  }
  void groups(const std::string& text) const { write("/proc/self/cgroup", text); }
  void mounts(const std::string& text) const { write("/proc/self/mountinfo", text); }
  uint64_t limit() const {
    errno = 4711;
    const uint64_t bytes = cgroup_memory_limit(root_.c_str());
    EXPECT_EQ(errno, 4711) << "errno was touched";
    return bytes;
  }
  CgroupState state() const { return cgroup_state(root_.c_str()); }

 private:
  fs::path root_;
};

std::string version2_mount(const std::string& mount_root, const std::string& mount_point) {
  return "41 31 0:38 " + mount_root + " " + mount_point + " rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
}

std::string version1_mount(const std::string& mount_root, const std::string& mount_point) {
  return "35 31 0:32 " + mount_root + " " + mount_point + " rw,relatime - cgroup cgroup rw,memory\n";
}

TEST_F(CgroupTest, NothingThereIsNoLimit) {
  EXPECT_EQ(limit(), 0u);
  groups("0::/a\n");
  EXPECT_EQ(limit(), 0u) << "no mount table";
  mounts("22 1 254:0 / / rw - ext4 /dev/vda rw\n");
  EXPECT_EQ(limit(), 0u) << "no cgroup file system";
  mounts(version2_mount("/", "/sys/fs/cgroup"));
  EXPECT_EQ(limit(), 0u) << "no memory controller";
}

TEST_F(CgroupTest, Version2LeastOfMaxHighAndAncestors) {
  groups("0::/user/app\n");
  mounts("22 1 254:0 / / rw - ext4 /dev/vda rw\n" + version2_mount("/", "/sys/fs/cgroup"));
  write("/sys/fs/cgroup/user/app/memory.max", "max\n");
  write("/sys/fs/cgroup/user/app/memory.high", "max\n");
  EXPECT_EQ(limit(), 0u);
  write("/sys/fs/cgroup/user/app/memory.max", "536870912\n");
  EXPECT_EQ(limit(), 536870912u);
  write("/sys/fs/cgroup/user/app/memory.high", "268435456\n");
  EXPECT_EQ(limit(), 268435456u);
  write("/sys/fs/cgroup/user/memory.max", "134217728\n");
  EXPECT_EQ(limit(), 134217728u) << "the group around it";
  write("/sys/fs/cgroup/memory.max", "67108864\n");
  EXPECT_EQ(limit(), 67108864u) << "the top of a container";
  write("/sys/fs/cgroup/other/memory.max", "4096\n");
  EXPECT_EQ(limit(), 67108864u) << "somebody else's";
  write("/sys/fs/cgroup/user/app/memory.max", "0\n");
  EXPECT_EQ(limit(), 1u) << "a limit of nothing is not none";
}

TEST_F(CgroupTest, Version1AndItsUnlimited) {
  groups("12:cpu,cpuacct:/x\n4:memory:/a/b\n0::/\n");
  mounts(version1_mount("/", "/sys/fs/cgroup/memory") + version2_mount("/", "/sys/fs/cgroup/unified"));
  for (const char* group : {"", "/a", "/a/b"})
    write(std::string("/sys/fs/cgroup/memory") + group + "/memory.limit_in_bytes", kVersion1Unlimited);
  EXPECT_EQ(limit(), 0u);
  write("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824\n");
  EXPECT_EQ(limit(), 1073741824u);
  write("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "2147483648\n");
  EXPECT_EQ(limit(), 1073741824u);
  write("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "4096\n");
  EXPECT_EQ(limit(), 1073741824u) << "the group of another controller";
}

TEST_F(CgroupTest, ControllersMountedTogether) {
  groups("4:cpu,memory:/a\n");
  mounts("35 31 0:32 / /c rw - cgroup cgroup rw,cpu,memory\n");
  write("/c/a/memory.limit_in_bytes", "8192\n");
  EXPECT_EQ(limit(), 8192u);
  mounts("35 31 0:32 / /c rw - cgroup cgroup rw,cpu,memory_recursiveprot\n");
  EXPECT_EQ(limit(), 0u) << "a word that only begins like it";
}

TEST_F(CgroupTest, MountOfAPartOfTheTree) {
  // A container without a cgroup namespace: the mount shows its own group as the top.
  groups("4:memory:/docker/abc/inner\n");
  mounts(version1_mount("/docker/abc", "/sys/fs/cgroup/memory"));
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "20971520\n");
  write("/sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "10485760\n");
  EXPECT_EQ(limit(), 10485760u);
  groups("4:memory:/docker/abc\n");
  EXPECT_EQ(limit(), 20971520u);
  groups("4:memory:/docker/abcdef\n");
  EXPECT_EQ(limit(), 0u) << "another group whose name begins the same";
  groups("4:memory:/other\n");
  EXPECT_EQ(limit(), 0u);
}

TEST_F(CgroupTest, GroupOutsideOfTheNamespaceIsNotLookedFor) {
  groups("0::/../other\n");
  mounts(version2_mount("/", "/sys/fs/cgroup"));
  write("/sys/fs/other/memory.max", "4096\n");
  write("/sys/fs/cgroup/memory.max", "8192\n");
  EXPECT_EQ(limit(), 0u);
}

TEST_F(CgroupTest, PathsWithBlanksColonsAndBackslashes) {
  groups("0::/a b:c\\d\n");
  mounts(version2_mount("/", "/sys/my\\040groups\\134x"));
  write("/sys/my groups\\x/a b:c\\d/memory.max", "12288\n");
  EXPECT_EQ(limit(), 12288u);
}

TEST_F(CgroupTest, LongTablesAndLines) {
  groups("0::/a\n");
  std::string table;
  for (int i = 0; i < 5000; ++i)
    table += "50 22 0:50 / /containers/" + std::string(100, 'x') + std::to_string(i) + " rw - overlay overlay rw\n";
  // A line beyond every buffer, whose end looks like one of its own.
  const std::string huge = "51 22 0:51 / /" + std::string(50000, 'y') + " rw - cgroup2 cgroup2 rw\n";
  write("/sys/fs/cgroup/a/memory.max", "16384\n");
  const std::string mount = version2_mount("/", "/sys/fs/cgroup");
  mounts(table + huge + mount + table);
  EXPECT_EQ(limit(), 16384u);
  mounts(table + huge + mount.substr(0, mount.size() - 1));
  EXPECT_EQ(limit(), 16384u) << "no newline at the end";
  // Every place of the table within a read.
  for (size_t pad = 12200; pad < 12400; ++pad) {
    mounts("1 " + std::string(pad, 'z') + "\n" + mount);
    ASSERT_EQ(limit(), 16384u) << pad;
  }
}

TEST_F(CgroupTest, PathsTooLongAreNoLimit) {
  groups("0::/" + std::string(5000, 'g') + "\n");
  mounts(version2_mount("/", "/sys/fs/cgroup"));
  write("/sys/fs/cgroup/memory.max", "16384\n");
  EXPECT_EQ(limit(), 0u);
  groups("0::/" + std::string(4080, 'g') + "\n");
  EXPECT_EQ(limit(), 0u) << "too long together with its mount";
}

TEST_F(CgroupTest, NonsenseIsNoLimit) {
  mounts(version2_mount("/", "/sys/fs/cgroup"));
  write("/sys/fs/cgroup/memory.max", "16384\n");
  for (const char* text : {"", "\n", "0\n", "0:\n", "::\n", "0::", ":::::\n", "4:mem:/\n"}) {
    groups(text);
    EXPECT_EQ(limit(), 0u) << text;
  }
  groups("0::/\n");
  EXPECT_EQ(limit(), 16384u);
  for (const char* text :
       {"", "\n", " - \n", "1 2 3 / / rw - cgroup2", "a b c d e - cgroup2 x y\n", "- cgroup2 - -\n"}) {
    mounts(text);
    EXPECT_EQ(limit(), 0u) << text;
  }
  mounts(version2_mount("/", "/sys/fs/cgroup"));
  for (const char* text : {"", "x", "-1\n", "99999999999999999999999999\n", "18446744073709551615\n"}) {
    write("/sys/fs/cgroup/memory.max", text);
    EXPECT_EQ(limit(), 0u) << text;
  }
}

TEST_F(CgroupTest, Version2TellsOfALackOfMemory) {
  groups("0::/user/app\n");
  mounts(version2_mount("/", "/sys/fs/cgroup"));
  const std::string own = "/sys/fs/cgroup/user/app", around = "/sys/fs/cgroup/user";
  EXPECT_EQ(state().room, CgroupState::kNoLimit);
  EXPECT_EQ(state().hits, 0u);
  write("/proc/pressure/memory", "some avg10=1.00 avg60=0.00 avg300=0.00 total=99\nfull avg10=0.00 total=1\n");
  EXPECT_EQ(state().stalled_us, 99u) << "of the whole machine, when there is nothing better";
  write(own + "/memory.max", "max\n");
  write(own + "/memory.high", "1000000\n");
  write(own + "/memory.current", "900000\n");
  write(own + "/memory.stat", "anon 500000\nfile 400000\ninactive_file 300000\nactive_file 50000\nslab 7\n");
  write(own + "/memory.events", "low 1\nhigh 20\nmax 300\noom 4000\noom_kill 5\noom_group_kill 6\n");
  write(own + "/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0.00 total=77\n");
  CgroupState s = state();
  EXPECT_EQ(s.hits, 320u);
  EXPECT_EQ(s.oom_kills, 5u);
  EXPECT_EQ(s.stalled_us, 1234u);
  EXPECT_EQ(s.room, 450000);
  // The group around it is fuller, and above its limit.
  write(around + "/memory.max", "1000000\n");
  write(around + "/memory.current", "1200000\n");
  write(around + "/memory.events", "low 0\nhigh 0\nmax 1\noom 0\noom_kill 1\n");
  write(around + "/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n");
  s = state();
  EXPECT_EQ(s.hits, 321u);
  EXPECT_EQ(s.oom_kills, 6u);
  EXPECT_EQ(s.stalled_us, 1234u) << "of the own group";
  EXPECT_EQ(s.room, -200000);
  for (const char* bad : {"", "x", "high\n", "some total=", "high max\nmax high\n"}) {
    for (const char* file : {"/memory.events", "/memory.pressure", "/memory.stat", "/memory.current"})
      write(own + file, bad);
    EXPECT_EQ(state().room, -200000) << bad;
    EXPECT_EQ(state().hits, 1u) << bad;
  }
}

TEST_F(CgroupTest, Version1TellsOfALackOfMemory) {
  groups("4:memory:/a\n");
  mounts(version1_mount("/", "/c"));
  write("/c/a/memory.limit_in_bytes", "1000000\n");
  write("/c/a/memory.usage_in_bytes", "600000\n");
  write("/c/a/memory.stat",
        "cache 5\ninactive_file 1\nactive_file 1\ntotal_inactive_file 100000\n"
        "total_active_file 1000\n");
  write("/c/a/memory.failcnt", "42\n");
  write("/c/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
  const CgroupState s = state();
  EXPECT_EQ(s.hits, 42u);
  EXPECT_EQ(s.oom_kills, 3u);
  EXPECT_EQ(s.stalled_us, 0u);
  EXPECT_EQ(s.room, 501000);
}

// The file that limits the group `folder`, or "" when it has no memory controller.
std::string limit_file(const std::string& folder) {
  for (const char* file : {"/memory.limit_in_bytes", "/memory.max"})
    if (access((folder + file).c_str(), W_OK) == 0) return folder + file;
  return "";
}

TEST(CgroupOfThisMachine, LimitOfARealGroup) {
  std::string group, file;
  for (const char* top : {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"}) {
    group = std::string(top) + "/weir-test-" + std::to_string(getpid());
    if (access((std::string(top) + "/cgroup.procs").c_str(), W_OK) != 0 || mkdir(group.c_str(), 0755) != 0) continue;
    file = limit_file(group);
    if (!file.empty()) break;
    rmdir(group.c_str());
  }
  if (file.empty()) GTEST_SKIP() << "no right to make a memory cgroup here";
  constexpr uint64_t kLimit = uint64_t{300} << 20;
  std::ofstream(file) << kLimit;
  const pid_t child = fork();
  if (child == 0) {
    std::ofstream(group + "/cgroup.procs") << getpid() << std::flush;
    _exit(cgroup_memory_limit() == kLimit ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(rmdir(group.c_str()), 0);
}

}  // namespace
}  // namespace weir::os
