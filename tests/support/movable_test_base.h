// Purpose: what the tests of objects with handles have in common: objects, each of which knows what it has to hold.
// Thread safety: pin, unpin and free as the allocator's; the list of objects is one thread's.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "malloc/allocator.h"
#include "support/random.h"

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

  // What a thread does with objects of its own: makes, looks at and frees them.
  struct Use {
    unsigned steps;
    unsigned most_pages;   // of an object
    size_t most_bytes;     // of all, about
    unsigned makes_of_3;   // of three steps, so many make one
    unsigned free_one_in;  // looks
  };
  void use_objects(unsigned thread, const Use& use) {
    Random random(thread + 1);
    std::vector<Object> own;
    for (size_t i = 0; i < use.steps; ++i) {
      const bool room = own.size() * use.most_pages / 2 * kPageSize < use.most_bytes;
      if (room && (own.empty() || random.below(3) < use.makes_of_3)) {
        const Object object = make((1 + random.below(use.most_pages)) * kPageSize, seed_of((thread + 1) << 24 | i));
        if (object.id) own.push_back(object);
        continue;
      }
      const size_t at = random.below(own.size());
      expect(own[at]);
      if (random.below(use.free_one_in) == 0) remove(own, at);
    }
    for (const Object& object : own) {
      expect(object);
      free(object);
    }
  }

  std::vector<Object> objects_;
};

}  // namespace weir
