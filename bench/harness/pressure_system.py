"""What the kernel's regimes need of the system: a memory cgroup (v1 or v2), zram or a file as the only swap. Everything
set up here is undone by close(), also after an interrupt."""
import glob
import os
import subprocess
import sys
import time

GROUP_PREFIX = "weir-pressure-"
PAGE = os.sysconf("SC_PAGE_SIZE")


class Unusable(Exception):
    """The system cannot be used for this; the text is one line for the user."""


def read(path):
    with open(path) as file:
        return file.read().strip()


def write(path, value):
    with open(path, "w") as file:
        file.write(str(value))


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise Unusable(f"{' '.join(command)}: {(result.stderr or result.stdout).strip().splitlines()[-1:]}")
    return result.stdout


def active_swaps():
    return [line.split()[0] for line in read("/proc/swaps").splitlines()[1:]]


def check_usable():
    """Raises Unusable unless this process may set up swap and cgroups and no swap is there that would mix with ours."""
    if os.geteuid() != 0:
        raise Unusable("the kernel's rows need root: cgroups and swapon (or choose --regimes weir,weir-file)")
    swaps = active_swaps()
    if swaps:
        raise Unusable(f"swap is already on ({', '.join(swaps)}): it would take part in the comparison; swapoff it first "
                       "(or choose --regimes weir,weir-file)")


class Knob:
    """A kernel parameter that is set for the time of the comparison. Absent ones are left alone."""

    def __init__(self, path, value):
        self.path, self.before = path, None
        try:
            self.before = read(path)
            write(path, value)
        except OSError:
            pass

    def close(self):
        if self.before is not None:
            write(self.path, self.before)


class MemoryGroup:
    """One memory cgroup with a limit. Processes enter it by the shell command that enter() returns."""

    def __init__(self, name):
        self.v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers") and \
            "memory" in read("/sys/fs/cgroup/cgroup.controllers").split()
        if self.v2:
            root = "/sys/fs/cgroup"
            if "memory" not in read(root + "/cgroup.subtree_control").split():
                write(root + "/cgroup.subtree_control", "+memory")
        else:
            root = "/sys/fs/cgroup/memory"
            if not os.path.exists(root + "/memory.limit_in_bytes"):
                raise Unusable("no memory cgroup: neither /sys/fs/cgroup/memory (v1) nor the memory controller of v2")
        self.path = os.path.join(root, GROUP_PREFIX + name)
        self.made = False

    def open(self, limit):
        """A fresh group each time, so that no page of an earlier run is charged to it."""
        os.mkdir(self.path)
        self.made = True
        write(self.file("memory.max", "memory.limit_in_bytes"), limit)
        if self.v2:
            for name in ("memory.zswap.max",):  # the kernel's own zswap in front of the file would be a third regime
                if os.path.exists(os.path.join(self.path, name)):
                    write(os.path.join(self.path, name), 0)

    def file(self, v2_name, v1_name):
        return os.path.join(self.path, v2_name if self.v2 else v1_name)

    def enter(self):
        return ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh"]

    def usage(self):
        return int(read(self.file("memory.current", "memory.usage_in_bytes")))

    def swapped(self):
        if self.v2:
            return int(read(os.path.join(self.path, "memory.swap.current")))
        stat = dict(line.split() for line in read(os.path.join(self.path, "memory.stat")).splitlines())
        return int(stat.get("swap", 0))

    def oom_kills(self):
        text = read(self.file("memory.events", "memory.oom_control"))
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)

    def close(self):
        """Processes may take a moment to leave; the group's left-over pages must go too, or swapoff reads them in."""
        for _ in range(100):
            if not self.made:
                return
            try:
                os.rmdir(self.path)
                self.made = False
            except OSError:
                time.sleep(0.02)
        print(f"note: the cgroup {self.path} is still busy and stays behind", file=sys.stderr)


class Zram:
    """A zram device with lz4 as the system's only swap."""

    def __init__(self, size, algorithm="lz4"):
        self.size, self.algorithm, self.on = size, algorithm, False
        self.device, self.added = "", None

    def find(self):
        """An unused zram device, added where all are in use."""
        if not os.path.exists("/sys/class/zram-control"):
            subprocess.run(["modprobe", "zram"], capture_output=True)
        for path in sorted(glob.glob("/sys/block/zram*")):
            if read(path + "/disksize") == "0":
                return os.path.basename(path)
        try:
            self.added = read("/sys/class/zram-control/hot_add")
        except OSError:
            raise Unusable("no zram: the kernel has no unused zram device and cannot add one") from None
        return f"zram{self.added}"

    def open(self):
        self.device = self.device or self.find()
        algorithms = read(f"/sys/block/{self.device}/comp_algorithm")
        if self.algorithm not in algorithms.replace("[", "").replace("]", "").split():
            raise Unusable(f"zram does not know {self.algorithm}, only {algorithms}")
        self.on = True
        write(f"/sys/block/{self.device}/comp_algorithm", self.algorithm)
        write(f"/sys/block/{self.device}/disksize", self.size)
        run("mkswap", f"/dev/{self.device}")
        run("swapon", f"/dev/{self.device}")

    def usage(self):
        """(bytes of pages stored, bytes of memory they take) now."""
        fields = read(f"/sys/block/{self.device}/mm_stat").split()
        return int(fields[0]), int(fields[2])

    def close(self):
        if self.on:
            if f"/dev/{self.device}" in active_swaps():
                run("swapoff", f"/dev/{self.device}")
            write(f"/sys/block/{self.device}/reset", 1)
            self.on = False
        if self.added is not None:
            write("/sys/class/zram-control/hot_remove", self.added)
            self.added, self.device = None, ""


class SwapFile:
    """A file as the system's only swap, made anew for each run."""

    def __init__(self, directory, size):
        self.path = os.path.join(directory, f"{GROUP_PREFIX}swap-{os.getpid()}")
        self.size, self.on = size, False

    def open(self):
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self.on = True
        try:
            os.posix_fallocate(fd, 0, self.size)
        except OSError as error:
            raise Unusable(f"cannot make a swap file of {self.size >> 20} MiB: {error}") from None
        finally:
            os.close(fd)
        run("mkswap", self.path)
        try:
            run("swapon", self.path)
        except Unusable as error:
            raise Unusable(f"{error} (swap files need a local file system; choose another with --swap-dir)") from None

    def close(self):
        if self.on:
            if self.path in active_swaps():
                run("swapoff", self.path)
            os.unlink(self.path)
            self.on = False
