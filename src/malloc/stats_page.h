// Purpose: the statistics page of the process (include/weir/stats_page.h), with the box for requests behind it
//          (include/weir/control_box.h): makes them, lays them out, and gives a forked child its own.
// Thread safety: map and renew by one thread while nobody else publishes; publish_options by one thread at a time; the
//                rest is constant after map.
// Invariants: it is in one place for the life of the process, so that whoever publishes may keep pointers into it.
//             Without it (no memory, stats_page=0) everything works as with it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.h"
#include "config/options.h"
#include "weir/control_box.h"
#include "weir/stats_page.h"

namespace weir {

class StatsPage {
 public:
  // What the page of a machine with one node takes, and the box, which is not touched before somebody asks.
  static constexpr size_t kBytesOfOneNode = 12 * kPageSize;

  // Makes the page for so many nodes, as a memfd if asked for and to be had; else in `room`, kBytesOfOneNode of zeros
  // that are never given back (or null), if that is enough. `options` are shown there.
  void map(unsigned nr_nodes, bool as_file, void* room, const Options& options);
  // In the child of a fork: makes the page the child's own, by no system call but one that maps memory if that is asked
  // for. True when it is a new one, empty but for its head.
  [[nodiscard]] bool renew(bool quietly);
  // Of the memfd; who takes it closes it. Negative: there is none.
  int take_descriptor();

  // Shows what the options are now.
  void publish_options();

  // Null when there is none.
  weir_stats_page* page() const { return page_; }
  // The same; null also in a child whose page could not be made its own.
  weir_control_box* box() const { return box_; }
  weir_stats_node* node(NodeId node) const;
  weir_stats_slab* slab(NodeId node, unsigned lane, size_t size_class) const;
  // Null also for a row that there is none of.
  weir_stats_heap* heap(uint32_t row) const;

 private:
  void write_head();
  void show_texts();

  weir_stats_page* page_ = nullptr;
  bool shows_texts_ = false;
  weir_control_box* box_ = nullptr;
  const Options* options_ = nullptr;
  size_t bytes_ = 0;
  bool is_file_ = false;
  int fd_ = -1;
  unsigned nr_nodes_ = 0;
  uint64_t start_ns_ = 0;
};

}  // namespace weir
