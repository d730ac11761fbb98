// Purpose: a setting that is read by several threads and may be changed while they run.
// Thread safety: any thread; relaxed atomics, so that reading one costs what reading a plain variable does. Several of
//                them are not read as of one moment: whoever needs that reads each once, and can do with a mixture.
// Invariants: copying copies the value of this moment.
#pragma once

#include <atomic>

namespace weir {

template <class T>
class Live {
 public:
  using Type = T;

  constexpr Live() : value_(T()) {}
  constexpr explicit Live(T value) : value_(value) {}
  Live(const Live& other) : value_(other.load()) {}
  Live& operator=(const Live& other) { return *this = other.load(); }
  Live& operator=(T value) {
    value_.store(value, std::memory_order_relaxed);
    return *this;
  }

  [[nodiscard]] T load() const { return value_.load(std::memory_order_relaxed); }
  operator T() const { return load(); }  // NOLINT: it stands for the value

 private:
  std::atomic<T> value_;
};

}  // namespace weir
