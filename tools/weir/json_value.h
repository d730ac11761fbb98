// Purpose: reads JSON text (RFC 8259) into a tree, and finds things in it.
// Thread safety: values. Invariants: text that is no JSON, or is nested deeper than any of ours, is no value; numbers
//                are doubles, which hold every count of pages there can be.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace weir::tool {

class JsonValue {
 public:
  using Array = std::vector<JsonValue>;
  using Object = std::vector<std::pair<std::string, JsonValue>>;
  using Content = std::variant<std::nullptr_t, bool, double, std::string, Array, Object>;

  JsonValue() = default;
  explicit JsonValue(Content content) : content_(std::move(content)) {}

  // Null when this is no object, or has no such member.
  [[nodiscard]] const JsonValue* find(std::string_view key) const;
  [[nodiscard]] bool is_object() const { return std::holds_alternative<Object>(content_); }
  // What it is itself.
  [[nodiscard]] std::optional<double> number() const;
  [[nodiscard]] const Array& items() const;
  // What a member holds, if it is there and of that type.
  [[nodiscard]] std::optional<double> number(std::string_view key) const;
  [[nodiscard]] std::string text(std::string_view key) const;
  [[nodiscard]] const Array& array(std::string_view key) const;

 private:
  Content content_;
};

// Nothing when `text` is not exactly one value.
[[nodiscard]] std::optional<JsonValue> parse_json(std::string_view text);

}  // namespace weir::tool
