// Purpose: compresses single pages with LZ4 or zstd, as each call says, in memory of its own.
// Thread safety: a Compressor belongs to one thread at a time; different ones are independent.
// Invariants: nothing here calls malloc (tools/package/codecs.cmake sees to it), so it works in the fault handler and
//             inside malloc itself. It takes less than 4 KiB of stack, and a thread pointer (for stack protectors).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.h"

namespace weir {

enum class Codec : uint8_t {
  kLz4,   // 4 us to compress a page of a real heap, 1.2 us to decompress, to 27-40% of its size
  kZstd,  // 8 us and 3.5 us, to 18-33%
};

class Compressor {
 public:
  Compressor() = default;
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  // Maps the work memory, a quarter of a MiB, which becomes resident with use: one that only decompresses LZ4 never
  // touches it.
  [[nodiscard]] bool init();
  void destroy();

  // Compressed bytes, or 0 when it needs more than `capacity`.
  [[nodiscard]] size_t compress(Codec codec, const void* page, void* out, size_t capacity);
  // True when `in` decompresses to exactly one page. Any bytes are safe to give; most damage is seen only by a
  // checksum.
  [[nodiscard]] bool decompress(Codec codec, const void* in, size_t bytes, void* page);

  // One page of scratch memory for the owner; compress and decompress leave it alone.
  char* scratch() { return memory_; }

 private:
  // Where in memory_ each part lies.
  struct Layout;
  size_t compress_lz4(const void* page, void* out, size_t capacity, bool wide);
  void note_trial(size_t bytes, size_t other);
  size_t compress_zstd(const void* page, void* out, size_t capacity);
  bool decompress_zstd(const void* in, size_t bytes, void* page);

  char* memory_ = nullptr;             // scratch page, a page that comes out, states of the codecs
  void* zstd_compressor_ = nullptr;    // null until zstd is first used
  void* zstd_decompressor_ = nullptr;  // the same
  // Of LZ4: whether it takes long steps, and what pages came to that were tried both ways.
  bool wide_ = false;
  unsigned pages_ = 0;
  size_t close_bytes_ = 0, wide_bytes_ = 0;
};

}  // namespace weir
