#include "malloc/heap_report.h"

#include <algorithm>

#include "base/print.h"
#include "malloc/allocator.h"

namespace weir {
namespace {

struct Chunks {
  size_t size = 0;
  uint64_t count = 0;
};

// Classes from the smallest on (0 is none), then orders.
constexpr unsigned kKinds = kNrSizeClasses + kNrOrders;

struct NodeHeap {
  HeapTotals totals;
  Chunks chunks[kKinds];

  void add(unsigned kind, size_t size, uint64_t count) {
    chunks[kind].size = size;
    chunks[kind].count += count;
    totals.free_chunks += count;
    totals.free_bytes += size * count;
  }
};

// Objects first: a slab that comes into being afterwards makes the arena larger, not what is free in it.
NodeHeap count_node(Allocator& allocator, NodeId node) {
  NodeHeap heap;
  uint64_t in_heaps[kNrSizeClasses] = {};
  if (const HeapHooks* hooks = allocator.heaps()) hooks->add_free_objects(hooks->self, node, in_heaps);
  for (unsigned c = 1; c < kNrSizeClasses; ++c)
    heap.add(c, kSizeClasses[c].size, allocator.depots(node).free_objects_estimate(c) + in_heaps[c]);
  const ZoneStats zone = allocator.pages().zone(node).stats();
  for (unsigned o = 0; o < kNrOrders; ++o)
    for (const auto& of_type : zone.buddy.free_blocks) heap.add(kNrSizeClasses + o, kPageSize << o, of_type[o]);
  heap.totals.accessible_bytes = bytes_of(zone.accessible);
  heap.totals.free_resident_bytes = bytes_of(zone.free_resident);
  // A slab that went back between the two counts is in both.
  heap.totals.free_bytes = std::min(heap.totals.free_bytes, heap.totals.accessible_bytes);
  return heap;
}

void add_to(HeapTotals& sum, const HeapTotals& t) {
  sum.accessible_bytes += t.accessible_bytes;
  sum.free_bytes += t.free_bytes;
  sum.free_resident_bytes += t.free_resident_bytes;
  sum.free_chunks += t.free_chunks;
}

// Calls each(number, heap) for every node with memory, and returns the sum.
template <class Each>
HeapTotals for_each_node(Allocator& allocator, Each each) {
  HeapTotals sum;
  for (unsigned n = 0; n < allocator.nr_nodes(); ++n) {
    const NodeId node(static_cast<uint16_t>(n));
    if (!allocator.has_zone(node)) continue;
    const NodeHeap heap = count_node(allocator, node);
    each(n, heap);
    add_to(sum, heap.totals);
  }
  return sum;
}

void put(Line& line, TextSink to) {
  to.write(to.context, line.view());
  line.clear();
}

// glibc's columns.
Line& add_bytes(Line& line, const HeapTotals& t) {
  line.text("system bytes     = ").column(t.accessible_bytes, 10).text("\n");
  return line.text("in use bytes     = ").column(t.in_use_bytes(), 10).text("\n");
}

void put_attribute(Line& line, std::string_view name, uint64_t value) {
  line.text(" ").text(name).text("=\"").dec(value).text("\"");
}

void put_sizes(Line& line, const NodeHeap& heap, TextSink to) {
  put(line.text("<sizes>\n"), to);
  for (const Chunks& c : heap.chunks) {
    if (c.count == 0) continue;
    line.text("  <size");
    put_attribute(line, "from", c.size);
    put_attribute(line, "to", c.size);
    put_attribute(line, "total", c.size * c.count);
    put_attribute(line, "count", c.count);
    put(line.text("/>\n"), to);
  }
  put(line.text("</sizes>\n"), to);
}

void put_total(Line& line, std::string_view type, uint64_t count, size_t size, TextSink to) {
  line.text("<total type=\"").text(type).text("\"");
  put_attribute(line, "count", count);
  put_attribute(line, "size", size);
  put(line.text("/>\n"), to);
}

// What glibc calls system and aspace: arenas grow, and all of them is accessible.
void put_space(Line& line, const HeapTotals& t, TextSink to) {
  for (const char* name :
       {"system type=\"current\"", "system type=\"max\"", "aspace type=\"total\"", "aspace type=\"mprotect\""}) {
    line.text("<").text(name);
    put_attribute(line, "size", t.accessible_bytes);
    put(line.text("/>\n"), to);
  }
}

}  // namespace

HeapTotals heap_totals(Allocator& allocator) {
  return for_each_node(allocator, [](unsigned, const NodeHeap&) {});
}

void write_heap_stats(Allocator& allocator, TextSink to) {
  Line line;
  const HeapTotals sum = for_each_node(allocator, [&](unsigned n, const NodeHeap& heap) {
    line.text("Arena ").dec(n).text(":\n");
    put(add_bytes(line, heap.totals), to);
  });
  add_bytes(line.text("Total (incl. mmap):\n"), sum);
  // Nothing is mapped outside the arenas.
  line.text("max mmap regions = ").column(uint64_t{0}, 10).text("\n");
  put(line.text("max mmap bytes   = ").column(uint64_t{0}, 10).text("\n"), to);
}

void write_heap_info(Allocator& allocator, TextSink to) {
  Line line;
  put(line.text("<malloc version=\"1\">\n"), to);
  const HeapTotals sum = for_each_node(allocator, [&](unsigned n, const NodeHeap& heap) {
    put(line.text("<heap nr=\"").dec(n).text("\">\n"), to);
    put_sizes(line, heap, to);
    put_total(line, "fast", 0, 0, to);
    put_total(line, "rest", heap.totals.free_chunks, heap.totals.free_bytes, to);
    put_space(line, heap.totals, to);
    put(line.text("</heap>\n"), to);
  });
  put_total(line, "fast", 0, 0, to);
  put_total(line, "rest", sum.free_chunks, sum.free_bytes, to);
  put_total(line, "mmap", 0, 0, to);
  put_space(line, sum, to);
  put(line.text("</malloc>\n"), to);
}

}  // namespace weir
