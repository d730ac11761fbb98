// Purpose: builds the WEIR_CONF of the program from the command line, and checks it before the program starts.
// Thread safety: values; the functions only read the file system.
// Invariants: what is built is read back by the library's own parser as it was meant, or a Failure is thrown.
#pragma once

#include <string>
#include <string_view>

namespace weir::tool {

// A value of the option `swap` as it is to be given to a process: the library is started in other folders than this
// command, by programs that change theirs and start others.
[[nodiscard]] std::string absolute_swap(std::string_view value);

class Conf {
 public:
  // Begins with the value of WEIR_CONF of this command's own environment. Throws Failure kUsage for a mistake in it.
  explicit Conf(const std::string& inherited);

  // Adds key=value, which wins over what came before. `source` is how the user wrote it, for the message of the Failure
  // that is thrown when the option does not take the value.
  void set(std::string_view key, std::string_view value, std::string_view source);
  // The same with "key=value" in one text.
  void set_assignment(const std::string& assignment);

  // Whether `set` has set one of the limits, if only to 0.
  [[nodiscard]] bool has_own_limit() const { return has_own_limit_; }
  // The value an option has now, in the form that `set` takes.
  [[nodiscard]] std::string value(const char* key) const;
  [[nodiscard]] const std::string& text() const { return text_; }

  // Looks at the swap file and at the faults that are asked of it. Throws Failure kUsage.
  void check_swap() const;

 private:
  std::string text_;
  bool has_own_limit_ = false;
  std::string swap_source_;  // how the user asked for the swap file; empty when WEIR_CONF did
};

}  // namespace weir::tool
