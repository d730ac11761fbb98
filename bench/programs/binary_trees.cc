// Binary trees built and dropped, one long-lived among many short-lived: the allocation pattern of functional
// languages and compilers. Node by node, no pools.
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr unsigned kDepth = 17;    // the long-lived tree: 256 Ki nodes
constexpr unsigned kMinDepth = 6;  // the smallest short-lived ones

struct Node {
  Node *left, *right;
  uint64_t value;
};

Node* build(unsigned depth, bench::Rng& rng) {
  auto* node = static_cast<Node*>(bench::must_malloc(sizeof(Node)));
  node->value = rng.next();
  node->left = depth == 0 ? nullptr : build(depth - 1, rng);
  node->right = depth == 0 ? nullptr : build(depth - 1, rng);
  return node;
}

uint64_t sum_and_free(Node* node, size_t& count) {
  if (node == nullptr) return 0;
  uint64_t sum = bench::mix(node->value);
  sum += sum_and_free(node->left, count) + sum_and_free(node->right, count);
  free(node);
  ++count;
  return sum;
}

uint64_t drop(Node* tree, unsigned depth) {
  size_t count = 0;
  const uint64_t sum = sum_and_free(tree, count);
  if (count != (size_t{2} << depth) - 1) bench::fail("a tree has lost nodes");
  return sum;
}

uint64_t worker(uint64_t seed, size_t repeats) {
  bench::Rng rng(seed);
  uint64_t sum = 0;
  Node* kept = build(kDepth, rng);
  for (size_t r = 0; r < repeats; ++r) {
    for (unsigned depth = kMinDepth; depth <= kDepth; depth += 4) {
      for (size_t n = 0; n < (size_t{1} << (kDepth - depth)); ++n) sum += drop(build(depth, rng), depth);
    }
  }
  return sum + drop(kept, kDepth);
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 2);
  std::vector<uint64_t> sums(options.threads);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads.emplace_back([&, t] { sums[t] = worker(options.seed + t, options.scaled(50)); });
  }
  uint64_t sum = 0;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads[t].join();
    sum += sums[t];
  }
  return bench::finish("binary_trees", sum);
}
