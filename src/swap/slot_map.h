// Purpose: which slots (pages) of a swap file are free: hands out runs of neighbouring slots, so that what is evicted
//          together is written and read together, and keeps what the children of forks may still read.
// Thread safety: none; the owner locks. Every call takes a bounded number of steps, whatever the size of the file:
//                long work comes in pieces (thaw_some, feed_some).
// Invariants: a slot is in exactly one state:
//   available  may be handed out
//   used       handed out
//   held       freed, but a child of a fork may still read it; on the list of the newest such fork
//   starved    freed after the disk was full when it was written; not tried again for a while
//   retired    could not be written; never handed out again
//   cleaning   its space is being given back to the file system
//   Slots from size() on have not been in play yet. A cluster is 64 slots, one word of the bitmap.
//
// Forks. Every slot knows in which era it was handed out. `freeze` ends an era: slots of this era and earlier ones are
// the child's too. A freed slot that a living child has is held by the newest fork that has it. When that fork's
// children are gone (`thaw`) it goes to the next older one that has it, or becomes available. So a child that lives
// long holds only what it could see.
#pragma once

#include <cstdint>

#include "swap/swap_array.h"
#include "swap/swap_index.h"

namespace weir {

// A run of neighbouring slots.
struct Slots {
  uint64_t first = 0;
  unsigned count = 0;
};

class SlotMap {
 public:
  // A run is at most a cluster, 256 KiB: beyond that, larger transfers gain no more on disks of today. It is also as
  // many pages as one mask has bits.
  static constexpr unsigned kClusterSlots = 64;
  // Links have 32 bits.
  static constexpr uint64_t kMaxSlots = UINT32_MAX - 1;
  // Slots come into play in steps of 128 MiB of the file: a page of the bitmap. What is used and freed again and again
  // stays within that, instead of wandering over all of a large file.
  static constexpr uint64_t kStep = uint64_t{1} << 15;

  struct Stats {
    uint64_t capacity = 0;
    uint64_t size = 0;  // in play
    uint64_t available = 0;
    uint64_t used = 0;
    uint64_t held = 0;
    uint64_t starved = 0;
    uint64_t retired = 0;
    uint64_t cleaning = 0;
    uint64_t written_free = 0;  // available slots of clusters that are wholly free and take up space in the file
    unsigned forks = 0;         // that hold slots
  };

  constexpr SlotMap() = default;
  // False when there is no address space or memory for it.
  [[nodiscard]] bool open(uint64_t capacity);
  void close();

  // A run of 1 to `want` slots (at most a cluster), as long as is to be had without a search; count 0: all are taken.
  Slots alloc(unsigned want);
  void free(uint64_t first, unsigned count);
  // A used slot that could not be written.
  void retire(uint64_t slot);
  // Used slots that there was no space for. While some are starved, only slots of clusters that have been written are
  // handed out, which have their space, as far as the file system does not copy on write.
  void starve(uint64_t first, unsigned count);
  // Makes up to `most` starved slots available again; false when none is left.
  bool feed_some(unsigned most);
  // Used slots were written, so they take up space in the file.
  void note_written(uint64_t first, unsigned count);

  // From now on the used slots are also those of a child. The number is for `thaw`; it may be the same for several
  // forks.
  uint64_t freeze();
  // One child (with all it forked) is gone. False when the number is not known. Afterwards thaw_some is to be called
  // until it returns false.
  bool thaw(uint64_t fork);
  bool thaw_some(uint64_t fork, unsigned most);

  // A run of up to `most` clusters that take up space but are free, from the end of the file, for cleaning; count 0:
  // none. `keep` slots of this kind are left alone. put_clean gives them back; `cleaned` when their space is gone.
  struct Clusters {
    uint64_t first_slot = 0;
    uint64_t slots = 0;
  };
  Clusters take_unclean(uint64_t keep, unsigned most);
  void put_clean(Clusters clusters, bool cleaned);

  uint64_t size() const { return size_; }
  bool has_starved() const { return starved_.count != 0; }
  Stats stats() const;
  // Recounts everything; null, or what is wrong. Walks the whole map.
  const char* verify() const;

 private:
  static constexpr uint32_t kNoLink = UINT32_MAX;
  // More forks than this that hold different slots share an entry, at the price of holding some slots longer.
  static constexpr unsigned kMaxForks = 64;
  // Runs up to here are cut out of broken clusters first, so that whole ones stay for long runs.
  static constexpr unsigned kShortRun = 8;
  // So many broken clusters are looked at before the file grows or a shorter run has to do.
  static constexpr unsigned kProbes = 16;

  // A list of slots through links_.
  struct List {
    uint32_t head = kNoLink;
    uint64_t count = 0;
  };
  // Forks in the order of their eras; the last one is the newest. Without children (0) it is being thawed.
  struct Fork {
    uint64_t id = 0;
    uint32_t era = 0;  // the last one that ended with it
    uint32_t children = 0;
    List held;
  };

  bool grow();
  unsigned run_at(uint64_t slot, unsigned want) const;
  // Where runs are looked for that need not be whole clusters.
  const SwapIndex& broken() const { return has_starved() ? reusable_ : any_; }
  Slots probe(unsigned want);
  Slots whole_cluster(uint64_t from, unsigned want) const;
  Slots grown(unsigned want);
  Slots anything(unsigned want) const;
  Slots take(Slots run);
  void set_available(uint64_t first, uint64_t count, bool available);
  void update_cluster(uint64_t cluster);
  void push(List& list, uint64_t slot);
  uint64_t pop(List& list);
  Fork* find_fork(uint64_t id);
  Fork* newest_living(unsigned below);
  void release(uint64_t slot, unsigned forks_below);
  bool has_era(uint64_t slot, const Fork* fork) const;
  const char* verify_lists() const;

  uint64_t capacity_ = 0;
  uint64_t size_ = 0;
  uint64_t available_ = 0;
  uint64_t used_ = 0;
  uint64_t held_ = 0;
  uint64_t retired_ = 0;
  uint64_t cleaning_ = 0;
  uint64_t unclean_clusters_ = 0;
  List starved_;

  SwapArray<uint64_t> bits_;  // set: available
  SwapArray<uint32_t> eras_;  // when it was handed out
  SwapArray<uint32_t> links_;
  SwapIndex any_;       // clusters with an available slot
  SwapIndex whole_;     // clusters with nothing but available slots
  SwapIndex written_;   // clusters that take up space
  SwapIndex unclean_;   // whole and written
  SwapIndex reusable_;  // written, with an available slot

  // Where the last short and the last long run ended, and where the last search among broken clusters did.
  uint64_t short_cursor_ = 0;
  uint64_t long_cursor_ = 0;
  uint64_t probe_cursor_ = 0;

  uint32_t era_ = 0;
  bool used_in_era_ = false;  // something was handed out in it
  uint64_t last_fork_ = 0;
  unsigned nr_forks_ = 0;
  Fork forks_[kMaxForks];
};

}  // namespace weir
