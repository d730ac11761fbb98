// Purpose: the candidates of one decision of the OOM policy: what the program has in no heap, its heaps, and, in a
// pool,
//          the same of all other members.
// Thread safety: by the thread that decides. Invariants: lies outside of the arenas; candidates stand in the order of
//                their creation, processes before heaps.
#pragma once

#include <span>

#include "heap/heap.h"
#include "oom/ask.h"
#include "reclaim/pool_oom.h"

namespace weir {

class HeapRegistry;

class OomTable {
 public:
  // `others`: null, or open.
  OomTable(HeapRegistry& heaps, OomAsk& ask, Pages rest_at_last_kill, const PoolDecision* others);
  ~OomTable();
  OomTable(const OomTable&) = delete;
  OomTable& operator=(const OomTable&) = delete;

  // False: there is no memory for it.
  explicit operator bool() const { return memory_ != nullptr; }
  std::span<const OomCandidate> candidates() const { return {candidates_, nr_}; }
  const OomCandidate& operator[](size_t i) const { return candidates_[i]; }
  size_t size() const { return nr_; }
  size_t asking() const { return asking_; }
  void set_spent(size_t i) { candidates_[i].state = OomState::kSpent; }
  // Everybody's growth is measured from here on.
  void note_kill() {
    for (size_t i = 0; i < nr_; ++i) candidates_[i].held_at_last_kill = candidates_[i].pages + candidates_[i].swapped;
  }

  // Whether it belongs to this process; else, who it is.
  bool is_own(size_t i) const { return entries_[i].member == kOwn; }
  HeapId id(size_t i) const { return {candidates_[i].handle}; }
  unsigned member(size_t i) const { return entries_[i].member; }
  uint64_t joined(size_t i) const { return entries_[i].joined; }

 private:
  static constexpr unsigned kOwn = ~0u;
  // What stands behind a candidate while the table is made.
  struct Entry {
    uint64_t serial = 0;
    unsigned member = kOwn;
    uint64_t joined = 0;
    OomCandidate candidate;
    char name[WEIR_HEAP_NAME] = {};
  };

  bool map(size_t room);
  void add_own(HeapRegistry& heaps, const OomAsk& ask, Pages rest_at_last_kill);
  void add_others(const PoolDecision& others);
  void add_member(const weir_pool_member& member, unsigned index, const weir_pool_row* rows, uint32_t nr_rows);
  void add_row(const weir_pool_member& member, unsigned index, const weir_pool_row& row);
  Entry& add() { return entries_[nr_++]; }

  void* memory_ = nullptr;
  size_t bytes_ = 0;
  Entry* entries_ = nullptr;
  OomCandidate* candidates_ = nullptr;
  size_t nr_ = 0, room_ = 0;
  size_t asking_ = OomDecision::kNone;
};

}  // namespace weir
