// parse_test.cc: the kernel's formats, and what is not one of them.
#include "topology/parse.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace weir {
namespace {

using Ids = std::vector<unsigned>;

template <size_t kBits>
Ids ids_of(const os::IdSet<kBits>& set) {
  Ids ids;
  for (unsigned id = 0; id < kBits; ++id)
    if (set.has(id)) ids.push_back(id);
  return ids;
}

Ids list(std::string_view text) {
  os::IdSet<os::kMaxOsNodes> ids;
  EXPECT_TRUE(parse_id_list(text, ids)) << text;
  return ids_of(ids);
}

bool is_list(std::string_view text) {
  os::IdSet<os::kMaxOsNodes> ids;
  return parse_id_list(text, ids);
}

TEST(ParseIdList, KernelForms) {
  EXPECT_EQ(list("0\n"), (Ids{0}));
  EXPECT_EQ(list("0-3\n"), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(list("0,8,252-255\n"), (Ids{0, 8, 252, 253, 254, 255}));
  EXPECT_EQ(list("7"), (Ids{7}));
  EXPECT_EQ(list("1023\n"), (Ids{1023}));
  EXPECT_EQ(list("\n"), Ids{});
  EXPECT_EQ(list(""), Ids{});
}

TEST(ParseIdList, Garbage) {
  for (const char* text : {"x", "1,", ",1", "1-", "-1", "3-1", "1 2", "1024", "0-99999999999999999999", "0-4000000000",
                           "1,,2", "0x1", "1-2-3"})
    EXPECT_FALSE(is_list(text)) << text;
}

Ids mask(std::string_view text) {
  os::IdSet<os::kMaxOsCpus> ids;
  EXPECT_TRUE(parse_id_mask(text, ids)) << text;
  return ids_of(ids);
}

bool is_mask(std::string_view text) {
  os::IdSet<os::kMaxOsCpus> ids;
  return parse_id_mask(text, ids);
}

TEST(ParseIdMask, KernelForms) {
  EXPECT_EQ(mask("3\n"), (Ids{0, 1}));
  EXPECT_EQ(mask("00000000,00000001\n"), (Ids{0}));
  EXPECT_EQ(mask("80000001,00000001\n"), (Ids{0, 32, 63}));
  EXPECT_EQ(mask("f,00000000,A0000000\n"), (Ids{29, 31, 64, 65, 66, 67}));
  EXPECT_EQ(mask("0\n"), Ids{});
}

TEST(ParseIdMask, WordsBeyondTheLimitAreDropped) {
  std::string text = "1";
  for (size_t i = 0; i < os::kMaxOsCpus / 32; ++i) text += ",00000000";
  EXPECT_EQ(mask(text), Ids{});
}

TEST(ParseIdMask, Garbage) {
  for (const char* text : {"", "\n", "g", "0x3", ",1", "1,,1", "123456789", "1 1", "-1", "1,"})
    EXPECT_FALSE(is_mask(text)) << text;
}

TEST(ParseMemTotal, FindsTheLine) {
  uint64_t bytes = 0;
  EXPECT_TRUE(parse_mem_total("Node 0 MemTotal:       24684096 kB\nNode 0 MemFree: 1 kB\n", bytes));
  EXPECT_EQ(bytes, uint64_t{24684096} * 1024);
  EXPECT_TRUE(parse_mem_total("MemFree: 5 kB\nMemTotal: 0 kB\n", bytes));
  EXPECT_EQ(bytes, 0u);
}

TEST(ParseMemTotal, Garbage) {
  uint64_t bytes = 77;
  for (const char* text : {"", "MemTotal:", "MemTotal: x kB", "MemTotal: 5", "MemTotal: 5 MB", "MemTotal: -5 kB",
                           "MemTotal: 99999999999999999999 kB"})
    EXPECT_FALSE(parse_mem_total(text, bytes)) << text;
  EXPECT_EQ(bytes, 77u);
}

TEST(ParseDistanceRow, TakesAsManyAsAsked) {
  uint16_t row[3];
  EXPECT_TRUE(parse_distance_row("10 21 255\n", row));
  EXPECT_EQ(row[0], 10);
  EXPECT_EQ(row[1], 21);
  EXPECT_EQ(row[2], 255);
  EXPECT_TRUE(parse_distance_row("10 21 255 40\n", row)) << "nodes beyond kMaxNodes have columns too";
}

TEST(ParseDistanceRow, Garbage) {
  uint16_t row[2];
  for (const char* text : {"", "10", "10 0", "10 x", "10 65536", "10 -20", "10,20"})
    EXPECT_FALSE(parse_distance_row(text, row)) << text;
}

TEST(Parse, AnyBytesEndSomewhere) {
  std::mt19937 random(7);
  constexpr std::string_view kAlphabet = "0123456789abcdef,-- \n\tMemTotal:kB";
  for (int round = 0; round < 20000; ++round) {
    std::string text(random() % 40, ' ');
    for (char& c : text) c = random() % 8 == 0 ? static_cast<char>(random()) : kAlphabet[random() % kAlphabet.size()];
    os::IdSet<os::kMaxOsNodes> nodes;
    os::IdSet<os::kMaxOsCpus> cpus;
    uint64_t bytes;
    uint16_t row[4];
    // Under ASan this also checks that nothing is read beyond the text, which has no NUL of its own here.
    const std::vector<char> exact(text.begin(), text.end());
    const std::string_view view(exact.data(), exact.size());
    (void)parse_id_list(view, nodes);
    (void)parse_id_mask(view, cpus);
    (void)parse_mem_total(view, bytes);
    (void)parse_distance_row(view, row);
  }
}

}  // namespace
}  // namespace weir
