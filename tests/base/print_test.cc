// print_test.cc: text in a fixed buffer.
#include "base/print.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <string>

namespace weir {
namespace {

std::string str(const Line& line) {
  return std::string(line.view());
}

TEST(Print, Numbers) {
  for (const uint64_t n : {uint64_t{0}, uint64_t{9}, uint64_t{10}, uint64_t{123456789}, ~uint64_t{0}}) {
    char expected[128];
    snprintf(expected, sizeof(expected), "%" PRIu64 "|0x%" PRIx64 "|%12" PRIu64 "|%" PRIu64 ".%03" PRIu64, n, n, n,
             n / 1000, n % 1000);
    Line line;
    line.dec(n).text("|").hex(n).text("|").column(n, 12).text("|").fixed(n);
    EXPECT_EQ(str(line), expected);
  }
}

TEST(Print, SignedNumbers) {
  for (const int64_t n : {int64_t{0}, int64_t{-1}, int64_t{42}, INT64_MIN, INT64_MAX}) {
    Line line;
    line.sdec(n);
    EXPECT_EQ(str(line), std::to_string(n));
  }
}

TEST(Print, PointersAndColumns) {
  Line line;
  line.pointer(reinterpret_cast<void*>(0x2a0000001040)).text(" ").column(std::string_view("ab"), 5).text("|");
  line.column(std::string_view("abcdef"), 3).text("|").column(1234567, 3);
  EXPECT_EQ(str(line), "0x2a0000001040 ab   |abcdef|1234567");
}

TEST(Print, TooMuchIsCutAtTheCapacity) {
  Line line;
  const std::string long_text(Line::kCapacity - 3, 'x');
  line.text(long_text).dec(123456);
  EXPECT_EQ(str(line), long_text + "123");
  line.text("more").hex(1).fixed(1).column(1, 400);
  EXPECT_EQ(line.view().size(), Line::kCapacity);
  line.clear();
  EXPECT_EQ(str(line.text("again")), "again");
}

TEST(Print, WritesAndEmpties) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Line line;
  line.text("one ").dec(1).text("\n").write_to(ends[1]);
  EXPECT_TRUE(line.view().empty());
  char buffer[16];
  EXPECT_EQ(read(ends[0], buffer, sizeof(buffer)), 6);
  EXPECT_EQ(std::string(buffer, 6), "one 1\n");
  close(ends[0]);
  close(ends[1]);
}

TEST(Print, AnErrorIsDroppedAndErrnoKept) {
  Line line;
  errno = 4711;
  line.text("nowhere").write_to(-1);
  EXPECT_EQ(errno, 4711);
  EXPECT_TRUE(line.view().empty());
}

}  // namespace
}  // namespace weir
