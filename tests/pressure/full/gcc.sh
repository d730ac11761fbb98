#!/usr/bin/env bash
# gcc on a large translation unit: the assembly must be the same. Its garbage-collected trees come from mmap and are not
# weir's, so only weir's part is counted.
. "$(dirname "$0")/../common.sh"
need g++ awk sha256sum

awk 'BEGIN {
  print "#include <algorithm>\n#include <map>\n#include <memory>\n#include <string>\n#include <unordered_map>\n#include <vector>"
  for (i = 0; i < 20; ++i) {
    printf "struct T%d { int key; std::string name; bool operator<(const T%d& o) const { return key < o.key; } };\n", i, i
    printf "long f%d(std::vector<T%d>& v, std::map<std::string, T%d>& m) {\n", i, i, i
    printf "  std::sort(v.begin(), v.end());\n  auto g = [&](int x) { return x + %dL; };\n  long sum = 0;\n", i
    printf "  for (auto& t : v) { m[t.name] = t; sum += g(t.key); }\n"
    printf "  std::unordered_map<std::string, std::shared_ptr<T%d>> u;\n", i
    printf "  for (auto& [k, t] : m) u.emplace(k, std::make_shared<T%d>(t));\n", i
    printf "  return sum + static_cast<long>(u.size());\n}\n"
  }
  print "int table(int x) { switch (x) {"
  for (i = 0; i < 3000; ++i) printf "case %d: return x * %d + %d;\n", i * 3, i % 17 + 1, i
  print "} return 0; }"
}' >"$room/unit.cc"
# The compiler proper, as the driver would start it: the driver itself needs next to nothing.
eval "compiler=($(g++ -### -std=c++17 -O2 -g -frandom-seed=1 -S -o unit.s "$room/unit.cc" 2>&1 | grep '/cc1plus ' | tail -n 1))"
[ "${#compiler[@]}" -gt 3 ] || fail "g++ -### names no compiler"
use_gcc() {
  "$limited" "${compiler[@]}" -quiet -fdebug-prefix-map="$PWD"=. || return 1
  sha256sum <unit.s
  wc -l <unit.s
}
compare_limited "gcc" use_gcc heap
