#include "page/buddy.h"

#include <bit>

#include "base/bitmap.h"
#include "base/check.h"
#include "base/publish.h"

namespace weir {
namespace {

constexpr unsigned index_of(MigrateType t) {
  return static_cast<unsigned>(t);
}

// Where a type takes pages from when its own lists are empty (kernel: `fallbacks`).
constexpr MigrateType kFallbacks[kNrMigrateTypes][2] = {
    {MigrateType::kReclaimable, MigrateType::kMovable},    // unmovable
    {MigrateType::kReclaimable, MigrateType::kUnmovable},  // movable
    {MigrateType::kUnmovable, MigrateType::kMovable},      // reclaimable
};

// Where a fit for a run is looked for: so many blocks of each of so many orders, from the run's own downwards. A look
// costs some cache misses; all of them together cost less than the page faults of a run without memory.
constexpr unsigned kSeedOrders = 4;
constexpr unsigned kSeedsPerOrder = 32;

unsigned order_for(Pages count) {
  return count.v <= 1 ? 0 : static_cast<unsigned>(std::bit_width(count.v - 1));
}

}  // namespace

void Buddy::init(PageDesc* pages, uint64_t* residency, uint64_t* free_max_blocks, MigrateType* pageblock_types) {
  pageblock_types_ = pageblock_types;
  pages_ = pages;
  residency_ = residency;
  free_max_blocks_ = free_max_blocks;
}

void Buddy::publish_in(weir_stats_node* node) {
  static_assert(kNrMigrateTypes == WEIR_STATS_TYPES && kNrOrders == WEIR_STATS_ORDERS);
  published_ = node;
  if (node == nullptr) return;
  for (unsigned t = 0; t < kNrMigrateTypes; ++t) {
    publish(node->pageblocks[t], counts_.pageblocks[t]);
    for (unsigned o = 0; o < kNrOrders; ++o) publish(node->free_blocks[t][o], counts_.free_blocks[t][o]);
  }
}

void Buddy::count_block(MigrateType type, unsigned order, int change) {
  const unsigned t = index_of(type);
  counts_.free_blocks[t][order] += static_cast<uint64_t>(int64_t{change});
  if (published_ != nullptr) publish(published_->free_blocks[t][order], counts_.free_blocks[t][order]);
}

void Buddy::count_pageblock(MigrateType type, int change) {
  const unsigned t = index_of(type);
  counts_.pageblocks[t] += static_cast<uint64_t>(int64_t{change});
  if (published_ != nullptr) publish(published_->pageblocks[t], counts_.pageblocks[t]);
}

void Buddy::set_pageblock_type(Pfn pfn, MigrateType type) {
  MigrateType& now = pageblock_types_[pfn / kPageblockPages];
  count_pageblock(now, -1);
  now = type;
  count_pageblock(now, 1);
}

void Buddy::add_range(Pfn first, Pages count) {
  WEIR_DCHECK(first == end_);
  end_ = first + static_cast<Pfn>(count.v);
  // All memory starts out movable, as in the kernel; unmovable users then claim whole pageblocks.
  for (Pfn p = static_cast<Pfn>(align_up(first, kPageblockPages)); p < end_; p += kPageblockPages) {
    pageblock_types_[p / kPageblockPages] = MigrateType::kMovable;
    count_pageblock(MigrateType::kMovable, 1);
  }
  give_range(first, count);
}

uint32_t Buddy::resident_in(Pfn pfn, unsigned order) const {
  return static_cast<uint32_t>(bitmap::count_range(residency_, pfn, size_t{1} << order));
}

void Buddy::insert(Pfn pfn, unsigned order, uint32_t resident, MigrateType type) {
  const Warmth warmth = resident != 0 ? kWarm : kCold;
  List& list = lists_[warmth][index_of(type)][order];
  // Last in, first out: what was freed last is most likely still in the processor's caches.
  pages_[pfn] = {list.first, kNoPfn, resident, PageState::kFree, static_cast<uint8_t>(order), type, 0};
  if (list.first != kNoPfn)
    pages_[list.first].prev = pfn;
  else
    list.last = pfn;
  list.first = pfn;
  nonempty_[warmth][index_of(type)] = static_cast<uint16_t>(nonempty_[warmth][index_of(type)] | (1u << order));
  if (order == kMaxOrder) bitmap::set(free_max_blocks_, pfn / kMaxOrderPages);
  if (order != 0 && order != kMaxOrder) {
    PageDesc& tail = pages_[pfn + (Pfn{1} << order) - 1];
    tail.state = PageState::kFreeTail;
    tail.order = static_cast<uint8_t>(order);
  }
  nr_free_ += uint64_t{1} << order;
  nr_free_resident_ += resident;
  count_block(type, order, 1);
}

void Buddy::remove(Pfn pfn) {
  PageDesc& d = pages_[pfn];
  const unsigned order = d.order;
  const Warmth warmth = d.count != 0 ? kWarm : kCold;
  List& list = lists_[warmth][index_of(d.list_type)][order];
  (d.prev != kNoPfn ? pages_[d.prev].next : list.first) = d.next;
  (d.next != kNoPfn ? pages_[d.next].prev : list.last) = d.prev;
  if (list.first == kNoPfn)
    nonempty_[warmth][index_of(d.list_type)] =
        static_cast<uint16_t>(nonempty_[warmth][index_of(d.list_type)] & ~(1u << order));
  if (order == kMaxOrder) bitmap::clear(free_max_blocks_, pfn / kMaxOrderPages);
  nr_free_ -= uint64_t{1} << order;
  nr_free_resident_ -= d.count;
  count_block(d.list_type, order, -1);
  if (order != kMaxOrder) pages_[pfn + (Pfn{1} << order) - 1].state = PageState::kBody;
  d.state = PageState::kBody;
}

Pfn Buddy::find(unsigned order, MigrateType type) const {
  for (const Warmth warmth : {kWarm, kCold}) {
    const unsigned mask = static_cast<unsigned>(nonempty_[warmth][index_of(type)]) >> order;
    if (mask != 0) return lists_[warmth][index_of(type)][order + static_cast<unsigned>(std::countr_zero(mask))].first;
  }
  return kNoPfn;
}

// The largest block of another type, so that stealing takes few large pieces instead of polluting many pageblocks.
Pfn Buddy::find_fallback(unsigned order, MigrateType type) const {
  for (unsigned o = kNrOrders; o-- > order;) {
    for (const MigrateType from : kFallbacks[index_of(type)]) {
      for (const Warmth warmth : {kWarm, kCold})
        if ((nonempty_[warmth][index_of(from)] >> o) & 1) return lists_[warmth][index_of(from)][o].first;
    }
  }
  return kNoPfn;
}

// Moves the free blocks of a pageblock to the lists of `type`; returns how many pages were free.
unsigned Buddy::move_free_pages(Pfn pageblock, MigrateType type) {
  unsigned moved = 0;
  const Pfn end =
      pageblock + static_cast<Pfn>(kPageblockPages) < end_ ? pageblock + static_cast<Pfn>(kPageblockPages) : end_;
  for (Pfn p = pageblock; p < end;) {
    PageDesc& d = pages_[p];
    if (d.state == PageState::kFree) {
      const unsigned order = d.order;
      const uint32_t resident = d.count;
      remove(p);
      insert(p, order, resident, type);
      moved += 1u << order;
      p += Pfn{1} << order;
    } else if (d.state == PageState::kBlock || d.state == PageState::kIsolated) {
      p += Pfn{1} << d.order;
    } else {
      p += d.state == PageState::kRun ? d.count : 1;
    }
  }
  return moved;
}

// Claims the pageblock(s) of a foreign free block where that keeps the types apart (kernel: try_to_claim_block):
// always when it is at least half a pageblock in order, or when the claimer cannot move. True when claimed.
bool Buddy::steal(Pfn pfn, MigrateType type) {
  const unsigned order = pages_[pfn].order;
  if (order >= kPageblockOrder) {
    const uint32_t resident = pages_[pfn].count;
    remove(pfn);
    for (Pfn p = pfn; p < pfn + (Pfn{1} << order); p += kPageblockPages) set_pageblock_type(p, type);
    insert(pfn, order, resident, type);
    ++nr_stolen_;
    return true;
  }
  if (order < kPageblockOrder / 2 && type == MigrateType::kMovable) return false;
  const Pfn pageblock = pfn & ~Pfn{kPageblockPages - 1};
  const unsigned moved = move_free_pages(pageblock, type);
  // As the kernel: the pageblock changes its type when at least half of it is now of the claimer's kind.
  if (moved >= kPageblockPages / 2) {
    set_pageblock_type(pageblock, type);
    ++nr_stolen_;
  }
  return true;
}

// Cuts a block that is off the lists down to order `to`, putting the other halves on the lists of `rest_type`, and
// returns the piece kept: the one with memory behind it if only one half has some, otherwise the lower.
Pfn Buddy::split(Pfn pfn, unsigned from, unsigned to, MigrateType rest_type) {
  uint32_t resident = pages_[pfn].count;
  while (from > to) {
    --from;
    const uint32_t half = uint32_t{1} << from;
    const Pfn upper = pfn + half;
    uint32_t low = 0;
    if (resident == 2 * half)
      low = half;
    else if (resident != 0)
      low = resident_in(pfn, from);
    const uint32_t high = resident - low;
    if (low == 0 && high != 0) {
      insert(pfn, from, low, rest_type);
      pfn = upper;
      resident = high;
    } else {
      insert(upper, from, high, rest_type);
      resident = low;
    }
  }
  pages_[pfn].order = static_cast<uint8_t>(to);
  pages_[pfn].count = resident;
  return pfn;
}

Pfn Buddy::take_block(Order order, MigrateType type) {
  Pfn pfn = find(order.v, type);
  MigrateType rest = type;
  if (pfn == kNoPfn) {
    pfn = find_fallback(order.v, type);
    if (pfn == kNoPfn) return kNoPfn;
    rest = steal(pfn, type) ? type : pages_[pfn].list_type;
  }
  const unsigned from = pages_[pfn].order;
  remove(pfn);
  pfn = split(pfn, from, order.v, rest);
  pages_[pfn].state = PageState::kBlock;
  return pfn;
}

Pfn Buddy::become_run(Pfn head, Pages count) {
  pages_[head].state = PageState::kRun;
  pages_[head].count = static_cast<uint32_t>(count.v);
  pages_[head].next = 0;
  return head;
}

Pfn Buddy::take_run(Pages count, Pages align, MigrateType type) {
  WEIR_DCHECK(align.v <= kMaxOrderPages);
  if (count.v > kMaxOrderPages) return take_contiguous(count);
  const uint64_t widest = count.v > align.v ? count.v : align.v;
  if (align.v == 1) {
    const Pfn found = take_from_extent(count, type);
    if (found != kNoPfn) return found;
  }
  // Blocks are aligned to their own size, so a block that is as large as the alignment is aligned.
  const unsigned order = order_for(Pages(widest));
  const Pfn pfn = take_block(Order(static_cast<uint8_t>(order)), type);
  if (pfn == kNoPfn) return kNoPfn;
  const uint64_t block = uint64_t{1} << order;
  if (block != count.v) give_range(pfn + static_cast<Pfn>(count.v), Pages(block - count.v));
  return become_run(pfn, count);
}

// Free pages around a free block, walking both ways until there are `enough` or something is in the way.
Buddy::Extent Buddy::extent_around(Pfn pfn, uint64_t enough) const {
  Pfn first = pfn;
  Pfn end = pfn + (Pfn{1} << pages_[pfn].order);
  while (end - first < enough && end < end_ && pages_[end].state == PageState::kFree)
    end += Pfn{1} << pages_[end].order;
  while (end - first < enough && first != 0) {
    const PageDesc& before = pages_[first - 1];
    const bool is_free =
        before.state == PageState::kFreeTail || (before.state == PageState::kFree && before.order == 0);
    if (!is_free) break;
    first -= Pfn{1} << before.order;
  }
  return {first, end - first};
}

// A run out of neighbouring free blocks, the tightest fit among those around some warm blocks of about its size.
// Without this, every run would cut a block of the next higher power of two, and longer runs would never find one again
// among all the memory that is free and resident (measured: 217 MiB of it beside 66 MiB in use).
Pfn Buddy::take_from_extent(Pages count, MigrateType type) {
  const unsigned floor = static_cast<unsigned>(std::bit_width(count.v)) - 1;
  Extent best;
  for (unsigned down = 0; down < kSeedOrders && down <= floor; ++down) {
    Pfn seed = lists_[kWarm][index_of(type)][floor - down].first;
    for (unsigned tries = 0; tries < kSeedsPerOrder && seed != kNoPfn; ++tries, seed = pages_[seed].next) {
      // Twice the length is enough to tell a tight fit from a loose one.
      const Extent extent = extent_around(seed, 2 * count.v);
      if (extent.pages >= count.v && (best.first == kNoPfn || extent.pages < best.pages)) best = extent;
      if (best.pages == count.v) break;
    }
    if (best.first != kNoPfn) break;
  }
  if (best.first == kNoPfn) return kNoPfn;
  WEIR_CHECK(take_following(best.first, count));
  return become_run(best.first, count);
}

// First fit over the map of free blocks of the largest order, lowest address first, so that long runs gather at the
// bottom and what is freed last is found again.
Pfn Buddy::find_contiguous(Pages count) const {
  const size_t wanted = (count.v + kMaxOrderPages - 1) / kMaxOrderPages;
  const size_t blocks = end_ / kMaxOrderPages;
  size_t start = bitmap::find_next(free_max_blocks_, 0, blocks, true);
  for (;;) {
    if (start + wanted > blocks) return kNoPfn;
    const size_t taken = bitmap::find_next(free_max_blocks_, start, start + wanted, false);
    if (taken == start + wanted) return static_cast<Pfn>(start * kMaxOrderPages);
    start = bitmap::find_next(free_max_blocks_, taken, blocks, true);
  }
}

bool Buddy::has_run(Pages count) const {
  if (count.v > kMaxOrderPages) return find_contiguous(count) != kNoPfn;
  unsigned orders = 0;
  for (unsigned t = 0; t < kNrMigrateTypes; ++t) orders |= nonempty_[kWarm][t] | nonempty_[kCold][t];
  return (orders >> order_for(count)) != 0;
}

Pfn Buddy::take_contiguous(Pages count) {
  const Pfn first = find_contiguous(count);
  if (first == kNoPfn) return kNoPfn;
  const size_t wanted = (count.v + kMaxOrderPages - 1) / kMaxOrderPages;
  for (size_t i = 0; i < wanted; ++i) remove(first + static_cast<Pfn>(i * kMaxOrderPages));
  const uint64_t surplus = wanted * kMaxOrderPages - count.v;
  if (surplus != 0) give_range(first + static_cast<Pfn>(count.v), Pages(surplus));
  return become_run(first, count);
}

Pages Buddy::free_at(Pfn next, Pages most) const {
  uint64_t found = 0;
  while (found < most.v && next < end_ && pages_[next].state == PageState::kFree) {
    const Pfn size = Pfn{1} << pages_[next].order;
    found += size;
    next += size;
  }
  return Pages(found < most.v ? found : most.v);
}

Pages Buddy::free_at_end() const {
  if (end_ % kMaxOrderPages != 0) return Pages(0);
  size_t block = end_ / kMaxOrderPages;
  uint64_t found = 0;
  while (block != 0 && bitmap::test(free_max_blocks_, block - 1)) {
    --block;
    found += kMaxOrderPages;
  }
  return Pages(found);
}

bool Buddy::take_following(Pfn next, Pages count) {
  if (free_at(next, count) < count) return false;
  uint64_t taken = 0;
  while (taken < count.v) {
    const Pfn here = next + static_cast<Pfn>(taken);
    taken += uint64_t{1} << pages_[here].order;
    remove(here);
  }
  if (taken > count.v) give_range(next + static_cast<Pfn>(count.v), Pages(taken - count.v));
  return true;
}

bool Buddy::take_range(Pfn first, Pages count) {
  if (first + count.v > end_) return false;
  // Where the block begins that it lies in.
  Pfn head = first;
  while (head != 0 && first - head < kMaxOrderPages && pages_[head].state != PageState::kFree) {
    const bool is_inside =
        pages_[head].state == PageState::kBody || (head == first && pages_[head].state == PageState::kFreeTail);
    if (!is_inside) return false;
    --head;
  }
  const Pages lead(first - head);
  if (pages_[head].state != PageState::kFree || head + (Pfn{1} << pages_[head].order) <= first) return false;
  if (!take_following(head, lead + count)) return false;
  if (lead.v != 0) give_range(head, lead);
  return true;
}

void Buddy::give_block(Pfn pfn, unsigned order) {
  const MigrateType type = pageblock_type(pfn);
  uint32_t resident = resident_in(pfn, order);
  pages_[pfn].state = PageState::kBody;
  while (order < kMaxOrder) {
    const Pfn buddy = pfn ^ (Pfn{1} << order);
    if (buddy + (Pfn{1} << order) > end_) break;
    const PageDesc& b = pages_[buddy];
    if (b.state != PageState::kFree || b.order != order) break;
    resident += b.count;
    remove(buddy);
    pfn &= ~(Pfn{1} << order);
    ++order;
  }
  insert(pfn, order, resident, type);
}

void Buddy::give_range(Pfn first, Pages count) {
  const Pfn last = first + static_cast<Pfn>(count.v);
  pages_[first].state = PageState::kBody;
  while (first < last) {
    // The largest block that is aligned here and still fits.
    unsigned order = first == 0 ? kMaxOrder : static_cast<unsigned>(std::countr_zero(first));
    if (order > kMaxOrder) order = kMaxOrder;
    while ((Pfn{1} << order) > last - first) --order;
    give_block(first, order);
    first += Pfn{1} << order;
  }
}

Pfn Buddy::isolate_warm(Order largest) {
  unsigned orders = 0;
  for (unsigned t = 0; t < kNrMigrateTypes; ++t) orders |= nonempty_[kWarm][t];
  orders &= (2u << largest.v) - 1;
  if (orders == 0) return kNoPfn;
  const unsigned order = static_cast<unsigned>(std::bit_width(orders)) - 1;
  for (unsigned t = 0; t < kNrMigrateTypes; ++t) {
    const Pfn pfn = lists_[kWarm][t][order].last;
    if (pfn == kNoPfn) continue;
    remove(pfn);
    pages_[pfn].state = PageState::kIsolated;
    return pfn;
  }
  return kNoPfn;
}

void Buddy::putback(Pfn pfn) {
  WEIR_DCHECK(pages_[pfn].state == PageState::kIsolated);
  give_block(pfn, pages_[pfn].order);
}

void Buddy::putback_all() {
  for (Pfn p = 0; p < end_;) {
    const PageDesc& d = pages_[p];
    const Pfn size = d.state == PageState::kRun ? d.count : Pfn{1} << d.order;
    if (d.state == PageState::kIsolated) putback(p);
    p += size;
  }
}

const char* Buddy::verify_counts() const {
  BuddyStats found;
  for (unsigned w = 0; w < 2; ++w)
    for (unsigned t = 0; t < kNrMigrateTypes; ++t)
      for (unsigned o = 0; o < kNrOrders; ++o)
        for (Pfn p = lists_[w][t][o].first; p != kNoPfn; p = pages_[p].next) ++found.free_blocks[t][o];
  for (Pfn p = 0; p < end_; p += kPageblockPages) ++found.pageblocks[index_of(pageblock_type(p))];
  for (unsigned t = 0; t < kNrMigrateTypes; ++t) {
    if (found.pageblocks[t] != counts_.pageblocks[t]) return "pageblocks of a type are miscounted";
    for (unsigned o = 0; o < kNrOrders; ++o)
      if (found.free_blocks[t][o] != counts_.free_blocks[t][o]) return "free blocks of an order are miscounted";
  }
  return nullptr;
}

const char* Buddy::verify_free_block(Pfn pfn) const {
  const PageDesc& d = pages_[pfn];
  const Pfn size = Pfn{1} << d.order;
  if (d.order > kMaxOrder || (pfn & (size - 1)) != 0) return "a free block is not aligned to its order";
  if (d.count != resident_in(pfn, d.order)) return "a free block's resident pages are miscounted";
  const PageDesc& tail = pages_[pfn + size - 1];
  if (size > 1 && d.order < kMaxOrder && (tail.state != PageState::kFreeTail || tail.order != d.order))
    return "a free block's tail is not marked";
  const Pfn buddy = pfn ^ size;
  if (d.order < kMaxOrder && buddy + size <= end_ && pages_[buddy].state == PageState::kFree &&
      pages_[buddy].order == d.order)
    return "two free buddies are not merged";
  const Warmth warmth = d.count != 0 ? kWarm : kCold;
  const List& list = lists_[warmth][index_of(d.list_type)][d.order];
  if (d.prev == kNoPfn ? list.first != pfn : pages_[d.prev].next != pfn) return "a free block is not on its list";
  if (d.next == kNoPfn ? list.last != pfn : pages_[d.next].prev != pfn) return "a free list is torn";
  if (d.order == kMaxOrder && !bitmap::test(free_max_blocks_, pfn / kMaxOrderPages))
    return "a free block of the largest order is not in the map";
  return nullptr;
}

const char* Buddy::verify(Pages& block_pages) const {
  block_pages = Pages(0);
  uint64_t free = 0, resident = 0, max_blocks = 0;
  Pfn p = 0;
  while (p < end_) {
    const PageDesc& d = pages_[p];
    switch (d.state) {
      case PageState::kFreeTail:
      case PageState::kBody:
        return "a page belongs to no block";
      case PageState::kFree:
        if (const char* wrong = verify_free_block(p)) return wrong;
        free += uint64_t{1} << d.order;
        resident += d.count;
        max_blocks += d.order == kMaxOrder;
        p += Pfn{1} << d.order;
        break;
      case PageState::kBlock:
        block_pages += pages_of(Order(d.order));
        [[fallthrough]];
      case PageState::kIsolated:
        p += Pfn{1} << d.order;
        break;
      case PageState::kRun:
        if (d.count == 0) return "a run has no pages";
        p += d.count;
        break;
    }
  }
  if (p != end_) return "the last block reaches past the end";
  if (free != nr_free_) return "nr_free differs from the free blocks";
  if (resident != nr_free_resident_) return "nr_free_resident differs from the free blocks";
  if (bitmap::count_range(free_max_blocks_, 0, end_ / kMaxOrderPages) != max_blocks)
    return "the map of largest blocks has stray bits";
  return verify_counts();
}

}  // namespace weir
