// Purpose: `weir record`, and the recorder that `weir run --record` leaves beside the program.
// Thread safety: one thread. Invariants: each line is written in one piece, so that the file is complete whenever one
//                looks at it; the program that is recorded has nothing of the recorder: no child, no descriptor, no
//                signal, nothing of its terminal.
#pragma once

#include <sys/types.h>

#include <CLI/CLI.hpp>
#include <string>

namespace weir::tool {

// Milliseconds from one sample to the next: what may be asked for.
constexpr double kShortestInterval = 1, kLongestInterval = 3600e3;
// From one map of the arena to the next: a map of a GiB is 300 KB to read and 8 KB to write.
constexpr double kMapInterval = 1000;

struct RecordSettings {
  pid_t pid = 0;
  std::string output;
  double interval_ms = 100;
  double map_interval_ms = kMapInterval;
  double duration_s = 0;  // 0: until the process ends
};

// Adds the command to the command line.
void add_record(CLI::App& app);

// The file of a recording, opened; closed when the process becomes another program.
class RecordFile {
 public:
  // Throws Failure kUsage when `path` (- for stdout) cannot be written to.
  explicit RecordFile(const std::string& path);
  // Takes over what is open.
  explicit RecordFile(int descriptor) : fd_(descriptor) {}
  ~RecordFile();
  RecordFile(const RecordFile&) = delete;
  RecordFile& operator=(const RecordFile&) = delete;
  [[nodiscard]] int descriptor() const { return fd_; }
  // Throws Failure kFailed when there is no room; what is there stays whole.
  void write(const std::string& line);

 private:
  int fd_;
};

// Starts a process that waits until this one has become another program, records that, and ends with it. Throws
// Failure.
void start_recorder(RecordFile& file, double interval_ms);

}  // namespace weir::tool
