// Purpose: the options of weir as a struct, and the table that describes each of them (generated from options.def).
// Thread safety: Options is a plain value, the table is constant; whoever shares an Options guards it.
// Invariants: set_option leaves every value within its range, or unchanged; a formatted value parses back to itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

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

enum class OptionKind : uint8_t { kBool, kInt, kSize, kMs, kLimit, kText, kThp, kCompressor };

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
}  // namespace option_type

struct Options {
#define OPTION(name, kind, default_value, ...) option_type::kind name = static_cast<option_type::kind>(default_value);
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

// Appends what set_option accepts: "a whole number 0..1048576 (KiB)".
void format_accepted(Line& line, const OptionInfo& option);

// Appends the words among what set_option accepts, with a blank between two: "lz4 zstd", "0 cgroup".
void format_words(Line& line, const OptionInfo& option);

// Whether the value names a file or directory.
[[nodiscard]] bool is_path(const OptionInfo& option);

// Appends one line of help with a newline: name, default, help text, accepted form.
void format_help(Line& line, const OptionInfo& option);

}  // namespace weir
