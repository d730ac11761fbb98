#include "control/sysctl.h"

#include <errno.h>

#include "config/conf.h"
#include "malloc/kcompactd.h"
#include "malloc/process.h"

namespace weir {
namespace {

bool is_limit(OptionId id) {
  return id == OptionId::limit || id == OptionId::rss_limit;
}

// What format_mistake says of an unknown key, without what stands in front of it.
int report_unknown(std::string_view name, Line& report) {
  Line mistake;
  format_mistake(mistake, "", name, "");
  constexpr std::string_view kBefore = "weir: : ";
  std::string_view text = mistake.view();
  if (text.starts_with(kBefore)) text.remove_prefix(kBefore.size());
  if (text.ends_with('\n')) text.remove_suffix(1);
  report.text(text);
  return ENOENT;
}

// A limit can be changed, but not be taken away.
int report_expected(const OptionInfo& option, Line& report) {
  report.text("expected ");
  if (option.id == OptionId::swap) {
    report.text("the absolute path of a directory, file or block device, or none");
    return EINVAL;
  }
  if (!is_limit(option.id)) {
    format_accepted(report, option);
    return EINVAL;
  }
  format_number(report.text("a size "), option.id, option.min);
  format_number(report.text(".."), option.id, option.max);
  report.text(" (bytes, or with K, M, G, T), or cgroup");
  return EINVAL;
}

bool apply_to_process(Allocator&, Reclaimer::Budget budget) {
  return process_options_changed(budget);
}

}  // namespace

int Sysctl::get(std::string_view name, Line& value, Line& report) const {
  const OptionInfo* option = find_option_or_sysctl(name);
  if (option == nullptr) return report_unknown(name, report);
  format_option(value, options_, option->id);
  return 0;
}

int Sysctl::find_changeable(std::string_view name, const SysctlInfo*& found, Line& report) const {
  const OptionInfo* option = find_option_or_sysctl(name);
  if (option == nullptr) return report_unknown(name, report);
  found = find_sysctl(option->id);
  if (found != nullptr) return 0;
  report.text("cannot be changed while the program runs; set it when the program starts, in WEIR_CONF or by weir run");
  return EPERM;
}

int Sysctl::check_needs(const SysctlInfo& sysctl, Line& report) const {
  if (sysctl.needs == Needs::kNothing) return 0;
  Reclaimer* reclaimer = allocator_.reclaimer();
  if (reclaimer == nullptr) {
    report.text("the program was started without a limit; start it under weir run --limit SIZE");
    return ENXIO;
  }
  if (reclaimer->is_lifted()) {
    report.text("this child of a fork had to be left without a limit, because it cannot swap");
    return ENXIO;
  }
  if (sysctl.needs == Needs::kSwapping && reclaimer->mode() != Reclaimer::Mode::kSwap) {
    report.text("pages of this program cannot be swapped (weir doctor says why), so that this would have no effect");
    return ENXIO;
  }
  return 0;
}

// What the table cannot know.
int Sysctl::check_value(const OptionInfo& option, int64_t wanted, Line& report) const {
  if (is_limit(option.id) && !options_.pool.empty() && allocator_.reclaimer()->pool_problem() == nullptr) {
    report.text("the limit is that of the pool ")
        .text(options_.pool.view())
        .text(", for all of its processes; see weir pool set");
    return ENXIO;
  }
  const uint64_t other_limit = option.id == OptionId::limit ? options_.rss_limit : options_.limit;
  if (is_limit(option.id) && wanted == 0 && other_limit == 0) {
    report.text("a limit cannot be taken away while the program runs; ");
    return report_expected(option, report);
  }
  if (option.id != OptionId::zswap_max && option.id != OptionId::zswap_compressor) return 0;
  if (!options_.zswap) {
    report.text("the program was started with zswap=0, so that this would have no effect");
    return ENXIO;
  }
  if (option.id != OptionId::zswap_max) return 0;
  const Pages room = allocator_.reclaimer()->zswap_room();
  if (Pages(static_cast<uint64_t>(wanted) >> kPageShift) <= room) return 0;
  report.text("expected at most ");
  format_number(report, option.id, static_cast<int64_t>(bytes_of(room)));
  report.text(", for which this program has address space; start it with a larger one");
  return EINVAL;
}

// Where pages are written to, and how many may be: another file is opened for both. A process that asks for that has
// another folder than this one.
int Sysctl::set_swap(const OptionInfo& option, std::string_view value, Line& report) {
  const Text path_before = options_.swap;
  const auto size_before = options_.swap_size;
  const bool is_path = option.id == OptionId::swap;
  const bool is_set = set_option(options_, option.name, value) == SetResult::kSet;
  const bool is_usable = !is_path || options_.swap.empty() || options_.swap.view().front() == '/';
  const char* problem = nullptr;
  if (is_set && is_usable) {
    const bool has_file = is_path || !options_.swap.empty();
    problem = has_file ? allocator_.reclaimer()->change_swap_file() : nullptr;
    // What the compressed pool may take is another part of the limit where there is a file.
    if (problem == nullptr) return apply_(allocator_, Reclaimer::Budget::kStays) ? 0 : EINVAL;
  }
  options_.swap = path_before;
  options_.swap_size = size_before;
  if (problem == nullptr) return report_expected(option, report);
  report.text(problem);
  return EINVAL;
}

int Sysctl::set(std::string_view name, std::string_view value, Line& report) {
  const SysctlInfo* sysctl = nullptr;
  if (const int error = find_changeable(name, sysctl, report)) return error;
  if (const int error = check_needs(*sysctl, report)) return error;
  const OptionInfo& option = option_info(sysctl->id);
  if (option.id == OptionId::swap || option.id == OptionId::swap_size) return set_swap(option, value, report);
  int64_t wanted = 0;
  if (!parse_option(option, value, wanted)) return report_expected(option, report);
  if (const int error = check_value(option, wanted, report)) return error;
  const int64_t before = option_value(options_, option.id);
  store_option(options_, option.id, wanted);
  // As in the kernel, who sets a ratio wants it to count.
  if (option.id == OptionId::dirty_ratio) options_.dirty_bytes = 0;
  if (option.id == OptionId::dirty_background_ratio) options_.dirty_background_bytes = 0;
  if (apply_(allocator_, is_limit(option.id) ? Reclaimer::Budget::kAlso : Reclaimer::Budget::kStays)) return 0;
  // There is nothing to be undone but the option itself.
  store_option(options_, option.id, before);
  report.text("the cgroup has no limit, and none would be left");
  return EINVAL;
}

// Not a setting but an order (/proc/sys/vm/compact_memory), which is carried out by kcompactd.
bool is_compact_memory(std::string_view name) {
  return name == "vm.compact_memory" || name == "compact_memory";
}

int compact_memory(const SysctlCall& call, Line& report) {
  if (call.new_value == nullptr) {
    report.text("can only be set: 1 has all objects that can be moved moved together");
    return EPERM;
  }
  if (*call.new_value != "1") {
    report.text("expected 1");
    return EINVAL;
  }
  const Compactor* const compactor = process_allocator().compactor();
  if (compactor == nullptr || compactor->table().nr_objects() == 0) {
    report.text("nothing can be moved: the program has no objects with handles (weir/movable.h)");
    return ENXIO;
  }
  if (kcompactd_wake(true)) return 0;
  report.text("no thread can be started to do it: background_thread=0, a filter of system calls, or too many threads");
  return ENXIO;
}

int process_sysctl_locked(const SysctlCall& call, Line& report) {
  if (is_compact_memory(call.name)) return compact_memory(call, report);
  Sysctl sysctl(process_options(), process_allocator(), apply_to_process);
  Line ignored;
  Line& before = call.old_value != nullptr ? *call.old_value : ignored;
  if (const int error = sysctl.get(call.name, before, report)) return error;
  if (call.new_value != nullptr)
    if (const int error = sysctl.set(call.name, *call.new_value, report)) return error;
  return call.now != nullptr ? sysctl.get(call.name, *call.now, report) : 0;
}

int process_sysctl(const SysctlCall& call, Line& report) {
  if (!process_start()) {
    report.text("there is no memory to start with");
    return ENOMEM;
  }
  LockGuard guard(process_settings_mutex());
  return process_sysctl_locked(call, report);
}

}  // namespace weir
