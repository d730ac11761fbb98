// driver.cc: a main for fuzz targets without libFuzzer. It feeds LLVMFuzzerTestOneInput with files named on the command
// line, then with random inputs and mutations of inputs it used before, from a seed, so that a failure repeats.
//
// Thread safety: one thread. Invariant: the input being run lies in g_input, which the signal handler writes to a file.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

struct Settings {
  uint64_t seed = 1;
  uint64_t runs = UINT64_MAX;
  double seconds = 5;
  size_t max_len = 4096;  // as libFuzzer's default
  std::vector<std::string> files;
};

// Inputs kept for mutation. More would only make each of them rarer.
constexpr size_t kPoolSize = 256;

Bytes g_input;
uint64_t g_run = 0;
uint64_t g_seed = 0;

void dump_input(int signo) {
  char text[160];
  int length = snprintf(text, sizeof text, "fuzz: signal %d in run %llu of seed %llu, input in crash-input\n", signo,
                        static_cast<unsigned long long>(g_run), static_cast<unsigned long long>(g_seed));
  int fd = open("crash-input", O_CREAT | O_TRUNC | O_WRONLY, 0644);
  bool written = write(fd, g_input.data(), g_input.size()) >= 0;
  written = write(STDERR_FILENO, text, static_cast<size_t>(length)) >= 0 && written;
  signal(signo, SIG_DFL);
  raise(signo);
}

double now() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<double>(ts.tv_sec) + static_cast<double>(ts.tv_nsec) * 1e-9;
}

class Mutator {
 public:
  Mutator(uint64_t seed, size_t max_len) : random_(seed), max_len_(max_len) {}

  Bytes next() {
    if (pool_.empty() || below(8) == 0) return fresh();
    Bytes input = pool_[below(pool_.size())];
    for (size_t edits = 1 + below(6); edits > 0; --edits) edit(input);
    if (input.size() > max_len_) input.resize(max_len_);
    return input;
  }

  void keep(const Bytes& input) {
    if (pool_.size() < kPoolSize) {
      pool_.push_back(input);
    } else if (below(16) == 0) {
      pool_[below(kPoolSize)] = input;
    }
  }

 private:
  size_t below(size_t bound) { return static_cast<size_t>(random_() % bound); }

  Bytes fresh() {
    // Lengths spread over magnitudes: most inputs short, some at the limit.
    size_t limit = size_t{1} << below(13);
    Bytes input(below((limit < max_len_ ? limit : max_len_) + 1));
    bool text = below(2) == 0;
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(text ? ' ' + below(95) : below(256));
    return input;
  }

  void edit(Bytes& input) {
    size_t at = input.empty() ? 0 : below(input.size());
    auto where = input.begin() + static_cast<ptrdiff_t>(at);
    switch (below(5)) {
      case 0:
        if (!input.empty()) input[at] = static_cast<uint8_t>(input[at] ^ (1u << below(8)));
        break;
      case 1:
        input.insert(where, static_cast<uint8_t>(below(256)));
        break;
      case 2:
        if (!input.empty()) input.erase(where);
        break;
      case 3: {
        Bytes other = pool_[below(pool_.size())];
        input.insert(where, other.begin(), other.begin() + static_cast<ptrdiff_t>(below(other.size() + 1)));
        break;
      }
      default:
        input.resize(at);
    }
  }

  std::mt19937_64 random_;
  size_t max_len_;
  std::vector<Bytes> pool_;
};

void run_one(const Bytes& input) {
  g_input = input;
  ++g_run;
  LLVMFuzzerTestOneInput(g_input.data(), g_input.size());
}

[[noreturn]] void usage(const char* argument) {
  fprintf(stderr, "fuzz: bad argument '%s'; use [--seed N] [--runs N] [--seconds N] [--max-len N] [FILE...]\n",
          argument);
  exit(64);
}

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (name.compare(0, 2, "--") != 0) {
      settings.files.push_back(name);
      continue;
    }
    char* end = nullptr;
    const char* value = i + 1 < argc ? argv[++i] : "";
    unsigned long long number = strtoull(value, &end, 10);
    if (end == value || *end != '\0') usage(argv[i]);
    if (name == "--seed") {
      settings.seed = number;
    } else if (name == "--runs") {
      settings.runs = number;
    } else if (name == "--seconds") {
      settings.seconds = static_cast<double>(number);
    } else if (name == "--max-len") {
      settings.max_len = static_cast<size_t>(number);
    } else {
      usage(name.c_str());
    }
  }
  return settings;
}

Bytes read_file(const std::string& path) {
  FILE* file = fopen(path.c_str(), "rb");
  if (file == nullptr) {
    fprintf(stderr, "fuzz: cannot read '%s': %s\n", path.c_str(), strerror(errno));
    exit(64);
  }
  Bytes bytes;
  for (int c = fgetc(file); c != EOF; c = fgetc(file)) bytes.push_back(static_cast<uint8_t>(c));
  fclose(file);
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings = parse(argc, argv);
  g_seed = settings.seed;
  for (int signo : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) signal(signo, dump_input);
  Mutator mutator(settings.seed, settings.max_len);
  for (const std::string& path : settings.files) {
    Bytes input = read_file(path);
    run_one(input);
    mutator.keep(input);
  }
  double end = now() + settings.seconds;
  while (g_run < settings.runs && now() < end) {
    Bytes input = mutator.next();
    run_one(input);
    mutator.keep(input);
  }
  printf("fuzz: %llu runs of seed %llu\n", static_cast<unsigned long long>(g_run),
         static_cast<unsigned long long>(g_seed));
  return 0;
}
