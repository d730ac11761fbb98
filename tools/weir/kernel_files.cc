#include "kernel_files.h"

#include <fmt/format.h>

#include <array>
#include <iterator>

#include "json.h"
#include "procfs.h"

namespace weir::tool {
namespace {

constexpr uint64_t kKbPerPage = 4;
constexpr std::array<const char*, WEIR_STATS_TYPES> kTypes = {"Unmovable", "Movable", "Reclaimable"};
constexpr unsigned kPageblockOrder = 9;

template <class... T>
void put(std::string& text, fmt::format_string<T...> format, T&&... values) {
  fmt::format_to(std::back_inserter(text), format, std::forward<T>(values)...);
}

JsonObject begin_json(const Snapshot& s) {
  JsonObject object;
  object.add("pid", static_cast<uint64_t>(s.pid())).add("command", command_of(s.pid()));
  return object;
}

// {"pid":...,"command":...,"nodes":[...]} with what `each` adds for a node.
template <class Each>
std::string json_by_node(const Snapshot& s, Each each) {
  JsonArray nodes;
  for (const uint32_t n : s.nodes()) {
    JsonObject node;
    node.add("node", uint64_t{n});
    each(node, n);
    nodes.raw(node.text());
  }
  return begin_json(s).raw("nodes", nodes.text()).text();
}

template <class Numbers>
std::string json_numbers(const Numbers& numbers) {
  JsonArray array;
  for (const uint64_t each : numbers) array.raw(fmt::format("{}", each));
  return array.text();
}

// -- zoneinfo: mm/vmstat.c, zoneinfo_show_print

struct Row {
  const char* name;
  uint64_t value;
};

std::vector<Row> zone_rows(const Snapshot& s, uint32_t n) {
  const weir_stats_node& z = s.node(n);
  return {{"min", z.watermark_min}, {"low", z.watermark_low}, {"high", z.watermark_high},
          {"spanned", z.spanned},   {"present", z.present},   {"managed", z.managed}};
}

std::vector<Row> node_rows(const Snapshot& s, uint32_t n) {
  const weir_stats_node& z = s.node(n);
  return {{"nr_free_pages", s.free(n)}, {"nr_used_pages", s.used(n)},
          {"nr_charged", z.charged},    {"nr_free_resident", z.free_resident},
          {"nr_standby", z.standby},    {"nr_zswap_pool", z.zswap_pool},
          {"nr_swapped", z.swapped},    {"nr_metadata", z.metadata_bytes / (kKbPerPage << 10)}};
}

std::string zoneinfo(const Snapshot& s) {
  std::string text;
  for (const uint32_t n : s.nodes()) {
    put(text, "Node {}, zone {:>8}\n  per-node stats\n", n, "Normal");
    for (const auto& counter : s.counters(n)) put(text, "      {:<12} {}\n", counter.name, counter.value);
    put(text, "  pages free     {}\n", s.free(n));
    put(text, "        {:<8} {}\n", "boost", 0);
    for (const Row& row : zone_rows(s, n)) put(text, "        {:<8} {}\n", row.name, row.value);
    put(text, "        {:<8} {}\n        protection: (0)\n", "cma", 0);
    for (const Row& row : node_rows(s, n)) put(text, "      {:<12} {}\n", row.name, row.value);
    put(text, "  pagesets\n  node_unreclaimable:  0\n  start_pfn:           0\n");
  }
  return text;
}

std::string zoneinfo_json(const Snapshot& s) {
  return json_by_node(s, [&s](JsonObject& node, uint32_t n) {
    for (const Row& row : zone_rows(s, n)) node.add(row.name, row.value);
    for (const Row& row : node_rows(s, n)) node.add(row.name, row.value);
    for (const auto& counter : s.counters(n)) node.add(counter.name, counter.value);
  });
}

// -- buddyinfo and pagetypeinfo: mm/vmstat.c, frag_show_print and pagetypeinfo_show

std::array<uint64_t, WEIR_STATS_ORDERS> blocks_of_all_types(const weir_stats_node& node) {
  std::array<uint64_t, WEIR_STATS_ORDERS> sums = {};
  for (const auto& type : node.free_blocks)
    for (size_t o = 0; o < sums.size(); ++o) sums[o] += type[o];
  return sums;
}

std::string buddyinfo(const Snapshot& s) {
  std::string text;
  for (const uint32_t n : s.nodes()) {
    put(text, "Node {}, zone {:>8} ", n, "Normal");
    for (const uint64_t blocks : blocks_of_all_types(s.node(n))) put(text, "{:>6} ", blocks);
    text += '\n';
  }
  return text;
}

std::string buddyinfo_json(const Snapshot& s) {
  return json_by_node(
      s, [&s](JsonObject& node, uint32_t n) { node.raw("free_blocks", json_numbers(blocks_of_all_types(s.node(n)))); });
}

// -- extfrag_index and unusable_index (debugfs, extfrag/): mm/vmstat.c, __fragmentation_index and unusable_free_index

// What contig_page_info is about one order.
struct FreeBlocks {
  uint64_t pages = 0, total = 0, suitable = 0;
};

FreeBlocks free_blocks(const weir_stats_node& node, unsigned order) {
  const auto counts = blocks_of_all_types(node);
  FreeBlocks sum;
  for (unsigned o = 0; o < counts.size(); ++o) {
    sum.total += counts[o];
    sum.pages += counts[o] << o;
    if (o >= order) sum.suitable += counts[o] << (o - order);
  }
  return sum;
}

// Thousandths: towards 0 an allocation of that order would fail because memory is short, towards 1000 because it is in
// pieces; -1000: it would not fail.
int extfrag_index(const weir_stats_node& node, unsigned order) {
  const FreeBlocks free = free_blocks(node, order);
  if (free.total == 0) return 0;
  if (free.suitable != 0) return -1000;
  return 1000 - static_cast<int>((1000 + free.pages * 1000 / (uint64_t{1} << order)) / free.total);
}

// Thousandths of the free memory that no allocation of that order can use.
int unusable_index(const weir_stats_node& node, unsigned order) {
  const FreeBlocks free = free_blocks(node, order);
  if (free.pages == 0) return 1000;
  return static_cast<int>((free.pages - (free.suitable << order)) * 1000 / free.pages);
}

using Index = int (*)(const weir_stats_node& node, unsigned order);

std::string thousandths(int index) {
  const unsigned size = static_cast<unsigned>(index < 0 ? -index : index);
  return fmt::format("{}{}.{:03}", index < 0 ? "-" : "", size / 1000, size % 1000);
}

template <Index index, unsigned kWidth>
std::string index_text(const Snapshot& s) {
  std::string text;
  for (const uint32_t n : s.nodes()) {
    put(text, "Node {}, zone {:>8} ", n, "Normal");
    for (unsigned o = 0; o < WEIR_STATS_ORDERS; ++o) put(text, "{:>{}} ", thousandths(index(s.node(n), o)), kWidth);
    text += '\n';
  }
  return text;
}

template <Index index>
std::string index_json(const Snapshot& s) {
  return json_by_node(s, [&s](JsonObject& node, uint32_t n) {
    JsonArray orders;
    for (unsigned o = 0; o < WEIR_STATS_ORDERS; ++o) orders.raw(thousandths(index(s.node(n), o)));
    node.raw("index", orders.text());
  });
}

void put_type_counts(std::string& text, const Snapshot& s) {
  put(text, "\n{:<23}", "Number of blocks type ");
  for (const char* type : kTypes) put(text, "{:>12} ", type);
  text += '\n';
  for (const uint32_t n : s.nodes()) {
    put(text, "Node {}, zone {:>8} ", n, "Normal");
    for (const uint64_t blocks : s.node(n).pageblocks) put(text, "{:>12} ", blocks);
    text += '\n';
  }
}

std::string pagetypeinfo(const Snapshot& s) {
  std::string text;
  put(text, "Page block order: {}\nPages per block:  {}\n\n", kPageblockOrder, 1u << kPageblockOrder);
  put(text, "{:<43} ", "Free pages count per migrate type at order");
  for (unsigned o = 0; o < WEIR_STATS_ORDERS; ++o) put(text, "{:>6} ", o);
  text += '\n';
  for (const uint32_t n : s.nodes()) {
    for (size_t t = 0; t < kTypes.size(); ++t) {
      put(text, "Node {:>4}, zone {:>8}, type {:>12} ", n, "Normal", kTypes[t]);
      for (const uint64_t blocks : s.node(n).free_blocks[t]) put(text, "{:>6} ", blocks);
      text += '\n';
    }
  }
  put_type_counts(text, s);
  return text;
}

std::string pagetypeinfo_json(const Snapshot& s) {
  return json_by_node(s, [&s](JsonObject& node, uint32_t n) {
    JsonObject types;
    for (size_t t = 0; t < kTypes.size(); ++t) {
      JsonObject type;
      type.raw("free_blocks", json_numbers(s.node(n).free_blocks[t])).add("pageblocks", s.node(n).pageblocks[t]);
      types.raw(kTypes[t], type.text());
    }
    node.raw("types", types.text());
  });
}

// -- meminfo: fs/proc/meminfo.c

std::vector<Row> meminfo_rows(const Snapshot& s) {
  uint64_t slab = 0;
  for (const auto& each : s.slabs()) slab += each.slabs * each.pages_per_slab;
  const uint64_t standby = s.sum(&weir_stats_node::standby), pool = s.sum(&weir_stats_node::zswap_pool);
  const uint64_t used = s.used(), others = standby + pool;
  const weir_stats_page& p = s.page();
  // Files have no part in what nodes manage, but in the limit.
  return {{"MemTotal", s.sum(&weir_stats_node::managed) + p.files},
          {"MemFree", s.free()},
          {"MemAvailable", s.free() + p.files},
          {"Buffers", 0},
          {"Cached", p.files},
          {"SwapCached", standby},
          {"Active(file)", p.files_active},
          {"Inactive(file)", p.files - p.files_active},
          {"SwapTotal", p.swap_total},
          {"SwapFree", p.swap_total > p.swap_used ? p.swap_total - p.swap_used : 0},
          {"Zswap", pool},
          {"Zswapped", p.zswap_stored},
          {"Dirty", p.files_dirty},
          {"Writeback", p.files_writeback},
          {"AnonPages", used > others ? used - others : 0},
          {"Mapped", p.files},
          {"Slab", slab},
          {"SReclaimable", 0},
          {"SUnreclaim", slab}};
}

std::string meminfo(const Snapshot& s) {
  std::string text;
  for (const Row& row : meminfo_rows(s))
    put(text, "{:<16}{:>8} kB\n", fmt::format("{}:", row.name), row.value * kKbPerPage);
  return text;
}

std::string meminfo_json(const Snapshot& s) {
  JsonObject object = begin_json(s);
  for (const Row& row : meminfo_rows(s)) object.add(row.name, row.value * kKbPerPage);
  return object.text();
}

// -- slabinfo: mm/slab_common.c, print_slabinfo_header and cache_show

std::string slabinfo(const Snapshot& s) {
  std::string text =
      "slabinfo - version: 2.1\n"
      "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> "
      "<batchcount> "
      "<sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n";
  for (const auto& c : s.slabs()) {
    put(text, "{:<17} {:>6} {:>6} {:>6} {:>4} {:>4}", fmt::format("malloc-{}", c.object_size), c.active, c.objects,
        c.object_size, c.objects_per_slab, c.pages_per_slab);
    put(text, " : tunables {:>4} {:>4} {:>4} : slabdata {:>6} {:>6} {:>6}\n", 0, 0, 0, c.slabs, c.slabs, 0);
  }
  return text;
}

std::string slabinfo_json(const Snapshot& s) {
  return json_by_node(s, [&s](JsonObject& node, uint32_t n) {
    JsonArray classes;
    for (const auto& c : s.slabs(n)) {
      JsonObject each;
      each.add("name", fmt::format("malloc-{}", c.object_size)).add("active_objs", c.active);
      each.add("num_objs", c.objects).add("objsize", uint64_t{c.object_size});
      each.add("objperslab", uint64_t{c.objects_per_slab}).add("pagesperslab", uint64_t{c.pages_per_slab});
      classes.raw(each.add("num_slabs", c.slabs).text());
    }
    node.raw("slabs", classes.text());
  });
}

// -- numastat: drivers/base/node.c, node_read_numastat; for several nodes the table of numastat(8)

// A thread wants memory of the node that it runs on, so that what it wanted is local.
std::vector<Row> numa_rows(const Snapshot& s, uint32_t n) {
  const uint64_t hit = s.counter(n, "numa_hit"), miss = s.counter(n, "numa_miss");
  return {{"numa_hit", hit},     {"numa_miss", miss}, {"numa_foreign", s.counter(n, "numa_foreign")},
          {"interleave_hit", 0}, {"local_node", hit}, {"other_node", miss}};
}

std::string numastat(const Snapshot& s) {
  const auto nodes = s.nodes();
  std::string text;
  if (nodes.size() == 1) {
    for (const Row& row : numa_rows(s, nodes[0])) put(text, "{} {}\n", row.name, row.value);
    return text;
  }
  std::vector<std::vector<Row>> columns;
  put(text, "{:<16}", "");
  for (const uint32_t n : nodes) {
    put(text, "{:>16}", fmt::format("node{}", n));
    columns.push_back(numa_rows(s, n));
  }
  text += '\n';
  for (size_t r = 0; !columns.empty() && r < columns[0].size(); ++r) {
    put(text, "{:<16}", columns[0][r].name);
    for (const auto& column : columns) put(text, "{:>16}", column[r].value);
    text += '\n';
  }
  return text;
}

std::string numastat_json(const Snapshot& s) {
  return json_by_node(s, [&s](JsonObject& node, uint32_t n) {
    for (const Row& row : numa_rows(s, n)) node.add(row.name, row.value);
  });
}

// -- swaps: mm/swapfile.c, swap_show

// As seq_file_path writes it: what would part words or lines is octal.
std::string escaped(const std::string& path) {
  std::string text;
  for (const char c : path) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\')
      text += fmt::format("\\{:03o}", static_cast<unsigned>(c));
    else
      text += c;
  }
  return text;
}

std::string swaps(const Snapshot& s) {
  std::string text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
  const weir_stats_page& p = s.page();
  if (p.swap_total == 0) return text;
  const auto tabs = [](uint64_t kb) { return kb < 10000000 ? "\t" : ""; };
  const uint64_t size = p.swap_total * kKbPerPage, used = p.swap_used * kKbPerPage;
  const std::string name = escaped(s.swap_path());
  put(text, "{:<39} file\t\t{}\t{}{}\t{}{}\n", name, size, tabs(size), used, tabs(used), -2);
  return text;
}

std::string swaps_json(const Snapshot& s) {
  JsonArray files;
  const weir_stats_page& p = s.page();
  if (p.swap_total != 0) {
    JsonObject file;
    file.add("filename", s.swap_path()).add("type", std::string_view("file"));
    files.raw(file.add("size_kb", p.swap_total * kKbPerPage).add("used_kb", p.swap_used * kKbPerPage).text());
  }
  return begin_json(s).raw("swaps", files.text()).text();
}

constexpr KernelFile kFiles[] = {
    {"zoneinfo", "Pages, watermarks and counters of each node",
     "Free pages are the budget (managed) less what is in use; watermarks stand on them. Without a limit the budget\n"
     "is the memory of the machine.",
     zoneinfo, zoneinfo_json},
    {"buddyinfo", "Free blocks of each order", "Free blocks of address space that can be given out (present).",
     buddyinfo, buddyinfo_json},
    {"pagetypeinfo", "Free blocks of each order and migratetype, and pageblocks of each type",
     "Slabs take unmovable pages, larger objects movable ones.", pagetypeinfo, pagetypeinfo_json},
    {"extfrag_index", "Why an allocation of each order would fail",
     "Towards 0: too little is free; towards 1: it is in pieces, and objects with handles are moved together where\n"
     "this is above vm.extfrag_threshold, which is in thousandths; -1: it would not fail.",
     index_text<extfrag_index, 6>, index_json<extfrag_index>},
    {"unusable_index", "How much of what is free is of no use for an allocation of each order",
     "0: all free memory is in blocks that are long enough; 1: none is.", index_text<unusable_index, 5>,
     index_json<unusable_index>},
    {"meminfo", "Budget, memory in use, Standby, compressed memory, swap",
     "MemTotal is the limit, without what the process holds elsewhere; SwapCached is Standby: unmapped pages that are\n"
     "still in memory; Cached are mapped files, where the limit is one of the whole process.",
     meminfo, meminfo_json},
    {"slabinfo", "Objects and slabs of each size class",
     "Objects in the caches of threads count as active. Classes are those of all nodes together; --json has each.",
     slabinfo, slabinfo_json},
    {"numastat", "Allocations of pages on the node that was wanted, and elsewhere",
     "With one node, the format of /sys/devices/system/node/node0/numastat; with several, the table of numastat(8).",
     numastat, numastat_json},
    {"swaps", "The swap file, its size and how much of it is used",
     "Compressed memory is not in it: see Zswap in weir meminfo.", swaps, swaps_json},
};

}  // namespace

std::span<const KernelFile> kernel_files() {
  return kFiles;
}

}  // namespace weir::tool
