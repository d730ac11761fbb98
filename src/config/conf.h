// Purpose: reads a list of options such as WEIR_CONF="decay_ms=1s, thp=never", and reports its mistakes.
// Thread safety: pure functions besides the sink, which the caller provides. Nothing allocates, so that the first
// malloc
//                of a process can read its options.
// Invariants: a mistake costs one line and one count and changes no option; later entries win over earlier ones.
#pragma once

#include <string_view>

#include "base/print.h"
#include "config/options.h"

namespace weir {

// The exit status of a process whose options say abort_conf=1 and have a mistake: EX_USAGE of sysexits.h.
inline constexpr int kConfExitStatus = 64;

// Takes one complete line with its newline.
struct ConfSink {
  void (*write)(void* context, std::string_view line);
  void* context;
};

// A sink that writes to a file descriptor.
[[nodiscard]] ConfSink descriptor_sink(int fd);

// Applies "key=value,key=value" to `options`: blanks around keys, values and entries are ignored, and so are empty
// entries. A value may stand in double quotes, and then have commas and blanks: swap="/a, b". `source` says in the
// reports where the text came from ("WEIR_CONF"). Returns the number of mistakes; the caller looks at
// options.abort_conf afterwards, so it does not matter where in the list that stands.
[[nodiscard]] unsigned parse_conf(std::string_view conf, std::string_view source, Options& options, ConfSink sink);

// Appends "<source>: <what is wrong with name=value and what would be right>" for a set_option that failed, with a
// newline. What the user wrote is shown with control characters replaced, and cut when it is long.
void format_mistake(Line& line, std::string_view source, std::string_view name, std::string_view value);

// The option that the unknown `name` was most likely meant to be, or null when none is near.
[[nodiscard]] const OptionInfo* nearest_option(std::string_view name);

}  // namespace weir
