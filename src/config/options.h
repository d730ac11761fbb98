// Purpose: the options of weir as a struct, and the table that describes each of them (generated from options.def).
// Thread safety: numbers may be read by any thread while one changes them; text may not. The tables are constant.
// Invariants: set_option leaves every value within its range, or unchanged; a formatted value parses back to itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/live.h"
#include "base/print.h"

namespace weir {

inline constexpr int64_t kKiB = int64_t{1} << 10;
inline constexpr int64_t kMiB = int64_t{1} << 20;
inline constexpr int64_t kTiB = int64_t{1} << 40;

// The value of a duration that never ends.
inline constexpr int64_t kNeverMs = -1;

enum class Thp : uint8_t {
  kNever,   // no huge pages, whatever the system's setting
  kDense,   // for pageblocks that are nearly full
  kAlways,  // for all of the arena
};

enum class ZswapCompressor : uint8_t {
  kLz4,
  kZstd,
};

enum class OomPolicy : uint8_t {
  kFail,   // the allocation returns null, with ENOMEM
  kAbort,  // the process ends with SIGABRT
  kKill,   // the process, when it is chosen, is sent SIGTERM, and SIGKILL later; also for others of its pool
};

// The value of a limit that is to be taken from the process's cgroup.
inline constexpr uint64_t kCgroupLimit = UINT64_MAX;

// A path or a few words, kept in place because options are read before there is a malloc. Empty means none.
class Text {
 public:
  // A path of this length is longer than any that people choose for swapping, and fits a Line.
  static constexpr size_t kCapacity = 512;

  // Empty; the number is what stands in the table for it.
  constexpr explicit Text(int = 0) {}
  // False, and nothing changes, when `text` has a NUL inside or leaves no room for the one behind it.
  bool assign(std::string_view text);
  [[nodiscard]] const char* c_str() const { return chars_; }
  [[nodiscard]] std::string_view view() const { return {chars_, size_}; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

 private:
  size_t size_ = 0;
  char chars_[kCapacity] = {};
};

enum class OptionKind : uint8_t { kBool, kInt, kSize, kMs, kLimit, kText, kThp, kCompressor, kOom };

// The C++ type of each kind in options.def.
namespace option_type {
using Bool = bool;
using Int = int64_t;
using Size = uint64_t;
using Ms = int64_t;
using Limit = uint64_t;
using Text = weir::Text;
using Thp = weir::Thp;
using Compressor = weir::ZswapCompressor;
using Oom = weir::OomPolicy;

// How an Options holds them.
template <class T>
struct Held {
  using Type = Live<T>;
};
template <>
struct Held<Text> {
  using Type = Text;
};
}  // namespace option_type

struct Options {
#define OPTION(name, kind, default_value, ...) \
  option_type::Held<option_type::kind>::Type name{static_cast<option_type::kind>(default_value)};
#include "config/options.def"
};

enum class OptionId : uint8_t {
#define OPTION(name, ...) name,
#include "config/options.def"
};

struct OptionInfo {
  OptionId id;
  std::string_view name;
  OptionKind kind;
  int64_t default_value;
  int64_t min;
  int64_t max;
  std::string_view unit;
  std::string_view help;
};

inline constexpr auto kOptionTable = std::to_array<OptionInfo>({
#define OPTION(name, kind, default_value, min, max, unit, help) \
  {OptionId::name,                                              \
   #name,                                                       \
   OptionKind::k##kind,                                         \
   static_cast<int64_t>(default_value),                         \
   static_cast<int64_t>(min),                                   \
   static_cast<int64_t>(max),                                   \
   unit,                                                        \
   help},
#include "config/options.def"
});

inline constexpr size_t kNrOptions = kOptionTable.size();

// What a process must have for an option to mean something to it.
enum class Needs : uint8_t {
  kNothing,
  kLimit,     // a limit from its start
  kSwapping,  // and a way to swap pages
};

// An option that can be changed while the program runs.
struct SysctlInfo {
  OptionId id;
  std::string_view name;
  Needs needs;
};

inline constexpr auto kSysctlTable = std::to_array<SysctlInfo>({
#define SYSCTL(option, name, needs) {OptionId::option, name, Needs::k##needs},
#include "config/options.def"
});

// What the kernel's names of these settings begin with.
inline constexpr std::string_view kVmPrefix = "vm.";

[[nodiscard]] inline const OptionInfo& option_info(OptionId id) {
  return kOptionTable[static_cast<size_t>(id)];
}
// The entry of an option that can be changed while the program runs; null: it is fixed.
[[nodiscard]] const SysctlInfo* find_sysctl(OptionId id);
// The option of that name or sysctl name, or null.
[[nodiscard]] const OptionInfo* find_option_or_sysctl(std::string_view name);

// The same in every build that has the same options in the same order.
[[nodiscard]] constexpr uint64_t options_id() {
  // FNV-1a of the names.
  uint64_t hash = 0xcbf29ce484222325;
  for (const OptionInfo& option : kOptionTable) {
    for (const char c : option.name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    hash = (hash ^ ',') * 0x100000001b3;
  }
  return hash;
}

// The entry of that name, or null.
[[nodiscard]] const OptionInfo* find_option(std::string_view name);

// Every kind of value as a number: bool 0/1, enum its position, a limit from the cgroup -1, text its length.
[[nodiscard]] int64_t option_value(const Options& options, OptionId id);

// A text option's value; null for the other kinds.
[[nodiscard]] const Text* option_text(const Options& options, OptionId id);

enum class SetResult : uint8_t { kSet, kUnknownName, kBadValue };

// Sets one option from text. Anything but kSet leaves `options` as they were.
[[nodiscard]] SetResult set_option(Options& options, std::string_view name, std::string_view value);

// Appends the current value in the form that set_option reads ("64K", "10000", "dense", "none").
void format_option(Line& line, const Options& options, OptionId id);

// Appends a value as option_value tells it; a text, of which only the length is told, as "none" or "(text)".
void format_number(Line& line, OptionId id, int64_t value);

// The two halves of set_option, for options that are numbers: reads a value within the option's range, and stores it.
[[nodiscard]] bool parse_option(const OptionInfo& option, std::string_view value, int64_t& number);
void store_option(Options& options, OptionId id, int64_t number);

// Appends what set_option accepts: "a whole number 0..1048576 (KiB)".
void format_accepted(Line& line, const OptionInfo& option);

// Appends the words among what set_option accepts, with a blank between two: "lz4 zstd", "0 cgroup".
void format_words(Line& line, const OptionInfo& option);

// Whether the value names a file or directory.
[[nodiscard]] bool is_path(const OptionInfo& option);

// Appends one line of help with a newline: name, default, help text, accepted form.
void format_help(Line& line, const OptionInfo& option);

}  // namespace weir
