#include "reclaim/pool_oom.h"

#include <algorithm>
#include <cstring>

#include "base/publish.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/process.h"
#include "os/shared_file.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// kswapds come by 20 times a second, and adding up thousands of heaps takes a millisecond.
constexpr uint64_t kAnswerMs = 300;
// One that came by not long before it was called is alive and short of a processor: nobody's memory is passed over, or
// allocation refused, because the machine is busy: kswapd comes by after every few milliseconds of its own time, which
// is 5 s only where hundreds of threads want its processor. (One that was stopped since then is waited for as well.)
constexpr uint64_t kLateAnswerMs = 2000;
constexpr uint64_t kAliveNs = 5'000'000'000;
// As a shrinker: an owner that has not answered for so long waits for something, maybe for the very thread that waits.
constexpr uint64_t kReactMs = 1000;
// What the memory of a victim needs to be counted as free: some wake-ups of its kswapd and the own one.
constexpr uint64_t kSettleMs = 1000;
// How long nobody keeps room ahead of need: until who decides has got its memory and allocates with it.
constexpr uint64_t kTightMs = 1000;
// Between two looks of who waits.
constexpr uint64_t kLookMs = 2;

template <class T>
T load(const T& number) {
  return __atomic_load_n(&number, __ATOMIC_ACQUIRE);
}

// Looks at `done` until it is true; false: so many milliseconds are over. Looks are what is counted: when nobody got a
// processor for some time, the others' time is not over either.
template <class Done>
bool wait_until(uint64_t ms, Done done) {
  for (uint64_t looks = ms / kLookMs; !done(); --looks) {
    if (looks == 0) return false;
    os::sleep_ms(kLookMs);
  }
  return true;
}

constexpr uint64_t state_of(uint64_t ticket, unsigned step) {
  return ticket * 4 + step;
}

bool change_state(weir_pool_order& order, uint64_t from, uint64_t to) {
  return __atomic_compare_exchange_n(&order.state, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

// What all members together may hold, swap files included.
Pages total_of(const weir_pool& pool) {
  Pages total(load(pool.limit));
  for (const weir_pool_member& m : pool.members)
    if (load(m.pid) != 0) total += Pages(load(m.swap_total));
  return total;
}

}  // namespace

// -- a member --------------------------------------------------------------------------------------------------------

void PoolMember::forget() {
  has_order_.store(false);
  kills_seen_ = 0;
}

void PoolMember::answer(const BudgetPool& pool, Held held, uint64_t call) {
  weir_pool_member& self = *pool.self();
  weir_pool_row* rows = pool.rows(pool.index());
  rows[0] = {};
  rows[0].serial = self.joined;
  rows[0].pages = held.used.v;
  rows[0].swapped = held.swapped.v;
  rows[0].oom_score_adj = self.oom_score_adj;
  rows[0].kill = self.kill;
  rows[0].state = self.dying != 0 ? WEIR_POOL_ROW_DYING : WEIR_POOL_ROW_RUNS;
  memcpy(rows[0].name, self.command, sizeof(self.command));
  const Hooks* hooks = hooks_.load(std::memory_order_acquire);
  uint32_t count = 1;
  if (hooks != nullptr) count = hooks->rows(hooks->self, rows, WEIR_POOL_ROWS, total_of(*pool.shared()));
  publish(self.nr_rows, count);
  publish(self.answered, call);
}

bool PoolMember::take(weir_pool_order& order) {
  const uint64_t state = load(order.state);
  if (state % 4 != WEIR_POOL_ORDER_GIVEN) return false;
  const uint64_t taken = state / 4 * 4 + WEIR_POOL_ORDER_TAKEN;
  if (!change_state(order, state, taken)) return false;
  order_ = order;
  order_.state = taken;
  return true;
}

// One that is not wanted any more has no result.
void PoolMember::finish(weir_pool_member& self, weir_pool_order_result result) {
  if (load(self.order.state) != order_.state) return;
  publish(self.order.result, uint32_t{result});
  change_state(self.order, order_.state, order_.state / 4 * 4 + WEIR_POOL_ORDER_DONE);
}

bool PoolMember::is_called(const BudgetPool& pool) {
  const weir_pool& shared = *pool.shared();
  return load(shared.call) != pool.self()->answered && load(shared.decider) != pool.index() + 1;
}

PoolMember::Wish PoolMember::serve(const BudgetPool& pool, Held held, bool has_thread) {
  weir_pool_member& self = *pool.self();
  const weir_pool& shared = *pool.shared();
  const Hooks* hooks = hooks_.load(std::memory_order_acquire);
  if (const uint64_t kills = load(shared.nr_kills); kills != kills_seen_) {
    kills_seen_ = kills;
    if (hooks != nullptr) hooks->note_kill(hooks->self, held.used + held.swapped);
  }
  if (const uint64_t call = load(shared.call); is_called(pool)) answer(pool, held, call);
  if (has_order() || !take(self.order)) return Wish::kNothing;
  const bool is_meant = order_.joined == self.joined;
  if (is_meant && order_.heap != 0 && hooks != nullptr && has_thread) {
    has_order_.store(true, std::memory_order_release);
    return Wish::kCallbacks;
  }
  const bool ends = is_meant && order_.heap == 0 && order_.kill == WEIR_POOL_KILL_SIGNAL;
  finish(self, ends ? WEIR_POOL_DONE : is_meant ? WEIR_POOL_STAYS : WEIR_POOL_FREED);
  return ends ? Wish::kEnd : Wish::kNothing;
}

void PoolMember::carry_out(const BudgetPool& pool) {
  const Hooks* hooks = hooks_.load(std::memory_order_acquire);
  weir_pool_member* self = pool.self();
  if (!has_order() || self == nullptr || hooks == nullptr) return;
  finish(*self, hooks->carry_out(hooks->self, order_, self->order.state));
  has_order_.store(false, std::memory_order_release);
}

// -- who decides -----------------------------------------------------------------------------------------------------

PoolDecision::PoolDecision(Reclaimer& reclaimer) : reclaimer_(reclaimer) {
  const BudgetPool& pool = reclaimer.pool();
  if (!pool.is_member()) return;
  pool_ = pool.shared();
  index_ = pool.index();
  const auto any_other = [&] {
    for (unsigned i = 0; i < WEIR_POOL_MEMBERS; ++i)
      if (is_other(i)) return true;
    return false;
  };
  if (!any_other()) return;
  if (begin()) {
    call_all();
    state_ = State::kOpen;
    return;
  }
  // One that was stopped while it decided holds up nobody.
  const uint64_t decider = load(pool_->decider);
  const bool known = decider != 0 && decider <= WEIR_POOL_MEMBERS;
  if (!known || !BudgetPool::is_absent(load(pool_->members[decider - 1].updated), os::now_ns())) state_ = State::kBusy;
}

PoolDecision::~PoolDecision() {
  if (state_ != State::kOpen) return;
  const auto unlock = [](BudgetPool& pool, void*) { os::unlock_byte(pool.fd(), WEIR_POOL_OOM_LOCK); };
  static_cast<void>(reclaimer_.with_pool(unlock, nullptr));
}

bool PoolDecision::begin() {
  bool locked = false;
  const auto lock = [](BudgetPool& pool, void* result) {
    *static_cast<bool*>(result) = os::try_lock_byte(pool.fd(), WEIR_POOL_OOM_LOCK);
  };
  if (!reclaimer_.with_pool(lock, &locked) || !locked) return false;
  publish(pool_->decider, uint64_t{index_ + 1});
  keep_tight();
  return true;
}

void PoolDecision::keep_tight() {
  publish(pool_->tight_until, os::now_ns() + kTightMs * 1'000'000);
}

bool PoolDecision::has_room(Pages count) {
  reclaimer_.look_anew();
  return reclaimer_.find_room(count);
}

bool PoolDecision::is_other(unsigned member) const {
  return member != index_ && load(pool_->members[member].pid) != 0;
}

void PoolDecision::call_all() {
  const uint64_t now = os::now_ns();
  bool alive[WEIR_POOL_MEMBERS];
  for (unsigned i = 0; i < WEIR_POOL_MEMBERS; ++i) alive[i] = load(pool_->members[i].updated) + kAliveNs > now;
  call_ = __atomic_add_fetch(&pool_->call, 1, __ATOMIC_ACQ_REL);
  const auto answered = [&](bool by_all) {
    for (unsigned i = 0; i < WEIR_POOL_MEMBERS; ++i)
      if (is_other(i) && (by_all || alive[i]) && load(pool_->members[i].answered) != call_) return false;
    return true;
  };
  if (wait_until(kAnswerMs, [&] { return answered(true); })) return;
  static_cast<void>(wait_until(kLateAnswerMs, [&] {
    keep_tight();  // for longer than it is as a rule
    return answered(false);
  }));
}

const weir_pool_row* PoolDecision::rows(unsigned member, uint32_t& count) const {
  const weir_pool_member& m = pool_->members[member];
  if (load(m.answered) != call_) return nullptr;
  count = std::min(load(m.nr_rows), uint32_t{WEIR_POOL_ROWS});
  return count == 0 ? nullptr : reclaimer_.pool().rows(member);
}

bool PoolDecision::is_same(const Victim& victim) const {
  const weir_pool_member& m = pool_->members[victim.member];
  return load(m.pid) != 0 && load(m.joined) == victim.joined;
}

// False: it has not done yet what an earlier one told it. (One that was taken back may still be carried out; then the
// next one waits for that.)
bool PoolDecision::give(const Victim& victim, uint64_t ticket) {
  weir_pool_order& order = pool_->members[victim.member].order;
  const uint64_t before = load(order.state);
  if (before % 4 == WEIR_POOL_ORDER_GIVEN || before % 4 == WEIR_POOL_ORDER_TAKEN) return false;
  order.kill = victim.kill;
  order.heap = victim.heap;
  order.wanted = victim.wanted;
  order.joined = victim.joined;
  order.by = load(pool_->members[index_].pid);
  order.points = victim.points;
  return change_state(order, before, state_of(ticket, WEIR_POOL_ORDER_GIVEN));
}

PoolDecision::Answer PoolDecision::kill(const Victim& victim) {
  const uint64_t ticket = __atomic_add_fetch(&pool_->tickets, 1, __ATOMIC_ACQ_REL);
  if (!is_same(victim)) return Answer::kFreed;
  const bool ends = victim.kill == WEIR_POOL_KILL_SIGNAL || victim.kill == WEIR_POOL_KILL_ABORT;
  Answer answer = give(victim, ticket) ? await(victim, ticket) : Answer::kNone;
  // One that was stopped cannot end itself.
  if (answer == Answer::kNone && victim.kill == WEIR_POOL_KILL_SIGNAL && end_stopped(victim)) answer = Answer::kDone;
  return ends && answer == Answer::kDone ? await_end(victim) : answer;
}

// Until the order was carried out; one that was not in time is taken back.
PoolDecision::Answer PoolDecision::await(const Victim& victim, uint64_t ticket) {
  weir_pool_order& order = pool_->members[victim.member].order;
  const uint64_t done = state_of(ticket, WEIR_POOL_ORDER_DONE);
  static_cast<void>(wait_until(kReactMs, [&] { return load(order.state) == done || !is_same(victim); }));
  if (!is_same(victim)) return Answer::kDone;
  if (load(order.state) == done) {
    const uint32_t result = load(order.result);
    return result == WEIR_POOL_DONE ? Answer::kDone : result == WEIR_POOL_STAYS ? Answer::kStays : Answer::kFreed;
  }
  const uint64_t taken = state_of(ticket, WEIR_POOL_ORDER_TAKEN);
  // Aborting does not come back to say so.
  if (victim.kill == WEIR_POOL_KILL_ABORT && load(order.state) == taken) return Answer::kDone;
  const uint64_t nothing = state_of(ticket, 0);
  if (!change_state(order, state_of(ticket, WEIR_POOL_ORDER_GIVEN), nothing)) change_state(order, taken, nothing);
  return Answer::kNone;
}

namespace {

struct EndCall {
  const PoolDecision::Victim* victim;
  os::Ending how;
  bool reached;
};

// On a thread with weir's descriptors. Its number is that of the lock's holder; when the entry is still the same one's
// after the process was opened, the process that was opened is the one that is meant.
void end_member(BudgetPool& pool, void* argument) {
  EndCall& call = *static_cast<EndCall*>(argument);
  const uint64_t byte = WEIR_POOL_MEMBER_LOCK + call.victim->member;
  const int pid = os::holder_of_byte(pool.fd(), byte);
  const int process = pid > 0 ? os::open_process(pid) : -1;
  if (process < 0) return;
  const weir_pool_member& member = pool.shared()->members[call.victim->member];
  if (os::holder_of_byte(pool.fd(), byte) == pid && load(member.joined) == call.victim->joined)
    call.reached = os::end_process(process, call.how);
  os::close_descriptor(process);
}

}  // namespace

bool PoolDecision::end_stopped(const Victim& victim) {
  EndCall call{&victim, os::Ending::kTerminate, false};
  return reclaimer_.with_pool(end_member, &call) && call.reached;
}

// The process sees to its end itself, if it can.
PoolDecision::Answer PoolDecision::await_end(const Victim& victim) {
  const auto is_gone = [&] { return !is_same(victim); };
  if (wait_until(Reclaimer::kTermMs, is_gone)) return Answer::kDone;
  if (victim.kill == WEIR_POOL_KILL_ABORT) return Answer::kNone;
  EndCall call{&victim, os::Ending::kKill, false};
  static_cast<void>(reclaimer_.with_pool(end_member, &call));
  return wait_until(kReactMs, is_gone) ? Answer::kDone : Answer::kNone;
}

void PoolDecision::wait_for_end(unsigned member) {
  Victim victim;
  victim.member = member;
  victim.joined = load(pool_->members[member].joined);
  victim.kill = WEIR_POOL_KILL_SIGNAL;
  static_cast<void>(await_end(victim));
}

void PoolDecision::note_kill() {
  __atomic_add_fetch(&pool_->nr_kills, 1, __ATOMIC_ACQ_REL);
}

void PoolDecision::take_over(unsigned member) {
  const weir_pool_member& m = pool_->members[member];
  const uint64_t now = os::now_ns(), joined = load(m.joined);
  keep_tight();
  static_cast<void>(
      wait_until(kSettleMs, [&] { return load(m.pid) == 0 || load(m.joined) != joined || load(m.updated) > now; }));
  reclaimer_.look_anew();
}

}  // namespace weir
