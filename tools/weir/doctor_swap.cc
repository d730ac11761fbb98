#include "doctor_swap.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <weir/doctor.h>
#include <weir/options.h>

#include <filesystem>

#include "system_files.h"

namespace weir::tool {
namespace {

namespace fs = std::filesystem;

// What a path that names nothing yet would be made in.
std::string existing_part(const std::string& path) {
  std::error_code error;
  if (fs::exists(path, error)) return path;
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

Finding refused_finding(const std::string& path, const char* report) {
  Finding f = {Grade::kLacks, "swap file", fmt::format("{}: {}", path, report), {}, {}};
  f.meaning = "nothing can be written there: pages go to compressed memory only";
  std::error_code error;
  if (!fs::exists(fs::path(path).parent_path(), error)) f.remedy = fmt::format("mkdir -p '{}'", path);
  return f;
}

Finding place_finding(const std::string& path, const weir_swap_place& place) {
  Finding f = {Grade::kGood, "swap file", {}, {}, {}};
  if (place.kind == WEIR_SWAP_NAMELESS) f.value = fmt::format("a nameless file in {}", existing_part(path));
  if (place.kind == WEIR_SWAP_FILE) f.value = fmt::format("{}, {}", path, readable_bytes(place.bytes));
  if (place.kind == WEIR_SWAP_DEVICE) f.value = fmt::format("device {}, {}", path, readable_bytes(place.bytes));
  if (place.others_read == 0) return f;
  f.grade = Grade::kNote;
  f.meaning = "other users may read what is swapped, unless swap_encrypt=1";
  f.remedy = fmt::format("chmod 600 '{}'", path);
  return f;
}

Finding file_system_finding(const std::string& type) {
  Finding f = {Grade::kGood, "file system", type.empty() ? "unknown" : type, {}, {}};
  if (type != "tmpfs" && type != "ramfs") return f;
  f.grade = Grade::kLacks;
  f.meaning = "it lies in memory: swapping there saves nothing";
  f.remedy = "weir run --swap /var/tmp ...";
  return f;
}

Finding room_finding(const std::string& path) {
  struct statvfs status = {};
  if (statvfs(path.c_str(), &status) != 0) return {Grade::kNote, "free room", "unknown", {}, {}};
  const uint64_t bytes = uint64_t{status.f_bavail} * status.f_frsize;
  Finding f = {Grade::kGood, "free room", readable_bytes(bytes), {}, {}};
  // Four times a limit of 64 MiB: with less, hardly any program is helped.
  constexpr uint64_t kLittle = uint64_t{256} << 20;
  if (bytes >= kLittle) return f;
  f.grade = Grade::kLacks;
  f.meaning = "a swap file holds up to four times the limit; when the room is used up, pages stay in memory";
  return f;
}

Finding direct_finding(const weir_swap_place& place) {
  if (place.direct != 0) return {Grade::kGood, "O_DIRECT", "works: a page was written and read", {}, {}};
  return {Grade::kNote,
          "O_DIRECT",
          "not on this file system",
          "pages pass through the page cache, from which they are dropped again",
          {}};
}

Finding tmpfile_finding(const weir_swap_place& place) {
  if (place.tmpfile != 0) return {Grade::kGood, "O_TMPFILE", "works", {}, {}};
  return {Grade::kNote,
          "O_TMPFILE",
          "not on this file system",
          "the file has a name for a moment; a program that is killed then leaves an empty file",
          {}};
}

}  // namespace

bool add_swap_findings(const std::string& path, Findings& findings) {
  char report[WEIR_OPTION_TEXT];
  weir_swap_place place = {};
  if (weir_swap_probe(path.c_str(), 0, &place, sizeof(place), report, sizeof(report)) == 0) {
    findings.push_back(refused_finding(path, report));
    return false;
  }
  findings.push_back(place_finding(path, place));
  if (place.kind != WEIR_SWAP_DEVICE) {
    const std::string existing = existing_part(path);
    findings.push_back(file_system_finding(file_system_of(existing)));
    if (place.kind == WEIR_SWAP_NAMELESS) findings.push_back(room_finding(existing));
  }
  findings.push_back(direct_finding(place));
  if (place.kind == WEIR_SWAP_NAMELESS) findings.push_back(tmpfile_finding(place));
  return true;
}

}  // namespace weir::tool
