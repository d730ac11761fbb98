// Purpose: builds JSON text: strings, objects and arrays of numbers, strings and each other.
// Thread safety: values. Invariants: what is built is valid whatever bytes a string has.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace weir::tool {

// How many bytes the character at the front of `text`, which is not empty, takes; 0 when it is no UTF-8.
[[nodiscard]] size_t utf8_length(std::string_view text);

// In double quotes, escaped as RFC 8259 wants it. Bytes that are no UTF-8 (paths may have any) become U+FFFD.
[[nodiscard]] std::string json_string(std::string_view text);

class JsonObject {
 public:
  JsonObject& add(std::string_view key, uint64_t value) { return raw(key, fmt::format("{}", value)); }
  JsonObject& add(std::string_view key, double value) { return raw(key, fmt::format("{:.2f}", value)); }
  JsonObject& add(std::string_view key, std::string_view value) { return raw(key, json_string(value)); }
  // `value` is JSON already.
  JsonObject& raw(std::string_view key, std::string_view value) {
    text_ += fmt::format("{}{}:{}", text_.empty() ? "" : ",", json_string(key), value);
    return *this;
  }
  [[nodiscard]] std::string text() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

class JsonArray {
 public:
  JsonArray& raw(std::string_view value) {
    text_ += fmt::format("{}{}", text_.empty() ? "" : ",", value);
    return *this;
  }
  [[nodiscard]] std::string text() const { return "[" + text_ + "]"; }

 private:
  std::string text_;
};

}  // namespace weir::tool
