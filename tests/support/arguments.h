// Purpose: the command line of the stress programs: --seconds N, --threads N, --seed N.
// Thread safety: none; once, at the start of main.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace weir {

struct StressArguments {
  uint64_t seconds = 5;
  uint64_t threads = 8;
  uint64_t seed = 1;
};

[[noreturn]] inline void bad_argument(const char* program, const char* argument) {
  fprintf(stderr,
          "%s: bad argument '%s'; use [--seconds N] [--threads N] [--seed N], N a whole number, threads 1..64\n",
          program, argument);
  exit(64);
}

inline StressArguments parse_stress_arguments(const char* program, int argc, char** argv) {
  StressArguments arguments;
  for (int i = 1; i < argc; i += 2) {
    uint64_t* target = strcmp(argv[i], "--seconds") == 0   ? &arguments.seconds
                       : strcmp(argv[i], "--threads") == 0 ? &arguments.threads
                       : strcmp(argv[i], "--seed") == 0    ? &arguments.seed
                                                           : nullptr;
    if (target == nullptr) bad_argument(program, argv[i]);
    const char* text = i + 1 < argc ? argv[i + 1] : "";
    char* end = nullptr;
    *target = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0') bad_argument(program, argv[i]);
  }
  if (arguments.threads < 1 || arguments.threads > 64) bad_argument(program, "--threads");
  return arguments;
}

}  // namespace weir
