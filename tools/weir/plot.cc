#include "plot.h"

#include <errno.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstring>
#include <memory>

#include "failure.h"

namespace weir::tool {
namespace {

constexpr const char* kPlotHelp =
    R"(FILE is a recording of weir record or of weir run --record; - is stdin. The picture needs nothing but itself: no scripts, no
fonts, no links. Several nodes are added up. At the top are the free pages of the limit against the watermarks: below low
kswapd works until high is reached; below min threads have to wait. Under it are the times when kswapd looked for pages,
and when threads had to (direct). In the middle: memory in use at its place, unmapped but still there (standby), and taken by
compressed pages; the limit; and what is swapped out. At the bottom: pages brought back a second, and downwards those
swapped out; and faults. Of a process that became other programs, the one that took longest is drawn.

With --map, below that, the arena as it was at that time (at the nearest one that was recorded; --map may be given several
times): a square for each pageblock of 2 MiB, lowest address first, filled from below by the pages that are in use at their
place, on standby, swapped, and free with memory behind them; the rest has no memory. A dark foot has what is for slabs (small
objects), the others are for large ones. Where an arena has more than 2048 pageblocks, a square has several.

Examples:
  weir plot redis.jsonl -o redis.svg
  weir plot redis.jsonl --map 2 --map 10.5 -o redis.svg
  weir record 4711 -o - --duration 60 | weir plot - -o - >minute.svg

Exit status: 0; 64 a mistake in the command line, the process had no limit, or the picture cannot be written; 66 FILE cannot
be read, is damaged, or has no sample.
)";

constexpr double kLongestSeconds = 1e9;

struct PlotSettings {
  std::string input, output;
  std::vector<double> map_seconds;
};

void write_picture(const std::string& path, const std::string& picture) {
  FILE* file = path == "-" ? stdout : fopen(path.c_str(), "we");
  if (file == nullptr) throw Failure(kUsage, fmt::format("{}: {}", path, strerror(errno)));
  const bool wrote = fwrite(picture.data(), 1, picture.size(), file) == picture.size();
  const bool flushed = (file == stdout ? fflush(file) : fclose(file)) == 0;
  if (!wrote || !flushed) throw Failure(kUsage, fmt::format("{}: {}", path, strerror(errno)));
}

void plot(const PlotSettings& settings) {
  const Recording recording = read_recording(settings.input);
  if (recording.samples.empty()) {
    const std::string why = recording.why_empty.empty() ? "nothing was recorded" : recording.why_empty;
    throw Failure(kNoStats, fmt::format("{}: no sample: {}", settings.input, why));
  }
  if (recording.limit == 0)
    throw Failure(kUsage,
                  fmt::format("{}: the process had no limit: there are no watermarks to be drawn (start it with "
                              "weir run --limit SIZE --record FILE)",
                              settings.input));
  if (!settings.map_seconds.empty() && recording.maps.empty())
    throw Failure(kUsage,
                  fmt::format("{}: no map was recorded (--map-interval 0, or the memory of the process could not be "
                              "read)",
                              settings.input));
  write_picture(settings.output, picture_of(recording, settings.map_seconds));
}

}  // namespace

void add_plot(CLI::App& app) {
  CLI::App* command = app.add_subcommand("plot", "Draw a recording: watermarks, memory and swapping over time");
  auto settings = std::make_shared<PlotSettings>();
  command->add_option("file", settings->input, "The recording; - for stdin")->type_name("FILE")->required();
  command->add_option("-o,--output", settings->output, "Where to; - for stdout")->type_name("FILE")->required();
  command->add_option("--map", settings->map_seconds, "Also the arena at this time, in seconds of the picture")
      ->type_name("S")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::Range(0.0, kLongestSeconds).description(""));
  command->footer(kPlotHelp);
  command->callback([settings] { plot(*settings); });
}

}  // namespace weir::tool
