#include "swap/slot_map.h"

#include <bit>

#include "base/check.h"

namespace weir {
namespace {

constexpr uint64_t kAllAvailable = ~uint64_t{0};

struct Run {
  unsigned start;
  unsigned length;
};

// The first run of `want` set bits in a word, or else its longest.
Run find_run(uint64_t word, unsigned want) {
  Run best = {0, 0};
  for (unsigned at = 0; at < 64 && (word >> at) != 0;) {
    at += static_cast<unsigned>(std::countr_zero(word >> at));
    const unsigned length = static_cast<unsigned>(std::countr_one(word >> at));
    if (length > best.length) best = {at, length};
    if (best.length >= want) return {best.start, want};
    at += length;
  }
  return best;
}

}  // namespace

bool SlotMap::open(uint64_t capacity) {
  capacity_ = capacity < kMaxSlots ? capacity : kMaxSlots;
  const uint64_t clusters = (capacity_ + kClusterSlots - 1) / kClusterSlots;
  const bool opened = bits_.reserve(clusters) && eras_.reserve(capacity_) && links_.reserve(capacity_) &&
                      any_.open(clusters) && whole_.open(clusters) && written_.open(clusters) &&
                      unclean_.open(clusters) && reusable_.open(clusters);
  if (!opened) close();
  return opened;
}

void SlotMap::close() {
  bits_.release();
  eras_.release();
  links_.release();
  any_.close();
  whole_.close();
  written_.close();
  unclean_.close();
  reusable_.close();
  capacity_ = size_ = available_ = used_ = held_ = retired_ = cleaning_ = unclean_clusters_ = 0;
  starved_ = {};
  short_cursor_ = long_cursor_ = probe_cursor_ = 0;
  era_ = 0;
  used_in_era_ = false;
  nr_forks_ = 0;
}

bool SlotMap::grow() {
  if (size_ == capacity_ || has_starved()) return false;
  const uint64_t size = capacity_ - size_ < kStep ? capacity_ : size_ + kStep;
  const uint64_t clusters = (size + kClusterSlots - 1) / kClusterSlots;
  if (!bits_.grow(clusters) || !eras_.grow(size) || !links_.grow(size)) return false;
  const uint64_t first = size_;
  size_ = size;
  set_available(first, size - first, true);
  return true;
}

void SlotMap::update_cluster(uint64_t cluster) {
  const uint64_t word = bits_[cluster];
  const bool whole = word == kAllAvailable;
  const bool written = written_.test(cluster);
  any_.put(cluster, word != 0);
  whole_.put(cluster, whole);
  reusable_.put(cluster, written && word != 0);
  if (unclean_.test(cluster) == (written && whole)) return;
  unclean_.put(cluster, whole);
  unclean_clusters_ += whole ? 1 : -uint64_t{1};
}

void SlotMap::set_available(uint64_t first, uint64_t count, bool available) {
  const size_t changed =
      available ? bitmap::set_range(bits_.data(), first, count) : bitmap::clear_range(bits_.data(), first, count);
  WEIR_CHECK(changed == count);  // a slot was freed twice, or handed out twice
  available_ += available ? count : -count;
  for (uint64_t c = first / kClusterSlots; c <= (first + count - 1) / kClusterSlots; ++c) update_cluster(c);
}

// How many slots from this one on are available, up to `want`.
unsigned SlotMap::run_at(uint64_t slot, unsigned want) const {
  if (has_starved()) {
    // Only where there is space: within the cluster, if that has been written.
    const uint64_t cluster = slot / kClusterSlots;
    if (slot >= size_ || !written_.test(cluster)) return 0;
    const unsigned left = kClusterSlots - static_cast<unsigned>(slot % kClusterSlots);
    want = want < left ? want : left;
  }
  unsigned length = 0;
  while (length < want && slot + length < size_) {
    const uint64_t at = slot + length;
    const unsigned shift = static_cast<unsigned>(at % kClusterSlots);
    const unsigned ones = static_cast<unsigned>(std::countr_one(bits_[at / kClusterSlots] >> shift));
    length += ones;
    if (ones + shift < kClusterSlots) break;
  }
  return length < want ? length : want;
}

// Looks at some clusters that are partly taken, from where it last stopped: the first run that is long enough, or the
// longest.
Slots SlotMap::probe(unsigned want) {
  Slots best;
  for (unsigned i = 0; i < kProbes && best.count < want; ++i) {
    const uint64_t cluster = broken().find_around(probe_cursor_);
    if (cluster == SwapIndex::kNone) break;
    probe_cursor_ = cluster + 1;
    // Whole clusters are offered elsewhere, and the one that long runs are being cut from is left to them.
    if (bits_[cluster] == kAllAvailable || cluster == long_cursor_ / kClusterSlots) continue;
    const Run run = find_run(bits_[cluster], want);
    if (run.length > best.count) best = {cluster * kClusterSlots + run.start, run.length};
  }
  // A cluster that served is looked at first the next time.
  if (best.count >= want) probe_cursor_ = best.first / kClusterSlots;
  return best;
}

Slots SlotMap::whole_cluster(uint64_t from, unsigned want) const {
  const uint64_t cluster = (has_starved() ? unclean_ : whole_).find_around(from / kClusterSlots);
  return cluster == SwapIndex::kNone ? Slots{} : Slots{cluster * kClusterSlots, want};
}

Slots SlotMap::grown(unsigned want) {
  const uint64_t first = size_;
  // The last slots of the file may be fewer than a run.
  return grow() ? Slots{first, run_at(first, want)} : Slots{};
}

Slots SlotMap::anything(unsigned want) const {
  const uint64_t cluster = broken().find_from(0);
  if (cluster == SwapIndex::kNone) return {};
  const Run run = find_run(bits_[cluster], want);
  return {cluster * kClusterSlots + run.start, run.length};
}

Slots SlotMap::take(Slots run) {
  set_available(run.first, run.count, false);
  used_ += run.count;
  // Without a fork ever, the array stays untouched and costs no memory.
  if (era_ != 0)
    for (unsigned i = 0; i < run.count; ++i) eras_[run.first + i] = era_;
  used_in_era_ = true;
  return run;
}

Slots SlotMap::alloc(unsigned want) {
  if (want == 0) return {};
  if (want > kClusterSlots) want = kClusterSlots;
  const bool is_short = want <= kShortRun;
  uint64_t& cursor = is_short ? short_cursor_ : long_cursor_;
  Slots best;
  const auto enough = [&best, want](Slots offer) {
    if (offer.count > best.count) best = offer;
    return best.count >= want;
  };
  // Behind the last one; cut from a broken cluster (short ones); a whole cluster; a broken one after all; new space.
  const bool found = enough({cursor, run_at(cursor, want)}) || (is_short && enough(probe(want))) ||
                     enough(whole_cluster(cursor, want)) || (!is_short && enough(probe(want))) || enough(grown(want));
  if (!found && best.count == 0) best = anything(want);
  if (best.count == 0) return {};
  cursor = best.first + best.count;
  return take(best);
}

void SlotMap::push(List& list, uint64_t slot) {
  links_[slot] = list.head;
  list.head = static_cast<uint32_t>(slot);
  ++list.count;
}

uint64_t SlotMap::pop(List& list) {
  const uint32_t slot = list.head;
  list.head = links_[slot];
  --list.count;
  return slot;
}

bool SlotMap::has_era(uint64_t slot, const Fork* fork) const {
  return fork != nullptr && eras_[slot] <= fork->era;
}

// The newest fork with children among the first `below` ones.
SlotMap::Fork* SlotMap::newest_living(unsigned below) {
  while (below-- > 0)
    if (forks_[below].children != 0) return &forks_[below];
  return nullptr;
}

// A slot that nobody here uses any more: to the newest of the first `forks_below` forks that has it, or available.
void SlotMap::release(uint64_t slot, unsigned forks_below) {
  Fork* holder = newest_living(forks_below);
  if (has_era(slot, holder)) {
    push(holder->held, slot);
    ++held_;
  } else {
    set_available(slot, 1, true);
  }
}

void SlotMap::free(uint64_t first, unsigned count) {
  WEIR_DCHECK(first + count <= size_ && bitmap::count_range(bits_.data(), first, count) == 0);
  used_ -= count;
  if (newest_living(nr_forks_) == nullptr) {
    if (count != 0) set_available(first, count, true);
    return;
  }
  for (unsigned i = 0; i < count; ++i) release(first + i, nr_forks_);
}

void SlotMap::retire(uint64_t slot) {
  WEIR_DCHECK(!bitmap::test(bits_.data(), slot));
  --used_;
  ++retired_;
}

void SlotMap::starve(uint64_t first, unsigned count) {
  used_ -= count;
  for (unsigned i = 0; i < count; ++i) push(starved_, first + i);
}

bool SlotMap::feed_some(unsigned most) {
  // No child can need one: nothing was ever written there.
  for (; most != 0 && starved_.count != 0; --most) set_available(pop(starved_), 1, true);
  return starved_.count != 0;
}

void SlotMap::note_written(uint64_t first, unsigned count) {
  if (count == 0) return;
  for (uint64_t c = first / kClusterSlots; c <= (first + count - 1) / kClusterSlots; ++c) {
    if (written_.test(c)) continue;
    written_.insert(c);
    update_cluster(c);
  }
}

uint64_t SlotMap::freeze() {
  Fork* newest = newest_living(nr_forks_);
  const bool is_last = newest != nullptr && newest == &forks_[nr_forks_ - 1];
  // Nothing was handed out since the last fork: its child has the same slots.
  if (is_last && !used_in_era_) {
    ++newest->children;
    return newest->id;
  }
  if (nr_forks_ == kMaxForks || (is_last && newest->era == era_)) {
    // Table full, or the last of all eras: the newest entry stands for this fork too.
    newest = &forks_[nr_forks_ - 1];
    ++newest->children;
  } else {
    newest = &forks_[nr_forks_++];
    *newest = {++last_fork_, 0, 1, {}};
  }
  newest->era = era_;
  // An era without slots needs no end; the first one must end, because slots are of era 0 unless told otherwise.
  if (era_ != UINT32_MAX && (used_in_era_ || era_ == 0)) {
    ++era_;
    used_in_era_ = false;
  } else if (!used_in_era_) {
    newest->era = era_ - 1;
  }
  return newest->id;
}

SlotMap::Fork* SlotMap::find_fork(uint64_t id) {
  for (unsigned i = 0; i < nr_forks_; ++i)
    if (forks_[i].id == id) return &forks_[i];
  return nullptr;
}

bool SlotMap::thaw(uint64_t id) {
  Fork* fork = find_fork(id);
  if (fork == nullptr || fork->children == 0) return false;
  --fork->children;
  return true;
}

bool SlotMap::thaw_some(uint64_t id, unsigned most) {
  Fork* fork = find_fork(id);
  if (fork == nullptr || fork->children != 0) return false;
  const unsigned position = static_cast<unsigned>(fork - forks_);
  for (; most != 0 && fork->held.count != 0; --most) {
    --held_;
    release(pop(fork->held), position);
  }
  if (fork->held.count != 0) return true;
  for (unsigned i = position + 1; i < nr_forks_; ++i) forks_[i - 1] = forks_[i];
  --nr_forks_;
  return false;
}

SlotMap::Clusters SlotMap::take_unclean(uint64_t keep, unsigned most) {
  const uint64_t kept = (keep + kClusterSlots - 1) / kClusterSlots;
  uint64_t cluster = unclean_.find_last();
  if (unclean_clusters_ <= kept || cluster == SwapIndex::kNone || most == 0) return {};
  const uint64_t excess = unclean_clusters_ - kept;
  uint64_t count = 1;
  while (count < most && count < excess && cluster > 0 && unclean_.test(cluster - 1)) {
    --cluster;
    ++count;
  }
  const Clusters taken = {cluster * kClusterSlots, count * kClusterSlots};
  set_available(taken.first_slot, taken.slots, false);
  cleaning_ += taken.slots;
  return taken;
}

void SlotMap::put_clean(Clusters clusters, bool cleaned) {
  if (clusters.slots == 0) return;
  cleaning_ -= clusters.slots;
  if (cleaned) {
    for (uint64_t i = 0; i < clusters.slots; i += kClusterSlots)
      written_.erase((clusters.first_slot + i) / kClusterSlots);
  }
  set_available(clusters.first_slot, clusters.slots, true);
}

SlotMap::Stats SlotMap::stats() const {
  Stats s;
  s.capacity = capacity_;
  s.size = size_;
  s.available = available_;
  s.used = used_;
  s.held = held_;
  s.starved = starved_.count;
  s.retired = retired_;
  s.cleaning = cleaning_;
  s.written_free = unclean_clusters_ * kClusterSlots;
  s.forks = nr_forks_;
  return s;
}

const char* SlotMap::verify_lists() const {
  uint64_t held = 0;
  const auto walk = [this](const List& list) {
    uint64_t count = 0;
    for (uint32_t slot = list.head; slot != kNoLink && count <= list.count; slot = links_[slot]) {
      if (slot >= size_ || bitmap::test(bits_.data(), slot)) return false;
      ++count;
    }
    return count == list.count;
  };
  for (unsigned i = 0; i < nr_forks_; ++i) {
    if (!walk(forks_[i].held)) return "slots held by a fork";
    if (i > 0 && (forks_[i - 1].era > forks_[i].era || forks_[i - 1].id >= forks_[i].id)) return "order of forks";
    held += forks_[i].held.count;
  }
  if (held != held_) return "number of held slots";
  return walk(starved_) ? nullptr : "starved slots";
}

const char* SlotMap::verify() const {
  uint64_t available = 0, unclean = 0;
  for (uint64_t c = 0; c * kClusterSlots < size_; ++c) {
    const uint64_t word = bits_[c];
    available += static_cast<uint64_t>(std::popcount(word));
    if (any_.test(c) != (word != 0)) return "index of clusters with available slots";
    if (whole_.test(c) != (word == kAllAvailable)) return "index of whole clusters";
    if (unclean_.test(c) != (whole_.test(c) && written_.test(c))) return "index of unclean clusters";
    if (reusable_.test(c) != (any_.test(c) && written_.test(c))) return "index of reusable clusters";
    unclean += unclean_.test(c);
  }
  if (!any_.verify() || !whole_.verify() || !written_.verify() || !unclean_.verify() || !reusable_.verify())
    return "upper levels of an index";
  if (available != available_) return "number of available slots";
  if (unclean != unclean_clusters_) return "number of unclean clusters";
  if (available_ + used_ + held_ + starved_.count + retired_ + cleaning_ != size_) return "sum of all slots";
  return verify_lists();
}

}  // namespace weir
