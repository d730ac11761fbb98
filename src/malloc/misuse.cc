#include "malloc/misuse.h"

#include "base/port.h"
#include "base/print.h"

namespace weir {

void report_misuse(const BadPointer& bad, const char* call, int fd) {
  if (bad.misuse == Misuse::kNone) return;
  Line line;
  line.text("weir: ").text(call).text(": ");
  switch (bad.misuse) {
    case Misuse::kDoubleFree:
      line.text("double free of ").pointer(bad.pointer);
      break;
    case Misuse::kInsideObject:
      line.pointer(bad.pointer).text(" points inside an object, not at its start");
      break;
    case Misuse::kNotGivenOut:
      line.pointer(bad.pointer).text(" was never given out, or was freed before");
      break;
    case Misuse::kForeign:
      line.pointer(bad.pointer).text(" does not belong to weir");
      break;
    case Misuse::kNone:
      break;
  }
  if (bad.class_size != 0)
    line.text(" (size class ").dec(bad.class_size);
  else if (bad.misuse != Misuse::kForeign)
    line.text(" (no size class: large or free pages");
  if (bad.heap != nullptr) line.text("; heap ").text(bad.heap);
  if (bad.misuse != Misuse::kForeign) line.text(")");
  line.text("\n");
  line.write_to(fd);
  port::abort_process();
}

}  // namespace weir
