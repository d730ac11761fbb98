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

// Greater is faster and compresses worse. On pages of python, sqlite and gcc heaps 1 takes 3.7 to 4.5 us for 34, 40 and
// 27%; 2 saves a tenth of the time on one of them and costs 1 to 3% of size; 8 saves 5 to 25% of the time and costs 6
// to 17%. On pages that are half random 4 and more find nothing at all.
constexpr int kLz4Acceleration = 1;

// On the same heaps -1 takes 7 to 10 us for 18, 33 and 18%, 1 takes 11 to 14 us (and 1.6 times as long to decompress)
// for 17, 30 and 17%; -5 is no better than LZ4, 3 no smaller than 1.
constexpr int kZstdLevel = -1;

// zstd gives up some bytes before its room is used up, so it gets more than any page can need, and what comes out is
// copied.
constexpr size_t kZstdRoom = 2 * kPageSize;
static_assert(kZstdRoom >= ZSTD_COMPRESSBOUND(kPageSize));

ZSTD_CCtx* zstd_compressor(void* state) {
  return static_cast<ZSTD_CCtx*>(state);
}
ZSTD_DCtx* zstd_decompressor(void* state) {
  return static_cast<ZSTD_DCtx*>(state);
}

bool set(ZSTD_CCtx* context, ZSTD_cParameter parameter, int value) {
  return ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)) == 0;
}

}  // namespace

bool Compressor::init(Codec codec) {
  WEIR_DCHECK(memory_ == nullptr);
  const bool zstd = codec == Codec::kZstd;
  const size_t compress_bytes = zstd ? ZSTD_estimateCCtxSize_usingCParams(ZSTD_getCParams(kZstdLevel, kPageSize, 0))
                                     : static_cast<size_t>(LZ4_sizeofState());
  const size_t compress_span = align_up(compress_bytes, kPageSize);
  const size_t decompress_span = zstd ? align_up(ZSTD_estimateDCtxSize(), kPageSize) : 0;
  const size_t before = zstd ? kPageSize + kZstdRoom : kPageSize;
  const size_t bytes = before + compress_span + decompress_span;
  char* memory = static_cast<char*>(os::vm_map(bytes));
  if (memory == nullptr) return false;
  codec_ = codec;
  memory_ = memory;
  bytes_ = bytes;
  compress_state_ = memory + before;
  if (!zstd || init_zstd(memory + before, compress_span, memory + before + compress_span, decompress_span)) return true;
  destroy();
  return false;
}

// No magic number, content size or checksum: the pool knows the first two and has a checksum of its own.
bool Compressor::init_zstd(char* compress_at, size_t compress_bytes, char* decompress_at, size_t decompress_bytes) {
  const ZSTD_compressionParameters wanted = ZSTD_getCParams(kZstdLevel, kPageSize, 0);
  ZSTD_CCtx* compressor = ZSTD_initStaticCCtx(compress_at, compress_bytes);
  ZSTD_DCtx* decompressor = ZSTD_initStaticDCtx(decompress_at, decompress_bytes);
  compress_state_ = compressor;
  decompress_state_ = decompressor;
  if (compressor == nullptr || decompressor == nullptr) return false;
  // Tables for one page, named one by one: by level alone they would be sized for content of unknown length, for which
  // the work memory is too small.
  return set(compressor, ZSTD_c_compressionLevel, kZstdLevel) &&
         set(compressor, ZSTD_c_windowLog, static_cast<int>(wanted.windowLog)) &&
         set(compressor, ZSTD_c_hashLog, static_cast<int>(wanted.hashLog)) &&
         set(compressor, ZSTD_c_chainLog, static_cast<int>(wanted.chainLog)) &&
         set(compressor, ZSTD_c_contentSizeFlag, 0) && set(compressor, ZSTD_c_format, ZSTD_f_zstd1_magicless) &&
         ZSTD_isError(ZSTD_DCtx_setParameter(decompressor, ZSTD_d_format, ZSTD_f_zstd1_magicless)) == 0;
}

void Compressor::destroy() {
  if (memory_ != nullptr) os::vm_unmap(memory_, bytes_);
  memory_ = nullptr;
  compress_state_ = decompress_state_ = nullptr;
}

size_t Compressor::compress(const void* page, void* out, size_t capacity) {
  if (codec_ == Codec::kZstd) {
    char* room = memory_ + kPageSize;
    const size_t bytes = ZSTD_compress2(zstd_compressor(compress_state_), room, kZstdRoom, page, kPageSize);
    if (ZSTD_isError(bytes) != 0 || bytes > capacity) return 0;
    memcpy(out, room, bytes);
    return bytes;
  }
  // Anything that LZ4 can make of a page fits two of them.
  const int room = static_cast<int>(capacity < 2 * kPageSize ? capacity : 2 * kPageSize);
  const int bytes = LZ4_compress_fast_extState(compress_state_, static_cast<const char*>(page), static_cast<char*>(out),
                                               kPageSize, room, kLz4Acceleration);
  return bytes > 0 ? static_cast<size_t>(bytes) : 0;
}

bool Compressor::decompress(const void* in, size_t bytes, void* page) {
  if (codec_ == Codec::kZstd)
    return ZSTD_decompressDCtx(zstd_decompressor(decompress_state_), page, kPageSize, in, bytes) == kPageSize;
  if (bytes > 2 * kPageSize) return false;
  return LZ4_decompress_safe(static_cast<const char*>(in), static_cast<char*>(page), static_cast<int>(bytes),
                             kPageSize) == static_cast<int>(kPageSize);
}

}  // namespace weir
