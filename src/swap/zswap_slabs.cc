#include "swap/zswap_slabs.h"

#include <bit>

#include "base/bitmap.h"
#include "os/vm.h"

namespace weir::zswap {
namespace {

constexpr uint32_t kNone = SlabSet::kNone;

// Written with the pool's lock held, read without: no read-modify-write is needed.
void add_to(std::atomic<uint64_t>& counter, uint64_t change) {
  counter.store(counter.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
}

}  // namespace

bool SlabSet::init(uint32_t capacity) {
  words_ = static_cast<uint64_t*>(os::vm_map((words_for(capacity) + summary_for(capacity)) * sizeof(uint64_t)));
  if (words_ == nullptr) return false;
  summary_ = words_ + words_for(capacity);
  capacity_ = capacity;
  return true;
}

void SlabSet::destroy() {
  if (words_ != nullptr) os::vm_unmap(words_, (words_for(capacity_) + summary_for(capacity_)) * sizeof(uint64_t));
  words_ = summary_ = nullptr;
}

uint32_t SlabSet::next(uint32_t from) const {
  if (from >= capacity_) return kNone;
  if (const uint64_t here = words_[from / 64] >> (from % 64))
    return from + static_cast<uint32_t>(std::countr_zero(here));
  const size_t words = words_for(capacity_);
  const size_t word = bitmap::find_next(summary_, from / 64 + 1, words, true);
  return word >= words ? kNone
                       : static_cast<uint32_t>(word * 64) + static_cast<uint32_t>(std::countr_zero(words_[word]));
}

bool Slabs::init(size_t bytes, void* wish) {
  const size_t slabs = bytes / kSlabBytes;
  if (slabs == 0 || slabs >= kNone) return false;
  capacity_ = static_cast<uint32_t>(slabs);
  memory_ = static_cast<char*>(os::vm_reserve(slabs * kSlabBytes, wish));
  slabs_ = static_cast<Slab*>(os::vm_reserve(slabs * sizeof(Slab)));
  const bool sets = empty_.init(capacity_) && fresh_.init(capacity_) && isolated_.init(capacity_);
  if (memory_ == nullptr || slabs_ == nullptr || !sets) {
    destroy();
    return false;
  }
  // A huge page would hold memory that nobody counted.
  os::vm_huge_pages(memory_, slabs * kSlabBytes, false);
  os::vm_huge_pages(slabs_, slabs * sizeof(Slab), false);
  return true;
}

void Slabs::destroy() {
  if (memory_ != nullptr) os::vm_unmap(memory_, capacity_ * kSlabBytes);
  if (slabs_ != nullptr) os::vm_unmap(slabs_, capacity_ * sizeof(Slab));
  empty_.destroy();
  fresh_.destroy();
  isolated_.destroy();
  memory_ = nullptr;
  slabs_ = nullptr;
  capacity_ = used_ = 0;
  accessible_.store(0, std::memory_order_relaxed);
  for (unsigned c = 0; c < kMaxClasses; ++c) {
    has_[c] = 0;
    slabs_of_[c] = 0;
    taken_of_[c] = 0;
    for (Group& group : groups_[c]) group.head = kNone;
  }
  resident_.store(0, std::memory_order_relaxed);
  empty_pages_.store(0, std::memory_order_relaxed);
}

void Slabs::add_resident(Pages pages) {
  add_to(resident_, pages.v);
}
void Slabs::drop_resident(Pages pages) {
  add_to(resident_, 0 - pages.v);
}
void Slabs::add_empty(Pages pages) {
  add_to(empty_pages_, pages.v);
}
void Slabs::drop_empty(Pages pages) {
  add_to(empty_pages_, 0 - pages.v);
}

uint8_t Slabs::group_of(const Slab& slab) {
  const unsigned slots = kClasses.slots[slab.size_class];
  return slab.taken == slots ? kFull : static_cast<uint8_t>(slab.taken * kGroups / slots);
}

unsigned Slabs::lowest_free(const Slab& slab) {
  return static_cast<unsigned>(bitmap::find_next(slab.free, 0, kMaxSlots, true));
}

void Slabs::enlist(uint32_t i) {
  Slab& slab = slabs_[i];
  slab.group = group_of(slab);
  if (slab.group == kFull) return;
  Group& group = groups_[slab.size_class][slab.group];
  slab.prev = kNone;
  slab.next = group.head;
  if (group.head != kNone) slabs_[group.head].prev = i;
  group.head = i;
  has_[slab.size_class] |= static_cast<uint8_t>(1u << slab.group);
}

void Slabs::delist(uint32_t i) {
  const Slab& slab = slabs_[i];
  if (slab.group == kFull) return;
  Group& group = groups_[slab.size_class][slab.group];
  if (slab.next != kNone) slabs_[slab.next].prev = slab.prev;
  if (slab.prev != kNone) slabs_[slab.prev].next = slab.next;
  if (slab.prev == kNone) group.head = slab.next;
  if (group.head == kNone) has_[slab.size_class] &= static_cast<uint8_t>(~(1u << slab.group));
}

void Slabs::regroup(uint32_t i) {
  if (group_of(slabs_[i]) == slabs_[i].group) return;
  delist(i);
  enlist(i);
}

// How many more pages hold memory when the lowest free slot of the slab is taken.
Pages Slabs::growth(uint32_t i) const {
  const Slab& slab = slabs_[i];
  const Pages needed = after_slot(slab, lowest_free(slab));
  return needed.v > slab.touched ? needed - Pages(slab.touched) : Pages(0);
}

size_t Slabs::take(size_t bytes, Pages limit) {
  const uint32_t i = pick(class_of(bytes), limit);
  return i == kNone ? kNoPlace : take_slot(i);
}

// The fullest slab of the class, or else an empty one; at the limit a slot that costs no memory.
uint32_t Slabs::pick(unsigned c, Pages limit) {
  const Pages room = limit > resident() ? limit - resident() : Pages(0);
  if (has_[c] != 0) {
    const uint32_t fullest = groups_[c][std::bit_width(has_[c]) - 1u].head;
    if (growth(fullest) <= room) return fullest;
  } else if (room >= Pages(2)) {  // the first slot's page, and the descriptor's when it is the first of that
    return open(c);
  }
  const uint32_t hole = near_hole(c);
  if (hole != kNone) return hole;
  // The first slot of every class lies within one page, and an empty slab with memory has at least that.
  const uint32_t emptied = empty_.next(0);
  if (emptied != kNone) start(emptied, c);
  return emptied;
}

// A slab of this or one of the next larger classes whose lowest free slot lies in touched pages. Only the first slab of
// each group is looked at.
uint32_t Slabs::near_hole(unsigned c) const {
  const unsigned end = c + kNearClasses < kClasses.count ? c + kNearClasses + 1 : kClasses.count;
  for (unsigned near = c; near < end; ++near) {
    for (unsigned bits = has_[near]; bits != 0;) {
      const unsigned g = static_cast<unsigned>(std::bit_width(bits)) - 1;
      if (growth(groups_[near][g].head) == Pages(0)) return groups_[near][g].head;
      bits &= ~(1u << g);
    }
  }
  return kNone;
}

uint32_t Slabs::open(unsigned c) {
  uint32_t i = empty_.next(0);
  if (i == kNone) i = fresh_.next(0);
  if (i == kNone) i = grow();
  if (i != kNone) start(i, c);
  return i;
}

uint32_t Slabs::grow() {
  if (used_ == capacity_) return kNone;
  if (used_ == accessible_.load(std::memory_order_relaxed)) {
    const uint32_t more = capacity_ - used_ < kGrowSlabs ? capacity_ - used_ : kGrowSlabs;
    const size_t tables_end = align_up((used_ + more) * sizeof(Slab), kPageSize);
    if (!os::vm_commit(slabs_, tables_end)) return kNone;
    if (!os::vm_commit(memory_ + used_ * kSlabBytes, more * kSlabBytes)) return kNone;
    accessible_.store(used_ + more, std::memory_order_relaxed);
  }
  const uint32_t i = used_++;
  add_resident(pages_of(used_ * sizeof(Slab)) - pages_of(i * sizeof(Slab)));
  slabs_[i].size_class = kUnused;
  fresh_.add(i);
  return i;
}

void Slabs::start(uint32_t i, unsigned c) {
  Slab& slab = slabs_[i];
  if (slab.touched != 0) {
    empty_.remove(i);
    drop_empty(Pages(slab.touched));
  } else {
    fresh_.remove(i);
  }
  slab.size_class = static_cast<uint8_t>(c);
  slab.taken = 0;
  bitmap::set_range(slab.free, 0, kClasses.slots[c]);
  ++slabs_of_[c];
  enlist(i);
}

size_t Slabs::take_slot(uint32_t i) {
  Slab& slab = slabs_[i];
  const unsigned slot = lowest_free(slab);
  const Pages more = growth(i);
  slab.touched = static_cast<uint8_t>(slab.touched + more.v);
  add_resident(more);
  bitmap::clear(slab.free, slot);
  ++slab.taken;
  ++taken_of_[slab.size_class];
  regroup(i);
  return i * kSlabBytes + slot * size_t{kClasses.size[slab.size_class]};
}

// The slab and slot that are in use at `place`; false when none are.
bool Slabs::locate(size_t place, uint32_t& i, unsigned& slot) const {
  if (place / kSlabBytes >= used_) return false;
  i = static_cast<uint32_t>(place / kSlabBytes);
  const Slab& slab = slabs_[i];
  if (slab.size_class == kUnused) return false;
  const uint32_t within = static_cast<uint32_t>(place % kSlabBytes), size = kClasses.size[slab.size_class];
  slot = within / size;
  return within % size == 0 && slot < kClasses.slots[slab.size_class] && !bitmap::test(slab.free, slot);
}

bool Slabs::is_taken(size_t place) const {
  uint32_t i;
  unsigned slot;
  return locate(place, i, slot);
}

bool Slabs::give(size_t place) {
  uint32_t i;
  unsigned slot;
  if (!locate(place, i, slot)) return false;
  Slab& slab = slabs_[i];
  bitmap::set(slab.free, slot);
  --taken_of_[slab.size_class];
  if (--slab.taken != 0) {
    regroup(i);
    return true;
  }
  delist(i);
  bitmap::clear_range(slab.free, 0, kClasses.slots[slab.size_class]);
  --slabs_of_[slab.size_class];
  slab.size_class = kUnused;
  empty_.add(i);
  add_empty(Pages(slab.touched));
  return true;
}

uint32_t Slabs::slabs_to_win(unsigned c) const {
  const uint64_t slots = kClasses.slots[c];
  return slabs_of_[c] - static_cast<uint32_t>((taken_of_[c] + slots - 1) / slots);
}

Pages Slabs::packable() const {
  uint64_t slabs = 0;
  for (unsigned c = 0; c < kClasses.count; ++c) slabs += slabs_to_win(c);
  return Pages(slabs * pages_of(kSlabBytes).v);
}

// Of each group, fullest first, the first slab with a free slot that costs no memory.
uint32_t Slabs::fuller_than(uint32_t i) const {
  const unsigned c = slabs_[i].size_class;
  for (unsigned bits = has_[c]; bits != 0;) {
    const unsigned g = static_cast<unsigned>(std::bit_width(bits)) - 1;
    const uint32_t other = groups_[c][g].head;
    if (slabs_[other].taken < slabs_[i].taken) return kNone;
    if (other != i && growth(other) == Pages(0)) return other;
    bits &= ~(1u << g);
  }
  return kNone;
}

size_t Slabs::take_fuller(size_t place) {
  uint32_t i;
  unsigned slot;
  if (!locate(place, i, slot)) return kNoPlace;
  const unsigned c = slabs_[i].size_class;
  if (uint64_t{slabs_to_win(c)} * kPackedShare <= slabs_of_[c]) return kNoPlace;
  const uint32_t other = fuller_than(i);
  return other == kNone ? kNoPlace : take_slot(other);
}

// The run from an empty slab to the last empty one that only slabs without entries lie in between.
SlabRun Slabs::run_from(uint32_t first) const {
  uint32_t end = first + 1;
  for (uint32_t i = end; i < used_ && i - end < kMaxGap && (empty_.has(i) || fresh_.has(i)); ++i)
    if (empty_.has(i)) end = i + 1;
  return {first, end - first};
}

unsigned Slabs::isolate(Pages keep, SlabRun* runs, unsigned max) {
  uint32_t i = empty_.next(0);
  // Those that stay are the lowest, which are also the first to be used again.
  for (Pages kept; i != kNone && kept + Pages(slabs_[i].touched) <= keep; i = empty_.next(i + 1))
    kept += Pages(slabs_[i].touched);
  unsigned count = 0;
  for (uint32_t end; i != kNone && count < max; i = empty_.next(end)) {
    const SlabRun run = run_from(i);
    end = run.first + run.count;
    for (uint32_t k = run.first; k < end; ++k) {
      if (empty_.has(k)) drop_empty(Pages(slabs_[k].touched));
      empty_.remove(k);
      fresh_.remove(k);
      isolated_.add(k);
    }
    runs[count++] = run;
  }
  return count;
}

bool Slabs::purge(SlabRun run) const {
  return os::vm_purge(memory_ + run.first * kSlabBytes, run.count * kSlabBytes);
}

Pages Slabs::finish(SlabRun run, bool purged) {
  Pages given;
  for (uint32_t i = run.first; i < run.first + run.count; ++i) {
    Slab& slab = slabs_[i];
    isolated_.remove(i);
    if (purged) {
      given += Pages(slab.touched);
      slab.touched = 0;
    }
    if (slab.touched == 0) {
      fresh_.add(i);
    } else {
      empty_.add(i);
      add_empty(Pages(slab.touched));
    }
  }
  drop_resident(given);
  return given;
}

void Slabs::after_fork_in_child() {
  for (uint32_t i = isolated_.next(0); i != kNone; i = isolated_.next(i + 1)) finish({i, 1}, false);
}

const char* Slabs::verify_slab(uint32_t i) const {
  const Slab& slab = slabs_[i];
  const unsigned sets = unsigned{empty_.has(i)} + unsigned{fresh_.has(i)} + unsigned{isolated_.has(i)};
  if (slab.touched > pages_of(kSlabBytes).v) return "a slab has touched more pages than it has";
  if (slab.size_class == kUnused) {
    if (sets != 1) return "a slab without entries is not in exactly one set";
    if (!isolated_.has(i) && empty_.has(i) != (slab.touched != 0)) return "an empty slab is in the wrong set";
    return nullptr;
  }
  if (sets != 0) return "a slab with entries is in a set";
  if (slab.size_class >= kClasses.count) return "a slab has no class";
  const unsigned slots = kClasses.slots[slab.size_class];
  const size_t free = bitmap::count_range(slab.free, 0, slots);
  if (slab.taken == 0 || free + slab.taken != slots || bitmap::count_range(slab.free, 0, kMaxSlots) != free)
    return "a slab's slots are wrong";
  if (slab.group != group_of(slab)) return "a slab is in the wrong group";
  unsigned last = slots - 1;
  while (bitmap::test(slab.free, last)) --last;
  return after_slot(slab, last).v > slab.touched ? "an entry lies in an untouched page" : nullptr;
}

// All lists together hold `listed` slabs, each that of its class and group.
const char* Slabs::verify_lists(uint64_t listed) const {
  uint64_t seen = 0;
  for (unsigned c = 0; c < kClasses.count; ++c) {
    for (unsigned g = 0; g < kGroups; ++g) {
      if ((has_[c] >> g & 1) != (groups_[c][g].head != kNone)) return "a group's bit is wrong";
      uint32_t before = kNone;
      for (uint32_t i = groups_[c][g].head; i != kNone; before = i, i = slabs_[i].next) {
        if (slabs_[i].size_class != c || slabs_[i].group != g || slabs_[i].prev != before || ++seen > listed)
          return "a group's list is wrong";
      }
    }
  }
  return seen == listed ? nullptr : "a slab with free slots is in no list";
}

const char* Slabs::verify_classes() const {
  uint32_t slabs[kMaxClasses] = {};
  uint64_t taken[kMaxClasses] = {};
  for (uint32_t i = 0; i < used_; ++i) {
    if (slabs_[i].size_class == kUnused) continue;
    ++slabs[slabs_[i].size_class];
    taken[slabs_[i].size_class] += slabs_[i].taken;
  }
  for (unsigned c = 0; c < kMaxClasses; ++c)
    if (slabs[c] != slabs_of_[c] || taken[c] != taken_of_[c]) return "a class's slabs or slots are miscounted";
  return nullptr;
}

const char* Slabs::verify(uint64_t& taken) const {
  taken = 0;
  uint64_t listed = 0;
  Pages touched, empty;
  for (uint32_t i = 0; i < used_; ++i) {
    if (const char* wrong = verify_slab(i)) return wrong;
    touched += Pages(slabs_[i].touched);
    if (empty_.has(i)) empty += Pages(slabs_[i].touched);
    if (slabs_[i].size_class == kUnused) continue;
    listed += slabs_[i].group != kFull;
    taken += slabs_[i].taken;
  }
  if (const char* wrong = verify_classes()) return wrong;
  if (touched + pages_of(used_ * sizeof(Slab)) != resident()) return "resident pages are miscounted";
  if (empty != this->empty()) return "pages of empty slabs are miscounted";
  return verify_lists(listed);
}

}  // namespace weir::zswap
