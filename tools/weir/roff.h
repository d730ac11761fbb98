// Purpose: text for manual pages: escapes of man(7), paragraphs and examples.
// Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>

namespace weir::tool {

// As it must stand in a line of its own, or in one. Hyphens stay such that what is copied from a terminal can be typed.
[[nodiscard]] std::string roff(std::string_view text);

// With a capital letter at its beginning.
[[nodiscard]] std::string roff_sentence(std::string text);

// A text as --help prints it: blank lines between paragraphs; lines that begin with a blank are examples, and stay as
// they are.
[[nodiscard]] std::string roff_paragraphs(std::string_view text);

// .TH with title, section and the version, then NAME: `names` as whatis(1) lists them.
[[nodiscard]] std::string roff_head(std::string_view title, int section, std::string_view names,
                                    std::string_view about);

}  // namespace weir::tool
