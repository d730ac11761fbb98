// Purpose: reclaim on one node: the state of its pages, the lists they age on, and the ways out of memory (unmapping
//          into Standby, writing to compressed memory or the swap file) and back.
// Thread safety: what the zone calls (hooks) from any thread; everything that unmaps, fills or wakes only from weir's
//                own threads, which alone have the userfaultfds.
// Invariants: arena memory is never read or written here, only moved and filled by the kernel; what is compressed or
//             written is read at its staging address. No lock is held while a system call moves or fills pages.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "base/live.h"
#include "base/lock.h"
#include "os/vm.h"
#include "page/zone.h"
#include "reclaim/cluster.h"
#include "reclaim/counters.h"
#include "reclaim/shards.h"
#include "reclaim/workbench.h"
#include "swap/compressor.h"
#include "swap/swap_files.h"
#include "swap/zswap_pool.h"

namespace weir {

// Clusters whose unused staging memory is given back together: each call interrupts the other processors.
struct GarbageBatch {
  static constexpr unsigned kClusters = 16;
  // 2 MiB: until then the memory counts as used.
  static constexpr unsigned kMostPages = 512;
  ClusterId clusters[kClusters];
  unsigned count = 0;
  unsigned pages = 0;
};

// How a node reclaims.
struct ReclaimPolicy {
  // Constant while it does.
  bool zswap = true;
  // May be changed meanwhile.
  Live<Codec> codec{Codec::kLz4};  // of pages that are compressed from now on
  Live<Pages> zswap_max{};
  Live<unsigned> standby_percent{10};
  Live<unsigned> most_readahead{8};  // pages, 2^page_cluster
};

// One attempt at freeing pages (kernel: struct scan_control).
struct ScanControl {
  Pages to_reclaim{};
  unsigned priority = 12;  // lru_size >> priority pages are scanned in a round
  bool kswapd = true;      // who does it, for the counters
  bool urgent = false;     // Standby need not keep its share
  unsigned haste = 0;      // how much faster pages age because none were found (Rounds::age)
  bool may_write = true;   // to the swap file
  bool spared = false;     // all pages of the cluster that had its turn last are active
  Pages visited{};         // pages whose turn it was
  Pages scanned{};         // of those, pages that were kept or written out; Standby is still to be decided
  Pages reclaimed{};
  // Below it, where all pages are active for a while yet, that is shortened, the more the longer nothing is found
  // (kernel: the lower the priority, the less is spared). From 12 on, four rounds were in vain then.
  unsigned calm_priority = 9;
  // Clusters in a row that could neither be unmapped nor written before a round ends without result: as many as hold
  // 8 MiB, so that a region of locked memory is passed over.
  static constexpr unsigned kMostFailures = 32;
  // Called by whoever scans, each time it has looked at so many pages and owns no cluster: what cannot wait for the end
  // of a scan (kernel: cond_resched in shrink_list and its like). Evictions may be left and entered again meanwhile;
  // where they cannot be, false: the scan ends at once. 1024 pages that do not compress are 2 ms of work, on a slow
  // machine ten times that.
  static constexpr Pages kBetweenPauses{1024};
  bool (*on_pause)(void* argument) = nullptr;
  void* pause_argument = nullptr;
  Pages pause_at = kBetweenPauses;

  bool is_pause_due() const { return on_pause != nullptr && visited + scanned >= pause_at; }
  [[nodiscard]] bool pause() {
    pause_at = visited + scanned + kBetweenPauses;
    return on_pause(pause_argument);
  }
};

// Where a node's staging addresses begin, as many as its arena has. Bare ones are not mapped before they are used, as
// ArenaPlace::bare; the others are reserved.
struct StagingPlace {
  char* memory = nullptr;
  bool bare = false;
};

class NodeReclaim {
 public:
  NodeReclaim() : lists_mutex_(LockRank::kLru) {}
  [[nodiscard]] bool init(Pages capacity, StagingPlace staging, const ReclaimPolicy& policy, Shards& shards,
                          SwapFiles& files, ReclaimCounters& counters);
  // The zone calls back through these from its first page on.
  ZoneHooks hooks();
  void set_zone(Zone& zone) { zone_ = &zone; }
  // Before the first page has an owner.
  void set_owners(const PageOwners& owners) { owners_.store(&owners, std::memory_order_release); }
  // Whose a page is; null: nobody's.
  PageOwner* owner_of(Pfn pfn) const;
  Zone& zone() const { return *zone_; }

  // -- page by page, for the fault handler (mm/handle_fault.cc)
  void prefetch(Pfn pfn) const { map_.prefetch(pfn); }
  void prefetch_content(SwapEntry entry) const {
    if (entry.kind() == SwapEntry::Kind::kZswap) pool_.prefetch(entry.handle());
  }
  Cluster& cluster(ClusterId c) const { return map_[c]; }
  SwapEntry& entry(Pfn pfn) const { return map_.entry(pfn); }
  // Pages that are never taken out of memory.
  uint64_t unevictable(ClusterId c) const { return map_.more(c).unevictable.load(std::memory_order_relaxed); }
  uint64_t clean(ClusterId c) const { return map_.more(c).clean.load(std::memory_order_relaxed); }
  // Pages of owners that were emptied.
  uint64_t retired(ClusterId c) const { return map_.more(c).retired.load(std::memory_order_relaxed); }
  SwapFiles& files() const { return *files_; }
  // Takes the busy bits of those pages that nobody else has; returns them.
  uint64_t claim(ClusterId c, uint64_t pages);
  // Gives them back and wakes who touched them meanwhile.
  void release(ClusterId c, uint64_t pages);
  // A page was touched again while it was inactive, or soon after it left: it stays for some rounds of ageing, because
  // each such touch costs a fault.
  void activate(ClusterId c, uint64_t page);
  // It was not soon.
  void forget_soon(ClusterId c, uint64_t page) { map_.more(c).rounds.came_late(page); }
  // For how many rounds of ageing a page stays, 0 to Rounds::kMost.
  unsigned rounds_left(Pfn pfn) const {
    const ClusterId c = cluster_of(pfn);
    return map_.more(c).rounds.left(map_[c].active, page_bit(pfn));
  }
  // Puts the cluster on the list of those with present pages, if it is not there.
  void list_present(ClusterId c);
  char* staging_address(Pfn pfn) const { return staging_.memory + (size_t{pfn} << kPageShift); }
  // Whether some of these bytes lie where pages are staged, mapped or not.
  bool stages_at(const char* begin, size_t bytes) const {
    return begin < staging_.memory + bytes_of(zone_->arena().capacity()) && staging_.memory < begin + bytes;
  }
  // Makes those of a cluster's standby pages zeros that the kernel has dropped there, which the program allowed
  // (MADV_FREE) before they were moved: before they are read, because who reads one waits. True: so is what lies at
  // this address, and who waited for it is woken.
  void fill_dropped(ClusterId c, uint64_t pages);
  bool fill_dropped_at(const void* address);
  // madvise for pages that follow each other in a cluster, by advice that gives their content up; as the kernel does.
  [[nodiscard]] long give_up(ClusterId c, uint64_t pages, int advice);
  // The program maps something else at these pages, which are allocated, and is never given them back: their content is
  // dropped, and they are left alone from now on.
  void give_away(ClusterId c, uint64_t pages);
  // Allocated pages stay from now on; those that are away do from their next touch on. Waits for who has claimed some.
  void keep_present(ClusterId c, uint64_t pages);
  uint64_t foreign(ClusterId c) const { return map_.more(c).foreign.load(std::memory_order_relaxed); }
  // pkey_mprotect, mlock2 with MLOCK_ONFAULT, and munlock for such pages.
  [[nodiscard]] long protect(ClusterId c, uint64_t pages, int protection, int key);
  [[nodiscard]] long lock_when_touched(ClusterId c, uint64_t pages);
  [[nodiscard]] long unlock(ClusterId c, uint64_t pages);
  int uffd_of(ClusterId c) const { return shards_->fd_of(c); }
  // Pages came back from swap. Those in `clean` keep their entries; of the others nobody needs them any more (what they
  // name is dropped by the caller).
  void leave_swap(ClusterId c, uint64_t pages, uint64_t clean);
  // Claimed clean pages are about to be written, or their content was dropped: the copies are of no use. Returns those
  // that were clean, with their entries (for the caller to drop).
  uint64_t end_clean(ClusterId c, uint64_t pages, SwapEntry* entries, unsigned& count);
  // Whether a page that is brought back from such an entry may keep it.
  bool may_keep(SwapEntry entry) const;
  // Standby pages were copied back to their addresses: their staging memory is of no use any more.
  void leave_standby(ClusterId c, uint64_t pages);
  // Reads the content of swapped pages, compressed ones or slots side by side, into the bench's buffer; returns how
  // many of them, from the first on, could be read.
  [[nodiscard]] unsigned load_many(const SwapEntry* entries, unsigned count, Workbench& bench);
  // Wakes whoever waits for a page of the accessible arena.
  void wake_all();
  void drop(const SwapEntry* entries, unsigned count);
  // Whether a page that comes back after so many evictions since it left should start out active.
  bool refaults_soon(Pfn pfn) const;

  // -- reclaim
  // Frees pages until sc.to_reclaim is reached or this round's share was scanned.
  void shrink(ScanControl& sc, Workbench& bench);
  // The same for the pages of one owner: the owner then has fewer in memory.
  void shrink_owner(PageOwner& owner, ScanControl& sc, Workbench& bench);
  // Registers the pageblock's addresses; true when faults there are weir's from now on.
  [[nodiscard]] bool arm(uint32_t pageblock);
  // Of the pageblocks from `from` on the first one that has pages of this owner and is not armed; kNoCluster: none has.
  uint32_t find_unarmed(const PageOwner& owner, uint32_t from) const;
  bool is_armed(uint32_t pageblock) const {
    return (armed_[pageblock / 64].load(std::memory_order_relaxed) >> (pageblock % 64) & 1) != 0;
  }
  // Gives unused memory of the pool back; pages.
  Pages trim_pool();

  Pages standby() const { return Pages(nr_standby_.load(std::memory_order_relaxed)); }
  ZswapPool& pool() { return pool_; }
  ReclaimCounters& counters() const { return *counters_; }
  const ReclaimPolicy& policy() const { return policy_; }
  // What may be changed of it, as it is in `policy`.
  void change_policy(const ReclaimPolicy& policy);
  // The most that zswap_max can be: what the pool has address space for.
  Pages zswap_room() const { return zswap_room_; }
  // Whether the pool holds more than it may, and there is a file that it can go to.
  bool pool_is_over() const;
  // Writes the oldest of it to the file, as much as fits a round of kswapd; false: nothing could be.
  bool write_pool_back(Workbench& bench);
  // Moves what files hold that are not written any more to where pages go now, of at most so many clusters; false:
  // there is nothing more to do at present.
  bool empty_old_files(unsigned most, Workbench& bench);
  // A handler's: resolves a fault of the thread that gives pages back where they are, on one of these.
  bool refill(uint32_t thread, Pfn pfn);
  uint64_t swapped_pages() const { return nr_swapped_.load(std::memory_order_relaxed); }

  // Null when all agrees; only threads of the program may run at the same time, and differences that they make last no
  // longer than their calls.
  const char* verify();

  // -- pages of objects that are closed to their users, where touches cannot be seen (closed_pages.cc)
  // Has those that compress leave memory, by the node's kswapd; returns how many.
  [[nodiscard]] Pages store_closed(Pfn first, Pages count, Compressor& compressor);
  // Brings them back. False: a page is damaged, and who touches it gets SIGSEGV.
  [[nodiscard]] bool fetch_closed(Pfn first, Pages count, Compressor& compressor);
  // In the child of a fork: those that another thread was at belong to nobody.
  void release_in_child();

  // -- where faults cannot be seen, and the system swaps (page_out.cc)
  // Pages leave so from now on. `pagemap`: what os/page_scan.h reads, in the table of weir's threads.
  void use_system_swap(int pagemap);
  // As shrink.
  void page_out(ScanControl& sc);
  // Counts what came back, or was touched for the first time, since the last look; returns how many pages did.
  Pages look_for_unseen();

  // -- fork
  // Reads from every page that is away, by a thread of the program while nothing is evicted.
  void touch_all();
  void lock_for_fork() WEIR_NO_TSA;
  void unlock_for_fork() WEIR_NO_TSA;
  void pool_after_fork_in_child() {
    if (policy_.zswap) pool_.after_fork_in_child();
  }
  // In the child, before anything else: every armed pageblock is registered with the child's own descriptors, and what
  // was in transition is settled. False: a page cannot be told. With kNothingAway nothing is armed any more instead.
  enum class Fork : uint8_t { kRegister, kNothingAway };
  [[nodiscard]] bool after_fork_in_child(Fork kind);

 private:
  static bool cover(void* self, Pages accessible);
  static void allocated(void* self, Pfn first, Pages count);
  static void forget(void* self, Pfn first, Pages count);
  static void keep(void* self, Pfn first, Pages count);
  static void own(void* self, Pfn first, Pages count, uint32_t owner);
  static void retire(void* self, Pfn first, Pages count);
  static uint64_t content(void* self, uint32_t cluster, bool unseen);
  void revive(ClusterId c, uint64_t pages);
  static void drop(void* self, Pfn first, Pages count, bool begin);
  bool init_pool();
  void forget_pages(ClusterId c, uint64_t pages);
  void forget_content(ClusterId c, uint64_t pages);
  void make_accessible(Pfn pfn);
  void release_from_outside(ClusterId c, uint64_t pages);
  void claim_wait(ClusterId c, uint64_t pages);
  bool claim_all(ClusterId c);
  const char* verify_claimed(ClusterId c);
  bool register_pageblock(uint32_t pageblock);
  void settle(ClusterId c, uint64_t present);
  void undo_stray_touches(ClusterId c, uint64_t present);

  // shrink_owner.cc
  // An owner's pages are gone through so many times before nothing more can be had. Each time they age faster: of at
  // most 8 rounds 7 are left after the first, 4 after the second, 1 after the third and none after the fourth.
  static constexpr unsigned kOwnerRounds = 5;
  struct OwnerScan;
  uint64_t owned_pages(ClusterId c, uint32_t owner) const;
  void shrink_some(OwnerScan& scan, ScanControl& sc, Workbench& bench);
  void unlist(ClusterId c);
  void finish_owned(GarbageBatch& batch);
  enum class Away : uint8_t { kSwapped, kStandby };
  void count_away(ClusterId c, uint64_t pages, int sign, Away how);
  void disclaim(ClusterId c, uint64_t pages);

  // evict.cc; of a cluster's pages those in `only`
  unsigned pop_neighbours(ClusterId c, Lift& lifts, ClusterId* run);
  uint64_t leaving_pages(ClusterId c) const;
  static bool may_join(uint64_t pages);
  Pages unmap(ClusterId c, ScanControl& sc, Lift* lifted, uint64_t only = ~uint64_t{0});
  Pages unmap_claimed(ClusterId c, uint64_t mine, ScanControl& sc);
  void enter_standby(ClusterId c, uint64_t pages);
  uint64_t move_out(ClusterId c, uint64_t pages);
  uint64_t find_swapped(ClusterId c, uint64_t pages);
  uint64_t move_run_out(ClusterId c, unsigned first, unsigned end);
  bool change_rights(ClusterId c, unsigned first, unsigned end);
  bool undo_uncounted_move(Pfn pfn);
  Pages write_out(ClusterId c, ScanControl& sc, Workbench& bench, uint64_t only = ~uint64_t{0});
  uint64_t store(ClusterId c, uint64_t pages, SwapEntry* entries, bool may_write, Workbench& bench);
  Pages commit(ClusterId c, uint64_t pages, const SwapEntry* entries);
  void drop_garbage(const ClusterId* clusters, unsigned count);
  void purge_garbage(const os::VmRange* ranges, const ClusterId* owners, const uint64_t* pages, unsigned count);
  Pages write_back_pool(Workbench& bench);
  uint64_t write_back_cluster(ClusterId c, Workbench& bench);
  [[nodiscard]] uint64_t purge(ClusterId c, uint64_t pages);
  uint64_t drop_clean(ClusterId c, uint64_t pages);
  void note_evicted(ClusterId c, uint64_t pages);
  uint64_t age(ClusterId c, uint64_t pages, unsigned haste);
  void list_zswap(ClusterId c);
  bool own(ClusterId c);
  void disown(ClusterId c) { map_[c].owned.store(false, std::memory_order_release); }

  // page_out.cc
  Pages page_out(ClusterId c, ScanControl& sc, uint64_t only);
  Pages page_out_claimed(ClusterId c, uint64_t pages);
  void page_out_owner(PageOwner& owner, ScanControl& sc);
  void ask_to_swap(ClusterId c, uint64_t pages);
  void unshare(ClusterId c, uint64_t pages);
  uint64_t unseen(ClusterId c) const;
  Pages note_seen(ClusterId c, uint64_t pages);
  bool look_between(ClusterId first, ClusterId end, Pages& seen);
  void empty(Pfn first, Pfn end);
  void empty_unseen(Pfn first, Pages count);

  // closed_pages.cc
  Pages store_closed_pages(ClusterId c, uint64_t pages, Compressor& compressor);
  bool fetch_closed_pages(ClusterId c, uint64_t pages, Compressor& compressor);
  void unstore(ClusterId c, uint64_t pages);

  // lift.cc
  // Of the pages whose memory was not given back.
  struct Kept {
    uint64_t back = 0;     // all that did not go
    uint64_t standby = 0;  // of these, those that are at their staging addresses now
  };
  bool goes_in_place(Lift& lift) const;
  void pause_lifting();
  uint64_t worth_lifting(ClusterId c, uint64_t idle, uint64_t others, const Lift& lift);
  bool can_write_lifted(ClusterId c, BitRun run, uint64_t present, const Lift& lift) const;
  uint64_t lift(ClusterId c, uint64_t pages, uint64_t idle, uint64_t at_once, Lift& lift);
  uint64_t lift_pieces(ClusterId c, BitRun run, Lift& lift, uint64_t& seen, uint64_t& elsewhere);
  bool lift_run(ClusterId c, BitRun run, Lift& lift, uint64_t& seen, uint64_t& elsewhere);
  static bool copy_lifted(char* to, const os::VmRange* ranges, unsigned nr);
  bool copy_back(ClusterId c, BitRun run, uint64_t here, Lift& lift);
  bool copy_and_drop(Lift& lift);
  bool copy_and_drop(Lift& lift, const os::VmRange* ranges, unsigned nr);
  void keep_refused(Lift& lift, Kept* kept);
  Pages finish_lift(ScanControl& sc, Workbench& bench);
  void give_up_lift(Lift& lift);

  // settle_lift.cc
  struct Settled {
    Pages gone;    // left memory
    Pages staged;  // are in Standby
  };
  Settled settle_lifted(unsigned n, Lift::Copies copies, Kept kept, bool may_write, Workbench& bench);
  uint64_t store_lifted(uint64_t pages, uint64_t seen, char* content, SwapEntry* entries, uint64_t& rejected,
                        Compressor& compressor);
  Pages commit_lifted(ClusterId c, uint64_t stored, const SwapEntry* entries);
  long move_lifted(unsigned n, Pfn pfn, Lift& lift, bool& shared);
  Kept keep_held(unsigned n, uint64_t held, Lift::Copies copies, Lift& lift);
  void keep_content(unsigned n, uint64_t pages, Lift& lift);
  bool was_dropped(const char* page, const char* copy, const char* before) const;
  uint64_t dropped_early(unsigned n, const Lift& lift, Lift::Copies copies, uint64_t held);
  static void renew_lifted(char* lifted, size_t bytes);
  void put_back(unsigned n, ClusterId c, uint64_t pages, Lift& lift);
  void fill_home(ClusterId c, uint64_t pages, uint64_t seen, char* content);
  uint64_t stage(ClusterId c, uint64_t pages, uint64_t seen, char* content);

  // drop_in_place.cc
  uint64_t hold(ClusterId c, uint64_t pages, Lift& lift);
  bool copy_and_drop_in_place(Lift& lift, const os::VmRange* ranges, unsigned nr);
  bool are_side_by_side(ClusterId a, ClusterId b) const;
  void drop_marked(const Lift& lift);
  void expect_faults(const Lift& lift);
  void end_faults();
  bool refill_from(const Lift& lift, Pfn pfn);
  void find_held(Lift& lift, uint64_t* held);
  bool replace_protected(unsigned n, unsigned page, char* content, Lift& lift);
  void keep_at_home(unsigned n, unsigned page, char* content, Lift& lift);
  Kept keep_where_it_is(unsigned n, uint64_t held, char* content, Lift& lift);

  // Nothing is left at the staging addresses.
  void end_standby(ClusterId c, uint64_t pages);

  // program_calls.cc
  template <class Call>
  long while_claimed(ClusterId c, uint64_t pages, Call call);

  // rejected.cc
  uint64_t move_back(ClusterId c, uint64_t pages);
  uint64_t copy_back(ClusterId c, uint64_t pages);
  uint64_t rejected_lately(ClusterId c, uint64_t pages) const;
  void note_rejected(ClusterId c, uint64_t pages);
  void forget_rejected(ClusterId c, uint64_t pages);
  void return_rejected(ClusterId c);

  // pack_pool.cc
  unsigned pack_cluster(ClusterId c);
  Pages pack_pool();

  // swap_out.cc
  const char* gather(ClusterId c, uint64_t pages, Workbench& bench) const;
  uint64_t write_to_file(const char* content, uint64_t pages, SwapEntry* entries);
  uint64_t store_in_file(ClusterId c, uint64_t pages, SwapEntry* entries, Workbench& bench);
  void replace_entries(ClusterId c, uint64_t pages, const SwapEntry* entries);

  // empty_old_files.cc
  uint64_t in_old_files(ClusterId c, uint64_t pages) const;
  uint64_t read_old(ClusterId c, uint64_t pages, char* to);
  uint64_t bring_home(ClusterId c, uint64_t pages, uint64_t seen, char* content);
  unsigned empty_cluster(ClusterId c, Workbench& bench);

  // shrink.cc
  uint64_t begin_round(ScanControl& sc) const;
  void count_round(const ScanControl& sc, Pages scanned_before, Pages reclaimed_before);
  Pages garbage() const;
  void drop_all_garbage();
  ClusterId pop_present();
  ClusterId pop_standby();
  void relist(ClusterId c);
  void finish_batch(GarbageBatch& batch);
  bool wants_standby_out(const ScanControl& sc) const;
  Pages standby_target() const;
  void sync_pool();

  Zone* zone_ = nullptr;
  ClusterMap map_;
  StagingPlace staging_;
  ReclaimPolicy policy_;
  Shards* shards_ = nullptr;
  SwapFiles* files_ = nullptr;
  ReclaimCounters* counters_ = nullptr;
  ZswapPool pool_;
  Pages zswap_room_{};
  std::atomic<uint64_t>* armed_ = nullptr;
  std::atomic<const PageOwners*> owners_{nullptr};
  uint32_t nr_pageblocks_ = 0;
  std::atomic<uint64_t> nr_standby_{0};
  std::atomic<uint64_t> nr_swapped_{0};
  std::atomic<uint64_t> nr_evicted_{0};
  std::atomic<uint64_t> pool_counted_{0};
  std::atomic<uint32_t> pack_next_{0};   // where pack_pool goes on
  std::atomic<bool> has_unseen_{false};  // pages may leave, and come back, without being seen (page_out.cc)
  int pagemap_ = -1;                     // where it is looked for then
  // By the node's kswapd: where empty_old_files goes on, and how many clusters it has gone through in vain.
  ClusterId empty_next_ = 0, emptied_in_vain_ = 0;
  std::atomic<const Lift*> in_place_{nullptr};  // whose pages the evictor may miss at the moment
  std::atomic<uint32_t> evictor_{0};            // the last thread that had such a batch
  std::atomic<uint32_t> refilling_{0};          // handlers that look at that
  std::atomic<uint32_t> lift_pause_{0};  // clusters still to be moved instead, after pages that are shared or pinned
  Mutex lists_mutex_;
  ClusterList present_ WEIR_GUARDED_BY(lists_mutex_){ClusterList::kPresent};
  ClusterList standby_ WEIR_GUARDED_BY(lists_mutex_){ClusterList::kStandby};
  ClusterList zswap_ WEIR_GUARDED_BY(lists_mutex_){ClusterList::kZswap};
};

}  // namespace weir
