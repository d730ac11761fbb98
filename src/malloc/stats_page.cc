#include "malloc/stats_page.h"

#include <cstring>
#include <string_view>

#include "base/publish.h"
#include "malloc/node_depots.h"
#include "os/memfd.h"
#include "os/proc.h"
#include "os/service_thread.h"
#include "os/thread.h"
#include "os/vm.h"

namespace weir {
namespace {

// Each ends with a NUL, so that they are the lists as they stand in the page.
constexpr char kNodeCounterNames[] =
#define VMSTAT(name, help) #name "\0"
#include "page/vmstat.def"
#undef VMSTAT
    ;
constexpr char kCounterNames[] =
#define COUNTER(name, help) #name "\0"
#include "reclaim/counters.def"
#undef COUNTER
    ;

constexpr unsigned kNrNodeCounters = 0
#define VMSTAT(name, help) +1
#include "page/vmstat.def"
#undef VMSTAT
    ;
constexpr unsigned kNrCounters = 0
#define COUNTER(name, help) +1
#include "reclaim/counters.def"
#undef COUNTER
    ;
static_assert(kNrNodeCounters <= unsigned{WEIR_STATS_NODE_COUNTERS} && kNrCounters <= unsigned{WEIR_STATS_COUNTERS});
static_assert(sizeof(kNodeCounterNames) <= sizeof(weir_stats_page::node_counter_names));
static_assert(sizeof(kCounterNames) <= sizeof(weir_stats_page::counter_names));
static_assert(sizeof(weir_stats_slab) == 64, "depots that are busy at once share no cache line");
static_assert(sizeof(weir_stats_heap) == 192, "nor do heaps");

constexpr size_t kNodeOffset = align_up(sizeof(weir_stats_page), 64);

constexpr size_t slab_offset(unsigned nr_nodes) {
  return align_up(kNodeOffset + nr_nodes * sizeof(weir_stats_node), 64);
}

constexpr size_t path_offset(unsigned nr_nodes) {
  return slab_offset(nr_nodes) + nr_nodes * NodeDepots::kLanes * kNrSizeClasses * sizeof(weir_stats_slab);
}

constexpr size_t heap_offset(unsigned nr_nodes) {
  return align_up(path_offset(nr_nodes) + WEIR_STATS_PATH, 64);
}

constexpr size_t text_offset(unsigned nr_nodes) {
  return heap_offset(nr_nodes) + WEIR_STATS_HEAPS * sizeof(weir_stats_heap);
}

constexpr size_t stats_bytes(unsigned nr_nodes) {
  return align_up(text_offset(nr_nodes) + WEIR_STATS_TEXTS, kPageSize);
}

constexpr size_t most_text_bytes() {
  size_t bytes = 0;
  for (const OptionInfo& option : kOptionTable)
    if (option.kind == OptionKind::kText) bytes += option.name.size() + static_cast<size_t>(option.max) + 2;
  return bytes;
}
static_assert(most_text_bytes() <= WEIR_STATS_TEXTS);

// On a page of its own: it costs no memory before somebody asks.
constexpr size_t bytes_for(unsigned nr_nodes) {
  return stats_bytes(nr_nodes) + kPageSize;
}

static_assert(sizeof(weir_control_box) <= kPageSize);
static_assert(kNrOptions <= size_t{WEIR_STATS_OPTIONS});

static_assert(bytes_for(1) <= StatsPage::kBytesOfOneNode);

}  // namespace

void StatsPage::map(unsigned nr_nodes, bool as_file, void* room, const Options& options) {
  nr_nodes_ = nr_nodes;
  options_ = &options;
  bytes_ = bytes_for(nr_nodes);
  start_ns_ = os::now_ns_once();
  void* memory = as_file ? os::map_memfd(WEIR_STATS_NAME, bytes_, nullptr, fd_) : nullptr;
  is_file_ = memory != nullptr;
  if (memory == nullptr && bytes_ <= kBytesOfOneNode) memory = room;
  page_ = static_cast<weir_stats_page*>(memory != nullptr ? memory : os::vm_map(bytes_));
  if (page_ != nullptr) write_head();
}

bool StatsPage::renew(bool quietly) {
  if (page_ == nullptr) return false;
  if (!is_file_) {
    page_->pid = static_cast<uint32_t>(os::process_id());
    // Who was writing is not there any more, and who asked did not ask this process.
    page_->sequence += page_->sequence % 2;
    page_->request = 0;
    return false;
  }
  if (quietly || os::map_memfd(WEIR_STATS_NAME, bytes_, page_, fd_) == nullptr) {
    is_file_ = false;
    // Should the system refuse to replace the mapping, what is published is lost among the parent's numbers, and does
    // no harm there; but what others ask of the parent is not for this process.
    if (!os::vm_renew(page_, bytes_)) {
      box_ = nullptr;
      return false;
    }
  }
  write_head();
  return true;
}

int StatsPage::take_descriptor() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

void StatsPage::write_head() {
  weir_stats_page& p = *page_;
  p.version = WEIR_STATS_VERSION;
  p.page_size = kPageSize;
  p.size = stats_bytes(nr_nodes_);
  p.start_ns = start_ns_;
  p.pid = static_cast<uint32_t>(os::process_id());
  p.nr_nodes = nr_nodes_;
  p.node_offset = kNodeOffset;
  p.node_size = sizeof(weir_stats_node);
  p.slab_offset = static_cast<uint32_t>(slab_offset(nr_nodes_));
  p.slab_size = sizeof(weir_stats_slab);
  p.swap_path_offset = static_cast<uint32_t>(path_offset(nr_nodes_));
  p.nr_classes = kNrSizeClasses;
  p.nr_lanes = NodeDepots::kLanes;
  p.nr_node_counters = kNrNodeCounters;
  p.nr_counters = kNrCounters;
  memcpy(p.node_counter_names, kNodeCounterNames, sizeof(kNodeCounterNames));
  memcpy(p.counter_names, kCounterNames, sizeof(kCounterNames));
  box_ = reinterpret_cast<weir_control_box*>(reinterpret_cast<char*>(page_) + stats_bytes(nr_nodes_));
  p.request = 0;
  p.control_offset = static_cast<uint32_t>(stats_bytes(nr_nodes_));
  p.control_version = WEIR_CONTROL_VERSION;
  p.heap_offset = static_cast<uint32_t>(heap_offset(nr_nodes_));
  p.heap_size = sizeof(weir_stats_heap);
  p.nr_heap_rows = WEIR_STATS_HEAPS;
  p.text_offset = static_cast<uint32_t>(text_offset(nr_nodes_));
  p.options_id = options_id();
  p.nr_options = kNrOptions;
  publish_options();
  // Last: who finds it finds the rest.
  __atomic_store_n(&p.magic, WEIR_STATS_MAGIC, __ATOMIC_RELEASE);
}

// All of them anew, where one is another than what is shown.
void StatsPage::show_texts() {
  char list[WEIR_STATS_TEXTS] = {};
  char* at = list;
  const auto add = [&at](std::string_view text) {
    memcpy(at, text.data(), text.size());
    at += text.size() + 1;
  };
  for (const OptionInfo& option : kOptionTable) {
    const Text* text = option_text(*options_, option.id);
    if (text == nullptr || text->empty()) continue;
    add(option.name);
    add(text->view());
  }
  // The first touch of that memory is put off until there is something to show.
  if (at == list && !shows_texts_) return;
  shows_texts_ = true;
  char* const shown = reinterpret_cast<char*>(page_) + text_offset(nr_nodes_);
  if (memcmp(shown, list, sizeof(list)) == 0) return;
  publish_when_free(page_->sequence, os::yield, [&] { memcpy(shown, list, sizeof(list)); });
}

void StatsPage::publish_options() {
  if (page_ == nullptr) return;
  for (const OptionInfo& option : kOptionTable)
    publish(page_->options[static_cast<size_t>(option.id)], option_value(*options_, option.id));
  show_texts();
}

weir_stats_node* StatsPage::node(NodeId node) const {
  if (page_ == nullptr) return nullptr;
  return reinterpret_cast<weir_stats_node*>(reinterpret_cast<char*>(page_) + kNodeOffset) + node.v;
}

weir_stats_heap* StatsPage::heap(uint32_t row) const {
  if (page_ == nullptr || row >= uint32_t{WEIR_STATS_HEAPS}) return nullptr;
  return reinterpret_cast<weir_stats_heap*>(reinterpret_cast<char*>(page_) + heap_offset(nr_nodes_)) + row;
}

weir_stats_slab* StatsPage::slab(NodeId node, unsigned lane, size_t size_class) const {
  if (page_ == nullptr) return nullptr;
  return reinterpret_cast<weir_stats_slab*>(reinterpret_cast<char*>(page_) + slab_offset(nr_nodes_)) +
         (node.v * NodeDepots::kLanes + lane) * kNrSizeClasses + size_class;
}

}  // namespace weir
