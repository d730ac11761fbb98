// Purpose: what may stand next on a command line of weir: for the completion of shells (tools/package/weir.bash).
// Thread safety: one thread. Invariants: derived from the command line's own description and from the table of options,
//                so that a new command or key is completed without an edit here.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace weir::tool {

// Prints what `words` (without the command's own name, up to the cursor; the last is being typed, and may be empty) can
// go on with: a line for each candidate, in full; and lines that begin with a colon:
//   :nospace         something follows the candidates without a blank
//   :files N         the last word without its first N characters is the beginning of a path
//   :directories N   the same, of a directory
//   :program N       words[N] and what follows are another command's
void complete(const CLI::App& app, const std::vector<std::string>& words);

}  // namespace weir::tool
