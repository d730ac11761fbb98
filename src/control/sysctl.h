// Purpose: tells and changes the options of a running allocator: finds them by their names, checks what is asked, and
//          says in words why something is refused.
// Thread safety: one thread at a time, while others allocate and reclaim.
// Invariants: an option that is refused stays as it was, and so does everything that follows from it.
#pragma once

#include <string_view>

#include "base/print.h"
#include "malloc/allocator.h"

namespace weir {

class Sysctl {
 public:
  // What makes a change of `options` known to the allocator that works with them; false: there would be no limit.
  using Apply = bool (*)(Allocator& allocator, Reclaimer::Budget budget);

  Sysctl(Options& options, Allocator& allocator, Apply apply)
      : options_(options), allocator_(allocator), apply_(apply) {}

  // Appends the value of `name` (an option, or a sysctl name) to `value`. Returns 0, or the error as weir_sysctl does,
  // with the reason in `report`.
  [[nodiscard]] int get(std::string_view name, Line& value, Line& report) const;
  [[nodiscard]] int set(std::string_view name, std::string_view value, Line& report);

 private:
  int find_changeable(std::string_view name, const SysctlInfo*& found, Line& report) const;
  int check_needs(const SysctlInfo& sysctl, Line& report) const;
  int check_value(const OptionInfo& option, int64_t wanted, Line& report) const;
  int set_swap(const OptionInfo& option, std::string_view value, Line& report);

  Options& options_;
  Allocator& allocator_;
  Apply apply_;
};

// The same on the options and the allocator of this process, with its lock: weir_sysctl. `new_value` null: only tells.
// `old_value` and `now` (may be null) get the values before and after.
struct SysctlCall {
  std::string_view name;
  const std::string_view* new_value = nullptr;
  Line* old_value = nullptr;
  Line* now = nullptr;
};
[[nodiscard]] int process_sysctl(const SysctlCall& call, Line& report);
// By who holds process_settings_mutex().
[[nodiscard]] int process_sysctl_locked(const SysctlCall& call, Line& report);

}  // namespace weir
