// pmr_heap.cc: an example: standard containers whose memory lies in a heap with a limit, which is given back at once.
#include <weir/heap.hpp>

#include <cstdio>
#include <memory_resource>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

// A document of a request: many small objects, all of which go together.
using Index = std::pmr::unordered_map<std::pmr::string, std::pmr::vector<int>>;

size_t fill(Index& index, int words) {
  for (int word = 0; word < words; ++word)
    index[std::pmr::string("word number ", index.get_allocator()) + std::to_string(word % 1000).c_str()].push_back(
        word);
  return index.size();
}

}  // namespace

int main() {
  weir_heap_options options = weir::Heap::options();
  options.limit = 8 << 20;
  weir::Heap heap("requests", options);
  weir::HeapResource resource(heap);
  {
    Index index(&resource);
    if (fill(index, 20000) != 1000) return 1;
    if (weir_heap_of(index.begin()->second.data()) != heap.handle()) return 2;
    std::printf("%zu words in %zu KiB\n", index.size(), static_cast<size_t>(heap.stats().charged >> 10));
  }
  // One that wants more than it may have is told, and the program goes on.
  try {
    std::pmr::vector<char> large(64 << 20, 'x', &resource);
    return 3;
  } catch (const std::bad_alloc&) {
  }
  // Not destroyed one by one: the heap goes, and with it all that is in it.
  auto* index = new (heap.allocate(sizeof(Index), alignof(Index))) Index(&resource);
  fill(*index, 20000);
  heap.reset();
  return heap.handle() == nullptr ? 0 : 4;
}
