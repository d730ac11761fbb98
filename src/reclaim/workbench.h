// Purpose: what each thread of weir's own works with: buffers, a compressor, and what it has under way, which are pages
//          that leave together (Lift) and reads of swap files.
// Thread safety: a bench belongs to one thread; what others look at is atomic.
// Invariants: the pages of a read and of a lift are claimed, and stay so until they were dealt with.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "os/page_refs.h"
#include "page/zone.h"
#include "reclaim/cluster.h"
#include "swap/compressor.h"
#include "swap/swap_files.h"
#include "swap/swap_queue.h"

namespace weir {

class NodeReclaim;
class Waker;

// Pages that were lifted from their addresses, or are dropped in place, and whose fate is decided together (lift.cc).
// They are claimed, and their clusters owned, until then.
struct Lift {
  // 2 MiB of addresses, of which one call gives all memory back.
  static constexpr unsigned kClusters = 8;
  // In place. Of what is hardly used, four pages of a cluster are there at a time.
  static constexpr unsigned kMostClusters = 32;
  // Who touches one of them waits for the whole batch: half a millisecond for compressing so many, next to which the
  // interrupts that a batch costs are little. (With 192, random touches are no faster.)
  static constexpr unsigned kMostPages = 128;
  // Each has at least a page, and the last cluster to join may bring some too many.
  static constexpr unsigned kMostRanges = kMostPages + kClusterPages;
  // What a pipe may hold that anybody may have (pipe-max-size).
  static_assert(kMostRanges <= 256);
  // Clusters without memory that may lie between two that are dropped by one call, as many as a page table maps: each
  // costs a look at its entries of the table.
  static constexpr ClusterId kMostGap = kClustersPerPageblock;
  struct Cluster {
    ClusterId id;
    uint64_t seen;     // pages that are at its addresses here
    uint64_t wanted;   // of these, those that are to leave their addresses; the others lay between them
    uint64_t at_once;  // of those, the ones that are compressed at once; the others go to Standby
    uint64_t missed;   // those whose absence is a fault of the evictor's
  };
  // Where the copies of a cluster's pages begin, one page behind the other.
  struct Copies {
    char* content;
    char* before;
  };
  Cluster clusters[kMostClusters];
  uint64_t starts[kClusters] = {};  // of each: where the runs begin that were lifted by one call, each a mapping
  unsigned count = 0;
  unsigned pages = 0;
  unsigned refused = 0;     // of these, pages that are pinned or shared
  char* memory = nullptr;   // the addresses to which pages are lifted
  char* content = nullptr;  // copies of the pages
  char* before = nullptr;   // those made before the kernel might drop them
  bool in_place = false;    // the pages stay where they are (drop_in_place.cc)
  // Open in the thread that may have that done, which does nothing but evict.
  os::PageRefs refs;
  uint32_t thread = 0;
  std::atomic<char*> refill_from{nullptr};  // copies of pages that the evictor misses; null: they are zeros

  // Maps what a batch needs, if that was not done before; false: there is no room.
  [[nodiscard]] bool prepare();
  // The addresses alone, which in place only a page needs that cannot be written.
  [[nodiscard]] bool map_addresses();
  // Where the copy of a cluster's page is among those that begin at `content`: behind those of the pages before it.
  static char* copy_of(char* content, uint64_t seen, unsigned page) {
    return content + static_cast<unsigned>(std::popcount(seen & ((uint64_t{1} << page) - 1))) * kPageSize;
  }
  char* address(unsigned n, unsigned page) const { return memory + n * kClusterBytes + page * kPageSize; }
  unsigned most_clusters() const { return in_place ? kMostClusters : kClusters; }
  bool is_full() const { return count == most_clusters() || pages >= kMostPages; }
  void clear() { count = pages = refused = 0; }
};

// What one thread of weir's own works with.
struct Workbench {
  // Threads that read or write one page after the other; as many as one handler is likely to serve at a time.
  static constexpr unsigned kStreams = 8;
  struct Stream {
    uint32_t node = 0;
    Pfn next = kNoPfn;    // the first page behind what was brought in last that is not there
    unsigned window = 1;  // pages that were to be brought in
    unsigned ahead = 0;   // of those that were, pages that had been swapped and that nobody had asked for
    uint32_t looked = 0;  // when it was begun or gone on with, in faults
  };

  // Reads of the swap files that are under way, each of slots that lie side by side; their pages stay busy.
  static constexpr unsigned kReads = SwapQueue::kDepth;
  static constexpr unsigned kReadPages = 32;  // the most that come back together
  // Pages of buffers: eight threads may go through memory of their own one page after the other.
  static constexpr unsigned kReadBuffers = 8 * kReadPages;
  struct Read {
    NodeReclaim* node = nullptr;  // null: free
    Pfn pfn = 0;
    unsigned count = 0;
    unsigned buffer = 0;  // the first page of it
    bool write = false;   // the touch of the first page was one
    bool ahead = false;   // nobody had touched the first page
    unsigned stalls = 0;  // threads that wait for it and count as stalled
  };

  Compressor compressor;
  char* pages = nullptr;  // kClusterPages pages of buffer
  Lift lift;
  char* read_pages = nullptr;  // kReadBuffers pages
  uint64_t buffers_taken[kReadBuffers / 64] = {};
  // Only one thread faults here at present. It waits for what it touched whatever happens, so that a read that waits
  // too holds up nobody, and is faster than one that is told of later.
  bool alone = false;
  Waker* waker = nullptr;       // who wakes threads whose pages have come; null: whoever brings them
  unsigned files_in_a_row = 0;  // pages that faults read from a swap file, since one was decompressed
  bool stalls = false;          // the thread that is served now counts as stalled
  Read reads[kReads];
  std::atomic<uint32_t> nr_reads{0};
  SwapQueue queues[SwapFiles::kMost];
  Stream streams[kStreams];
  uint32_t nr_looks = 0;
  // What could not be finished while the process was forking, because its lock was held.
  SwapEntry late_drops[kClusterPages];
  NodeReclaim* late_drop_node[kClusterPages];
  ClusterId late_lists[kClusterPages];
  NodeReclaim* late_list_node[kClusterPages];
  // Handlers go on while the process forks, and the child sees what they wrote up to some moment: one is in the list
  // before it is counted, and counted no more before it is dropped, so that nothing is dropped there a second time.
  std::atomic<unsigned> nr_late_drops{0};
  unsigned nr_late_lists = 0;

  [[nodiscard]] bool init();
  // Whether pages of that file can be read while others are served.
  [[nodiscard]] bool may_start_reads(SwapFiles& files, unsigned file);
  // Prepares a read, where that is so, of `read.count` pages whose slots lie side by side from `first` on; submit_reads
  // starts all that were prepared. False: too much is under way.
  [[nodiscard]] bool prepare_read(Read read, SwapEntry first);
  void submit_reads(unsigned file) { queues[file].submit(); }
  char* buffer_of(const Read& read) { return read_pages + read.buffer * kPageSize; }
  // The read that is under way of this page; null: none is.
  Read* find_read(const NodeReclaim& node, Pfn pfn);
  // Its place and its buffers are free again.
  void end_read(Read& read);
  // In the child of a fork: what was under way is the parent's.
  void abandon_reads();

 private:
  bool take_buffers(Read& read);
};

}  // namespace weir
