// operators.cc: all 20 forms of operator new and delete work, come from the same allocator as malloc, throw bad_alloc
// or return null on failure, and call the new_handler first.
#include <initializer_list>
#include <new>

#include "contract.h"

namespace {

// The mangled names of the 20 forms, as the C++ ABI spells them for size_t = unsigned long.
const char* const kForms[] = {"_Znwm",
                              "_Znam",
                              "_ZnwmRKSt9nothrow_t",
                              "_ZnamRKSt9nothrow_t",
                              "_ZnwmSt11align_val_t",
                              "_ZnamSt11align_val_t",
                              "_ZnwmSt11align_val_tRKSt9nothrow_t",
                              "_ZnamSt11align_val_tRKSt9nothrow_t",
                              "_ZdlPv",
                              "_ZdaPv",
                              "_ZdlPvm",
                              "_ZdaPvm",
                              "_ZdlPvRKSt9nothrow_t",
                              "_ZdaPvRKSt9nothrow_t",
                              "_ZdlPvSt11align_val_t",
                              "_ZdaPvSt11align_val_t",
                              "_ZdlPvmSt11align_val_t",
                              "_ZdaPvmSt11align_val_t",
                              "_ZdlPvSt11align_val_tRKSt9nothrow_t",
                              "_ZdaPvSt11align_val_tRKSt9nothrow_t"};

int handler_calls = 0;

void* use(void* ptr, size_t size, size_t alignment) {
  CHECK(ptr != nullptr && reinterpret_cast<uintptr_t>(ptr) % alignment == 0);
  memset(ptr, 0x5a, size);
  return ptr;
}

void check_forms_come_from_weir() {
  if (!allocator_is_weir()) return;
  for (const char* form : kForms) {
    Dl_info info;
    void* address = dlsym(RTLD_DEFAULT, form);
    CHECK(address != nullptr && dladdr(address, &info) != 0);
    if (strstr(info.dli_fname, "libweir-malloc") == nullptr) contract_fail(__FILE__, __LINE__, form);
  }
}

void check_plain(size_t size) {
  ::operator delete(use(::operator new(size), size, 16));
  ::operator delete(use(::operator new(size), size, 16), size);
  ::operator delete(use(::operator new(size, std::nothrow), size, 16), std::nothrow);
  ::operator delete[](use(::operator new[](size), size, 16));
  ::operator delete[](use(::operator new[](size), size, 16), size);
  ::operator delete[](use(::operator new[](size, std::nothrow), size, 16), std::nothrow);
}

void check_aligned(size_t size, size_t number) {
  std::align_val_t alignment{number};
  ::operator delete(use(::operator new(size, alignment), size, number), alignment);
  ::operator delete(use(::operator new(size, alignment), size, number), size, alignment);
  ::operator delete(use(::operator new(size, alignment, std::nothrow), size, number), alignment, std::nothrow);
  ::operator delete[](use(::operator new[](size, alignment), size, number), alignment);
  ::operator delete[](use(::operator new[](size, alignment), size, number), size, alignment);
  ::operator delete[](use(::operator new[](size, alignment, std::nothrow), size, number), alignment, std::nothrow);
}

void check_null_deletes() {
  ::operator delete(nullptr);
  ::operator delete[](nullptr);
  ::operator delete (nullptr, size_t{4});
  ::operator delete[](nullptr, std::align_val_t{64});
}

// new with this many bytes fails everywhere: it is more than any object may have.
size_t impossible() {
  return opaque_size(static_cast<size_t>(PTRDIFF_MAX) - 64);
}

template <typename Function>
bool throws_bad_alloc(Function function) {
  try {
    opaque(function());
  } catch (const std::bad_alloc& error) {
    return error.what() != nullptr;
  }
  return false;
}

void check_failure() {
  std::align_val_t alignment{64};
  CHECK(throws_bad_alloc([] { return ::operator new(impossible()); }));
  CHECK(throws_bad_alloc([] { return ::operator new[](impossible()); }));
  CHECK(throws_bad_alloc([=] { return ::operator new(impossible(), alignment); }));
  CHECK(throws_bad_alloc([=] { return ::operator new[](impossible(), alignment); }));
  CHECK(::operator new(impossible(), std::nothrow) == nullptr);
  CHECK(::operator new[](impossible(), std::nothrow) == nullptr);
  CHECK(::operator new(impossible(), alignment, std::nothrow) == nullptr);
  CHECK(::operator new[](impossible(), alignment, std::nothrow) == nullptr);
}

// Gives up on its third call, as a handler that has nothing left to release does.
void give_up_third() {
  if (++handler_calls == 3) std::set_new_handler(nullptr);
}

struct HandlerThrew : std::bad_alloc {};

void throw_own() {
  throw HandlerThrew();
}

template <typename Function>
void check_handler_calls(Function function) {
  handler_calls = 0;
  std::set_new_handler(give_up_third);
  function();
  CHECK(handler_calls == 3);
  CHECK(std::get_new_handler() == nullptr);
}

void check_handler() {
  std::align_val_t alignment{128};
  check_handler_calls([] { CHECK(throws_bad_alloc([] { return ::operator new(impossible()); })); });
  check_handler_calls([=] { CHECK(throws_bad_alloc([=] { return ::operator new[](impossible(), alignment); })); });
  check_handler_calls([] { CHECK(::operator new(impossible(), std::nothrow) == nullptr); });
  check_handler_calls([=] { CHECK(::operator new(impossible(), alignment, std::nothrow) == nullptr); });
  std::set_new_handler(throw_own);
  bool own = false;
  try {
    opaque(::operator new(impossible()));
  } catch (const HandlerThrew&) {
    own = true;
  }
  CHECK(own);
  // The nothrow forms swallow what the handler throws.
  CHECK(::operator new(impossible(), std::nothrow) == nullptr);
  std::set_new_handler(nullptr);
}

// The compiler's own new and delete expressions, with an over-aligned type.
struct alignas(256) Wide {
  char bytes[256];
};

void check_expressions() {
  for (int i = 0; i < 1000; ++i) {
    Wide* one = new Wide();
    Wide* many = new Wide[5]();
    CHECK(reinterpret_cast<uintptr_t>(one) % 256 == 0 && reinterpret_cast<uintptr_t>(many) % 256 == 0);
    CHECK(all_zero(many, 5 * sizeof(Wide)));
    delete one;
    delete[] many;
  }
}

}  // namespace

int main() {
  contract_begin(60);
  check_forms_come_from_weir();
  for (size_t size : {size_t{0}, size_t{1}, size_t{24}, size_t{1000}, 40 * KIB, 3 * MIB}) {
    check_plain(size);
    for (size_t alignment = 32; alignment <= 64 * KIB; alignment *= 2) check_aligned(size, alignment);
  }
  check_null_deletes();
  check_failure();
  check_handler();
  check_expressions();
  return 0;
}
