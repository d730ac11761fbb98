// The command line of the pressure programs: --name VALUE pairs. A bad one ends the program with status 64 and one
// line that names it and the form expected.
//
// Thread safety: none; once, at the start of main.
#ifndef WEIR_BENCH_PRESSURE_ARGUMENTS_H_
#define WEIR_BENCH_PRESSURE_ARGUMENTS_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace pressure {

class Arguments {
 public:
  Arguments(int argc, char** argv, std::initializer_list<const char*> names) : argc_(argc), argv_(argv) {
    for (int i = 1; i < argc; i += 2) {
      bool known = false;
      for (const char* name : names) known = known || is_option(argv[i], name);
      if (!known) bad(argv[i], "an option of this program");
      if (i + 1 >= argc) bad(argv[i], "a value after it");
    }
  }

  const char* text(const char* name, const char* otherwise) const {
    const char* found = otherwise;
    for (int i = 1; i + 1 < argc_; i += 2) {
      if (is_option(argv_[i], name)) found = argv_[i + 1];
    }
    return found;
  }

  uint64_t number(const char* name, uint64_t otherwise, uint64_t low, uint64_t high) const {
    const char* given = text(name, nullptr);
    if (given == nullptr) return otherwise;
    char* end = nullptr;
    const unsigned long long value = strtoull(given, &end, 10);
    if (given[0] < '0' || given[0] > '9' || *end != '\0' || value < low || value > high) {
      char form[96];
      snprintf(form, sizeof(form), "for --%s a number from %llu to %llu", name, static_cast<unsigned long long>(low),
               static_cast<unsigned long long>(high));
      bad(given, form);
    }
    return value;
  }

  double real(const char* name, double otherwise, double low, double high) const {
    const char* given = text(name, nullptr);
    if (given == nullptr) return otherwise;
    char* end = nullptr;
    const double value = strtod(given, &end);
    if (end == given || *end != '\0' || !(value >= low && value <= high)) {
      char form[96];
      snprintf(form, sizeof(form), "for --%s a number from %g to %g", name, low, high);
      bad(given, form);
    }
    return value;
  }

  // Bytes: a number with K, M or G behind it, or none.
  uint64_t size(const char* name, uint64_t otherwise) const {
    const char* given = text(name, nullptr);
    if (given == nullptr) return otherwise;
    char* end = nullptr;
    const unsigned long long value = strtoull(given, &end, 10);
    const char* units = "KMG";
    const char* unit = *end == '\0' ? nullptr : strchr(units, *end);
    const unsigned shift = unit == nullptr ? 0 : 10 * static_cast<unsigned>(unit - units + 1);
    const bool formed = *end == '\0' || (unit != nullptr && end[1] == '\0');
    if (given[0] < '0' || given[0] > '9' || !formed || value == 0 || value > (UINT64_MAX >> 1 >> shift)) {
      bad(given, "a size such as 4096, 512K, 64M or 2G");
    }
    return value << shift;
  }

  [[noreturn]] void bad(const char* given, const char* expected) const {
    const char* slash = strrchr(argv_[0], '/');
    fprintf(stderr, "%s: bad argument '%s', expected %s\n", slash == nullptr ? argv_[0] : slash + 1, given, expected);
    exit(64);
  }

 private:
  static bool is_option(const char* argument, const char* name) {
    return strncmp(argument, "--", 2) == 0 && strcmp(argument + 2, name) == 0;
  }

  int argc_;
  char** argv_;
};

}  // namespace pressure

#endif  // WEIR_BENCH_PRESSURE_ARGUMENTS_H_
