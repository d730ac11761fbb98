// rss_sampler: looks at a process from outside every 10 ms, and reports the most memory that it held resident.
//
//   rss_sampler [--count anon|heap] [--every-ms N] [--baseline BYTES] [--tree] PID [LIMIT]
//
//   --count anon   resident anonymous memory of the process: what heap counts, but also stacks, data segments and what
//                  the program maps itself (default)
//   --count heap   resident memory of the mappings where weir places arenas, staging addresses and compressed pools:
//                  what the limit is on, and 1.3% of bookkeeping; not what the program maps of files there. With a
//                  LIMIT, the process is stopped for a moment when it seems to be over it, and looked at again
//   --baseline     bytes that are not weir's, subtracted from each value
//   --tree         the process and its descendants, each compared with the limit by itself; reported is the largest
//   LIMIT          bytes; more than 5% and more than 8 MiB above it at any sample is too much
//
// Ends when PID does and prints `peak=BYTES pid=PID samples=N longest_gap_ms=N limit=BYTES over=0|1`. Exit status: 0
// within the limit, 1 over it, 2 the process was never seen alive, 64 usage.
#include <dirent.h>
#include <signal.h>

#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <set>
#include <string>

namespace {

// Where src/page/arena.cc places bare arenas and src/reclaim/node.cc compressed pools: below every mapping that the
// kernel chooses an address for.
constexpr uint64_t kHeapBegin = 0x200000000000, kHeapEnd = 0x540000000000;
constexpr uint64_t kPoolsBegin = 0x500000000000;
// An arena's first address, its part of the address space, and how far below or above its staging addresses are.
constexpr uint64_t kArenaGrain = uint64_t{1} << 30, kArenaSpan = uint64_t{1} << 40, kArenaFront = 17 * kArenaGrain;
constexpr uint64_t kStagingDistance = uint64_t{1} << 44;
// A stopped process changes nothing, once all its threads have noticed.
constexpr int kMostLooks = 100;
// What a limit allows: 5% or 8 MiB, whichever is more.
constexpr uint64_t kAllowedExtra = uint64_t{8} << 20, kAllowedPart = 20;

struct Settings {
  int pid = 0;
  bool heap = false;
  bool tree = false;
  uint64_t every_ms = 10;
  uint64_t baseline = 0;
  uint64_t limit = 0;
};

[[noreturn]] void usage(const char* bad) {
  fprintf(stderr,
          "rss_sampler: bad argument '%s', expected [--count anon|heap] [--every-ms N] [--baseline BYTES] [--tree] "
          "PID [LIMIT]\n",
          bad);
  exit(64);
}

uint64_t parse_number(const char* text, uint64_t low) {
  char* end = nullptr;
  errno = 0;
  const uint64_t value = text == nullptr ? 0 : strtoull(text, &end, 10);
  if (text == nullptr || text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < low) {
    usage(text == nullptr ? "(missing value)" : text);
  }
  return value;
}

Settings parse(int argc, char** argv) {
  Settings settings;
  int positions = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (word == "--tree") {
      settings.tree = true;
    } else if (word == "--count") {
      if (value == nullptr || (strcmp(value, "anon") != 0 && strcmp(value, "heap") != 0))
        usage(value ? value : argv[i]);
      settings.heap = strcmp(argv[++i], "heap") == 0;
    } else if (word == "--every-ms") {
      settings.every_ms = parse_number(value, 1);
      ++i;
    } else if (word == "--baseline") {
      settings.baseline = parse_number(value, 0);
      ++i;
    } else if (positions == 0) {
      settings.pid = static_cast<int>(parse_number(argv[i], 1));
      ++positions;
    } else if (positions == 1) {
      settings.limit = parse_number(argv[i], 1);
      ++positions;
    } else {
      usage(argv[i]);
    }
  }
  if (positions == 0) usage("(no PID)");
  return settings;
}

std::string read_file(const std::string& path) {
  std::string text;
  FILE* file = fopen(path.c_str(), "re");
  if (file == nullptr) return text;
  char chunk[65536];
  size_t n;
  while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0) text.append(chunk, n);
  fclose(file);
  return text;
}

std::string proc(int pid, const char* name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

// Empty when the process has ended, also while it waits to be reaped; else its start time, which tells it from a later
// process with the same number.
std::string alive(int pid) {
  const std::string stat = read_file(proc(pid, "stat"));
  const size_t name_end = stat.rfind(')');  // names may have blanks and parentheses
  if (name_end == std::string::npos || name_end + 2 >= stat.size()) return "";
  const char state = stat[name_end + 2];
  if (state == 'Z' || state == 'X') return "";
  size_t at = name_end + 2;
  for (int field = 3; field < 22 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  return at == std::string::npos ? "" : stat.substr(at, stat.find(' ', at + 1) - at);
}

uint64_t kib_after(const std::string& text, const char* label) {
  const size_t at = text.find(label);
  return at == std::string::npos ? 0 : strtoull(text.c_str() + at + strlen(label), nullptr, 10) << 10;
}

uint64_t anonymous_bytes(int pid) {
  return kib_after(read_file(proc(pid, "status")), "\nRssAnon:");
}

// Where each mapping in that part of the address space begins, and its resident bytes; of no file.
using Mappings = std::map<uint64_t, uint64_t>;

Mappings mappings_of(int pid) {
  Mappings found;
  FILE* file = fopen(proc(pid, "smaps").c_str(), "re");
  if (file == nullptr) return found;
  uint64_t here = 0;
  char line[4096];
  while (fgets(line, sizeof(line), file) != nullptr) {
    uint64_t begin, end, inode, kib;
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %" SCNu64, &begin, &end, &inode) == 3) {
      if (begin >= kHeapEnd) break;  // sorted by address
      here = begin >= kHeapBegin && end <= kHeapEnd && inode == 0 ? begin : 0;
    } else if (here != 0 && sscanf(line, "Rss: %" SCNu64 " kB", &kib) == 1) {
      found[here] = kib << 10;
    }
  }
  fclose(file);
  return found;
}

// node scatters pages of its own all over that part. An arena of one node is told by its bookkeeping, which begins so
// far before it (arena_metadata_span of 1 TiB, in whole GiB); 0: there is none, or several nodes.
uint64_t arena_in(const Mappings& mappings) {
  for (const auto& [begin, bytes] : mappings)
    if (begin % kArenaGrain == 0 && mappings.count(begin - kArenaFront) != 0) return begin;
  return 0;
}

bool lies_within(uint64_t address, uint64_t begin, uint64_t bytes) {
  return address >= begin && address - begin < bytes;
}

uint64_t heap_bytes(int pid) {
  const Mappings mappings = mappings_of(pid);
  const uint64_t arena = arena_in(mappings);
  uint64_t sum = 0;
  for (const auto& [begin, bytes] : mappings) {
    const bool staging = lies_within(begin, arena + kStagingDistance, kArenaSpan) ||
                         lies_within(begin + kStagingDistance, arena, kArenaSpan);
    if (arena == 0 || staging || lies_within(begin, arena - kArenaFront, kArenaFront + kArenaSpan) ||
        begin >= kPoolsBegin)
      sum += bytes;
  }
  return sum;
}

// The kernel tells mappings one after the other, and a page that moves between them meanwhile, from an arena to its
// staging address or into a pool, counts twice. What seems too much is therefore looked at again while the process is
// stopped, until two looks agree.
uint64_t heap_bytes_at_rest(int pid) {
  kill(pid, SIGSTOP);
  uint64_t held = heap_bytes(pid);
  for (int tries = 0; tries < kMostLooks; ++tries) {
    const uint64_t again = heap_bytes(pid);
    if (again == held) break;
    held = again;
  }
  kill(pid, SIGCONT);
  return held;
}

void add_descendants(int pid, std::set<int>& found) {
  DIR* tasks = opendir(proc(pid, "task").c_str());
  if (tasks == nullptr) return;
  while (const dirent* entry = readdir(tasks)) {
    if (entry->d_name[0] == '.') continue;
    const std::string children = read_file(proc(pid, "task/") + entry->d_name + "/children");
    for (const char* at = children.c_str(); *at != '\0';) {
      char* end;
      const int child = static_cast<int>(strtol(at, &end, 10));
      if (end == at) break;
      at = end;
      while (*at == ' ') ++at;
      if (found.insert(child).second) add_descendants(child, found);
    }
  }
  closedir(tasks);
}

uint64_t now_ms() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1000 + static_cast<uint64_t>(ts.tv_nsec) / 1000000;
}

struct Peak {
  uint64_t bytes = 0;
  int pid = 0;
  uint64_t samples = 0;
  uint64_t longest_gap_ms = 0;
};

uint64_t most_allowed(const Settings& settings) {
  const uint64_t part = settings.limit / kAllowedPart;
  return settings.limit + (part > kAllowedExtra ? part : kAllowedExtra);
}

void look(const Settings& settings, int pid, Peak& peak) {
  uint64_t held = settings.heap ? heap_bytes(pid) : anonymous_bytes(pid);
  if (settings.heap && settings.limit != 0 && held > most_allowed(settings) + settings.baseline)
    held = heap_bytes_at_rest(pid);
  const uint64_t bytes = held > settings.baseline ? held - settings.baseline : 0;
  if (bytes > peak.bytes) {
    peak.bytes = bytes;
    peak.pid = pid;
  }
}

Peak watch(const Settings& settings) {
  Peak peak;
  const std::string start = alive(settings.pid);
  uint64_t last = now_ms(), next = last;
  while (!start.empty() && alive(settings.pid) == start) {
    std::set<int> processes{settings.pid};
    if (settings.tree) add_descendants(settings.pid, processes);
    for (const int pid : processes) look(settings, pid, peak);
    ++peak.samples;
    const uint64_t now = now_ms();
    if (now - last > peak.longest_gap_ms) peak.longest_gap_ms = now - last;
    last = now;
    next = next + settings.every_ms > now ? next + settings.every_ms : now + 1;
    const timespec pause{static_cast<time_t>((next - now) / 1000), static_cast<long>((next - now) % 1000 * 1000000)};
    nanosleep(&pause, nullptr);
  }
  return peak;
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = parse(argc, argv);
  const Peak peak = watch(settings);
  const bool over = settings.limit != 0 && peak.bytes > most_allowed(settings);
  printf("peak=%" PRIu64 " pid=%d samples=%" PRIu64 " longest_gap_ms=%" PRIu64 " limit=%" PRIu64 " over=%d\n",
         peak.bytes, peak.pid, peak.samples, peak.longest_gap_ms, settings.limit, over ? 1 : 0);
  if (fflush(stdout) != 0 || peak.samples == 0) return 2;
  return over ? 1 : 0;
}
