#include "os/undisturbed.h"

#include <errno.h>
#include <sys/rseq.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/lock.h"
#include "base/units.h"
#include "os/vm.h"

namespace weir::os {
namespace {

// What is called needs some kilobytes; verify() of everything most.
constexpr size_t kStackBytes = size_t{64} << 10;
// As many threads at a time as have stacks of theirs that are kept; others have one mapped for each call.
constexpr unsigned kStacksKept = 16;

constinit std::atomic<uintptr_t> swappable_begin{~uintptr_t{0}}, swappable_end{0};
constinit std::atomic<char*> stacks[kStacksKept] = {};

constinit PageKeeper page_keeper = {};
constinit thread_local bool thread_kept = false;

struct Extent {
  const char* begin;
  const char* end;
  void add(const volatile void* p, size_t bytes) {
    const auto* const first = static_cast<const char*>(const_cast<const void*>(p));
    begin = std::min(begin, first);
    end = std::max(end, first + bytes);
  }
};

const char* page_of(const char* p) {
  return p - reinterpret_cast<uintptr_t>(p) % kPageSize;
}

// What is touched of it while a thread holds a lock of weir's. Thread-local variables of the program may lie between.
Extent own_of_thread() {
  // Its head: pointers to itself, and the canary of code that was compiled with stack protection.
  constexpr size_t kHead = 0x40;
  const auto* const pointer = static_cast<const char*>(__builtin_thread_pointer());
  Extent own = {pointer, pointer + kHead};
  own.add(&errno, sizeof(errno));
  own.add(&locks_held, sizeof(locks_held));
  own.add(&thread_kept, sizeof(thread_kept));
  if (__rseq_size != 0) own.add(pointer + __rseq_offset, sizeof(struct rseq));
  return own;
}

char* take_stack() {
  for (std::atomic<char*>& each : stacks)
    if (each.load(std::memory_order_relaxed) != nullptr)
      if (char* const stack = each.exchange(nullptr, std::memory_order_acquire); stack != nullptr) return stack;
  return static_cast<char*>(vm_map(kStackBytes));
}

void give_stack(char* stack) {
  for (std::atomic<char*>& each : stacks) {
    char* none = nullptr;
    if (each.compare_exchange_strong(none, stack, std::memory_order_release, std::memory_order_relaxed)) return;
  }
  vm_unmap(stack, kStackBytes);
}

}  // namespace

// Calls what(argument) with the stack that ends at `top`. The frame pointer tells debuggers the way back.
extern "C" void weir_call_on_stack(void (*what)(void*), void* argument, char* top);
#if defined(__x86_64__)
asm(R"(
  .text
  .hidden weir_call_on_stack
  .type weir_call_on_stack, @function
  .globl weir_call_on_stack
weir_call_on_stack:
  .cfi_startproc
  endbr64
  push %rbp
  .cfi_def_cfa_offset 16
  .cfi_offset rbp, -16
  mov %rsp, %rbp
  .cfi_def_cfa_register rbp
  mov %rdx, %rsp
  mov %rdi, %rax
  mov %rsi, %rdi
  call *%rax
  mov %rbp, %rsp
  pop %rbp
  .cfi_def_cfa rsp, 8
  ret
  .cfi_endproc
  .size weir_call_on_stack, . - weir_call_on_stack
)");
#elif defined(__aarch64__)
asm(R"(
  .text
  .hidden weir_call_on_stack
  .type weir_call_on_stack, %function
  .globl weir_call_on_stack
weir_call_on_stack:
  .cfi_startproc
  hint #34
  stp x29, x30, [sp, #-16]!
  .cfi_def_cfa_offset 16
  .cfi_offset x29, -16
  .cfi_offset x30, -8
  mov x29, sp
  .cfi_def_cfa_register x29
  mov sp, x2
  mov x9, x0
  mov x0, x1
  blr x9
  mov sp, x29
  .cfi_def_cfa_register sp
  ldp x29, x30, [sp], #16
  .cfi_def_cfa_offset 0
  ret
  .cfi_endproc
  .size weir_call_on_stack, . - weir_call_on_stack
)");
#else
#error "weir_call_on_stack is written for x86-64 and arm64"
#endif

void swappable_memory(const void* begin, size_t bytes, PageKeeper keeper) {
  page_keeper = keeper;
  const auto first = reinterpret_cast<uintptr_t>(begin);
  if (first < swappable_begin.load(std::memory_order_relaxed)) swappable_begin.store(first, std::memory_order_relaxed);
  if (first + bytes > swappable_end.load(std::memory_order_relaxed))
    swappable_end.store(first + bytes, std::memory_order_relaxed);
}

void keep_thread_present() {
  if (thread_kept || !detail::is_swappable(__builtin_thread_pointer())) return;
  const Extent own = own_of_thread();
  const char* const begin = page_of(own.begin);
  const char* const end = page_of(own.end - 1) + kPageSize;
  page_keeper.keep(page_keeper.self, begin, end);
  for (const char* p = begin; p < end; p += kPageSize) static_cast<void>(*static_cast<const volatile char*>(p));
  thread_kept = true;
}

namespace detail {

bool is_swappable(const void* p) {
  const uintptr_t begin = swappable_begin.load(std::memory_order_relaxed);
  return reinterpret_cast<uintptr_t>(p) - begin < swappable_end.load(std::memory_order_relaxed) - begin;
}

void call_elsewhere(void (*what)(void*), void* argument) {
  char* const stack = take_stack();
  if (stack == nullptr) return what(argument);
  weir_call_on_stack(what, argument, stack + kStackBytes);
  give_stack(stack);
}

}  // namespace detail
}  // namespace weir::os
