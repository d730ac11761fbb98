// plugin_cxx.cc: the C++ plug-in of dlopen_cxx.c: with it libstdc++ comes into a C program that knows nothing of it.
#include <new>
#include <string>
#include <vector>

#include "contract.h"

extern "C" __attribute__((visibility("default"))) int plugin_catches_bad_alloc(void);
extern "C" __attribute__((visibility("default"))) int plugin_catches_length_error(void);
extern "C" __attribute__((visibility("default"))) int plugin_works(void);

int plugin_catches_bad_alloc(void) {
  try {
    opaque(::operator new(opaque_size(static_cast<size_t>(PTRDIFF_MAX) - 64)));
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}

int plugin_catches_length_error(void) {
  try {
    std::vector<int> numbers;
    numbers.reserve(opaque_size(SIZE_MAX));
  } catch (const std::exception&) {
    return 1;
  }
  return 0;
}

int plugin_works(void) {
  std::vector<std::string> lines;
  for (int i = 0; i < 1000; ++i) lines.push_back(std::string(static_cast<size_t>(i), 'x'));
  size_t total = 0;
  for (const std::string& line : lines) total += line.size();
  return total == 999 * 1000 / 2;
}
