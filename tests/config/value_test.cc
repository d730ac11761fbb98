// value_test.cc: every form of a value that is accepted, and its neighbours that are not.
#include "config/value.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace weir {
namespace {

constexpr int64_t kUntouched = -12345;

template <class Parse>
int64_t parsed(Parse parse, std::string_view text) {
  int64_t value = kUntouched;
  const bool accepted = parse(text, value);
  EXPECT_EQ(accepted, value != kUntouched) << "'" << text << "'";
  return value;
}

TEST(ParseBool, Words) {
  for (const char* text : {"1", "on", "yes", "true", "TRUE", "On", "yEs"})
    EXPECT_EQ(parsed(parse_bool, text), 1) << text;
  for (const char* text : {"0", "off", "no", "false", "False", "OFF"}) EXPECT_EQ(parsed(parse_bool, text), 0) << text;
  for (const char* text : {"", "2", "01", "y", "n", "onn", "tru", "-1", " 1"})
    EXPECT_EQ(parsed(parse_bool, text), kUntouched) << text;
}

TEST(ParseInt, Numbers) {
  EXPECT_EQ(parsed(parse_int, "0"), 0);
  EXPECT_EQ(parsed(parse_int, "007"), 7);
  EXPECT_EQ(parsed(parse_int, "-3"), -3);
  EXPECT_EQ(parsed(parse_int, "9223372036854775807"), INT64_MAX);
  for (const char* text :
       {"", "-", "+1", "1.0", "1K", "0x10", "1 ", " 1", "--1", "9223372036854775808", "99999999999999999999999999"})
    EXPECT_EQ(parsed(parse_int, text), kUntouched) << text;
}

TEST(ParseSize, Suffixes) {
  EXPECT_EQ(parsed(parse_size, "0"), 0);
  EXPECT_EQ(parsed(parse_size, "4096"), 4096);
  EXPECT_EQ(parsed(parse_size, "100B"), 100);
  for (const char* text : {"64K", "64k", "64KB", "64KiB", "64kib", "65536"}) EXPECT_EQ(parsed(parse_size, text), 65536);
  EXPECT_EQ(parsed(parse_size, "3M"), 3 << 20);
  EXPECT_EQ(parsed(parse_size, "2g"), int64_t{2} << 30);
  EXPECT_EQ(parsed(parse_size, "16TiB"), int64_t{16} << 40);
}

TEST(ParseSize, Fractions) {
  EXPECT_EQ(parsed(parse_size, "1.5G"), int64_t{3} << 29);
  EXPECT_EQ(parsed(parse_size, "0.25k"), 256);
  EXPECT_EQ(parsed(parse_size, "0.3K"), 307) << "rounded down";
  EXPECT_EQ(parsed(parse_size, "1.999999999999999999K"), 2047);
  EXPECT_EQ(parsed(parse_size, "1.0000000000000000000K"), kUntouched) << "19 digits";
}

TEST(ParseSize, Garbage) {
  for (const char* text : {"", "K", "-1", "-1K", "1.5", "1.", ".5K", "1.K", "1 K", "1KK", "1iB", "1i", "1Ki", "1KBB",
                           "1X", "1e3", "0x10", "1,5G"})
    EXPECT_EQ(parsed(parse_size, text), kUntouched) << text;
}

TEST(ParseSize, Overflow) {
  EXPECT_EQ(parsed(parse_size, "8388607T"), 8388607 * (int64_t{1} << 40));
  EXPECT_EQ(parsed(parse_size, "8388608T"), kUntouched);
  EXPECT_EQ(parsed(parse_size, "8388607.999999999T"), 8388607 * (int64_t{1} << 40) + 1099511626676);
  EXPECT_EQ(parsed(parse_size, "9223372036854775807"), INT64_MAX);
  EXPECT_EQ(parsed(parse_size, "9223372036854775808"), kUntouched);
  EXPECT_EQ(parsed(parse_size, "18446744073709551617"), kUntouched);
}

TEST(ParseMs, Durations) {
  EXPECT_EQ(parsed(parse_ms, "250"), 250);
  EXPECT_EQ(parsed(parse_ms, "250ms"), 250);
  EXPECT_EQ(parsed(parse_ms, "10s"), 10000);
  EXPECT_EQ(parsed(parse_ms, "1.5S"), 1500);
  EXPECT_EQ(parsed(parse_ms, "2m"), 120000);
  EXPECT_EQ(parsed(parse_ms, "24h"), 24 * 3600 * 1000);
  for (const char* text : {"", "-1", "1.5", "1.5ms", "s", "1d", "1 s", "1sec", "9223372036854775807s"})
    EXPECT_EQ(parsed(parse_ms, text), kUntouched) << text;
}

TEST(ParseName, PositionOfTheName) {
  constexpr auto kNames = std::to_array<std::string_view>({"never", "dense"});
  const auto parse = [&](std::string_view text, int64_t& value) { return parse_name(text, kNames, value); };
  EXPECT_EQ(parsed(parse, "never"), 0);
  EXPECT_EQ(parsed(parse, "Dense"), 1);
  for (const char* text : {"", "nev", "neverx", "0", "1"}) EXPECT_EQ(parsed(parse, text), kUntouched) << text;
}

std::string formatted(int64_t bytes) {
  Line line;
  format_size(line, bytes);
  return std::string(line.view());
}

TEST(FormatSize, LargestExactSuffix) {
  EXPECT_EQ(formatted(0), "0");
  EXPECT_EQ(formatted(1000), "1000");
  EXPECT_EQ(formatted(65536), "64K");
  EXPECT_EQ(formatted(65537), "65537");
  EXPECT_EQ(formatted(int64_t{1536} << 20), "1536M");
  EXPECT_EQ(formatted(int64_t{16} << 40), "16T");
}

TEST(FormatSize, ParsesBack) {
  for (int shift = 0; shift < 62; ++shift) {
    for (int64_t offset : {-1, 0, 1}) {
      const int64_t bytes = (int64_t{1} << shift) + offset;
      EXPECT_EQ(parsed(parse_size, formatted(bytes)), bytes);
    }
  }
}

}  // namespace
}  // namespace weir
