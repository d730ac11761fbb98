// Purpose: where the content of a page that is not in memory is: one word, kept outside the arenas.
// Thread safety: values. Invariants: zero is no entry; a handle has at most 60 bits.
#pragma once

#include <cstdint>

namespace weir {

class SwapEntry {
 public:
  enum class Kind : uint8_t {
    kNone = 0,
    kZswap = 1,     // handle of the compressed pool
    kFile = 2,      // slot of a swap file
    kPoisoned = 3,  // lost to a read error; a touch raises SIGBUS
    kSystem = 4,    // the system swapped it out, and brings it back by itself
  };

  constexpr SwapEntry() = default;
  constexpr SwapEntry(Kind kind, uint64_t handle) : word_(handle << kKindBits | static_cast<uint64_t>(kind)) {}

  static constexpr SwapEntry in_file(unsigned file, uint64_t slot) {
    return SwapEntry(Kind::kFile, uint64_t{file} << kSlotBits | slot);
  }
  constexpr unsigned file() const { return static_cast<unsigned>(handle() >> kSlotBits); }
  constexpr uint64_t slot() const { return handle() & ((uint64_t{1} << kSlotBits) - 1); }

  constexpr Kind kind() const { return static_cast<Kind>(word_ & ((1u << kKindBits) - 1)); }
  constexpr uint64_t handle() const { return word_ >> kKindBits; }
  constexpr explicit operator bool() const { return word_ != 0; }

 private:
  static constexpr unsigned kKindBits = 3;
  // Slots are numbered below 2^36 (256 TiB).
  static constexpr unsigned kSlotBits = 36;
  uint64_t word_ = 0;
};

}  // namespace weir
