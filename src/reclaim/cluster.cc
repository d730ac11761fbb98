#include "reclaim/cluster.h"

#include "os/vm.h"

namespace weir {
namespace {

// State becomes accessible in steps that serve 64 MiB of arena: one call for each of the arrays.
constexpr uint64_t kCoverStep = (size_t{64} << 20) / kPageSize;

}  // namespace

bool ClusterMap::init(Pages capacity) {
  const size_t pages = align_up(capacity.v, kCoverStep), clusters = pages / kClusterPages;
  const size_t cluster_bytes = align_up(clusters * sizeof(Cluster), kPageSize);
  const size_t link_bytes = align_up(clusters * sizeof(ClusterLinks), kPageSize);
  const size_t rejected_bytes = align_up(clusters * sizeof(*rejected_), kPageSize);
  bytes_ = cluster_bytes + link_bytes + rejected_bytes + pages * sizeof(SwapEntry);
  memory_ = static_cast<char*>(os::vm_reserve(bytes_));
  if (memory_ == nullptr) return false;
  clusters_ = reinterpret_cast<Cluster*>(memory_);
  links_ = reinterpret_cast<ClusterLinks*>(memory_ + cluster_bytes);
  rejected_ = reinterpret_cast<std::atomic<uint64_t>*>(memory_ + cluster_bytes + link_bytes);
  entries_ = reinterpret_cast<SwapEntry*>(memory_ + cluster_bytes + link_bytes + rejected_bytes);
  return true;
}

void ClusterMap::destroy() {
  if (memory_ != nullptr) os::vm_unmap(memory_, bytes_);
  memory_ = nullptr;
  covered_ = Pages(0);
}

bool ClusterMap::cover(Pages accessible) {
  while (covered_ < accessible) {
    const size_t page = covered_.v, cluster = page / kClusterPages;
    constexpr size_t kClusters = kCoverStep / kClusterPages;
    if (!os::vm_commit(clusters_ + cluster, kClusters * sizeof(Cluster)) ||
        !os::vm_commit(reinterpret_cast<char*>(links_) + align_down(cluster * sizeof(ClusterLinks), kPageSize),
                       kClusters * sizeof(ClusterLinks)) ||
        !os::vm_commit(reinterpret_cast<char*>(rejected_) + align_down(cluster * sizeof(*rejected_), kPageSize),
                       kClusters * sizeof(*rejected_)) ||
        !os::vm_commit(entries_ + page, kCoverStep * sizeof(SwapEntry)))
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
