// Purpose: the terminal: paints frames, says which keys were pressed, and is as it was before when the object goes.
// Thread safety: one thread; one object at a time. Invariants: signals that end the command or change the terminal's
//                size are let through only in wait(), so that none is missed and none comes while something is painted.
#pragma once

#include <optional>

#include "frame.h"
#include "top_app.h"

struct screen;  // of ncurses

namespace weir::tool {

class Terminal {
 public:
  // Throws Failure kUsage when stdin or stdout is no terminal, or one that is not known.
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // As large as the terminal is now.
  [[nodiscard]] Screen screen();
  void paint(const Frame& frame);

  // What wait() came back for.
  enum class Event : uint8_t {
    kTime,     // `seconds` are over
    kInput,    // keys, or another size
    kProcess,  // the descriptor is readable
    kEnd,      // a signal wants the command to end, or the terminal is gone
  };
  // Waits for so long (for ever when that is nothing), for input, and for a descriptor unless it is -1.
  [[nodiscard]] Event wait(std::optional<double> seconds, int descriptor);
  // The next key that was pressed; nothing when there is none. Does not wait.
  [[nodiscard]] std::optional<KeyPress> key();

 private:
  ::screen* screen_;
};

}  // namespace weir::tool
