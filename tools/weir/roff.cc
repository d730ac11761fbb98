#include "roff.h"

#include <fmt/format.h>

#include <algorithm>

namespace weir::tool {
namespace {

bool is_example(std::string_view line) {
  return line.starts_with(" ");
}

// Shorter than the others, a line ends where its author ended it ("Examples:").
bool ends_itself(std::string_view line) {
  return line.ends_with(":");
}

}  // namespace

std::string roff(std::string_view text) {
  std::string result;
  // A point or quote at the beginning of a line would make it a request.
  if (text.starts_with(".") || text.starts_with("'")) result += "\\&";
  for (const char c : text) {
    if (c == '\\')
      result += "\\e";
    else if (c == '-')
      result += "\\-";
    else
      result += c;
  }
  return result;
}

std::string roff_sentence(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

std::string roff_paragraphs(std::string_view text) {
  std::string result;
  bool in_example = false, fresh = true;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (is_example(line) != in_example) {
      result += in_example ? ".EE\n.RE\n" : ".RS 4\n.EX\n";
      in_example = !in_example;
      fresh = true;
    }
    if (line.empty()) {
      fresh = true;
      continue;
    }
    if (in_example) {
      result += roff(line.substr(line.find_first_not_of(' '))) + "\n";
      continue;
    }
    if (fresh) result += ".PP\n";
    result += roff(line) + "\n";
    fresh = ends_itself(line);
  }
  return in_example ? result + ".EE\n.RE\n" : result;
}

std::string roff_head(std::string_view title, int section, std::string_view names, std::string_view about) {
  std::string upper(title);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return fmt::format(".TH {} {} \"\" \"weir {}\" \"weir\"\n.SH NAME\n{} \\- {}\n", upper, section, WEIR_VERSION,
                     roff(names), roff(about));
}

}  // namespace weir::tool
