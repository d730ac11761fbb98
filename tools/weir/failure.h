// Purpose: how the command ends when it cannot do what it was asked: one line on stderr and an exit status.
// Thread safety: values.
#pragma once

#include <stdexcept>
#include <string>

namespace weir::tool {

// The numbers of env(1) and of sysexits.h.
enum ExitStatus : int {
  kUsage = 64,           // EX_USAGE: the command line or WEIR_CONF is wrong
  kNoStats = 66,         // EX_NOINPUT: no such process, or it is not on weir, or it may not be read; or no recording
  kNotTaken = 75,        // EX_TEMPFAIL: the process has not answered a request
  kFailed = 125,         // weir itself failed: no library to preload
  kNotExecutable = 126,  // the program was found but cannot be executed
  kNotFound = 127,       // the program was not found
};

class Failure : public std::runtime_error {
 public:
  Failure(ExitStatus status, const std::string& message) : std::runtime_error(message), status_(status) {}
  [[nodiscard]] ExitStatus status() const { return status_; }

 private:
  ExitStatus status_;
};

}  // namespace weir::tool
