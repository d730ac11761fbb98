// Both codecs: what comes out is what went in, limits are kept to the byte, bad input is harmless, little stack is
// used.
#include "swap/compressor.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>

#include <vector>

#include "support/sanitizer.h"
#include "swap/zswap_pages.h"

namespace weir {
namespace {

class CompressorTest : public testing::TestWithParam<Codec> {
 public:
  void SetUp() override { ASSERT_TRUE(compressor_.init()); }
  void TearDown() override { compressor_.destroy(); }
  size_t compress(const Page& page, size_t capacity = 2 * kPageSize) {
    return compressor_.compress(GetParam(), page.bytes, out_, capacity);
  }
  Compressor compressor_;
  char out_[2 * kPageSize];
  Page page_, back_;
  char* stack_ = nullptr;
  size_t deepest_ = 0;
};

TEST_P(CompressorTest, EveryKindOfPageComesBack) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    make_page(page_, seed);
    const size_t bytes = compress(page_);
    ASSERT_NE(bytes, 0u) << "seed " << seed;
    memset(back_.bytes, 0x5a, kPageSize);
    ASSERT_TRUE(compressor_.decompress(GetParam(), out_, bytes, back_.bytes)) << "seed " << seed;
    ASSERT_EQ(page_, back_) << "seed " << seed;
  }
}

TEST_P(CompressorTest, CompressesWhatRepeats) {
  make_records(page_, 1);
  EXPECT_LT(compress(page_), kPageSize * 6 / 10);
  make_noise(page_, 1, kPageSize / 2);
  EXPECT_LT(compress(page_), kPageSize * 52 / 100);
  make_same_filled(page_, 0x123456789abcdef1);
  EXPECT_LT(compress(page_), 64u);
}

// LZ4 with long steps makes less of structures, and with short ones of what heaps of scripts are made of.
TEST_P(CompressorTest, LearnsFromThePagesThatItIsGiven) {
  if (GetParam() == Codec::kZstd) GTEST_SKIP() << "does not";
  const auto bytes_of_all = [this](auto make, uint64_t first, unsigned pages) {
    size_t sum = 0;
    for (uint64_t seed = first; seed < first + pages; ++seed) {
      make(page_, seed);
      sum += compress(page_);
    }
    return sum;
  };
  const size_t structures_at_first = bytes_of_all(make_structures, 0, 31);
  const size_t records_at_first = bytes_of_all(make_records, 0, 31);
  bytes_of_all(make_structures, 100, 600);
  EXPECT_LT(bytes_of_all(make_structures, 0, 31), structures_at_first * 98 / 100);
  // Its way with structures does not cost pages that it finds nothing in.
  make_half_random(page_, 1);
  EXPECT_LT(compress(page_), kPageSize * 85 / 100);
  bytes_of_all(make_records, 100, 1200);
  EXPECT_EQ(bytes_of_all(make_records, 0, 31), records_at_first);
}

TEST_P(CompressorTest, NeverWritesBeyondTheCapacity) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    make_records(page_, seed);
    const size_t bytes = compress(page_);
    memset(out_, 0x77, sizeof(out_));
    EXPECT_EQ(compress(page_, bytes), bytes);
    for (size_t capacity : {bytes - 1, bytes / 2, size_t{1}, size_t{0}}) {
      memset(out_, 0x77, sizeof(out_));
      EXPECT_EQ(compress(page_, capacity), 0u) << capacity;
      for (size_t i = capacity; i < sizeof(out_); ++i) ASSERT_EQ(out_[i], 0x77) << "capacity " << capacity;
    }
    // A refusal leaves nothing behind that would harm the next page.
    ASSERT_EQ(compress(page_), bytes);
    ASSERT_TRUE(compressor_.decompress(GetParam(), out_, bytes, back_.bytes));
    ASSERT_EQ(page_, back_);
  }
}

TEST_P(CompressorTest, OnlyExactlyOnePageIsRight) {
  make_records(page_, 3);
  const size_t bytes = compress(page_);
  EXPECT_FALSE(compressor_.decompress(GetParam(), out_, bytes - 1, back_.bytes));
  EXPECT_FALSE(compressor_.decompress(GetParam(), out_, bytes / 2, back_.bytes));
  EXPECT_FALSE(compressor_.decompress(GetParam(), out_, 1, back_.bytes));
  EXPECT_FALSE(compressor_.decompress(GetParam(), out_, 0, back_.bytes));
}

// Damaged input may give a wrong page (finding that is the checksum's work), but never touches anything else.
TEST_P(CompressorTest, DamagedInputIsHarmless) {
  struct {
    char before[64];
    Page page;
    char after[64];
  } guarded;
  memset(guarded.before, 0x33, sizeof(guarded.before));
  memset(guarded.after, 0x33, sizeof(guarded.after));
  Random random(5);
  unsigned refused = 0;
  for (unsigned i = 0; i < 20000; ++i) {
    make_page(page_, i % 64);
    const size_t bytes = compress(page_);
    const uint64_t damages = 1 + random.below(8);
    for (uint64_t k = 0; k < damages; ++k) out_[random.below(bytes)] = static_cast<char>(random.next());
    refused += !compressor_.decompress(GetParam(), out_, bytes, guarded.page.bytes);
    for (size_t k = 0; k < sizeof(guarded.before); ++k) {
      ASSERT_EQ(guarded.before[k], 0x33);
      ASSERT_EQ(guarded.after[k], 0x33);
    }
  }
  EXPECT_GT(refused, 1000u);
}

TEST_P(CompressorTest, ScratchIsTheOwners) {
  memset(compressor_.scratch(), 0x42, kPageSize);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    make_page(page_, seed);
    ASSERT_TRUE(compressor_.decompress(GetParam(), out_, compress(page_), back_.bytes));
  }
  for (size_t i = 0; i < kPageSize; ++i) ASSERT_EQ(compressor_.scratch()[i], 0x42);
}

TEST_P(CompressorTest, CanBeInitializedAgain) {
  compressor_.destroy();
  compressor_.destroy();
  ASSERT_TRUE(compressor_.init());
  compressor_.destroy();
  ASSERT_TRUE(compressor_.init());
  make_records(page_, 9);
  ASSERT_TRUE(compressor_.decompress(GetParam(), out_, compress(page_), back_.bytes));
  EXPECT_EQ(page_, back_);
}

// The deepest stack, found as the lowest byte that is no longer the paint. Threads of weir's own have 64 KiB.
constexpr size_t kStackBytes = 256 << 10;
constexpr char kPaint = 0x6b;

TEST_P(CompressorTest, UsesLittleStack) {
  if (kAsan || kTsan) GTEST_SKIP() << "sanitizers have stack frames of their own";
  stack_ = static_cast<char*>(mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(stack_, MAP_FAILED);
  memset(stack_, kPaint, kStackBytes);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, stack_, kStackBytes);
  pthread_t thread;
  const auto run = [](void* self) -> void* {
    CompressorTest& test = *static_cast<CompressorTest*>(self);
    char here;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      make_page(test.page_, seed);
      if (!test.compressor_.decompress(GetParam(), test.out_, test.compress(test.page_), test.back_.bytes)) abort();
    }
    const char* lowest = test.stack_;
    while (*lowest == kPaint) ++lowest;
    test.deepest_ = static_cast<size_t>(&here - lowest);
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, run, this), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  munmap(stack_, kStackBytes);
  RecordProperty("stack_bytes", static_cast<int>(deepest_));
  EXPECT_LT(deepest_, 8u << 10);
}

INSTANTIATE_TEST_SUITE_P(Codecs, CompressorTest, testing::Values(Codec::kLz4, Codec::kZstd), codec_name);

}  // namespace
}  // namespace weir
