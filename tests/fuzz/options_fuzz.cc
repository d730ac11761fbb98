// options_fuzz.cc: any bytes as WEIR_CONF: nothing crashes, every value stays within its range, what is shown of a
// value parses back to it, and each mistake is one printable line.
#include <cstdint>
#include <cstring>
#include <string>
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

bool is_special(const OptionInfo& option, int64_t value) {
  if (option.kind == OptionKind::kMs) return value == kNeverMs;
  if (option.kind == OptionKind::kLimit) return value == 0 || static_cast<uint64_t>(value) == kCgroupLimit;
  return option.kind == OptionKind::kText && value == 0;
}

void check_values(const Options& options) {
  Options copy;
  for (const OptionInfo& option : kOptionTable) {
    const int64_t value = option_value(options, option.id);
    WEIR_CHECK(is_special(option, value) || (value >= option.min && value <= option.max));
    Line text;
    format_option(text, options, option.id);
    WEIR_CHECK(set_option(copy, option.name, text.view()) == SetResult::kSet);
    WEIR_CHECK(option_value(copy, option.id) == value);
    const Text* own = option_text(options, option.id);
    WEIR_CHECK(own == nullptr || own->view() == option_text(copy, option.id)->view());
    WEIR_CHECK(own == nullptr || strlen(own->c_str()) == own->view().size());
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

// Whole lists that begin well: random bytes rarely reach the inside of a quoted value.
void check_list(std::string_view list) {
  Options options;
  unsigned lines = 0;
  WEIR_CHECK(parse_conf(list, "fuzz", options, {check_line, &lines}) == lines);
  check_values(options);
}

}  // namespace
}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const char* beginning : {"", "swap=", "limit=1G,swap=\""}) {
    // A copy of exactly its size, so that a sanitizer sees a read past its end.
    std::string list(beginning);
    list.append(text);
    list.shrink_to_fit();
    weir::check_list(list);
  }
  (void)weir::nearest_option(text);
  weir::check_each_option(text);
  return 0;
}
