#include "snapshot.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "failure.h"
#include "page_reader.h"
#include "procfs.h"

namespace weir::tool {
namespace {

// Calls visit(name, i) for each of a list of names, until it returns false. Names each end with a NUL; a page may have
// been damaged by the process itself.
template <class Visit>
void for_names(const char* names, size_t room, uint32_t count, Visit visit) {
  for (uint32_t i = 0; i < count; ++i) {
    const size_t length = strnlen(names, room);
    if (length == room || length == 0 || !visit(std::string_view(names, length), i)) break;
    names += length + 1;
    room -= length + 1;
  }
}

std::vector<Snapshot::Counter> named(const char* names, size_t room, const uint64_t* values, uint32_t count) {
  std::vector<Snapshot::Counter> all;
  for_names(names, room, count, [&](std::string_view name, uint32_t i) {
    all.push_back({std::string(name), values[i]});
    return true;
  });
  return all;
}

constexpr uint32_t kNoCounter = ~uint32_t{0};

// Looked for in the page, because whoever watches a process wants a dozen, ten times a second.
uint32_t position(const char* names, size_t room, uint32_t count, std::string_view wanted) {
  uint32_t found = kNoCounter;
  for_names(names, room, count, [&](std::string_view name, uint32_t i) {
    if (name == wanted) found = i;
    return found == kNoCounter;
  });
  return found;
}

}  // namespace

Snapshot::Snapshot(pid_t pid) : pid_(pid) {
  PageReader reader(pid);
  *this = Snapshot(reader);
}

Snapshot::Snapshot(PageReader& reader) : pid_(reader.pid()) {
  PageCopy copy = reader.read();
  if (copy.status != PageStatus::kRead)
    throw Failure(kNoStats, fmt::format("process {}: {}", pid_, describe(copy.status)));
  words_ = std::move(copy.words);
}

std::vector<uint32_t> Snapshot::nodes() const {
  std::vector<uint32_t> all;
  for (uint32_t n = 0; n < page().nr_nodes; ++n)
    if (node(n).present_node != 0) all.push_back(n);
  return all;
}

std::vector<weir_stats_heap> Snapshot::heaps() const {
  std::vector<weir_stats_heap> all;
  for (uint32_t row = 0; row < page().nr_heap_rows; ++row) {
    weir_stats_heap heap = *weir_stats_heap_at(&page(), row);
    if (heap.id == 0 || heap.id != heap.id_again) continue;
    heap.name[sizeof(heap.name) - 1] = '\0';
    all.push_back(heap);
  }
  return all;
}

std::string Snapshot::mode() const {
  if (!limited()) return "none";
  return page().mode == WEIR_STATS_SWAP ? "swap" : page().mode == WEIR_STATS_PAGEOUT ? "pageout" : "purge";
}

std::string Snapshot::swap_path() const {
  const char* path = reinterpret_cast<const char*>(&page()) + page().swap_path_offset;
  return {path, strnlen(path, WEIR_STATS_PATH)};
}

std::string Snapshot::option_text(std::string_view name) const {
  if (page().text_offset == 0) return {};
  const char* at = reinterpret_cast<const char*>(&page()) + page().text_offset;
  const char* const end = at + WEIR_STATS_TEXTS;
  const auto next = [&] {
    const std::string_view word(at, strnlen(at, static_cast<size_t>(end - at)));
    at += std::min<size_t>(word.size() + 1, static_cast<size_t>(end - at));
    return word;
  };
  for (;;) {
    const std::string_view key = next(), value = next();
    if (key.empty()) return {};
    if (key == name) return std::string(value);
  }
}

uint64_t Snapshot::used(uint32_t n) const {
  const weir_stats_node& each = node(n);
  const uint64_t counted = each.resident - std::min(each.resident, each.free_resident);
  return std::min(each.managed, limited() ? counted : each.charged);
}

uint64_t Snapshot::sum(uint64_t weir_stats_node::*field) const {
  uint64_t total = 0;
  for (const uint32_t n : nodes()) total += node(n).*field;
  return total;
}

uint64_t Snapshot::used() const {
  uint64_t total = 0;
  for (const uint32_t n : nodes()) total += used(n);
  return total;
}

std::vector<Snapshot::Counter> Snapshot::counters(uint32_t n) const {
  const weir_stats_page& p = page();
  return named(p.node_counter_names, sizeof(p.node_counter_names), node(n).counters, p.nr_node_counters);
}

std::vector<Snapshot::Counter> Snapshot::counters() const {
  const weir_stats_page& p = page();
  std::vector<Counter> all;
  for (const uint32_t n : nodes()) {
    const auto here = counters(n);
    for (size_t i = 0; i < here.size(); ++i) {
      if (i == all.size()) all.push_back({here[i].name, 0});
      all[i].value += here[i].value;
    }
  }
  for (auto& each : named(p.counter_names, sizeof(p.counter_names), p.counters, p.nr_counters))
    all.push_back(std::move(each));
  return all;
}

uint64_t Snapshot::counter(uint32_t n, std::string_view name) const {
  const weir_stats_page& p = page();
  const uint32_t at = position(p.node_counter_names, sizeof(p.node_counter_names), p.nr_node_counters, name);
  return at != kNoCounter ? node(n).counters[at] : 0;
}

uint64_t Snapshot::counter(std::string_view name) const {
  const weir_stats_page& p = page();
  const uint32_t at = position(p.node_counter_names, sizeof(p.node_counter_names), p.nr_node_counters, name);
  if (at == kNoCounter) {
    const uint32_t own = position(p.counter_names, sizeof(p.counter_names), p.nr_counters, name);
    return own != kNoCounter ? p.counters[own] : 0;
  }
  uint64_t total = 0;
  for (const uint32_t n : nodes()) total += node(n).counters[at];
  return total;
}

Snapshot::Slabs Snapshot::slabs(uint32_t n, uint32_t size_class) const {
  Slabs sum = {};
  uint64_t free = 0;
  for (uint32_t lane = 0; lane < page().nr_lanes; ++lane) {
    const weir_stats_slab& s = *weir_stats_slab_at(&page(), n, lane, size_class);
    if (s.slabs == 0) continue;
    sum = {s.object_size, s.objects_per_slab, s.pages_per_slab, sum.slabs + s.slabs, 0, 0};
    free += s.free_objects;
  }
  sum.objects = sum.slabs * sum.objects_per_slab;
  sum.active = sum.objects - std::min(sum.objects, free);
  return sum;
}

std::vector<Snapshot::Slabs> Snapshot::slabs(uint32_t n) const {
  std::vector<Slabs> all;
  for (uint32_t c = 0; c < page().nr_classes; ++c)
    if (const Slabs s = slabs(n, c); s.slabs != 0) all.push_back(s);
  return all;
}

std::vector<Snapshot::Slabs> Snapshot::slabs() const {
  std::vector<Slabs> all;
  for (const uint32_t n : nodes()) {
    for (const Slabs& s : slabs(n)) {
      const auto same =
          std::find_if(all.begin(), all.end(), [&](const Slabs& a) { return a.object_size == s.object_size; });
      if (same == all.end()) {
        all.push_back(s);
        continue;
      }
      same->slabs += s.slabs;
      same->objects += s.objects;
      same->active += s.active;
    }
  }
  std::sort(all.begin(), all.end(), [](const Slabs& a, const Slabs& b) { return a.object_size < b.object_size; });
  return all;
}

std::vector<Snapshot> all_snapshots() {
  std::vector<Snapshot> all;
  for (const pid_t pid : all_processes()) {
    if (pid == getpid()) continue;
    PageCopy copy = read_page(pid);
    if (copy.status == PageStatus::kRead) all.emplace_back(pid, std::move(copy.words));
  }
  return all;
}

pid_t choose_process(pid_t pid) {
  if (pid != 0) return pid;
  std::vector<pid_t> found;
  std::string list;
  for (const Snapshot& each : all_snapshots()) {
    if (!is_own(each.pid())) continue;
    found.push_back(each.pid());
    list += fmt::format("{}{} ({})", list.empty() ? "" : ", ", each.pid(), command_of(each.pid()));
  }
  if (found.size() == 1) return found[0];
  if (found.empty()) throw Failure(kNoStats, "none of your processes is on weir; name one by its PID");
  throw Failure(kUsage, fmt::format("{} of your processes are on weir; name one by its PID: {}", found.size(), list));
}

}  // namespace weir::tool
