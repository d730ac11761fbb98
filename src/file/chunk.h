// Purpose: mapped file pages as they age: 64 of them at a time (a chunk), on lists by how long ago they were found.
// Thread safety: none; FilePages locks.
// Invariants: a chunk is on the list that its state names, or on none; a list's pages are the sum of its chunks'.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.h"

namespace weir {

// As many as a cluster has: a call for each costs 0.05 us a page, and what is hot in between comes back by itself.
inline constexpr unsigned kChunkPages = 64;
inline constexpr size_t kChunkBytes = kChunkPages * kPageSize;

enum class ChunkState : uint8_t {
  kAway,      // nothing of it was mapped when it was looked at last, or it was dropped since
  kInactive,  // some of it was
  kActive,    // and came back soon after it had been dropped
  kRefused,   // the kernel does not drop it (mlock), or it is not only the file's
};

struct FileChunk {
  FileChunk* newer;
  FileChunk* older;
  uintptr_t number;    // address / kChunkBytes
  uint64_t left_at;    // kAway: how many pages had been dropped before it; 0: never was. kRefused: until when, in ms
  uint32_t looked_at;  // the number of the look that found something; kAway: of the last one before it was dropped
  uint16_t pages;      // that were mapped then
  ChunkState state;
  bool refaulted;  // at that look
  bool at_once;    // and had been there at the one before
};

class ChunkList {
 public:
  Pages pages() const { return Pages(pages_); }
  FileChunk* oldest() const { return oldest_; }

  void push(FileChunk& chunk) {
    chunk.older = newest_;
    chunk.newer = nullptr;
    (newest_ != nullptr ? newest_->newer : oldest_) = &chunk;
    newest_ = &chunk;
    pages_ += chunk.pages;
  }
  void remove(FileChunk& chunk) {
    (chunk.older != nullptr ? chunk.older->newer : oldest_) = chunk.newer;
    (chunk.newer != nullptr ? chunk.newer->older : newest_) = chunk.older;
    pages_ -= chunk.pages;
  }
  // `to` takes the place of `from`, with what it says.
  void replace(const FileChunk& from, FileChunk& to) {
    to = from;
    (to.older != nullptr ? to.older->newer : oldest_) = &to;
    (to.newer != nullptr ? to.newer->older : newest_) = &to;
  }
  void resize(FileChunk& chunk, uint16_t pages) {
    pages_ += pages;
    pages_ -= chunk.pages;
    chunk.pages = pages;
  }

 private:
  FileChunk* newest_ = nullptr;
  FileChunk* oldest_ = nullptr;
  uint64_t pages_ = 0;
};

}  // namespace weir
