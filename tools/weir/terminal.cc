#include "terminal.h"

// Functions instead of macros with names such as move and clear.
#define NCURSES_NOMACROS
#include <curses.h>
#include <errno.h>
#include <fmt/format.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <term.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "failure.h"

namespace weir::tool {
namespace {

constexpr std::array kEndSignals = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

volatile sig_atomic_t ended = 0;

// -- colours ---------------------------------------------------------------------------------------------------------

// A colour for terminals with 8 colours, with 256, and with all. -1: the terminal's own.
struct Colour {
  int of_8, of_256, rgb;
};
constexpr Colour kDefault = {-1, -1, -1};
constexpr Colour kBlack = {COLOR_BLACK, 16, 0x000000};
constexpr Colour kGreen = {COLOR_GREEN, 40, 0x00d700};
constexpr Colour kBlue = {COLOR_BLUE, 39, 0x00afff};
constexpr Colour kOrange = {COLOR_YELLOW, 208, 0xff8700};
constexpr Colour kRed = {COLOR_RED, 196, 0xff0000};
constexpr Colour kCyan = {COLOR_CYAN, 37, 0x00afaf};
constexpr Colour kMagenta = {COLOR_MAGENTA, 170, 0xd75fd7};
constexpr Colour kGrey = {-1, 244, 0x808080};

struct Look {
  Colour ink, paper;
  attr_t with_colours, without;
};

// As in enum Style.
constexpr std::array<Look, kStyles> kLooks = {{
    {kDefault, kDefault, A_NORMAL, A_NORMAL},  // kPlain
    {kGrey, kDefault, A_NORMAL, A_NORMAL},     // kFaint
    {kDefault, kDefault, A_BOLD, A_BOLD},      // kStrong
    {kBlack, kBlue, A_NORMAL, A_REVERSE},      // kTitle
    {kBlack, kGreen, A_NORMAL, A_REVERSE},     // kHeading
    {kBlack, kCyan, A_NORMAL, A_BOLD},         // kSorted
    {kBlack, kCyan, A_NORMAL, A_REVERSE},      // kSelected
    {kBlack, kCyan, A_NORMAL, A_REVERSE},      // kKey
    {kGreen, kDefault, A_NORMAL, A_NORMAL},    // kAboveHigh
    {kBlue, kDefault, A_NORMAL, A_NORMAL},     // kBelowHigh
    {kOrange, kDefault, A_BOLD, A_BOLD},       // kBelowLow
    {kRed, kDefault, A_BOLD, A_BOLD},          // kBelowMin
    {kGreen, kDefault, A_NORMAL, A_NORMAL},    // kInPlace
    {kBlue, kDefault, A_NORMAL, A_NORMAL},     // kStandby
    {kMagenta, kDefault, A_NORMAL, A_NORMAL},  // kZswap
    {kCyan, kDefault, A_NORMAL, A_NORMAL},     // kGraph
}};

int number_of(const Colour& colour) {
  if (COLORS > 256) return colour.rgb;
  return COLORS == 256 ? colour.of_256 : colour.of_8;
}

// A pair of colours a style; 0 is the terminal's own.
void make_colours() {
  if (!has_colors() || start_color() == ERR || COLORS < 8) return;
  if (use_default_colors() == ERR) assume_default_colors(COLOR_WHITE, COLOR_BLACK);
  for (size_t i = 0; i < kStyles; ++i)
    init_extended_pair(static_cast<int>(i) + 1, number_of(kLooks[i].ink), number_of(kLooks[i].paper));
}

void set_style(Style style) {
  const auto index = static_cast<size_t>(style);
  const bool coloured = has_colors() && COLORS >= 8;
  int pair = coloured ? static_cast<int>(index) + 1 : 0;
  attr_set(coloured ? kLooks[index].with_colours : kLooks[index].without, static_cast<short>(pair), &pair);
}

// -- the terminal's kind ---------------------------------------------------------------------------------------------

void check_terminal() {
  if (isatty(STDOUT_FILENO) == 0)
    throw Failure(kUsage, "top: stdout is not a terminal; weir ps and weir vmstat PID 1 write lines");
  if (isatty(STDIN_FILENO) == 0) throw Failure(kUsage, "top: stdin is not a terminal");
  const char* kind = getenv("TERM");
  if (kind == nullptr || *kind == '\0')
    throw Failure(kUsage, "top: TERM is not set; expected the kind of the terminal, such as xterm-256color");
  int error = 0;
  const bool known = setupterm(kind, STDOUT_FILENO, &error) == OK;
  const char* move_cursor = known ? tigetstr("cup") : nullptr;
  if (move_cursor == nullptr || move_cursor == reinterpret_cast<char*>(-1))
    throw Failure(kUsage, fmt::format("top: TERM={}: that kind of terminal is not known here, or cannot move its "
                                      "cursor; expected one such as xterm-256color",
                                      kind));
}

void catch_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { ended = 1; };
  sigset_t set;
  sigemptyset(&set);
  for (const int each : kEndSignals) {
    sigaction(each, &action, nullptr);
    sigaddset(&set, each);
  }
  // Those that ncurses handles.
  for (const int each : {SIGWINCH, SIGTSTP}) sigaddset(&set, each);
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

// Terminals that say they are xterm but send the older sequences for F1 to F4, as PuTTY and the Linux console do.
void define_older_keys() {
  constexpr std::array<std::array<const char*, 2>, 4> kSequences = {
      {{"\033[11~", "\033[[A"}, {"\033[12~", "\033[[B"}, {"\033[13~", "\033[[C"}, {"\033[14~", "\033[[D"}}};
  for (size_t i = 0; i < kSequences.size(); ++i)
    for (const char* each : kSequences[i])
      if (key_defined(each) == 0) define_key(each, KEY_F(static_cast<int>(i) + 1));
}

// -- keys ------------------------------------------------------------------------------------------------------------

KeyPress function_key(wint_t code) {
  switch (code) {
    case KEY_UP:
      return {Key::kUp, {}};
    case KEY_DOWN:
      return {Key::kDown, {}};
    case KEY_PPAGE:
      return {Key::kPageUp, {}};
    case KEY_NPAGE:
      return {Key::kPageDown, {}};
    case KEY_HOME:
      return {Key::kHome, {}};
    case KEY_END:
      return {Key::kEnd, {}};
    case KEY_ENTER:
      return {Key::kEnter, {}};
    case KEY_BACKSPACE:
      return {Key::kBackspace, {}};
    case KEY_F(1):
      return {Key::kHelp, {}};
    case KEY_F(3):
      return {Key::kSearch, {}};
    case KEY_F(5):
      return {Key::kOpen, {}};
    case KEY_F(6):
      return {Key::kSort, {}};
    case KEY_F(10):
      return {Key::kQuit, {}};
    default:
      return {};
  }
}

KeyPress typed_key(wint_t character) {
  constexpr wint_t kEscapeCode = 0x1b, kDelete = 0x7f, kBackspaceCode = 0x08;
  if (character == '\n' || character == '\r') return {Key::kEnter, {}};
  if (character == kEscapeCode) return {Key::kEscape, {}};
  if (character == kDelete || character == kBackspaceCode) return {Key::kBackspace, {}};
  if (character == '\t') return {Key::kTab, {}};
  if (character < ' ') return {};
  std::array<char, MB_LEN_MAX> bytes = {};
  mbstate_t state = {};
  const size_t length = wcrtomb(bytes.data(), static_cast<wchar_t>(character), &state);
  if (length > bytes.size()) return {};
  return {Key::kText, std::string(bytes.data(), length)};
}

}  // namespace

Terminal::Terminal() : screen_(nullptr) {
  setlocale(LC_CTYPE, "");
  check_terminal();
  catch_signals();
  screen_ = newterm(nullptr, stdout, stdin);
  if (screen_ == nullptr) throw Failure(kFailed, "top: the terminal cannot be set up");
  // A lone Esc is one after so many milliseconds; a second, as ncurses has it, is long.
  constexpr int kEscapeDelay = 25;
  if (getenv("ESCDELAY") == nullptr) set_escdelay(kEscapeDelay);
  cbreak();
  noecho();
  nonl();
  keypad(stdscr, true);
  nodelay(stdscr, true);
  curs_set(0);
  define_older_keys();
  make_colours();
}

Terminal::~Terminal() {
  endwin();
  delscreen(screen_);
}

Screen Terminal::screen() {
  // A change is noticed here too when the command was stopped while it happened.
  struct winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0 &&
      is_term_resized(size.ws_row, size.ws_col))
    resizeterm(size.ws_row, size.ws_col);
  return {.width = static_cast<size_t>(getmaxx(stdscr)),
          .height = static_cast<size_t>(getmaxy(stdscr)),
          .unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0};
}

void Terminal::paint(const Frame& frame) {
  erase();
  for (size_t i = 0; i < frame.size(); ++i) {
    move(static_cast<int>(i), 0);
    for (const Span& span : frame[i].spans()) {
      set_style(span.style);
      addstr(span.text.c_str());
    }
  }
  refresh();
}

Terminal::Event Terminal::wait(std::optional<double> seconds, int descriptor) {
  struct timespec time = {};
  if (seconds) {
    const double left = std::max(*seconds, 0.0);
    time.tv_sec = static_cast<time_t>(left);
    time.tv_nsec = static_cast<long>((left - std::floor(left)) * 1e9);
  }
  sigset_t none;
  sigemptyset(&none);
  std::array<struct pollfd, 2> polls = {{{STDIN_FILENO, POLLIN, 0}, {descriptor, POLLIN, 0}}};
  const int ready = ppoll(polls.data(), polls.size(), seconds ? &time : nullptr, &none);
  if (ended != 0 || (polls[0].revents & (POLLHUP | POLLERR)) != 0) return Event::kEnd;
  if (ready < 0 || polls[0].revents != 0) return Event::kInput;
  return ready == 0 ? Event::kTime : Event::kProcess;
}

std::optional<KeyPress> Terminal::key() {
  wint_t code = 0;
  const int kind = get_wch(&code);
  if (kind == ERR) return std::nullopt;
  return kind == KEY_CODE_YES ? function_key(code) : typed_key(code);
}

}  // namespace weir::tool
