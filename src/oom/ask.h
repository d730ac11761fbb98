// Purpose: what whoever finds no memory tells the OOM policy, and what it is told: to try again, or not.
// Thread safety: values.
#pragma once

#include <cstdint>

#include "oom/report.h"
#include "oom/victim.h"

namespace weir {

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
  // Called for each decision: whether it is to be reported. `heap_loses`: else an allocation fails, as may many.
  bool (*decided)(bool heap_loses) = nullptr;
  OomSink sink{nullptr, nullptr};
};

}  // namespace weir
