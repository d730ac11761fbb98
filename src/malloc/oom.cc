#include "malloc/oom.h"

#include "base/port.h"
#include "malloc/callbacks.h"
#include "malloc/process.h"
#include "oom/record.h"
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
  return !reclaimer.charges_by_touch(pages_of(size), true);
}

bool decided(const OomCandidate* victim, const OomDecision& decision) {
  Reclaimer& reclaimer = *process_allocator().reclaimer();
  if (victim != nullptr) {
    const auto self = static_cast<uint64_t>(os::process_id());
    const weir_victim record = record_of(*victim, decision.points, self, self);
    reclaimer.note_oom(&record);
  } else {
    reclaimer.note_oom(nullptr);
  }
  // Allocations that fail may be many.
  const bool loses = victim != nullptr && (victim->is_heap || victim->kill == OomKill::kSignal);
  return process_allocator().options().oom_dump_tasks && (loses || may_report());
}

void write_line(void*, std::string_view line) {
  port::write_all(2, line.data(), line.size());
}

OomKill kill_of(OomPolicy policy) {
  return policy == OomPolicy::kAbort ? OomKill::kAbort : policy == OomPolicy::kKill ? OomKill::kSignal : OomKill::kFail;
}

// The process with all that it holds, and what it may hold.
OomAsk make_ask(Reclaimer& reclaimer, size_t size, uint32_t heap) {
  const ReclaimStats stats = reclaimer.stats();
  const Options& options = process_allocator().options();
  OomAsk ask;
  ask.owner = heap;
  OomCandidate& self = ask.process;
  self.id = self.process = static_cast<uint64_t>(os::process_id());
  self.user = os::user_id();
  self.name = os::program_name();
  const PoolMember::Held held = reclaimer.held();
  self.pages = held.used;
  self.swapped = held.swapped;
  self.kill = kill_of(options.oom);
  self.oom_score_adj = static_cast<int>(options.oom_score_adj);
  if (reclaimer.is_ending()) self.state = OomState::kDying;
  ask.context.asking = self.name;
  ask.context.asking_index = 0;
  ask.context.oom_score_adj = self.oom_score_adj;
  ask.context.wanted = pages_of(size);
  ask.context.limit = stats.limit;
  ask.context.used = self.pages;
  ask.context.swap_total = stats.swap_total;
  ask.context.swap_used = stats.swap_used;
  ask.kill_allocating = options.oom_kill_allocating_task;
  ask.decided = decided;
  if (reclaimer.pool().is_member()) {
    ask.reclaimer = &reclaimer;
    ask.context.pool = options.pool.view();
  }
  ask.sink = {write_line, nullptr};
  return ask;
}

// There are no heaps: nobody but the program can be chosen.
OomVerdict choose_program(const OomAsk& ask) {
  const std::span<const OomCandidate> self{&ask.process, 1};
  const OomDecision decision = select_victim(self, 0, ask.context.limit + ask.context.swap_total, false, {});
  const OomCandidate* victim = decision.victim == OomDecision::kNone ? nullptr : &ask.process;
  if (ask.decided(victim, decision)) report_oom(ask.context, self, decision, ask.sink);
  if (victim != nullptr && victim->kill == OomKill::kSignal) process_allocator().reclaimer()->end_process();
  return OomVerdict::kFail;
}

}  // namespace

bool oom_allocation_failed(size_t size, uint32_t heap) {
  Reclaimer* reclaimer = process_started() ? process_allocator().reclaimer() : nullptr;
  if (reclaimer == nullptr || reclaimer->is_lifted() || !could_be_had(*reclaimer, size)) return false;
  // Who frees memory is refused it rather than made to wait.
  if (process_shrinkers().is_inside()) return false;
  OomAsk ask = make_ask(*reclaimer, size, heap);
  const HeapHooks* heaps = process_allocator().heaps();
  const OomVerdict verdict = heaps != nullptr ? heaps->out_of_memory(heaps->self, ask) : choose_program(ask);
  if (verdict == OomVerdict::kTryAgain) return true;
  // The program's own failure ends it where that is wished; a heap's is the heap's.
  const bool ends = heap == 0 && process_allocator().options().oom == OomPolicy::kAbort;
  if (verdict == OomVerdict::kAbort || ends) port::abort_process();
  reclaimer->open_reserve();
  return false;
}

}  // namespace weir
