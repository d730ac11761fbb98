// Purpose: zones of several nodes side by side, and a page source over them, of a test's own.
// Thread safety: as the PageSource.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "mm/page_source.h"
#include "support/private_zone.h"

namespace weir {

class PrivateNodes {
 public:
  static constexpr Pages kCapacity{4 * kMaxOrderPages};

  // Nodes in the bit mask `memoryless` have no zone. Every zonelist has the node itself first, then the others by id.
  PrivateNodes(unsigned nr, unsigned memoryless) : space_(nr, kCapacity, false) {
    source.init(space_[0].memory, bytes_of(kCapacity), nr);
    for (unsigned i = 0; i < nr; ++i) {
      zones_.push_back((memoryless >> i & 1) != 0 ? nullptr : std::make_unique<Zone>());
      const NodeId id(static_cast<uint16_t>(i));
      if (zones_[i] != nullptr) {
        ZoneConfig config;
        config.node = id;
        config.place = space_[i];
        config.managed = kCapacity;
        EXPECT_TRUE(zones_[i]->init(config));
        source.set_zone(id, *zones_[i]);
      }
    }
    for (unsigned i = 0; i < nr; ++i) {
      std::vector<NodeId> order;
      if (zones_[i] != nullptr) order.push_back(NodeId(static_cast<uint16_t>(i)));
      for (unsigned k = 0; k < nr; ++k)
        if (k != i && zones_[k] != nullptr) order.push_back(NodeId(static_cast<uint16_t>(k)));
      source.set_zonelist(NodeId(static_cast<uint16_t>(i)), order);
    }
  }
  char* base() const { return space_[0].memory; }
  Zone& zone(unsigned i) { return *zones_[i]; }
  uint64_t charged(unsigned i) { return zones_[i]->stats().charged.v; }

  PageSource source;

 private:
  PrivateSpace space_;
  std::vector<std::unique_ptr<Zone>> zones_;
};

}  // namespace weir
