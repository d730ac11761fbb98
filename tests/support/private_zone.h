// Purpose: a zone and an arena of a test's own, in space that is given back at the end.
// Thread safety: as the Zone.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "os/vm.h"
#include "page/zone.h"
#include "support/sanitizer.h"

namespace weir {

// Space for `nr` arenas, released at the end.
class PrivateSpace {
 public:
  PrivateSpace(unsigned nr, Pages capacity, bool bare, uint64_t random = 7) : nr_(nr) {
    EXPECT_TRUE(place_arenas(nr, capacity, bare && !kTsan, random, places_));
  }
  ~PrivateSpace() {
    const char* end = places_[0].memory + nr_ * bytes_of(places_[0].capacity);
    // Nobody but this test has anything there.
    if (places_[0].bare) os::vm_unmap(places_[0].metadata, static_cast<size_t>(end - places_[0].metadata));
    release_arenas(nr_, places_[0]);
  }
  PrivateSpace(const PrivateSpace&) = delete;
  PrivateSpace& operator=(const PrivateSpace&) = delete;
  const ArenaPlace& operator[](unsigned i) const { return places_[i]; }

 private:
  unsigned nr_;
  ArenaPlace places_[kMaxNodes];
};

class PrivateZone {
 public:
  // `huge`: where the system gives huge pages unasked, pages become resident that nobody touched; so none by default.
  explicit PrivateZone(Pages capacity, bool bare = true, HugePages huge = HugePages::kNever)
      : space_(1, capacity, bare) {
    ZoneConfig config;
    config.place = space_[0];
    config.managed = capacity;
    config.huge_pages = huge;
    config.watermarks = compute_watermarks(capacity, capacity, 0, 10);
    EXPECT_TRUE(zone_->init(config));
  }
  Zone* operator->() { return zone_.get(); }
  Zone& operator*() { return *zone_; }

  // Null when all counts agree.
  const char* verify() {
    Pages block_pages;
    LockGuard guard(zone_->mutex());
    return zone_->verify_locked(block_pages);
  }
  // Pages that really hold memory.
  Pages resident(Pfn first, Pages count) { return os::vm_resident(zone_->address(first), bytes_of(count)); }

 private:
  PrivateSpace space_;
  std::unique_ptr<Zone> zone_ = std::make_unique<Zone>();
};

}  // namespace weir
