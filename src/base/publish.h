// Purpose: stores numbers where other processes read them (include/weir/stats_page.h).
// Thread safety: any thread; a number is stored in one piece, and nothing is promised about the order of several, but
//                for those within a PublishSection.
// Invariants: nothing that weir decides depends on what is there, because readers may be able to write to it.
#pragma once

#include <cstdint>

namespace weir {

template <class T>
inline void publish(T& field, T value) {
  // Released, so that who sees a number also sees the odd sequence of the section that it was stored in.
  __atomic_store_n(&field, value, __ATOMIC_RELEASE);
}

// The writing side of a sequence lock. False when somebody else is writing: then what is there is new enough.
class PublishSection {
 public:
  explicit PublishSection(uint64_t& sequence)
      : sequence_(sequence), before_(__atomic_load_n(&sequence, __ATOMIC_RELAXED)) {
    entered_ = before_ % 2 == 0 && __atomic_compare_exchange_n(&sequence_, &before_, before_ + 1, false,
                                                               __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
  }
  ~PublishSection() {
    if (entered_) __atomic_store_n(&sequence_, before_ + 2, __ATOMIC_RELEASE);
  }
  PublishSection(const PublishSection&) = delete;
  PublishSection& operator=(const PublishSection&) = delete;
  explicit operator bool() const { return entered_; }

 private:
  uint64_t& sequence_;
  uint64_t before_;
  bool entered_;
};

// For what must be shown whoever else is writing: waits for that, but not for ever, as readers may have written to it.
template <class Wait, class Write>
void publish_when_free(uint64_t& sequence, Wait wait, Write write) {
  constexpr unsigned kTries = 1000;
  for (unsigned i = 0; i < kTries; ++i) {
    if (const PublishSection section(sequence); section) return write();
    wait();
  }
  write();
}

}  // namespace weir
