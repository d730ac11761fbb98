// Producers only allocate, consumers only free, after Lever and Boreham's malloc-test: the pattern that starves
// allocators whose memory flows back to the wrong thread.
#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr size_t kBatch = 120;       // blocks handed over at once, so that the queue's lock is not what is measured
constexpr size_t kQueueLimit = 200;  // batches in flight; a bound keeps peak memory comparable between runs
constexpr size_t kMaxShift = 8;      // sizes are 16 bytes shifted by 0..7, plus noise: 16 to about 4000 bytes

struct Batch {
  Batch* next;
  bench::Block blocks[kBatch];
};

class Queue {
 public:
  void push(Batch* batch) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [this] { return count_ < kQueueLimit; });
    batch->next = nullptr;
    (head_ == nullptr ? head_ : tail_->next) = batch;
    tail_ = batch;
    ++count_;
    filled_.notify_one();
  }

  // Null when every producer has finished and the queue is empty.
  Batch* pop() {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [this] { return head_ != nullptr || closed_; });
    Batch* batch = head_;
    if (batch != nullptr) {
      head_ = batch->next;
      --count_;
      room_.notify_one();
    }
    return batch;
  }

  void close() {
    std::scoped_lock lock(mutex_);
    closed_ = true;
    filled_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_, room_;
  Batch* head_ = nullptr;
  Batch* tail_ = nullptr;
  size_t count_ = 0;
  bool closed_ = false;
};

void produce(uint64_t seed, size_t batches, Queue& queue) {
  bench::Rng rng(seed);
  for (size_t i = 0; i < batches; ++i) {
    auto* batch = static_cast<Batch*>(bench::must_malloc(sizeof(Batch)));
    for (auto& b : batch->blocks) {
      const size_t base = size_t{16} << rng.below(kMaxShift);
      // The minimum of two draws favours small sizes.
      const size_t size = std::min(base, size_t{16} << rng.below(kMaxShift)) + rng.below(base);
      b = bench::allocate(size, rng.next());
    }
    queue.push(batch);
  }
}

uint64_t consume(Queue& queue) {
  uint64_t sum = 0;
  while (Batch* batch = queue.pop()) {
    for (auto& b : batch->blocks) sum += bench::release(b);
    free(batch);
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 2);
  Queue queue;
  std::vector<uint64_t> sums(options.threads);
  std::vector<std::thread> producers, consumers;
  for (unsigned t = 0; t < options.threads; ++t) {
    producers.emplace_back([&, t] { produce(options.seed + t, options.scaled(25'000), queue); });
    consumers.emplace_back([&, t] { sums[t] = consume(queue); });
  }
  for (auto& thread : producers) thread.join();
  queue.close();
  uint64_t sum = 0;
  for (unsigned t = 0; t < options.threads; ++t) {
    consumers[t].join();
    sum += sums[t];
  }
  return bench::finish("xmalloc", sum);
}
