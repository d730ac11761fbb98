// Purpose: small files that the kernel shows its state in, and the forms in which people read numbers.
// Thread safety: functions of the file system.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::tool {

// The content without blanks at its end; "" when it cannot be read.
[[nodiscard]] std::string read_file(const std::string& path);
// What stands behind "key:" in a file of such lines; "" when nothing does.
[[nodiscard]] std::string field_of(const std::string& path, std::string_view key);
// The same of a line like "MemTotal:  2048 kB", in bytes; 0 when it is not there.
[[nodiscard]] uint64_t kilobytes_of(const std::string& path, std::string_view key);

// "21.5 GiB"; whole numbers without a point.
[[nodiscard]] std::string readable_bytes(uint64_t bytes);

// The type of the file system that an existing path lies on ("ext4"), "" when that is not known.
[[nodiscard]] std::string file_system_of(const std::string& path);

}  // namespace weir::tool
