#include "config/conf.h"

#include <algorithm>

#include "base/port.h"

namespace weir {
namespace {

// Longer names than any option's by half: nobody mistypes that much.
constexpr size_t kMaxCompared = 40;
static_assert([] {
  for (const OptionInfo& option : kOptionTable)
    if (option.name.size() > kMaxCompared) return false;
  return true;
}());

// What is shown of a key or a value. A whole report must fit a Line.
constexpr size_t kMaxShown = 60;

constexpr bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Takes the text up to the next `separator` (or the end) off the front of `rest`.
std::string_view take_until(std::string_view& rest, char separator) {
  const size_t end = std::min(rest.find(separator), rest.size());
  const std::string_view taken(rest.data(), end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return taken;
}

// Takes one entry off the front: up to the next comma that is not in a quoted value. A value is quoted when it begins
// with a double quote, and ends with the next one.
std::string_view take_entry(std::string_view& rest) {
  size_t at = rest.find_first_of(",=");
  size_t end = at;
  if (at != std::string_view::npos && rest[at] == '=') {
    do ++at;
    while (at < rest.size() && is_blank(rest[at]));
    if (at < rest.size() && rest[at] == '"') at = rest.find('"', at + 1);
    end = at == std::string_view::npos ? at : rest.find(',', at);
  }
  end = std::min(end, rest.size());
  const std::string_view taken(rest.data(), end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return taken;
}

// Takes the quotes off a quoted value; false when they do not stand at its ends alone.
bool unquote(std::string_view& value) {
  if (value.empty() || value.front() != '"') return true;
  value.remove_prefix(1);
  if (value.empty() || value.find('"') != value.size() - 1) return false;
  value.remove_suffix(1);
  return true;
}

void show(Line& line, std::string_view text) {
  const size_t shown = std::min(text.size(), kMaxShown);
  for (size_t i = 0; i < shown; ++i) {
    const char c = text[i];
    line.text(c >= ' ' && c <= '~' ? std::string_view(&text[i], 1) : "?");
  }
  if (shown < text.size()) line.text("...");
}

// Insertions, deletions, replacements and swapped neighbours that turn `a` into `b` (optimal string alignment), neither
// longer than kMaxCompared.
unsigned edit_distance(std::string_view a, std::string_view b) {
  unsigned rows[3][kMaxCompared + 1];
  unsigned *before = rows[0], *previous = rows[1], *current = rows[2];
  for (unsigned j = 0; j <= b.size(); ++j) previous[j] = j;
  for (unsigned i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (unsigned j = 1; j <= b.size(); ++j) {
      const unsigned replaced = previous[j - 1] + (a[i - 1] != b[j - 1] ? 1 : 0);
      current[j] = std::min(replaced, std::min(previous[j], current[j - 1]) + 1);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        current[j] = std::min(current[j], before[j - 2] + 1);
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

// 0 is equal. A beginning of a name ("decay", "tcache_b") counts as near however much is missing.
unsigned name_distance(std::string_view typed, std::string_view name) {
  constexpr size_t kMinPrefix = 3;
  const bool fits = typed.size() >= kMinPrefix && typed.size() <= name.size();
  if (fits && std::string_view(name.data(), typed.size()) == typed) return 1;
  return edit_distance(typed, name);
}

void write_to_descriptor(void* context, std::string_view line) {
  port::write_all(static_cast<int>(reinterpret_cast<intptr_t>(context)), line.data(), line.size());
}

bool apply_entry(std::string_view entry, std::string_view source, Options& options, Line& line) {
  const bool has_value = entry.find('=') != std::string_view::npos;
  std::string_view value = entry;
  const std::string_view name = trim(take_until(value, '='));
  value = trim(value);
  const bool quotes_match = unquote(value);
  if (has_value && !name.empty() && quotes_match) {
    if (set_option(options, name, value) == SetResult::kSet) return true;
    format_mistake(line, source, name, value);
    return false;
  }
  line.text("weir: ").text(source).text(": '");
  show(line, entry);
  if (has_value && !name.empty())
    line.text("': a quoted value ends with a quote, and has none inside\n");
  else
    line.text("' has no ").text(has_value ? "key" : "value").text(": expected key=value\n");
  return false;
}

}  // namespace

ConfSink descriptor_sink(int fd) {
  return {write_to_descriptor, reinterpret_cast<void*>(static_cast<intptr_t>(fd))};
}

const OptionInfo* nearest_option(std::string_view name) {
  if (name.size() > kMaxCompared) return nullptr;
  const OptionInfo* nearest = nullptr;
  // One mistake in four characters is a slip, more is another word.
  unsigned least = static_cast<unsigned>(name.size() / 4) + 1;
  for (const OptionInfo& option : kOptionTable) {
    const unsigned distance = name_distance(name, option.name);
    if (distance > least || (nearest != nullptr && distance == least)) continue;
    nearest = &option;
    least = distance;
  }
  return nearest;
}

void format_mistake(Line& line, std::string_view source, std::string_view name, std::string_view value) {
  line.text("weir: ").text(source).text(": ");
  const OptionInfo* option = find_option(name);
  if (option != nullptr) {
    line.text(name).text("=");
    show(line, value);
    line.text(": expected ");
    format_accepted(line, *option);
  } else {
    line.text("unknown key '");
    show(line, name);
    line.text("'");
    const OptionInfo* nearest = nearest_option(name);
    if (nearest != nullptr) line.text(" (did you mean '").text(nearest->name).text("'?)");
  }
  line.text("\n");
}

unsigned parse_conf(std::string_view conf, std::string_view source, Options& options, ConfSink sink) {
  unsigned mistakes = 0;
  while (!conf.empty()) {
    const std::string_view entry = trim(take_entry(conf));
    Line line;
    if (entry.empty() || apply_entry(entry, source, options, line)) continue;
    ++mistakes;
    sink.write(sink.context, line.view());
  }
  return mistakes;
}

}  // namespace weir
