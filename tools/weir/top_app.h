// Purpose: what weir top shows and what its keys do, apart from terminals: a list of processes, or the view of one.
// Thread safety: one thread. Invariants: there is a watch exactly while one process is shown.
#pragma once

#include <optional>
#include <string>

#include "process_list.h"
#include "watch.h"

namespace weir::tool {

// Seconds from one update to the next: what may be asked for. kswapd publishes its numbers every 50 ms.
constexpr double kShortestDelay = 0.05, kLongestDelay = 3600;

enum class Key : uint8_t {
  kOther,
  kText,  // what is typed
  kUp,
  kDown,
  kPageUp,
  kPageDown,
  kHome,
  kEnd,
  kEnter,
  kEscape,
  kBackspace,
  kHelp,    // F1
  kSearch,  // F3
  kOpen,    // F5
  kSort,    // F6
  kTab,
  kQuit,  // F10
};

struct KeyPress {
  Key key = Key::kOther;
  std::string text;  // one character, when key is kText
};

class TopApp {
 public:
  enum class Mode : uint8_t { kTable, kHelp, kSearch, kChoice };

  explicit TopApp(double delay) : delay_(delay) {}
  TopApp(double delay, Watch watch) : delay_(delay), watch_(std::move(watch)) {}

  void press(const KeyPress& press);

  [[nodiscard]] Mode mode() const { return mode_; }
  [[nodiscard]] bool is_over() const { return over_; }
  [[nodiscard]] bool is_paused() const { return paused_; }
  [[nodiscard]] double delay() const { return delay_; }
  // Whether what is shown now has not been read yet. Says so once.
  [[nodiscard]] bool take_refresh();
  [[nodiscard]] Watch* watch() { return watch_ ? &*watch_ : nullptr; }
  [[nodiscard]] ProcessList& list() { return list_; }
  // The table that keys act on.
  [[nodiscard]] Table& table() { return watch_ ? watch_->table() : list_.table(); }
  [[nodiscard]] const std::string& search() const { return search_; }
  [[nodiscard]] bool is_found() const { return found_; }
  [[nodiscard]] size_t choice() const { return choice_; }

 private:
  void press_in_table(const KeyPress& press);
  void press_in_search(const KeyPress& press);
  void press_in_choice(const KeyPress& press);
  bool move_in_table(Key key);
  void type(char character);
  void start_search();
  void start_choice();
  void sort_next(int step);
  void change_delay(bool longer);
  void open();
  void go_back();

  double delay_;
  bool paused_ = false;
  bool over_ = false;
  bool refresh_ = false;
  Mode mode_ = Mode::kTable;
  std::string search_;
  bool found_ = true;
  size_t choice_ = 0;
  ProcessList list_;
  std::optional<Watch> watch_;
};

}  // namespace weir::tool
