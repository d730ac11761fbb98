#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>
#include <weir/options.h>
#include <weir/pool.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "failure.h"
#include "json.h"
#include "mib.h"

namespace weir::tool {
namespace {

constexpr const char* kHelp =
    R"(A pool is made by the first weir run --pool NAME --limit SIZE, and lies in /dev/shm. It stays, with its limit, until
it is removed. The columns are MiB: what a process was granted, what it holds, what it has swapped out.

Examples:
  weir run --pool builds --limit 2G -- make -j8
  weir pool ls
  weir pool show builds
  weir pool set builds limit=3G
  weir pool rm builds

Exit status: 0; 64 a mistake in the command line; 66 there is no such pool, or it may not be opened; 75 it cannot be done
at present: the pool has members, or one that was stopped holds its lock.
)";

std::string prefix() {
  return fmt::format("weir-pool.{}.", geteuid());
}

std::string path_of(const std::string& name) {
  return fmt::format("{}/{}{}", WEIR_POOL_DIRECTORY, prefix(), name);
}

uint64_t load(const uint64_t& number) {
  return __atomic_load_n(&number, __ATOMIC_RELAXED);
}

// A pool, open as long as this lives. Whoever opens it has none of its locks at first, and all are given up at the end.
class Pool {
 public:
  // Throws Failure.
  explicit Pool(const std::string& name) : name_(name), fd_(open(path_of(name).c_str(), kFlags)) {
    if (!is_pool_name(name)) throw Failure(kUsage, fmt::format("{}: this is no name of a pool", name));
    if (fd_ < 0) throw Failure(kNoStats, fmt::format("pool {}: {}", name, strerror(errno)));
    void* memory = lseek(fd_, 0, SEEK_END) >= static_cast<off_t>(sizeof(weir_pool))
                       ? mmap(nullptr, sizeof(weir_pool), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0)
                       : MAP_FAILED;
    pool_ = memory == MAP_FAILED ? nullptr : static_cast<weir_pool*>(memory);
    if (pool_ != nullptr && pool_->magic == WEIR_POOL_MAGIC && pool_->version == WEIR_POOL_VERSION) return;
    close_all();
    throw Failure(kNoStats, fmt::format("pool {}: its file is of another version of weir", name));
  }
  ~Pool() { close_all(); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  [[nodiscard]] uint64_t limit() const { return load(pool_->limit); }
  void set_limit(uint64_t pages) { __atomic_store_n(&pool_->limit, pages, __ATOMIC_RELAXED); }
  [[nodiscard]] std::vector<weir_pool_member> members() const {
    std::vector<weir_pool_member> live;
    for (unsigned i = 0; i < WEIR_POOL_MEMBERS; ++i)
      if (pool_->members[i].pid != 0 && is_locked(WEIR_POOL_MEMBER_LOCK + i)) live.push_back(pool_->members[i]);
    return live;
  }
  // Throws Failure kNotTaken when a member holds the lock for a second.
  void lock() {
    struct flock wish = {};
    wish.l_type = F_WRLCK;
    wish.l_start = WEIR_POOL_LOCK;
    wish.l_len = 1;
    constexpr int kTries = 1000;
    for (int i = 0; i < kTries; ++i) {
      if (fcntl(fd_, F_SETLK, &wish) == 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    throw Failure(kNotTaken, fmt::format("pool {}: a member that was stopped holds its lock", name_));
  }

 private:
  static constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;

  [[nodiscard]] bool is_locked(unsigned byte) const {
    struct flock wish = {};
    wish.l_type = F_WRLCK;
    wish.l_start = byte;
    wish.l_len = 1;
    return fcntl(fd_, F_GETLK, &wish) != 0 || wish.l_type != F_UNLCK;
  }
  void close_all() {
    if (pool_ != nullptr) munmap(pool_, sizeof(weir_pool));
    if (fd_ >= 0) close(fd_);
  }

  std::string name_;
  int fd_;
  weir_pool* pool_ = nullptr;
};

struct Sums {
  uint64_t granted = 0, used = 0, swapped = 0;
};

Sums sums_of(const std::vector<weir_pool_member>& members) {
  Sums sums;
  for (const weir_pool_member& m : members) {
    sums.granted += m.granted;
    sums.used += m.used;
    sums.swapped += m.swapped;
  }
  return sums;
}

std::string command_name(const weir_pool_member& member) {
  return {member.command, strnlen(member.command, sizeof(member.command))};
}

void list_pools() {
  fmt::print("{:<20} {:>7} {:>9} {:>9} {:>9} {:>9}\n", "POOL", "MEMBERS", "LIMIT", "GRANTED", "USED", "SWAPPED");
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(WEIR_POOL_DIRECTORY, error)) {
    const std::string file = entry.path().filename().string();
    if (file.starts_with(prefix())) names.push_back(file.substr(prefix().size()));
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const Pool pool(name);
    const auto members = pool.members();
    const Sums sums = sums_of(members);
    fmt::print("{:<20} {:>7} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.1f}\n", name, members.size(), mib(pool.limit()),
               mib(sums.granted), mib(sums.used), mib(sums.swapped));
  }
}

void show_json(const std::string& name) {
  const Pool pool(name);
  JsonArray list;
  for (const weir_pool_member& m : pool.members()) {
    JsonObject o;
    o.add("pid", uint64_t{m.pid}).add("command", std::string_view(command_name(m))).add("granted", m.granted);
    list.raw(o.add("used", m.used).add("swapped", m.swapped).add("wanted", m.wanted).text());
  }
  JsonObject o;
  o.add("pool", std::string_view(name)).add("limit", pool.limit()).add("unit", std::string_view("pages"));
  fmt::print("{}\n", o.raw("members", list.text()).text());
}

void show(const std::string& name) {
  const Pool pool(name);
  const auto members = pool.members();
  const Sums sums = sums_of(members);
  constexpr const char* kRow = "{:>7} {:>9.1f} {:>9.1f} {:>9.1f} {}\n";
  fmt::print("{:>7} {:>9} {:>9} {:>9} {}\n", "PID", "GRANTED", "USED", "SWAPPED", "COMMAND");
  for (const weir_pool_member& m : members)
    fmt::print(fmt::runtime(kRow), m.pid, mib(m.granted), mib(m.used), mib(m.swapped), command_name(m));
  fmt::print(fmt::runtime(kRow), "all", mib(sums.granted), mib(sums.used), mib(sums.swapped),
             fmt::format("(of {:.1f})", mib(pool.limit())));
}

// The canonical form of a size that the table of options has accepted: digits and at most one suffix.
uint64_t bytes_of(const std::string& canonical) {
  constexpr std::string_view kSuffixes = "KMGT";
  const size_t power = kSuffixes.find(canonical.back());
  return std::stoull(canonical) << (power == std::string_view::npos ? 0 : 10 * (power + 1));
}

void set(const std::string& name, const std::string& assignment) {
  Pool pool(name);
  char text[WEIR_OPTION_TEXT];
  if (!assignment.starts_with("limit="))
    throw Failure(kUsage, fmt::format("pool set: {}: expected limit=SIZE", assignment));
  if (weir_options_check(assignment.c_str(), "pool set", text, sizeof(text)) != 0) throw Failure(kUsage, text + 6);
  weir_option_value(assignment.c_str(), "limit", text, sizeof(text));
  if (!isdigit(static_cast<unsigned char>(text[0])) || bytes_of(text) == 0)
    throw Failure(kUsage, fmt::format("pool set: {}: a pool has a limit of its own", assignment));
  pool.lock();
  pool.set_limit(bytes_of(text) / kPoolPageBytes);
}

void remove(const std::string& name) {
  Pool pool(name);
  pool.lock();
  if (const size_t members = pool.members().size(); members != 0)
    throw Failure(kNotTaken, fmt::format("pool {}: {} processes are in it; they have to end first", name, members));
  if (unlink(path_of(name).c_str()) != 0) throw Failure(kNoStats, fmt::format("pool {}: {}", name, strerror(errno)));
}

}  // namespace

bool is_pool_name(const std::string& name) {
  return weir_pool_is_name(name.data(), name.size()) != 0;
}

std::optional<uint64_t> pool_limit(const std::string& name) {
  try {
    return Pool(name).limit();
  } catch (const Failure&) {
    return std::nullopt;
  }
}

void add_pool(CLI::App& app) {
  CLI::App* command = app.add_subcommand("pool", "Look at and change limits that several processes share");
  command->footer(kHelp);
  command->require_subcommand(1);
  CLI::App* ls = command->add_subcommand("ls", "List your pools");
  ls->callback(list_pools);
  struct Settings {
    std::string name, assignment;
    bool json = false;
  };
  auto settings = std::make_shared<Settings>();
  const auto add = [&](const char* name, const char* about) {
    CLI::App* each = command->add_subcommand(name, about);
    each->add_option("name", settings->name, "The pool")->type_name("NAME")->required();
    return each;
  };
  CLI::App* shown = add("show", "List the processes of a pool");
  shown->add_flag("--json", settings->json, "As JSON");
  shown->callback([settings] { settings->json ? show_json(settings->name) : show(settings->name); });
  CLI::App* change = add("set", "Change the limit of a pool");
  change->add_option("setting", settings->assignment, "The new limit")->type_name("limit=SIZE")->required();
  change->callback([settings] { set(settings->name, settings->assignment); });
  add("rm", "Remove a pool that nobody is in")->callback([settings] { remove(settings->name); });
}

}  // namespace weir::tool
