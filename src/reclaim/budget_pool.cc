#include "reclaim/budget_pool.h"

#include <errno.h>

#include <cstring>

#include "base/print.h"
#include "base/publish.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/service_thread.h"
#include "os/shared_file.h"
#include "os/thread.h"

namespace weir {
namespace {

// A member holds the lock for some microseconds. One that was stopped then (SIGSTOP) must not stop the others: they go
// on with what they have, and try again when kswapd wakes.
constexpr uint64_t kLockTries = 200;
constexpr uint64_t kJoinTries = 20000;
// A pool that is removed again and again while it is to be joined is somebody's mistake.
constexpr unsigned kOpenTries = 10;
// What a member is given beyond what it asks for, so that it need not ask for each page: a 64th of the limit, and at
// least 1 MiB, which a thread touches in less than kswapd needs to wake.
constexpr uint64_t kHeadroomShare = 64;
constexpr uint64_t kLeastHeadroom = 256;

// Members come by 20 times a second. One that has not for so long was stopped, or gets no processor: nobody waits for
// what it should give back, nor keeps for it what it may have.
constexpr uint64_t kAbsentNs = 500'000'000;

constexpr size_t kRowBytes = WEIR_POOL_ROWS * sizeof(weir_pool_row);
static_assert(kRowBytes == kPageSize);

uint64_t load(const uint64_t& number) {
  return __atomic_load_n(&number, __ATOMIC_RELAXED);
}

uint64_t headroom_of(uint64_t limit) {
  const uint64_t part = limit / kHeadroomShare;
  return part > kLeastHeadroom ? part : kLeastHeadroom;
}

void write_command(char (&out)[16]) {
  const ssize_t size = os::read_small_file("/proc/self/comm", out, sizeof(out) - 1);
  const size_t end = size > 0 && out[size - 1] == '\n' ? static_cast<size_t>(size - 1) : 0;
  memset(out + end, 0, sizeof(out) - end);
}

}  // namespace

void share_out_fairly(uint64_t total, std::span<const uint64_t> demands, std::span<uint64_t> shares) {
  constexpr uint64_t kOpen = ~uint64_t{0};
  for (uint64_t& share : shares) share = kOpen;
  uint64_t left = total, open = demands.size();
  for (bool changed = true; changed && open != 0;) {
    changed = false;
    const uint64_t level = left / open;
    for (size_t i = 0; i < demands.size(); ++i) {
      if (shares[i] != kOpen || demands[i] > level) continue;
      shares[i] = demands[i];
      left -= demands[i];
      --open;
      changed = true;
    }
  }
  for (uint64_t& share : shares)
    if (share == kOpen) share = left / open;
}

const char* BudgetPool::describe(Join result) {
  switch (result) {
    case Join::kOk:
      return "joined";
    case Join::kBadName:
      return "a pool's name has 1 to 63 letters, digits, '.', '_' or '-', and no '.' first";
    case Join::kNoAccess:
      return "its file in " WEIR_POOL_DIRECTORY " cannot be opened, or belongs to somebody else";
    case Join::kNoMemory:
      return "there is no memory for it in " WEIR_POOL_DIRECTORY;
    case Join::kOtherVersion:
      return "its file is of another version of weir";
    case Join::kFull:
      return "it has no room for one more member";
    case Join::kBusy:
      return "a member that was stopped holds its lock";
  }
  return "";
}

bool BudgetPool::lock() {
  const uint64_t most = is_member() ? kLockTries : kJoinTries;
  for (uint64_t tries = 0; tries < most; ++tries) {
    if (os::try_lock_byte(fd_, WEIR_POOL_LOCK)) return true;
    os::yield();
  }
  return false;
}

void BudgetPool::unlock() {
  os::unlock_byte(fd_, WEIR_POOL_LOCK);
}

bool BudgetPool::is_live(unsigned i) const {
  const weir_pool_member& member = pool_->members[i];
  if (__atomic_load_n(&member.pid, __ATOMIC_RELAXED) == 0) return false;
  return &member == self() || os::is_byte_locked(fd_, WEIR_POOL_MEMBER_LOCK + i);
}

// (A clock that was read later may be ahead of `now`.)
bool BudgetPool::is_absent(uint64_t updated_ns, uint64_t now_ns) {
  return now_ns > updated_ns && now_ns - updated_ns > kAbsentNs;
}

// With the lock held.
BudgetPool::Join BudgetPool::take_entry() {
  for (unsigned i = 0; i < WEIR_POOL_MEMBERS; ++i) {
    if (is_live(i) || !os::try_lock_byte(fd_, WEIR_POOL_MEMBER_LOCK + i)) continue;
    if (!os::reserve_file(fd_, weir_pool_rows_at(i), kRowBytes)) {
      os::unlock_byte(fd_, WEIR_POOL_MEMBER_LOCK + i);
      return Join::kNoMemory;
    }
    weir_pool_member& member = pool_->members[i];
    // What its last owner had is free from here on.
    publish(member.granted, uint64_t{0});
    publish(member.used, uint64_t{0});
    publish(member.swapped, uint64_t{0});
    publish(member.wanted, uint64_t{0});
    publish(member.updated, os::now_ns());
    publish(member.swap_total, uint64_t{0});
    publish(member.swap_used, uint64_t{0});
    publish(member.answered, uint64_t{0});
    publish(member.kill, uint16_t{WEIR_POOL_KILL_FAIL});
    publish(member.dying, uint8_t{0});
    publish(member.stuck, uint8_t{0});
    publish(member.order.state, uint64_t{0});
    publish(member.joined, os::now_ns());
    write_command(member.command);
    publish(member.pid, static_cast<uint32_t>(os::process_id()));
    index_ = i;
    member_.store(&member, std::memory_order_release);
    return Join::kOk;
  }
  return Join::kFull;
}

// Opens, maps and locks the file. One that was removed just before it could be locked is not the pool any more.
BudgetPool::Join BudgetPool::open_and_lock(std::string_view name) {
  Line path;
  path.text(WEIR_POOL_DIRECTORY "/weir-pool.").dec(os::effective_user_id()).text(".").text(name);
  path.text(std::string_view("\0", 1));
  for (unsigned tries = 0; tries < kOpenTries; ++tries) {
    fd_ = os::open_shared_file(path.view().data());
    if (fd_ < 0) return Join::kNoAccess;
    if (!lock()) return Join::kBusy;
    if (os::has_name(fd_)) return map();
    os::close_descriptor(fd_);
  }
  return Join::kBusy;
}

BudgetPool::Join BudgetPool::map() {
  if (!os::reserve_file(fd_, 0, sizeof(weir_pool))) return Join::kNoMemory;
  const size_t bytes = weir_pool_rows_at(WEIR_POOL_MEMBERS);
  if (pool_ == nullptr) pool_ = static_cast<weir_pool*>(os::map_shared_file(fd_, bytes));
  return pool_ == nullptr ? Join::kNoMemory : Join::kOk;
}

// With the lock held.
BudgetPool::Join BudgetPool::enter(Pages limit) {
  bool alone = true;
  for (unsigned i = 0; i < WEIR_POOL_MEMBERS && alone; ++i) alone = !is_live(i);
  if (pool_->magic == 0) {
    pool_->version = WEIR_POOL_VERSION;
    pool_->nr_members = WEIR_POOL_MEMBERS;
    publish(pool_->limit, limit.v);
    __atomic_store_n(&pool_->magic, WEIR_POOL_MAGIC, __ATOMIC_RELEASE);
  }
  if (pool_->magic != WEIR_POOL_MAGIC || pool_->version != WEIR_POOL_VERSION) return Join::kOtherVersion;
  if (alone) publish(pool_->limit, limit.v);
  limit_ = Pages(load(pool_->limit));
  return take_entry();
}

BudgetPool::Join BudgetPool::join(std::string_view name, Pages limit, int fd) {
  if (weir_pool_is_name(name.data(), name.size()) == 0) return Join::kBadName;
  fd_ = fd;
  Join result;
  if (fd < 0)
    result = open_and_lock(name);
  else
    result = !lock() ? Join::kBusy : map();
  if (result == Join::kOk) result = enter(limit);
  if (fd_ >= 0) unlock();
  return result;
}

void BudgetPool::leave() {
  publish(self()->wanted, uint64_t{0});
  publish(self()->used, uint64_t{0});
  publish(self()->granted, uint64_t{0});
  publish(self()->pid, uint32_t{0});
}

void BudgetPool::forget() {
  member_.store(nullptr, std::memory_order_release);
  fd_ = -1;
}

// With the lock held: decides what everybody should have, and takes or gives back the difference to what this process
// was granted. Nobody takes from another: that gives back what is above its own part when it comes by.
Pages BudgetPool::settle(uint64_t own_demand, uint64_t used) {
  uint64_t demands[WEIR_POOL_MEMBERS], shares[WEIR_POOL_MEMBERS], may_give[WEIR_POOL_MEMBERS];
  unsigned count = 0, own = 0;
  uint64_t others = 0, absent = 0;
  const uint64_t now = os::now_ns(), limit = load(pool_->limit), headroom = headroom_of(limit);
  const bool is_tight = now < load(pool_->tight_until);
  const uint64_t decider = load(pool_->decider);
  for (unsigned i = 0; i < WEIR_POOL_MEMBERS; ++i) {
    weir_pool_member& member = pool_->members[i];
    if (__atomic_load_n(&member.pid, __ATOMIC_RELAXED) == 0) continue;
    if (!is_live(i)) {
      publish(member.granted, uint64_t{0});
      publish(member.pid, uint32_t{0});
      continue;
    }
    if (&member == self()) {
      own = count;
    } else {
      others += load(member.granted);
      if (is_absent(load(member.updated), now)) {
        absent += load(member.granted);
        continue;
      }
    }
    // What a member that works in vain holds too much is not to be had.
    const bool gives = &member != self() && __atomic_load_n(&member.stuck, __ATOMIC_RELAXED) == 0;
    may_give[count] = gives ? load(member.granted) : 0;
    const uint64_t demand = &member == self() ? own_demand : load(member.wanted);
    demands[count++] = is_tight && i + 1 != decider ? demand - (headroom < demand ? headroom : demand) : demand;
  }
  share_out_fairly(limit > absent ? limit - absent : 0, {demands, count}, {shares, count});
  limit_ = Pages(limit);
  const uint64_t target = shares[own], left = limit > others ? limit - others : 0;
  // What is in use cannot be given back at once.
  const uint64_t least = used < load(self()->granted) ? used : load(self()->granted);
  const uint64_t wanted = target > least ? target : least, before = load(self()->granted);
  const uint64_t more = wanted < left ? wanted : left;
  const uint64_t granted = wanted <= before ? wanted : more > before ? more : before;
  publish(self()->granted, granted);
  bool is_owed = false;
  for (unsigned i = 0; i < count; ++i) is_owed = is_owed || may_give[i] > shares[i];
  is_owed_ = granted < target && is_owed;
  return Pages(target < granted ? target : granted);
}

Pages BudgetPool::update(const Usage& usage) {
  const uint64_t headroom = headroom_of(load(pool_->limit));
  const uint64_t demand = usage.used.v + usage.swapped.v + usage.waiting.v + usage.reserve.v + headroom;
  publish(self()->used, usage.used.v);
  publish(self()->swapped, usage.swapped.v);
  publish(self()->wanted, demand);
  publish(self()->swap_total, usage.swap_total.v);
  publish(self()->swap_used, usage.swap_used.v);
  publish(self()->oom_score_adj, int32_t{usage.oom_score_adj});
  publish(self()->kill, usage.kill);
  publish(self()->dying, uint8_t{usage.dying});
  publish(self()->stuck, uint8_t{usage.stuck});
  publish(self()->updated, os::now_ns());
  const uint64_t granted = load(self()->granted);
  if (!lock()) return Pages(granted);
  const Pages result = settle(demand, usage.used.v);
  unlock();
  return result;
}

const char* BudgetPool::verify() const {
  uint64_t sum = 0;
  for (unsigned i = 0; i < WEIR_POOL_MEMBERS; ++i)
    if (is_live(i)) sum += load(pool_->members[i].granted);
  return sum <= load(pool_->limit) ? nullptr : "members of the pool were granted more than its limit";
}

}  // namespace weir
