#include "oom/report.h"

#include <bit>

#include "base/print.h"
#include "oom/badness.h"

namespace weir {
namespace {

// What the kernel's names (comm) are cut to is 15; heaps may have longer ones, and a line has room for this.
constexpr size_t kLongestName = 64;

class Report {
 public:
  explicit Report(OomSink sink) : sink_(sink) {}
  void end(Line& line) {
    line.text("\n");
    sink_.write(sink_.context, line.view());
    line.clear();
  }

 private:
  OomSink sink_;
};

Line& add_name(Line& line, std::string_view name) {
  for (const char c : name.substr(0, kLongestName)) {
    const char shown = static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? '?' : c;
    line.text({&shown, 1});
  }
  return line;
}

Line& add_kb(Line& line, std::string_view label, Pages pages) {
  return line.text(label).dec(pages.v * (kPageSize / 1024)).text("kB");
}

Line& add_signed(Line& line, int64_t n, unsigned width) {
  Line digits;
  digits.sdec(n);
  for (size_t i = digits.view().size(); i < width; ++i) line.text(" ");
  return line.text(digits.view());
}

// "redis-server invoked oom-killer: order=4, oom_score_adj=0" (dump_header).
void add_header(Report& report, const OomContext& context) {
  Line line;
  const uint64_t wanted = context.wanted.v == 0 ? 1 : context.wanted.v;
  add_name(line, context.asking).text(" invoked oom-killer: order=").dec(std::bit_width(wanted - 1));
  report.end(line.text(", oom_score_adj=").sdec(context.oom_score_adj));
  // As for a cgroup (mem_cgroup_print_oom_meminfo).
  add_kb(line, "memory: usage ", context.used);
  report.end(add_kb(line, ", limit ", context.limit));
  add_kb(line, "swap: usage ", context.swap_used);
  report.end(add_kb(line, ", limit ", context.swap_total));
}

// A column between `rss` and `swapents` differs from version to version of the kernel, and is what weir has not:
// page tables.
void add_tasks(Report& report, std::span<const OomCandidate> candidates) {
  Line line;
  report.end(line.text("Tasks state (memory values in pages):"));
  report.end(line.text("[  pid  ]   uid  tgid total_vm      rss swapents oom_score_adj name"));
  for (const OomCandidate& c : candidates) {
    line.text("[").column(c.id, 7).text("] ").column(c.user, 5).text(" ").column(c.process, 5).text(" ");
    line.column(c.pages.v + c.swapped.v, 8).text(" ").column(c.pages.v, 8).text(" ").column(c.swapped.v, 8);
    add_signed(line.text("         "), c.oom_score_adj, 5).text(" ");
    report.end(add_name(line, c.name));
  }
}

std::string_view why(OomReason reason) {
  switch (reason) {
    case OomReason::kMostPoints:
      return "most points";
    case OomReason::kAllocating:
      return "it asked, and oom_kill_allocating_task is set";
    case OomReason::kEarlier:
      return "it was chosen before and is still giving memory back";
    case OomReason::kExemptGrew:
      return "it is exempt and has grown most since the last kill";
    case OomReason::kAskingDies:
      return "it is being emptied itself";
    case OomReason::kNobody:
      return "there is nobody to choose";
  }
  return "";
}

std::string_view what_happens(OomAction action, OomKill kill, bool heap) {
  if (action == OomAction::kWait) return heap ? "Waiting for heap " : "Waiting for process ";
  switch (kill) {
    case OomKill::kFail:
      return heap ? "Fails allocations of heap " : "Failed an allocation of process ";
    case OomKill::kAbort:
      return heap ? "Aborted for heap " : "Aborted process ";
    case OomKill::kRelease:
      return "Emptied heap ";
    case OomKill::kSignal:
      break;
  }
  return "Killed process ";
}

// As dump_oom_summary and __oom_kill_process.
void add_victim(Report& report, const OomContext& context, const OomCandidate& victim, const OomDecision& decision) {
  Line line;
  line.text("oom-kill:constraint=CONSTRAINT_MEMCG");
  if (!context.pool.empty()) add_name(line.text(",oom_memcg="), context.pool);
  add_name(line.text(",task="), victim.name).text(",pid=").dec(victim.id).text(",uid=").dec(victim.user);
  report.end(line.text(",points=").sdec(decision.points));
  line.text("Out of memory: ").text(what_happens(decision.action, victim.kill, victim.is_heap));
  add_name(line.dec(victim.id).text(" ("), victim.name).text(")");
  add_kb(line, " total-vm:", victim.pages + victim.swapped);
  add_kb(line, ", anon-rss:", victim.pages);
  add_kb(line, ", swapents:", victim.swapped).text(", UID:").dec(victim.user);
  line.text(" oom_score_adj:").sdec(victim.oom_score_adj);
  report.end(line.text(": ").text(why(decision.reason)));
}

}  // namespace

void report_oom(const OomContext& context, std::span<const OomCandidate> candidates, const OomDecision& decision,
                OomSink sink) {
  Report report(sink);
  add_header(report, context);
  add_tasks(report, candidates);
  Line line;
  if (decision.victim < candidates.size()) {
    add_victim(report, context, candidates[decision.victim], decision);
  } else {
    add_name(line.text("Out of memory: the allocation of "), context.asking).text(" fails: ");
    report.end(line.text(why(decision.reason)));
  }
  // That a victim's memory would go the same way is worth a line of its own.
  if (decision.leaking < candidates.size() && decision.reason != OomReason::kExemptGrew) {
    add_name(line.text("Out of memory: the allocations of "), candidates[decision.leaking].name);
    report.end(line.text(" fail from now on: ").text(why(OomReason::kExemptGrew)));
  }
}

}  // namespace weir
