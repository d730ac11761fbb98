// Purpose: text as a JSON string.
// Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>

namespace weir::tool {

// In double quotes, escaped as RFC 8259 wants it. Bytes that are no UTF-8 (paths may have any) become U+FFFD.
[[nodiscard]] std::string json_string(std::string_view text);

}  // namespace weir::tool
