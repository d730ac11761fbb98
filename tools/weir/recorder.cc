#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>

#include "failure.h"
#include "page_reader.h"
#include "procfs.h"
#include "recording.h"

namespace weir::tool {
namespace {

constexpr const char* kRecordHelp =
    R"(Samples the statistics of a process until it ends, S seconds are over, or on SIGINT or SIGTERM; weir plot draws what was
recorded. A sample is some 900 bytes, with a map up to 60 KB more; the process takes no notice.

FILE (- for stdout) has a JSON object a line. The first line is a header: weir_recording, the version of the format (1); pid,
command, arguments; start, the date; ms, of the recording at this line; mode; page_size in bytes; limit and swap_total in
pages; swap, its path; and nodes, with managed pages and the watermarks min, low and high of each. Every other line is a
sample: ms since the recording started; nodes, with the pages of each that are managed (its share of the limit), free, used,
on standby (of the used: unmapped, but still in memory), resident, in zswap_pool (of the used: compressed memory) and
swapped; and counters since the start of the process, those of weir vmstat --counters. Some have a map, for each node: cells
from its lowest address on, each a pageblock of 512 pages (of a large arena several), with its pages, 1 if they are for large
objects, and how many are in use at their place, on standby, swapped, and free with memory behind them. A process that
becomes another program has another header there. Where there was nothing to record, the header says why: empty.

Examples:
  weir record 4711 -o redis.jsonl
  weir record 4711 -o redis.jsonl --interval 1000 --duration 3600
  weir record 4711 -o - | jq .nodes[0].free
  weir run --limit 512M --record redis.jsonl -- redis-server

Exit status: 0; 64 a mistake in the command line, or FILE cannot be written; 66 there is no such process, it is not on weir,
or it may not be read; 125 there is no room for FILE.
)";

constexpr double kLongestDuration = 1e9;
// A program that has no page after this will not get one. (Its libraries are loaded first, perhaps from a slow disk.)
constexpr double kLongestStartMs = 10000;
// The page of a limit is there before kswapd writes into it what there is of swap: at the latest after 50 ms.
constexpr double kModeMs = 100;
constexpr double kStartPollMs = 2;

volatile sig_atomic_t interrupted = 0;

double now_ms() {
  struct timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

// A descriptor that becomes readable when the process ends, even if nobody waits for it. (Since Linux 5.3.)
int open_process(pid_t pid) {
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

// SIGINT and SIGTERM are let through only while the recorder sleeps, so that no line is cut off and none is missed.
void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  sigset_t set;
  sigemptyset(&set);
  for (const int each : {SIGINT, SIGTERM}) {
    sigaction(each, &action, nullptr);
    sigaddset(&set, each);
  }
  sigprocmask(SIG_BLOCK, &set, nullptr);
  // A full disk, a limit on file sizes and a reader that went away are errors of write().
  signal(SIGXFSZ, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
}

class Recorder {
 public:
  Recorder(pid_t pid, int process, RecordFile& file, double interval_ms, double map_interval_ms)
      : pid_(pid),
        reader_(pid),
        process_(process),
        file_(file),
        interval_(interval_ms),
        map_interval_(map_interval_ms),
        start_(now_ms()) {}

  // Until the process ends, or `duration_ms` are over.
  void record(double duration_ms) {
    end_ = start_ + duration_ms;
    while (!over_) {
      const auto first = wait_for_page();
      if (!first) break;
      record_program(*first);
    }
    if (empty_) file_.write(empty_header_line(pid_, why_));
  }

 private:
  // False when the process has ended, or the recording is to: over_.
  bool sleep_until(double ms) {
    sigset_t none;
    sigemptyset(&none);
    while (interrupted == 0) {
      const double left = std::min(ms, end_) - now_ms();
      if (left <= 0 && now_ms() < end_) return true;
      if (left <= 0) break;
      const double seconds = std::floor(left / 1e3);
      const struct timespec time = {static_cast<time_t>(seconds), static_cast<long>((left - seconds * 1e3) * 1e6)};
      struct pollfd poll = {process_, POLLIN, 0};
      if (ppoll(&poll, 1, &time, &none) > 0) break;
    }
    over_ = true;
    return false;
  }

  std::optional<Snapshot> read() {
    PageCopy copy = reader_.read();
    if (copy.status == PageStatus::kRead) return Snapshot(pid_, std::move(copy.words));
    if (copy.status == PageStatus::kTraceOnly || copy.status == PageStatus::kNotPermitted) why_ = "permission denied";
    return std::nullopt;
  }

  // The page of a program that was started just now; if it has ended again, as it was last seen.
  std::optional<Snapshot> wait_for_page() {
    const double begin = now_ms();
    double seen = 0;
    std::optional<Snapshot> last;
    do {
      auto snapshot = read();
      if (!snapshot) continue;
      if (!last) seen = now_ms();
      last = std::move(snapshot);
      if (last->page().mode == WEIR_STATS_SWAP || now_ms() - seen > kModeMs) break;
    } while (now_ms() - begin < kLongestStartMs && sleep_until(now_ms() + kStartPollMs));
    return last;
  }

  void record_program(const Snapshot& first) {
    double next = now_ms();
    file_.write(header_line(first, next - start_));
    write_sample(first);
    empty_ = false;
    // What was missed is not made up for: the process was stopped, or there is no processor for us.
    while (sleep_until(next = std::max(next + interval_, now_ms()))) {
      const auto snapshot = read();
      if (!snapshot || snapshot->page().start_ns != first.page().start_ns) return;
      write_sample(*snapshot);
    }
  }

  void write_sample(const Snapshot& snapshot) {
    const double now = now_ms();
    std::vector<ArenaMap> maps;
    if (map_interval_ != 0 && now >= next_map_) {
      maps = read_maps(snapshot);
      next_map_ = now + map_interval_;
    }
    file_.write(sample_line(snapshot, now - start_, maps));
  }

  pid_t pid_;
  PageReader reader_;
  int process_;
  RecordFile& file_;
  double interval_, map_interval_, start_;
  double next_map_ = 0;
  double end_ = 0;
  bool empty_ = true, over_ = false;
  std::string why_ = "the program ended before its statistics could be read, or is not on weir";
};

void record(const RecordSettings& settings) {
  const Snapshot check(settings.pid);  // before a file is emptied for nothing
  const int process = open_process(settings.pid);
  if (process < 0) throw Failure(kNoStats, fmt::format("process {}: {}", settings.pid, strerror(errno)));
  RecordFile file(settings.output);
  catch_interrupts();
  Recorder(settings.pid, process, file, settings.interval_ms, settings.map_interval_ms)
      .record(settings.duration_s == 0 ? INFINITY : settings.duration_s * 1e3);
}

// -- beside a program ------------------------------------------------------------------------------------------------

// A new session, and nothing of the old one but the three descriptors that are needed: no terminal and no pipe is kept
// open by the recorder, and no signal of the program's group reaches it.
void leave_program(int& file, int& process, int& started) {
  setsid();
  if (chdir("/") != 0) _exit(kFailed);
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  constexpr int kFirst = 16;  // above everything that they are moved to
  int moved = 3;
  for (int* each : {&file, &process, &started}) *each = fcntl(*each, F_DUPFD, kFirst);
  for (int* each : {&file, &process, &started}) *each = dup2(*each, moved++);
  close_range(static_cast<unsigned>(moved), ~0u, 0);
  const int null = open("/dev/null", O_RDWR);
  for (int standard = 0; standard < 3; ++standard) dup2(null, standard);
}

[[noreturn]] void be_recorder(pid_t pid, RecordFile& file, int process, int started, double interval_ms) {
  int output = file.descriptor();
  leave_program(output, process, started);
  catch_interrupts();
  // The other end is closed by exec: until then the process is the command weir, not the program.
  char byte = 0;
  while (read(started, &byte, 1) < 0 && errno == EINTR) {
  }
  close(started);
  int status = 0;
  try {
    RecordFile moved(output);
    Recorder(pid, process, moved, interval_ms, kMapInterval).record(INFINITY);
  } catch (const std::exception&) {
    status = kFailed;  // There is nobody to be told.
  }
  _exit(status);
}

// Forks twice, so that the recorder is no child of this process; what comes of the child between them (SIGCHLD, which
// the program might have been started with blocked) is taken away again.
template <class Body>
bool fork_away(const Body& body) {
  sigset_t child, before, pending;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigpending(&pending);
  sigprocmask(SIG_BLOCK, &child, &before);
  const pid_t between = fork();
  if (between == 0) {
    const pid_t recorder = fork();
    if (recorder == 0) body();
    _exit(recorder < 0 ? 1 : 0);
  }
  int status = 0;
  pid_t waited = between;
  if (between > 0)
    while ((waited = waitpid(between, &status, 0)) < 0 && errno == EINTR) {
    }
  const struct timespec now = {};
  if (sigismember(&pending, SIGCHLD) == 0) sigtimedwait(&child, nullptr, &now);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  // (Where SIGCHLD is ignored, nothing is known of a child.)
  return between > 0 && (waited < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

}  // namespace

RecordFile::RecordFile(const std::string& path)
    : fd_(path == "-" ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                      : open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666)) {
  if (fd_ < 0) throw Failure(kUsage, fmt::format("{}: {}", path, strerror(errno)));
}

RecordFile::~RecordFile() {
  close(fd_);
}

void RecordFile::write(const std::string& line) {
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t wrote = ::write(fd_, line.data() + done, line.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) break;
    done += static_cast<size_t>(wrote);
  }
  if (done == line.size()) return;
  const int error = errno;
  // The part of a line that had room is taken back.
  const off_t end = lseek(fd_, 0, SEEK_CUR);
  if (end >= 0 && ftruncate(fd_, end - static_cast<off_t>(done)) != 0) errno = error;
  throw Failure(kFailed, fmt::format("the recording cannot be written: {}", strerror(error)));
}

void start_recorder(RecordFile& file, double interval_ms) {
  const pid_t self = getpid();
  const int process = open_process(self);
  int started[2];
  if (process < 0 || fcntl(process, F_SETFD, FD_CLOEXEC) != 0 || pipe2(started, O_CLOEXEC) != 0)
    throw Failure(kFailed, fmt::format("--record: {}", strerror(errno)));
  const bool is_there = fork_away([&] {
    close(started[1]);
    be_recorder(self, file, process, started[0], interval_ms);
  });
  if (!is_there) throw Failure(kFailed, "--record: no process can be started");
  // started[1] stays open until exec.
}

void add_record(CLI::App& app) {
  CLI::App* command = app.add_subcommand("record", "Record what a process does, for weir plot");
  auto settings = std::make_shared<RecordSettings>();
  command->add_option("pid", settings->pid, "The process")
      ->type_name("PID")
      ->check(CLI::Range(pid_t{1}, kMostPid).description(""))
      ->required();
  command->add_option("-o,--output", settings->output, "Where to; - for stdout")->type_name("FILE")->required();
  command
      ->add_option("--interval", settings->interval_ms,
                   "Milliseconds from one sample to the next, from 1; 100 if not given")
      ->type_name("MS")
      ->check(CLI::Range(kShortestInterval, kLongestInterval).description(""));
  command
      ->add_option("--map-interval", settings->map_interval_ms,
                   "Milliseconds from one map of the arena to the next; 0: none; 1000 if not given")
      ->type_name("MS")
      ->check(CLI::Range(0.0, kLongestInterval).description(""));
  command->add_option("--duration", settings->duration_s, "Seconds after which to end")
      ->type_name("S")
      ->check(CLI::Range(0.0, kLongestDuration).description(""));
  command->footer(kRecordHelp);
  command->callback([settings] { record(*settings); });
}

}  // namespace weir::tool
