#include "reclaim/unmap_place.h"

#include <bit>

namespace weir {
namespace {

// Pages of a run for which one interrupt is not much; with a sequential scan there are a whole cluster's.
constexpr uint64_t kLongRun = 8;
// How many pages are remembered: those of some batches.
constexpr uint64_t kRemembered = 1024;

}  // namespace

void UnmapPlace::note(uint64_t unmapped) {
  pages_ += static_cast<uint64_t>(std::popcount(unmapped));
  runs_ += static_cast<uint64_t>(std::popcount(unmapped & ~(unmapped << 1)));
  if (pages_ < kRemembered) return;
  pages_ /= 2;
  runs_ /= 2;
}

void UnmapPlace::enter() {
  const int cpu = busy_ != nullptr ? busy_->get() : BusyCpu::kNone;
  if (cpu_ != BusyCpu::kNone || cpu < 0 || pages_ > runs_ * kLongRun) return;
  if (!known_) known_ = os::get_cpus(all_);
  // With nowhere to go afterwards there is nothing to gain.
  if (!known_ || !all_.has(static_cast<unsigned>(cpu)) || all_.count() < 2) return;
  if (os::run_on_cpu(static_cast<unsigned>(cpu))) cpu_ = cpu;
}

void UnmapPlace::leave() {
  if (cpu_ == BusyCpu::kNone) return;
  os::CpuMask others = all_;
  others.remove(static_cast<unsigned>(cpu_));
  cpu_ = BusyCpu::kNone;
  // What it may run on can have changed since.
  if (!os::run_on_cpus(others) && !os::run_on_cpus(all_)) known_ = false;
}

}  // namespace weir
