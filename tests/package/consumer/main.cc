// main.cc: a C++ program that uses libweir beside its own malloc.
#include <weir/heap.hpp>

#include <cstdio>
#include <memory>
#include <memory_resource>
#include <string>
#include <vector>

int main() {
  std::unique_ptr<char, decltype(&weir_free)> memory(static_cast<char*>(weir_calloc(10, 100)), weir_free);
  if (memory == nullptr) return 1;
  for (int i = 0; i < 1000; ++i) {
    if (memory.get()[i] != 0) return 2;
  }
  weir::Heap heap("consumer");
  weir::HeapResource resource(heap);
  std::pmr::vector<std::pmr::string> strings(&resource);
  for (int i = 0; i < 100; ++i) strings.emplace_back("a string that is too long to lie in its object");
  std::vector<int, weir::Allocator<int>> numbers(1000, 7, weir::Allocator<int>(heap));
  if (weir_heap_of(numbers.data()) != heap.handle() || heap.stats().objects < 102) return 3;
  std::string version = weir_version();
  std::printf("weir %s\n", version.c_str());
  return 0;
}
