// Purpose: finds places for compressed pages in a stretch of address space, and knows which of its pages hold memory.
// Thread safety: none; the pool locks. memory(), accessible_bytes(), resident() and empty() may be read without.
// Invariants: all metadata lies outside the stretch, whose contents are never looked at. A page of it that was in no
// slot
//             handed out since its memory was given back holds none, so resident() is never less than what the system
//             counts. The only system calls are those for growth, one in kGrowSlabs slabs, and purge().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.h"
#include "swap/zswap_classes.h"

namespace weir::zswap {

// A set of slabs: bits, and a bit for each word of bits that are not all clear. In memory of its own.
class SlabSet {
 public:
  [[nodiscard]] bool init(uint32_t capacity);
  void destroy();
  bool has(uint32_t i) const { return (words_[i / 64] >> (i % 64) & 1) != 0; }
  void add(uint32_t i) {
    words_[i / 64] |= uint64_t{1} << (i % 64);
    summary_[i / 4096] |= uint64_t{1} << (i / 64 % 64);
  }
  void remove(uint32_t i) {
    if ((words_[i / 64] &= ~(uint64_t{1} << (i % 64))) == 0) summary_[i / 4096] &= ~(uint64_t{1} << (i / 64 % 64));
  }
  // The lowest member that is at least `from`; kNone when there is none.
  uint32_t next(uint32_t from) const;

  static constexpr uint32_t kNone = ~uint32_t{0};

 private:
  static size_t words_for(uint32_t capacity) { return capacity / 64 + 1; }
  static size_t summary_for(uint32_t capacity) { return capacity / 4096 + 1; }

  uint64_t* words_ = nullptr;
  uint64_t* summary_ = nullptr;
  uint32_t capacity_ = 0;
};

// A range of slabs.
struct SlabRun {
  uint32_t first = 0;
  uint32_t count = 0;
};

class Slabs {
 public:
  static constexpr size_t kNoPlace = ~size_t{0};

  // Reserves `bytes` of address space, at `wish` where that is free, and what is needed for tables.
  [[nodiscard]] bool init(size_t bytes, void* wish = nullptr);
  void destroy();

  // A place for `bytes` (1..kMaxSlot), relative to memory(). kNoPlace when that would take more than `limit` resident
  // pages, or the address space or the system's memory is at its end.
  [[nodiscard]] size_t take(size_t bytes, Pages limit);
  // False when nothing is at `place`.
  [[nodiscard]] bool give(size_t place);
  bool is_taken(size_t place) const;
  // Has the processor fetch what give() looks at of the slab: its bits begin it, its counts end it.
  void prefetch(size_t place) const {
    const Slab& slab = slabs_[place / kSlabBytes];
    __builtin_prefetch(&slab.free, 1);
    __builtin_prefetch(&slab.taken, 1);
  }

  // For compaction (kernel: zs_compact). Random drops leave slabs partly empty, and what comes later may need others:
  // pages compress differently in another phase of the program. Pages that would be won if the entries of each class
  // filled as few slabs as they can:
  Pages packable() const;
  // A place for an entry of the class of the one at `place`, in another slab that is no emptier, so that moving entries
  // comes to an end; kNoPlace: there is none, it would cost memory, or the class is packed well enough.
  [[nodiscard]] size_t take_fuller(size_t place);

  // Gives the memory of empty slabs back, in three steps, so that the system call comes without the lock: isolate()
  // picks runs of slabs nobody can take then, until all but `keep` pages of empty slabs are in some; purge() has the
  // kernel take the memory (any thread, no lock); finish() frees the slabs and returns the pages given back.
  unsigned isolate(Pages keep, SlabRun* runs, unsigned max);
  [[nodiscard]] bool purge(SlabRun run) const;
  Pages finish(SlabRun run, bool purged);
  // In the child of a fork: nobody is left to finish what was isolated.
  void after_fork_in_child();

  char* memory() const { return memory_; }
  // The part of it that may be touched. Without the lock: what a thread was handed out lies in what it sees here.
  size_t accessible_bytes() const { return size_t{accessible_.load(std::memory_order_relaxed)} * kSlabBytes; }
  // Pages of memory behind slabs and their descriptors.
  Pages resident() const { return Pages(resident_.load(std::memory_order_relaxed)); }
  // Those of them in empty slabs that could be given back.
  Pages empty() const { return Pages(empty_pages_.load(std::memory_order_relaxed)); }

  // Null when all agrees, else what does not; `taken` gets the slots in use.
  const char* verify(uint64_t& taken) const;

 private:
  // Slabs of a class that have free slots, by how full they are, so that the fullest is filled first and others run
  // empty. Eight degrees are enough: of 18 slots and more, a slab changes its list at every second or rarer.
  static constexpr unsigned kGroups = 8;
  // Address space is made accessible in steps of 4 MiB: a system call and a few kilobytes of descriptors at a time.
  static constexpr uint32_t kGrowSlabs = 64;
  // At the limit, slots of up to so many larger classes are taken too: some 200 bytes wasted instead of a refusal.
  static constexpr unsigned kNearClasses = 4;
  // A purge runs across up to so many slabs without memory: looking at a table that maps nothing is cheaper than
  // another system call with its interrupts; 32 slabs are one such table.
  static constexpr uint32_t kMaxGap = 32;
  // A class is packed well enough when fewer than this share of its slabs could be won: a sixteenth is what a pool in
  // use has anyway.
  static constexpr uint32_t kPackedShare = 16;
  static constexpr uint8_t kUnused = 0xff;  // of Slab::size_class
  static constexpr uint8_t kFull = 0xff;    // of Slab::group

  struct Slab {
    uint64_t free[kMaxSlots / 64];  // a bit for each free slot
    uint32_t next, prev;            // in its group; kNone at the end
    uint16_t taken;                 // slots in use
    uint8_t size_class;
    uint8_t group;
    uint8_t touched;  // leading pages that may hold memory, also when the slab is empty
  };
  struct Group {
    uint32_t head = SlabSet::kNone;
  };

  static Pages after_slot(const Slab& slab, unsigned slot) {
    return pages_of((slot + size_t{1}) * kClasses.size[slab.size_class]);
  }
  static uint8_t group_of(const Slab& slab);
  static unsigned lowest_free(const Slab& slab);
  Pages growth(uint32_t i) const;
  uint32_t pick(unsigned c, Pages limit);
  uint32_t open(unsigned c);
  void start(uint32_t i, unsigned c);
  bool locate(size_t place, uint32_t& i, unsigned& slot) const;
  SlabRun run_from(uint32_t first) const;
  uint32_t grow();
  uint32_t near_hole(unsigned c) const;
  size_t take_slot(uint32_t i);
  uint32_t slabs_to_win(unsigned c) const;
  uint32_t fuller_than(uint32_t i) const;
  void enlist(uint32_t i);
  void delist(uint32_t i);
  void regroup(uint32_t i);
  void add_resident(Pages pages);
  void drop_resident(Pages pages);
  void add_empty(Pages pages);
  void drop_empty(Pages pages);
  const char* verify_slab(uint32_t i) const;
  const char* verify_lists(uint64_t listed) const;
  const char* verify_classes() const;

  char* memory_ = nullptr;
  Slab* slabs_ = nullptr;
  uint32_t capacity_ = 0;                // slabs there is address space for
  std::atomic<uint32_t> accessible_{0};  // slabs that may be touched
  uint32_t used_ = 0;                    // slabs below this were used before; the others are untouched
  SlabSet empty_;                        // without entries, with memory
  SlabSet fresh_;                        // below used_, without entries, without memory
  SlabSet isolated_;                     // on their way from empty_ to fresh_
  Group groups_[kMaxClasses][kGroups];
  uint8_t has_[kMaxClasses] = {};        // a bit for each group that is not empty
  uint32_t slabs_of_[kMaxClasses] = {};  // with entries
  uint64_t taken_of_[kMaxClasses] = {};  // slots in use
  std::atomic<uint64_t> resident_{0};
  std::atomic<uint64_t> empty_pages_{0};
};

}  // namespace weir::zswap
