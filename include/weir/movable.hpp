// weir/movable.hpp: objects that weir may move (weir/movable.h) for C++17 and later: an array that is freed with its
// owner, and pins that last as long as a scope.
//
// Thread safety: as that of weir/movable.h; an object of these classes is as any object of C++.
// Errors: what runs out of memory throws std::bad_alloc.
#ifndef WEIR_MOVABLE_HPP_
#define WEIR_MOVABLE_HPP_

#include <cstddef>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

#include "weir/movable.h"

namespace weir {
// Names of its own for the linker: the library has classes of these names, too.
inline namespace api {

// While one exists, the object stays where it is. Not to outlive the MovableArray that it is of.
template <class T>
class Pin {
 public:
  explicit Pin(weir_movable_t object) : object_(object), data_(static_cast<T*>(weir_movable_pin(object))) {}
  ~Pin() {
    if (object_ != nullptr) weir_movable_unpin(object_);
  }
  Pin(Pin&& other) noexcept : object_(std::exchange(other.object_, nullptr)), data_(other.data_) {}
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;
  Pin& operator=(Pin&&) = delete;

  T* get() const noexcept { return data_; }
  T& operator*() const noexcept { return *data_; }
  T* operator->() const noexcept { return data_; }
  T& operator[](std::size_t i) const noexcept { return data_[i]; }

 private:
  weir_movable_t object_;
  T* const data_;
};

// Owns an array of `count` values that read as zeros at first. A moved-from one has none. Its values must not mind
// being copied byte by byte, because that is how they move.
template <class T>
class MovableArray {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>, "they are moved as bytes");
  static_assert(alignof(T) <= 4096, "objects begin with a page");

 public:
  explicit MovableArray(std::size_t count) : count_(count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_alloc();
    object_ = weir_movable_alloc(count * sizeof(T));
    if (object_ == nullptr) throw std::bad_alloc();
  }
  ~MovableArray() { weir_movable_free(object_); }
  MovableArray(MovableArray&& other) noexcept
      : object_(std::exchange(other.object_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  MovableArray& operator=(MovableArray&& other) noexcept {
    if (this != &other) {
      weir_movable_free(object_);
      object_ = std::exchange(other.object_, nullptr);
      count_ = std::exchange(other.count_, 0);
    }
    return *this;
  }
  MovableArray(const MovableArray&) = delete;
  MovableArray& operator=(const MovableArray&) = delete;

  // Waits while it is being moved.
  [[nodiscard]] Pin<T> pin() { return Pin<T>(object_); }
  [[nodiscard]] Pin<const T> pin() const { return Pin<const T>(object_); }
  std::size_t size() const noexcept { return count_; }
  weir_movable_t handle() const noexcept { return object_; }

 private:
  weir_movable_t object_ = nullptr;
  std::size_t count_;
};

}  // namespace api
}  // namespace weir
#endif  // WEIR_MOVABLE_HPP_
