// main.cc: a C++ program that uses libweir beside its own malloc.
#include <weir/weir.h>

#include <cstdio>
#include <memory>
#include <string>

int main() {
  std::unique_ptr<char, decltype(&weir_free)> memory(static_cast<char*>(weir_calloc(10, 100)), weir_free);
  if (memory == nullptr) return 1;
  for (int i = 0; i < 1000; ++i) {
    if (memory.get()[i] != 0) return 2;
  }
  std::string version = weir_version();
  std::printf("weir %s\n", version.c_str());
  return 0;
}
