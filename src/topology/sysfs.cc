#include "topology/sysfs.h"

#include <string_view>

#include "base/check.h"
#include "base/print.h"
#include "os/env.h"
#include "os/file.h"
#include "topology/parse.h"

namespace weir {
namespace {

// Holds a mask of 8192 processors (2.3 KiB), a row of 1024 distances and the beginning of a meminfo, whose first line
// is what is wanted. On the stack, which may be that of a small thread.
constexpr size_t kFileCapacity = 4096;

// The folder .../devices/system/node, open.
class NodeFolder {
 public:
  explicit NodeFolder(const char* root) {
    const int base = os::open_directory(root);
    if (base < 0) return;
    fd_ = os::open_directory_at(base, "devices/system/node");
    os::close_descriptor(base);
  }
  ~NodeFolder() {
    if (is_open()) os::close_descriptor(fd_);
  }
  NodeFolder(const NodeFolder&) = delete;
  NodeFolder& operator=(const NodeFolder&) = delete;

  bool is_open() const { return fd_ >= 0; }

  // The text of a file in the folder, empty when it cannot be read.
  std::string_view read(const char* name) {
    return finish_read(os::read_small_file_at(fd_, name, buffer_, kFileCapacity));
  }
  // The same for node<os_index>/<name>.
  std::string_view read_of_node(unsigned os_index, std::string_view name) {
    Line path;
    path.text("node").dec(os_index).text("/").text(name).text(std::string_view("\0", 1));
    return read(path.view().data());
  }

  // The nodes that have a folder.
  void list_nodes(os::IdSet<os::kMaxOsNodes>& ids) { os::list_directory(fd_, add_if_node, &ids); }

 private:
  std::string_view finish_read(ssize_t size) { return {buffer_, size > 0 ? static_cast<size_t>(size) : 0}; }

  static bool add_if_node(void* context, const char* name) {
    constexpr std::string_view kPrefix = "node";
    const std::string_view entry(name);
    if (entry.size() <= kPrefix.size() || std::string_view(name, kPrefix.size()) != kPrefix) return true;
    os::IdSet<os::kMaxOsNodes> one;
    const std::string_view number(name + kPrefix.size());
    if (number.find_first_not_of("0123456789") != std::string_view::npos || !parse_id_list(number, one)) return true;
    auto& ids = *static_cast<os::IdSet<os::kMaxOsNodes>*>(context);
    for (size_t i = 0; i < os::kMaxOsNodes / 64; ++i) ids.words[i] |= one.words[i];
    return true;
  }

  int fd_ = -1;
  char buffer_[kFileCapacity];
};

template <class Set, class Each>
void for_each_id(const Set& ids, Each each) {
  unsigned base = 0;
  for (uint64_t word : ids.words) {
    for (; word != 0; word &= word - 1) each(base + static_cast<unsigned>(__builtin_ctzll(word)));
    base += 64;
  }
}

bool is_empty(const os::IdSet<os::kMaxOsNodes>& ids) {
  uint64_t any = 0;
  for (uint64_t word : ids.words) any |= word;
  return any == 0;
}

// 0 when it cannot be read: such a node gets no arena.
uint64_t read_memory(NodeFolder& folder, const TopologyNode& node) {
  uint64_t bytes = 0;
  return parse_mem_total(folder.read_of_node(node.os_index, "meminfo"), bytes) ? bytes : 0;
}

void read_cpus(NodeFolder& folder, Topology& topology, NodeId id) {
  // The mask, not cpulist: its length is bounded, while a list of interleaved processors may be of any length.
  os::IdSet<os::kMaxOsCpus> cpus;
  if (!parse_id_mask(folder.read_of_node(topology.node(id).os_index, "cpumap"), cpus)) return;
  for_each_id(cpus, [&](unsigned cpu) { topology.add_cpu(cpu, id); });
}

// The kernel writes one column for each node that is online, without gaps, so columns are dense ids. One bad row spoils
// the matrix: half of one would order the nodes by accident.
void read_distances(NodeFolder& folder, Topology& topology) {
  uint16_t row[kMaxNodes];
  for (unsigned from = 0; from < topology.nr_nodes; ++from) {
    const std::string_view text = folder.read_of_node(topology.nodes[from].os_index, "distance");
    if (!parse_distance_row(text, {row, topology.nr_nodes})) {
      topology.reset_distances();
      return;
    }
    for (unsigned to = 0; to < topology.nr_nodes; ++to)
      topology.set_distance(to_node_id(from), to_node_id(to), row[to]);
  }
}

void mark_forbidden(Topology& topology) {
  os::IdSet<os::kMaxOsNodes> allowed;
  if (!os::allowed_memory_nodes(allowed)) return;
  for (unsigned i = 0; i < topology.nr_nodes; ++i)
    topology.nodes[i].forbidden = !allowed.has(topology.nodes[i].os_index);
  const bool finished = topology.finish();
  WEIR_CHECK(finished);
}

bool read_tree(Topology& topology, const char* root, bool is_this_machine) {
  topology.clear();
  NodeFolder folder(root);
  if (!folder.is_open()) return false;
  os::IdSet<os::kMaxOsNodes> online;
  if (!parse_id_list(folder.read("online"), online) || is_empty(online)) {
    online = {};
    folder.list_nodes(online);
  }
  for_each_id(online, [&](unsigned os_index) { topology.add_node(os_index); });
  for (unsigned i = 0; i < topology.nr_nodes; ++i) {
    // A meminfo costs some 10 us, more than any other file here; an only node has what sysinfo(2) tells at once.
    const bool has_all = is_this_machine && topology.nr_nodes == 1;
    topology.nodes[i].memory_bytes = has_all ? os::total_memory_bytes() : read_memory(folder, topology.nodes[i]);
    read_cpus(folder, topology, to_node_id(i));
  }
  if (topology.nr_nodes > 1) read_distances(folder, topology);
  if (topology.finish()) return true;
  topology.clear();
  return false;
}

}  // namespace

bool read_sysfs_tree(Topology& topology, const char* root) {
  return read_tree(topology, root, false);
}

void read_as_one_node(Topology& topology) {
  topology.clear();
  // Without sysinfo(2) the size is not known; any node must have memory, so a page stands for it.
  const uint64_t memory = os::total_memory_bytes();
  topology.add_node(0);
  topology.nodes[0].memory_bytes = memory != 0 ? memory : kPageSize;
  os::IdSet<os::kMaxOsCpus> cpus;
  if (os::allowed_cpus(cpus)) for_each_id(cpus, [&](unsigned cpu) { topology.add_cpu(cpu, NodeId(0)); });
  const bool finished = topology.finish();
  WEIR_CHECK(finished);
}

bool is_one_node(std::string_view root) {
  char text[64];  // a list that is longer names more than one
  Line path;
  path.text(root).text("/devices/system/node/online").text(std::string_view("\0", 1));
  const ssize_t size = os::read_small_file(path.view().data(), text, sizeof(text));
  if (size <= 0) return false;
  size_t digits = 0;
  while (digits < static_cast<size_t>(size) && text[digits] >= '0' && text[digits] <= '9') ++digits;
  return digits != 0 && digits + 1 == static_cast<size_t>(size) && text[digits] == '\n';
}

void read_sysfs(Topology& topology, const char* root) {
  if (!read_tree(topology, root, true)) {
    read_as_one_node(topology);
  } else if (topology.nr_nodes > 1) {  // an only node is the one allowed
    mark_forbidden(topology);
  }
}

}  // namespace weir
