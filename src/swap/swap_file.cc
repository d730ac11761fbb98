#include "swap/swap_file.h"

#include <errno.h>

#include <algorithm>

#include "base/check.h"
#include "os/proc.h"
#include "os/undisturbed.h"
#include "swap/swap_checksum.h"

namespace weir {
namespace {

// Fewer slots than a cluster are of no use.
constexpr uint64_t kLeastSlots = SlotMap::kClusterSlots;
// What is done at once under the lock: some ten microseconds.
constexpr unsigned kBatch = 512;
// 16 MiB at a time are given back.
constexpr unsigned kPunchClusters = 64;

void add(std::atomic<uint64_t>& counter, uint64_t n) {
  counter.fetch_add(n, std::memory_order_relaxed);
}
uint64_t value(const std::atomic<uint64_t>& counter) {
  return counter.load(std::memory_order_relaxed);
}

bool means_full(int error) {
  return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

char* page_at(void* buffer, unsigned page) {
  return static_cast<char*>(buffer) + page * kPageSize;
}
const char* page_at(const void* buffer, unsigned page) {
  return static_cast<const char*>(buffer) + page * kPageSize;
}

}  // namespace

bool SwapFile::open_tables() {
  LockGuard guard(mutex_);
  const bool opened = map_.open(capacity_) && reserved_.open(capacity_ / kStretchSlots + 1) &&
                      checksums_.reserve(capacity_) &&
                      (key_ == nullptr || (generations_.reserve(capacity_) && bounce_.open()));
  if (opened) return true;
  map_.close();
  reserved_.close();
  checksums_.release();
  generations_.release();
  bounce_.close();
  return false;
}

SwapFile::Open SwapFile::open_key() {
  key_ = static_cast<CipherKey*>(os::map_secret_page());
  if (key_ == nullptr) return Open::kNoMemory;
  return os::fill_random(key_->words, sizeof(key_->words)) ? Open::kOk : Open::kNoRandom;
}

SwapFile::Open SwapFile::open(const SwapFileConfig& config) {
  Open result = config.directory >= 0 ? io_.open_in(config.directory, config.max_bytes, config.faults)
                                      : io_.open(config.path, config.max_bytes, config.faults);
  if (result != Open::kOk) return result;
  for (std::atomic<uint64_t>* counter : {&pages_written_, &pages_read_, &writes_, &reads_, &write_errors_,
                                         &read_errors_, &corrupt_pages_, &no_space_, &given_back_})
    counter->store(0, std::memory_order_relaxed);
  read_only_.store(false, std::memory_order_relaxed);
  cannot_punch_.store(false, std::memory_order_relaxed);
  if (config.encrypt) result = open_key();
  capacity_ = std::min(io_.bytes() / kPageSize, SlotMap::kMaxSlots);
  // Little address space (RLIMIT_AS) makes for a smaller file.
  while (result == Open::kOk && !open_tables()) {
    capacity_ = capacity_ / 2;
    if (capacity_ < kLeastSlots) result = Open::kNoMemory;
  }
  if (result != Open::kOk) close();
  return result;
}

void SwapFile::close() {
  uint64_t used = 0;
  bool erase = false;
  {
    LockGuard guard(mutex_);
    used = highest_ * kPageSize;
    erase = !read_only() && map_.stats().forks == 0;
    map_.close();
    reserved_.close();
    highest_ = hold_until_ms_ = starved_ms_ = 0;
    failures_ = 0;
  }
  // The probe has written the first page.
  erase ? io_.erase_and_close(std::max(used, uint64_t{kPageSize})) : io_.close();
  checksums_.release();
  generations_.release();
  bounce_.close();
  os::unmap_secret_page(key_);
  key_ = nullptr;
  capacity_ = 0;
}

// True while writes do not work, so that not every page is tried on a disk that is gone. Looks at the clock only when
// something is wrong.
bool SwapFile::held_off() {
  if (hold_until_ms_ == 0 && !map_.has_starved()) return false;
  const uint64_t now = os::now_ms();
  if (hold_until_ms_ != 0 && now < hold_until_ms_) return true;
  hold_until_ms_ = 0;
  if (map_.has_starved() && now - starved_ms_ >= kHoldMs) map_.feed_some(kBatch);
  return false;
}

Slots SwapFile::take_slots(unsigned want) {
  if (held_off()) return {};
  const Slots slots = map_.alloc(want);
  if (slots.count == 0) return {};
  if (checksums_.grow(map_.size()) && (key_ == nullptr || generations_.grow(map_.size()))) return slots;
  map_.free(slots.first, slots.count);
  return {};
}

// The stretches of these slots that space was not asked for yet, up to the end of the file; they count as asked for.
Slots SwapFile::new_stretches(Slots slots) {
  if (slots.count == 0) return {};
  Slots fresh;
  for (uint64_t s = slots.first / kStretchSlots; s <= (slots.first + slots.count - 1) / kStretchSlots; ++s) {
    if (reserved_.test(s)) continue;
    reserved_.insert(s);
    const uint64_t first = s * kStretchSlots, end = std::min(first + kStretchSlots, capacity_.load());
    if (fresh.count == 0) fresh.first = first;
    fresh.count = static_cast<unsigned>(end - fresh.first);
  }
  return fresh;
}

Slots SwapFile::alloc(unsigned want) {
  if (read_only() || !is_open()) return {};
  Slots slots, fresh;
  {
    LockGuard guard(mutex_);
    slots = take_slots(want);
    fresh = new_stretches(slots);
  }
  if (fresh.count != 0) io_.reserve(fresh.first * kPageSize, fresh.count * kPageSize);
  return slots;
}

void SwapFile::release(uint64_t first, unsigned count) {
  if (key_ == nullptr) return map_.free(first, count);
  // A slot whose generations are used up would repeat a nonce.
  for (unsigned i = 0; i < count; ++i)
    generations_[first + i] == UINT32_MAX ? map_.retire(first + i) : map_.free(first + i, 1);
}

void SwapFile::free(uint64_t first, unsigned count) {
  if (read_only() || count == 0) return;
  LockGuard guard(mutex_);
  release(first, count);
}

CipherNonce SwapFile::nonce_of(uint64_t slot) const {
  return {{generations_[slot], static_cast<uint32_t>(slot), static_cast<uint32_t>(slot >> 32)}};
}

IoResult SwapFile::begin_write(Slots& slots, const void* buffer, Outgoing& out) {
  WEIR_DCHECK(slots.count >= 1 && slots.count <= kMaxRun);
  out = {buffer, nullptr};
  if (read_only()) {
    slots.count = 0;
    return IoResult::kReadOnly;
  }
  if (key_ != nullptr) {
    out.data = out.bounce = bounce_.take();
    if (out.bounce == nullptr) {
      free(slots.first, slots.count);
      slots.count = 0;
      return IoResult::kNoMemory;
    }
    for (unsigned i = 0; i < slots.count; ++i) {
      ++generations_[slots.first + i];
      chacha20(*key_, nonce_of(slots.first + i), 0, page_at(buffer, i), page_at(out.bounce, i), kPageSize);
    }
  }
  for (unsigned i = 0; i < slots.count; ++i) checksums_[slots.first + i] = page_checksum(page_at(out.data, i));
  return IoResult::kOk;
}

// Finds out which slot it was that a run failed at: the first page that is missing is tried alone.
SwapFile::Written SwapFile::finish_transfer(Slots slots, const void* data, os::Transfer transfer) {
  Written w = {static_cast<unsigned>(transfer.done / kPageSize), transfer.error, false};
  while (w.error == EIO && w.pages < slots.count) {
    const os::Transfer one = io_.write(page_at(data, w.pages), kPageSize, (slots.first + w.pages) * kPageSize);
    w.error = one.error;
    w.bad_slot = one.error == EIO;
    if (one.error != 0) break;
    if (++w.pages == slots.count) break;
    const os::Transfer rest =
        io_.write(page_at(data, w.pages), (slots.count - w.pages) * kPageSize, (slots.first + w.pages) * kPageSize);
    w.pages += static_cast<unsigned>(rest.done / kPageSize);
    w.error = rest.error;
  }
  return w;
}

void SwapFile::take_back(uint64_t first, unsigned count, const Written& written) {
  if (written.bad_slot) {
    map_.retire(first);
    ++first;
    --count;
  } else if (means_full(written.error)) {
    map_.starve(first, count);
    starved_ms_ = os::now_ms();
    return;
  }
  if (count != 0) release(first, count);
}

void SwapFile::note_outcome(const Written& written) {
  if (written.error == 0) {
    failures_ = 0;
    return;
  }
  if (means_full(written.error)) return add(no_space_, 1);
  add(write_errors_, 1);
  if (written.pages != 0) failures_ = 0;
  if (++failures_ >= kFailuresToHold) hold_until_ms_ = os::now_ms() + kHoldMs;
}

IoResult SwapFile::end_write(Slots& slots, Outgoing& out, os::Transfer transfer) {
  const Written written = finish_transfer(slots, out.data, transfer);
  if (out.bounce != nullptr) bounce_.give(out.bounce);
  out = {};
  add(writes_, 1);
  add(pages_written_, written.pages);
  LockGuard guard(mutex_);
  map_.note_written(slots.first, written.pages);
  highest_ = std::max(highest_, slots.first + slots.count);
  note_outcome(written);
  if (written.pages == slots.count) return IoResult::kOk;
  take_back(slots.first + written.pages, slots.count - written.pages, written);
  slots.count = written.pages;
  return means_full(written.error) ? IoResult::kNoSpace : IoResult::kIoError;
}

IoResult SwapFile::write(Slots& slots, const void* buffer) {
  Outgoing out;
  const IoResult begun = begin_write(slots, buffer, out);
  if (begun != IoResult::kOk) return begun;
  const os::Transfer transfer = io_.write(out.data, slots.count * kPageSize, slots.first * kPageSize);
  return end_write(slots, out, transfer);
}

// Reads pages of a run that failed as a whole; a bit for each that cannot be read.
uint64_t SwapFile::read_one_by_one(Slots slots, void* buffer, unsigned from) {
  uint64_t bad = 0;
  for (unsigned i = from; i < slots.count; ++i)
    if (io_.read(page_at(buffer, i), kPageSize, (slots.first + i) * kPageSize).error != 0) bad |= uint64_t{1} << i;
  return bad;
}

IoResult SwapFile::end_read(Slots slots, void* buffer, os::Transfer transfer, uint64_t& bad_mask) {
  const uint64_t unreadable =
      transfer.error == 0 ? 0 : read_one_by_one(slots, buffer, static_cast<unsigned>(transfer.done / kPageSize));
  uint64_t damaged = 0;
  for (unsigned i = 0; i < slots.count; ++i) {
    const uint64_t slot = slots.first + i;
    if ((unreadable >> i & 1) != 0) continue;
    if (page_checksum(page_at(buffer, i)) != checksums_[slot])
      damaged |= uint64_t{1} << i;
    else if (key_ != nullptr)
      chacha20(*key_, nonce_of(slot), 0, page_at(buffer, i), page_at(buffer, i), kPageSize);
  }
  bad_mask = unreadable | damaged;
  const auto bad = static_cast<unsigned>(__builtin_popcountll(bad_mask));
  add(reads_, 1);
  add(pages_read_, slots.count - bad);
  if (bad == 0) return IoResult::kOk;
  add(read_errors_, static_cast<unsigned>(__builtin_popcountll(unreadable)));
  add(corrupt_pages_, static_cast<unsigned>(__builtin_popcountll(damaged)));
  return unreadable != 0 ? IoResult::kIoError : IoResult::kCorrupt;
}

IoResult SwapFile::read(uint64_t first, unsigned count, void* buffer, uint64_t& bad_mask) {
  WEIR_DCHECK(count >= 1 && count <= kMaxRun);
  return end_read({first, count}, buffer, io_.read(buffer, count * kPageSize, first * kPageSize), bad_mask);
}

uint64_t SwapFile::freeze() {
  LockGuard guard(mutex_);
  return map_.freeze();
}

void SwapFile::thaw(uint64_t fork) {
  if (read_only()) return;
  {
    LockGuard guard(mutex_);
    if (!map_.thaw(fork)) return;
  }
  for (bool more = true; more;) {
    LockGuard guard(mutex_);
    more = map_.thaw_some(fork, kBatch);
  }
}

void SwapFile::become_reader() {
  read_only_.store(true, std::memory_order_relaxed);
}

// One run of at most so many clusters; how many.
unsigned SwapFile::give_run_back(uint64_t keep, unsigned most) {
  SlotMap::Clusters clusters;
  {
    LockGuard guard(mutex_);
    if (read_only() || cannot_punch_.load(std::memory_order_relaxed)) return 0;
    clusters = map_.take_unclean(keep, most);
  }
  if (clusters.slots == 0) return 0;
  const bool punched = io_.punch(clusters.first_slot * kPageSize, clusters.slots * kPageSize);
  cannot_punch_.store(!punched, std::memory_order_relaxed);
  LockGuard guard(mutex_);
  map_.put_clean(clusters, punched);
  for (uint64_t at = clusters.first_slot; at < clusters.first_slot + clusters.slots; at += SlotMap::kClusterSlots)
    reserved_.erase(at / kStretchSlots);
  return punched ? static_cast<unsigned>(clusters.slots / SlotMap::kClusterSlots) : 0;
}

uint64_t SwapFile::give_back(uint64_t keep) {
  if (!io_.grows()) return 0;
  unsigned given = 0;
  while (given < kPunchClusters) {
    const unsigned more = give_run_back(keep, kPunchClusters - given);
    if (more == 0) break;
    given += more;
  }
  const uint64_t bytes = uint64_t{given} * SlotMap::kClusterSlots * kPageSize;
  add(given_back_, bytes);
  return bytes;
}

SlotMap::Stats SwapFile::slot_stats() {
  SlotMap::Stats result;
  os::undisturbed([this, &result] {
    SlotMap::Stats now;
    {
      LockGuard guard(mutex_);
      now = map_.stats();
    }
    result = now;
  });
  return result;
}

SwapFileStats SwapFile::stats() {
  SwapFileStats s;
  s.slots = slot_stats();
  s.pages_written = value(pages_written_);
  s.pages_read = value(pages_read_);
  s.writes = value(writes_);
  s.reads = value(reads_);
  s.write_errors = value(write_errors_);
  s.read_errors = value(read_errors_);
  s.corrupt_pages = value(corrupt_pages_);
  s.no_space = value(no_space_);
  s.given_back = value(given_back_);
  s.direct = io_.direct();
  s.encrypted = key_ != nullptr;
  s.read_only = read_only();
  return s;
}

uint64_t SwapFile::used() {
  return slot_stats().used;
}

bool SwapFile::is_empty() {
  const SlotMap::Stats stats = slot_stats();
  return stats.used == 0 && stats.forks == 0;
}

const char* SwapFile::verify() {
  const char* wrong = nullptr;
  os::undisturbed([this, &wrong] {
    const char* found;
    {
      LockGuard guard(mutex_);
      found = map_.verify();
    }
    wrong = found;
  });
  return wrong;
}

}  // namespace weir
