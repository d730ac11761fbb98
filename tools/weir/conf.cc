#include "conf.h"

#include <fmt/format.h>
#include <weir/options.h>

#include <filesystem>
#include <system_error>

#include "failure.h"

namespace weir::tool {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::string_view kNone = "none";

// Control characters would spoil the one line that a message is.
std::string shown(std::string_view text) {
  constexpr size_t kMaxShown = 200;
  std::string result;
  for (char c : text.substr(0, kMaxShown)) result += static_cast<unsigned char>(c) < ' ' || c == 0x7f ? '?' : c;
  return text.size() > kMaxShown ? result + "..." : result;
}

// A value as it must stand in a list: in quotes where it has something that the list would take for its own.
std::string quoted(std::string_view value, std::string_view source) {
  const bool edges = !value.empty() && (kBlanks.find(value.front()) != std::string_view::npos ||
                                        kBlanks.find(value.back()) != std::string_view::npos || value.front() == '"');
  if (!edges && value.find(',') == std::string_view::npos) return std::string(value);
  if (value.find('"') != std::string_view::npos)
    throw Failure(kUsage, fmt::format("{}: a value with a comma, or with blanks or a quote at its ends, may have no "
                                      "double quote in it",
                                      shown(source)));
  return fmt::format("\"{}\"", value);
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

}  // namespace

std::string absolute_swap(std::string_view value) {
  if (value.empty() || value.front() == '/' || value == kNone) return std::string(value);
  std::error_code error;
  std::string path = std::filesystem::absolute(value, error).lexically_normal().string();
  if (error) return std::string(value);
  // "/tmp/" of "/tmp/."
  if (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

Conf::Conf(const std::string& inherited) : text_(trimmed(inherited)) {
  while (text_.ends_with(',')) text_.pop_back();
  char report[WEIR_OPTION_TEXT];
  // The line begins with "weir: ", as the one that main writes does.
  constexpr size_t kPrefix = sizeof("weir: ") - 1;
  if (weir_options_check(text_.c_str(), "WEIR_CONF", report, sizeof(report)) != 0)
    throw Failure(kUsage, report + kPrefix);
}

void Conf::set(std::string_view key, std::string_view given, std::string_view source) {
  const std::string name(key);
  const std::string value = name == "swap" ? absolute_swap(given) : std::string(given);
  char report[WEIR_OPTION_TEXT];
  if (weir_option_check(name.c_str(), value.c_str(), report, sizeof(report)) == 0)
    throw Failure(kUsage, fmt::format("{}: {}", shown(source), report));
  if (!text_.empty()) text_ += ',';
  text_ += fmt::format("{}={}", name, quoted(value, source));
  has_own_limit_ |= name == "limit" || name == "rss_limit";
  if (name == "swap" || name == "swap_size" || name == "swap_fault")
    swap_source_ += fmt::format("{}{}", swap_source_.empty() ? "" : " ", shown(source));
}

void Conf::set_assignment(const std::string& assignment) {
  const std::string source = "--set " + assignment;
  const size_t equals = assignment.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw Failure(kUsage, fmt::format("{}: expected key=value", shown(source)));
  set(trimmed(std::string_view(assignment).substr(0, equals)), std::string_view(assignment).substr(equals + 1), source);
}

std::string Conf::value(const char* key) const {
  char text[WEIR_OPTION_TEXT];
  return weir_option_value(text_.c_str(), key, text, sizeof(text)) != 0 ? text : "";
}

void Conf::check_swap() const {
  char report[WEIR_OPTION_TEXT];
  if (weir_swap_check(text_.c_str(), report, sizeof(report)) == 0)
    throw Failure(kUsage, fmt::format("{}: {}", swap_source_.empty() ? "WEIR_CONF" : swap_source_, report));
}

}  // namespace weir::tool
