// Purpose: what `weir doctor` found out about one thing, and how much it matters.
// Thread safety: values.
#pragma once

#include <string>
#include <vector>

namespace weir::tool {

enum class Grade {
  kGood,   // as weir likes it
  kNote,   // worth knowing; nothing is lost by it
  kLacks,  // something that weir can do does not work here
};

struct Finding {
  Grade grade = Grade::kGood;
  std::string name;
  std::string value;
  std::string meaning;   // what follows for weir; empty when nothing does
  std::string remedy;    // the command that would turn it on; empty when there is none
  bool decides = false;  // without it no page can be swapped
};

using Findings = std::vector<Finding>;

}  // namespace weir::tool
