#!/usr/bin/env bash
# g++ on a large translation unit: the object file must be the same. The trees of its garbage collector come from mmap.
. "$(dirname "$0")/../common.sh"
need g++ awk sha256sum

awk 'BEGIN {
  print "#include <algorithm>\n#include <map>\n#include <memory>\n#include <string>\n#include <unordered_map>\n#include <vector>"
  for (i = 0; i < 6; ++i) {
    printf "struct T%d { int key; std::string name; bool operator<(const T%d& o) const { return key < o.key; } };\n", i, i
    printf "long f%d(std::vector<T%d>& v, std::map<std::string, T%d>& m) {\n", i, i, i
    printf "  std::sort(v.begin(), v.end());\n  auto g = [&](int x) { return x + %dL; };\n  long sum = 0;\n", i
    printf "  for (auto& t : v) { m[t.name] = t; sum += g(t.key); }\n"
    printf "  std::unordered_map<std::string, std::shared_ptr<T%d>> u;\n", i
    printf "  for (auto& [k, t] : m) u.emplace(k, std::make_shared<T%d>(t));\n", i
    printf "  return sum + static_cast<long>(u.size());\n}\n"
  }
  print "int table(int x) { switch (x) {"
  for (i = 0; i < 16000; ++i) printf "case %d: return x * %d + %d;\n", i * 3, i % 17 + 1, i
  print "} return 0; }"
}' >"$room/unit.cc"
# The driver, the compiler proper and the assembler each have the limit for themselves.
use_gcc() {
  "$limited" g++ -std=c++17 -O2 -g -frandom-seed=1 -fdebug-prefix-map="$PWD"=. -c -o unit.o "$room/unit.cc" || return 1
  sha256sum <unit.o
  wc -c <unit.o
}
compare_limited "g++" use_gcc mapped
