// weir/heap.hpp: registered heaps (weir/heap.h) for C++17 and later: a heap that is destroyed with its object, and
// containers whose memory lies in one.
//
// Thread safety: as that of weir/heap.h; an object of these classes is as any object of C++.
// Errors: what runs out of memory, or meets the limit of its heap, throws std::bad_alloc; a heap that cannot be made
// throws std::system_error with the error of weir_heap_create.
//
// A container must be gone before its heap is: destroying a heap takes its objects' memory, but runs no destructors.
// Containers of trivial things may be forgotten instead, which is the fast way to get rid of a million of them.
#ifndef WEIR_HEAP_HPP_
#define WEIR_HEAP_HPP_

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <new>
#include <system_error>
#include <utility>

#include "weir/heap.h"

namespace weir {
// Names of its own for the linker: the library has classes of these names, too.
inline namespace api {

namespace detail {
inline void* allocate(weir_heap_t heap, std::size_t bytes, std::size_t alignment) {
  void* p = alignment <= alignof(std::max_align_t) ? weir_heap_malloc(heap, bytes)
                                                   : weir_heap_aligned_alloc(heap, alignment, bytes);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
}  // namespace detail

// Owns a heap. A moved-from Heap has none, which as a place to allocate means weir_malloc.
class Heap {
 public:
  // `name` null: one is made up. `options`: begin with Heap::options().
  explicit Heap(const char* name = nullptr, const weir_heap_options& options = Heap::options())
      : handle_(weir_heap_create(name, &options)) {
    if (handle_ == nullptr) throw std::system_error(errno, std::generic_category(), "weir_heap_create");
  }
  ~Heap() { reset(); }
  Heap(Heap&& other) noexcept : handle_(other.release()) {}
  Heap& operator=(Heap&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = other.release();
    }
    return *this;
  }
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // What a heap is made with unless something else is said.
  static weir_heap_options options() noexcept {
    weir_heap_options o = WEIR_HEAP_OPTIONS_INIT;
    return o;
  }

  weir_heap_t handle() const noexcept { return handle_; }
  // Gives the heap to the caller, who destroys it with weir_heap_destroy.
  weir_heap_t release() noexcept { return std::exchange(handle_, nullptr); }
  // Destroys it, with all that is in it.
  void reset() noexcept {
    if (handle_ != nullptr) weir_heap_destroy(release());
  }

  // Memory that weir_free releases, from any thread. `alignment`: a power of two.
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) {
    return detail::allocate(handle_, bytes, alignment);
  }
  void deallocate(void* p) noexcept { weir_free(p); }

  // All zero when there is no heap.
  weir_heap_info stats() const noexcept {
    weir_heap_info info = {};
    weir_heap_stats(handle_, &info, sizeof(info));
    return info;
  }
  // Bytes; 0: none.
  void set_limit(std::uint64_t bytes) noexcept { weir_heap_set_limit(handle_, bytes); }
  void set_soft_limit(std::uint64_t bytes) noexcept { weir_heap_set_soft_limit(handle_, bytes); }

 private:
  weir_heap_t handle_;
};

// A std::pmr::memory_resource that allocates in a heap, which must outlive what is allocated; it need not outlive the
// resource. Two of them are equal when their heap is the same.
class HeapResource : public std::pmr::memory_resource {
 public:
  explicit HeapResource(weir_heap_t heap) noexcept : heap_(heap) {}
  explicit HeapResource(const Heap& heap) noexcept : heap_(heap.handle()) {}
  weir_heap_t handle() const noexcept { return heap_; }

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    return detail::allocate(heap_, bytes, alignment);
  }
  void do_deallocate(void* p, std::size_t, std::size_t) override { weir_free(p); }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    const auto* resource = dynamic_cast<const HeapResource*>(&other);
    return resource != nullptr && resource->heap_ == heap_;
  }

  weir_heap_t heap_;
};

// A standard allocator of a heap. Containers that are moved or swapped take their allocator along; a copy is made where
// its original is.
template <class T>
class Allocator {
 public:
  using value_type = T;
  using is_always_equal = std::false_type;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;

  // In no heap.
  Allocator() noexcept = default;
  explicit Allocator(weir_heap_t heap) noexcept : heap_(heap) {}
  explicit Allocator(const Heap& heap) noexcept : heap_(heap.handle()) {}
  template <class U>
  Allocator(const Allocator<U>& other) noexcept : heap_(other.handle()) {}

  [[nodiscard]] T* allocate(std::size_t count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(detail::allocate(heap_, count * sizeof(T), alignof(T)));
  }
  void deallocate(T* p, std::size_t) noexcept { weir_free(p); }

  weir_heap_t handle() const noexcept { return heap_; }
  template <class U>
  bool operator==(const Allocator<U>& other) const noexcept {
    return heap_ == other.handle();
  }
  template <class U>
  bool operator!=(const Allocator<U>& other) const noexcept {
    return heap_ != other.handle();
  }

 private:
  weir_heap_t heap_ = nullptr;
};

}  // namespace api
}  // namespace weir

#endif  // WEIR_HEAP_HPP_
