// Purpose: this process's part of a budget that several processes share (include/weir/pool.h): how much each may have,
//          and what it is granted.
// Thread safety: one thread at a time, one whose descriptor table has the file; is_member() and the victim list from
//                any.
// Invariants: what is granted to all members is never above the pool's limit, but where the header says so. A member
//             that dies at any moment leaves nothing behind: its entry counts no more once its lock is gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/live.h"
#include "base/units.h"
#include "weir/pool.h"

namespace weir {

// Divides `total` among demands so that the smallest share is as large as possible: who wants less than an equal part
// gets what it wants, and the others have equal parts of the rest (max-min fairness; Bertsekas, Gallager, "Data
// Networks", 1992, section 6.5.2). What nobody wants is left over. `shares` has as many entries as `demands`.
void share_out_fairly(uint64_t total, std::span<const uint64_t> demands, std::span<uint64_t> shares);

class BudgetPool {
 public:
  struct Usage {
    Pages used{};                     // what the process holds
    Pages swapped{};                  // what it has put away
    Pages waiting{};                  // what its threads wait for
    Pages reserve{};                  // what kswapd keeps free
    Pages swap_total{}, swap_used{};  // its swap file
    int oom_score_adj = 0;
    uint16_t kill = WEIR_POOL_KILL_FAIL;  // what the process does when it is chosen
    bool dying = false;                   // it was
    bool stuck = false;                   // its kswapd works in vain
  };
  enum class Join : uint8_t {
    kOk,
    kBadName,   // not 1 to 63 letters, digits, '.', '_', '-', or '.' first
    kNoAccess,  // the file cannot be opened or made, or is somebody else's
    kNoMemory,
    kOtherVersion,
    kFull,  // WEIR_POOL_MEMBERS live
    kBusy,  // somebody holds the pool's lock and does not go on
  };
  static const char* describe(Join result);

  // Becomes a member of the pool; makes it, with this limit, when there is none, and gives it this limit when nobody
  // else is in it. `fd` is the file where the caller has it open already (a child of a fork), else negative.
  [[nodiscard]] Join join(std::string_view name, Pages limit, int fd);
  // Forgets the membership of the process that this one was forked from; join comes next.
  void forget();
  // Gives up what was granted, for good: no update after this.
  void leave();
  bool is_member() const { return self() != nullptr; }
  int fd() const { return fd_; }

  // Tells the others how things are, takes over what is free or gives back what is not needed, and learns what the
  // limit is. Returns what the process should come down to, or may grow to.
  Pages update(const Usage& usage);
  // The pool's limit, as it was at the last update.
  Pages limit() const { return limit_; }
  // Whether others had more than their part at the last update, which they are giving back.
  bool is_owed() const { return is_owed_; }

  // -- the victim list (pool_oom.h), of members only. All of it may be read by any thread.
  weir_pool* shared() const { return pool_; }
  weir_pool_member* self() const { return member_.load(std::memory_order_acquire); }
  unsigned index() const { return index_; }
  weir_pool_row* rows(unsigned i) const {
    return reinterpret_cast<weir_pool_row*>(reinterpret_cast<char*>(pool_) + weir_pool_rows_at(i));
  }
  // Whether so long ago is longer than a member that runs needs to come by.
  static bool is_absent(uint64_t updated_ns, uint64_t now_ns);

  // Null when all agrees; for tests, with nobody else at work.
  const char* verify() const;

 private:
  bool lock();
  void unlock();
  Join open_and_lock(std::string_view name);
  Join map();
  Join enter(Pages limit);
  Join take_entry();
  bool is_live(unsigned i) const;
  Pages settle(uint64_t own_demand, uint64_t used);

  int fd_ = -1;
  unsigned index_ = 0;
  weir_pool* pool_ = nullptr;
  std::atomic<weir_pool_member*> member_{nullptr};
  bool is_owed_ = false;
  Live<Pages> limit_{};
};

}  // namespace weir
