#include "page/zone.h"

#include <bit>

#include "base/bitmap.h"
#include "base/check.h"
#include "base/publish.h"
#include "os/vm.h"

namespace weir {
namespace {

// The first extent: enough for a small program, and less than a huge page, so that systems with transparent huge pages
// "always" do not clear 2 MiB for /bin/true.
constexpr Pages kFirstExtent{256};
// Later ones grow with the arena (a quarter), so that the number of calls stays logarithmic, up to this bound: 256 MiB
// are a millisecond's worth of page-table work in the system and no memory.
constexpr uint64_t kLargestExtent = 65536;
// Dense: the zone has 256 MiB or more, of which a few half-touched pageblocks are some percent, and seven eighths of it
// are given out.
constexpr uint64_t kHugeFrom = 65536;
constexpr uint64_t kDenseDivisor = 8;
// Free memory that stays resident whatever happens: the sizes that a program asks for vary by some MiB all the time,
// and by more when it holds more.
constexpr uint64_t kFreePagesKept = 2048;  // 8 MiB
constexpr uint64_t kFreeShareKept = 4;
// Runs from this many pages on (256 KiB) are worth the system calls of an exchange.
constexpr uint64_t kExchangePages = 64;

// The largest order whose blocks are shorter than `count` pages.
uint8_t order_below(Pages count) {
  if (count.v > kMaxOrderPages) return kMaxOrder;
  return static_cast<uint8_t>(std::bit_width(count.v - 1) - 1);
}

// Where each counter is published.
enum : unsigned {
#define VMSTAT(name, help) kAt_##name,
#include "page/vmstat.def"
#undef VMSTAT
};

}  // namespace

bool Zone::init(const ZoneConfig& config) {
  config_ = config;
  set_managed(config.managed);
  watermark_min_ = config.watermarks.min;
  watermark_low_ = config.watermarks.low;
  watermark_high_ = config.watermarks.high;
  if (!arena_.init(config.place, config.extra, config.os_node)) return false;
  LockGuard guard(mutex_);
  buddy_.init(arena_.pages(), arena_.residency(), arena_.free_max_blocks(), arena_.pageblock_types());
  if (!grow(Pages(1))) return false;
  publish_all();
  return true;
}

// Huge pages make the first touch of memory four times cheaper (measured: 0.4 against 1.65 us per 4 KiB), but a zone at
// its frontier holds some pageblocks that are hardly touched. They are worth it where those are few beside what the
// zone holds already, and where what it holds is in use.
void Zone::advise_huge_pages(Pages from, Pages to, bool for_long_run) {
  const size_t bytes = bytes_of(to - from);
  char* first = address(static_cast<Pfn>(from.v));
  switch (config_.huge_pages) {
    case HugePages::kNever:
      return os::vm_huge_pages(first, bytes, false);
    case HugePages::kAlways:
      return os::vm_huge_pages(first, bytes, true);
    case HugePages::kDense: {
      const bool dense = !for_long_run && from.v >= kHugeFrom && charged_ >= from.v - from.v / kDenseDivisor;
      // Where the system gives huge pages unasked, one touch would make memory of 512 pages that count as having none.
      os::vm_huge_pages(first, bytes, dense);
      if (dense && !huge_from_) huge_from_ = from;
    }
  }
}

// Before pages are dropped: the kernel's khugepaged would fill the holes again.
void Zone::end_huge_pages() {
  Pages from, to;
  {
    LockGuard guard(mutex_);
    if (!huge_from_) return;
    from = *huge_from_;
    to = arena_.accessible();
    huge_from_.reset();
  }
  os::vm_huge_pages(address(static_cast<Pfn>(from.v)), bytes_of(to - from), false);
}

bool Zone::grow(Pages at_least, bool for_long_run) {
  const uint64_t now = arena_.accessible().v;
  uint64_t step = now / 4 < kLargestExtent ? now / 4 : kLargestExtent;
  if (step < kFirstExtent.v) step = kFirstExtent.v;
  if (step < at_least.v) step = at_least.v;
  // From the second extent on, ends lie on the largest order, so that no block is lost at the seam.
  const uint64_t grain = now == 0 && at_least <= kFirstExtent ? kFirstExtent.v : kMaxOrderPages;
  uint64_t wanted = align_up(now + step, grain);
  if (wanted > arena_.capacity().v) wanted = arena_.capacity().v;
  if (wanted > config_.most_accessible.v) wanted = config_.most_accessible.v;
  const uint64_t least = align_up(now + at_least.v, kUnitPages);
  if (wanted < least) return false;
  if (limited() && !config_.hooks.cover(config_.hooks.self, Pages(wanted))) return false;
  bool ok = arena_.grow_to(Pages(wanted));
  // Near a limit (RLIMIT_AS, overcommit) a large step may be refused where the bare need is not.
  if (!ok && least < wanted) ok = arena_.grow_to(Pages(wanted = least));
  if (!ok) {
    ++counters_.arena_grow_fail;
    publish_rest();
    return false;
  }
  ++counters_.arena_grow;
  advise_huge_pages(Pages(now), Pages(wanted), for_long_run);
  buddy_.add_range(static_cast<Pfn>(now), Pages(wanted - now));
  accessible_.store(wanted, std::memory_order_relaxed);
  publish_rest();
  return true;
}

// Grows by what is missing when the free blocks at the arena's end are counted in.
bool Zone::grow_for_contiguous(Pages count) {
  const uint64_t now = arena_.accessible().v;
  const uint64_t start = align_up(now, kMaxOrderPages) - buddy_.free_at_end().v;
  const uint64_t end = align_up(start + count.v, kMaxOrderPages);
  return end > now ? grow(Pages(end - now), true) : true;
}

// What is being purged is not in use, either.
Pages Zone::free_resident() const {
  return buddy_.nr_free_resident() + Pages(isolated_resident_);
}

void Zone::show_free_resident() {
  free_resident_.store(free_resident().v, std::memory_order_relaxed);
  isolated_shown_.store(isolated_resident_, std::memory_order_relaxed);
}

// After every change: what changes all the time, and no more, because this is in the way of every run.
void Zone::publish() {
  show_free_resident();
  weir_stats_node* node = config_.published;
  if (node == nullptr) return;
  weir::publish(node->charged, charged_);
  weir::publish(node->free_resident, free_resident().v);
  weir::publish(node->counters[kAt_pgalloc_normal], counters_.pgalloc_normal);
  weir::publish(node->counters[kAt_pgfree], counters_.pgfree);
  weir::publish(node->counters[kAt_pageblock_stolen], buddy_.nr_stolen_pageblocks());
  weir::publish(node->counters[kAt_numa_hit], counters_.numa_hit);
  if (limited()) publish_usage();
}

// After a change of anything else.
void Zone::publish_rest() {
  weir_stats_node* node = config_.published;
  if (node == nullptr) return;
  counters_.pageblock_stolen = buddy_.nr_stolen_pageblocks();
#define VMSTAT(name, help) weir::publish(node->counters[kAt_##name], counters_.name);
#include "page/vmstat.def"
#undef VMSTAT
  weir::publish(node->present, arena_.accessible().v);
  weir::publish(node->metadata_bytes, uint64_t{arena_.metadata_bytes()});
}

void Zone::publish_usage() {
  weir_stats_node* node = config_.published;
  if (node == nullptr) return;
  weir::publish(node->managed, managed().v);
  if (limited()) weir::publish(node->resident, total().v);
}

void Zone::publish_watermarks() {
  weir_stats_node* node = config_.published;
  if (node == nullptr) return;
  const Watermarks marks = watermarks();
  weir::publish(node->watermark_min, marks.min.v);
  weir::publish(node->watermark_low, marks.low.v);
  weir::publish(node->watermark_high, marks.high.v);
}

void Zone::set_watermarks(const Watermarks& marks) {
  watermark_min_ = marks.min;
  watermark_low_ = marks.low;
  watermark_high_ = marks.high;
  publish_watermarks();
}

void Zone::publish_all() {
  weir_stats_node* node = config_.published;
  if (node != nullptr) {
    weir::publish(node->present_node, 1u);
    weir::publish(node->os_node, config_.os_node);
    weir::publish(node->spanned, arena_.capacity().v);
    weir::publish(node->residency, uint64_t{reinterpret_cast<uintptr_t>(arena_.residency())});
    weir::publish(node->pageblock_types, uint64_t{reinterpret_cast<uintptr_t>(arena_.pageblock_types())});
    publish_watermarks();
    publish_rest();
    publish_usage();
  }
  buddy_.publish_in(node);
  publish();
}

// Pages that go to a free list have memory as far as their owner may have touched them; with a limit the map says so.
void Zone::note_touched(Pfn first, Pages count) {
  if (!limited()) bitmap::set_range(arena_.residency(), first, count.v);
}

size_t Zone::clear_resident(Pfn first, Pages count) {
  if (!limited()) return bitmap::clear_range(arena_.residency(), first, count.v);
  const size_t gone = bitmap::atomic_clear_range(arena_.residency(), first, count.v);
  resident_.fetch_sub(gone, std::memory_order_relaxed);
  return gone;
}

uint64_t Zone::charge(uint32_t cluster, uint64_t pages) {
  const uint64_t changed = ~__atomic_fetch_or(&arena_.residency()[cluster], pages, __ATOMIC_RELAXED) & pages;
  resident_.fetch_add(uint64_t{bitmap::weight(changed)}, std::memory_order_relaxed);
  return changed;
}

uint64_t Zone::uncharge(uint32_t cluster, uint64_t pages) {
  if (pages == 0) return 0;
  const uint64_t changed = __atomic_fetch_and(&arena_.residency()[cluster], ~pages, __ATOMIC_RELEASE) & pages;
  resident_.fetch_sub(uint64_t{bitmap::weight(changed)}, std::memory_order_relaxed);
  return changed;
}

Pages Zone::total() const {
  return Pages(resident_.load(std::memory_order_relaxed) + outside_.load(std::memory_order_relaxed));
}

Pages Zone::used() const {
  const uint64_t all = total().v, unused = free_resident_.load(std::memory_order_relaxed);
  return Pages(all > unused ? all - unused : 0);
}

Pages Zone::free_budget() const {
  const Pages taken = used(), all = managed();
  return all > taken ? all - taken : Pages(0);
}

void Zone::recount() {
  resident_.store(bitmap::count_range(arena_.residency(), 0, arena_.accessible().v), std::memory_order_relaxed);
}

PageRun Zone::finish(Pfn head, Pages count, Charge charge) {
  const uint64_t resident = bitmap::count_range(arena_.residency(), head, count.v);
  if (limited() && charge == Charge::kNow)
    resident_.fetch_add(bitmap::atomic_set_range(arena_.residency(), head, count.v), std::memory_order_relaxed);
  charged_ += count.v;
  counters_.pgalloc_normal += count.v;
  ++counters_.numa_hit;
  window_.note(buddy_.nr_free_resident().v);
  publish();
  return {head, Pages(resident)};
}

// After `taken` pages without memory were given out: how many of the free pages that have some should go back to the
// system in exchange, because they evidently do not fit what is asked for. Without this, resident memory would grow
// with every change of habit.
Pages Zone::surplus(Pages taken) {
  const uint64_t kept = charged_ / kFreeShareKept + kFreePagesKept;
  const uint64_t free = buddy_.nr_free_resident().v;
  if (taken.v < kExchangePages || free <= kept) return Pages(0);
  return Pages(taken.v < free - kept ? taken.v : free - kept);
}

PageRun Zone::alloc_block(Order order, MigrateType type) {
  PageRun run;
  {
    LockGuard guard(mutex_);
    Pfn head = buddy_.take_block(order, type);
    // A block may need an aligned start, or just what is left of the arena.
    if (head == kNoPfn && (grow(Pages(2 * pages_of(order).v)) || grow(pages_of(order))))
      head = buddy_.take_block(order, type);
    if (head == kNoPfn) return {};
    run = finish(head, pages_of(order), Charge::kNow);
    run.resident_mask =
        (resident_mask(head / bitmap::kWordBits) >> (head % bitmap::kWordBits)) & bitmap::low_mask(pages_of(order).v);
  }
  if (limited()) config_.hooks.allocated(config_.hooks.self, run.head, pages_of(order));
  return run;
}

void Zone::free_block(Pfn head, Order order, uint64_t touched) {
  if (limited()) config_.hooks.forget(config_.hooks.self, head, pages_of(order));
  LockGuard guard(mutex_);
  WEIR_DCHECK(desc(head).state == PageState::kBlock && desc(head).order == order.v);
  WEIR_DCHECK(pages_of(order).v <= bitmap::kWordBits);
  // Blocks are aligned to their size, so a block of at most 64 pages never straddles two words.
  if (!limited()) arena_.residency()[head / bitmap::kWordBits] |= touched << (head % bitmap::kWordBits);
  charged_ -= pages_of(order).v;
  counters_.pgfree += pages_of(order).v;
  buddy_.give_range(head, pages_of(order));
  publish();
}

Pfn Zone::take_run_or_grow(Pages count, Pages align, MigrateType type) {
  const Pfn head = buddy_.take_run(count, align, type);
  if (head != kNoPfn) return head;
  const uint64_t widest = count.v > align.v ? count.v : align.v;
  const bool grown = widest > kMaxOrderPages
                         ? grow_for_contiguous(count)
                         // A block of the next power of two, aligned: at most twice that is missing.
                         : grow(Pages(widest * 4 < kMaxOrderPages ? widest * 4 : kMaxOrderPages));
  return grown ? buddy_.take_run(count, align, type) : kNoPfn;
}

// Cuts `count` pages at an aligned address out of a run and gives the rest back.
Pfn Zone::align_run(Pfn head, Pages taken, Pages count, Pages align) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(address(head));
  const Pfn lead = static_cast<Pfn>((align_up(at, bytes_of(align)) - at) >> kPageShift);
  const Pfn first = head + lead;
  const Pfn behind = first + static_cast<Pfn>(count.v);
  if (lead != 0) buddy_.give_range(head, Pages(lead));
  if (const uint64_t rest = head + taken.v - behind; rest != 0) buddy_.give_range(behind, Pages(rest));
  buddy_.become_run(first, count);
  return first;
}

PageRun Zone::alloc_run(Pages count, Pages align, MigrateType type, Charge charge) {
  if (count.v == 0 || count + align > arena_.capacity() + Pages(1)) return {};
  PageRun run;
  Pages unfit;
  {
    LockGuard guard(mutex_);
    // Page numbers are aligned as addresses are up to the largest order; beyond that, room to shift makes up for it.
    const bool shift = align.v > kMaxOrderPages;
    const Pages taken = shift ? count + align : count;
    Pfn head = take_run_or_grow(taken, shift ? Pages(1) : align, type);
    if (head == kNoPfn) return {};
    if (shift) head = align_run(head, taken, count, align);
    run = finish(head, count, charge);
    unfit = surplus(count - run.resident);
  }
  if (limited()) config_.hooks.allocated(config_.hooks.self, run.head, count);
  // Only blocks that are too short for such a run.
  if (unfit.v != 0) purge(unfit, Order(order_below(count)), Metadata::kStays);
  return run;
}

bool Zone::free_run(Pfn head, Touched touched) {
  if (limited() && head < accessible_estimate().v && desc(head).state == PageState::kRun)
    config_.hooks.forget(config_.hooks.self, head, Pages(desc(head).count));
  LockGuard guard(mutex_);
  if (head >= arena_.accessible().v || desc(head).state != PageState::kRun) return false;
  const Pages count(desc(head).count);
  if (desc(head).movable != 0) forget_movable(head);
  charged_ -= count.v;
  counters_.pgfree += count.v;
  // Whoever had the run may have touched all of it.
  if (touched == Touched::kYes) note_touched(head, count);
  buddy_.give_range(head, count);
  publish();
  return true;
}

bool Zone::extend_run(Pfn head, Pages count, Pages extra, Charge charge) {
  const Pfn next = head + static_cast<Pfn>(count.v);
  {
    LockGuard guard(mutex_);
    const Pages found = buddy_.free_at(next, extra);
    if (found < extra) {
      // Only a run that ends (with its free pages) at the arena's end can grow together with it.
      if (next + found.v != arena_.accessible().v || !grow(extra - found)) return false;
    }
    if (!buddy_.take_following(next, extra)) return false;
    desc(head).count = static_cast<uint32_t>(count.v + extra.v);
    finish(next, extra, charge);
  }
  if (limited()) config_.hooks.allocated(config_.hooks.self, next, extra);
  return true;
}

void Zone::shrink_run(Pfn head, Pages count, Pages keep, Touched touched) {
  const Pages tail = count - keep;
  const Pfn first = head + static_cast<Pfn>(keep.v);
  if (limited()) config_.hooks.forget(config_.hooks.self, first, tail);
  LockGuard guard(mutex_);
  desc(head).count = static_cast<uint32_t>(keep.v);
  charged_ -= tail.v;
  counters_.pgfree += tail.v;
  if (touched == Touched::kYes) note_touched(first, tail);
  buddy_.give_range(first, tail);
  publish();
}

Pfn Zone::split_run(Pfn head, Pages count, Pages lead) {
  if (limited()) config_.hooks.forget(config_.hooks.self, head, lead);
  LockGuard guard(mutex_);
  const Pfn rest = head + static_cast<Pfn>(lead.v);
  desc(rest).state = PageState::kRun;
  desc(rest).count = static_cast<uint32_t>((count - lead).v);
  desc(rest).next = desc(head).next;
  charged_ -= lead.v;
  counters_.pgfree += lead.v;
  buddy_.give_range(head, lead);
  publish();
  return rest;
}

void Zone::after_fork_in_child() {
  if (isolated_ == 0) return;
  buddy_.putback_all();
  isolated_ = isolated_resident_ = 0;
  publish();
}

void Zone::note_fallback(Zone& wanted) {
  {
    LockGuard guard(mutex_);
    --counters_.numa_hit;
    ++counters_.numa_miss;
    publish_rest();
  }
  LockGuard guard(wanted.mutex_);
  ++wanted.counters_.numa_foreign;
  wanted.publish_rest();
}

ZoneStats Zone::stats() {
  LockGuard guard(mutex_);
  ZoneStats s;
  s.node = config_.node;
  s.accessible = arena_.accessible();
  s.capacity = arena_.capacity();
  s.managed = managed();
  s.charged = Pages(charged_);
  if (limited())
    s.free = free_budget();
  else
    s.free = s.managed.v > charged_ ? Pages(s.managed.v - charged_) : Pages(0);
  s.resident = total();
  s.free_resident = free_resident();
  s.watermarks = watermarks();
  s.metadata_bytes = arena_.metadata_bytes();
  buddy_.collect(s.buddy);
#define VMSTAT(name, help) s.name = counters_.name;
#include "page/vmstat.def"
#undef VMSTAT
  s.pageblock_stolen = buddy_.nr_stolen_pageblocks();
  return s;
}

Pages Zone::taken() {
  LockGuard guard(mutex_);
  return arena_.accessible() - buddy_.nr_free();
}

const char* Zone::verify_locked(Pages& block_pages) const {
  if (const char* wrong = buddy_.verify(block_pages)) return wrong;
  if (charged_ + buddy_.nr_free().v + isolated_ != arena_.accessible().v)
    return "charged + free pages differ from the arena's accessible pages";
  if (isolated_resident_ > isolated_) return "more pages that are being purged have memory than there are";
  if (limited() && bitmap::count_range(arena_.residency(), 0, arena_.accessible().v) != resident_.load())
    return "pages counted as having memory differ from the map";
  if (movable_runs_.load() != count_movable()) return "movable runs differ from their counter";
  if (counters_.pgalloc_normal - counters_.pgfree != charged_)
    return "pages given out minus given back differ from charged";
  return nullptr;
}

}  // namespace weir
