"""Where the allocators' libraries are: Debian's packages of the peers, weir from the build directory, any by --lib."""
import dataclasses
import glob
import os
import subprocess
import sys

# Name -> (Debian package, file name patterns). The first file found wins.
PACKAGES = {
    "jemalloc": ("libjemalloc2", ["libjemalloc.so.2"]),
    "mimalloc": ("libmimalloc2.0", ["libmimalloc.so.2", "libmimalloc.so.2.*"]),
    "tcmalloc": ("libtcmalloc-minimal4", ["libtcmalloc_minimal.so.4"]),
}
LIBRARY_DIRS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"]
DEFAULT_ORDER = ["weir", "jemalloc", "mimalloc", "tcmalloc", "glibc"]


@dataclasses.dataclass(frozen=True)
class Allocator:
    name: str
    path: str  # empty: nothing is preloaded, the C library's malloc serves

    def preload(self, links_own_allocator=False):
        """LD_PRELOAD for a workload. A program linked against an allocator needs the C library named to use it."""
        return self.path if self.path or not links_own_allocator else "libc.so.6"


def find_library(patterns):
    for directory in LIBRARY_DIRS:
        for pattern in patterns:
            found = sorted(glob.glob(os.path.join(directory, pattern)))
            if found:
                return found[0]
    return ""


def package_version(package):
    try:
        result = subprocess.run(["dpkg-query", "-W", "-f=${Version}", package], capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def install_missing():
    missing = [package for package, patterns in PACKAGES.values() if not find_library(patterns)]
    if missing:
        print("installing", *missing, flush=True)
        command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
            sys.exit("bench/run: apt-get could not install " + " ".join(missing))


def find_allocators(build_dir, extra):
    """All allocators present, in the order of the table, and a line for each one that is missing."""
    found, missing = {}, []
    weir = os.path.join(build_dir, "lib", "libweir-malloc.so")
    if os.path.exists(weir):
        found["weir"] = Allocator("weir", os.path.realpath(weir))
    elif "weir" not in extra:
        missing.append(f"weir is left out: {weir} does not exist (cmake --build {build_dir} --target weir_malloc)")
    for name, (package, patterns) in PACKAGES.items():
        path = find_library(patterns)
        if path:
            found[name] = Allocator(name, path)
        elif name not in extra:
            missing.append(f"{name} is left out: package {package} is not installed (bench/run --install)")
    found["glibc"] = Allocator("glibc", "")
    for name, path in extra.items():
        found[name] = Allocator(name, os.path.abspath(path))
    order = {name: place for place, name in enumerate(DEFAULT_ORDER)}
    return sorted(found.values(), key=lambda a: order.get(a.name, len(order))), missing


def versions(allocators):
    """Name -> version as far as Debian's package database knows it."""
    packages = {"glibc": "libc6", **{name: package for name, (package, _) in PACKAGES.items()}}
    return {a.name: package_version(packages[a.name]) if a.name in packages else os.path.basename(a.path) for a in allocators}
