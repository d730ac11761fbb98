#include "man_page.h"

#include <fmt/format.h>
#include <weir/options.h>

#include <CLI/CLI.hpp>
#include <string_view>

#include "roff.h"

namespace weir::tool {
namespace {

constexpr std::string_view kExitStatus =
    R"(Of every command: 0 success; 64 a mistake in the command line or in WEIR_CONF.
Other values are explained with the commands.
)";

constexpr std::string_view kConfAbout = R"(WEIR_CONF is a variable of the environment. weir, when it is preloaded or
linked, reads it as the program starts; there is no file to be read. weir run sets it for a program from its own
options, and takes every key with --set.

The value is a list of assignments:

  WEIR_CONF="key=value,key=value"

Blanks around keys, values and commas are ignored, and so are empty assignments. A value may stand in double quotes, and
may then have commas and blanks:

  WEIR_CONF='limit=512M,swap="/mnt/with, comma",summary=1'

Of two assignments to one key the later wins. A mistake costs one line on stderr and is passed over; with abort_conf=1
the program ends with status 64 instead. In programs that run with more rights than their caller (setuid, file
capabilities) the variable is ignored.

Sizes are bytes, or have a suffix K, M, G or T (powers of 1024). Times are milliseconds, or have a suffix ms, s, m or h.
)";

constexpr std::string_view kConfExamples = R"(
  WEIR_CONF=limit=512M LD_PRELOAD=libweir-malloc.so redis-server
  WEIR_CONF=limit=cgroup,swap=/var/tmp,zswap_compressor=zstd LD_PRELOAD=libweir-malloc.so python3 train.py
  weir run --limit 512M --set standby_percent=20 -- redis-server
)";

std::string section(std::string_view title, std::string_view text) {
  return fmt::format(".SH {}\n{}", title, roff_paragraphs(text));
}

// Behind "Usage: " in the help.
std::string usage_of(const CLI::App& command) {
  constexpr std::string_view kWord = "Usage: ";
  const std::string help = command.help("weir");
  const size_t begin = help.find(kWord);
  if (begin == std::string::npos) return "weir " + command.get_name();
  return help.substr(begin + kWord.size(), help.find('\n', begin) - begin - kWord.size());
}

std::string entry_of(const CLI::Option& option) {
  std::string names;
  const auto add = [&names](const char* dashes, const std::string& name) {
    names += fmt::format("{}\\fB{}\\fR", names.empty() ? "" : ", ", roff(dashes + name));
  };
  for (const std::string& name : option.get_snames()) add("-", name);
  for (const std::string& name : option.get_lnames()) add("--", name);
  if (option.get_positional()) names = fmt::format("\\fI{}\\fR", roff(option.get_name(true)));
  if (option.get_items_expected_max() > 0 && !option.get_positional())
    names += fmt::format(" \\fI{}\\fR", roff(option.get_type_name()));
  return fmt::format(".TP\n{}\n{}\n", names, roff(option.get_description()));
}

std::string entries_of(const CLI::App& command) {
  std::string entries;
  for (const CLI::Option* option : command.get_options([](const CLI::Option*) { return true; }))
    if (!option->get_group().empty()) entries += entry_of(*option);
  return entries;
}

std::string page_part_of(const CLI::App& command, const CLI::App& app) {
  // A command without a footer of its own has the application's.
  const std::string footer = command.get_footer() == app.get_footer() ? "" : command.get_footer();
  return fmt::format(".SS weir {}\n.B {}\n.PP\n{}.\n{}{}", roff(command.get_name()), roff(usage_of(command)),
                     roff(command.get_description()), entries_of(command), roff_paragraphs(footer));
}

// How the option can be changed while the program runs.
std::string change_of(const weir_option_info& info) {
  if (info.changeable == 0) return "";
  const bool same = info.sysctl == std::string_view(info.name);
  return fmt::format("Can be changed while the program runs (weir set{}).\n",
                     same ? "" : fmt::format(", also as \\fB{}\\fR", roff(info.sysctl)));
}

}  // namespace

std::string man_page_of_command(const CLI::App& app) {
  std::string page = roff_head("weir", 1, "weir", "keep a program within a memory limit");
  page += ".SH SYNOPSIS\n.B weir\n.I COMMAND\n[\\fIOPTIONS\\fR]\n";
  page += section("DESCRIPTION", app.get_description() + "\n\n" + app.get_footer());
  page += ".SH OPTIONS\n" + entries_of(app);
  page += ".SH COMMANDS\n";
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    if (!command->get_group().empty()) page += page_part_of(*command, app);
  page += section("EXIT STATUS", kExitStatus);
  page += ".SH ENVIRONMENT\n.TP\n.B WEIR_CONF\nSettings; see \\fBweir.conf\\fR(5).\n";
  page += ".TP\n.B WEIR_LIBRARY\nThe libweir\\-malloc.so that is preloaded, instead of the one beside the command.\n";
  page += ".TP\n.B LD_PRELOAD\nKept by weir run; the library is put before what it names.\n";
  return page + ".SH SEE ALSO\n.BR weir.conf (5),\n.BR weir (3),\n.BR ld.so (8),\n.BR userfaultfd (2)\n";
}

std::string man_page_of_conf() {
  std::string page = roff_head("weir.conf", 5, "weir.conf", "settings of weir in WEIR_CONF");
  page += section("DESCRIPTION", kConfAbout) + ".SH OPTIONS\n";
  weir_option_info info;
  for (size_t i = 0; weir_option_describe(i, &info, sizeof(info)) != 0; ++i)
    page += fmt::format(".TP\n\\fB{}\\fR=\\fI{}\\fR\n{}.\nAccepted: {}.\n{}", roff(info.name), roff(info.default_value),
                        roff(roff_sentence(info.help)), roff(info.accepted), change_of(info));
  page += section("EXAMPLES", kConfExamples);
  return page + ".SH SEE ALSO\n.BR weir (1),\n.BR weir (3)\n";
}

}  // namespace weir::tool
