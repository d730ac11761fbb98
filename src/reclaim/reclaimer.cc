#include "reclaim/reclaimer.h"

#include <errno.h>
#include <algorithm>

#include <new>

#include "base/port.h"
#include "base/print.h"
#include "os/cgroup.h"
#include "os/env.h"
#include "os/file.h"
#include "os/pins.h"
#include "os/proc.h"
#include "os/swap_ring.h"
#include "os/uffd.h"
#include "os/vm.h"

namespace weir {
namespace {

// Eight serve a million faults a second.
constexpr unsigned kMostDefaultHandlers = 8;
// How fast weir takes back what others in the cgroup have left, at each look, and what it gives up beyond what is
// missing when that was not enough: a thirty-second of the limit.
constexpr uint64_t kSqueezeShare = 32;

// What a handler needs for a fault and the reads it has begun, from a slow disk as well.
constexpr uint64_t kStopMs = 100;

template <class T>
T* map_new() {
  void* memory = os::vm_map(align_up(sizeof(T), kPageSize));
  return memory == nullptr ? nullptr : new (memory) T();
}

struct WholeLimit {
  Pages pages;
  bool by_rss;  // of the whole process
};

WholeLimit resolve(const Options& options) {
  const auto bytes_of_limit = [](uint64_t wanted) {
    return wanted == kCgroupLimit ? os::cgroup_memory_limit() : wanted;
  };
  const uint64_t heap = bytes_of_limit(options.limit), rss = bytes_of_limit(options.rss_limit);
  const bool by_rss = rss != 0 && (heap == 0 || rss < heap);
  return {Pages((by_rss ? rss : heap) >> kPageShift), by_rss};
}

}  // namespace

bool Reclaimer::init(const Options& options, FaultStory story) {
  options_ = &options;
  story_ = story;
  const WholeLimit limit = resolve(options);
  if (limit.pages.v == 0) return false;
  limit_ = first_limit_ = limit.pages;
  by_rss_ = limit.by_rss;
  policy_.zswap = options.zswap;
  update_policy();
  mode_.store(Mode::kPurge, std::memory_order_relaxed);
  forget_pressure();
  return true;
}

void Reclaimer::update_policy() {
  policy_.codec = options_->zswap_compressor == ZswapCompressor::kZstd ? Codec::kZstd : Codec::kLz4;
  policy_.standby_percent = static_cast<unsigned>(options_->standby_percent);
  policy_.most_readahead = 1u << options_->page_cluster;
  const Pages limit = budget(), wanted(options_->zswap_max >> kPageShift);
  policy_budget_ = limit;
  // Where there is no file, compressed memory is all there is: then an eighth is left for pages in use.
  const Pages most = wanted.v != 0 ? wanted : Pages(wants_file() ? limit.v / 2 : limit.v - limit.v / 8);
  policy_.zswap_max = most < limit ? most : limit;
}

Pages Reclaimer::share_of(NodeId node, Pages pages) const {
  const auto product = static_cast<unsigned __int128>(pages.v) * shares_[node.v].v;
  return Pages(static_cast<uint64_t>(product / first_limit_.v));
}

Pages Reclaimer::zswap_room() const {
  Pages room;
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) room += nodes_[i]->zswap_room();
  return room;
}

bool Reclaimer::options_changed(Budget budget) {
  if (budget == Budget::kAlso) {
    const WholeLimit limit = resolve(*options_);
    if (limit.pages.v == 0) return false;
    LockGuard guard(budget_mutex_);
    left_to_cgroup_ = Pages(0);
    limit_ = limit.pages;
    by_rss_ = limit.by_rss;
    share_out();
  }
  change_policies();
  wake_flusher();
  return true;
}

bool Reclaimer::follows_cgroup() const {
  const bool follows = options_->limit == kCgroupLimit || options_->rss_limit == kCgroupLimit;
  return follows && !is_lifted() && !pool_.is_member();
}

void Reclaimer::leave_to_cgroup(int64_t room, bool is_short) {
  const uint64_t limit = limit_.load().v, before = left_to_cgroup_.load().v, step = limit / kSqueezeShare;
  const uint64_t pages = static_cast<uint64_t>(room < 0 ? -room : room) >> kPageShift;
  uint64_t now = before;
  if (room < 0)
    now = before + pages + (is_short ? step : 0);
  else if (pages > step)
    now = before > step ? before - step : 0;
  // Half of it is weir's whatever the others hold: with less, the program would only wait.
  if (now > limit / 2) now = limit / 2;
  if (now == before) return;
  {
    LockGuard guard(budget_mutex_);
    left_to_cgroup_ = Pages(now);
    share_out();
  }
  change_policies();
  wake_all_kswapds();
}

bool Reclaimer::cgroup_has_changed() const {
  if (!follows_cgroup()) return false;
  const Pages now = resolve(*options_).pages;
  return now.v != 0 && now != limit_.load();
}

void Reclaimer::change_policies() {
  update_policy();
  for (unsigned i = 0; i < nr_nodes_; ++i) {
    if (nodes_[i] == nullptr) continue;
    ReclaimPolicy policy = policy_;
    policy.zswap_max = share_of(NodeId(static_cast<uint16_t>(i)), policy_.zswap_max);
    nodes_[i]->change_policy(policy);
  }
}

NodeReclaim* Reclaimer::add_node(NodeId node, Pages capacity, Pages managed, StagingPlace staging) {
  auto* made = map_new<NodeReclaim>();
  if (made == nullptr) return nullptr;
  ReclaimPolicy policy = policy_;
  shares_[node.v] = managed;
  policy.zswap_max = share_of(node, policy_.zswap_max);
  if (!made->init(capacity, staging, policy, shards_, files_, counters_)) return nullptr;
  auto* kswapd = map_new<Kswapd>();
  if (kswapd == nullptr) return nullptr;
  kswapd->reclaimer = this;
  kswapd->node = made;
  kswapds_[node.v] = kswapd;
  nodes_[node.v] = made;
  if (node.v >= nr_nodes_) nr_nodes_ = node.v + 1u;
  return made;
}

// -- start, on kswapd's thread ---------------------------------------------------------------------------------------

// One for two processors. kswapd takes as much time as they do; and which of them serves a fault depends on its
// address, so that each goes after all threads, and where there is but one, they take turns. (Of two processors, with
// one handler instead of two, one thread touches 8 to 12% more a second, two 4 to 12% more, eight 17%, and with a swap
// file 6 to 25%.) Where a handler cannot but sleep while it reads from a file, others have to be there.
unsigned Reclaimer::handlers_wanted() const {
  if (options_->handlers != 0) return std::min(static_cast<unsigned>(options_->handlers), Shards::kMost);
  os::SwapRing ring;
  const bool sleeps = wants_file() && !ring.open(1);
  if (ring.is_open()) ring.close();
  return sleeps ? kMostDefaultHandlers : std::clamp(os::usable_cpus() / 2, 1u, kMostDefaultHandlers);
}

// Opens a userfaultfd for each shard; returns 0 or -errno.
int Reclaimer::open_shards() {
  const unsigned wanted = handlers_wanted();
  shards_.count = 0;
  for (unsigned i = 0; i < wanted; ++i) {
    os::UffdFeatures features;
    const int fd = os::uffd_open(held_.device, features);
    if (fd < 0) return shards_.count == 0 ? fd : 0;
    shards_.move = features.move && options_->uffd_move;
    shards_.write_protect = features.write_protect;
    shards_.poison = features.poison;
    shards_.drop_in_place = shards_.move && options_->drop_in_place && features.thread_id && os::can_drop_in_place();
    const int problem = shards_.move ? 0 : os::why_not_lift(shards_.status);
    if (problem != 0) {
      os::close_descriptor(fd);
      return problem;
    }
    shards_.fds[shards_.count++] = fd;
  }
  return 0;
}

bool Reclaimer::start_handlers() {
  if (handlers_ == nullptr)
    handlers_ = static_cast<Handler*>(os::vm_map(align_up(kMostHandlers * sizeof(Handler), kPageSize)));
  if (handlers_ == nullptr) return false;
  for (unsigned i = 0; i < shards_.count; ++i) {
    Handler& handler = handlers_[i];
    if (handler.bench.pages == nullptr) {
      new (&handler) Handler();
      if (!handler.bench.init()) return false;
    }
    handler.reclaimer = this;
    handler.shard = i;
    handler.cpu = -1;
    handler.bench.abandon_reads();
    handler.bench.waker = nullptr;
    handler.waker.forget();
    handler.least_moves = handler.most_moves = static_cast<unsigned>(options_->waker_moves);
    if (os::start_service_thread(handler.stack, os::FileTable::kShared, handler_main, &handler) < 0) return false;
  }
  return true;
}

// Of all descriptors, those that were handed over stay.
void Reclaimer::keep_inherited() {
  int kept[2 * SwapFiles::kMost + 5];
  unsigned count = 0;
  const auto keep = [&](int fd) {
    if (fd < 0) return;
    unsigned at = count++;
    for (; at != 0 && kept[at - 1] > fd; --at) kept[at] = kept[at - 1];
    kept[at] = fd;
  };
  for (unsigned i = 0; i < SwapFiles::kMost; ++i) keep(inherited_.files[i]), keep(inherited_.lifelines[i]);
  keep(inherited_.device);
  keep(inherited_.directory);
  keep(inherited_.pool);
  keep(inherited_.proc);
  keep(page_fd_);
  os::close_all_descriptors_but(kept, count);
  held_ = inherited_;
  pagemap_ = silent_uffd_ = kNotOpened;
  for (unsigned i = 0; i < SwapFiles::kMost; ++i)
    if (files_.is_open(i)) files_[i].set_fd(held_.files[i]);
}

bool Reclaimer::set_up() {
  // A child of a fork has what its parent handed to it, and goes on with that.
  const bool again = zeros_ != nullptr;
  keep_inherited();
  join_pool();
  if (held_.device < 0) held_.device = os::open_read_write("/dev/userfaultfd");
  // (A child may have another root.)
  if (held_.proc < 0) held_.proc = os::open_directory("/proc");
  shards_.proc = held_.proc;
  shards_.status = os::open_pin_status(held_.proc);
  if (stays_blind_) return false;
  refused_ = open_shards();
  if (refused_ != 0) return false;
  open_first_swap_file();
  if (!again) zeros_ = static_cast<char*>(os::vm_map_readonly(kClusterBytes));
  bool ok = zeros_ != nullptr;
  for (Kswapd* each : kswapds_)
    if (each != nullptr && each->bench.pages == nullptr) ok = ok && each->bench.init();
  return ok;
}

bool Reclaimer::start_kswapds() {
  for (unsigned i = 1; i < nr_nodes_; ++i)
    if (kswapds_[i] != nullptr && kswapds_[i] != first_kswapd() &&
        os::start_service_thread(kswapds_[i]->stack, os::FileTable::kShared, kswapd_main, kswapds_[i]) < 0)
      return false;
  return true;
}

void Reclaimer::first_kswapd_main(void* kswapd) {
  auto& own = *static_cast<Kswapd*>(kswapd);
  own.reclaimer->run_first(own);
}

void Reclaimer::kswapd_main(void* kswapd) {
  auto& own = *static_cast<Kswapd*>(kswapd);
  own.reclaimer->run_kswapd(own);
}

Kswapd* Reclaimer::first_kswapd() const {
  for (Kswapd* each : kswapds_)
    if (each != nullptr) return each;
  return nullptr;
}

void Reclaimer::handler_main(void* handler) {
  auto& own = *static_cast<Handler*>(handler);
  own.reclaimer->run_handler(own);
}

void Reclaimer::close_page_descriptor() {
  if (page_fd_ >= 0) os::close_descriptor(page_fd_);
  page_fd_ = -1;
}

void Reclaimer::start() {
  publish();
  if (!options_->background_thread) {
    if (!options_->pool.empty()) pool_problem_ = "it needs background_thread=1";
    return close_page_descriptor();
  }
  static_cast<void>(cpus_.init());
  add_thread();
  ready_.store(0);
  if (os::start_service_thread(first_kswapd()->stack, os::FileTable::kOwn, first_kswapd_main, first_kswapd()) < 0) {
    refused_ = -EAGAIN;
    return close_page_descriptor();
  }
  while (ready_.load(std::memory_order_acquire) == 0) port::futex_wait(ready_, 0);
  close_page_descriptor();
}

// -- looking ---------------------------------------------------------------------------------------------------------

void Reclaimer::report_lost_page(const void* address) {
  Line line;
  line.text("weir: the page at ").pointer(address);
  line.text(" could not be read back from swap; it is lost, and touching it raises ");
  line.text(shards_.signal_of_lost()).text("\n");
  // The program's standard error is in the program's descriptor table.
  const int fd = os::copy_descriptor_of_program(2);
  if (fd < 0) return;
  line.write_to(fd);
  os::close_descriptor(fd);
}

ReclaimStats Reclaimer::stats() {
  ReclaimStats s;
  note_peak();
#define COUNTER(name, help) s.name = counters_.name.load(std::memory_order_relaxed);
#include "reclaim/counters.def"
#undef COUNTER
  s.active = true;
  constexpr const char* kModes[] = {"off", "purge", "swap", "pageout"};
  s.mode = kModes[static_cast<unsigned>(mode())];
  s.limit = limit_;
  for (unsigned i = 0; i < nr_nodes_; ++i) {
    if (nodes_[i] == nullptr) continue;
    s.resident += nodes_[i]->zone().total();
    s.standby += nodes_[i]->standby();
    if (!policy_.zswap) continue;
    s.zswap_pool += nodes_[i]->pool().pool_pages();
    const ZswapStats pool = nodes_[i]->pool().stats();
    s.zswap_stored += Pages(pool.stored);
    s.zswap_bytes += pool.compressed_bytes;
  }
  s.resident_peak = Pages(peak_.load(std::memory_order_relaxed));
  s.swap_used = swap_used();
  s.swap_total = swap_total();
  return s;
}

void Reclaimer::stop_evictions() {
  if (!evicts()) return;
  while (forking_.exchange(true)) os::yield();
  while (evicting_.load() != 0) os::yield();
}

bool Reclaimer::stop_faults() {
  if (mode() != Mode::kSwap) return true;
  still_.store(true);
  const auto at_work = [this] {
    for (unsigned i = 0; i < shards_.count; ++i)
      if (handlers_[i].at_work.load() || handlers_[i].bench.nr_reads.load() != 0) return true;
    return false;
  };
  const uint64_t end = os::now_ms() + kStopMs;
  while (at_work()) {
    if (os::now_ms() > end) {
      still_.store(false);
      return false;
    }
    os::yield();
  }
  return true;
}

void Reclaimer::go_on() {
  if (!evicts()) return;
  still_.store(false);
  forking_.store(false);
}

const char* Reclaimer::verify() {
  if (!can_swap()) return nullptr;
  const char* wrong = nullptr;
  for (unsigned i = 0; i < nr_nodes_ && wrong == nullptr; ++i) {
    if (nodes_[i] == nullptr) continue;
    wrong = nodes_[i]->verify();
    if (wrong == nullptr && policy_.zswap) wrong = nodes_[i]->pool().verify();
  }
  return wrong;
}

}  // namespace weir
