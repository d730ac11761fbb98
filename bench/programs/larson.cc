// A server under load, after Larson and Krishnan: every lane owns a set of blocks; a thread replaces random ones for a
// while, then starts a successor that inherits the set and exits. So most frees hit blocks of threads long dead.
#include <atomic>
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr size_t kBlocksPerLane = 1000;  // the classic setting: the working set of one connection handler
constexpr size_t kMinSize = 8;           // classic size range
constexpr size_t kMaxSize = 1000;
constexpr size_t kOpsPerThread = 50'000;  // short lives: thread exit and adoption are part of the load

struct Lane {
  std::vector<bench::Block> blocks;
  bench::Rng rng{0};
  uint64_t sum = 0;
  size_t generations_left = 0;
};

class Server {
 public:
  explicit Server(const bench::Options& options) : lanes_(options.threads), running_(options.threads) {
    bench::Rng rng(options.seed);
    for (auto& lane : lanes_) {
      lane.rng = bench::Rng(rng.next());
      lane.generations_left = options.scaled(100);
      lane.blocks.resize(kBlocksPerLane);
      for (auto& b : lane.blocks) b = bench::allocate(rng.between(kMinSize, kMaxSize), rng.next());
    }
    // Shuffled across lanes, so that first frees are already those of another thread's neighbours.
    for (size_t i = 0; i < kBlocksPerLane; ++i) {
      std::swap(lanes_[rng.below(lanes_.size())].blocks[i], lanes_[rng.below(lanes_.size())].blocks[i]);
    }
  }

  uint64_t run() {
    for (auto& lane : lanes_) std::thread(&Server::generation, this, &lane).detach();
    for (unsigned left = running_.load(); left != 0; left = running_.load()) running_.wait(left);
    uint64_t sum = 0;
    for (auto& lane : lanes_) {
      for (auto& b : lane.blocks) lane.sum += bench::release(b);
      sum += lane.sum;
    }
    return sum;
  }

 private:
  void generation(Lane* lane) {
    for (size_t i = 0; i < kOpsPerThread; ++i) {
      bench::Block& b = lane->blocks[lane->rng.below(kBlocksPerLane)];
      lane->sum += bench::release(b);
      b = bench::allocate(lane->rng.between(kMinSize, kMaxSize), lane->rng.next());
    }
    if (--lane->generations_left > 0) {
      std::thread(&Server::generation, this, lane).detach();
    } else if (running_.fetch_sub(1) == 1) {
      running_.notify_all();
    }
  }

  std::vector<Lane> lanes_;
  std::atomic<unsigned> running_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 4);
  // Never destroyed: the last thread may still be inside notify_all when the sum is known.
  auto* server = new Server(options);
  return bench::finish("larson", server->run());
}
