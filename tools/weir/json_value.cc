#include "json_value.h"

#include <charconv>
#include <cstdint>
#include <system_error>

namespace weir::tool {
namespace {

// Ours have three levels; the bound keeps strange files from using up the stack.
constexpr unsigned kMostDepth = 32;

void append_utf8(std::string& to, uint32_t code) {
  const auto put = [&to](uint32_t byte) { to += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  std::optional<JsonValue> whole() {
    auto value = parse(0);
    skip_blanks();
    if (!rest_.empty()) return std::nullopt;
    return value;
  }

 private:
  std::optional<JsonValue> parse(unsigned depth) {
    skip_blanks();
    if (rest_.empty() || depth > kMostDepth) return std::nullopt;
    if (rest_[0] == '{') return object(depth);
    if (rest_[0] == '[') return array(depth);
    if (rest_[0] == '"') {
      auto text = string();
      return text ? std::optional(JsonValue(std::move(*text))) : std::nullopt;
    }
    if (take("true")) return JsonValue(true);
    if (take("false")) return JsonValue(false);
    if (take("null")) return JsonValue(nullptr);
    return number();
  }

  std::optional<JsonValue> number() {
    double value = 0;
    // (from_chars takes "inf" and "nan" too, which begin with letters.)
    if (rest_[0] != '-' && (rest_[0] < '0' || rest_[0] > '9')) return std::nullopt;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc() || !(value - value == 0)) return std::nullopt;
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return JsonValue(value);
  }

  std::optional<JsonValue> array(unsigned depth) {
    JsonValue::Array all;
    take("[");
    if (take_sign("]")) return JsonValue(std::move(all));
    do {
      auto value = parse(depth + 1);
      if (!value) return std::nullopt;
      all.push_back(std::move(*value));
    } while (take_sign(","));
    return take_sign("]") ? std::optional(JsonValue(std::move(all))) : std::nullopt;
  }

  std::optional<JsonValue> object(unsigned depth) {
    JsonValue::Object all;
    take("{");
    if (take_sign("}")) return JsonValue(std::move(all));
    do {
      skip_blanks();
      auto key = string();
      if (!key || !take_sign(":")) return std::nullopt;
      auto value = parse(depth + 1);
      if (!value) return std::nullopt;
      all.emplace_back(std::move(*key), std::move(*value));
    } while (take_sign(","));
    return take_sign("}") ? std::optional(JsonValue(std::move(all))) : std::nullopt;
  }

  std::optional<std::string> string() {
    if (!take("\"")) return std::nullopt;
    std::string text;
    while (!rest_.empty()) {
      const char c = rest_[0];
      rest_.remove_prefix(1);
      if (c == '"') return text;
      if (static_cast<unsigned char>(c) < ' ') return std::nullopt;
      if (c != '\\')
        text += c;
      else if (!escape(text))
        return std::nullopt;
    }
    return std::nullopt;
  }

  bool escape(std::string& text) {
    constexpr std::string_view kNames = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    if (take("u")) {
      const auto code = unit();
      if (code) append_utf8(text, *code);
      return code.has_value();
    }
    const size_t which = rest_.empty() ? std::string_view::npos : kNames.find(rest_[0]);
    if (which == std::string_view::npos) return false;
    text += kMeanings[which];
    rest_.remove_prefix(1);
    return true;
  }

  // Four digits behind \u. Halves of surrogate pairs, which json_string never writes, become U+FFFD.
  std::optional<uint32_t> unit() {
    uint32_t code = 0;
    if (rest_.size() < 4) return std::nullopt;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + 4, code, 16);
    if (error != std::errc() || end != rest_.data() + 4) return std::nullopt;
    rest_.remove_prefix(4);
    return code >= 0xd800 && code < 0xe000 ? 0xfffd : code;
  }

  void skip_blanks() {
    const size_t blanks = rest_.find_first_not_of(" \t\r\n");
    rest_.remove_prefix(blanks == std::string_view::npos ? rest_.size() : blanks);
  }
  bool take(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool take_sign(std::string_view sign) {
    skip_blanks();
    return take(sign);
  }

  std::string_view rest_;
};

}  // namespace

const JsonValue* JsonValue::find(std::string_view key) const {
  if (const auto* object = std::get_if<Object>(&content_))
    for (const auto& [name, value] : *object)
      if (name == key) return &value;
  return nullptr;
}

std::optional<double> JsonValue::number() const {
  const auto* number = std::get_if<double>(&content_);
  return number != nullptr ? std::optional(*number) : std::nullopt;
}

const JsonValue::Array& JsonValue::items() const {
  static const Array kNone;
  const auto* array = std::get_if<Array>(&content_);
  return array != nullptr ? *array : kNone;
}

std::optional<double> JsonValue::number(std::string_view key) const {
  const JsonValue* value = find(key);
  return value != nullptr ? value->number() : std::nullopt;
}

std::string JsonValue::text(std::string_view key) const {
  const JsonValue* value = find(key);
  const auto* text = value != nullptr ? std::get_if<std::string>(&value->content_) : nullptr;
  return text != nullptr ? *text : "";
}

const JsonValue::Array& JsonValue::array(std::string_view key) const {
  static const JsonValue kNothing;
  const JsonValue* value = find(key);
  return (value != nullptr ? *value : kNothing).items();
}

std::optional<JsonValue> parse_json(std::string_view text) {
  return Parser(text).whole();
}

}  // namespace weir::tool
