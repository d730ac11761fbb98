// The memory behind a zone's pages: how it moves to other pages, and how it goes back to the system (the part of Zone
// that does it).
//
// Thread safety and invariants: zone.h. System calls come without the lock: on blocks that are off the lists, or on
// runs of the caller's.
#include <bit>
#include <cstring>

#include "base/bitmap.h"
#include "base/check.h"
#include "os/undisturbed.h"
#include "os/vm.h"
#include "page/zone.h"

namespace weir {
namespace {

// Blocks are purged in groups of at most this many pages per lock hold: 4 MiB take the system about 0.3 ms.
constexpr uint64_t kPurgeBatchPages = 1024;
constexpr unsigned kPurgeBatchBlocks = 32;

}  // namespace

// With a limit, pages may leave memory at any moment, with the old data that they hold.
Zone::Stretch Zone::find_kept(Pfn first, Pfn end, bool unseen) const {
  constexpr Pfn kWord = bitmap::kWordBits;
  const auto next = [&](Pfn from, bool kept) {
    for (Pfn at = from; at < end; at = (at / kWord + 1) * kWord) {
      const uint64_t content = config_.hooks.content(config_.hooks.self, at / kWord, unseen);
      const uint64_t found = (kept ? content : ~content) & (~uint64_t{0} << at % kWord);
      const Pfn hit = at / kWord * kWord + static_cast<Pfn>(std::countr_zero(found));
      if (found != 0) return hit < end ? hit : end;
    }
    return end;
  };
  const Pfn from = next(first, true);
  return {from, next(from, false)};
}

Zone::Stretch Zone::find_content(Pfn first, Pfn end) {
  return limited() ? find_kept(first, end, true) : find_resident(first, end);
}

Zone::Stretch Zone::find_stale(Pfn first, Pfn end) {
  return limited() ? find_kept(first, end, false) : find_resident(first, end);
}

Zone::Stretch Zone::find_resident(Pfn first, Pfn end) {
  // Words of the map are shared with neighbours, whose owners change their bits under the lock.
  LockGuard guard(mutex_);
  const size_t from = bitmap::find_next(arena_.residency(), first, end, true);
  return {static_cast<Pfn>(from), static_cast<Pfn>(bitmap::find_next(arena_.residency(), from, end, false))};
}

// Moves a stretch that may consist of several mappings, by halves where it does; what cannot be moved is copied.
bool Zone::move_stretch(char* from, char* to, size_t bytes) {
  switch (os::vm_move(from, to, bytes)) {
    case os::VmMove::kMoved:
      return true;
    case os::VmMove::kSplit:
      if (bytes > kPageSize) {
        const size_t half = align_up(bytes / 2, kPageSize);
        return move_stretch(from, to, half) && move_stretch(from + half, to + half, bytes - half);
      }
      [[fallthrough]];
    case os::VmMove::kFailed:
      if (!arena_.renew(pfn_of(to), pages_of(bytes))) return false;  // on the arena's node, as the rest
      memcpy(to, from, bytes);
      return true;
  }
  return false;
}

Zone::Move Zone::move_run(Pfn from, Pages count, Pfn to) {
  // While the pages move, nothing is mapped at `from`. In reserved space the kernel could put something else there.
  // Under a limit, faults of these pages may be weir's to resolve, and some may be swapped out.
  if (!config_.place.bare || limited()) return Move::kFailed;
  // A destination that can be neither mapped nor left is an address space that is broken beyond repair.
  WEIR_CHECK(move_stretch(address(from), address(to), bytes_of(count)));
  // Should the system refuse to map `from` again (no more mappings), that space is lost: it stays a run for ever.
  if (renew_mapping(from, count)) static_cast<void>(free_run(from, Touched::kNo));
  LockGuard guard(mutex_);
  counters_.pgmoved += count.v;
  publish_rest();
  return Move::kMoved;
}

// Under a limit the mapping stays, because faults on it are reported through it: it is only emptied.
bool Zone::renew_limited(Pfn first, Pages count) {
  return os::vm_commit(address(first), bytes_of(count)) && purge_held(first, count);
}

// Drops content at its address and wherever it is kept.
bool Zone::purge_held(Pfn first, Pages count) {
  if (!limited()) return os::vm_purge(address(first), bytes_of(count));
  bool purged = false;
  os::undisturbed([this, first, count, &purged] {
    config_.hooks.drop(config_.hooks.self, first, count, true);
    const bool gone = os::vm_purge(address(first), bytes_of(count));
    config_.hooks.drop(config_.hooks.self, first, count, false);
    purged = gone;
  });
  return purged;
}

bool Zone::renew_mapping(Pfn first, Pages count) {
  if (limited()) return renew_limited(first, count);
  if (!arena_.renew(first, count)) return false;
  LockGuard guard(mutex_);
  // With its neighbours' advice, or it could not merge with them.
  const bool huge = config_.huge_pages == HugePages::kAlways || (huge_from_ && first >= huge_from_->v);
  os::vm_huge_pages(address(first), bytes_of(count), huge);
  counters_.pgpurged += bitmap::clear_range(arena_.residency(), first, count.v);
  publish_rest();
  return true;
}

bool Zone::drop_pages(Pfn first, Pages count) {
  end_huge_pages();
  if (!purge_held(first, count)) return false;
  LockGuard guard(mutex_);
  // Under a limit they stay counted: whether their next touch will be seen is not known here.
  if (!limited()) bitmap::clear_range(arena_.residency(), first, count.v);
  counters_.pgpurged += count.v;
  publish_rest();
  return true;
}

void Zone::retire(Pfn first, Pages count) {
  if (limited()) config_.hooks.retire(config_.hooks.self, first, count);
  // Locked memory stays what it is.
  if (drop_pages(first, count) && limited()) clear_resident(first, count);
}

Pages Zone::decay_tick(Pages more) {
  uint64_t unused;
  {
    LockGuard guard(mutex_);
    unused = window_.tick(buddy_.nr_free_resident().v) + more.v;
  }
  return unused == 0 ? Pages(0) : purge(Pages(unused), Order(kMaxOrder), Metadata::kAlso);
}

Pages Zone::purge(Pages target, Order largest, Metadata metadata) {
  end_huge_pages();
  uint64_t purged = 0;
  while (purged < target.v) {
    Pfn blocks[kPurgeBatchBlocks];
    bool dropped[kPurgeBatchBlocks];
    unsigned taken = 0;
    uint64_t pages = 0;
    mutex_.lock();
    while (taken < kPurgeBatchBlocks && pages < kPurgeBatchPages && purged + pages < target.v) {
      const Pfn pfn = buddy_.isolate_warm(largest);
      if (pfn == kNoPfn) break;
      blocks[taken++] = pfn;
      pages += desc(pfn).count;
      isolated_ += uint64_t{1} << desc(pfn).order;
      isolated_resident_ += desc(pfn).count;
    }
    publish();
    mutex_.unlock();
    if (taken == 0) break;
    for (unsigned i = 0; i < taken; ++i) {
      dropped[i] = os::vm_purge(address(blocks[i]), kPageSize << desc(blocks[i]).order);
      if (metadata == Metadata::kAlso && desc(blocks[i]).order == kMaxOrder) arena_.drop_extra_metadata(blocks[i]);
    }
    bool refused = false;
    mutex_.lock();
    for (unsigned i = 0; i < taken; ++i) {
      const unsigned order = desc(blocks[i]).order;
      isolated_ -= uint64_t{1} << order;
      isolated_resident_ -= desc(blocks[i]).count;
      show_free_resident();
      if (dropped[i]) {
        const size_t gone = clear_resident(blocks[i], Pages(uint64_t{1} << order));
        purged += gone;
        counters_.pgpurged += gone;
        window_.forget(gone);
      } else {
        refused = true;
        ++counters_.purge_fail;
      }
      buddy_.putback(blocks[i]);
    }
    publish();
    publish_rest();
    mutex_.unlock();
    if (refused) break;  // mlocked memory stays refused; trying the same blocks again would not end
  }
  return Pages(purged);
}

}  // namespace weir
