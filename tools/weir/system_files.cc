#include "system_files.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace weir::tool {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

bool is_octal(char c) {
  return c >= '0' && c <= '7';
}

// mountinfo writes blanks and backslashes of paths as "\040".
std::string unescaped(std::string_view path) {
  std::string result;
  for (size_t i = 0; i < path.size(); ++i) {
    const std::string_view digits = path.substr(i, 4);
    if (digits.size() == 4 && digits[0] == '\\' && is_octal(digits[1]) && is_octal(digits[2]) && is_octal(digits[3])) {
      result += static_cast<char>((digits[1] - '0') * 64 + (digits[2] - '0') * 8 + (digits[3] - '0'));
      i += 3;
    } else {
      result += path[i];
    }
  }
  return result;
}

bool lies_below(std::string_view path, std::string_view mount_point) {
  if (mount_point == "/") return true;
  return path.starts_with(mount_point) && (path.size() == mount_point.size() || path[mount_point.size()] == '/');
}

}  // namespace

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return std::string(trimmed(text));
}

std::string field_of(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ':')
      return std::string(trimmed(std::string_view(line).substr(key.size() + 1)));
  return {};
}

uint64_t kilobytes_of(const std::string& path, std::string_view key) {
  const std::string text = field_of(path, key);
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number << 10;
}

std::string readable_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1023.95 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  std::string number = fmt::format("{:.1f}", value);
  if (number.ends_with(".0")) number.resize(number.size() - 2);
  return fmt::format("{} {}", number, kUnits[unit]);
}

std::string file_system_of(const std::string& path) {
  std::error_code error;
  const std::string real = std::filesystem::canonical(path, error);
  if (error) return {};
  std::ifstream mounts("/proc/self/mountinfo");
  std::string type;
  size_t longest = 0;
  // "32 31 0:29 /root /mount/point rw,relatime shared:1 - ext4 /dev/sda1 rw"; of two on one point, the later counts.
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string word, mount_point;
    for (int i = 0; i < 4; ++i) words >> word;
    words >> mount_point;
    mount_point = unescaped(mount_point);
    if (!lies_below(real, mount_point) || mount_point.size() < longest) continue;
    while (words >> word && word != "-") continue;
    if (words >> type) longest = mount_point.size();
  }
  return type;
}

}  // namespace weir::tool
