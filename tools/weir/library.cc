#include "library.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "failure.h"

namespace weir::tool {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "libweir-malloc.so";
// What parts the entries of LD_PRELOAD; there is no way to quote them.
constexpr std::string_view kSeparators = " :";

bool is_readable_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && access(path.c_str(), R_OK) == 0;
}

std::string preloadable(const fs::path& path) {
  std::string text = fs::absolute(path).lexically_normal();
  if (text.find_first_of(kSeparators) != std::string::npos)
    throw Failure(kFailed, fmt::format("{}: a library whose path has a blank or a colon cannot be preloaded; set "
                                       "WEIR_LIBRARY to a copy or link elsewhere",
                                       text));
  return text;
}

}  // namespace

std::string find_library() {
  if (const char* given = getenv("WEIR_LIBRARY"); given != nullptr && *given != '\0') {
    if (!is_readable_file(given))
      throw Failure(kFailed, fmt::format("WEIR_LIBRARY={}: expected the path of {}", given, kName));
    return preloadable(given);
  }
  std::error_code error;
  const fs::path own_folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  if (error) throw Failure(kFailed, "/proc is not mounted: set WEIR_LIBRARY to the path of libweir-malloc.so");
  // As it was installed, then as in the build tree and on systems that have one folder for all libraries.
  for (const char* folder : {WEIR_LIBRARIES, "../lib", "../lib64"})
    if (is_readable_file(own_folder / folder / kName)) return preloadable(own_folder / folder / kName);
  throw Failure(kFailed, fmt::format("{} is not in {}: set WEIR_LIBRARY to its path", kName,
                                     (own_folder / WEIR_LIBRARIES).lexically_normal().string()));
}

std::string preload_value(const std::string& library, const std::string& old_value) {
  std::string value = library;
  for (size_t at = 0; at < old_value.size();) {
    const size_t end = std::min(old_value.find_first_of(kSeparators, at), old_value.size());
    const std::string entry = old_value.substr(at, end - at);
    if (!entry.empty() && entry != library) value += ":" + entry;
    at = end + 1;
  }
  return value;
}

}  // namespace weir::tool
