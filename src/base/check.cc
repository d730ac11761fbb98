#include "base/check.h"

#include "base/port.h"
#include "base/print.h"

namespace weir {

void check_failed(std::string_view what, const char* file, int line) {
  Line text;
  text.text("weir: internal check failed: ").text(what).text(" (").text(file).text(":");
  text.dec(static_cast<unsigned>(line)).text(")\n");
  port::write_error(text.view().data(), text.view().size());
  port::abort_process();
}

}  // namespace weir
