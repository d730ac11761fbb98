// Purpose: ChaCha20 (RFC 8439), for pages that go to a disk. Written here because no library for it does without
//          malloc, which is what is being swapped.
// Thread safety: pure functions. Invariants: the same key and nonce must never serve for two different texts; whoever
//                calls gives every page that is written a nonce of its own (swap/swap_file).
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir {

struct CipherKey {
  static constexpr size_t kBytes = 32;
  uint32_t words[kBytes / sizeof(uint32_t)];
};

struct CipherNonce {
  uint32_t words[3];
};

// Which instructions do the work. All give the same result.
enum class CipherPath : uint8_t {
  kBaseline,  // SSE2 or NEON: four blocks at a time
  kAvx2,      // eight
  kAvx512,    // eight, with an instruction for rotations (AVX-512VL)
};
[[nodiscard]] bool can_use(CipherPath path);
[[nodiscard]] CipherPath best_cipher_path();

// XORs `size` bytes with the key stream that begins at block `counter`; the same call encrypts and decrypts. `from` and
// `to` may be the same.
void chacha20(CipherPath path, const CipherKey& key, const CipherNonce& nonce, uint32_t counter, const void* from,
              void* to, size_t size);
inline void chacha20(const CipherKey& key, const CipherNonce& nonce, uint32_t counter, const void* from, void* to,
                     size_t size) {
  chacha20(best_cipher_path(), key, nonce, counter, from, to, size);
}

}  // namespace weir
