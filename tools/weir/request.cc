#include "request.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <weir/control_box.h>
#include <weir/stats_page.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <random>

#include "failure.h"
#include "page_reader.h"
#include "procfs.h"

namespace weir::tool {
namespace {

using Clock = std::chrono::steady_clock;

// There is nothing that could be waited for in another process's memory; it answers within 50 ms at best.
constexpr long kPollNs = 1000000;
// Looks at whether the process is still there come more rarely.
constexpr int kPollsPerLook = 100;
// Once a request was taken, its answer is a matter of milliseconds; a process may be stopped just then.
constexpr std::chrono::seconds kAnswerTime{10};

// Signals that end this command wait until nothing is left behind.
class HeldSignals {
 public:
  HeldSignals() {
    sigemptyset(&held_);
    for (const int each : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&held_, each);
    sigprocmask(SIG_BLOCK, &held_, &before_);
  }
  ~HeldSignals() {
    sigprocmask(SIG_SETMASK, &before_, nullptr);
    if (came_ != 0) raise(came_);
  }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;
  // Sleeps for the time of a poll; false: a signal came.
  bool sleep() {
    const struct timespec time = {0, kPollNs};
    const int got = sigtimedwait(&held_, nullptr, &time);
    if (got > 0) came_ = got;
    return came_ == 0;
  }

 private:
  sigset_t held_ = {}, before_ = {};
  int came_ = 0;
};

[[noreturn]] void fail(pid_t pid, ExitStatus status, const std::string& why) {
  throw Failure(status, fmt::format("process {}: {}", pid, why));
}

// The box of one process, which nobody else asks meanwhile.
class Box {
 public:
  explicit Box(pid_t pid) : pid_(pid), page_(find_page(pid, Access::kWrite)) {
    if (page_.status != PageStatus::kRead) fail(pid_, kNoStats, describe(page_.status));
    const PageCopy copy = copy_page(*page_.file, page_.at);
    if (copy.status != PageStatus::kRead) fail(pid_, kNoStats, describe(copy.status));
    const auto& head = *reinterpret_cast<const weir_stats_page*>(copy.words.data());
    if (head.node_offset < sizeof(weir_stats_page) || head.control_version != WEIR_CONTROL_VERSION ||
        head.control_offset == 0)
      fail(pid_, kNoStats, "it runs a version of weir whose settings cannot be changed by this one");
    // A child that was forked just now, or shares its parent's memory until it starts a program, has no page yet.
    if (static_cast<pid_t>(head.pid) != own_number_of(pid))
      fail(pid_, kNoStats, process_exists(pid) ? "it is just being started" : describe(PageStatus::kNoProcess));
    at_ = page_.at + head.control_offset;
  }

  void lock(Clock::time_point deadline, HeldSignals& signals) {
    while (flock(page_.file->fd(), LOCK_EX | LOCK_NB) != 0) {
      if (Clock::now() >= deadline) fail(pid_, kNotTaken, "others ask it all the time; nothing was changed");
      if (!signals.sleep()) fail(pid_, kNotTaken, "interrupted; nothing was changed");
    }
  }

  void ask(const weir_control_request& request) {
    const uint64_t checksum = weir_control_checksum(&request);
    write(&request, sizeof(request), at_ + offsetof(weir_control_box, request));
    write(&checksum, sizeof(checksum), at_ + offsetof(weir_control_box, checksum));
    write_ticket(request.ticket);
  }
  void write_ticket(uint64_t ticket) { write(&ticket, sizeof(ticket), page_.at + offsetof(weir_stats_page, request)); }

  bool is_taken(uint64_t ticket) const { return word(offsetof(weir_control_box, taken)) == ticket; }
  bool is_answered(uint64_t ticket) const { return word(offsetof(weir_control_box, answered)) == ticket; }

  Answer answer() const {
    weir_control_box box;
    read(&box, sizeof(box), at_);
    const auto text = [](const char* from) { return std::string(from, strnlen(from, WEIR_CONTROL_TEXT)); };
    return {box.error, text(box.old_value), text(box.new_value), text(box.report)};
  }

  // Whether it is still the process that was found: not ended, and no other program now.
  bool is_there() const {
    const FoundPage now = find_page(pid_, Access::kWrite);
    struct stat before = {}, after = {};
    return now.status == PageStatus::kRead && now.at == page_.at && fstat(page_.file->fd(), &before) == 0 &&
           fstat(now.file->fd(), &after) == 0 && before.st_ino == after.st_ino && before.st_dev == after.st_dev;
  }
  [[noreturn]] void fail_gone() const {
    fail(pid_, kNoStats, "it ended, or became another program, before it answered");
  }

 private:
  void read(void* to, size_t bytes, uint64_t at) const {
    if (!page_.file->read(to, bytes, at)) fail_gone();
  }
  void write(const void* from, size_t bytes, uint64_t at) const {
    if (!page_.file->write(from, bytes, at)) fail_gone();
  }
  uint64_t word(size_t offset) const {
    uint64_t value = 0;
    read(&value, sizeof(value), at_ + offset);
    return value;
  }

  pid_t pid_;
  FoundPage page_;
  uint64_t at_ = 0;
};

uint64_t new_ticket() {
  std::random_device random;
  return (uint64_t{random()} << 32 | random()) | 1;
}

// True: there is an answer.
bool wait(const Box& box, uint64_t ticket, Clock::time_point deadline, HeldSignals& signals) {
  for (int polls = 1; !box.is_answered(ticket); ++polls) {
    if (polls % kPollsPerLook == 0 && !box.is_there()) box.fail_gone();
    if (Clock::now() >= deadline || !signals.sleep()) return false;
  }
  return true;
}

// What has become of a request that was taken away.
enum class Withdrawn : uint8_t {
  kNeverDone,
  kAnswered,
  kBegun,  // and no answer yet
};

Withdrawn withdraw(Box& box, uint64_t ticket) {
  box.write_ticket(0);
  // The process stores that it has taken it, then looks whether it was withdrawn; here it is the other way round.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!box.is_taken(ticket)) return Withdrawn::kNeverDone;
  const struct timespec poll = {0, kPollNs};
  for (const auto deadline = Clock::now() + kAnswerTime; Clock::now() < deadline; nanosleep(&poll, nullptr)) {
    if (box.is_answered(ticket)) return Withdrawn::kAnswered;
    // It saw that it was too late.
    if (!box.is_taken(ticket)) return Withdrawn::kNeverDone;
  }
  return Withdrawn::kBegun;
}

}  // namespace

bool fits_request(const std::string& name, const std::string& value) {
  return name.size() < WEIR_CONTROL_NAME && value.size() < WEIR_CONTROL_TEXT;
}

Answer ask_to_set(pid_t pid, const std::string& name, const std::string& value, double seconds) {
  const auto time = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  const Clock::time_point deadline = Clock::now() + time;
  HeldSignals signals;
  Box box(pid);
  box.lock(deadline, signals);
  weir_control_request request = {};
  request.ticket = new_ticket();
  request.operation = WEIR_CONTROL_SET;
  memcpy(request.name, name.data(), std::min(name.size(), sizeof(request.name) - 1));
  memcpy(request.value, value.data(), std::min(value.size(), sizeof(request.value) - 1));
  box.ask(request);
  const bool answered = wait(box, request.ticket, deadline, signals);
  if (answered) {
    const Answer answer = box.answer();
    // Somebody who does not know of the lock may have asked meanwhile.
    if (box.is_answered(request.ticket)) {
      box.write_ticket(0);
      return answer;
    }
  } else {
    const Withdrawn withdrawn = withdraw(box, request.ticket);
    if (withdrawn == Withdrawn::kAnswered) return box.answer();
    if (withdrawn == Withdrawn::kBegun)
      fail(pid, kNotTaken, "it has begun with the change, and not said that it is done; weir get tells");
  }
  if (!box.is_there()) box.fail_gone();
  fail(pid, kNotTaken,
       fmt::format("it has not answered within {} s: it is stopped, or has no limit and calls neither malloc nor free; "
                   "nothing was changed",
                   seconds));
}

}  // namespace weir::tool
