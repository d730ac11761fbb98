// heap_hpp_test.cc: the classes of heap.hpp.
#include "weir/heap.hpp"

#include <gtest/gtest.h>

#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <string>
#include <unordered_map>
#include <vector>

#include "support/sanitizer.h"

namespace {

class HeapHpp : public testing::Test {
 protected:
  void SetUp() override {
    if (weir::kTsan) GTEST_SKIP() << "a process's own arenas are bare, where the sanitizer has no shadow";
  }
};

TEST_F(HeapHpp, OwnsItsHeap) {
  weir_heap_t handle;
  {
    weir::Heap heap("owned");
    handle = heap.handle();
    EXPECT_EQ(weir_heap_find("owned"), handle);
    weir::Heap moved(std::move(heap));
    EXPECT_EQ(heap.handle(), nullptr);
    EXPECT_EQ(moved.handle(), handle);
    weir::Heap other;
    const weir_heap_t others = other.handle();
    other = std::move(moved);
    EXPECT_EQ(other.handle(), handle);
    EXPECT_EQ(weir_heap_set_limit(others, 0), EINVAL) << "destroyed by the assignment";
    void* p = other.allocate(100, 256);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 256, 0u);
    EXPECT_EQ(weir_heap_of(p), handle);
    other.deallocate(p);
    EXPECT_EQ(other.stats().objects, 0u);
  }
  EXPECT_EQ(weir_heap_find("owned"), nullptr);
  EXPECT_EQ(weir_heap_set_limit(handle, 0), EINVAL);
}

TEST_F(HeapHpp, ErrorsAreThrown) {
  weir::Heap heap("taken");
  try {
    weir::Heap second("taken");
    FAIL() << "two of one name";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::file_exists);
  }
  heap.set_limit(1 << 20);
  EXPECT_THROW(static_cast<void>(heap.allocate(2 << 20)), std::bad_alloc);
  weir::Allocator<int> allocator(heap);
  EXPECT_THROW(static_cast<void>(allocator.allocate(SIZE_MAX / 2)), std::bad_array_new_length);
  EXPECT_THROW(static_cast<void>(allocator.allocate(1 << 20)), std::bad_alloc);
  std::vector<int, weir::Allocator<int>> numbers(allocator);
  EXPECT_THROW(for (int i = 0;; ++i) numbers.push_back(i), std::bad_alloc);
  EXPECT_GT(numbers.size(), 1000u);
  for (size_t i = 0; i < numbers.size(); ++i) ASSERT_EQ(numbers[i], static_cast<int>(i));
}

TEST_F(HeapHpp, ContainersInAHeap) {
  weir::Heap heap("containers");
  {
    using Pair = std::pair<const int, std::string>;
    std::map<int, std::string, std::less<>, weir::Allocator<Pair>> tree{weir::Allocator<Pair>(heap)};
    std::list<double, weir::Allocator<double>> list{weir::Allocator<double>(heap)};
    for (int i = 0; i < 1000; ++i) {
      tree.emplace(i, "x");
      list.push_back(i);
    }
    EXPECT_EQ(weir_heap_of(&list.front()), heap.handle());
    EXPECT_EQ(heap.stats().objects, 2000u);
    auto copy = list;
    EXPECT_EQ(weir_heap_of(&copy.front()), heap.handle()) << "a copy is made where its original is";
    weir::Heap second;
    std::list<double, weir::Allocator<double>> other{weir::Allocator<double>(second)};
    other = std::move(list);
    EXPECT_EQ(weir_heap_of(&other.front()), heap.handle()) << "moved with its heap";
    EXPECT_EQ(second.stats().objects, 0u);
  }
  EXPECT_EQ(heap.stats().objects, 0u);
}

TEST_F(HeapHpp, PolymorphicContainers) {
  weir::Heap heap("pmr");
  weir::HeapResource resource(heap), same(heap.handle());
  weir::Heap second;
  EXPECT_TRUE(resource.is_equal(same));
  EXPECT_FALSE(resource.is_equal(weir::HeapResource(second)));
  EXPECT_FALSE(resource.is_equal(*std::pmr::new_delete_resource()));
  {
    std::pmr::unordered_map<int, std::pmr::string> map(&resource);
    for (int i = 0; i < 1000; ++i) map[i] = std::string(100, 'y');
    EXPECT_EQ(weir_heap_of(map[5].data()), heap.handle());
    EXPECT_GE(heap.stats().objects, 2000u);
  }
  EXPECT_EQ(heap.stats().objects, 0u);
  void* aligned = resource.allocate(10, 1024);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(aligned) % 1024, 0u);
  resource.deallocate(aligned, 10, 1024);
}

// A thousand strings without their destructors: the heap takes them with it.
TEST_F(HeapHpp, ForgottenWithTheHeap) {
  weir_heap_t handle;
  {
    weir::Heap heap;
    handle = heap.handle();
    using String = std::basic_string<char, std::char_traits<char>, weir::Allocator<char>>;
    for (int i = 0; i < 1000; ++i) new (heap.allocate(sizeof(String))) String(100, 'z', weir::Allocator<char>(heap));
    EXPECT_EQ(heap.stats().objects, 2000u);
  }
  EXPECT_EQ(weir_heap_set_limit(handle, 0), EINVAL);
  EXPECT_EQ(weir_debug_verify(), 1);
}

}  // namespace
