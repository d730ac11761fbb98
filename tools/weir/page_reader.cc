#include "page_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <weir/stats_page.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "procfs.h"

namespace weir::tool {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMemfd = "/memfd:" WEIR_STATS_NAME;
// A page for 64 nodes has 300 KiB; what says that it has more is none.
constexpr uint64_t kMostBytes = uint64_t{1} << 24;
// Of one writable mapping, so much is searched for the beacon: the data of libweir is a page or two.
constexpr uint64_t kMostSearched = uint64_t{1} << 20;
// kswapd writes for a microsecond every few milliseconds. A process that was stopped just then stays in between.
constexpr int kTries = 100;

// Of the page's own fields as they were first; whoever wants those behind them looks at node_offset.
constexpr size_t kFirstSize = offsetof(weir_stats_page, request);

bool within(uint64_t offset, uint64_t count, uint64_t each, uint64_t size) {
  return offset <= size && (each == 0 || count <= (size - offset) / each);
}

bool is_understood(const weir_stats_page& p) {
  return p.version == WEIR_STATS_VERSION && p.node_size >= sizeof(weir_stats_node) && p.node_offset % 8 == 0 &&
         p.node_size % 8 == 0 && p.slab_size >= sizeof(weir_stats_slab) && p.slab_offset % 8 == 0 &&
         p.slab_size % 8 == 0 && p.node_offset >= kFirstSize && p.nr_nodes <= 1024 && p.nr_classes <= 65536 &&
         p.nr_lanes <= 1024 && within(p.node_offset, p.nr_nodes, p.node_size, p.size) &&
         within(p.slab_offset, uint64_t{p.nr_nodes} * p.nr_lanes * p.nr_classes, p.slab_size, p.size) &&
         within(p.swap_path_offset, WEIR_STATS_PATH, 1, p.size) && p.node_offset >= sizeof(weir_stats_page) &&
         p.heap_size >= sizeof(weir_stats_heap) && p.heap_size % 8 == 0 && p.heap_offset % 8 == 0 &&
         within(p.heap_offset, p.nr_heap_rows, p.heap_size, p.size) && p.nr_counters <= WEIR_STATS_COUNTERS &&
         (p.text_offset == 0 || within(p.text_offset, WEIR_STATS_TEXTS, 1, p.size)) &&
         p.nr_node_counters <= WEIR_STATS_NODE_COUNTERS;
}

bool has_node(const weir_stats_page& page) {
  for (uint32_t n = 0; n < page.nr_nodes; ++n)
    if (weir_stats_node_at(&page, n)->present_node != 0) return true;
  return false;
}

// Where a mapping has the beacon and what it says; 0: nowhere, or the program has not started yet.
uint64_t search_beacon(const PageFile& memory, const Mapping& mapping) {
  std::vector<char> bytes(std::min(mapping.end - mapping.start, kMostSearched));
  bytes.resize(memory.read_some(bytes.data(), bytes.size(), mapping.start));
  constexpr size_t kAlignment = 64;
  for (size_t at = 0; at + sizeof(weir_stats_beacon) <= bytes.size(); at += kAlignment) {
    weir_stats_beacon beacon;
    memcpy(&beacon, bytes.data() + at, sizeof(beacon));
    if (memcmp(beacon.mark, WEIR_STATS_BEACON, sizeof(beacon.mark)) == 0 && beacon.address != 0) return beacon.address;
  }
  return 0;
}

bool may_have_beacon(const Mapping& mapping) {
  return mapping.writable && !mapping.shared && mapping.path.starts_with('/');
}

bool has_magic(const PageFile& memory, uint64_t at) {
  uint64_t magic = 0;
  return memory.read(&magic, sizeof(magic), at) && magic == WEIR_STATS_MAGIC;
}

// Where /proc/PID/mem is closed, the descriptors of weir's own threads are open to the user of the process.
std::optional<PageFile> find_descriptor(pid_t pid, Access access) {
  std::error_code error;
  const std::string tasks = fmt::format("/proc/{}/task", pid);
  for (fs::directory_iterator task(tasks, error), end; !error && task != end; task.increment(error)) {
    std::error_code inner;
    for (fs::directory_iterator fd(task->path() / "fd", inner), last; !inner && fd != last; fd.increment(inner)) {
      std::error_code gone;
      if (!fs::read_symlink(fd->path(), gone).string().starts_with(kMemfd)) continue;
      if (PageFile file(fd->path().string(), access == Access::kWrite); file) return file;
    }
  }
  return std::nullopt;
}

FoundPage found(PageFile file, uint64_t at, bool in_memory) {
  return {PageStatus::kRead, std::move(file), at, in_memory};
}

FoundPage not_found(PageStatus status) {
  FoundPage page;
  page.status = status;
  return page;
}

FoundPage find_by_beacon(PageFile memory, std::vector<Mapping> mappings) {
  // Its usual place first.
  std::stable_partition(mappings.begin(), mappings.end(),
                        [](const Mapping& m) { return m.path.find("weir") != std::string::npos; });
  for (const Mapping& mapping : mappings) {
    if (!may_have_beacon(mapping)) continue;
    const uint64_t address = search_beacon(memory, mapping);
    if (address != 0 && has_magic(memory, address)) return found(std::move(memory), address, true);
  }
  return {};
}

FoundPage find_in_memory(pid_t pid, Access access, std::vector<Mapping> mappings, uint64_t memfd_at) {
  PageFile memory(fmt::format("/proc/{}/mem", pid), access == Access::kWrite);
  if (!memory) {
    if (errno == ENOENT || errno == ESRCH) return not_found(PageStatus::kNoProcess);
    if (auto file = find_descriptor(pid, access)) return found(std::move(*file), 0, false);
    return not_found(is_own(pid) ? PageStatus::kTraceOnly : PageStatus::kNotPermitted);
  }
  if (memfd_at != 0) return found(std::move(memory), memfd_at, true);
  return find_by_beacon(std::move(memory), std::move(mappings));
}

}  // namespace

std::string describe(PageStatus status) {
  switch (status) {
    case PageStatus::kRead:
      return "read";
    case PageStatus::kNoProcess:
      return "no such process";
    case PageStatus::kNotPermitted:
      return "permission denied: it is another user's, or protected";
    case PageStatus::kTraceOnly:
      return "permission denied: kernel.yama.ptrace_scope keeps a user's processes apart; try as root";
    case PageStatus::kNotOnWeir:
      return "it is not on weir (or was started with stats_page=0)";
    case PageStatus::kOtherVersion:
      return "it runs a version of weir that is not understood";
  }
  return "?";
}

PageFile::PageFile(const std::string& path, bool writable)
    : fd_(open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC)) {}

PageFile::~PageFile() {
  if (fd_ >= 0) close(fd_);
}

bool PageFile::read(void* to, size_t bytes, uint64_t at) const {
  return pread(fd_, to, bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes);
}

bool PageFile::write(const void* from, size_t bytes, uint64_t at) const {
  return pwrite(fd_, from, bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes);
}

size_t PageFile::read_some(void* to, size_t bytes, uint64_t at) const {
  const ssize_t got = pread(fd_, to, bytes, static_cast<off_t>(at));
  return got < 0 ? 0 : static_cast<size_t>(got);
}

FoundPage find_page(pid_t pid, Access access) {
  if (!process_exists(pid)) return not_found(PageStatus::kNoProcess);
  auto mappings = mappings_of(pid);
  if (!mappings)
    return not_found(errno == ENOENT || errno == ESRCH ? PageStatus::kNoProcess : PageStatus::kNotPermitted);
  const auto shared = std::find_if(mappings->begin(), mappings->end(),
                                   [](const Mapping& m) { return m.shared && m.path.starts_with(kMemfd); });
  const uint64_t memfd_at = shared != mappings->end() ? shared->start : 0;
  if (memfd_at == 0 && std::none_of(mappings->begin(), mappings->end(), may_have_beacon))
    return not_found(process_exists(pid) ? PageStatus::kNotOnWeir : PageStatus::kNoProcess);
  if (memfd_at != 0 && access == Access::kWrite)
    if (auto file = find_descriptor(pid, access)) return found(std::move(*file), 0, false);
  FoundPage page = find_in_memory(pid, access, std::move(*mappings), memfd_at);
  if (page.status == PageStatus::kNotOnWeir && !process_exists(pid)) page.status = PageStatus::kNoProcess;
  return page;
}

// Copies until nobody wrote meanwhile, or gives up on that: each number is right all the same.
PageCopy copy_page(const PageFile& file, uint64_t at) {
  uint64_t magic = 0, size = 0;
  if (!file.read(&magic, sizeof(magic), at)) return {PageStatus::kNoProcess, {}};
  if (magic != WEIR_STATS_MAGIC) return {PageStatus::kNotOnWeir, {}};
  if (!file.read(&size, sizeof(size), at + offsetof(weir_stats_page, size))) return {PageStatus::kNoProcess, {}};
  if (size < kFirstSize || size > kMostBytes) return {PageStatus::kOtherVersion, {}};
  PageCopy copy{PageStatus::kRead, std::vector<uint64_t>((size + 7) / 8)};
  const auto& page = *reinterpret_cast<const weir_stats_page*>(copy.words.data());
  for (int i = 0; i < kTries; ++i) {
    uint64_t after = 0;
    if (!file.read(copy.words.data(), size, at) ||
        !file.read(&after, sizeof(after), at + offsetof(weir_stats_page, sequence)))
      return {PageStatus::kNoProcess, {}};
    if (after == page.sequence && after % 2 == 0) break;
    usleep(10);
  }
  if (page.size != size || !is_understood(page)) return {PageStatus::kOtherVersion, {}};
  // A process that is just starting has the page a moment before it has memory.
  if (!has_node(page)) return {PageStatus::kNotOnWeir, {}};
  return copy;
}

PageCopy read_page(pid_t pid) {
  return PageReader(pid).read();
}

PageCopy PageReader::read() {
  if (known_)
    if (PageCopy copy = copy_page(*known_->file, known_->at); copy.status == PageStatus::kRead) return copy;
  known_.reset();
  FoundPage page = find_page(pid_, Access::kRead);
  if (page.status != PageStatus::kRead) return {page.status, {}};
  PageCopy copy = copy_page(*page.file, page.at);
  if (copy.status == PageStatus::kNotOnWeir && !process_exists(pid_)) copy.status = PageStatus::kNoProcess;
  // A descriptor of the page itself would show a process that has ended as it was.
  if (copy.status == PageStatus::kRead && page.in_memory) known_.emplace(std::move(page));
  return copy;
}

}  // namespace weir::tool
