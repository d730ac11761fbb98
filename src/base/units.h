// Purpose: the units that weir counts in, as types of their own, so that a count of pages never passes for an order.
// Thread safety: values. Invariants: conversions between units are spelled out; arithmetic stays within one unit.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace weir {

// The page size of x86-64 and of the common arm64 kernels. Larger base pages would need other slab orders too.
inline constexpr unsigned kPageShift = 12;
inline constexpr size_t kPageSize = size_t{1} << kPageShift;

// As in the kernel (MAX_PAGE_ORDER): 4 MiB is the largest block the buddy lists hold; longer runs are made of several.
inline constexpr unsigned kMaxOrder = 10;
inline constexpr unsigned kNrOrders = kMaxOrder + 1;
inline constexpr size_t kMaxOrderPages = size_t{1} << kMaxOrder;

// A pageblock is one huge page of the hardware: 2 MiB.
inline constexpr unsigned kPageblockOrder = 9;
inline constexpr size_t kPageblockPages = size_t{1} << kPageblockOrder;

// Zonelists and per-node tables are arrays of this size. Linux' default limit is 1 << CONFIG_NODES_SHIFT = 1024, but
// machines that are sold stop at 64, and each node takes a stretch of the 47-bit address space.
inline constexpr unsigned kMaxNodes = 64;

// A number with a unit. Explicit to make, compares and adds only with its own kind.
template <class Tag, class Rep>
struct Unit {
  Rep v{};
  constexpr Unit() = default;
  constexpr explicit Unit(Rep value) : v(value) {}
  constexpr auto operator<=>(const Unit&) const = default;
  constexpr Unit operator+(Unit o) const { return Unit(static_cast<Rep>(v + o.v)); }
  constexpr Unit operator-(Unit o) const { return Unit(static_cast<Rep>(v - o.v)); }
  constexpr Unit& operator+=(Unit o) { return *this = *this + o; }
  constexpr Unit& operator-=(Unit o) { return *this = *this - o; }
};

using Pages = Unit<struct PagesTag, uint64_t>;  // a count of 4 KiB pages
using Order = Unit<struct OrderTag, uint8_t>;   // log2 of a block's pages, 0..kMaxOrder
using NodeId = Unit<struct NodeTag, uint16_t>;  // dense index of a NUMA node, 0..kMaxNodes-1

// A page's index within its zone's arena. 32 bits cover 16 TiB.
using Pfn = uint32_t;

constexpr Pages pages_of(size_t bytes) {
  return Pages((bytes >> kPageShift) + ((bytes & (kPageSize - 1)) != 0));
}
constexpr size_t bytes_of(Pages p) {
  return p.v << kPageShift;
}
constexpr Pages pages_of(Order o) {
  return Pages(uint64_t{1} << o.v);
}

constexpr size_t align_up(size_t n, size_t alignment) {
  return (n + alignment - 1) & ~(alignment - 1);
}
constexpr size_t align_down(size_t n, size_t alignment) {
  return n & ~(alignment - 1);
}
constexpr bool is_power_of_two(size_t n) {
  return n != 0 && (n & (n - 1)) == 0;
}

}  // namespace weir
