// Purpose: the pages of one node: an arena, its buddy lists, its budget and watermarks, and the way memory goes back to
//          the system.
// Thread safety: every public method may be called from any thread; one lock (LockRank::kZone) guards the zone. What
//                init() sets is constant and read without it.
// Invariants: charged + free = accessible pages at every moment the lock is free; verify() recounts.
//             System calls that drop memory are made with the lock released, on blocks taken off the lists.
#pragma once

#include <cstdint>
#include <optional>

#include "base/live.h"
#include "base/lock.h"
#include "base/units.h"
#include "page/arena.h"
#include "page/buddy.h"
#include "page/page_owner.h"
#include "page/unused_window.h"
#include "page/watermark.h"

namespace weir {

// Where transparent huge pages are asked for (they are always a matter of the system's setting too).
enum class HugePages : uint8_t {
  kNever,   // nowhere, even where the system gives them unasked
  kDense,   // for what a zone grows by while nearly all it has is in use
  kAlways,  // everywhere
};

// Whether pages are counted as memory when they are given out or when they are touched (reclaim then sees the touch).
enum class Charge : uint8_t { kNow, kOnTouch };

// What a zone with a limit tells the reclaimer, which lies above it. All null: no limit.
struct ZoneHooks {
  void* self = nullptr;
  // The arena is about to grow to so many pages; false: it must not. Called with the zone's lock held.
  bool (*cover)(void* self, Pages accessible) = nullptr;
  // Pages were given out. Called without the lock, before anybody else knows of them.
  void (*allocated)(void* self, Pfn first, Pages count) = nullptr;
  // These pages are about to be free: what is kept of them elsewhere is not wanted any more. No lock held.
  void (*forget)(void* self, Pfn first, Pages count) = nullptr;
  // The content of these pages is about to be dropped (`begin`), or was; in between nobody moves them. No lock held.
  void (*drop)(void* self, Pfn first, Pages count, bool begin) = nullptr;
  // Pages that were given out stay in memory until they are free again. Takes no lock.
  void (*keep)(void* self, Pfn first, Pages count) = nullptr;
  // Pages that were given out are an owner's (page_owner.h) until they are free again. Takes no lock.
  void (*own)(void* self, Pfn first, Pages count, uint32_t owner) = nullptr;
  // Until pages that were given out are free again, touching them is an error. No lock of reclaim's held.
  void (*retire)(void* self, Pfn first, Pages count) = nullptr;
  // Those of 64 pages that have content, in memory or elsewhere; `unseen`: or may have, because their touches are not
  // seen. Takes no lock.
  uint64_t (*content)(void* self, uint32_t cluster, bool unseen) = nullptr;
};

struct ZoneConfig {
  NodeId node{};
  int os_node = -1;  // the kernel's number to bind memory to; -1 = do not bind
  ArenaPlace place;
  MetadataStrides extra;
  Pages managed{};                      // the zone's share of the budget
  Pages most_accessible{~uint64_t{0}};  // the arena never grows beyond this
  Watermarks watermarks;
  HugePages huge_pages = HugePages::kDense;
  ZoneHooks hooks;
  weir_stats_node* published = nullptr;  // where the zone's numbers are shown to other processes; null: nowhere
};

// Pages given out. `head` is kNoPfn when there were none.
struct PageRun {
  Pfn head = kNoPfn;
  Pages resident{};  // those that may hold old data; the others were not touched since the system gave them: zeros
  uint64_t resident_mask = 0;  // of a block: one bit per page
  explicit operator bool() const { return head != kNoPfn; }
};

struct ZoneStats {
  NodeId node{};
  Pages accessible{}, capacity{}, managed{}, charged{}, free{}, free_resident{}, resident{};
  Watermarks watermarks;
  BuddyStats buddy;
  size_t metadata_bytes = 0;
#define VMSTAT(name, help) uint64_t name = 0;
#include "page/vmstat.def"
#undef VMSTAT
};

// Flags of a run, in `next` of its head: the program has it from mmap; and has changed the protection of some of it.
// (The lower ones are malloc's.)
inline constexpr Pfn kMappedRun = 8, kProtectedRun = 16;

// A movable run that is nobody's: its content is on its way to it, or has gone elsewhere.
inline constexpr uint32_t kNobodysRun = ~uint32_t{0};

struct MovableRun {
  Pfn head = kNoPfn;  // kNoPfn: none
  Pages count{};
  uint32_t id = kNobodysRun;
};

// A search for free pages that lie together, upwards from the lowest.
struct FreeScan {
  Pages count;           // so many are wanted
  Pages least;           // `passed` is about stretches of so many
  Pfn at = 0;            // everything below has been looked at
  Pfn end = 0;           // nothing from here on is of use
  Pfn found = kNoPfn;    // where they begin
  Pfn passed = kNoPfn;   // the first stretch of at least `least` that was met; kNoPfn: none was
  uint64_t scanned = 0;  // free pages looked at
};

// A search for movable runs with free pages right below them, upwards from the lowest.
struct SlideScan {
  Pfn at = 0;        // everything below has been looked at, but for free pages that reach up to here
  MovableRun run;    // what was found
  Pfn gap = kNoPfn;  // where the free pages below it begin
};

// What a compaction did in pages, for the counters of these names.
struct CompactCounts {
  uint64_t migrate_scanned = 0, free_scanned = 0, isolated = 0, moved = 0, failed = 0;
};

// Whether the owner of a run that is given back may have written to it.
enum class Touched : bool { kNo, kYes };

class Zone {
 public:
  Zone() : mutex_(LockRank::kZone) {}

  [[nodiscard]] bool init(const ZoneConfig& config);
  // Unmaps the arena; nobody may use the zone any more.
  void unmap() { arena_.unmap(); }

  // A block of 2^order pages aligned to its size.
  [[nodiscard]] PageRun alloc_block(Order order, MigrateType type);
  // `touched`: one bit per page of the block (at most 64), set where the owner may have written.
  void free_block(Pfn head, Order order, uint64_t touched);

  // A run of `count` pages whose address is aligned to `align` pages (a power of two).
  [[nodiscard]] PageRun alloc_run(Pages count, Pages align, MigrateType type, Charge charge = Charge::kNow);
  // Gives a run back; false (nothing done) when `head` is not the head of a run.
  [[nodiscard]] bool free_run(Pfn head, Touched touched = Touched::kYes);
  // Lengthens a run by the pages behind it; false (nothing changed) when they are not free.
  [[nodiscard]] bool extend_run(Pfn head, Pages count, Pages extra, Charge charge = Charge::kNow);
  // Gives the tail of a run back, keeping `keep` pages.
  void shrink_run(Pfn head, Pages count, Pages keep, Touched touched = Touched::kYes);
  // Gives the first `lead` pages of an untouched run back; returns the new head.
  Pfn split_run(Pfn head, Pages count, Pages lead);

  // -- runs that the program has from mmap and may give back in parts, page by page (zone_mapped.cc)
  // A run that was just taken is one. From then on it is several, none of which reaches into another pageblock.
  void mark_mapped(Pfn head, Pages count);
  // How many pages from `first` on, at most so many, are of such runs.
  Pages mapped_at(Pfn first, Pages most);
  // Takes exactly these pages, if all are free, as such a run, and counts them as in use at once.
  [[nodiscard]] bool take_mapped(Pfn first, Pages count, PageRun& run);
  // Whether the protection of some of them may be another one than at first; noted, or told. `interrupts`: in the
  // handler of a signal, whose thread may have the zone's lock, and does nothing with these pages.
  void note_protected(Pfn first, Pages count, bool interrupts = false);
  bool is_protected(Pfn first, Pages count);
  // Gives such pages back, which must all be of such runs.
  void release_mapped(Pfn first, Pages count);

  // -- runs that may be moved to other pages while nobody uses them (compact/; zone_movable.cc)
  // Makes a run movable, and `id`'s.
  void mark_movable(Pfn head, uint32_t id);
  // Whether there are any.
  bool has_movable() const { return movable_runs_.load(std::memory_order_relaxed) != 0; }
  // The first that begins in [first, end).
  MovableRun find_movable(Pfn first, Pfn end);
  // Whether such a run begins here, and is nobody's.
  bool is_nobodys(Pfn head);
  // With a limit: whether some of what a run holds is not in memory.
  bool is_partly_away(Pfn head, Pages count) const;
  // Goes on with a search for a while; false: it has come to its end. `found` may be taken by somebody else meanwhile.
  bool scan_free(FreeScan& scan);
  bool scan_slide(SlideScan& scan);
  // Makes one run of a movable one and the nobody's run right below it, which begins at `to`: as long as the former,
  // and `id`'s; its other pages, which have been forgotten, are free.
  void slide_run(Pfn to, Pfn from, Pages count, uint32_t id);
  // Takes exactly these pages, if all are free, as a movable run that is nobody's yet.
  [[nodiscard]] bool take_for_move(Pfn first, Pages count, Charge charge, PageRun& run);
  // Whether a run of so many pages, aligned to one, could be taken without growing.
  bool has_together(Pages count);
  // What there is free, by the length of its blocks.
  BuddyStats free_blocks();
  // `daemon`: on kcompactd's behalf, not an allocation's.
  void note_compaction(const CompactCounts& counts, bool daemon);
  // With the zone's lock held: whether the object of that number lies here.
  bool holds_object(Pfn head, uint32_t id) const WEIR_REQUIRES(mutex_) {
    return is_objects(head) && desc(head).prev == id;
  }
  enum class Compaction : uint8_t { kStall, kSuccess, kFail, kDaemonWake };
  void note_compaction(Compaction event);

  // What is kept elsewhere of the caller's pages is not wanted any more.
  void forget(Pfn first, Pages count) {
    if (limited()) config_.hooks.forget(config_.hooks.self, first, count);
  }

  // Has pages of a block or run stay in memory, whatever the limit is, for as long as they are given out.
  void keep(Pfn first, Pages count) {
    if (limited()) config_.hooks.keep(config_.hooks.self, first, count);
  }

  // Pages of a block or run are that owner's, who pays for them, for as long as they are given out.
  void own(Pfn first, Pages count, PageOwner& owner) {
    if (!limited()) return;
    owner.note_place(first, count);
    config_.hooks.own(config_.hooks.self, first, count, owner.index());
  }

  // Drops the content of pages of a block or run. With a limit they are memory no more, and touching them is an error
  // from then on, for as long as they are given out.
  void retire(Pfn first, Pages count);

  // The first stretch of pages in [first, end) that may hold data, wherever it is; an empty one at `end` when none
  // does. Stable for pages that the caller owns.
  struct Stretch {
    Pfn first, end;
  };
  Stretch find_content(Pfn first, Pfn end);
  // The same of pages that were just given out, and not touched since: old data of others.
  Stretch find_stale(Pfn first, Pfn end);

  // Moves all `count` pages of the run `from` to the start of the longer run `to` by page tables, and frees `from`.
  // kMoved: `to` lies in mappings of its own until renew_mapping. kFailed: nothing happened. Both runs are the
  // caller's.
  enum class Move : uint8_t { kMoved, kFailed };
  [[nodiscard]] Move move_run(Pfn from, Pages count, Pfn to);
  // Gives a range a fresh mapping that merges with its neighbours; the content is dropped. False: nothing happened.
  [[nodiscard]] bool renew_mapping(Pfn first, Pages count);
  // Drops the memory behind pages of an allocated block or run; they read as zeros. False when the system refuses.
  [[nodiscard]] bool drop_pages(Pfn first, Pages count);

  // Ends a decay tick and gives back what stayed unused, and `more` pages that were unused elsewhere before they came
  // here; returns the pages given back.
  Pages decay_tick(Pages more);
  // Gives back up to `target` free resident pages now, from blocks of up to order `largest`, and with kAlso what other
  // rooms keep about blocks of the largest order; returns how many pages.
  enum class Metadata : bool { kStays, kAlso };
  Pages purge(Pages target, Order largest, Metadata metadata);

  // -- with a limit: memory is counted page by page, exactly, in the residency map. The map's word `cluster` is about
  // the pages cluster * 64 and on. Without locks, because faults are resolved while anything may be locked.
  bool limited() const { return config_.hooks.self != nullptr; }
  Pages managed() const { return Pages(managed_.load(std::memory_order_relaxed)); }
  void set_managed(Pages managed) { managed_.store(managed.v, std::memory_order_relaxed); }
  // Each is right; while they are being changed, they may be of different moments.
  Watermarks watermarks() const { return {watermark_min_.load(), watermark_low_.load(), watermark_high_.load()}; }
  // By one thread at a time.
  void set_watermarks(const Watermarks& marks);
  uint64_t resident_mask(uint32_t cluster) const {
    return __atomic_load_n(&arena_.residency()[cluster], __ATOMIC_ACQUIRE);
  }
  // Counts pages of a cluster as having memory, or no more; returns those that changed. Who sees that they have none
  // sees what was done before (release).
  uint64_t charge(uint32_t cluster, uint64_t pages);
  uint64_t uncharge(uint32_t cluster, uint64_t pages);
  // Memory that reclaim holds for this zone outside the arena.
  void add_outside(int64_t pages) { outside_.fetch_add(static_cast<uint64_t>(pages), std::memory_order_relaxed); }
  void set_outside(Pages pages) { outside_.store(pages.v, std::memory_order_relaxed); }
  Pages outside() const { return Pages(outside_.load(std::memory_order_relaxed)); }
  // All memory of the zone, and that part of it which is in use (free pages that have memory are not).
  Pages total() const;
  Pages used() const;
  // Budget that is left: managed - used.
  Pages free_budget() const;
  // Counts again after a fork, in the child.
  void recount() WEIR_REQUIRES(mutex_);

  char* address(Pfn pfn) const { return arena_.memory() + (size_t{pfn} << kPageShift); }
  Pfn pfn_of(const void* p) const {
    return static_cast<Pfn>(static_cast<size_t>(static_cast<const char*>(p) - arena_.memory()) >> kPageShift);
  }
  PageDesc& desc(Pfn pfn) const { return arena_.pages()[pfn]; }
  const Arena& arena() const { return arena_; }
  NodeId node() const { return config_.node; }
  // An estimate without the lock, for deciding whether a look is worth it.
  Pages free_resident_estimate() const { return Pages(free_resident_.load(std::memory_order_relaxed)); }
  // Of these, those that are on their way back to the system.
  Pages isolated_estimate() const { return Pages(isolated_shown_.load(std::memory_order_relaxed)); }
  Pages accessible_estimate() const { return Pages(accessible_.load(std::memory_order_relaxed)); }

  ZoneStats stats();
  // How many pages of the arena are given out, whatever is in them.
  Pages taken();
  weir_stats_node* published() const { return config_.published; }
  // Pages that were wanted of `wanted` were found here instead.
  void note_fallback(Zone& wanted);
  // Shows everything, and there if that is another place: in the child of a fork, with the lock held.
  void publish_all() WEIR_REQUIRES(mutex_);
  // What faults change while nobody has the lock; with a limit.
  void publish_usage();
  // Null when all agrees, else what does not; `block_pages` gets the pages in blocks. The caller holds the lock.
  const char* verify_locked(Pages& block_pages) const WEIR_REQUIRES(mutex_);

  // In the child of a fork, with the lock held: what a thread of the parent was about to purge is free again.
  void after_fork_in_child() WEIR_REQUIRES(mutex_);

  Mutex& mutex() WEIR_TSA(lock_returned(mutex_)) { return mutex_; }

 private:
  // `for_long_run`: the space is for one run longer than a block, which may never be touched densely.
  bool grow(Pages at_least, bool for_long_run = false) WEIR_REQUIRES(mutex_);
  void advise_huge_pages(Pages from, Pages to, bool for_long_run) WEIR_REQUIRES(mutex_);
  bool grow_for_contiguous(Pages count) WEIR_REQUIRES(mutex_);
  PageRun finish(Pfn head, Pages count, Charge charge) WEIR_REQUIRES(mutex_);
  void note_touched(Pfn first, Pages count) WEIR_REQUIRES(mutex_);
  Pfn mapped_head(Pfn pfn) const WEIR_REQUIRES(mutex_);
  void note_protected_locked(Pfn first, Pages count) WEIR_NO_TSA;
  void become_mapped(Pfn first, Pages count) WEIR_REQUIRES(mutex_);
  Pfn behind(Pfn pfn) const WEIR_REQUIRES(mutex_);
  bool is_objects(Pfn pfn) const WEIR_REQUIRES(mutex_);
  void become_movable(Pfn head, uint32_t id) WEIR_REQUIRES(mutex_);
  void forget_movable(Pfn head) WEIR_REQUIRES(mutex_);
  uint64_t count_movable() const WEIR_REQUIRES(mutex_);
  size_t clear_resident(Pfn first, Pages count);
  bool renew_limited(Pfn first, Pages count);
  Stretch find_kept(Pfn first, Pfn end, bool unseen) const;
  Stretch find_resident(Pfn first, Pfn end);
  bool purge_held(Pfn first, Pages count);
  Pfn take_run_or_grow(Pages count, Pages align, MigrateType type) WEIR_REQUIRES(mutex_);
  Pfn align_run(Pfn head, Pages taken, Pages count, Pages align) WEIR_REQUIRES(mutex_);
  Pages surplus(Pages taken) WEIR_REQUIRES(mutex_);
  Pages free_resident() const WEIR_REQUIRES(mutex_);
  void show_free_resident() WEIR_REQUIRES(mutex_);
  bool move_stretch(char* from, char* to, size_t bytes);
  void end_huge_pages();
  void publish() WEIR_REQUIRES(mutex_);
  void publish_rest() WEIR_REQUIRES(mutex_);
  void publish_watermarks();

  ZoneConfig config_;
  Arena arena_;
  Mutex mutex_;
  Buddy buddy_ WEIR_GUARDED_BY(mutex_);
  UnusedWindow window_ WEIR_GUARDED_BY(mutex_);
  uint64_t charged_ WEIR_GUARDED_BY(mutex_) = 0;
  uint64_t isolated_ WEIR_GUARDED_BY(mutex_) = 0;           // pages that are being purged
  uint64_t isolated_resident_ WEIR_GUARDED_BY(mutex_) = 0;  // of these, so many have memory
  std::optional<Pages> huge_from_ WEIR_GUARDED_BY(mutex_);  // huge pages were asked for from here on
  struct Counters {
#define VMSTAT(name, help) uint64_t name = 0;
#include "page/vmstat.def"
#undef VMSTAT
  } counters_ WEIR_GUARDED_BY(mutex_);
  std::atomic<uint64_t> free_resident_{0};
  std::atomic<uint64_t> isolated_shown_{0};
  std::atomic<uint64_t> managed_{0};
  Live<Pages> watermark_min_, watermark_low_, watermark_high_;
  std::atomic<uint64_t> resident_{0};  // bits in the residency map; kept only with a limit
  std::atomic<uint64_t> outside_{0};
  std::atomic<uint64_t> accessible_{0};
  std::atomic<uint64_t> movable_runs_{0};  // changes with the lock held
};

}  // namespace weir
