#include "reclaim/thread_cpus.h"

#include <cstring>

#include "base/units.h"
#include "os/service_thread.h"
#include "os/vm.h"

namespace weir {
namespace {

// Kernel thread ids are given out in sequence; a multiplication spreads them (Knuth, TAOCP 3, 6.4).
unsigned first_slot(uint32_t thread) {
  return (thread * 2654435769u) >> 20;
}
static_assert(ThreadCpus::kRoom == 1u << 12, "the shift above leaves 12 bits");

}  // namespace

bool ThreadCpus::init() {
  slots_ = static_cast<Slot*>(os::vm_map(align_up(kRoom * sizeof(Slot), kPageSize)));
  return slots_ != nullptr;
}

void ThreadCpus::add() {
  const volatile uint32_t* word = os::cpu_word();
  if (slots_ == nullptr || word == nullptr) return;
  const uint32_t own = os::thread_id();
  for (unsigned i = 0; i < kProbes; ++i) {
    Slot& slot = slots_[(first_slot(own) + i) % kRoom];
    uint32_t expected = 0;
    if (slot.thread.load(std::memory_order_relaxed) == own ||
        slot.thread.compare_exchange_strong(expected, own, std::memory_order_relaxed)) {
      slot.cpu.store(word, std::memory_order_release);
      return;
    }
  }
}

void ThreadCpus::remove() {
  if (slots_ == nullptr) return;
  const uint32_t own = os::thread_id();
  for (unsigned i = 0; i < kProbes; ++i) {
    Slot& slot = slots_[(first_slot(own) + i) % kRoom];
    if (slot.thread.load(std::memory_order_relaxed) != own) continue;
    slot.cpu.store(nullptr, std::memory_order_relaxed);
    slot.thread.store(0, std::memory_order_release);
  }
}

int ThreadCpus::cpu_of(uint32_t thread) const {
  if (slots_ == nullptr || thread == 0) return -1;
  for (unsigned i = 0; i < kProbes; ++i) {
    const Slot& slot = slots_[(first_slot(thread) + i) % kRoom];
    if (slot.thread.load(std::memory_order_acquire) != thread) continue;
    const volatile uint32_t* word = slot.cpu.load(std::memory_order_acquire);
    return word == nullptr ? -1 : static_cast<int>(*word);
  }
  return -1;
}

void ThreadCpus::clear() {
  if (slots_ != nullptr) memset(static_cast<void*>(slots_), 0, kRoom * sizeof(Slot));
}

}  // namespace weir
