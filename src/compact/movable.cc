#include "compact/movable.h"

#include "base/port.h"
#include "os/service_thread.h"
#include "os/vm.h"

namespace weir {
namespace {

// Who waits for a move looks by itself this often: in the child of a fork nobody wakes whom.
constexpr uint64_t kLookMs = 100;

}  // namespace

MovableTable::Entry* MovableTable::find(uint32_t index) const {
  if (index / kChunk >= kChunks) return nullptr;
  Entry* const chunk = chunks_[index / kChunk].load(std::memory_order_acquire);
  return chunk != nullptr ? &chunk[index % kChunk] : nullptr;
}

bool MovableTable::add_chunk() {
  if (nr_chunks_ == kChunks) return false;
  // Zeros, which is what an unused entry is.
  auto* const chunk = static_cast<Entry*>(os::vm_map(align_up(kChunk * sizeof(Entry), kPageSize)));
  if (chunk == nullptr) return false;
  const uint32_t first = nr_chunks_ * kChunk;
  chunks_[nr_chunks_++].store(chunk, std::memory_order_release);
  // Objects that are made one after the other lie apart, because each pin writes to its cache line.
  constexpr uint32_t kStride = 37;
  static_assert(kStride * sizeof(Entry) > 64 && kStride % 2 != 0, "odd, so that all are reached");
  for (uint32_t i = kChunk; i-- != 0;) {
    const uint32_t at = i * kStride % kChunk;
    chunk[at].bytes.store(free_, std::memory_order_relaxed);
    free_ = size_t{first} + at + 1;
  }
  return true;
}

void MovableTable::destroy() {
  for (uint32_t i = 0; i < nr_chunks_; ++i)
    os::vm_unmap(chunks_[i].load(std::memory_order_relaxed), align_up(kChunk * sizeof(Entry), kPageSize));
}

MovableId MovableTable::make() {
  if (free_ == 0 && !add_chunk()) return {};
  const auto index = static_cast<uint32_t>(free_ - 1);
  Entry& entry = at(index);
  free_ = entry.bytes.load(std::memory_order_relaxed);
  // Not 0, so that no handle is.
  uint32_t generation = generation_of(entry.word.load(std::memory_order_relaxed)) + 1;
  if (generation == 0) generation = 1;
  entry.word.store(uint64_t{generation} << 32, std::memory_order_relaxed);
  return MovableId::of(index, generation);
}

void MovableTable::publish(MovableId id, char* address, size_t bytes) {
  Entry& entry = at(id.index());
  entry.address.store(address, std::memory_order_relaxed);
  entry.bytes.store(bytes, std::memory_order_relaxed);
  entry.word.fetch_or(kLive | kUsed, std::memory_order_release);
  objects_.fetch_add(1, std::memory_order_relaxed);
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

void MovableTable::give_up(MovableId id) {
  Entry& entry = at(id.index());
  entry.bytes.store(free_, std::memory_order_relaxed);
  free_ = size_t{id.index()} + 1;
}

// Of one that is away: it is for the caller to bring back.
bool MovableTable::claim_away(Entry& entry, char*& address) {
  char* now = entry.address.load(std::memory_order_acquire);
  address = tagged(now, 0);
  return now == tagged(address, kAway) && entry.address.compare_exchange_strong(now, tagged(address, kComesBack));
}

// Returns the entry's word as it is then. Without content, for who frees it: what is away stays there.
uint64_t MovableTable::wait_until_open(Entry& entry, bool with_content) {
  uint64_t word;
  for (;;) {
    const uint32_t moves = moves_.load();
    word = entry.word.load();
    if ((word & kMoving) == 0) break;
    if (char* address; claim_away(entry, address)) {
      if (with_content) pager_.bring_back(pager_.self, address, entry.bytes.load(std::memory_order_relaxed));
      open(entry, address);
      continue;
    }
    sleepers_.fetch_add(1);
    if (moves_.load() == moves) os::futex_wait_ms(moves_, moves, kLookMs);
    sleepers_.fetch_sub(1);
  }
  return word;
}

MovableCall MovableTable::pin(MovableId id, char*& address) {
  Entry* const entry = find(id.index());
  if (entry == nullptr) return MovableCall::kNoObject;
  const uint64_t before = entry->word.fetch_add(1, std::memory_order_acquire);
  if (__builtin_expect(!is_of(before, id) || (before & kPins) == kPins, 0)) {
    entry->word.fetch_sub(1, std::memory_order_relaxed);
    return is_of(before, id) ? MovableCall::kTooOften : MovableCall::kNoObject;
  }
  // The pin counts already: nobody begins to move it again.
  if (__builtin_expect((before & kMoving) != 0, 0)) static_cast<void>(wait_until_open(*entry, true));
  address = entry->address.load(std::memory_order_relaxed);
  return MovableCall::kDone;
}

MovableCall MovableTable::unpin(MovableId id) {
  Entry* const entry = find(id.index());
  if (entry == nullptr) return MovableCall::kNoObject;
  uint64_t word = entry->word.load(std::memory_order_relaxed);
  do {
    if (!is_of(word, id)) return MovableCall::kNoObject;
    if ((word & kPins) == 0) return MovableCall::kNotPinned;
  } while (!entry->word.compare_exchange_weak(word, (word - 1) | kUsed, std::memory_order_release,
                                              std::memory_order_relaxed));
  return MovableCall::kDone;
}

MovableCall MovableTable::take_away(MovableId id, char*& address) {
  Entry* const entry = find(id.index());
  if (entry == nullptr) return MovableCall::kNoObject;
  uint64_t word = entry->word.load(std::memory_order_relaxed);
  do {
    if (is_of(word, id) && (word & kMoving) != 0) word = wait_until_open(*entry, false);
    if (!is_of(word, id)) return MovableCall::kNoObject;
    if ((word & kPins) != 0) return MovableCall::kPinned;
  } while ((word & kMoving) != 0 || !entry->word.compare_exchange_weak(word, word & ~kLive, std::memory_order_acquire,
                                                                       std::memory_order_relaxed));
  address = entry->address.load(std::memory_order_relaxed);
  objects_.fetch_sub(1, std::memory_order_relaxed);
  bytes_.fetch_sub(entry->bytes.load(std::memory_order_relaxed), std::memory_order_relaxed);
  return MovableCall::kDone;
}

size_t MovableTable::bytes_of_object(MovableId id) const {
  const Entry* const entry = find(id.index());
  if (entry == nullptr || !is_of(entry->word.load(std::memory_order_acquire), id)) return 0;
  return entry->bytes.load(std::memory_order_relaxed);
}

bool MovableTable::begin_move(uint32_t index, const char* address) {
  Entry* const entry = find(index);
  if (entry == nullptr) return false;
  uint64_t word = entry->word.load(std::memory_order_relaxed);
  do {
    if ((word & kLive) == 0 || (word & (kMoving | kPins)) != 0) return false;
  } while (
      !entry->word.compare_exchange_weak(word, word | kMoving, std::memory_order_acquire, std::memory_order_relaxed));
  char* const now = entry->address.load(std::memory_order_relaxed);
  if (now == address) return true;
  end_move(index, now);
  return false;
}

void MovableTable::end_move(uint32_t index, char* address) {
  open(*find(index), address);
}

// Sequentially consistent, as what who waits does: one of the two sees the other.
void MovableTable::open(Entry& entry, char* address) {
  entry.address.store(address, std::memory_order_relaxed);
  entry.word.fetch_and(~kMoving);
  moves_.fetch_add(1);
  if (sleepers_.load() != 0) port::futex_wake(moves_, ~0u);
}

char* MovableTable::pass(uint32_t index, const char* begin, const char* end, bool& last) {
  Entry* const entry = find(index);
  last = entry == nullptr;
  if (last) return nullptr;
  const uint64_t word = entry->word.load(std::memory_order_acquire);
  char* const address = entry->address.load(std::memory_order_relaxed);
  if ((word & kLive) == 0 || (word & (kMoving | kPins)) != 0 || address < begin || address >= end) return nullptr;
  if ((word & kUsed) == 0) return address;
  entry->word.fetch_and(~kUsed, std::memory_order_relaxed);
  return nullptr;
}

void MovableTable::put_away(uint32_t index, char* address) {
  find(index)->address.store(tagged(address, kAway), std::memory_order_release);
  // Somebody may have pinned it meanwhile.
  moves_.fetch_add(1);
  if (sleepers_.load() != 0) port::futex_wake(moves_, ~0u);
}

}  // namespace weir
