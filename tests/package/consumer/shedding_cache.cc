// shedding_cache.cc: an example: a cache of what a server has read or computed, which grows as long as there is memory
// and gives its oldest entries back when memory gets scarce. Nowhere is said how large it may be.
// Run it under a limit: WEIR_CONF=limit=32M,swap=none shedding_cache
#include <weir/events.h>
#include <weir/shrinker.h>

#include <atomic>
#include <cstdio>
#include <list>
#include <mutex>
#include <optional>
#include <string>

namespace {

class Cache {
 public:
  Cache() { weir_register_shrinker(&shrinker_); }
  ~Cache() { weir_unregister_shrinker(&shrinker_); }
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  void put(int key, std::string value) {
    // Made before the lock is taken: an allocation may wait for the shrinker, which takes the lock.
    std::list<Entry> made;
    made.push_back({key, std::move(value)});
    std::lock_guard guard(mutex_);
    entries_.splice(entries_.begin(), made);
    index_[key % kSlots] = entries_.begin();
    ++size_;
  }

  std::optional<char> get(int key) {
    std::lock_guard guard(mutex_);
    const auto found = index_[key % kSlots];
    if (!found || (*found)->key != key) return std::nullopt;
    entries_.splice(entries_.begin(), entries_, *found);
    return (*found)->value[0];
  }

  size_t size() const { return size_; }

 private:
  static constexpr int kSlots = 1 << 16;
  struct Entry {
    int key;
    std::string value;
  };

  static size_t count(void* cache) { return static_cast<Cache*>(cache)->size_; }
  static size_t scan(void* cache, size_t wanted) { return static_cast<Cache*>(cache)->drop_oldest(wanted); }

  size_t drop_oldest(size_t wanted) {
    std::list<Entry> dropped;
    {
      std::lock_guard guard(mutex_);
      for (size_t i = 0; i < wanted && !entries_.empty(); ++i) {
        index_[entries_.back().key % kSlots].reset();
        dropped.splice(dropped.begin(), entries_, std::prev(entries_.end()));
        --size_;
      }
    }
    return dropped.size();
  }

  std::mutex mutex_;
  std::list<Entry> entries_;
  std::optional<std::list<Entry>::iterator> index_[kSlots];
  std::atomic<size_t> size_{0};
  weir_shrinker shrinker_ = {sizeof(weir_shrinker), "answers", count, scan, WEIR_DEFAULT_SEEKS, 0, this, 0};
};

}  // namespace

int main() {
  constexpr int kEntries = 40000;  // 4 KiB each: 160 MiB, which do not compress
  constexpr size_t kBytes = 4096;
  static Cache cache;
  unsigned state = 1;
  for (int key = 0; key < kEntries; ++key) {
    std::string value(kBytes, '\0');
    for (char& c : value) c = static_cast<char>((state = state * 1103515245u + 12345u) >> 16);
    value[0] = static_cast<char>(key);
    cache.put(key, std::move(value));
    // What was put in just now is there.
    if (cache.get(key) != static_cast<char>(key)) return 1;
  }
  char pressure[256];
  weir_pressure(pressure, sizeof(pressure));
  std::printf("%zu of %d entries are left\n%s", cache.size(), kEntries, pressure);
  return cache.size() > 1000 ? 0 : 2;
}
