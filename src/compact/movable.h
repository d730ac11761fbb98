// Purpose: what a program has of objects that may be moved: handles, where each object lies, and who uses it now.
// Thread safety: pin, unpin and look-ups from any thread without a lock; making and giving up handles is for callers
//                with the compactor's lock (LockRank::kCompact); an object's end by one thread.
// Invariants: an object that is pinned does not move, and one that moves is not used: who pins it waits. Its address
//             changes only while it moves. What is away (put_away) is closed in the same way, until who pins it has
//             brought it back. No two objects of a process have the same handle, but for 2^32 in one place.
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
  kTooOften,   // it is pinned 2^29 - 1 times
};

class MovableTable {
 public:
  // Gives the table's memory back; for tests. Every object is gone.
  void destroy();
  // Brings the content of an object back to its address: what this calls for who pins one that is away. Before the
  // first put_away.
  struct Pager {
    void* self = nullptr;
    void (*bring_back)(void* self, char* address, size_t bytes) = nullptr;
  };
  void set_pager(const Pager& pager) { pager_ = pager; }

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

  // -- objects that are away
  // The hand of a clock passes this place (as the kernel's LRU lists give a page a second chance): the address of an
  // object that lies in [begin, end), and that nobody has pinned since it passed the last time, or has pinned now;
  // null: there is no such thing. `last`: there are no places from here on.
  [[nodiscard]] char* pass(uint32_t index, const char* begin, const char* end, bool& last);
  size_t bytes_at(uint32_t index) const { return find(index)->bytes.load(std::memory_order_relaxed); }
  // Instead of end_move: some of the content is elsewhere, and its pager knows where.
  void put_away(uint32_t index, char* address);
  // In the child of a fork, before anything else: what other threads of the parent had closed, but for what is being
  // moved (`is_moving(index)`), is away as far as they had come.
  template <class IsMoving>
  void reopen_in_child(IsMoving is_moving) {
    for (uint32_t i = 0; i < nr_chunks_ * kChunk; ++i) {
      Entry& entry = *find(i);
      if ((entry.word.load() & (kLive | kMoving)) == (kLive | kMoving) && !is_moving(i))
        entry.address.store(tagged(entry.address.load(), kAway));
    }
  }

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
  static constexpr uint64_t kPins = (uint64_t{1} << 29) - 1;
  static constexpr uint64_t kUsed = uint64_t{1} << 29;  // since the hand passed
  static constexpr uint64_t kMoving = uint64_t{1} << 30;
  static constexpr uint64_t kLive = uint64_t{1} << 31;

  struct Entry {
    std::atomic<uint64_t> word{0};  // generation, live, moving, used, pins
    // Objects begin with a page; the lowest bits say of one that is closed whether it is away.
    std::atomic<char*> address{nullptr};
    std::atomic<size_t> bytes{0};  // of a free one: 1 + the next free one's index
  };
  // 24 KiB each, and 16 million objects: a page each, that is 64 GiB.
  static constexpr uint32_t kChunk = 1024;
  static constexpr uint32_t kChunks = 16384;

  static constexpr uintptr_t kAway = 1, kComesBack = 2, kTags = 3;
  static char* tagged(char* address, uintptr_t tag) {
    return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(address) & ~kTags) | tag);
  }

  static uint32_t generation_of(uint64_t word) { return static_cast<uint32_t>(word >> 32); }
  static bool is_of(uint64_t word, MovableId id) {
    return (word & kLive) != 0 && generation_of(word) == id.generation();
  }
  Entry* find(uint32_t index) const;
  Entry& at(uint32_t index) { return chunks_[index / kChunk].load(std::memory_order_relaxed)[index % kChunk]; }
  [[nodiscard]] bool add_chunk();
  uint64_t wait_until_open(Entry& entry, bool with_content);
  bool claim_away(Entry& entry, char*& address);
  void open(Entry& entry, char* address);

  Pager pager_;

  std::atomic<uint32_t> moves_{0};  // ended; who waits for one sleeps on it
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<uint64_t> objects_{0};
  std::atomic<uint64_t> bytes_{0};
  uint32_t nr_chunks_ = 0;
  size_t free_ = 0;  // 1 + the first free one's index; 0: none
  std::atomic<Entry*> chunks_[kChunks] = {};
};

}  // namespace weir
