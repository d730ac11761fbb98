#include "top.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <optional>

#include "failure.h"
#include "procfs.h"
#include "terminal.h"
#include "top_view.h"

namespace weir::tool {
namespace {

constexpr const char* kTopHelp =
    R"(Without PID: the processes on weir, as weir ps lists them, with what they do a second; Enter opens the view of one. With PID:
that view: what the limit is spent on; the free pages of each node against its watermarks, green above high, blue below, orange
below low (kswapd works), red below min (threads wait); pages scanned by kswapd and by threads, swapped in and out (compressed
memory or file), and faults, over time; and the size classes as slabtop(1) shows them, or
(Tab) the heaps as weir heaps shows them.

Keys: arrows, PgUp, PgDn, Home, End select; Enter or F5 opens; Esc goes back; Tab changes between
size classes and heaps; F3 or / searches; F6, < and > choose the column of the order, I inverts it; + and - change the interval;
p pauses; F1, h or ? is help; F10 or q quits.

The terminal must have 80 columns and 24 lines, and TERM must name its kind. Without UTF-8 (LC_ALL, LC_CTYPE, LANG) all is
drawn in ASCII. There is no --json: weir ps --json and weir vmstat --json PID 1 are for programs.

Examples:
  weir top
  weir top 4711
  weir top -d 0.2 4711
  weir top -d 5 -n 12

Exit status: 0, on SIGINT and SIGTERM too; 64 a mistake in the command line, stdin or stdout is not a terminal, or TERM is not
known; 66 there is no such process, it is not on weir, or it may not be read (its user and root may).
)";

struct TopSettings {
  pid_t pid = 0;
  double delay = 1;
  uint64_t iterations = 0;  // 0: no end
};

// Tells when the process that is looked at ends, even if nobody waits for it.
class EndOfProcess {
 public:
  EndOfProcess() = default;
  ~EndOfProcess() { forget(); }
  EndOfProcess(const EndOfProcess&) = delete;
  EndOfProcess& operator=(const EndOfProcess&) = delete;
  // -1 when nothing is looked at or it has ended (or before Linux 5.3).
  int descriptor(Watch* watch) {
    const bool runs = watch != nullptr && watch->state() != Watch::State::kEnded;
    const pid_t wanted = runs ? watch->pid() : 0;
    if (wanted != pid_) {
      forget();
      pid_ = wanted;
      if (runs) fd_ = static_cast<int>(syscall(SYS_pidfd_open, wanted, 0));
    }
    return fd_;
  }

 private:
  void forget() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  pid_t pid_ = 0;
  int fd_ = -1;
};

class Top {
 public:
  Top(TopApp app, uint64_t iterations) : app_(std::move(app)), left_(iterations) {}

  void run() {
    Terminal terminal;
    double next = now_seconds();
    while (!app_.is_over()) {
      if (app_.take_refresh() || (!app_.is_paused() && now_seconds() >= next)) {
        look();
        next = now_seconds() + app_.delay();
      }
      terminal.paint(draw_top(app_, terminal.screen()));
      const double delay = app_.delay();
      if (is_last_look() || !wait(terminal, next)) return;
      next += app_.delay() - delay;  // when a key changed it
    }
  }

 private:
  void look() {
    if (Watch* watch = app_.watch())
      look_again(*watch);
    else
      app_.list().update(see_processes());
    looked_ = true;
  }

  // Counts a look that is on the screen now.
  bool is_last_look() {
    if (!looked_) return false;
    looked_ = false;
    return left_ != 0 && --left_ == 0;
  }

  // False when the command is to end.
  bool wait(Terminal& terminal, double next) {
    const auto seconds = app_.is_paused() ? std::nullopt : std::optional(next - now_seconds());
    const auto event = terminal.wait(seconds, end_.descriptor(app_.watch()));
    if (event == Terminal::Event::kEnd) return false;
    if (event == Terminal::Event::kProcess) app_.watch()->end();
    while (const auto key = terminal.key()) app_.press(*key);
    return true;
  }

  TopApp app_;
  uint64_t left_;
  bool looked_ = false;
  EndOfProcess end_;
};

void top(const TopSettings& settings) {
  if (settings.pid == 0) return Top(TopApp(settings.delay), settings.iterations).run();
  Watch watch(Tracker(Moment(settings.pid)), command_of(settings.pid), arguments_of(settings.pid));
  Top(TopApp(settings.delay, std::move(watch)), settings.iterations).run();
}

}  // namespace

void add_top(CLI::App& app) {
  CLI::App* command = app.add_subcommand("top", "Watch processes on the whole terminal, with keys as in htop");
  auto settings = std::make_shared<TopSettings>();
  command->add_option("pid", settings->pid, "The process; without it a list to choose from")
      ->type_name("PID")
      ->check(CLI::Range(pid_t{1}, kMostPid).description(""));
  command
      ->add_option("-d,--delay", settings->delay, "Seconds from one update to the next, 0.05 to 3600; 1 if not given")
      ->type_name("SECONDS")
      ->check(CLI::Range(kShortestDelay, kLongestDelay).description(""));
  command->add_option("-n,--iterations", settings->iterations, "End after so many updates")
      ->type_name("N")
      ->check(CLI::Range(uint64_t{1}, uint64_t{UINT32_MAX}).description(""));
  command->footer(kTopHelp);
  command->callback([settings] { top(*settings); });
}

}  // namespace weir::tool
