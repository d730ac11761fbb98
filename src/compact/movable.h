// Purpose: what a program has of objects that may be moved: handles, where each object lies, and who uses it now.
// Thread safety: pin, unpin and look-ups from any thread without a lock; making and giving up handles is for callers
//                with the compactor's lock (LockRank::kCompact); an object's end by one thread.
// Invariants: an object that is pinned does not move, and one that moves is not used: who pins it waits. Its address
//             changes only while it moves. No two objects of a process have the same handle, but for 2^32 in one place.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/units.h"

namespace weir {

// 0: none. Names a place in the table and the object that was made there.
struct MovableId {
  uint64_t bits = 0;
  static MovableId of(uint32_t index, uint32_t generation) { return {uint64_t{generation} << 32 | index}; }
  uint32_t index() const { return static_cast<uint32_t>(bits); }
  uint32_t generation() const { return static_cast<uint32_t>(bits >> 32); }
  explicit operator bool() const { return bits != 0; }
};

enum class MovableCall : uint8_t {
  kDone,
  kNoObject,   // the handle is none, or its object is gone
  kPinned,     // it is still in use
  kNotPinned,  // it is not
  kTooOften,   // it is pinned 2^30 - 1 times
};

class MovableTable {
 public:
  // Gives the table's memory back; for tests. Every object is gone.
  void destroy();

  // Between these two calls, by one thread: the handle of a new object; none when there is no memory for it. Nobody
  // knows of it before publish().
  [[nodiscard]] MovableId make();
  void publish(MovableId id, char* address, size_t bytes);
  // Of a handle that was made but not published, or after take_away.
  void give_up(MovableId id);

  // The object stays where it is until as many unpins; `address` tells where. Waits while it is being moved.
  [[nodiscard]] MovableCall pin(MovableId id, char*& address);
  [[nodiscard]] MovableCall unpin(MovableId id);
  // Of an object that nobody has pinned: from here on it is the caller's alone, and its handle is stale.
  [[nodiscard]] MovableCall take_away(MovableId id, char*& address);
  // The bytes that were asked for; 0: no object.
  size_t bytes_of_object(MovableId id) const;

  // The object of this place begins to move, if it lies at this address and nobody uses it. Until end_move, at its old
  // address or another one, who pins it waits, and so does who frees it.
  [[nodiscard]] bool begin_move(uint32_t index, const char* address);
  void end_move(uint32_t index, char* address);

  // Calls visit(index, address) for every object that does not move at the moment; false as soon as one call is. No
  // object may be made meanwhile.
  template <class Visit>
  bool for_all(Visit visit) const {
    for (uint32_t i = 0; i < nr_chunks_ * kChunk; ++i) {
      const Entry& entry = *find(i);
      const uint64_t word = entry.word.load(std::memory_order_acquire);
      if ((word & (kLive | kMoving)) == kLive && !visit(i, entry.address.load(std::memory_order_relaxed))) return false;
    }
    return true;
  }
  // Of all objects, as they were asked for.
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  uint64_t nr_objects() const { return objects_.load(std::memory_order_relaxed); }

 private:
  static constexpr uint64_t kPins = (uint64_t{1} << 30) - 1;
  static constexpr uint64_t kMoving = uint64_t{1} << 30;
  static constexpr uint64_t kLive = uint64_t{1} << 31;

  struct Entry {
    std::atomic<uint64_t> word{0};  // generation, live, moving, pins
    std::atomic<char*> address{nullptr};
    std::atomic<size_t> bytes{0};  // of a free one: 1 + the next free one's index
  };
  // 24 KiB each, and 16 million objects: a page each, that is 64 GiB.
  static constexpr uint32_t kChunk = 1024;
  static constexpr uint32_t kChunks = 16384;

  static uint32_t generation_of(uint64_t word) { return static_cast<uint32_t>(word >> 32); }
  static bool is_of(uint64_t word, MovableId id) {
    return (word & kLive) != 0 && generation_of(word) == id.generation();
  }
  Entry* find(uint32_t index) const;
  Entry& at(uint32_t index) { return chunks_[index / kChunk].load(std::memory_order_relaxed)[index % kChunk]; }
  [[nodiscard]] bool add_chunk();
  uint64_t wait_until_moved(const Entry& entry);

  std::atomic<uint32_t> moves_{0};  // ended; who waits for one sleeps on it
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<uint64_t> objects_{0};
  std::atomic<uint64_t> bytes_{0};
  uint32_t nr_chunks_ = 0;
  size_t free_ = 0;  // 1 + the first free one's index; 0: none
  std::atomic<Entry*> chunks_[kChunks] = {};
};

}  // namespace weir
