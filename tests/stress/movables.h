// Purpose: what one thread of a stress test has of objects that may be moved: it makes, reads, changes and frees them,
//          keeps some pinned for a while, and checks content and place whenever it looks.
// Thread safety: one thread; in the child of a fork, the one that forked. `failed` does not return.
#pragma once

#include <vector>

#include "support/page_content.h"
#include "support/private_allocator.h"
#include "support/random.h"

namespace weir {

class Movables {
 public:
  using Failed = void (*)(const char* what, const void* p, size_t size);
  // At most so many bytes at a time.
  Movables(Allocator& a, uint64_t seed, size_t most, Failed failed)
      : a_(a), random_(seed), most_(most), failed_(failed) {}

  void step() {
    const uint64_t what = random_.below(8);
    if (objects_.empty() || (what < 3 && bytes_ < most_)) return make();
    std::swap(objects_[random_.below(objects_.size())], objects_.back());
    Object& object = objects_.back();
    if (what < 5)
      check(object);
    else if (what < 6)
      rewrite(object);
    else if (what < 7)
      object.pinned != nullptr ? unpin(object) : static_cast<void>(object.pinned = pin(object));
    else
      free_last();
  }
  void check_all() {
    for (const Object& object : objects_) check(object);
  }
  void free_all() {
    while (!objects_.empty()) free_last();
  }

 private:
  struct Object {
    MovableId id;
    size_t bytes;
    uint64_t seed;
    char* pinned = nullptr;
  };

  MovableTable& table() { return a_.compactor()->table(); }
  uint64_t new_seed() { return content_seed(random_.next(), Content::kCompressible); }

  char* pin(const Object& object) {
    char* p = nullptr;
    if (table().pin(object.id, p) != MovableCall::kDone) failed_("an object cannot be pinned", nullptr, object.bytes);
    return p;
  }
  void unpin_once(const Object& object) {
    if (table().unpin(object.id) != MovableCall::kDone) failed_("an object cannot be unpinned", nullptr, object.bytes);
  }
  void unpin(Object& object) {
    unpin_once(object);
    object.pinned = nullptr;
  }
  void make() {
    // Now and then one that is charged by touch.
    const size_t pages =
        random_.below(300) == 0 ? Reclaimer::kWatchedRun : 1 + random_.below(random_.below(4) == 0 ? 90 : 8);
    Object object = {{}, pages * kPageSize - random_.below(kPageSize), new_seed()};
    object.id = a_.alloc_movable(object.bytes);
    if (!object.id) return;
    char* const p = pin(object);
    if (!is_zero(p, object.bytes)) failed_("a new object is not zero", p, object.bytes);
    write_content(p, object.bytes, object.seed);
    unpin_once(object);
    bytes_ += object.bytes;
    objects_.push_back(object);
  }
  void check(const Object& object) {
    const char* const p = pin(object);
    if (object.pinned != nullptr && object.pinned != p) failed_("a pinned object moved", p, object.bytes);
    if (!check_content_at(p, 0, object.bytes, object.seed)) failed_("an object changed", p, object.bytes);
    unpin_once(object);
  }
  void rewrite(Object& object) {
    object.seed = new_seed();
    write_content(pin(object), object.bytes, object.seed);
    unpin_once(object);
  }
  void free_last() {
    Object object = objects_.back();
    objects_.pop_back();
    bytes_ -= object.bytes;
    if (object.pinned != nullptr) unpin(object);
    if (a_.free_movable(object.id) != MovableCall::kDone) failed_("an object cannot be freed", nullptr, object.bytes);
  }

  Allocator& a_;
  Random random_;
  const size_t most_;
  const Failed failed_;
  std::vector<Object> objects_;
  size_t bytes_ = 0;
};

}  // namespace weir
