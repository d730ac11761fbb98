// exceptions.cc: C++ exceptions work as always: nested, rethrown, across threads, in great number, while memory is
// short.
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "contract.h"

namespace {

int live = 0;

struct Counted {
  Counted() { ++live; }
  ~Counted() { --live; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  std::string text = std::string(100, 'x');
};

void descend(int depth) {
  Counted here;
  if (depth == 0) throw std::runtime_error(std::string(500, 'e'));
  descend(depth - 1);
}

void check_nested() {
  bool caught = false;
  try {
    try {
      descend(200);
    } catch (...) {
      std::throw_with_nested(std::logic_error("outer"));
    }
  } catch (const std::logic_error& outer) {
    try {
      std::rethrow_if_nested(outer);
    } catch (const std::runtime_error& inner) {
      caught = strlen(inner.what()) == 500;
    }
  }
  CHECK(caught && live == 0);
}

void throw_often(std::exception_ptr* last) {
  for (int i = 0; i < 3000; ++i) {
    try {
      std::vector<std::string> some(static_cast<size_t>(i % 7), std::string(200, 'y'));
      throw std::runtime_error(std::to_string(i));
    } catch (const std::exception& error) {
      CHECK(std::stoi(error.what()) == i);
      *last = std::current_exception();
    }
  }
}

}  // namespace

int main() {
  contract_begin(60);
  check_nested();
  std::exception_ptr last[4];
  std::vector<std::thread> threads;
  for (std::exception_ptr& mine : last) threads.emplace_back(throw_often, &mine);
  for (std::thread& thread : threads) thread.join();
  for (std::exception_ptr& mine : last) {
    bool right = false;
    try {
      std::rethrow_exception(mine);
    } catch (const std::runtime_error& error) {
      right = std::string(error.what()) == "2999";
    }
    CHECK(right);
  }
  return 0;
}
