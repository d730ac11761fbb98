// Purpose: failing on purpose: a small plan says which reads and writes of the swap file fail, stop short or bring back
//          damaged bytes, so that tests and users can see what happens then.
// Thread safety: `parse` before anybody else knows the injector; `next` from any thread.
// Invariants: without a plan nothing ever fails; an injector that refused a text has no rules.
//
// A plan is a list of rules, parted by commas; each is OPERATION:EFFECT and conditions, parted by colons:
//   write:ENOSPC:after=100      every write but the first 100 fails with ENOSPC
//   read:EIO:every=7            each seventh read fails
//   write:short:every=3         each third write takes only a part
//   read:corrupt:every=5:times=2
// Operations: read, write. Effects: short, corrupt (reads only), or an error by its name.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace weir::os {

class FaultInjector {
 public:
  enum class Op : uint8_t { kRead, kWrite };
  enum class Effect : uint8_t { kNone, kError, kShort, kCorrupt };
  struct Fault {
    Effect effect = Effect::kNone;
    int error = 0;  // positive errno of kError
  };
  // What is wrong with a plan: `where` is the part that was not understood, `expected` what may stand there.
  struct Problem {
    std::string_view where;
    const char* expected = nullptr;  // null: nothing is wrong
    explicit operator bool() const { return expected != nullptr; }
  };

  // One rule for each way to fail of both operations, and some to spare.
  static constexpr unsigned kMaxRules = 16;

  constexpr FaultInjector() = default;
  [[nodiscard]] Problem parse(std::string_view text);
  // What shall happen to the operation that is about to start. Counts it.
  Fault next(Op op);
  // Operations that were harmed so far.
  uint64_t injected() const { return injected_.load(std::memory_order_relaxed); }
  bool empty() const { return count_ == 0; }

 private:
  struct Rule {
    Op op = Op::kRead;
    Fault fault;
    uint64_t after = 0;             // that many operations pass unharmed at first
    uint64_t every = 1;             // then each so many-th is hit
    uint64_t times = UINT64_MAX;    // until so many were
    std::atomic<uint64_t> seen{0};  // operations of this kind
    std::atomic<uint64_t> hit{0};
  };

  static Problem parse_rule(std::string_view text, Rule& rule);
  static bool applies(Rule& rule);

  Rule rules_[kMaxRules];
  unsigned count_ = 0;
  std::atomic<uint64_t> injected_{0};
};

}  // namespace weir::os
