// options_fuzz.cc: any bytes as WEIR_CONF: nothing crashes, every value stays within its range, what is shown of a
// value parses back to it, and each mistake is one printable line.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/check.h"
#include "config/conf.h"
#include "config/options.h"

namespace weir {
namespace {

void check_line(void* count, std::string_view line) {
  ++*static_cast<unsigned*>(count);
  WEIR_CHECK(line.size() > 1 && line.size() < Line::kCapacity && line.back() == '\n');
  line.remove_suffix(1);
  for (char c : line) WEIR_CHECK(c >= ' ' && c <= '~');
}

void check_values(const Options& options) {
  Options copy;
  for (const OptionInfo& option : kOptionTable) {
    const int64_t value = option_value(options, option.id);
    const bool never = option.kind == OptionKind::kMs && value == kNeverMs;
    WEIR_CHECK(never || (value >= option.min && value <= option.max));
    Line text;
    format_option(text, options, option.id);
    WEIR_CHECK(set_option(copy, option.name, text.view()) == SetResult::kSet);
    WEIR_CHECK(option_value(copy, option.id) == value);
  }
}

// Sets every option to the same text: random bytes rarely spell a name.
void check_each_option(std::string_view value) {
  for (const OptionInfo& option : kOptionTable) {
    Options options;
    if (set_option(options, option.name, value) == SetResult::kBadValue) {
      WEIR_CHECK(option_value(options, option.id) == option.default_value);
      unsigned lines = 0;
      Line line;
      format_mistake(line, "fuzz", option.name, value);
      check_line(&lines, line.view());
    }
    check_values(options);
  }
}

}  // namespace
}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  weir::Options options;
  unsigned lines = 0;
  const unsigned mistakes = weir::parse_conf(text, "fuzz", options, {weir::check_line, &lines});
  if (mistakes != lines) abort();
  weir::check_values(options);
  (void)weir::nearest_option(text);
  weir::check_each_option(text);
  return 0;
}
