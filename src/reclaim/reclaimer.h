// Purpose: what keeps a process within its limit: the nodes that reclaim, the threads that do it (one kswapd a node,
//          fault handlers), and the way allocating threads wait for memory.
// Thread safety: any thread, unless a comment says otherwise. Set-up (init, add_node, start) by one thread.
// Invariants: weir's threads have a descriptor table of their own, so that no program closes what they work with. They
//             touch no arena memory but that of objects which are closed to everybody, where no fault is theirs to
//             resolve (closed_pages.cc). Without a limit nothing of this exists but the object itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/lock.h"
#include "config/options.h"
#include "file/file_pages.h"
#include "os/fault_inject.h"
#include "os/proc.h"
#include "os/service_thread.h"
#include "reclaim/budget_pool.h"
#include "reclaim/events.h"
#include "reclaim/node.h"
#include "reclaim/pool_oom.h"
#include "reclaim/psi.h"
#include "reclaim/scan_balance.h"
#include "reclaim/shrinkers.h"
#include "reclaim/thread_cpus.h"
#include "reclaim/threads.h"
#include "reclaim/victim_log.h"

namespace weir {

class Reclaimer;

// STORY 2, which lies above this room.
enum class Touch : uint8_t {
  kRead,       // of a page that is not there
  kWrite,      // the same
  kProtected,  // a write to a page that is there, and write-protected
};
struct FaultStory {
  void (*handle_fault)(Reclaimer&, NodeReclaim&, Pfn, Touch, Workbench&) = nullptr;
  void (*finish_reads)(Reclaimer&, Workbench&) = nullptr;
};

// Objects that may leave memory while nobody uses them, where pages cannot: in a room above this one, too.
struct ObjectStory {
  void* self = nullptr;
  // Has some of the node's leave, by its kswapd; returns how many pages did.
  Pages (*put_away)(void* self, NodeReclaim&, Pages wanted) = nullptr;
  bool (*has_any)(const void* self) = nullptr;
};

class Reclaimer {
 public:
  enum class Mode : uint8_t {
    kOff,      // no limit
    kPurge,    // a limit, but no way to see faults: unused memory is given back, pages stay but objects'
    kSwap,     // pages are unmapped and come back on touch
    kPageout,  // no way to see faults, but the system has swap: it takes pages, and what came back is looked for
  };

  Reclaimer() : request_mutex_(LockRank::kLru) {}
  // Takes the options of a limit; no thread yet. False: there is no limit after all.
  [[nodiscard]] bool init(const Options& options, FaultStory story);
  Pages limit() const { return limit_; }
  // A node's part of so much of the limit.
  Pages share_of(NodeId node, Pages pages) const;
  // Takes over what may be changed of the options, by one thread at a time: the policy of all nodes, and with kAlso the
  // limit. Their watermarks are the caller's. False: there would be no limit any more, and nothing changes.
  enum class Budget : bool { kStays, kAlso };
  [[nodiscard]] bool options_changed(Budget budget);
  // Whether the limit is to be the cgroup's, and that is another one now. By who may change options; 0.1 ms.
  bool cgroup_has_changed() const;
  // Whether the limit is the cgroup's, and this process's own.
  bool follows_cgroup() const;
  // Others in the cgroup hold memory, too: `room` (bytes) is what they leave at present; less than nothing is to be
  // given back. `is_short`: that was not enough before.
  void leave_to_cgroup(int64_t room, bool is_short);
  // What is left to them.
  Pages left_to_cgroup() const { return left_to_cgroup_; }
  // The most that zswap_max can be while the program runs.
  Pages zswap_room() const;
  // The options name another swap file, or none, or another size: pages go there from now on, and what was written
  // before follows. Null, or why it cannot be; then all stays as it was. By who may change options, with Mode::kSwap.
  [[nodiscard]] const char* change_swap_file();
  // Whether this is the child of a fork that cannot swap and was therefore left without a limit.
  bool is_lifted() const { return lifted_.load(std::memory_order_relaxed); }
  // Has kswapd call this whenever it wakes, at least every 50 ms. Before start().
  void call_often(void (*what)()) { often_ = what; }
  // Has a thread that waits for memory in vain call this once before it gives up: to give back what it keeps for
  // itself. Before start().
  void call_in_vain(void (*what)()) { in_vain_ = what; }
  // The caches that are asked for memory, and who hears of pressure; they outlive this. Before start().
  void connect(Shrinkers& shrinkers, Events& events);
  // There are such objects; `story` outlives this. Once.
  void set_objects(const ObjectStory& story) { objects_.store(&story, std::memory_order_release); }
  // Where it stands how many threads of the program there are. Before start().
  void count_threads_in(const std::atomic<uint64_t>& threads) { nr_threads_ = &threads; }
  // What the program has mapped of its files; it outlives this. Before start().
  void set_file_pages(FilePages& files) { file_pages_ = &files; }
  // It has mapped one, and most likely reads it now.
  void file_mapped();
  void wake_all_kswapds();
  // Makes the reclaimer of a node, before its zone. Null: no memory.
  [[nodiscard]] NodeReclaim* add_node(NodeId node, Pages capacity, Pages managed, StagingPlace staging);
  // Starts weir's threads and waits until they are ready; the mode is known then. From a thread of the program.
  void start();
  Mode mode() const { return mode_.load(std::memory_order_acquire); }
  // Whether pages leave memory and come back.
  bool can_swap() const { return mode() == Mode::kSwap || mode() == Mode::kPageout; }
  // Why the mode is no better, as -errno of what was refused; 0.
  int refused() const { return refused_; }
  // How the swap file could not be opened; null when it could or none was asked for.
  const char* swap_problem() const { return swap_problem_; }
  // Why the process is not in the pool that it should share the limit with; null when it is, or need not be.
  const char* pool_problem() const { return pool_problem_; }

  // -- allocation (STORY 1)
  // Down to which watermark a node's pages may be taken (kernel: ALLOC_WMARK_LOW, ALLOC_WMARK_MIN).
  enum class Mark : uint8_t { kNone, kMin, kLow };
  // Whether `count` more pages may be taken on the node; with kMin, kswapd is woken when they bring it below low.
  [[nodiscard]] bool may_take(Zone& zone, Pages count, Mark mark = Mark::kMin);
  // zone_reclaim_mode: reclaims on the node what the mode allows, so that another one's pages need not be taken. True:
  // it has `count` pages above low now. From a thread of the program, with no lock held; at once when the mode is 0.
  [[nodiscard]] bool node_reclaim(Zone& zone, Pages count);
  bool reclaims_locally() const { return options_->zone_reclaim_mode != 0 && mode() == Mode::kSwap; }
  // Pages without memory were given out, while others that are free have some: gives these back as far as both together
  // are more than the zone may have, whatever kswapd is doing.
  void keep_within_budget(Zone& zone);
  // Waits until reclaim made room for `count` pages; false when it cannot.
  [[nodiscard]] bool wait_for_pages(NodeReclaim& node, Pages count);
  // Whether a run of so many pages is charged by what is touched of it. `may_wait`: who asks would wait for memory.
  bool charges_by_touch(Pages count, bool may_wait) const;
  // Makes the touches of such a run's pages seen, or has them looked for; false: it must be charged as a whole.
  [[nodiscard]] bool watch(Zone& zone, Pfn first, Pages count);
  // Where touches are seen, these are runs from this many pages on: below, the faults would cost more than the memory
  // is worth.
  static constexpr uint64_t kWatchedRun = 1024;
  void wake_kswapd(NodeId node);

  // -- owners of pages, which have limits of their own (owner_reclaim.cc)
  // Who they are, before the first page has one; and again in the child of a fork.
  void set_owners(const PageOwners& owners);
  // Takes up to `count` of an owner's pages out of memory, by the node's kswapd; returns how many. From a thread of the
  // program, with no lock held.
  Pages reclaim_owner(NodeId node, PageOwner& owner, Pages count);
  // Has touches of all its pages seen, as far as that can be.
  void watch_owner(NodeId node, const PageOwner& owner);

  // -- pressure (pressure.cc)
  // A thread of the program is stalled on memory, or is no more; said by one of weir's.
  void begin_stall();
  void end_stall();
  // The same, said by the thread itself, which may have handlers of signals.
  void begin_wait();
  void end_wait();
  // As of now.
  Psi pressure();
  // Nothing could be reclaimed for an allocation, and the policy chose this one; null: there was nobody to choose.
  void note_oom(const weir_victim* victim);
  VictimLog& victims() { return victims_; }
  // The process was chosen (oom=kill): SIGTERM now; kswapd sees to SIGKILL after kTermMs, which a program needs to
  // write down what it has, and others can wait for.
  void end_process();
  static constexpr uint64_t kTermMs = 5000;
  bool is_ending() const { return kill_at_ms_.load(std::memory_order_relaxed) != 0; }
  // What the process holds: pages in memory, and pages put away.
  PoolMember::Held held();
  // An allocation failed: for a moment small ones may use part of the reserve below min, so that the program can
  // unwind.
  void open_reserve();
  // Copies a descriptor of the program into the table of weir's threads; negative: there are none, or -errno.
  [[nodiscard]] int adopt_descriptor(int fd);
  // Whether there is a kswapd.
  bool has_kswapd() const { return owner_ != 0; }

  // -- the pool (pool_member.cc)
  // Calls what(pool, argument) on a thread with weir's descriptors, when nobody else works with the pool; false: there
  // is no such thread. By a thread of the program, with no lock held.
  bool with_pool(void (*what)(BudgetPool& pool, void* argument), void* argument);
  const BudgetPool& pool() const { return pool_; }
  PoolMember& pool_member() { return pool_member_; }
  // Becomes a member while the program runs. `name` must outlive this.
  [[nodiscard]] BudgetPool::Join join_pool_now(std::string_view name);
  // Somebody lost memory: the pool is looked at now, and what failed may be tried again.
  void look_anew();
  // Tries again to find so many pages, as a thread of the program with no lock held.
  [[nodiscard]] bool find_room(Pages count);

  // -- faults (STORY 2), on weir's threads
  // Reclaims when the node has less than a fault needs.
  void make_room(NodeReclaim& node, Pages count, Workbench& bench);
  // The same for the limit of the page's owner, if it has one.
  void make_room_in_owner(NodeReclaim& node, Pfn pfn, Pages count, Workbench& bench);
  const char* zeros() const { return zeros_; }
  void list_present(NodeReclaim& node, ClusterId c, Workbench& bench);
  void drop(NodeReclaim& node, const SwapEntry* entries, unsigned count, Workbench& bench);
  void report_lost_page(const void* address);
  // A thread touches a page of a heap that was emptied.
  void report_retired_page(const NodeReclaim& node, Pfn pfn);

  // -- system calls of the program for whole pages, also outside the arenas; 0 or -errno (program_calls.cc)
  // Whether such advice to madvise gives content up.
  static bool gives_up(int advice);
  // madvise with such advice.
  [[nodiscard]] long give_up(char* begin, char* end, int advice);
  // The program is about to map something else at pages of its own there.
  void give_away(char* begin, char* end);
  // Whether it has; anywhere.
  bool is_foreign(const void* address);
  bool has_foreign() const { return has_foreign_; }
  // Whole pages of the program that a thread cannot do without while it holds what is needed to bring one back: they
  // stay, from their next touch on and for as long as they are allocated.
  void keep_present(char* begin, char* end);
  // mprotect, or pkey_mprotect (os::vm_protect).
  [[nodiscard]] long protect(char* begin, char* end, int protection, int key);
  // mlock2 with such flags, and munlock.
  [[nodiscard]] long lock(char* begin, char* end, int flags);
  [[nodiscard]] long unlock(char* begin, char* end);

  // -- threads of the program, by themselves: handlers follow them to their processors
  void add_thread();
  void remove_thread() { cpus_.remove(); }

  // -- fork: before the locks are taken, and after; in the child, `ok` false means that pages are lost
  void before_fork();
  void after_fork_in_parent();
  [[nodiscard]] bool after_fork_in_child();
  void lock_for_fork() WEIR_NO_TSA;
  void unlock_for_fork() WEIR_NO_TSA;
  // With the locks held.
  void freeze_for_fork() WEIR_NO_TSA;

  ReclaimStats stats();
  // Where everything is shown to other processes; null: nowhere. Before start().
  void publish_in(weir_stats_page* page) { published_ = page; }
  // A descriptor of it that weir's threads keep where the program cannot close it; closed here once they have it.
  void keep_page_descriptor(int fd) { page_fd_ = fd; }
  // Shows how things are now. kswapd does so whenever it wakes and after each round of reclaim.
  void publish();
  NodeReclaim* node(unsigned i) { return nodes_[i]; }
  // Keeps evictions out until go_on().
  void stop_evictions();
  // Keeps faults out as well: nothing of a page's state changes then but by the program's calls. False: a handler is
  // not done, maybe for want of a lock that the caller holds.
  [[nodiscard]] bool stop_faults();
  void go_on();
  // Null when all agrees. After stop_faults.
  const char* verify();

 private:
  static constexpr unsigned kMostHandlers = Shards::kMost;
  // Rounds in a row without progress after which there is no memory (kernel: MAX_RECLAIM_RETRIES).
  static constexpr uint32_t kMostFruitless = 16;
  // Pages that are reclaimed for one thread at a time (kernel: SWAP_CLUSTER_MAX).
  static constexpr uint64_t kDirectPages = 32;
  // Looking at what is mapped may take one part in so many of the time; in need, more.
  static constexpr uint64_t kLookSeldom = 100, kLookOften = 3;
  // What is worth a look at once: a thousandth of the limit.
  static constexpr unsigned kMuchShift = 10;

  static void first_kswapd_main(void* kswapd);
  static void kswapd_main(void* kswapd);
  static void handler_main(void* handler);
  void run_first(Kswapd& kswapd);
  [[noreturn]] void run_kswapd(Kswapd& kswapd);
  bool start_kswapds();
  Kswapd* first_kswapd() const;
  void run_handler(Handler& handler);
  void begin_work(Handler& handler);
  void follow(Handler& handler, uint32_t thread);
  static void note_thread(Handler& handler, uint32_t thread);
  void wait_for_fault_or_read(Handler& handler);
  bool set_up();
  bool wants_file() const { return !options_->swap.empty() && options_->swap.view() != "none"; }
  bool hand_over();
  void restart_threads() WEIR_NO_TSA;
  void bring_all_back();
  void lift_limit();
  void keep_inherited();
  void close_inherited();
  void close_page_descriptor();
  void adopt_child();
  void thaw_children();
  unsigned handlers_wanted() const;
  int open_shards();
  void open_first_swap_file();
  const char* open_swap_file();
  const char* replace_swap_file();
  bool is_kswapd() const;
  bool empties_old_files(Kswapd& kswapd, bool busy);
  void close_old_files();
  void show_swap_path(const char* path);
  Pages swap_used();
  Pages swap_total();
  bool start_handlers();
  void run_requests();
  void answer_swap_request(Request& request);
  void run_owner_requests(Kswapd& kswapd);
  void run_local_request(Kswapd& kswapd);
  bool may_use_reserve(Pages count, Pages free, const Watermarks& marks) const;
  void add_owner_request(OwnerRequest& request);
  OwnerRequest* take_owner_request(const NodeReclaim& node);
  // A scan on kswapd attends to others in its pauses. It began within an eviction, and ends without one when the
  // process began to fork in a pause.
  struct ScanPause {
    Reclaimer& reclaimer;
    Kswapd& kswapd;
    bool evicting = true;

    void leave_eviction() const {
      if (evicting) reclaimer.leave_eviction();
    }
  };
  static void set_pause(ScanControl& sc, ScanPause& pause);
  static bool pause_scan(void* pause);
  // `pause`: of kswapd; null: another thread scans.
  Pages shrink_owner(NodeReclaim& node, PageOwner& owner, Pages count, ScanPause* pause, Workbench& bench);
  Pages shrink_over_soft_limit(Kswapd& kswapd, const ScanControl& sc, ScanPause& pause);
  // Has a request done by the node's kswapd; true when it could be.
  bool ask(Request& request, NodeId node);
  Pages balance(Kswapd& kswapd);
  Pages balance_by_purging(Kswapd& kswapd);
  Pages shrink_caches(Kswapd& kswapd, unsigned priority);
  bool waits_for_shrinkers(Kswapd& kswapd);
  void note_behind(const Kswapd& kswapd, uint64_t stalls_before);
  void tell_pressure();
  void forget_pressure() WEIR_NO_TSA;
  void try_everything(Kswapd& kswapd, Waiter& waiter);
  bool can_wait() const;
  // Objects may be away, or leave, though pages cannot be swapped.
  bool puts_objects_away() const {
    return mode() == Mode::kPurge && objects_.load(std::memory_order_acquire) != nullptr;
  }
  Pages put_objects_away(Kswapd& kswapd, Pages wanted);
  uint64_t nr_threads() const { return nr_threads_ != nullptr ? nr_threads_->load(std::memory_order_relaxed) : 1; }
  static Pages goal(const Kswapd& kswapd);
  static bool is_out_of_reach(const Kswapd& kswapd);
  void add_waiter(Kswapd& kswapd, Waiter& waiter);
  void remove_waiter(Kswapd& kswapd, Waiter& waiter);
  static void count_waiters(Kswapd& kswapd);
  void give_files_back();
  void wake(Kswapd& kswapd);
  Pages purge_surplus(NodeReclaim& node);
  static bool is_over(const Zone& zone, Pages more);
  void wait_for_purge(Kswapd& kswapd, Pages count, Workbench& bench);
  NodeReclaim* node_of(const void* address, Pfn& pfn);
  void handle_staging_fault(const void* address);
  char* next_arena(char* begin, char* end) const;
  template <class Inside, class Outside>
  long in_parts(char* begin, char* end, bool past_gaps, Inside inside, Outside outside);
  bool enter_eviction();
  void leave_eviction();
  void note_peak();
  void update_limit(const Kswapd& kswapd);
  void join_pool();
  BudgetPool::Join enter_pool(std::string_view name);
  Pages pool_part();
  void serve_pool(const Kswapd& kswapd);
  void attend(Kswapd& kswapd);
  void come_by(Kswapd& kswapd);
  void finish_ending();
  void run_with_pool(Request& request);
  // What this process may hold: the limit, or its part of it.
  Pages budget() const { return pool_.is_member() ? pool_part_.load() : limit_.load() - left_to_cgroup_.load(); }
  // What that may be at best.
  Pages most_managed(const Zone& zone) const;
  bool is_owed(Kswapd& kswapd);
  void change_policies();
  void give_budget(NodeReclaim& node, Pages managed) WEIR_REQUIRES(budget_mutex_);
  void share_out() WEIR_REQUIRES(budget_mutex_);
  void share_out_rss(uint64_t left) WEIR_REQUIRES(budget_mutex_);
  void update_policy();
  void reduce_pool(Kswapd& kswapd);
  FlushPolicy flush_policy() const;
  void attend_flusher(const Kswapd& kswapd);
  void start_flusher();
  void wake_flusher();
  static void flusher_main(void* flusher);
  [[noreturn]] void run_flusher(FlusherThread& own);
  bool has_files() const;
  void publish_files(weir_stats_page& page) const;
  uint64_t left_of_rss() WEIR_REQUIRES(budget_mutex_);
  void look_at_files(const Kswapd& kswapd, bool in_need);
  void note_cost(const FilePages::Found& found, uint64_t heap);
  bool drop_files(const Kswapd& kswapd);
  void hold_files(Kswapd& kswapd);
  ScanShares shares_of_round(const Kswapd& kswapd, unsigned priority, uint64_t files);
  Pages shrink_files(const Kswapd& kswapd, Pages count, unsigned priority, bool& none_of_heap);
  uint64_t pause_ms(Kswapd& kswapd);
  bool use_system_swap();
  // Whether something is away though faults are not seen; and whether kswapd evicts anything.
  bool keeps_state() const { return mode() == Mode::kPageout || puts_objects_away(); }
  bool evicts() const { return mode() == Mode::kSwap || keeps_state(); }
  int64_t uncounted() const;
  void look_for_unseen(Kswapd& kswapd);
  void note_stall(uint64_t us);

  // -- constant after init
  const Options* options_ = nullptr;
  FaultStory story_;
  ReclaimPolicy policy_;       // and what options_changed changes of it
  Live<Pages> policy_budget_;  // that it was made for
  void (*often_)() = nullptr;
  void (*in_vain_)() = nullptr;
  Shrinkers* shrinkers_ = nullptr;
  Events* events_ = nullptr;
  FilePages* file_pages_ = nullptr;
  std::atomic<const ObjectStory*> objects_{nullptr};
  bool stays_blind_ = false;  // this is the child of a fork whose parent could not see faults
  const std::atomic<uint64_t>* nr_threads_ = nullptr;
  Pages first_limit_{};           // that the program was started with
  Pages shares_[kMaxNodes] = {};  // and the nodes' parts of it
  NodeReclaim* nodes_[kMaxNodes] = {};
  unsigned nr_nodes_ = 0;
  char* zeros_ = nullptr;

  // -- set by start()
  std::atomic<Mode> mode_{Mode::kOff};
  std::atomic<uint32_t> ready_{0};
  int refused_ = 0;
  const char* swap_problem_ = nullptr;
  const char* pool_problem_ = nullptr;
  Shards shards_;
  SwapFiles files_;
  os::FaultInjector faults_;
  Handler* handlers_ = nullptr;
  Kswapd* kswapds_[kMaxNodes] = {};
  uint32_t owner_ = 0;  // a thread with weir's descriptor table
  // What the child of a fork gets: a descriptor of each file, for each the writing end of a pipe by whose end the
  // file's owner sees that nobody reads it any more, the device, and folders.
  struct Legacy {
    int files[SwapFiles::kMost];
    int lifelines[SwapFiles::kMost];
    int device = -1;
    int directory = -1;  // where swap files are made
    int pool = -1;       // the shared budget
    int proc = -1;       // /proc
    Legacy() {
      for (unsigned i = 0; i < SwapFiles::kMost; ++i) files[i] = lifelines[i] = -1;
    }
  };
  Legacy held_;               // in weir's table
  Legacy inherited_;          // copies in the program's, around a fork
  os::DescriptorRoom room_;   // for these, around a fork
  bool all_present_ = false;  // for the child that is being made nothing is away
  int lifeline_end_ = -1;     // the reading end of the pipe for the child that is being made
  // Of each file: whether its slots are frozen for that child, and the number of that; 0: they are not.
  bool freezes_[SwapFiles::kMost] = {};
  uint64_t fork_numbers_[SwapFiles::kMost] = {};
  struct Child {
    int lifeline = -1;  // in weir's table
    uint64_t forks[SwapFiles::kMost] = {};
  };
  // Children that may still read the file; more at a time than that keep their slots for ever.
  static constexpr unsigned kMostChildren = 64;
  Child children_[kMostChildren];

  // -- changed by options_changed
  Live<Pages> limit_;
  Live<bool> by_rss_;
  Live<Pages> left_to_cgroup_;  // less than limit_; 0 but where that is the cgroup's

  // -- the pool, by the first kswapd
  BudgetPool pool_;
  Live<Pages> pool_part_;
  PoolMember pool_member_;

  // -- at work
  std::atomic<bool> lifted_{false};
  // Whoever gives zones their part of the limit.
  Mutex budget_mutex_{LockRank::kLru};
  // What the process held beside the heap at the last look: files, stacks, libraries; and of these, the files that can
  // be dropped, and what they may have. Changed by who holds budget_mutex_.
  Live<Pages> others_, files_now_, files_allowed_;
  // What they were allowed less when the heap was short, in all.
  Live<Pages> files_gave_;
  // Files that cannot: the program itself, libraries. By the first kswapd.
  Live<Pages> other_files_;
  LruCost lru_cost_ WEIR_GUARDED_BY(budget_mutex_);
  uint64_t heap_activated_ WEIR_GUARDED_BY(budget_mutex_) = 0;  // that it knows of
  // By the first kswapd: whether files' pages that were dropped lately had to be read again, and what that is told by.
  Live<bool> files_cost_;
  uint64_t major_before_ = 0, by_weir_before_ = 0;
  // In weir's table; or -errno.
  static constexpr int kNotOpened = INT32_MIN;
  int pagemap_ = kNotOpened, silent_uffd_ = kNotOpened;
  weir_stats_page* published_ = nullptr;
  int page_fd_ = -1;  // in the program's table, until weir's threads have it
  Live<bool> has_foreign_;
  std::atomic<FlusherThread*> flusher_{nullptr};  // once there was something to write
  ThreadCpus cpus_;
  ReclaimCounters counters_;
  std::atomic<uint64_t> peak_{0};
  // What had been written to the swap file at the first kswapd's last look, and since when it is so much.
  uint64_t file_written_ = 0, file_rests_ms_ = 0;
  std::atomic<uint32_t> evicting_{0};
  std::atomic<uint64_t> evictions_{0};  // that were begun
  std::atomic<bool> forking_{false};
  std::atomic<bool> still_{false};
  Mutex psi_mutex_{LockRank::kLru};
  Psi psi_ WEIR_GUARDED_BY(psi_mutex_);
  std::atomic<uint32_t> forks_before_{0};  // of which this process is the last child
  Mutex request_mutex_;
  Request* requests_ WEIR_GUARDED_BY(request_mutex_) = nullptr;
  OwnerRequest* owner_requests_ WEIR_GUARDED_BY(request_mutex_) = nullptr;
  std::atomic<const PageOwners*> owners_{nullptr};
  std::atomic<uint64_t> reserve_until_ms_{0};
  VictimLog victims_;
  std::atomic<uint64_t> kill_at_ms_{0};  // 0: the process need not end
};

}  // namespace weir
