#include "complete.h"

#include <fmt/format.h>
#include <weir/options.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <sstream>
#include <string_view>

namespace weir::tool {
namespace {

// CLI11's sign for what --help does not show.
bool is_hidden(const std::string& group) {
  return group.empty();
}

std::optional<weir_option_info> find_key(std::string_view key) {
  weir_option_info info;
  for (size_t i = 0; weir_option_describe(i, &info, sizeof(info)) != 0; ++i)
    if (info.name == key || (info.changeable != 0 && info.sysctl == key)) return info;
  return {};
}

void offer(std::string_view candidate, std::string_view typed) {
  if (candidate.starts_with(typed)) fmt::print("{}\n", candidate);
}

// The value of a key, behind the first `offset` characters of `typed`.
void offer_values(const weir_option_info& info, std::string_view typed, size_t offset) {
  std::istringstream words(info.words);
  for (std::string word; words >> word;) offer(fmt::format("{}{}", typed.substr(0, offset), word), typed);
  if (info.is_path != 0) fmt::print(":files {}\n", offset);
}

// The kernel's name is offered only where it is another one, and only when it is being typed.
void offer_key(const weir_option_info& info, std::string_view typed, std::string_view behind) {
  offer(fmt::format("{}{}", info.name, behind), typed);
  if (info.changeable != 0 && info.sysctl != std::string_view(info.name) && typed.starts_with("vm."))
    offer(fmt::format("{}{}", info.sysctl, behind), typed);
}

// Keys alone; or with an equals sign behind them, and values, for what can be changed while a program runs.
void offer_keys(std::string_view typed, bool to_change) {
  if (const size_t equals = typed.find('='); to_change && equals != std::string_view::npos) {
    if (const auto info = find_key(typed.substr(0, equals))) offer_values(*info, typed, equals + 1);
    return;
  }
  weir_option_info info;
  for (size_t i = 0; weir_option_describe(i, &info, sizeof(info)) != 0; ++i)
    if (!to_change || info.changeable != 0) offer_key(info, typed, to_change ? "=" : "");
  if (to_change) fmt::print(":nospace\n");
}

void offer_assignment(std::string_view typed, size_t offset) {
  const size_t equals = typed.find('=', offset);
  if (equals != std::string_view::npos) {
    if (const auto info = find_key(typed.substr(offset, equals - offset))) offer_values(*info, typed, equals + 1);
    return;
  }
  weir_option_info info;
  for (size_t i = 0; weir_option_describe(i, &info, sizeof(info)) != 0; ++i)
    offer(fmt::format("{}{}=", typed.substr(0, offset), info.name), typed);
  fmt::print(":nospace\n");
}

// The key of WEIR_CONF that an option is for: rss_limit for --rss-limit.
std::string key_of(const CLI::Option& option) {
  if (option.get_lnames().empty()) return {};
  std::string key = option.get_lnames().front();
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

// The words of a type such as "SIZE|on|off" that stand for themselves.
void offer_words_of(std::string_view type, std::string_view typed, size_t offset) {
  while (!type.empty()) {
    const std::string_view word = type.substr(0, type.find('|'));
    type.remove_prefix(std::min(word.size() + 1, type.size()));
    const bool itself = std::all_of(word.begin(), word.end(), [](char c) { return c < 'A' || c > 'Z'; });
    if (itself && !word.empty()) offer(fmt::format("{}{}", typed.substr(0, offset), word), typed);
  }
}

// The type that --help shows says what a value is.
void offer_argument(const CLI::Option& option, std::string_view typed, size_t offset) {
  const std::string type = option.get_type_name();
  if (type == "KEY=VALUE") return offer_assignment(typed, offset);
  if (type == "SETTING=VALUE" || type == "KEY") return offer_keys(typed, type != "KEY");
  // zswap takes sizes too, so its own words count.
  const bool has_words = type.find('|') != std::string::npos;
  if (const auto info = find_key(key_of(option)); info && !has_words) return offer_values(*info, typed, offset);
  if (type == "PATH" || type == "FILE") fmt::print(":files {}\n", offset);
  if (type == "DIR") fmt::print(":directories {}\n", offset);
  if (has_words) offer_words_of(type, typed, offset);
}

const CLI::Option* find_option(const CLI::App& command, std::string_view word) {
  const std::string name(word.substr(0, word.find('=')));
  const auto options = command.get_options([&name](const CLI::Option* o) { return o->check_name(name); });
  return options.empty() ? nullptr : options.front();
}

bool takes_value(const CLI::Option* option) {
  return option != nullptr && option->get_items_expected_max() > 0;
}

void offer_option_names(const CLI::App& command, std::string_view typed) {
  for (const CLI::Option* option : command.get_options([](const CLI::Option*) { return true; })) {
    if (is_hidden(option->get_group())) continue;
    for (const std::string& name : option->get_lnames()) offer("--" + name, typed);
  }
}

void offer_commands(const CLI::App& app, std::string_view typed) {
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    if (!is_hidden(command->get_group())) offer(command->get_name(), typed);
}

// What the words before the last one have come to.
struct Place {
  const CLI::App* command;
  const CLI::Option* open = nullptr;  // an option whose value comes next
  size_t positionals = 0;             // arguments that are no options
  bool options_ended = false;         // by "--"
  std::optional<size_t> program;      // where another command begins
};

const CLI::App* find_command(const CLI::App& app, const std::string& name) {
  const auto found = app.get_subcommands([&name](const CLI::App* c) { return c->get_name() == name; });
  return found.empty() ? nullptr : found.front();
}

// Takes one word in; false when nothing can follow it.
bool step(const CLI::App& app, const std::string& word, size_t index, Place& place) {
  const bool runs_program = place.command->get_prefix_command();
  if (place.open != nullptr) {
    place.open = nullptr;
  } else if (word == "--" && !place.options_ended) {
    place.options_ended = true;
    if (runs_program) place.program = index + 1;
  } else if (word.starts_with("-") && !place.options_ended) {
    const CLI::Option* option = find_option(*place.command, word);
    if (takes_value(option) && word.find('=') == std::string::npos) place.open = option;
  } else if (place.command == &app) {
    place.command = find_command(app, word);
  } else if (runs_program) {
    place.program = index;
  } else {
    ++place.positionals;
  }
  return place.command != nullptr;
}

void offer_positional(const CLI::App& command, size_t index, std::string_view typed) {
  const auto all = command.get_options([](const CLI::Option* o) { return o->get_positional(); });
  if (all.empty()) return;
  // The last may take several.
  offer_argument(*all[std::min(index, all.size() - 1)], typed, 0);
}

void offer_last(const CLI::App& app, const Place& place, std::string_view typed, size_t index) {
  if (place.open != nullptr) return offer_argument(*place.open, typed, 0);
  if (typed.starts_with("-") && !place.options_ended) {
    const size_t equals = typed.find('=');
    if (equals == std::string_view::npos) return offer_option_names(*place.command, typed);
    const CLI::Option* option = find_option(*place.command, typed);
    if (takes_value(option)) offer_argument(*option, typed, equals + 1);
    return;
  }
  if (place.command == &app) return offer_commands(app, typed);
  if (place.command->get_prefix_command()) {
    fmt::print(":program {}\n", index);
    return;
  }
  offer_positional(*place.command, place.positionals, typed);
}

}  // namespace

void complete(const CLI::App& app, const std::vector<std::string>& words) {
  if (words.empty()) return;
  Place place = {&app, nullptr, 0, false, {}};
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (!step(app, words[i], i, place)) return;
    if (place.program) {
      fmt::print(":program {}\n", *place.program);
      return;
    }
  }
  offer_last(app, place, words.back(), words.size() - 1);
}

}  // namespace weir::tool
