// man_api.cc: makes manual pages of section 3 from the comments of the public headers, as a step of the build.
// Usage: man_api OUTPUT_FOLDER HEADER...
// Of include/weir/weir.h it makes weir.3, of any other header weir_<name>.3; for each function a page that refers to
// it.
//
// What it understands of a header: the comment at its top (name, a colon, what it is; then paragraphs), and below
// `extern "C" {` declarations up to their semicolon or closing brace, each with the comment before it.
#include <algorithm>
#include <cctype>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "../weir/roff.h"

namespace {

using weir::tool::roff;
using weir::tool::roff_head;
using weir::tool::roff_sentence;

constexpr std::string_view kBlanks = " \t\n";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// Words in `backquotes` are bold.
std::string marked(std::string_view text) {
  std::string result;
  for (bool bold = false; !text.empty(); bold = !bold) {
    const size_t end = std::min(text.find('`'), text.size());
    const std::string part = roff(text.substr(0, end));
    result += bold ? "\\fB" + part + "\\fR" : part;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

// The text of a comment: without its marks; an empty line parts paragraphs.
std::string text_of_comment(std::string_view comment) {
  std::string text;
  for (const std::string& line : lines_of(comment)) {
    std::string_view rest = trimmed(line);
    if (rest.starts_with("/*")) rest.remove_prefix(2);
    if (rest.ends_with("*/")) rest.remove_suffix(2);
    if (rest.starts_with("*")) rest.remove_prefix(1);
    text += std::string(trimmed(rest)) + "\n";
  }
  return text;
}

std::string paragraphs(std::string_view text) {
  std::string result;
  bool fresh = true;
  for (const std::string& line : lines_of(text)) {
    if (line.empty()) {
      fresh = true;
      continue;
    }
    if (fresh) result += ".PP\n";
    result += marked(line) + "\n";
    fresh = false;
  }
  return result;
}

struct Declaration {
  std::string code;      // as it stands in the header
  std::string comment;   // the text before it
  std::string function;  // its name; "" for types and constants
};

bool is_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// The name before the first parenthesis of what begins with WEIR_API.
std::string function_of(std::string_view code) {
  if (!code.starts_with("WEIR_API ")) return {};
  size_t end = code.find('(');
  if (end == std::string_view::npos) return {};
  size_t begin = end;
  while (begin > 0 && is_name(code[begin - 1])) --begin;
  return std::string(code.substr(begin, end - begin));
}

// Where the declaration that begins at `at` ends: behind its semicolon outside of braces, or the brace that ends an
// inline function, or its line for a #define.
size_t end_of_declaration(std::string_view text, size_t at) {
  if (text[at] == '#') return std::min(text.find('\n', at), text.size());
  const bool has_body = text.substr(at).starts_with("static inline");
  int depth = 0;
  for (size_t i = at; i < text.size(); ++i) {
    // Comments of a struct's fields are part of it.
    if (text.substr(i, 2) == "/*") i = std::min(text.find("*/", i), text.size() - 2) + 1;
    if (text[i] == '{') ++depth;
    if (text[i] == '}') --depth;
    if (has_body && text[i] == '}' && depth == 0) return i + 1;
    if (text[i] == ';' && depth == 0) return i + 1;
  }
  return text.size();
}

// Without what is for the compiler.
std::string shown_code(std::string_view code) {
  std::string shown(code);
  if (shown.starts_with("WEIR_API ")) shown.erase(0, std::string_view("WEIR_API ").size());
  const size_t attributes = shown.find("__attribute__");
  if (attributes == std::string::npos || shown.starts_with("#")) return shown;
  return std::string(trimmed(std::string_view(shown).substr(0, attributes))) + ";";
}

bool is_for_the_compiler(std::string_view code) {
  return code.starts_with("#ifdef") || code.starts_with("#endif") || code.starts_with("#include") ||
         code.starts_with("}") || code.starts_with("#define WEIR_API");
}

std::vector<Declaration> declarations_of(std::string_view text) {
  constexpr std::string_view kBegin = "extern \"C\" {\n#endif\n";
  std::vector<Declaration> result;
  std::string comment;
  size_t at = text.find(kBegin);
  at = at == std::string_view::npos ? text.size() : at + kBegin.size();
  while ((at = text.find_first_not_of(kBlanks, at)) != std::string_view::npos) {
    if (text.substr(at, 2) == "/*") {
      const size_t end = text.find("*/", at) + 2;
      comment = text_of_comment(text.substr(at, end - at));
      at = end;
      continue;
    }
    const size_t end = end_of_declaration(text, at);
    const std::string_view code = text.substr(at, end - at);
    if (code.starts_with("#ifdef __cplusplus")) break;  // the end of extern "C"
    if (!is_for_the_compiler(code)) result.push_back({std::string(code), comment, function_of(code)});
    // A comment is that of the declarations up to the next empty line.
    const size_t next = text.find_first_not_of(" \t", end);
    if (next != std::string_view::npos && text.substr(next, 2) == "\n\n") comment.clear();
    at = end;
  }
  return result;
}

std::string code_block(std::string_view code) {
  std::string block = ".EX\n";
  for (const std::string& line : lines_of(shown_code(code))) block += roff(line) + "\n";
  return block + ".EE\n";
}

// The name of a header's page: weir for weir.h, weir_options for options.h.
std::string title_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  std::string name = path.substr(slash == std::string::npos ? 0 : slash + 1);
  name.resize(name.rfind('.'));
  return name == "weir" ? name : "weir_" + name;
}

// NAME has every function, so that apropos(1) finds them.
std::string head(const std::string& title, const std::vector<Declaration>& declarations, std::string_view about) {
  std::string names = title;
  for (const Declaration& d : declarations)
    if (!d.function.empty()) names += ", " + d.function;
  return roff_head(title, 3, names, about);
}

std::string page_of(const std::string& path, std::string_view text, const std::vector<Declaration>& declarations) {
  const std::string header = path.substr(path.rfind('/') + 1);
  const std::string comment = text_of_comment(text.substr(0, text.find("*/") + 2));
  // "weir.h: what it is." and what follows.
  const size_t colon = comment.find(": "), stop = comment.find_first_of(".:\n", colon + 1);
  std::string page = head(title_of(path), declarations, comment.substr(colon + 2, stop - colon - 2));
  page += ".SH SYNOPSIS\n.EX\n#include <weir/" + header + ">\n.EE\n.PP\nLink with \\fB\\-lweir\\fR.\n";
  page += ".SH DESCRIPTION\n" + paragraphs(roff_sentence(comment.substr(colon + 2)));
  for (size_t i = 0; i < declarations.size(); ++i) {
    page += ".PP\n" + code_block(declarations[i].code);
    // Several under one comment have it behind the last.
    const bool shared = i + 1 < declarations.size() && declarations[i + 1].comment == declarations[i].comment;
    if (!shared) page += ".RS 4\n" + paragraphs(declarations[i].comment) + ".RE\n";
  }
  return page + ".SH SEE ALSO\n.BR weir (1),\n.BR weir.conf (5)\n";
}

bool write_file(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  return static_cast<bool>(file.flush());
}

bool write_pages(const std::string& folder, const std::string& header) {
  std::ifstream file(header, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::vector<Declaration> declarations = declarations_of(text);
  const std::string title = title_of(header);
  if (declarations.empty() || !text.starts_with("/* ")) {
    std::cerr << "man_api: " << header << ": no declarations, or no comment at the top\n";
    return false;
  }
  bool ok = write_file(folder + "/" + title + ".3", page_of(header, text, declarations));
  for (const Declaration& d : declarations)
    if (!d.function.empty() && d.function != title)
      ok = write_file(folder + "/" + d.function + ".3", ".so man3/" + title + ".3\n") && ok;
  if (!ok) std::cerr << "man_api: cannot write to " << folder << "\n";
  return ok;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "man_api: expected OUTPUT_FOLDER HEADER...\n";
    return 64;
  }
  bool ok = true;
  for (int i = 2; i < argc; ++i) ok = write_pages(argv[1], argv[i]) && ok;
  return ok ? 0 : 1;
}
