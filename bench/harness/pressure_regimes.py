"""What is compared: weir, the kernel with zram, the kernel with a swap file, each holding a program inside a limit."""
import dataclasses
import os
import re
import subprocess
import tempfile
import threading
import time

from harness import pressure_system as system

TIMEOUT_SECONDS = 600   # a run takes some seconds; a hang must not hold up everything
SAMPLE_SECONDS = 0.02   # memory in use is looked at this often
OOM_RETRIES = 4         # the kernel's memcg OOM killer ends some runs although swap is free; such a run is repeated
LEAST_LIMIT = 8 << 20   # below this a cgroup cannot start a program


class RunFailed(Exception):
    """A run that ended badly; the text is one line for the user."""


@dataclasses.dataclass
class Context:
    bench_dir: str      # where the programs are
    library: str        # the drop-in
    limit: int
    data: int
    swap_dir: str       # for swap files, the kernel's and weir's
    work_dir: str       # scratch

    def program(self, name):
        return os.path.join(self.bench_dir, name)


def status_bytes(pid, *fields):
    """The sum of these fields of /proc/PID/status; 0 when the process has ended."""
    try:
        text = system.read(f"/proc/{pid}/status")
    except (OSError, ProcessLookupError):
        return 0
    return sum(int(m.group(1)) << 10 for f in fields for m in [re.search(rf"^{f}:\s+(\d+) kB", text, re.M)] if m)


class Sampler:
    """Keeps the highest value of a function while it is open."""

    def __init__(self, function):
        self.function, self.most, self.stop = function, 0, threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def loop(self):
        while not self.stop.wait(SAMPLE_SECONDS):
            try:
                self.most = max(self.most, self.function())
            except (OSError, ValueError):
                pass

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


class Process:
    """A program under a regime, in a process group of its own; its output is kept in files."""

    def __init__(self, command, env, cwd):
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=self.err, start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    def wait(self):
        """Exit status; a process that takes too long is killed."""
        try:
            return self.process.wait(timeout=TIMEOUT_SECONDS)
        except BaseException as error:
            self.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise RunFailed(f"still running after {TIMEOUT_SECONDS} s") from None
            raise

    def kill(self):
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, 9)
            except ProcessLookupError:
                pass
            self.process.wait()

    def text(self, file):
        file.seek(0)
        return file.read().decode(errors="replace")

    def failure(self, status):
        last = self.text(self.err).strip().splitlines()[-1:]
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        return RunFailed(how + (": " + last[0] if last else ""))


class Regime:
    """Opened for one run: start() runs a program in it, memory() is what its data takes now, by the regime's own count."""
    counts_pool = True  # whether compressed pages count against the limit

    def __init__(self, name, baseline=()):
        self.name, self.baseline, self.notes = name, baseline, []
        self.oom_kills = 0

    def open(self, context):
        pass

    def close(self):
        pass

    def killed_by_oom(self):
        return False

    def usable_for(self, workload):
        return True


class Weir(Regime):
    def __init__(self, name, conf, baseline, limited=True, library=None):
        super().__init__(name, baseline)
        self.conf, self.limited, self.library = conf, limited, library
        if not limited:
            self.notes.append("runs without a limit: this weir does not know the option; no ratio")

    def start(self, context, command):
        conf = self.conf.format(limit=context.limit, swap_dir=context.swap_dir) if self.limited else ""
        env = {**os.environ, "LD_PRELOAD": self.library or context.library, "WEIR_CONF": conf}
        return Process(command, env, context.work_dir)

    def memory(self, process):
        return status_bytes(process.pid, "RssAnon", "RssShmem")


class Kernel(Regime):
    """A memory cgroup, and one device as the only swap. `lower`: workload family -> limit less the pool, else None."""

    def __init__(self, name, device, baseline=(), lower=None, pagecluster=None):
        super().__init__(name, baseline)
        self.device, self.lower, self.group = device, lower, None
        self.counts_pool = not isinstance(device, system.Zram) or lower is not None
        self.family = ""

    def usable_for(self, workload):
        self.family = workload.family
        return self.lower is None or self.lower.get(workload.family) is not None

    def open(self, context):
        self.limit = self.lower[self.family] if self.lower is not None else context.limit
        self.device.open()
        self.group = system.MemoryGroup(f"{os.getpid()}")
        self.group.open(self.limit)

    def start(self, context, command):
        env = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "WEIR_CONF")}
        return Process([*self.group.enter(), *command], env, context.work_dir)

    def memory(self, _process):
        pool = self.device.usage()[1] if isinstance(self.device, system.Zram) else 0
        return self.group.usage() + pool

    def killed_by_oom(self):
        return self.group is not None and self.group.oom_kills() > 0

    def close(self):
        try:
            if self.group:
                self.group.close()
        finally:
            self.group = None
            self.device.close()


def run_once(context, regime, workload):
    """One sample: what the program printed, and the most memory that was in use."""
    for attempt in range(OOM_RETRIES + 1):
        try:
            regime.open(context)
            sample = workload.run(context, regime)
            return {**sample, "limit": getattr(regime, "limit", context.limit)}
        except RunFailed:
            if not regime.killed_by_oom() or attempt == OOM_RETRIES:
                raise
            regime.oom_kills += 1
        finally:
            regime.close()
    raise AssertionError


def accepts(library, conf):
    """Whether this weir knows these options, and what it said when it does not."""
    env = {**os.environ, "LD_PRELOAD": library, "WEIR_CONF": conf + ",abort_conf=1"}
    result = subprocess.run(["/bin/true"], env=env, capture_output=True, text=True)
    return result.returncode == 0, (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[0]


def calibrate(context, workload, zram):
    """The cgroup limit under which this workload's resident pages and zram's memory together come to the limit, or
    None when the pool alone would be larger. Also what was measured: pages stored, and memory they took."""
    limits, limit, facts = {}, context.limit, {}
    regime = Kernel("calibration", zram, lower=limits)
    for step in range(4):
        limits[workload.family] = limit
        regime.usable_for(workload)
        sample = run_once(context, regime, workload.brief())
        resident, stored, pool = sample["resident"], sample["stored"], sample["pool"]
        if stored == 0:
            return limit, facts
        ratio = pool / stored
        if step == 0:
            facts = {"stored": stored, "pool": pool, "compression": stored / pool}
        # With less resident, what left it is stored at the ratio seen: resident + ratio * (data - resident) = limit.
        data = resident + stored
        limit = int((context.limit - ratio * data) / (1 - ratio)) if ratio < 1 else 0
        if limit < LEAST_LIMIT:
            return None, facts
        if step > 0 and abs(resident + pool - context.limit) < context.limit * 0.01:
            break
    facts["lowered_limit"] = limit
    return limit, facts


class Pool:
    """Resident bytes and zram's figures late in a run, for calibrate(); nothing for the other regimes."""

    def __init__(self, regime):
        self.regime, self.figures = regime, {}
        self.wanted = isinstance(regime, Kernel) and isinstance(regime.device, system.Zram)

    def look(self):
        """Keeps the latest figures, but not those of a process that is ending and gives its pages back."""
        if not self.wanted:
            return
        stored, pool = self.regime.device.usage()
        resident = self.regime.group.usage()
        if resident + stored >= 0.98 * (self.figures.get("resident", 0) + self.figures.get("stored", 0)):
            self.figures = {"resident": resident, "stored": stored, "pool": pool}


def pause_for_writeback():
    """Pages written by an earlier run should not be written during the next one."""
    os.sync()
    time.sleep(0.05)
