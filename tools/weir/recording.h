// Purpose: a recording of a process on weir: how it is written, a line a sample, and how it is read back.
// Thread safety: values. Invariants: every line is complete in itself, so that a recording that was cut off between
//                two lines is a shorter recording. A header begins each program that the process was.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "arena_map.h"
#include "snapshot.h"

namespace weir::tool {

constexpr unsigned kRecordingFormat = 1;

// The lines, each with its newline. `why` says, when there is no snapshot, why nothing follows.
[[nodiscard]] std::string header_line(const Snapshot& snapshot, double started_ms);
[[nodiscard]] std::string empty_header_line(pid_t pid, std::string_view why);
[[nodiscard]] std::string sample_line(const Snapshot& snapshot, double ms, const std::vector<ArenaMap>& maps);

// One sample, all nodes together. Numbers are pages, or counts since the process started.
struct Sample {
  double ms = 0;  // since the recording started
  double managed = 0, free = 0, used = 0, standby = 0, zswap_pool = 0, swapped = 0;
  double pgscan_kswapd = 0, pgscan_direct = 0, allocstall = 0;
  double pgfault = 0, pswpin = 0, pswpout = 0, zswpin = 0, zswpout = 0;
};

// The arenas of all nodes at the time of a sample.
struct MapMoment {
  double ms = 0;
  std::vector<ArenaMap> maps;
};

struct Recording {
  std::string command;
  double page_size = 4096;
  double limit = 0;  // pages; 0: none
  double min = 0, low = 0, high = 0;
  std::string why_empty;
  std::vector<Sample> samples;  // times rise, counters do not fall
  std::vector<MapMoment> maps;  // of some of them
};

// The longest of the programs in a file. Throws Failure with the file's name, and the number of a line that is damaged.
[[nodiscard]] Recording read_recording(const std::string& path);

}  // namespace weir::tool
