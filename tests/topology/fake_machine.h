// Purpose: writes what Linux shows of a made-up machine, in a folder of its own, for the sysfs reader and for hwloc
//          (HWLOC_FSROOT) to read.
// Thread safety: one thread. Invariants: the folder is gone when the FakeMachine is.
#pragma once

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace weir::test {

using Cpus = std::vector<unsigned>;

// The arguments as one text. (GCC 12 warns of `"text" + std::to_string(n)` without reason.)
template <class... Args>
std::string text_of(const Args&... args) {
  std::ostringstream text;
  (text << ... << args);
  return text.str();
}

struct FakeNode {
  unsigned os_index;
  Cpus cpus;
  uint64_t memory_kb;
  std::vector<unsigned> distances;  // to the nodes of the machine, in their order
};

// The kernel's two ways to write a set: "0,1,8" (it joins neighbours to ranges, readers must not care) and "0000010f".
inline std::string cpu_list(const Cpus& cpus) {
  std::string text;
  for (unsigned cpu : cpus) text += text_of(text.empty() ? "" : ",", cpu);
  return text + "\n";
}

inline std::string cpu_mask(const Cpus& cpus) {
  const unsigned highest = cpus.empty() ? 0 : *std::max_element(cpus.begin(), cpus.end());
  std::vector<uint32_t> words(highest / 32 + 1);
  for (unsigned cpu : cpus) words[cpu / 32] |= 1u << (cpu % 32);
  std::string text;
  for (size_t i = words.size(); i-- > 0;) {
    char word[16];
    snprintf(word, sizeof(word), "%08x%s", words[i], i == 0 ? "\n" : ",");
    text += word;
  }
  return text;
}

class FakeMachine {
 public:
  // A machine of these nodes, in ascending order of os_index; without any, an empty folder.
  explicit FakeMachine(const std::vector<FakeNode>& nodes = {}) {
    std::string name = (std::filesystem::temp_directory_path() / "weir-machine-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) abort();
    root_ = name;
    if (nodes.empty()) return;
    Cpus all_cpus, all_nodes;
    for (const FakeNode& node : nodes) {
      write_node(node);
      all_nodes.push_back(node.os_index);
      all_cpus.insert(all_cpus.end(), node.cpus.begin(), node.cpus.end());
    }
    std::sort(all_cpus.begin(), all_cpus.end());
    for (const char* file : {"online", "possible"}) {
      write(text_of("node/", file), cpu_list(all_nodes));
      write(text_of("cpu/", file), cpu_list(all_cpus));
    }
    for (unsigned cpu : all_cpus) write_cpu(cpu);
  }
  ~FakeMachine() { std::filesystem::remove_all(root_); }
  FakeMachine(const FakeMachine&) = delete;
  FakeMachine& operator=(const FakeMachine&) = delete;

  std::string root() const { return root_.string(); }
  std::string sys() const { return (root_ / "sys").string(); }

  // Writes a file below /sys/devices/system, with its folders.
  void write(const std::string& name, const std::string& text) const {
    const auto path = root_ / "sys/devices/system" / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  void remove(const std::string& name) const { std::filesystem::remove_all(root_ / "sys/devices/system" / name); }

 private:
  void write_node(const FakeNode& node) const {
    const std::string folder = text_of("node/node", node.os_index, "/");
    const std::string prefix = text_of("Node ", node.os_index, " ");
    write(folder + "cpumap", cpu_mask(node.cpus));
    write(folder + "cpulist", cpu_list(node.cpus));
    write(folder + "meminfo",
          text_of(prefix, "MemTotal:       ", node.memory_kb, " kB\n", prefix, "MemFree:  1234 kB\n"));
    std::string row;
    for (unsigned distance : node.distances) row += text_of(row.empty() ? "" : " ", distance);
    write(folder + "distance", row + "\n");
  }

  // What hwloc wants to see of a processor; the sysfs reader does not look at it.
  void write_cpu(unsigned cpu) const {
    const std::string folder = text_of("cpu/cpu", cpu, "/topology/");
    for (const char* file : {"thread_siblings", "core_cpus", "core_siblings", "package_cpus"})
      write(folder + file, cpu_mask({cpu}));
    for (const char* file : {"core_id", "physical_package_id"}) write(folder + file, text_of(cpu, "\n"));
  }

  std::filesystem::path root_;
};

// Sets an environment variable (null: removes it) and puts it back at the end of the scope.
class ScopedEnv {
 public:
  ScopedEnv(const char* name, const char* value) : name_(name) {
    const char* old = getenv(name);
    was_set_ = old != nullptr;
    if (was_set_) old_value_ = old;
    set(value);
  }
  ~ScopedEnv() { set(was_set_ ? old_value_.c_str() : nullptr); }
  ScopedEnv(const ScopedEnv&) = delete;
  ScopedEnv& operator=(const ScopedEnv&) = delete;

 private:
  void set(const char* value) const {
    if (value != nullptr) {
      setenv(name_.c_str(), value, 1);
    } else {
      unsetenv(name_.c_str());
    }
  }

  std::string name_;
  std::string old_value_;
  bool was_set_;
};

}  // namespace weir::test
