#include "malloc/oom.h"

#include "base/port.h"
#include "malloc/callbacks.h"
#include "malloc/process.h"
#include "oom/report.h"
#include "os/env.h"
#include "os/proc.h"
#include "os/thread.h"

namespace weir {
namespace {

// A program that cannot get memory usually asks again and again; who reads its standard error has understood.
constexpr uint64_t kBetweenReportsMs = 60000;

// When the next report may be written.
constinit std::atomic<uint64_t> next_report_ms{0};

bool may_report() {
  const uint64_t now = os::now_ms();
  uint64_t due = next_report_ms.load(std::memory_order_relaxed);
  return now >= due && next_report_ms.compare_exchange_strong(due, now + kBetweenReportsMs, std::memory_order_relaxed);
}

// More than there can ever be is a mistake of the program's, or a trial.
bool could_be_had(Reclaimer& reclaimer, size_t size) {
  if (size >= bytes_of(reclaimer.limit())) return false;
  // A long run costs nothing yet: what is missing is address space.
  return reclaimer.mode() != Reclaimer::Mode::kSwap || pages_of(size).v < Reclaimer::kWatchedRun;
}

void write_line(void*, std::string_view line) {
  port::write_all(2, line.data(), line.size());
}

void report(Reclaimer& reclaimer, size_t size, OomPolicy policy) {
  const ReclaimStats stats = reclaimer.stats();
  OomCandidate self;
  self.id = self.process = static_cast<uint64_t>(os::process_id());
  self.user = os::user_id();
  self.name = os::program_name();
  for (unsigned n = 0; n < process_allocator().nr_nodes(); ++n) {
    NodeReclaim* node = reclaimer.node(n);
    if (node == nullptr) continue;
    self.pages += node->zone().used();
    self.swapped += Pages(node->swapped_pages());
  }
  self.kill = policy == OomPolicy::kAbort ? OomKill::kAbort : OomKill::kFail;
  OomContext context;
  context.asking = self.name;
  context.asking_index = 0;
  context.wanted = pages_of(size);
  context.limit = stats.limit;
  context.used = self.pages;
  context.swap_total = stats.swap_total;
  context.swap_used = stats.swap_used;
  const OomDecision decision = select_victim({&self, 1}, 0, stats.limit + stats.swap_total, false, {});
  report_oom(context, {&self, 1}, decision, {write_line, nullptr});
}

}  // namespace

void oom_allocation_failed(size_t size) {
  Reclaimer* reclaimer = process_started() ? process_allocator().reclaimer() : nullptr;
  if (reclaimer == nullptr || reclaimer->is_lifted() || !could_be_had(*reclaimer, size)) return;
  // Who frees memory is refused it rather than made to wait.
  if (process_shrinkers().is_inside()) return;
  reclaimer->note_oom();
  const Options& options = process_allocator().options();
  const OomPolicy policy = options.oom;
  if (options.oom_dump_tasks && may_report()) report(*reclaimer, size, policy);
  if (policy == OomPolicy::kAbort) port::abort_process();
}

}  // namespace weir
