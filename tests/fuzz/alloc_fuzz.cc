// alloc_fuzz.cc: any bytes as operations on a private allocator, beside the model of a heap: every block keeps its
// content, no two overlap, all counts agree, and at the end everything can be given back.
#include <cstdint>
#include <cstdlib>

#include "base/check.h"
#include "support/heap_model.h"

namespace weir {
namespace {

constexpr unsigned kCaches = 3;
// Small, so that running out of memory is part of it.
constexpr size_t kCapacity = size_t{16} << 20;

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  // Zeros once the input is used up.
  uint64_t take(unsigned bytes) {
    uint64_t value = 0;
    for (; bytes != 0 && size_ != 0; --bytes, --size_) value = value << 8 | *data_++;
    return value;
  }
  // Sizes of every magnitude up to 8 MiB from three bytes: how many bits, and which.
  size_t take_size() {
    const uint64_t bits = take(1) % 24;
    return take(2) * 0x9e3779b1u & ((uint64_t{1} << bits) - 1);
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

class Player {
 public:
  explicit Player(Bytes& input) : input_(input) {}

  void play() {
    const uint64_t setting = input_.take(1);
    a_.options().tcache = (setting & 3) != 3;
    a_.options().zero_on_free = (setting & 12) == 12;
    a_.options().guard = (setting & 48) == 48;
    a_.options().tcache_bytes = (setting & 64) != 0 ? input_.take(2) : uint64_t{64} << 10;
    make_topology(a_.topology(), (setting & 128) != 0 ? 3 : 1, 0b100);
    WEIR_CHECK(a_.start(kCapacity, (setting & 1) != 0, setting));
    for (ThreadCache*& cache : caches_) WEIR_CHECK((cache = a_->attach()) != nullptr);
    while (!input_.empty()) {
      step();
      expect_well();
    }
    finish();
  }

 private:
  ThreadCache* any_cache() {
    const uint64_t i = input_.take(1) % (kCaches + 1);
    return i == kCaches ? nullptr : caches_[i];
  }
  void expect_well() {
    if (!model_.failed()) return;
    Line line;
    line.text("alloc_fuzz: ").text(model_.failure()).text("\n").write_to(2);
    abort();
  }

  void step() {
    const uint64_t what = input_.take(1) % 16;
    ThreadCache* cache = any_cache();
    const uint64_t seed = ++seeds_;
    switch (what) {
      case 0:
      case 1:
      case 2:
      case 3:
        return model_.allocate(cache, HeapModel::Kind::kMalloc, input_.take_size(), 0, seed);
      case 4:
      case 5:
        return model_.allocate(cache, HeapModel::Kind::kCalloc, input_.take_size(), 0, seed);
      case 6: {
        const size_t alignment = size_t{1} << input_.take(1) % 24;
        return model_.allocate(cache, HeapModel::Kind::kMemalign, input_.take_size(), alignment, seed);
      }
      case 7:
      case 8:
      case 9:
        return model_.release(cache, input_.take(3) << 4);
      case 10:
      case 11:
      case 12: {
        const uint64_t where = input_.take(3) << 4;
        return model_.resize(cache, where, input_.take_size(), seed);
      }
      case 13:
        WEIR_CHECK(a_->decay_tick().misuse == Misuse::kNone);
        return;
      case 14:
        a_.trim(cache);
        return;
      default:
        return other(cache);
    }
  }

  void other(ThreadCache* cache) {
    const uint64_t what = input_.take(1);
    if (cache == nullptr) return model_.expect_verified();
    if (what % 4 == 0) {
      cache->node = static_cast<uint16_t>(what / 4 % (a_->has_zone(NodeId(1)) ? 2 : 1));
      return;
    }
    // As a thread that ends and another that starts.
    WEIR_CHECK(a_->detach(cache).misuse == Misuse::kNone);
    WEIR_CHECK(a_->attach() == cache);
  }

  void finish() {
    model_.expect_verified();
    expect_well();
    model_.release_all(caches_[0]);
    expect_well();
    for (ThreadCache* cache : caches_) WEIR_CHECK(a_->detach(cache).misuse == Misuse::kNone);
    a_.trim(nullptr);
    model_.expect_verified();
    expect_well();
    WEIR_CHECK(a_.charged() == 0);
    WEIR_CHECK(a_->decayable_bytes() == 0);
  }

  Bytes& input_;
  PrivateAllocator a_;
  HeapModel model_{a_};
  ThreadCache* caches_[kCaches] = {};
  uint64_t seeds_ = 0;
};

}  // namespace
}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weir::Bytes input(data, size);
  weir::Player(input).play();
  return 0;
}
