// Purpose: decides who loses memory when nothing can be reclaimed any more: a policy, which neither asks nor frees.
// Thread safety: pure functions on what the caller copied.
// Invariants: whoever is exempt, holds nothing, or is being emptied already is never chosen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/units.h"

namespace weir {

// How far the emptying of a candidate has come. kRuns -> kDying (it was chosen) -> kRuns (it may be used again) or
// kSpent (it gave what it could, or its owner does not answer).
enum class OomState : uint8_t {
  kRuns,
  kDying,  // was chosen before and has not given everything back yet; nobody else is chosen meanwhile
  kSpent,  // was chosen and has nothing more to give (kernel: MMF_OOM_SKIP)
};

// What it comes to when somebody is chosen.
enum class OomKill : uint8_t {
  kFail,     // its allocations fail, until it holds less
  kAbort,    // the process ends
  kRelease,  // the heap is emptied
  kSignal,   // the process is sent SIGTERM, and SIGKILL later
};

// A heap, or a process, maybe of a pool. Candidates stand in the order of their creation.
struct OomCandidate {
  uint64_t id = 0;        // of the heap or process, for the report
  uint64_t process = 0;   // that it belongs to
  uint64_t handle = 0;    // of the heap in its process
  uint32_t user = 0;      //
  std::string_view name;  //
  bool is_heap = false;   // else a process, or what it has in no heap
  Pages pages{};          // in memory now
  Pages swapped{};        // in compressed memory and the swap file
  int oom_score_adj = 0;  // -1000 (exempt) to 1000
  OomState state = OomState::kRuns;
  OomKill kill = OomKill::kSignal;
  Pages held_at_last_kill{};  // pages + swapped when somebody was chosen last; 0 for who was created after that
};

enum class OomAction : uint8_t {
  kKill,  // the victim loses its memory
  kWait,  // an earlier victim is still giving memory back; then the allocation is tried again
  kFail,  // the allocation fails, and nobody loses anything
};

enum class OomReason : uint8_t {
  kMostPoints,  // kKill: of the ones who can be chosen
  kAllocating,  // kKill: it is who asks, and oom_kill_allocating_task is set
  kEarlier,     // kWait: the victim is the earlier one
  kExemptGrew,  // kFail: who asks is exempt and has grown most since the last kill
  kAskingDies,  // kFail: who asks is being emptied itself
  kNobody,      // kFail: all are exempt, empty or spent
};

struct OomDecision {
  static constexpr size_t kNone = SIZE_MAX;
  OomAction action = OomAction::kFail;
  OomReason reason = OomReason::kNobody;
  size_t victim = kNone;  // index of the candidate; kNone with kFail
  int64_t points = 0;     // of the victim
  // An exempt candidate that has grown most since the last kill; kNone: there is none. Its own allocations are to fail
  // until it gave something back: what a victim gives back would only go into it.
  size_t leaking = kNone;
};

// What has happened so far.
struct OomHistory {
  bool killed_before = false;  // held_at_last_kill means something
};

// Chooses by oom_badness; of several with equal points the one created later (kernel: oom_evaluate_task). `asking`: the
// index of who needs memory, or kNone; it is chosen like everybody else, unless `kill_allocating` (the kernel's
// oom_kill_allocating_task) is set, which chooses it if that can be. `total`: as for oom_badness.
//
// Beyond the kernel's rules: who holds nothing is passed over, because there a dead task is gone, and here an emptied
// heap stays. And who is exempt cannot bring down the others one after the other: after the first kill, whoever is
// exempt and has grown since then, and by no less than anybody else, is leaking. If that is who asks, its allocation
// fails; if somebody else asks, the victim is chosen, and `leaking` says whose allocations are to fail from now on.
[[nodiscard]] OomDecision select_victim(std::span<const OomCandidate> candidates, size_t asking, Pages total,
                                        bool kill_allocating, OomHistory history);

}  // namespace weir
