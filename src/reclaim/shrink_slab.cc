#include "reclaim/shrink_slab.h"

namespace weir {
namespace {

// So that four times as many fit into 64 bits.
constexpr uint64_t kMostObjects = uint64_t{1} << 60;

uint64_t least(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

// What the cache's size and the need come to, without what was deferred.
uint64_t fair_share(const ShrinkOps& ops, uint64_t freeable, unsigned priority) {
  // Objects that cost nothing to make again are let go readily.
  if (ops.seeks == 0) return freeable / 2;
  return (freeable >> priority) * 4 / ops.seeks;
}

}  // namespace

ShrinkResult do_shrink_slab(const ShrinkOps& ops, uint64_t& deferred, unsigned priority, std::atomic<uint32_t>& beat,
                            const std::atomic<bool>& stop) {
  ShrinkResult result;
  const size_t counted = ops.count(ops.arg);
  beat.fetch_add(1, std::memory_order_relaxed);
  if (counted == 0 || counted == kShrinkStop) return result;
  const uint64_t freeable = least(counted, kMostObjects);
  const uint64_t batch = ops.batch != 0 ? ops.batch : kShrinkBatch;
  const uint64_t share = fair_share(ops, freeable, priority);
  uint64_t total = least((deferred >> priority) + share, 2 * freeable);
  // Less than a batch is not worth a call, unless it is all there is: then memory is so short that all of it is wanted.
  while ((total >= batch || total >= freeable) && !stop.load(std::memory_order_relaxed)) {
    const uint64_t now = least(batch, total);
    const size_t freed = ops.scan(ops.arg, now);
    beat.fetch_add(1, std::memory_order_relaxed);
    if (freed == kShrinkStop) break;
    result.freed += freed;
    result.scanned += now;
    total -= now;
  }
  const uint64_t wanted = deferred + share;
  deferred = least(wanted > result.scanned ? wanted - result.scanned : 0, 2 * freeable);
  return result;
}

}  // namespace weir
