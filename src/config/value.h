// Purpose: reads and writes one option value: truth values, numbers, sizes with suffix, durations, names.
// Thread safety: pure functions. Invariants: a value that is refused leaves the result untouched; nothing overflows.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/print.h"

namespace weir {

// 0 1 on off yes no true false, in any case.
[[nodiscard]] bool parse_bool(std::string_view text, int64_t& value);

// A whole decimal number, with a minus sign where it is below zero.
[[nodiscard]] bool parse_int(std::string_view text, int64_t& value);

// Bytes: a decimal number with a suffix K, M, G or T (powers of 1024; "KiB" and "KB" mean the same), in any case. A
// fraction is allowed before a suffix ("1.5G") and rounded down to whole bytes.
[[nodiscard]] bool parse_size(std::string_view text, int64_t& value);

// Milliseconds: a decimal number with a suffix ms (or none), s, m or h; a fraction is allowed before s, m and h.
[[nodiscard]] bool parse_ms(std::string_view text, int64_t& value);

// The position of a name, which is compared in any case.
[[nodiscard]] bool parse_name(std::string_view text, std::span<const std::string_view> names, int64_t& value);

// Appends a size exactly, with the largest suffix that divides it: "64K", "1000".
void format_size(Line& line, int64_t bytes);

// Compares in any case, ASCII only: the locale must not matter and may not exist yet.
[[nodiscard]] bool equals_ignoring_case(std::string_view a, std::string_view b);

}  // namespace weir
