#!/usr/bin/env bash
# cmake, ninja and g++ configure and build the whole of weir, with the allocator under every process of the build: the
# library that comes out must be the same bit for bit, and must pass a contract.
. "$(dirname "$0")/../common.sh"
need cmake ninja g++ sha256sum

build_weir() {
  export SOURCE_DATE_EPOCH=0
  # The same path in both runs, because paths go into the objects' names.
  rm -rf "$room/build"
  cmake -G Ninja -S "$project" -B "$room/build" -DCMAKE_BUILD_TYPE=Release -DWEIR_BENCH=OFF -DWEIR_TESTS=OFF \
    >cmake.log 2>&1 || { tail -n 20 cmake.log >&2; return 1; }
  cmake --build "$room/build" -j2 >build.log 2>&1 || { tail -n 20 build.log >&2; return 1; }
  sha256sum <"$room/build/lib/libweir-malloc.so"
  sha256sum <"$room/build/lib/libweir.so"
  ninja -C "$room/build" -t targets all | grep -c '\.o:'
}
compare "cmake, ninja and g++ building weir" build_weir
