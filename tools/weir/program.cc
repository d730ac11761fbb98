#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

#include "failure.h"

namespace weir::tool {
namespace {

// What the kernel reads of a script (BINPRM_BUF_SIZE), and how many scripts may interpret each other.
constexpr size_t kScriptHead = 256;
constexpr int kMaxScripts = 5;

#if defined(__x86_64__)
constexpr Elf64_Half kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr Elf64_Half kMachine = EM_AARCH64;
#endif

// 0, or the reason as an errno.
int why_not_executable(const std::string& path) {
  struct stat status = {};
  if (stat(path.c_str(), &status) != 0) return errno;
  if (!S_ISREG(status.st_mode)) return S_ISDIR(status.st_mode) ? EISDIR : EACCES;
  return access(path.c_str(), X_OK) == 0 ? 0 : errno;
}

bool is_missing(int error) {
  return error == ENOENT || error == ENOTDIR;
}

Failure cannot_run(const std::string& name, int error) {
  return {is_missing(error) ? kNotFound : kNotExecutable, fmt::format("{}: {}", name, strerror(error))};
}

std::vector<std::string> search_path() {
  const char* variable = getenv("PATH");
  std::string_view rest = variable != nullptr ? variable : "/bin:/usr/bin";
  std::vector<std::string> folders;
  for (;;) {
    const size_t end = std::min(rest.find(':'), rest.size());
    folders.emplace_back(end == 0 ? "." : rest.substr(0, end));
    if (end == rest.size()) return folders;
    rest.remove_prefix(end + 1);
  }
}

struct Elf {
  bool same_machine = false;
  bool has_interpreter = false;
  std::string interpreter;
};

template <class Header, class Segment>
void read_segments(std::ifstream& file, Elf& elf) {
  Header header = {};
  file.seekg(0);
  if (!file.read(reinterpret_cast<char*>(&header), sizeof(header))) return;
  if constexpr (sizeof(Header) == sizeof(Elf64_Ehdr)) elf.same_machine = header.e_machine == kMachine;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Segment segment = {};
    file.seekg(static_cast<std::streamoff>(header.e_phoff + uint64_t{i} * header.e_phentsize));
    if (!file.read(reinterpret_cast<char*>(&segment), sizeof(segment))) return;
    if (segment.p_type != PT_INTERP) continue;
    elf.has_interpreter = true;
    std::string name(std::min<size_t>(segment.p_filesz, 4096), '\0');  // PATH_MAX
    file.seekg(static_cast<std::streamoff>(segment.p_offset));
    if (file.read(name.data(), static_cast<std::streamsize>(name.size()))) elf.interpreter = name.c_str();
    return;
  }
}

std::optional<Elf> read_elf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  unsigned char ident[EI_NIDENT] = {};
  if (!file.read(reinterpret_cast<char*>(ident), EI_NIDENT) || memcmp(ident, ELFMAG, SELFMAG) != 0) return {};
  Elf elf;
  if (ident[EI_CLASS] == ELFCLASS32)
    read_segments<Elf32_Ehdr, Elf32_Phdr>(file, elf);
  else
    read_segments<Elf64_Ehdr, Elf64_Phdr>(file, elf);
  return elf;
}

// The words behind "#!", at most two as the kernel takes them; none when it is not a script. A file that is neither is
// run by execvp with /bin/sh.
std::vector<std::string> script_interpreter(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string head(kScriptHead, '\0');
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(file.gcount()));
  if (!head.starts_with("#!")) return {};
  std::string_view line = std::string_view(head).substr(2);
  line = line.substr(0, line.find('\n'));
  std::vector<std::string> words;
  constexpr std::string_view kBlanks = " \t\r";
  while (words.size() < 2) {
    const size_t begin = line.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) break;
    line.remove_prefix(begin);
    const size_t end = std::min(line.find_first_of(kBlanks), line.size());
    words.emplace_back(line.substr(0, end));
    line.remove_prefix(end);
  }
  return words;
}

// Whether the kernel will run it with more rights than ours (AT_SECURE), in which case LD_PRELOAD is ignored.
bool gains_rights(const std::string& path) {
  struct stat status = {};
  struct statvfs mount = {};
  if (stat(path.c_str(), &status) != 0 || statvfs(path.c_str(), &mount) != 0) return false;
  if ((mount.f_flag & ST_NOSUID) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return false;
  if ((status.st_mode & S_ISUID) != 0 && status.st_uid != getuid()) return true;
  // Without the group's x the setgid bit once meant mandatory locking, and changes no group.
  if ((status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IXGRP) != 0 && status.st_gid != getgid()) return true;
  return getuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
}

std::string base_name(const std::string& path) {
  return std::filesystem::path(path).filename();
}

std::optional<std::string> reason_of_elf(const std::string& path, const Elf& elf) {
  if (gains_rights(path)) return "it runs with more rights than yours (setuid, setgid or file capabilities)";
  // The dynamic linker itself has no interpreter, and preloads all the same when it is given a program.
  if (!elf.has_interpreter && !base_name(path).starts_with("ld")) return "it is statically linked";
  if (!elf.same_machine) return "it is built for another kind of processor";
  if (base_name(elf.interpreter).starts_with("ld-musl")) return "it is built for another C library (musl)";
  return {};
}

std::optional<std::string> reason(const std::string& path, int scripts_left) {
  if (const auto elf = read_elf(path)) return reason_of_elf(path, *elf);
  std::vector<std::string> words = script_interpreter(path);
  if (words.empty() || scripts_left == 0) return {};
  // "#!/usr/bin/env python3": what env finds is what counts.
  if (base_name(words[0]) == "env" && words.size() == 2 && words[1][0] != '-') {
    try {
      words[0] = find_program(words[1]);
    } catch (const Failure&) {
      return {};  // the program will say so itself
    }
  }
  const auto inner = reason(words[0], scripts_left - 1);
  return inner ? std::optional(fmt::format("of its interpreter {}: {}", words[0], *inner)) : std::nullopt;
}

}  // namespace

std::string find_program(const std::string& name) {
  if (name.empty()) throw Failure(kNotFound, "'': the program's name is empty");
  if (name.find('/') != std::string::npos) {
    if (const int error = why_not_executable(name)) throw cannot_run(name, error);
    return name;
  }
  int last_error = ENOENT;
  for (const std::string& folder : search_path()) {
    const std::string path = folder + "/" + name;
    const int error = why_not_executable(path);
    if (error == 0) return path;
    // As execvp: something that cannot be executed is remembered, and the search goes on.
    if (!is_missing(error) && error != EISDIR) last_error = error;
  }
  if (is_missing(last_error)) throw Failure(kNotFound, fmt::format("{}: not found in PATH", name));
  throw cannot_run(name, last_error);
}

std::optional<std::string> reason_against_preload(const std::string& path) {
  return reason(path, kMaxScripts);
}

}  // namespace weir::tool
