// Purpose: what the tests of objects with handles have in common: objects, each of which knows what it has to hold.
// Thread safety: pin, unpin and free as the allocator's; the list of objects is one thread's.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "malloc/allocator.h"

namespace weir {

class MovableTestBase : public testing::Test {
 protected:
  struct Object {
    MovableId id;
    size_t bytes;
    uint64_t seed;
  };

  virtual Allocator& allocator() = 0;
  // The seed of the object of that number, and the content that belongs to a seed.
  virtual uint64_t seed_of(size_t number) = 0;
  virtual void write(char* to, size_t bytes, uint64_t seed) = 0;
  virtual bool holds(const char* from, size_t bytes, uint64_t seed) = 0;

  Compactor& compactor() { return *allocator().compactor(); }
  char* pin(const Object& object) {
    char* address = nullptr;
    EXPECT_EQ(compactor().table().pin(object.id, address), MovableCall::kDone);
    return address;
  }
  void unpin(const Object& object) { EXPECT_EQ(compactor().table().unpin(object.id), MovableCall::kDone); }
  void free(const Object& object) { ASSERT_EQ(allocator().free_movable(object.id), MovableCall::kDone); }

  // An object with content; without an id there is no memory.
  Object make(size_t bytes, uint64_t seed) {
    const Object object = {allocator().alloc_movable(bytes), bytes, seed};
    if (!object.id) return object;
    write(pin(object), bytes, seed);
    unpin(object);
    return object;
  }
  void expect(const Object& object) {
    ASSERT_TRUE(holds(pin(object), object.bytes, object.seed)) << object.seed;
    unpin(object);
  }

  // One more of them. False: no memory.
  bool add(size_t bytes) {
    const Object object = make(bytes, seed_of(objects_.size() + 1));
    if (object.id) objects_.push_back(object);
    return object.id ? true : false;
  }
  void remove(std::vector<Object>& from, size_t i) {
    free(from[i]);
    from[i] = from.back();
    from.pop_back();
  }
  void remove_every_other() {
    std::vector<Object> kept;
    for (size_t i = 0; i < objects_.size(); ++i) i % 2 == 0 ? kept.push_back(objects_[i]) : free(objects_[i]);
    objects_ = kept;
  }
  void expect_content() {
    for (const Object& object : objects_) expect(object);
  }

  std::vector<Object> objects_;
};

}  // namespace weir
