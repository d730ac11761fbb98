// options_api.cc: the C functions of weir/options.h, on the table and parser of config/.
#include <algorithm>
#include <cstring>

#include "base/units.h"
#include "config/conf.h"
#include "config/options.h"
#include "os/fault_inject.h"
#include "os/swap_io.h"
#include "weir/options.h"

namespace weir {
namespace {

void copy_out(std::string_view text, char* buffer, size_t capacity) {
  if (capacity == 0) return;
  if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  const size_t size = std::min(text.size(), capacity - 1);
  memcpy(buffer, text.data(), size);
  buffer[size] = '\0';
}

// What format_mistake says behind "weir: <source>: ", and for a known option behind "<name>=<value>: ".
void report_option(std::string_view name, char* buffer, size_t capacity) {
  Line line;
  if (const OptionInfo* option = find_option(name)) {
    line.text("expected ");
    format_accepted(line, *option);
    return copy_out(line.view(), buffer, capacity);
  }
  constexpr std::string_view kBefore = "weir: : ";
  format_mistake(line, "", name, "");
  std::string_view report = line.view();
  report.remove_prefix(std::min(kBefore.size(), report.size()));
  copy_out(report, buffer, capacity);
}

struct FirstMistake {
  char* report;
  size_t capacity;
  bool seen;
};

void keep_first(void* context, std::string_view line) {
  auto* first = static_cast<FirstMistake*>(context);
  if (first->seen) return;
  first->seen = true;
  copy_out(line, first->report, first->capacity);
}

void ignore(void*, std::string_view) {}

// Where the size follows from a limit that is not known here, this much is tried.
constexpr uint64_t kProbedBytes = 1 << 20;

bool report_swap(Line& line, const Options& options) {
  os::FaultInjector faults;
  if (const auto problem = faults.parse(options.swap_fault.view())) {
    line.text("swap_fault: '").text(problem.where).text("': expected ").text(problem.expected);
    return false;
  }
  if (options.swap.empty()) return true;
  os::SwapIo swap;
  // Without the faults: they are for the program that is to suffer from them.
  const os::SwapOpen result =
      swap.open(options.swap.c_str(), options.swap_size != 0 ? options.swap_size : kProbedBytes, nullptr);
  if (result == os::SwapOpen::kOk) {
    swap.erase_and_close(kPageSize);
    return true;
  }
  line.text(os::describe(result));
  const bool wrong_place = result == os::SwapOpen::kNotFound || result == os::SwapOpen::kNoAccess;
  if (wrong_place) format_accepted(line.text("; expected "), kOptionTable[static_cast<size_t>(OptionId::swap)]);
  return false;
}

}  // namespace
}  // namespace weir

using namespace weir;

int weir_option_check(const char* name, const char* value, char* report, size_t capacity) {
  Options options;
  if (set_option(options, name, value) == SetResult::kSet) return 1;
  report_option(name, report, capacity);
  return 0;
}

unsigned weir_options_check(const char* conf, const char* source, char* report, size_t capacity) {
  Options options;
  FirstMistake first = {report, capacity, false};
  return parse_conf(conf, source, options, {keep_first, &first});
}

int weir_option_value(const char* conf, const char* name, char* value, size_t capacity) {
  const OptionInfo* option = find_option(name);
  if (option == nullptr) return 0;
  Options options;
  (void)parse_conf(conf, "", options, {ignore, nullptr});
  Line line;
  format_option(line, options, option->id);
  copy_out(line.view(), value, capacity);
  return 1;
}

int weir_option_help(size_t index, char* text, size_t capacity) {
  if (index >= kNrOptions) return 0;
  Line line;
  format_help(line, kOptionTable[index]);
  copy_out(line.view(), text, capacity);
  return 1;
}

int weir_option_describe(size_t index, weir_option_info* info, size_t size) {
  if (index >= kNrOptions) return 0;
  const OptionInfo& option = kOptionTable[index];
  Line value, accepted, words;
  format_option(value, Options(), option.id);
  format_accepted(accepted, option);
  format_words(words, option);
  weir_option_info result = {};
  copy_out(option.name, result.name, sizeof(result.name));
  copy_out(value.view(), result.default_value, sizeof(result.default_value));
  copy_out(option.help, result.help, sizeof(result.help));
  copy_out(accepted.view(), result.accepted, sizeof(result.accepted));
  copy_out(words.view(), result.words, sizeof(result.words));
  result.is_path = is_path(option) ? 1 : 0;
  if (const SysctlInfo* sysctl = find_sysctl(option.id)) {
    result.changeable = 1;
    copy_out(sysctl->name, result.sysctl, sizeof(result.sysctl));
  }
  // The caller may know an older, shorter struct, or a newer one, whose rest reads as zeros.
  memset(info, 0, size);
  memcpy(info, &result, std::min(size, sizeof(result)));
  return 1;
}

int weir_option_format(const char* name, int64_t number, char* value, size_t capacity) {
  const OptionInfo* option = find_option(name);
  if (option == nullptr) return 0;
  Line line;
  format_number(line, option->id, number);
  copy_out(line.view(), value, capacity);
  return 1;
}

uint64_t weir_options_id(void) {
  return options_id();
}

int weir_swap_check(const char* conf, char* report, size_t capacity) {
  Options options;
  (void)parse_conf(conf, "", options, {ignore, nullptr});
  Line line;
  if (report_swap(line, options)) return 1;
  copy_out(line.view(), report, capacity);
  return 0;
}
