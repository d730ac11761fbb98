#include "config/options.h"

#include <cstring>
#include <span>

#include "config/value.h"

namespace weir {
namespace {

constexpr auto kThpNames = std::to_array<std::string_view>({"never", "dense", "always"});
constexpr auto kCompressorNames = std::to_array<std::string_view>({"lz4", "zstd"});
constexpr auto kOomNames = std::to_array<std::string_view>({"fail", "abort", "kill"});
constexpr std::string_view kCgroupName = "cgroup";
constexpr std::string_view kNoTextName = "none";

// The names of an enum's values, in order; empty for the other kinds.
constexpr std::span<const std::string_view> names_of(OptionKind kind) {
  if (kind == OptionKind::kThp) return kThpNames;
  if (kind == OptionKind::kCompressor) return kCompressorNames;
  if (kind == OptionKind::kOom) return kOomNames;
  return {};
}

// Values outside min..max that an option may have all the same.
constexpr bool is_special(OptionKind kind, int64_t value) {
  if (kind == OptionKind::kMs) return value == kNeverMs;
  if (kind == OptionKind::kLimit) return value == 0 || value == static_cast<int64_t>(kCgroupLimit);
  return kind == OptionKind::kText && value == 0;
}

// Every default lies within its own range, and every enum has a name: the table is checked when it is compiled.
constexpr bool table_is_sound() {
  for (const OptionInfo& option : kOptionTable) {
    const bool special = is_special(option.kind, option.default_value);
    if (!special && (option.default_value < option.min || option.default_value > option.max)) return false;
    if (option.kind != OptionKind::kInt && option.min < 0) return false;
    const auto names = names_of(option.kind);
    if (!names.empty() && option.max + 1 != static_cast<int64_t>(names.size())) return false;
  }
  return true;
}
static_assert(table_is_sound());

bool parse_limit(std::string_view text, int64_t& value) {
  if (!equals_ignoring_case(text, kCgroupName)) return parse_size(text, value);
  value = static_cast<int64_t>(kCgroupLimit);
  return true;
}

bool parse_ms_or_never(std::string_view text, int64_t& value) {
  if (text != "-1") return parse_ms(text, value);
  value = kNeverMs;
  return true;
}

bool parse_value(OptionKind kind, std::string_view text, int64_t& value) {
  switch (kind) {
    case OptionKind::kBool:
      return parse_bool(text, value);
    case OptionKind::kInt:
      return parse_int(text, value);
    case OptionKind::kSize:
      return parse_size(text, value);
    case OptionKind::kMs:
      return parse_ms_or_never(text, value);
    case OptionKind::kLimit:
      return parse_limit(text, value);
    case OptionKind::kThp:
    case OptionKind::kCompressor:
    case OptionKind::kOom:
      return parse_name(text, names_of(kind), value);
    case OptionKind::kText:
      return false;  // not a number
  }
  return false;
}

// The table has options that are numbers and options that are text; what is generated from it meets both.
template <class Value>
void store_number(Value& option, int64_t value) {
  option = static_cast<typename Value::Type>(value);
}
void store_number(Text&, int64_t) {}

template <class Value>
int64_t number_of(const Value& option) {
  return static_cast<int64_t>(option.load());
}
int64_t number_of(const Text& option) {
  return static_cast<int64_t>(option.view().size());
}

template <class Value>
const Text* text_of(const Value&) {
  return nullptr;
}
const Text* text_of(const Text& option) {
  return &option;
}

SetResult set_text(Text& option, std::string_view value, int64_t most) {
  if (equals_ignoring_case(value, kNoTextName)) {
    option = Text();
    return SetResult::kSet;
  }
  const bool fits = !value.empty() && static_cast<int64_t>(value.size()) <= most;
  return fits && option.assign(value) ? SetResult::kSet : SetResult::kBadValue;
}

void format_value(Line& line, OptionKind kind, int64_t value) {
  const auto names = names_of(kind);
  if (!names.empty()) {
    line.text(names[static_cast<size_t>(value)]);
  } else if (kind == OptionKind::kLimit && value == static_cast<int64_t>(kCgroupLimit)) {
    line.text(kCgroupName);
  } else if (kind == OptionKind::kSize || kind == OptionKind::kLimit) {
    format_size(line, value);
  } else if (kind == OptionKind::kText) {
    line.text(kNoTextName);
  } else {
    line.sdec(value);
  }
}

void format_range(Line& line, const OptionInfo& option) {
  format_value(line, option.kind, option.min);
  line.text("..");
  format_value(line, option.kind, option.max);
}

void format_names(Line& line, std::span<const std::string_view> names, std::string_view separator) {
  for (size_t i = 0; i < names.size(); ++i) line.text(i == 0 ? "" : separator).text(names[i]);
}

}  // namespace

const OptionInfo* find_option(std::string_view name) {
  for (const OptionInfo& option : kOptionTable)
    if (option.name == name) return &option;
  return nullptr;
}

const SysctlInfo* find_sysctl(OptionId id) {
  for (const SysctlInfo& each : kSysctlTable)
    if (each.id == id) return &each;
  return nullptr;
}

const OptionInfo* find_option_or_sysctl(std::string_view name) {
  for (const SysctlInfo& each : kSysctlTable)
    if (each.name == name) return &option_info(each.id);
  return find_option(name);
}

int64_t option_value(const Options& options, OptionId id) {
  switch (id) {
#define OPTION(name, ...) \
  case OptionId::name:    \
    return number_of(options.name);
#include "config/options.def"
  }
  return 0;
}

const Text* option_text(const Options& options, OptionId id) {
  switch (id) {
#define OPTION(name, ...) \
  case OptionId::name:    \
    return text_of(options.name);
#include "config/options.def"
  }
  return nullptr;
}

bool Text::assign(std::string_view text) {
  if (text.size() >= kCapacity || memchr(text.data(), 0, text.size()) != nullptr) return false;
  // The rest is cleared, so that equal options are equal bytes.
  memset(chars_, 0, sizeof(chars_));
  memcpy(chars_, text.data(), text.size());
  size_ = text.size();
  return true;
}

void store_option(Options& options, OptionId id, int64_t number) {
  switch (id) {
#define OPTION(name, ...)               \
  case OptionId::name:                  \
    store_number(options.name, number); \
    break;
#include "config/options.def"
  }
}

bool parse_option(const OptionInfo& option, std::string_view value, int64_t& number) {
  int64_t parsed = 0;
  if (!parse_value(option.kind, value, parsed)) return false;
  const bool in_range = parsed >= option.min && parsed <= option.max;
  if (!in_range && !is_special(option.kind, parsed)) return false;
  number = parsed;
  return true;
}

SetResult set_option(Options& options, std::string_view name, std::string_view value) {
  const OptionInfo* option = find_option(name);
  if (option == nullptr) return SetResult::kUnknownName;
  if (const Text* text = option_text(options, option->id))
    return set_text(const_cast<Text&>(*text), value, option->max);
  int64_t number = 0;
  if (!parse_option(*option, value, number)) return SetResult::kBadValue;
  store_option(options, option->id, number);
  return SetResult::kSet;
}

void format_option(Line& line, const Options& options, OptionId id) {
  const Text* text = option_text(options, id);
  if (text != nullptr && !text->empty())
    line.text(text->view());
  else
    format_value(line, option_info(id).kind, option_value(options, id));
}

void format_number(Line& line, OptionId id, int64_t value) {
  const OptionKind kind = option_info(id).kind;
  const auto names = names_of(kind);
  if (kind == OptionKind::kText && value != 0) {
    line.text("(text)");
  } else if (!names.empty() && (value < 0 || value >= static_cast<int64_t>(names.size()))) {
    line.sdec(value);
  } else {
    format_value(line, kind, value);
  }
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
    case OptionKind::kLimit:
      line.text("a size ");
      format_range(line, option);
      line.text(" (bytes, or with K, M, G, T), 0 (none) or ").text(kCgroupName);
      break;
    case OptionKind::kText:
      line.text("the ").text(option.unit).text(", at most ").sdec(option.max).text(" bytes, or ").text(kNoTextName);
      break;
    case OptionKind::kThp:
    case OptionKind::kCompressor:
    case OptionKind::kOom:
      format_names(line, names_of(option.kind), "|");
      break;
  }
}

void format_words(Line& line, const OptionInfo& option) {
  switch (option.kind) {
    case OptionKind::kBool:
      line.text("0 1");
      break;
    case OptionKind::kLimit:
      line.text("0 ").text(kCgroupName);
      break;
    case OptionKind::kText:
      line.text(kNoTextName);
      break;
    case OptionKind::kThp:
    case OptionKind::kCompressor:
    case OptionKind::kOom:
      format_names(line, names_of(option.kind), " ");
      break;
    case OptionKind::kInt:
    case OptionKind::kSize:
    case OptionKind::kMs:
      break;
  }
}

bool is_path(const OptionInfo& option) {
  return option.kind == OptionKind::kText && option.unit.starts_with("path");
}

void format_help(Line& line, const OptionInfo& option) {
  Line assignment;
  assignment.text(option.name).text("=");
  format_value(assignment, option.kind, option.default_value);
  // As wide as the longest name with its default, dirty_writeback_centisecs=500.
  constexpr unsigned kColumn = 30;
  line.text("  ").column(assignment.view(), kColumn).text(" ").text(option.help).text(": ");
  format_accepted(line, option);
  line.text("\n");
}

}  // namespace weir
