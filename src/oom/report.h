// Purpose: what the OOM policy tells a person, in the layout of the kernel's report (mm/oom_kill.c, dump_header,
//          dump_tasks, __oom_kill_process), so that whoever reads those reads these.
// Thread safety: pure; nothing allocates. Invariants: every line is complete, and names are shown without control
//                characters.
#pragma once

#include <span>
#include <string_view>

#include "oom/victim.h"

namespace weir {

// Takes one complete line with its newline.
struct OomSink {
  void (*write)(void* context, std::string_view line);
  void* context;
};

// What was asked for, and what there is.
struct OomContext {
  std::string_view asking;                   // who asks: the heap, or the program
  size_t asking_index = OomDecision::kNone;  // its place among the candidates
  Pages wanted{};                            // pages that the allocation needs at once
  int oom_score_adj = 0;                     // of who asks
  Pages limit{};                             //
  Pages used{};                              // of it
  Pages swap_total{};                        // pages that fit the swap file; 0: there is none
  Pages swap_used{};                         //
  std::string_view pool;                     // whose all that is; "": of this process alone
};

void report_oom(const OomContext& context, std::span<const OomCandidate> candidates, const OomDecision& decision,
                OomSink sink);

}  // namespace weir
