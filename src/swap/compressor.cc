#include "swap/compressor.h"

#include <cstring>

#include "base/check.h"
#include "os/vm.h"

// The codecs' functions that are used here come under names of weir's own (tools/package/codecs.cmake), hidden.
#define LZ4LIB_VISIBILITY __attribute__((visibility("hidden")))
#include <lz4.h>
#define ZSTD_STATIC_LINKING_ONLY
#define ZSTDLIB_VISIBLE __attribute__((visibility("hidden")))
#define ZSTDLIB_VISIBILITY ZSTDLIB_VISIBLE
#include <zstd.h>

namespace {
[[noreturn]] void refuse() {
  weir::check_failed("a codec must not ask for memory", __FILE_NAME__, __LINE__);
}
}  // namespace

// What malloc, calloc and free became in the codecs.
extern "C" {
__attribute__((visibility("hidden"))) void weir_codec_allocates_malloc();
__attribute__((visibility("hidden"))) void weir_codec_allocates_calloc();
__attribute__((visibility("hidden"))) void weir_codec_allocates_free();
void weir_codec_allocates_malloc() {
  refuse();
}
void weir_codec_allocates_calloc() {
  refuse();
}
void weir_codec_allocates_free() {
  refuse();
}

// zstd's tracing hooks: nobody traces.
__attribute__((visibility("hidden"))) unsigned long long weir_ZSTD_trace_compress_begin(const void*);
__attribute__((visibility("hidden"))) void weir_ZSTD_trace_compress_end(unsigned long long, const void*);
__attribute__((visibility("hidden"))) unsigned long long weir_ZSTD_trace_decompress_begin(const void*);
__attribute__((visibility("hidden"))) void weir_ZSTD_trace_decompress_end(unsigned long long, const void*);
unsigned long long weir_ZSTD_trace_compress_begin(const void*) {
  return 0;
}
void weir_ZSTD_trace_compress_end(unsigned long long, const void*) {}
unsigned long long weir_ZSTD_trace_decompress_begin(const void*) {
  return 0;
}
void weir_ZSTD_trace_decompress_end(unsigned long long, const void*) {}
}

namespace weir {
namespace {

// LZ4's acceleration: greater takes longer steps where nothing repeats. On pages of python, sqlite and gcc heaps 1
// takes 3.7 to 4.5 us for 34, 40 and 27%; 2 saves a tenth of the time on one of them and costs 1 to 3% of size; 8 saves
// 5 to 25% of the time and costs 6 to 17%. But in an array of structures whose parts are partly random and partly the
// same, 1 finds the last of a stretch that repeats, which is short, where longer steps come to its beginning:
// structures of 128 bytes, 40 of them random, take 2.2 us for 37.4% with 1 and 0.8 us for 35.7% with 4. So both are
// tried now and then, and the one that makes less of pages does the others.
constexpr int kClose = 1, kWide = 4;

// A trial is a page that is compressed twice: 1 to 9% of the time, where the other way is a third as fast.
constexpr unsigned kPagesPerTrial = 32;
// What counts is about the last 16 trials, so that 500 pages of another kind are noticed.
constexpr size_t kTrialsThatCount = 16;

// Long steps find nothing at all on pages in which half of every word is random. A page that comes to more than this is
// done again with short ones.
constexpr size_t kPoor = kPageSize * 3 / 4;

// On the same heaps -1 takes 7 to 10 us for 18, 33 and 18%, 1 takes 11 to 14 us (and 1.6 times as long to decompress)
// for 17, 30 and 17%; -5 is no better than LZ4, 3 no smaller than 1.
constexpr int kZstdLevel = -1;

// zstd gives up some bytes before its room is used up, so it gets more than any page can need, and what comes out is
// copied.
constexpr size_t kRoom = 2 * kPageSize;
static_assert(kRoom >= ZSTD_COMPRESSBOUND(kPageSize));

bool set(ZSTD_CCtx* context, ZSTD_cParameter parameter, int value) {
  return ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)) == 0;
}

// No magic number, content size or checksum: the pool knows the first two and has a checksum of its own. Null: the
// memory is too small.
ZSTD_CCtx* set_up_compressor(char* at, size_t bytes) {
  const ZSTD_compressionParameters wanted = ZSTD_getCParams(kZstdLevel, kPageSize, 0);
  ZSTD_CCtx* compressor = ZSTD_initStaticCCtx(at, bytes);
  // Tables for one page, named one by one: by level alone they would be sized for content of unknown length, for which
  // the work memory is too small.
  const bool ok = compressor != nullptr && set(compressor, ZSTD_c_compressionLevel, kZstdLevel) &&
                  set(compressor, ZSTD_c_windowLog, static_cast<int>(wanted.windowLog)) &&
                  set(compressor, ZSTD_c_hashLog, static_cast<int>(wanted.hashLog)) &&
                  set(compressor, ZSTD_c_chainLog, static_cast<int>(wanted.chainLog)) &&
                  set(compressor, ZSTD_c_contentSizeFlag, 0) && set(compressor, ZSTD_c_format, ZSTD_f_zstd1_magicless);
  return ok ? compressor : nullptr;
}

ZSTD_DCtx* set_up_decompressor(char* at, size_t bytes) {
  ZSTD_DCtx* decompressor = ZSTD_initStaticDCtx(at, bytes);
  const bool ok = decompressor != nullptr &&
                  ZSTD_isError(ZSTD_DCtx_setParameter(decompressor, ZSTD_d_format, ZSTD_f_zstd1_magicless)) == 0;
  return ok ? decompressor : nullptr;
}

}  // namespace

struct Compressor::Layout {
  static constexpr size_t kOut = kPageSize;
  static constexpr size_t kLz4 = kOut + kRoom;
  size_t zstd_compressor, zstd_compressor_bytes, zstd_decompressor, zstd_decompressor_bytes, end;

  Layout() {
    zstd_compressor = kLz4 + align_up(static_cast<size_t>(LZ4_sizeofState()), kPageSize);
    zstd_compressor_bytes =
        align_up(ZSTD_estimateCCtxSize_usingCParams(ZSTD_getCParams(kZstdLevel, kPageSize, 0)), kPageSize);
    zstd_decompressor = zstd_compressor + zstd_compressor_bytes;
    zstd_decompressor_bytes = align_up(ZSTD_estimateDCtxSize(), kPageSize);
    end = zstd_decompressor + zstd_decompressor_bytes;
  }
};

bool Compressor::init() {
  WEIR_DCHECK(memory_ == nullptr);
  memory_ = static_cast<char*>(os::vm_map(Layout().end));
  return memory_ != nullptr;
}

void Compressor::destroy() {
  if (memory_ != nullptr) os::vm_unmap(memory_, Layout().end);
  memory_ = nullptr;
  zstd_compressor_ = zstd_decompressor_ = nullptr;
}

size_t Compressor::compress_zstd(const void* page, void* out, size_t capacity) {
  if (zstd_compressor_ == nullptr) {
    const Layout at;
    zstd_compressor_ = set_up_compressor(memory_ + at.zstd_compressor, at.zstd_compressor_bytes);
    WEIR_CHECK(zstd_compressor_ != nullptr);
  }
  char* room = memory_ + Layout::kOut;
  const size_t bytes = ZSTD_compress2(static_cast<ZSTD_CCtx*>(zstd_compressor_), room, kRoom, page, kPageSize);
  if (ZSTD_isError(bytes) != 0 || bytes > capacity) return 0;
  memcpy(out, room, bytes);
  return bytes;
}

bool Compressor::decompress_zstd(const void* in, size_t bytes, void* page) {
  if (zstd_decompressor_ == nullptr) {
    const Layout at;
    zstd_decompressor_ = set_up_decompressor(memory_ + at.zstd_decompressor, at.zstd_decompressor_bytes);
    WEIR_CHECK(zstd_decompressor_ != nullptr);
  }
  auto* decompressor = static_cast<ZSTD_DCtx*>(zstd_decompressor_);
  return ZSTD_decompressDCtx(decompressor, page, kPageSize, in, bytes) == kPageSize;
}

size_t Compressor::compress_lz4(const void* page, void* out, size_t capacity, bool wide) {
  // Anything that LZ4 can make of a page fits two of them.
  const int room = static_cast<int>(capacity < 2 * kPageSize ? capacity : 2 * kPageSize);
  const int bytes = LZ4_compress_fast_extState(memory_ + Layout::kLz4, static_cast<const char*>(page),
                                               static_cast<char*>(out), kPageSize, room, wide ? kWide : kClose);
  return bytes > 0 ? static_cast<size_t>(bytes) : 0;
}

// Which of the two makes less of the program's pages, if this one is like them.
void Compressor::note_trial(size_t bytes, size_t other) {
  const auto kept = [](size_t sum, size_t last) {
    return sum - sum / kTrialsThatCount + (last != 0 ? last : kPageSize);
  };
  close_bytes_ = kept(close_bytes_, wide_ ? other : bytes);
  wide_bytes_ = kept(wide_bytes_, wide_ ? bytes : other);
  wide_ = wide_bytes_ < close_bytes_;
}

size_t Compressor::compress(Codec codec, const void* page, void* out, size_t capacity) {
  if (codec == Codec::kZstd) return compress_zstd(page, out, capacity);
  const size_t bytes = compress_lz4(page, out, capacity, wide_);
  const bool is_trial = ++pages_ % kPagesPerTrial == 0, is_poor = wide_ && (bytes == 0 || bytes > kPoor);
  if (__builtin_expect(!is_trial && !is_poor, 1)) return bytes;
  char* const room = memory_ + Layout::kOut;
  const size_t other = compress_lz4(page, room, capacity < kRoom ? capacity : kRoom, !wide_);
  if (is_trial) note_trial(bytes, other);
  if (other == 0 || (bytes != 0 && bytes <= other)) return bytes;
  memcpy(out, room, other);
  return other;
}

bool Compressor::decompress(Codec codec, const void* in, size_t bytes, void* page) {
  if (codec == Codec::kZstd) return decompress_zstd(in, bytes, page);
  if (bytes > 2 * kPageSize) return false;
  return LZ4_decompress_safe(static_cast<const char*>(in), static_cast<char*>(page), static_cast<int>(bytes),
                             kPageSize) == static_cast<int>(kPageSize);
}

}  // namespace weir
