#include "swap/swap_queue.h"

#include <errno.h>

#include "base/check.h"
#include "os/file.h"
#include "os/proc.h"

namespace weir {
namespace {

// As in os/swap_io: so often in a row an attempt may bring nothing.
constexpr unsigned kMaxStalls = 1000;

using Op = os::FaultInjector::Op;
using Effect = os::FaultInjector::Effect;

}  // namespace

bool SwapQueue::open(SwapFile& file, Mode mode) {
  busy_ = ready_ = 0;
  if (mode == Mode::kSynchronous || !ring_.open(kDepth)) {
    event_ = os::open_event();
    if (event_ < 0) return false;
  }
  file_ = &file;
  return true;
}

void SwapQueue::close() {
  Completion dropped[8];
  while (pending() != 0 && is_open()) wait(dropped, 8);
  abandon(true);
}

void SwapQueue::abandon(bool close_descriptor) {
  ring_.abandon(close_descriptor);
  if (event_ >= 0 && close_descriptor) os::close_descriptor(event_);
  event_ = -1;
  file_ = nullptr;
  busy_ = ready_ = 0;
}

SwapQueue::Operation* SwapQueue::take(uint64_t cookie, bool is_write, Slots slots) {
  WEIR_DCHECK(is_open() && slots.count >= 1 && slots.count <= SwapFile::kMaxRun);
  if (~busy_ == 0) return nullptr;
  const unsigned index = static_cast<unsigned>(__builtin_ctzll(~busy_));
  busy_ |= uint64_t{1} << index;
  Operation& operation = operations_[index];
  operation = {};
  operation.completion = {cookie, IoResult::kOk, is_write, slots, 0};
  return &operation;
}

bool SwapQueue::prepare_read(uint64_t first, unsigned count, void* buffer, uint64_t cookie) {
  Operation* operation = take(cookie, false, {first, count});
  if (operation == nullptr) return false;
  operation->buffer = buffer;
  start(*operation);
  return true;
}

bool SwapQueue::submit_read(uint64_t first, unsigned count, void* buffer, uint64_t cookie) {
  if (!prepare_read(first, count, buffer, cookie)) return false;
  submit();
  return true;
}

bool SwapQueue::submit_write(Slots slots, const void* buffer, uint64_t cookie) {
  Operation* operation = take(cookie, true, slots);
  if (operation == nullptr) return false;
  const IoResult begun = file_->begin_write(operation->completion.slots, buffer, operation->out);
  operation->buffer = const_cast<void*>(operation->out.data);
  if (begun == IoResult::kOk)
    start(*operation);
  else
    finish_with(*operation, begun);
  submit();
  return true;
}

void SwapQueue::start(Operation& operation) {
  if (ring_.is_open())
    push(operation);
  else
    run_now(operation);
}

// Hands what is left of a transfer to the ring. The failures that were asked for are no transfers, but complete there.
void SwapQueue::push(Operation& operation) {
  const Slots slots = operation.completion.slots;
  const size_t left = slots.count * kPageSize - operation.done;
  const uint64_t offset = slots.first * kPageSize + operation.done;
  os::SwapIo& io = file_->io();
  const bool is_write = operation.completion.is_write;
  operation.fault = io.next_fault(is_write ? Op::kWrite : Op::kRead);
  if (is_write && operation.fault.effect != Effect::kError && !io.may_write_up_to(offset + left))
    operation.fault = {Effect::kError, EFBIG};
  const bool fails = operation.fault.effect == Effect::kError;
  const auto op = fails ? os::SwapRing::Op::kNothing : is_write ? os::SwapRing::Op::kWrite : os::SwapRing::Op::kRead;
  ring_.push(op, io.fd(), static_cast<char*>(operation.buffer) + operation.done,
             operation.fault.effect == Effect::kShort ? os::SwapIo::shortened(left) : left, io.file_offset(offset),
             index_of(operation));
}

// Starts what was pushed. What the kernel does not take (it is short of memory, or somebody closed the ring) is done
// here and now.
void SwapQueue::submit() {
  if (!ring_.is_open() || ring_.submit(false) == 0) return;
  uint64_t tag;
  while (ring_.take_back(tag)) run_now(operations_[tag]);
}

void SwapQueue::run_now(Operation& operation) {
  const Slots slots = operation.completion.slots;
  const size_t left = slots.count * kPageSize - operation.done;
  const uint64_t offset = slots.first * kPageSize + operation.done;
  char* buffer = static_cast<char*>(operation.buffer) + operation.done;
  const os::Transfer transfer =
      operation.completion.is_write ? file_->io().write(buffer, left, offset) : file_->io().read(buffer, left, offset);
  operation.done += transfer.done;
  finish(operation, transfer.error);
}

// What an attempt brought: its bytes, or -errno.
void SwapQueue::advance(Operation& operation, int result) {
  if (operation.fault.effect == Effect::kError) result = -operation.fault.error;
  const size_t got = result > 0 ? static_cast<size_t>(result) : 0;
  if (operation.fault.effect == Effect::kCorrupt && got >= kPageSize)
    os::SwapIo::corrupt(static_cast<char*>(operation.buffer) + operation.done, got);
  const size_t whole = align_down(got, kPageSize);
  operation.done += whole;
  if (operation.done == operation.completion.slots.count * kPageSize) return finish(operation, 0);
  operation.stalls = whole != 0 ? 0 : operation.stalls + 1;
  const bool again = result > 0 || result == -EINTR || result == -EAGAIN;
  if (again && operation.stalls < kMaxStalls) return push(operation);
  finish(operation, result < 0 && !again ? -result : EIO);
}

void SwapQueue::finish(Operation& operation, int error) {
  Completion& c = operation.completion;
  const os::Transfer transfer = {operation.done, error};
  if (ring_.is_open()) file_->io().drop_cache(c.slots.first * kPageSize, c.slots.count * kPageSize);
  finish_with(operation, c.is_write ? file_->end_write(c.slots, operation.out, transfer)
                                    : file_->end_read(c.slots, operation.buffer, transfer, c.bad_mask));
}

void SwapQueue::finish_with(Operation& operation, IoResult result) {
  operation.completion.result = result;
  ready_ |= uint64_t{1} << index_of(operation);
  if (event_ >= 0) os::raise_event(event_);
}

void SwapQueue::reap() {
  if (!ring_.is_open()) return;
  uint64_t tag;
  int result;
  while (ring_.pop(tag, result)) advance(operations_[tag], result);
  // Transfers that stopped short go on.
  submit();
}

unsigned SwapQueue::collect(Completion* completions, unsigned most) {
  unsigned count = 0;
  for (; count < most && ready_ != 0; ++count) {
    const unsigned index = static_cast<unsigned>(__builtin_ctzll(ready_));
    const uint64_t bit = uint64_t{1} << index;
    completions[count] = operations_[index].completion;
    ready_ &= ~bit;
    busy_ &= ~bit;
  }
  if (event_ >= 0 && ready_ == 0) os::clear_event(event_);
  return count;
}

unsigned SwapQueue::poll(Completion* completions, unsigned most) {
  reap();
  return collect(completions, most);
}

unsigned SwapQueue::wait(Completion* completions, unsigned most) {
  for (;;) {
    reap();
    const unsigned count = collect(completions, most);
    if (count != 0 || pending() == 0 || most == 0) return count;
    // A ring that cannot be entered any more still shows what completes.
    if (ring_.submit(true) != 0) os::sleep_ms(1);
  }
}

}  // namespace weir
