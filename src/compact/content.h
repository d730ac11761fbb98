// Purpose: what is in pages of objects that move, so that pages which were never written to stay without memory.
// Thread safety: of pages that belong to the caller.
#pragma once

#include <cstring>

#include "page/zone.h"

namespace weir {

inline bool is_zero_page(const char* page) {
  return page[0] == 0 && memcmp(page, page + 1, kPageSize - 1) == 0;
}

// Whether it may read as something else than zeros; with a limit that must be known before it is read, which would
// count it as memory.
inline bool may_have_content(Zone& zone, Pfn pfn) {
  return !zone.limited() || zone.find_content(pfn, pfn + 1).first == pfn;
}

}  // namespace weir
