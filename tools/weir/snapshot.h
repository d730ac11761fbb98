// Purpose: the numbers of one process at one moment, by name and in the kernel's terms.
// Thread safety: values. Invariants: used + free = managed on every node, however far the process exceeds its budget;
//                a counter that the process's version of weir does not have is 0.
#pragma once

#include <sys/types.h>
#include <weir/stats_page.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weir::tool {

class PageReader;

class Snapshot {
 public:
  // Throws Failure kNoStats when there is nothing to be read.
  explicit Snapshot(pid_t pid);
  explicit Snapshot(PageReader& reader);
  Snapshot(pid_t pid, std::vector<uint64_t> words) : pid_(pid), words_(std::move(words)) {}

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const weir_stats_page& page() const { return *reinterpret_cast<const weir_stats_page*>(words_.data()); }
  // The nodes that have memory.
  [[nodiscard]] std::vector<uint32_t> nodes() const;
  [[nodiscard]] const weir_stats_node& node(uint32_t n) const { return *weir_stats_node_at(&page(), n); }
  [[nodiscard]] bool limited() const { return page().limit != 0; }
  [[nodiscard]] std::string mode() const;
  [[nodiscard]] std::string swap_path() const;
  // Of an option that is a text; nothing when it is empty, or the page does not say.
  [[nodiscard]] std::string option_text(std::string_view name) const;

  // Pages of a node's budget that are in use, and that are not.
  [[nodiscard]] uint64_t used(uint32_t n) const;
  [[nodiscard]] uint64_t free(uint32_t n) const { return node(n).managed - used(n); }
  // Of all nodes together: sum(&weir_stats_node::standby).
  [[nodiscard]] uint64_t sum(uint64_t weir_stats_node::*field) const;
  [[nodiscard]] uint64_t used() const;
  [[nodiscard]] uint64_t free() const { return sum(&weir_stats_node::managed) - used(); }

  [[nodiscard]] uint64_t counter(uint32_t n, std::string_view name) const;
  // Of the process, or of all nodes together.
  [[nodiscard]] uint64_t counter(std::string_view name) const;
  struct Counter {
    std::string name;
    uint64_t value;
  };
  // All of them, in the order of the page: of the nodes together, then of the process.
  [[nodiscard]] std::vector<Counter> counters() const;
  [[nodiscard]] std::vector<Counter> counters(uint32_t n) const;

  // The heaps that the page has room for, in the order of their rows.
  [[nodiscard]] std::vector<weir_stats_heap> heaps() const;

  struct Slabs {
    uint32_t object_size, objects_per_slab, pages_per_slab;
    uint64_t slabs, objects, active;
  };
  // The classes that have slabs on the node.
  [[nodiscard]] std::vector<Slabs> slabs(uint32_t n) const;
  // The same of all nodes together.
  [[nodiscard]] std::vector<Slabs> slabs() const;

 private:
  [[nodiscard]] Slabs slabs(uint32_t n, uint32_t size_class) const;

  pid_t pid_;
  std::vector<uint64_t> words_;
};

// The process to be looked at: `pid`, or when that is 0 the only one of the caller's that is on weir. Throws Failure.
[[nodiscard]] pid_t choose_process(pid_t pid);
// The snapshots of all processes that the caller may look at.
[[nodiscard]] std::vector<Snapshot> all_snapshots();

}  // namespace weir::tool
