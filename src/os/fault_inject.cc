#include "os/fault_inject.h"

#include <errno.h>

namespace weir::os {
namespace {

struct ErrorName {
  std::string_view name;
  int error;
};
// What reads and writes of files and block devices fail with.
constexpr ErrorName kErrors[] = {{"EIO", EIO},     {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},
                                 {"EINTR", EINTR}, {"EAGAIN", EAGAIN}, {"ENOMEM", ENOMEM},
                                 {"EROFS", EROFS}, {"EBADF", EBADF},   {"EFBIG", EFBIG}};

constexpr const char* kExpectedOp = "read or write";
constexpr const char* kExpectedEffect =
    "short, corrupt (reads only), EIO, ENOSPC, EDQUOT, EINTR, EAGAIN, ENOMEM, EROFS, EBADF or EFBIG";
constexpr const char* kExpectedCondition = "after=N, every=N (1 or more) or times=N";
constexpr const char* kExpectedFewer = "at most 16 rules";

// Cuts the text before the next `mark` off its front.
std::string_view cut(std::string_view& text, char mark) {
  // Without substr, whose range check throws.
  const size_t at = text.find(mark) == std::string_view::npos ? text.size() : text.find(mark);
  const std::string_view head(text.data(), at);
  text.remove_prefix(at == text.size() ? at : at + 1);
  return head;
}

bool parse_number(std::string_view text, uint64_t& value) {
  // 18 digits cannot overflow, and no plan counts further.
  if (text.empty() || text.size() > 18) return false;
  uint64_t n = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    n = n * 10 + static_cast<uint64_t>(c - '0');
  }
  value = n;
  return true;
}

bool parse_effect(std::string_view text, FaultInjector::Op op, FaultInjector::Fault& fault) {
  using Effect = FaultInjector::Effect;
  if (text == "short") {
    fault = {Effect::kShort, 0};
    return true;
  }
  if (text == "corrupt" && op == FaultInjector::Op::kRead) {
    fault = {Effect::kCorrupt, 0};
    return true;
  }
  for (const ErrorName& each : kErrors) {
    if (text != each.name) continue;
    fault = {Effect::kError, each.error};
    return true;
  }
  return false;
}

}  // namespace

FaultInjector::Problem FaultInjector::parse_rule(std::string_view text, Rule& rule) {
  const std::string_view op = cut(text, ':');
  if (op != "read" && op != "write") return {op, kExpectedOp};
  rule.op = op == "read" ? Op::kRead : Op::kWrite;
  const std::string_view effect = cut(text, ':');
  if (!parse_effect(effect, rule.op, rule.fault)) return {effect, kExpectedEffect};
  while (!text.empty()) {
    const std::string_view condition = cut(text, ':');
    std::string_view value = condition;
    const std::string_view key = cut(value, '=');
    uint64_t* target = key == "after"   ? &rule.after
                       : key == "every" ? &rule.every
                       : key == "times" ? &rule.times
                                        : nullptr;
    if (target == nullptr || !parse_number(value, *target) || rule.every == 0) return {condition, kExpectedCondition};
  }
  return {};
}

FaultInjector::Problem FaultInjector::parse(std::string_view text) {
  count_ = 0;
  injected_.store(0, std::memory_order_relaxed);
  unsigned parsed = 0;
  while (!text.empty()) {
    const std::string_view part = cut(text, ',');
    if (part.empty()) return {part, kExpectedOp};
    if (parsed == kMaxRules) return {part, kExpectedFewer};
    Rule& rule = rules_[parsed];
    rule.after = 0;
    rule.every = 1;
    rule.times = UINT64_MAX;
    rule.seen.store(0, std::memory_order_relaxed);
    rule.hit.store(0, std::memory_order_relaxed);
    if (const Problem problem = parse_rule(part, rule)) return problem;
    ++parsed;
  }
  count_ = parsed;
  return {};
}

bool FaultInjector::applies(Rule& rule) {
  const uint64_t number = rule.seen.fetch_add(1, std::memory_order_relaxed) + 1;
  if (number <= rule.after || (number - rule.after) % rule.every != 0) return false;
  // May be counted beyond `times` by threads that come at once; only those within it are hit.
  return rule.hit.load(std::memory_order_relaxed) < rule.times &&
         rule.hit.fetch_add(1, std::memory_order_relaxed) < rule.times;
}

FaultInjector::Fault FaultInjector::next(Op op) {
  Fault fault;
  // Every rule counts every operation of its kind; where several apply, the first one counts.
  for (unsigned i = 0; i < count_; ++i) {
    Rule& rule = rules_[i];
    if (rule.op == op && applies(rule) && fault.effect == Effect::kNone) fault = rule.fault;
  }
  if (fault.effect != Effect::kNone) injected_.fetch_add(1, std::memory_order_relaxed);
  return fault;
}

}  // namespace weir::os
