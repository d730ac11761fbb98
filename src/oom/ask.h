// Purpose: what whoever finds no memory tells the OOM policy, and what it is told: to try again, or not.
// Thread safety: values.
#pragma once

#include <cstdint>

#include "oom/report.h"
#include "oom/victim.h"

namespace weir {

class Reclaimer;

enum class OomVerdict : uint8_t {
  kTryAgain,  // somebody lost memory, or another thread is seeing to that
  kFail,      // the allocation fails
  kAbort,     // the process is to be aborted
};

struct OomAsk {
  uint32_t owner = 0;  // index of the heap that asks (page_owner.h); 0: the program, in no heap
  // The process with all that it holds; what its heaps have is taken off, and the rest is a candidate.
  OomCandidate process;
  // Who asks is filled in when it is a heap.
  OomContext context;
  bool kill_allocating = false;
  // Called for each decision: whether it is to be reported. `victim`: null when there is none.
  bool (*decided)(const OomCandidate* victim, const OomDecision& decision) = nullptr;
  // What the other members of the pool are asked by; null: there is no pool.
  Reclaimer* reclaimer = nullptr;
  OomSink sink{nullptr, nullptr};
};

}  // namespace weir
