#include "arena_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "json.h"

namespace weir::tool {
namespace {

constexpr uint64_t kPageblockPages = 512;
constexpr uint64_t kClusterPages = 64, kClustersPerBlock = kPageblockPages / kClusterPages;
// More cannot be told apart in a picture, and a map stays below 100 KB.
constexpr uint64_t kMostCells = 2048;
// 256 GiB, of which 64 MiB have to be read.
constexpr uint64_t kMostPages = uint64_t{1} << 26;

// What is known of the pages of a node.
struct Records {
  std::vector<weir_stats_cluster> clusters;
  std::vector<uint64_t> resident;
  std::vector<uint8_t> types;
};

template <class T>
bool read_array(const PageFile& memory, uint64_t at, uint64_t count, std::vector<T>& to) {
  to.resize(count);
  return memory.read(to.data(), count * sizeof(T), at);
}

std::optional<Records> read_records(const PageFile& memory, const weir_stats_node& node) {
  if (node.clusters == 0 || node.present == 0 || node.present > kMostPages) return std::nullopt;
  const uint64_t blocks = (node.present + kPageblockPages - 1) / kPageblockPages;
  const uint64_t clusters = (node.present + kClusterPages - 1) / kClusterPages;
  Records r;
  if (!read_array(memory, node.clusters, clusters, r.clusters) ||
      !read_array(memory, node.residency, clusters, r.resident) ||
      !read_array(memory, node.pageblock_types, blocks, r.types))
    return std::nullopt;
  return r;
}

unsigned pages_in(uint64_t mask) {
  return static_cast<unsigned>(std::popcount(mask));
}

void add_cluster(MapCell& cell, const weir_stats_cluster& c, uint64_t resident) {
  cell.pages += kClusterPages;
  cell.standby += pages_in(c.standby & c.allocated);
  cell.swapped += pages_in(c.swapped & c.allocated & ~c.standby);
  cell.in_place += pages_in(resident & c.allocated & ~c.standby & ~c.swapped);
  cell.unused += pages_in(resident & ~c.allocated);
}

std::vector<MapCell> cells_of(const Records& r) {
  const uint64_t together = (r.types.size() + kMostCells - 1) / kMostCells;
  std::vector<MapCell> cells((r.types.size() + together - 1) / together);
  for (size_t i = 0; i < r.clusters.size(); ++i) {
    const size_t block = i / kClustersPerBlock;
    MapCell& cell = cells[block / together];
    if (i % kClustersPerBlock == 0 && block % together == 0) cell.movable = r.types[block] == WEIR_STATS_MOVABLE;
    add_cluster(cell, r.clusters[i], r.resident[i]);
  }
  return cells;
}

std::optional<unsigned> count(const JsonValue& value) {
  const auto number = value.number();
  if (!number || *number < 0 || *number > std::numeric_limits<unsigned>::max()) return std::nullopt;
  return static_cast<unsigned>(*number);
}

std::optional<MapCell> parse_cell(const JsonValue& value) {
  std::vector<unsigned> numbers;
  for (const JsonValue& each : value.items())
    if (const auto number = count(each)) numbers.push_back(*number);
  if (value.items().size() != 6 || numbers.size() != 6) return std::nullopt;
  const MapCell cell = {numbers[0], numbers[1] != 0, numbers[2], numbers[3], numbers[4], numbers[5]};
  const uint64_t sum = uint64_t{cell.in_place} + cell.standby + cell.swapped + cell.unused;
  return cell.pages != 0 && sum <= cell.pages ? std::optional(cell) : std::nullopt;
}

}  // namespace

std::vector<ArenaMap> read_maps(const Snapshot& snapshot) {
  std::vector<ArenaMap> maps;
  if (!snapshot.limited()) return maps;
  const PageFile memory(fmt::format("/proc/{}/mem", snapshot.pid()));
  if (!memory) return maps;
  for (const uint32_t n : snapshot.nodes())
    if (const auto records = read_records(memory, snapshot.node(n))) maps.push_back({n, cells_of(*records)});
  return maps;
}

std::string to_json(const std::vector<ArenaMap>& maps) {
  JsonArray list;
  for (const ArenaMap& map : maps) {
    JsonArray cells;
    for (const MapCell& c : map.cells)
      cells.raw(
          fmt::format("[{},{},{},{},{},{}]", c.pages, c.movable ? 1 : 0, c.in_place, c.standby, c.swapped, c.unused));
    JsonObject o;
    list.raw(o.add("node", uint64_t{map.node}).raw("cells", cells.text()).text());
  }
  return list.text();
}

std::optional<std::vector<ArenaMap>> parse_maps(const JsonValue::Array& maps) {
  std::vector<ArenaMap> all;
  for (const JsonValue& each : maps) {
    const JsonValue* node = each.find("node");
    const auto number = node != nullptr ? count(*node) : std::nullopt;
    if (!number || each.array("cells").size() > kMostCells) return std::nullopt;
    all.push_back({*number, {}});
    for (const JsonValue& cell : each.array("cells")) {
      const auto parsed = parse_cell(cell);
      if (!parsed) return std::nullopt;
      all.back().cells.push_back(*parsed);
    }
  }
  return all;
}

}  // namespace weir::tool
