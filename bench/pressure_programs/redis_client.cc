// A Redis client that fills a server with values made from their keys, then reads and writes them for a fixed time and
// checks every reply, word for word.
//
//   redis_client --port N [--memory 256M] [--pattern NAME] [--connections N] [--seconds S] [--warm S]
//                [--writes PERCENT] [--compressibility 0..1] [--seed N]
//
// Each connection has a thread and keys of its own, so that it knows the version of every value. One line of JSON on
// standard output; a wrong reply ends with status 1 and a line that names the key.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <initializer_list>
#include <string>
#include <vector>

#include "arguments.h"
#include "content.h"
#include "histogram.h"
#include "patterns.h"

namespace pressure {
namespace {

// Values have 128 bytes to 2 KiB, 1088 bytes on average; key, entry, headers and rounding take about 240 more
// (measured).
constexpr size_t kMostLines = 16;
constexpr uint64_t kBytesPerKey = (kMostLines + 1) * kLineWords * sizeof(uint64_t) / 2 + 240;
constexpr size_t kPipeline = 64;  // sets sent before their replies are read, while filling
constexpr uint64_t kFewestKeys = 1000;

struct Setup {
  unsigned port;
  uint64_t keys;
  PatternKind pattern;
  unsigned connections;
  unsigned write_percent;
  uint64_t seed;
  Content content;
  double ticks_per_ns = 1;
  uint64_t warm_ticks = 0, run_ticks = 0;
  pthread_barrier_t barrier{};
};

[[noreturn]] void wrong(uint64_t key, const char* what) {
  fprintf(stderr, "redis_client: wrong reply for key %llu: %s\n", static_cast<unsigned long long>(key), what);
  _Exit(1);
}

class Stream {
 public:
  void connect_to(unsigned port) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int on = 1;
    if (fd_ < 0 || connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      bench::fail("cannot connect to the server");
    }
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }

  void send(const std::string& bytes) {
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t n = write(fd_, bytes.data() + done, bytes.size() - done);
      if (n <= 0) bench::fail("the server closed the connection");
      done += static_cast<size_t>(n);
    }
  }

  // Up to the next line end, which is left out.
  std::string line() {
    for (;;) {
      const size_t end = buffer_.find("\r\n", at_);
      if (end != std::string::npos) {
        std::string result = buffer_.substr(at_, end - at_);
        at_ = end + 2;
        return result;
      }
      more();
    }
  }
  std::string bytes(size_t n) {
    while (buffer_.size() - at_ < n) more();
    std::string result = buffer_.substr(at_, n);
    at_ += n;
    return result;
  }

 private:
  void more() {
    buffer_.erase(0, at_);
    at_ = 0;
    char chunk[65536];
    const ssize_t n = read(fd_, chunk, sizeof(chunk));
    if (n <= 0) bench::fail("the server closed the connection");
    buffer_.append(chunk, static_cast<size_t>(n));
  }

  int fd_ = -1;
  std::string buffer_;
  size_t at_ = 0;
};

class Connection {
 public:
  void init(Setup& setup, unsigned id) {
    setup_ = &setup;
    id_ = id;
    keys_ = setup.keys / setup.connections;
    rng_ = bench::Rng(setup.seed * 1000 + id);
    pattern_.init(setup.pattern, keys_, 0, 1);
    versions_.assign(keys_, 0);
    stream_.connect_to(setup.port);
  }

  void run() {
    fill();
    pthread_barrier_wait(&setup_->barrier);
    command_until(ticks() + setup_->warm_ticks);
    histogram_ = Histogram();
    pthread_barrier_wait(&setup_->barrier);
    started_ = ticks();
    command_until(started_ + setup_->run_ticks);
    ended_ = ticks();
    measured_ = histogram_;
    for (uint64_t key = 0; key < keys_; ++key) get(key);
  }

  // Without the final check of all keys.
  const Histogram& histogram() const { return measured_; }
  double seconds() const { return static_cast<double>(ended_ - started_) / setup_->ticks_per_ns * 1e-9; }

 private:
  uint64_t global(uint64_t key) const { return key * setup_->connections + id_; }
  static std::string name(uint64_t key) {
    char text[32];
    snprintf(text, sizeof(text), "key:%llu", static_cast<unsigned long long>(key));
    return text;
  }

  // Some lines of the key's page; the first word carries the version.
  std::string value(uint64_t key) const {
    const uint64_t page = global(key);
    const size_t words = (1 + bench::mix(page) % kMostLines) * kLineWords;
    std::vector<uint64_t> result(words);
    for (size_t i = 0; i < words; ++i) result[i] = setup_->content.word(page, i);
    result[0] ^= bench::mix(versions_[key]);
    return {reinterpret_cast<const char*>(result.data()), words * sizeof(uint64_t)};
  }

  // One command of the protocol: its words with their lengths.
  static std::string request(std::initializer_list<std::string> words) {
    std::string result;
    append_length(result, '*', words.size());
    for (const std::string& word : words) {
      append_length(result, '$', word.size());
      result.append(word).append("\r\n");
    }
    return result;
  }
  static void append_length(std::string& to, char kind, size_t length) {
    char text[32];
    snprintf(text, sizeof(text), "%c%zu\r\n", kind, length);
    to.append(text);
  }
  std::string set_request(uint64_t key) const { return request({"SET", name(global(key)), value(key)}); }
  void expect_ok(uint64_t key) {
    const std::string reply = stream_.line();
    if (reply != "+OK") wrong(global(key), reply.c_str());
  }

  void fill() {
    for (uint64_t key = 0; key < keys_; key += kPipeline) {
      const uint64_t end = key + kPipeline < keys_ ? key + kPipeline : keys_;
      std::string requests;
      for (uint64_t k = key; k < end; ++k) requests += set_request(k);
      stream_.send(requests);
      for (uint64_t k = key; k < end; ++k) expect_ok(k);
    }
  }

  // Returns when the reply was there; building the request and checking the reply are not timed.
  uint64_t set(uint64_t key) {
    ++versions_[key];
    const std::string command = set_request(key);
    const uint64_t before = ticks();
    stream_.send(command);
    expect_ok(key);
    const uint64_t after = ticks();
    histogram_.record(after - before);
    return after;
  }
  uint64_t get(uint64_t key) {
    const std::string expected = value(key), command = request({"GET", name(global(key))});
    std::string expected_head;
    append_length(expected_head, '$', expected.size());
    const uint64_t before = ticks();
    stream_.send(command);
    const std::string head = stream_.line();
    if (expected_head.compare(0, expected_head.size() - 2, head) != 0) wrong(global(key), head.c_str());
    const std::string reply = stream_.bytes(expected.size() + 2);
    const uint64_t after = ticks();
    if (reply.compare(0, expected.size(), expected) != 0) wrong(global(key), "the value differs");
    histogram_.record(after - before);
    return after;
  }

  void command_until(uint64_t end) {
    for (uint64_t now = 0; now < end;) {
      const uint64_t key = pattern_.next(rng_);
      now = rng_.below(100) < setup_->write_percent ? set(key) : get(key);
    }
  }

  Setup* setup_ = nullptr;
  unsigned id_ = 0;
  uint64_t keys_ = 0;
  bench::Rng rng_{0};
  Pattern pattern_;
  std::vector<uint32_t> versions_;
  Stream stream_;
  Histogram histogram_, measured_;
  uint64_t started_ = 0, ended_ = 0;
};

void* run_connection(void* connection) {
  static_cast<Connection*>(connection)->run();
  return nullptr;
}

int run(Setup& setup) {
  std::vector<Connection> connections(setup.connections);
  std::vector<pthread_t> threads(setup.connections);
  for (unsigned i = 0; i < setup.connections; ++i) connections[i].init(setup, i);
  pthread_barrier_init(&setup.barrier, nullptr, setup.connections);
  for (unsigned i = 0; i < setup.connections; ++i) {
    if (pthread_create(&threads[i], nullptr, run_connection, &connections[i]) != 0) {
      bench::fail("pthread_create failed");
    }
  }
  static Histogram all;
  double rate = 0;
  for (unsigned i = 0; i < setup.connections; ++i) {
    pthread_join(threads[i], nullptr);
    all.add(connections[i].histogram());
    rate += static_cast<double>(connections[i].histogram().total()) / connections[i].seconds();
  }
  printf("{\"touches_per_s\":%.0f,\"touches\":%llu", rate, static_cast<unsigned long long>(all.total()));
  all.print(stdout, setup.ticks_per_ns);
  printf(",\"verified_keys\":%llu}\n", static_cast<unsigned long long>(setup.keys));
  return fflush(stdout) == 0 ? 0 : 1;
}

Setup parse(int argc, char** argv) {
  const Arguments arguments(
      argc, argv, {"port", "memory", "pattern", "connections", "seconds", "warm", "writes", "compressibility", "seed"});
  const auto connections = static_cast<unsigned>(arguments.number("connections", 4, 1, 64));
  const PatternKind pattern = pattern_named(arguments.text("pattern", "uniform"));
  if (pattern == PatternKind::kUnknown) arguments.bad(arguments.text("pattern", ""), kPatternNames);
  const uint64_t keys = arguments.size("memory", uint64_t{256} << 20) / kBytesPerKey / connections * connections;
  if (keys < kFewestKeys || keys / connections < kFewestKeys / 64 || keys >= uint64_t{1} << 31) {
    arguments.bad(arguments.text("memory", ""), "a --memory from 4M to 2000G");
  }
  if (arguments.text("port", nullptr) == nullptr) arguments.bad("(no --port)", "--port N");
  Setup setup{.port = static_cast<unsigned>(arguments.number("port", 0, 1, 65535)),
              .keys = keys,
              .pattern = pattern,
              .connections = connections,
              .write_percent = static_cast<unsigned>(arguments.number("writes", 30, 0, 100)),
              .seed = arguments.number("seed", 42, 0, UINT32_MAX),
              .content = Content(arguments.real("compressibility", 0.7, 0, 1))};
  const double seconds = arguments.real("seconds", 4, 0.01, 86400), warm = arguments.real("warm", 1, 0, 86400);
  setup.ticks_per_ns = measure_tick_rate();
  setup.run_ticks = static_cast<uint64_t>(seconds * 1e9 * setup.ticks_per_ns);
  setup.warm_ticks = static_cast<uint64_t>(warm * 1e9 * setup.ticks_per_ns);
  return setup;
}

}  // namespace
}  // namespace pressure

int main(int argc, char** argv) {
  pressure::Setup setup = pressure::parse(argc, argv);
  return pressure::run(setup);
}
