// file_test.cc: small files and folders, read without the C library.
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

namespace weir::os {
namespace {

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string name = (std::filesystem::temp_directory_path() / "weir-file-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) abort();
    folder_ = name;
    errno = kErrno;
  }
  ~FileTest() override {
    EXPECT_EQ(errno, kErrno) << "errno was touched";
    std::filesystem::remove_all(folder_);
  }
  std::string write(const std::string& name, const std::string& text) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << text;
    errno = kErrno;
    return path;
  }
  static constexpr int kErrno = 4711;
  std::filesystem::path folder_;
};

TEST_F(FileTest, ReadsAsMuchAsFits) {
  const std::string path = write("file", "0123456789");
  char buffer[20];
  ASSERT_EQ(read_small_file(path.c_str(), buffer, sizeof(buffer)), 10);
  EXPECT_EQ(std::string(buffer, 10), "0123456789");
  ASSERT_EQ(read_small_file(path.c_str(), buffer, 4), 4);
  EXPECT_EQ(read_small_file(path.c_str(), buffer, 0), 0);
  EXPECT_EQ(read_small_file(write("empty", "").c_str(), buffer, sizeof(buffer)), 0);
}

TEST_F(FileTest, FailuresAreNegativeErrno) {
  char buffer[8];
  EXPECT_EQ(read_small_file((folder_ / "none").c_str(), buffer, sizeof(buffer)), -ENOENT);
  EXPECT_EQ(read_small_file(folder_.c_str(), buffer, sizeof(buffer)), -EISDIR);
  EXPECT_EQ(open_directory((folder_ / "none").c_str()), -ENOENT);
  EXPECT_EQ(open_directory(write("file", "").c_str()), -ENOTDIR);
  EXPECT_EQ(list_directory(
                -1, [](void*, const char*) { return true; }, nullptr),
            -EBADF);
}

TEST_F(FileTest, FifoDoesNotBlock) {
  const std::string path = (folder_ / "fifo").string();
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  char buffer[8];
  EXPECT_EQ(read_small_file(path.c_str(), buffer, sizeof(buffer)), 0);
}

TEST_F(FileTest, ReadsBelowAnOpenFolder) {
  write("file", "abc");
  const int folder = open_directory(folder_.c_str());
  ASSERT_GE(folder, 0);
  EXPECT_NE(fcntl(folder, F_GETFD) & FD_CLOEXEC, 0);
  char buffer[8];
  EXPECT_EQ(read_small_file_at(folder, "file", buffer, sizeof(buffer)), 3);
  close_descriptor(folder);
  EXPECT_EQ(read_small_file_at(folder, "file", buffer, sizeof(buffer)), -EBADF);
}

TEST_F(FileTest, ListsEveryEntryOnceAndStopsWhenTold) {
  std::set<std::string> wanted;
  // More than one buffer of getdents64, with names of many lengths.
  for (int i = 0; i < 300; ++i) {
    const std::string name = "entry" + std::to_string(i) + std::string(static_cast<size_t>(i % 50), 'x');
    write(name, "");
    wanted.insert(name);
  }
  const int folder = open_directory(folder_.c_str());
  ASSERT_GE(folder, 0);
  for (int round = 0; round < 2; ++round) {
    std::multiset<std::string> seen;
    const auto add = [](void* context, const char* name) {
      static_cast<std::multiset<std::string>*>(context)->insert(name);
      return true;
    };
    EXPECT_EQ(list_directory(folder, add, &seen), 0);
    EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()), wanted);
    EXPECT_EQ(seen.size(), wanted.size());
  }
  int calls = 0;
  const auto count_to_three = [](void* context, const char*) { return ++*static_cast<int*>(context) < 3; };
  EXPECT_EQ(list_directory(folder, count_to_three, &calls), 0);
  EXPECT_EQ(calls, 3);
  close_descriptor(folder);
}

}  // namespace
}  // namespace weir::os
