#include "generate.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "complete.h"
#include "failure.h"
#include "man_page.h"

namespace weir::tool {

bool generate(const CLI::App& app, const std::vector<std::string>& arguments) {
  if (arguments.empty()) return false;
  if (arguments[0] == "__complete") {
    complete(app, {arguments.begin() + 1, arguments.end()});
    return true;
  }
  if (arguments[0] != "__man") return false;
  const std::string section = arguments.size() == 2 ? arguments[1] : "";
  if (section != "1" && section != "5") throw Failure(kUsage, "__man: expected 1 or 5");
  fmt::print("{}", section == "1" ? man_page_of_command(app) : man_page_of_conf());
  return true;
}

}  // namespace weir::tool
