// Purpose: a simple model of a heap (a map of live blocks, each with its content) that random operations on a private
//          allocator are compared with. Finds: overlaps, lost or foreign content, sizes and alignments too small,
//          calloc that is not zero, pointers refused that are right.
// Thread safety: none. Invariants: every mistake ends in failed(), whose text says what and where.
#pragma once

#include <map>
#include <string>

#include "support/pattern.h"
#include "support/private_allocator.h"

namespace weir {

class HeapModel {
 public:
  explicit HeapModel(PrivateAllocator& a) : a_(a) {}

  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }
  size_t live() const { return live_.size(); }
  size_t live_bytes() const { return live_bytes_; }

  enum class Kind { kMalloc, kCalloc, kMemalign };
  // `alignment` for kMemalign. A null result is no mistake.
  void allocate(ThreadCache* cache, Kind kind, size_t size, size_t alignment, uint64_t seed) {
    void* p = kind == Kind::kMalloc   ? a_.malloc(cache, size)
              : kind == Kind::kCalloc ? a_.calloc(cache, size)
                                      : a_.memalign(cache, alignment, size);
    if (p == nullptr) return;
    if (kind == Kind::kCalloc && !is_zeroed(p, size)) return fail("calloc is not zero", p, size);
    if (kind == Kind::kMemalign && reinterpret_cast<uintptr_t>(p) % alignment != 0)
      return fail("misaligned", p, alignment);
    adopt(p, size, seed);
  }

  // The live block whose address is the first above `where` (a fraction of the live ones), freed.
  void release(ThreadCache* cache, uint64_t where) {
    if (live_.empty()) return;
    const auto at = pick(where);
    const auto [p, block] = *at;
    forget(at);
    if (!intact(p, block, block.size)) return;
    if (a_.free(cache, p).misuse != Misuse::kNone) fail("free refused", p, block.size);
  }

  void resize(ThreadCache* cache, uint64_t where, size_t size, uint64_t seed) {
    if (live_.empty() || size == 0) return;
    const auto at = pick(where);
    const auto [p, block] = *at;
    forget(at);
    if (!intact(p, block, block.size)) return;
    void* q = a_.realloc(cache, p, size);
    if (q == nullptr) {
      insert(p, block);
      return;
    }
    Block moved = block;
    if (!intact(q, moved, size < block.size ? size : block.size)) return;
    adopt(q, size, seed);
  }

  void release_all(ThreadCache* cache) {
    while (!live_.empty() && !failed()) release(cache, 0);
  }

  void expect_verified() {
    if (const char* wrong = a_->verify()) failure_ = wrong;
  }

 private:
  struct Block {
    size_t size = 0;
    size_t usable = 0;
    uint64_t seed = 0;
  };
  using Live = std::map<char*, Block>;

  Live::iterator pick(uint64_t where) {
    // Any key order will do: addresses of live blocks, entered at a pseudo-random one.
    if (live_.size() == 1) return live_.begin();
    char* low = live_.begin()->first;
    const size_t span = static_cast<size_t>(live_.rbegin()->first - low);
    const auto at = live_.lower_bound(low + where % (span + 1));
    return at == live_.end() ? live_.begin() : at;
  }

  // Zero pages that were never touched would be touched by looking at all of a large block; its pattern places do.
  static bool is_zeroed(const void* p, size_t size) {
    return for_pattern(size, [&](size_t at) {
      uint64_t word;
      memcpy(&word, static_cast<const char*>(p) + at, sizeof(word));
      return word == 0;
    });
  }

  bool intact(void* p, const Block& block, size_t size) {
    if (!check_pattern(p, size, block.size, block.seed)) fail("content changed", p, block.size);
    return !failed();
  }

  void adopt(void* p, size_t size, uint64_t seed) {
    Block block{size, a_->usable_size(p), seed};
    if (block.usable < size) return fail("usable size too small", p, size);
    if (reinterpret_cast<uintptr_t>(p) % kMinAlignment != 0) return fail("misaligned", p, size);
    char* at = static_cast<char*>(p);
    const auto next = live_.lower_bound(at);
    if (next != live_.end() && at + block.usable > next->first) return fail("overlaps the next block", p, size);
    if (next != live_.begin() && std::prev(next)->first + std::prev(next)->second.usable > at)
      return fail("overlaps the block before", p, size);
    write_pattern(p, size, seed);
    insert(at, block);
  }

  void insert(char* p, const Block& block) {
    live_[p] = block;
    live_bytes_ += block.usable;
  }
  void forget(Live::iterator at) {
    live_bytes_ -= at->second.usable;
    live_.erase(at);
  }
  void fail(const char* what, const void* p, size_t size) {
    if (failed()) return;
    Line line;
    line.text(what).text(": ").pointer(p).text(", ").dec(size).text(" bytes");
    failure_ = line.view();
  }

  PrivateAllocator& a_;
  Live live_;
  size_t live_bytes_ = 0;
  std::string failure_;
};

}  // namespace weir
