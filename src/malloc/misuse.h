// Purpose: tells the person at the terminal which pointer was misused, in one line, and ends the process.
// Thread safety: any thread, with no weir lock held.
#pragma once

#include "malloc/allocator.h"

namespace weir {

// Writes e.g. "weir: double free of 0x2a0000001040 (size class 64)" to stderr and aborts. Nothing when there is no
// misuse. `call`: what the program called ("free", "realloc"). `fd`: the program's standard error, as the calling
// thread has it.
void report_misuse(const BadPointer& bad, const char* call, int fd = 2);

}  // namespace weir
