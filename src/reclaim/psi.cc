#include "reclaim/psi.h"

namespace weir {
namespace {

// Averages are sampled every 2 s (PSI_FREQ), as fractions of 2048 (FSHIFT) of a percent.
constexpr uint64_t kPeriod = 2'000'000'000;
constexpr unsigned kFractionBits = 11;
constexpr uint64_t kOne = uint64_t{1} << kFractionBits;
// 2048 / exp(2 s / 10 s), and so on (EXP_10s, EXP_60s, EXP_300s).
constexpr uint64_t kDecay[Psi::kNrAverages] = {1677, 1981, 2034};
constexpr std::string_view kLabels[Psi::kNrAverages] = {" avg10=", " avg60=", " avg300="};

// x^n (kernel/sched/loadavg.c, fixed_power_int).
uint64_t power(uint64_t x, uint64_t n) {
  uint64_t result = kOne;
  for (; n != 0; n >>= 1) {
    if ((n & 1) != 0) result = (result * x + kOne / 2) >> kFractionBits;
    x = (x * x + kOne / 2) >> kFractionBits;
  }
  return result;
}

// One step of a decaying average, rounded up when it rises so that it can reach 100% (calc_load).
uint64_t step(uint64_t load, uint64_t decay, uint64_t active) {
  uint64_t sum = load * decay + active * (kOne - decay);
  if (active >= load) sum += kOne - 1;
  return sum / kOne;
}

}  // namespace

void Psi::start(uint64_t now) {
  *this = Psi();
  state_start_ = last_update_ = now;
  next_update_ = now + kPeriod;
}

void Psi::record(uint64_t now) {
  // Times are read before locks are taken, so that one may be a little older than the last.
  if (now <= state_start_) return;
  const uint64_t passed = now - state_start_;
  state_start_ = now;
  if (some_) total_[kSome] += passed;
  if (full_) total_[kFull] += passed;
}

void Psi::change(uint64_t now, uint64_t stalled, uint64_t threads) {
  record(now);
  nr_stalled_ = stalled;
  some_ = stalled != 0;
  full_ = some_ && stalled >= threads;
}

void Psi::update(uint64_t now, uint64_t threads) {
  change(now, nr_stalled_, threads);
  if (now >= next_update_) update_averages(now);
}

void Psi::update_averages(uint64_t now) {
  // Periods in which nobody came by count as idle: what they had belongs to the last one.
  const uint64_t missed = (now - next_update_) / kPeriod;
  const uint64_t period = now - (last_update_ + missed * kPeriod);
  next_update_ += (1 + missed) * kPeriod;
  last_update_ = now;
  for (unsigned kind = 0; kind < kNrKinds; ++kind) {
    // What exceeds the period is told in the next one.
    uint64_t sample = total_[kind] - averaged_[kind];
    if (sample > period) sample = period;
    averaged_[kind] += sample;
    const uint64_t percent = sample * 100 / period * kOne;
    for (unsigned i = 0; i < kNrAverages; ++i) {
      if (missed != 0) average_[kind][i] = step(average_[kind][i], power(kDecay[i], missed), 0);
      average_[kind][i] = step(average_[kind][i], kDecay[i], percent);
    }
  }
}

Psi::Percent Psi::average(Kind kind, unsigned which) const {
  const uint64_t value = average_[kind][which];
  return {value >> kFractionBits, (value & (kOne - 1)) * 100 >> kFractionBits};
}

void Psi::format(Line& line) const {
  for (unsigned kind = 0; kind < kNrKinds; ++kind) {
    line.text(kind == kSome ? "some" : "full");
    for (unsigned i = 0; i < kNrAverages; ++i) {
      const Percent p = average(static_cast<Kind>(kind), i);
      line.text(kLabels[i]).dec(p.whole).text(p.hundredths < 10 ? ".0" : ".").dec(p.hundredths);
    }
    line.text(" total=").dec(total_[kind] / 1000).text("\n");
  }
}

void PsiTrigger::start(uint64_t now, uint64_t total, uint64_t threshold, uint64_t window) {
  *this = PsiTrigger();
  threshold_ = threshold;
  window_ = window;
  window_start_ = now;
  value_at_start_ = last_total_ = total;
}

// Of the window that ends now: what it has grown by in its own part of a tracked window, and of the one before as much
// as if it had grown evenly there.
uint64_t PsiTrigger::growth(uint64_t now, uint64_t total) {
  const uint64_t elapsed = now - window_start_, grown = total - value_at_start_;
  if (elapsed <= window_)
    return grown +
           static_cast<uint64_t>(static_cast<unsigned __int128>(growth_before_) * (window_ - elapsed) / window_);
  window_start_ = now;
  value_at_start_ = total;
  growth_before_ = grown;
  return grown;
}

bool PsiTrigger::update(uint64_t now, uint64_t total) {
  const uint64_t grown = growth(now, total);
  // As in the kernel, only a new stall is news, however much the last window is still full of the old ones.
  if (total != last_total_ && grown >= threshold_) pending_ = true;
  last_total_ = total;
  if (!pending_ || (fired_ && now < last_event_ + window_)) return false;
  pending_ = false;
  fired_ = true;
  last_event_ = now;
  return true;
}

}  // namespace weir
