#include "top_app.h"

#include <algorithm>
#include <array>
#include <utility>

#include "procfs.h"

namespace weir::tool {

bool TopApp::take_refresh() {
  return std::exchange(refresh_, false);
}

void TopApp::press(const KeyPress& press) {
  if (press.key == Key::kOther) return;
  if (press.key == Key::kQuit) {
    over_ = true;
    return;
  }
  switch (mode_) {
    case Mode::kHelp:
      mode_ = Mode::kTable;
      return;
    case Mode::kSearch:
      return press_in_search(press);
    case Mode::kChoice:
      return press_in_choice(press);
    case Mode::kTable:
      return press_in_table(press);
  }
}

void TopApp::press_in_table(const KeyPress& press) {
  if (move_in_table(press.key)) return;
  switch (press.key) {
    case Key::kHelp:
      mode_ = Mode::kHelp;
      return;
    case Key::kSearch:
      return start_search();
    case Key::kSort:
      return start_choice();
    case Key::kOpen:
    case Key::kEnter:
      return open();
    case Key::kEscape:
      return go_back();
    case Key::kTab:
      if (watch_) watch_->show_other_table();
      return;
    case Key::kText:
      if (press.text.size() == 1) type(press.text[0]);
      return;
    default:
      return;
  }
}

bool TopApp::move_in_table(Key key) {
  switch (key) {
    case Key::kUp:
      table().move(-1);
      return true;
    case Key::kDown:
      table().move(1);
      return true;
    case Key::kPageUp:
      table().move_pages(-1);
      return true;
    case Key::kPageDown:
      table().move_pages(1);
      return true;
    case Key::kHome:
      table().select(0);
      return true;
    case Key::kEnd:
      table().select(table().rows().size());
      return true;
    default:
      return false;
  }
}

void TopApp::type(char character) {
  switch (character) {
    case 'q':
      over_ = true;
      return;
    case 'h':
    case '?':
      mode_ = Mode::kHelp;
      return;
    case '/':
      return start_search();
    case '<':
      return sort_next(-1);
    case '>':
      return sort_next(1);
    case 'I':
      return table().invert();
    case '+':
    case '-':
      return change_delay(character == '+');
    case 'p':
      paused_ = !paused_;
      return;
    default:
      return;
  }
}

void TopApp::start_search() {
  mode_ = Mode::kSearch;
  search_.clear();
  found_ = true;
}

void TopApp::press_in_search(const KeyPress& press) {
  switch (press.key) {
    case Key::kText:
      search_ += press.text;
      found_ = table().find(search_, false);
      return;
    case Key::kBackspace:
      // A character may be several bytes of UTF-8, all but the first of which are 10xxxxxx.
      while (!search_.empty() && (search_.back() & 0xc0) == 0x80) search_.pop_back();
      if (!search_.empty()) search_.pop_back();
      found_ = search_.empty() || table().find(search_, false);
      return;
    case Key::kSearch:
      found_ = table().find(search_, true);
      return;
    case Key::kEnter:
    case Key::kEscape:
      mode_ = Mode::kTable;
      return;
    default:
      // Somebody who moves on has found it.
      if (move_in_table(press.key)) mode_ = Mode::kTable;
      return;
  }
}

void TopApp::start_choice() {
  mode_ = Mode::kChoice;
  choice_ = table().sorted();
}

void TopApp::press_in_choice(const KeyPress& press) {
  const size_t last = table().columns().size() - 1;
  switch (press.key) {
    case Key::kUp:
      if (choice_ > 0) --choice_;
      return;
    case Key::kDown:
      choice_ = std::min(choice_ + 1, last);
      return;
    case Key::kHome:
    case Key::kPageUp:
      choice_ = 0;
      return;
    case Key::kEnd:
    case Key::kPageDown:
      choice_ = last;
      return;
    case Key::kEnter:
      table().sort_by(choice_);
      mode_ = Mode::kTable;
      return;
    case Key::kEscape:
    case Key::kSort:
      mode_ = Mode::kTable;
      return;
    default:
      return;
  }
}

void TopApp::sort_next(int step) {
  const size_t count = table().columns().size();
  table().sort_by((table().sorted() + (step > 0 ? 1 : count - 1)) % count);
}

void TopApp::change_delay(bool longer) {
  constexpr std::array<double, 9> kSteps = {0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60};
  if (longer) {
    const auto* next = std::upper_bound(kSteps.begin(), kSteps.end(), delay_);
    if (next != kSteps.end()) delay_ = *next;
  } else {
    const auto* next = std::lower_bound(kSteps.begin(), kSteps.end(), delay_);
    if (next != kSteps.begin()) delay_ = *(next - 1);
  }
}

void TopApp::open() {
  const auto selected = table().selected();
  if (watch_ || !selected) return;
  const auto pid = static_cast<pid_t>(*selected);
  const Tracker* tracker = list_.find(pid);
  if (tracker != nullptr) watch_.emplace(*tracker, command_of(pid), arguments_of(pid));
}

void TopApp::go_back() {
  if (!watch_) return;
  watch_.reset();
  refresh_ = true;
}

}  // namespace weir::tool
