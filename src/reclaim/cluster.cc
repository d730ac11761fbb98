#include "reclaim/cluster.h"

#include "os/vm.h"

namespace weir {
namespace {

// State becomes accessible in steps that serve 64 MiB of arena: one call for each of the arrays.
constexpr uint64_t kCoverStep = (size_t{64} << 20) / kPageSize;

}  // namespace

bool ClusterMap::init(Pages capacity) {
  const size_t pages = align_up(capacity.v, kCoverStep), clusters = pages / kClusterPages;
  const auto room = [](size_t count, size_t size) { return align_up(count * size, kPageSize); };
  const size_t sizes[] = {room(clusters, sizeof(Cluster)),     room(clusters, sizeof(ClusterLinks)),
                          room(clusters, sizeof(ClusterMore)), room(pages, sizeof(uint16_t)),
                          room(pages, sizeof(uint16_t)),       room(pages, sizeof(SwapEntry))};
  bytes_ = 0;
  for (const size_t size : sizes) bytes_ += size;
  memory_ = static_cast<char*>(os::vm_reserve(bytes_));
  if (memory_ == nullptr) return false;
  char* at = memory_;
  clusters_ = reinterpret_cast<Cluster*>(at);
  links_ = reinterpret_cast<ClusterLinks*>(at += sizes[0]);
  more_ = reinterpret_cast<ClusterMore*>(at += sizes[1]);
  evicted_ = reinterpret_cast<std::atomic<uint16_t>*>(at += sizes[2]);
  owners_ = reinterpret_cast<std::atomic<uint16_t>*>(at += sizes[3]);
  entries_ = reinterpret_cast<SwapEntry*>(at + sizes[4]);
  return true;
}

void ClusterMap::destroy() {
  if (memory_ != nullptr) os::vm_unmap(memory_, bytes_);
  memory_ = nullptr;
  covered_ = Pages(0);
}

// Elements of some arrays end within a page; the page belongs to both steps then.
template <class T>
static bool commit_elements(T* array, size_t first, size_t count) {
  char* from = reinterpret_cast<char*>(array + first);
  char* const start = reinterpret_cast<char*>(align_down(reinterpret_cast<uintptr_t>(from), kPageSize));
  return os::vm_commit(start, align_up(static_cast<size_t>(from - start) + count * sizeof(T), kPageSize));
}

bool ClusterMap::cover(Pages accessible) {
  constexpr size_t kClusters = kCoverStep / kClusterPages;
  while (covered_ < accessible) {
    const size_t page = covered_.v, cluster = page / kClusterPages;
    if (!commit_elements(clusters_, cluster, kClusters) || !commit_elements(links_, cluster, kClusters) ||
        !commit_elements(more_, cluster, kClusters) || !commit_elements(evicted_, page, kCoverStep) ||
        !commit_elements(owners_, page, kCoverStep) || !commit_elements(entries_, page, kCoverStep))
      return false;
    covered_ += Pages(kCoverStep);
  }
  return true;
}

void ClusterList::push(const ClusterMap& map, ClusterId c) {
  ClusterLinks& links = map.links(c);
  links.next[kind_] = kNoCluster;
  links.prev[kind_] = newest_;
  (newest_ != kNoCluster ? map.links(newest_).next[kind_] : oldest_) = c;
  newest_ = c;
  ++size_;
}

void ClusterList::remove(const ClusterMap& map, ClusterId c) {
  const ClusterLinks& links = map.links(c);
  (links.prev[kind_] != kNoCluster ? map.links(links.prev[kind_]).next[kind_] : oldest_) = links.next[kind_];
  (links.next[kind_] != kNoCluster ? map.links(links.next[kind_]).prev[kind_] : newest_) = links.prev[kind_];
  --size_;
}

}  // namespace weir
