// What the Reclaimer does as a member of a pool: joins it, gets its part of the limit, and has its say when memory runs
// out in the pool.
#include <algorithm>

#include "os/env.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/process.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// What a process of a pool is owed comes within some wake-ups of the others' kswapds and the time that they need to
// write to a disk what they hold too much; who owes for longer was stopped.
constexpr uint64_t kOwedNs = 3'000'000'000;
// Watermarks and the compressed pool's room follow a budget that changed by more than this part.
constexpr uint64_t kNoticeableShare = 16;

// Rounds in vain after which others need not wait for what this process should give back: it has nothing to give. (One
// may be in vain because pages are on their way.)
constexpr uint32_t kStuckRounds = 4;

// As in weir/pool.h.
uint16_t number_of_policy(OomPolicy policy) {
  return policy == OomPolicy::kKill    ? WEIR_POOL_KILL_SIGNAL
         : policy == OomPolicy::kAbort ? WEIR_POOL_KILL_ABORT
                                       : WEIR_POOL_KILL_FAIL;
}

}  // namespace

// -- joining ---------------------------------------------------------------------------------------------------------

// On the first kswapd, when there is no other thread yet.
void Reclaimer::join_pool() {
  if (options_->pool.empty()) return;
  const BudgetPool::Join result = enter_pool(options_->pool.view());
  pool_problem_ = result == BudgetPool::Join::kOk ? nullptr : BudgetPool::describe(result);
}

BudgetPool::Join Reclaimer::enter_pool(std::string_view name) {
  LockGuard guard(budget_mutex_);
  const BudgetPool::Join result = pool_.join(name, limit_, held_.pool);
  if (result != BudgetPool::Join::kOk) {
    pool_.forget();
    return result;
  }
  held_.pool = pool_.fd();
  pool_part_ = pool_part();
  share_out();
  return result;
}

BudgetPool::Join Reclaimer::join_pool_now(std::string_view name) {
  Request request;
  request.pool = name;
  static_cast<void>(ask(request, first_kswapd()->node->zone().node()));
  return request.joined;
}

// -- its part --------------------------------------------------------------------------------------------------------

// With a limit of the whole process, the heap gets what everything else leaves: what that is, the kernel tells.
void Reclaimer::update_limit(const Kswapd& kswapd) {
  if ((!by_rss_ && !pool_.is_member()) || is_lifted() || &kswapd != first_kswapd()) return;
  LockGuard guard(budget_mutex_);
  if (is_lifted()) return;
  if (pool_.is_member()) {
    const Pages now = pool_part(), then = policy_budget_;
    pool_part_ = now;
    // What depends on the budget need not follow each page; but a part that grows little by little is followed too.
    const uint64_t difference = then < now ? now.v - then.v : then.v - now.v;
    if (difference > then.v / kNoticeableShare) change_policies();
  }
  share_out();
}

Pages Reclaimer::pool_part() {
  BudgetPool::Usage usage;
  for (unsigned i = 0; i < nr_nodes_; ++i) {
    if (nodes_[i] == nullptr) continue;
    usage.used += nodes_[i]->zone().total();
    usage.swapped += Pages(nodes_[i]->swapped_pages());
    usage.reserve += nodes_[i]->zone().watermarks().high;
    if (kswapds_[i] != nullptr) usage.waiting += Pages(kswapds_[i]->waiting_pages.load(std::memory_order_relaxed));
  }
  if (by_rss_) usage.used = os::resident().all;
  usage.swap_used = swap_used();
  usage.swap_total = swap_total();
  usage.oom_score_adj = static_cast<int>(options_->oom_score_adj);
  usage.kill = number_of_policy(options_->oom);
  usage.dying = is_ending();
  usage.stuck = first_kswapd()->fruitless.load() >= kStuckRounds;
  return pool_.update(usage);
}

Pages Reclaimer::most_managed(const Zone& zone) const {
  if (pool_.is_member()) return share_of(zone.node(), pool_.limit());
  const uint64_t files = has_files() ? std::min(files_now_.load().v, files_allowed_.load().v) : 0;
  return zone.managed() + Pages(files / nr_nodes_);
}

// Whether other members of the pool have yet to give back what this process may have. They do so when they come by,
// unless they were stopped.
bool Reclaimer::is_owed(Kswapd& kswapd) {
  if (!pool_.is_member() || !pool_.is_owed()) {
    kswapd.owed_since_ns = 0;
    return false;
  }
  const uint64_t now = os::now_ns();
  if (kswapd.owed_since_ns == 0) kswapd.owed_since_ns = now;
  return now - kswapd.owed_since_ns < kOwedNs;
}

// -- when memory runs out --------------------------------------------------------------------------------------------

PoolMember::Held Reclaimer::held() {
  PoolMember::Held held;
  for (unsigned i = 0; i < nr_nodes_; ++i) {
    if (nodes_[i] == nullptr) continue;
    held.used += nodes_[i]->zone().used();
    held.swapped += Pages(nodes_[i]->swapped_pages());
  }
  return held;
}

void Reclaimer::serve_pool(const Kswapd& kswapd) {
  if (&kswapd != first_kswapd()) return;
  finish_ending();
  if (!pool_.is_member()) return;
  // Who decides counts on what all have given up by then.
  if (PoolMember::is_called(pool_)) update_limit(kswapd);
  const bool has_thread = shrinkers_ != nullptr && shrinkers_->has_thread();
  switch (pool_member_.serve(pool_, held(), has_thread)) {
    case PoolMember::Wish::kNothing:
      break;
    case PoolMember::Wish::kEnd:
      end_process();
      break;
    case PoolMember::Wish::kCallbacks:
      shrinkers_->bell().ring();
  }
}

bool Reclaimer::with_pool(void (*what)(BudgetPool& pool, void* argument), void* argument) {
  if (!has_kswapd()) return false;
  Request request;
  request.with_pool = what;
  request.argument = argument;
  return ask(request, first_kswapd()->node->zone().node());
}

void Reclaimer::run_with_pool(Request& request) {
  if (!request.pool.empty()) {
    request.joined = enter_pool(request.pool);
    return;
  }
  LockGuard guard(budget_mutex_);
  request.with_pool(pool_, request.argument);
}

void Reclaimer::look_anew() {
  for (Kswapd* each : kswapds_)
    if (each != nullptr) each->fruitless.store(0);
  wake_all_kswapds();
}

bool Reclaimer::find_room(Pages count) {
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (kswapds_[i] != nullptr && wait_for_pages(*nodes_[i], count)) return true;
  return false;
}

void Reclaimer::end_process() {
  uint64_t none = 0;
  if (kill_at_ms_.compare_exchange_strong(none, os::now_ms() + kTermMs)) os::terminate_self();
}

void Reclaimer::finish_ending() {
  const uint64_t at = kill_at_ms_.load(std::memory_order_relaxed);
  if (at != 0 && os::now_ms() >= at) os::kill_self();
}

}  // namespace weir
