#include "heaps.h"

#include <fmt/format.h>

#include <memory>
#include <string>

#include "heap_policy.h"
#include "json.h"
#include "mib.h"
#include "procfs.h"
#include "snapshot.h"

namespace weir::tool {
namespace {

constexpr const char* kHelp =
    R"(The heaps that a program made with weir_heap_create (weir/heap.h). Sizes are MiB: CHARGED, what the heap was given;
SWAPPED, what of it lies in compressed memory or a swap file; LIMIT and SOFT are on the difference of the two; PEAK, most
that was charged. ADJ is its oom_score_adj, POLICY what happens when it is chosen as memory runs out: its allocations
fail, it is emptied (release), or the process is aborted. FAILED allocations are those that its limit did not allow. A
heap that was chosen and whose allocations fail until it gives something back has a * behind its policy.
Of more than 64 heaps some are not shown; a line below the table, "shown" and "heaps" in JSON say so.

Examples:
  weir heaps 4711
  weir heaps --json 4711

Exit status: 0; 64 a mistake in the command line; 66 there is no such process, it is not on weir, or it may not
be read (its user and root may).
)";

// A name is the program's: nothing in it may move the cursor.
std::string shown(const char* name) {
  std::string text = name;
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  return text;
}

std::string size_or_none(uint64_t pages) {
  return pages == 0 ? "-" : fmt::format("{:.1f}", mib(pages));
}

void print_table(const Snapshot& s) {
  fmt::print("{:>9} {:>9} {:>9} {:>9} {:>9} {:>5} {:<8} {:>9} {}\n", "CHARGED", "SWAPPED", "LIMIT", "SOFT", "PEAK",
             "ADJ", "POLICY", "FAILED", "NAME");
  const auto all = s.heaps();
  for (const weir_stats_heap& h : all)
    fmt::print("{:>9.1f} {:>9.1f} {:>9} {:>9} {:>9.1f} {:>5} {:<8} {:>9} {}\n", mib(h.charged), mib(h.swapped),
               size_or_none(h.limit), size_or_none(h.soft_limit), mib(h.peak), h.oom_score_adj, policy_text(h),
               h.limit_failures, shown(h.name));
  if (all.size() < s.page().nr_heaps) fmt::print("({} of {} heaps are shown)\n", all.size(), s.page().nr_heaps);
}

void print_json(const Snapshot& s) {
  JsonArray list;
  const auto all = s.heaps();
  for (const weir_stats_heap& h : all) {
    JsonObject o;
    o.add("name", shown(h.name)).add("id", h.id).add("node", uint64_t{h.node});
    o.add("charged", h.charged).add("swapped", h.swapped).add("peak", h.peak).add("limit", h.limit);
    o.add("soft_limit", h.soft_limit).raw("oom_score_adj", fmt::format("{}", h.oom_score_adj));
    o.add("oom_policy", std::string_view(policy_name(h.oom_policy))).add("capped", uint64_t{is_capped(h)});
    o.add("noswap", uint64_t{h.noswap}).add("limit_hits", h.limit_hits);
    list.raw(o.add("limit_failures", h.limit_failures).text());
  }
  JsonObject o;
  o.add("pid", static_cast<uint64_t>(s.pid())).add("unit", std::string_view("pages"));
  o.add("heaps", s.page().nr_heaps).add("shown", static_cast<uint64_t>(all.size()));
  fmt::print("{}\n", o.raw("list", list.text()).text());
}

}  // namespace

void add_heaps(CLI::App& app) {
  CLI::App* command = app.add_subcommand("heaps", "The registered heaps of a process");
  struct Settings {
    pid_t pid = 0;
    bool json = false;
  };
  auto settings = std::make_shared<Settings>();
  command->add_option("pid", settings->pid, "The process; without it the only one of yours on weir")
      ->type_name("PID")
      ->check(CLI::Range(pid_t{1}, kMostPid).description(""));
  command->add_flag("--json", settings->json, "As JSON");
  command->footer(kHelp);
  command->callback([settings] {
    const Snapshot snapshot(choose_process(settings->pid));
    settings->json ? print_json(snapshot) : print_table(snapshot);
  });
}

}  // namespace weir::tool
