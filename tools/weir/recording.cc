#include "recording.h"

#include <errno.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>

#include "failure.h"
#include "json.h"
#include "json_value.h"
#include "procfs.h"

namespace weir::tool {
namespace {

// What tells one of our headers from any other line.
constexpr std::string_view kFormatKey = "weir_recording";

std::string now_text() {
  const time_t now = time(nullptr);
  struct tm utc = {};
  gmtime_r(&now, &utc);
  char text[32];
  return {text, strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

JsonObject header_of(pid_t pid) {
  JsonObject o;
  o.add(kFormatKey, uint64_t{kRecordingFormat}).add("pid", static_cast<uint64_t>(pid)).add("start", now_text());
  return o.add("command", command_of(pid)).add("arguments", arguments_of(pid));
}

std::string watermarks_of(const Snapshot& s) {
  JsonArray nodes;
  for (const uint32_t n : s.nodes()) {
    JsonObject o;
    o.add("node", uint64_t{n}).add("managed", s.node(n).managed).add("min", s.node(n).watermark_min);
    nodes.raw(o.add("low", s.node(n).watermark_low).add("high", s.node(n).watermark_high).text());
  }
  return nodes.text();
}

std::string node_of(const Snapshot& s, uint32_t n) {
  const weir_stats_node& node = s.node(n);
  JsonObject o;
  o.add("node", uint64_t{n}).add("managed", node.managed).add("free", s.free(n)).add("used", s.used(n));
  o.add("standby", node.standby).add("resident", node.resident).add("zswap_pool", node.zswap_pool);
  return o.add("swapped", node.swapped).text();
}

// -- reading ---------------------------------------------------------------------------------------------------------

// A count, or a time; more than there can be is none.
std::optional<double> amount(const JsonValue& value, std::string_view key) {
  constexpr double kMost = 1e18;
  const auto number = value.number(key);
  return number && *number >= 0 && *number <= kMost ? number : std::nullopt;
}

double member(const JsonValue& value, std::string_view key) {
  return amount(value, key).value_or(0);
}

double sum_of(const JsonValue& line, std::string_view key) {
  double sum = 0;
  for (const JsonValue& node : line.array("nodes")) sum += member(node, key);
  return sum;
}

std::optional<Recording> parse_header(const JsonValue& line) {
  if (line.number(kFormatKey) != double{kRecordingFormat}) return std::nullopt;
  Recording r;
  r.command = line.text("arguments").empty() ? line.text("command") : line.text("arguments");
  r.page_size = std::max(amount(line, "page_size").value_or(r.page_size), 1.0);
  r.limit = member(line, "limit");
  r.min = sum_of(line, "min");
  r.low = sum_of(line, "low");
  r.high = sum_of(line, "high");
  r.why_empty = line.text("empty");
  return r;
}

std::optional<Sample> parse_sample(const JsonValue& line) {
  const auto ms = amount(line, "ms");
  const JsonValue* counters = line.find("counters");
  if (!ms || counters == nullptr || !counters->is_object() || line.array("nodes").empty()) return std::nullopt;
  const auto count = [counters](std::string_view name) { return member(*counters, name); };
  Sample s;
  s.ms = *ms;
  s.managed = sum_of(line, "managed");
  s.free = sum_of(line, "free");
  s.used = sum_of(line, "used");
  s.standby = sum_of(line, "standby");
  s.zswap_pool = sum_of(line, "zswap_pool");
  s.swapped = sum_of(line, "swapped");
  s.pgscan_kswapd = count("pgscan_kswapd");
  s.pgscan_direct = count("pgscan_direct");
  s.allocstall = count("allocstall");
  s.pgfault = count("pgfault");
  s.pswpin = count("pswpin");
  s.pswpout = count("pswpout");
  s.zswpin = count("zswpin");
  s.zswpout = count("zswpout");
  return s;
}

double length_of(const Recording& r) {
  return r.samples.empty() ? 0 : r.samples.back().ms - r.samples.front().ms;
}

// Takes in one line; false when it is damaged.
bool add_line(std::vector<Recording>& parts, const std::string& text) {
  const auto line = parse_json(text);
  if (!line || !line->is_object()) return false;
  if (line->find(kFormatKey) != nullptr) {
    auto header = parse_header(*line);
    if (header) parts.push_back(std::move(*header));
    return header.has_value();
  }
  const auto sample = parse_sample(*line);
  if (!sample || parts.empty()) return false;
  auto& samples = parts.back().samples;
  if (!samples.empty() && sample->ms <= samples.back().ms) return false;
  samples.push_back(*sample);
  if (line->find("map") == nullptr) return true;
  auto maps = parse_maps(line->array("map"));
  if (maps) parts.back().maps.push_back({sample->ms, std::move(*maps)});
  return maps.has_value();
}

std::vector<Recording> read_parts(std::istream& file, const std::string& path) {
  std::vector<Recording> parts;
  size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    // A last line without its end was cut off while it was written.
    if (file.eof() && number > 1 && !parse_json(line)) break;
    if (add_line(parts, line)) continue;
    const char* what = parts.empty() ? "this is no recording of weir record (or of another version of it)"
                                     : "damaged line: expected a sample, later than the one before";
    throw Failure(kNoStats, fmt::format("{}:{}: {}", path, number, what));
  }
  if (number == 0) throw Failure(kNoStats, fmt::format("{}: empty: this is no recording of weir record", path));
  return parts;
}

}  // namespace

std::string header_line(const Snapshot& s, double started_ms) {
  JsonObject o = header_of(s.pid());
  o.add("ms", started_ms).add("mode", s.mode()).add("page_size", uint64_t{s.page().page_size});
  o.add("limit", s.page().limit).add("swap_total", s.page().swap_total).add("swap", s.swap_path());
  return o.raw("nodes", watermarks_of(s)).text() + "\n";
}

std::string empty_header_line(pid_t pid, std::string_view why) {
  return header_of(pid).add("empty", why).text() + "\n";
}

std::string sample_line(const Snapshot& s, double ms, const std::vector<ArenaMap>& maps) {
  JsonArray nodes;
  JsonObject counters, o;
  for (const uint32_t n : s.nodes()) nodes.raw(node_of(s, n));
  for (const auto& each : s.counters()) counters.add(each.name, each.value);
  o.add("ms", ms).raw("nodes", nodes.text()).raw("counters", counters.text());
  if (!maps.empty()) o.raw("map", to_json(maps));
  return o.text() + "\n";
}

Recording read_recording(const std::string& path) {
  std::ifstream file;
  if (path != "-") {
    errno = 0;
    file.open(path);
    // (A directory can be opened, but not read.)
    if (!file || (file.peek() == EOF && errno != 0))
      throw Failure(kNoStats, fmt::format("{}: {}", path, strerror(errno)));
    file.clear();
  }
  auto parts = read_parts(path == "-" ? std::cin : file, path);
  return *std::max_element(parts.begin(), parts.end(), [](const Recording& a, const Recording& b) {
    return std::pair(length_of(a), a.samples.size()) < std::pair(length_of(b), b.samples.size());
  });
}

}  // namespace weir::tool
