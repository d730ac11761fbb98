#include "config/options.h"

#include "config/value.h"

namespace weir {
namespace {

constexpr auto kThpNames = std::to_array<std::string_view>({"never", "dense", "always"});

// Every default lies within its own range: the table is checked when it is compiled.
constexpr bool table_is_sound() {
  for (const OptionInfo& option : kOptionTable) {
    const bool never = option.kind == OptionKind::kMs && option.default_value == kNeverMs;
    if (!never && (option.default_value < option.min || option.default_value > option.max)) return false;
    if (option.kind != OptionKind::kInt && option.min < 0) return false;
  }
  return true;
}
static_assert(table_is_sound());

bool parse_value(OptionKind kind, std::string_view text, int64_t& value) {
  switch (kind) {
    case OptionKind::kBool:
      return parse_bool(text, value);
    case OptionKind::kInt:
      return parse_int(text, value);
    case OptionKind::kSize:
      return parse_size(text, value);
    case OptionKind::kMs:
      return parse_ms(text, value);
    case OptionKind::kThp:
      return parse_name(text, kThpNames, value);
  }
  return false;
}

void store(Options& options, OptionId id, int64_t value) {
  switch (id) {
#define OPTION(name, kind, ...)                           \
  case OptionId::name:                                    \
    options.name = static_cast<option_type::kind>(value); \
    break;
#include "config/options.def"
  }
}

void format_value(Line& line, OptionKind kind, int64_t value) {
  if (kind == OptionKind::kSize) {
    format_size(line, value);
  } else if (kind == OptionKind::kThp) {
    line.text(kThpNames[static_cast<size_t>(value)]);
  } else {
    line.sdec(value);
  }
}

void format_range(Line& line, const OptionInfo& option) {
  format_value(line, option.kind, option.min);
  line.text("..");
  format_value(line, option.kind, option.max);
}

}  // namespace

const OptionInfo* find_option(std::string_view name) {
  for (const OptionInfo& option : kOptionTable)
    if (option.name == name) return &option;
  return nullptr;
}

int64_t option_value(const Options& options, OptionId id) {
  switch (id) {
#define OPTION(name, ...) \
  case OptionId::name:    \
    return static_cast<int64_t>(options.name);
#include "config/options.def"
  }
  return 0;
}

SetResult set_option(Options& options, std::string_view name, std::string_view value) {
  const OptionInfo* option = find_option(name);
  if (option == nullptr) return SetResult::kUnknownName;
  int64_t number = 0;
  if (option->kind == OptionKind::kMs && value == "-1") {
    number = kNeverMs;
  } else if (!parse_value(option->kind, value, number) || number < option->min || number > option->max) {
    return SetResult::kBadValue;
  }
  store(options, option->id, number);
  return SetResult::kSet;
}

void format_option(Line& line, const Options& options, OptionId id) {
  format_value(line, kOptionTable[static_cast<size_t>(id)].kind, option_value(options, id));
}

void format_accepted(Line& line, const OptionInfo& option) {
  switch (option.kind) {
    case OptionKind::kBool:
      line.text("0 or 1 (off or on)");
      break;
    case OptionKind::kInt:
      line.text("a whole number ");
      format_range(line, option);
      if (!option.unit.empty()) line.text(" (").text(option.unit).text(")");
      break;
    case OptionKind::kSize:
      line.text("a size ");
      format_range(line, option);
      line.text(" (bytes, or with K, M, G, T)");
      break;
    case OptionKind::kMs:
      line.text("a time ");
      format_range(line, option);
      line.text(" (ms, or with s, m, h; -1: never)");
      break;
    case OptionKind::kThp:
      for (size_t i = 0; i < kThpNames.size(); ++i) line.text(i == 0 ? "" : "|").text(kThpNames[i]);
      break;
  }
}

void format_help(Line& line, const OptionInfo& option) {
  Line assignment;
  assignment.text(option.name).text("=");
  format_value(assignment, option.kind, option.default_value);
  // As wide as the longest name with its default, watermark_scale_factor=10.
  constexpr unsigned kColumn = 26;
  line.text("  ").column(assignment.view(), kColumn).text(" ").text(option.help).text(": ");
  format_accepted(line, option);
  line.text("\n");
}

}  // namespace weir
