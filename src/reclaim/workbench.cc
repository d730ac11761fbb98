#include "reclaim/workbench.h"

#include "base/bitmap.h"
#include "os/vm.h"

namespace weir {

bool Workbench::init() {
  pages = static_cast<char*>(os::vm_map(kClusterBytes));
  return pages != nullptr && compressor.init();
}

bool Workbench::may_start_reads(SwapFiles& files, unsigned file) {
  SwapQueue& queue = queues[file];
  if (!queue.is_open() && !queue.open(files[file])) return false;
  if (read_pages == nullptr) read_pages = static_cast<char*>(os::vm_map(kReadBuffers * kPageSize));
  return queue.asynchronous() && read_pages != nullptr;
}

// The first free buffers that lie side by side, in one word of bits; false: there are none.
bool Workbench::take_buffers(Read& read) {
  for (unsigned word = 0; word < kReadBuffers / 64; ++word) {
    uint64_t fits = ~buffers_taken[word];  // after each round: where one more page is free
    for (unsigned more = 1; more < read.count; ++more) fits &= fits >> 1;
    if (fits == 0) continue;
    const unsigned at = static_cast<unsigned>(std::countr_zero(fits));
    buffers_taken[word] |= bitmap::low_mask(read.count) << at;
    read.buffer = word * 64 + at;
    return true;
  }
  return false;
}

Workbench::Read* Workbench::find_read(const NodeReclaim& node, Pfn pfn) {
  if (nr_reads.load(std::memory_order_relaxed) == 0) return nullptr;
  for (Read& read : reads)
    if (read.node == &node && pfn >= read.pfn && pfn - read.pfn < read.count) return &read;
  return nullptr;
}

void Workbench::end_read(Read& read) {
  buffers_taken[read.buffer / 64] &= ~(bitmap::low_mask(read.count) << read.buffer % 64);
  read.node = nullptr;
  nr_reads.fetch_sub(1);
}

bool Workbench::prepare_read(Read read, SwapEntry first) {
  for (Read& place : reads) {
    if (place.node != nullptr) continue;
    if (!take_buffers(read)) return false;
    place = read;
    nr_reads.fetch_add(1);
    const auto cookie = static_cast<uint64_t>(&place - reads);
    if (queues[first.file()].prepare_read(first.slot(), read.count, buffer_of(place), cookie)) return true;
    end_read(place);
    return false;
  }
  return false;
}

void Workbench::abandon_reads() {
  for (SwapQueue& queue : queues)
    if (queue.is_open()) queue.abandon(false);
  for (Read& read : reads) {
    read.node = nullptr;
    read.stalls = 0;
  }
  // Else whoever is served from now on would never count.
  stalls = false;
  for (uint64_t& word : buffers_taken) word = 0;
  nr_reads.store(0);
}

}  // namespace weir
