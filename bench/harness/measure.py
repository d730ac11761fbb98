"""Runs workloads under allocators, interleaved, and keeps every sample."""
import dataclasses
import hashlib
import json
import os
import signal
import statistics
import subprocess
import tempfile

TIMEOUT_SECONDS = 300  # far above any workload; a hang must not hold up the whole suite


class RunFailed(Exception):
    """A run that ended badly; the text is one line for the user."""


@dataclasses.dataclass
class Sample:
    wall: float
    user: float
    sys: float
    rss_kib: int
    minflt: int
    output: str  # digest of standard output, the same for every allocator


@dataclasses.dataclass
class Series:
    """All samples of one workload under one allocator."""
    samples: list
    error: str = ""

    def values(self, field):
        if field == "cpu":
            return [s.user + s.sys for s in self.samples]
        return [getattr(s, field) for s in self.samples]

    def median(self, field):
        return statistics.median(self.values(field))

    def spread(self, field):
        values = self.values(field)
        return min(values), max(values)


def launch_command(launcher, preload, env, command):
    result = [launcher]
    for name, value in {**env, **({"LD_PRELOAD": preload} if preload else {})}.items():
        result += ["--env", f"{name}={value}"]
    return result + ["--", *command]


class Launched:
    """A command under tools/launch, in a process group of its own, reporting on descriptor 3."""

    def __init__(self, launcher, preload, env, command, cwd):
        self.report_file = tempfile.TemporaryFile()
        self.output_file = tempfile.TemporaryFile()
        self.error_file = tempfile.TemporaryFile()
        fd = self.report_file.fileno()
        # The launcher wants its report descriptor as number 3.
        shell = ["sh", "-c", f'exec 3>&{fd}; exec "$@"', "sh"] if fd != 3 else []
        self.process = subprocess.Popen(
            shell + launch_command(launcher, preload, env, command), stdin=subprocess.DEVNULL, stdout=self.output_file,
            stderr=self.error_file, pass_fds=[fd], start_new_session=True, cwd=cwd)

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def finish(self):
        """Waits, and returns the launcher's report with the digest of the output; raises RunFailed."""
        try:
            self.process.wait(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RunFailed(f"still running after {TIMEOUT_SECONDS} s") from None
        except KeyboardInterrupt:
            self.kill()
            raise
        for file in (self.report_file, self.output_file, self.error_file):
            file.seek(0)
        report = self.report_file.read()
        errors = self.error_file.read().decode(errors="replace").strip()
        digest = hashlib.sha256(self.output_file.read()).hexdigest()
        for file in (self.report_file, self.output_file, self.error_file):
            file.close()
        if not report:
            raise RunFailed(errors.splitlines()[-1] if errors else "the launcher gave no report")
        result = json.loads(report)
        status = result.pop("status")
        if status != 0:
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            raise RunFailed(how + (": " + errors.splitlines()[-1] if errors else ""))
        return result, digest


def run_once(context, workload, allocator):
    preload = allocator.preload(workload.links_own_allocator)
    if workload.runner:
        return workload.runner(context, workload, preload)
    launched = Launched(context.launcher, preload, workload.env, workload.command, context.work_dir)
    result, digest = launched.finish()
    return Sample(output=digest, **result)


def measure(context, workload, allocators, rounds):
    """Rounds of one run per allocator, the order rotated by one each round. Returns name -> Series."""
    series = {a.name: Series([]) for a in allocators}
    expected = None
    for r in range(rounds):
        turn = r % len(allocators)
        for allocator in allocators[turn:] + allocators[:turn]:
            mine = series[allocator.name]
            if mine.error:
                continue
            try:
                sample = run_once(context, workload, allocator)
            except RunFailed as failure:
                mine.error = str(failure)
                continue
            expected = expected or sample.output
            if sample.output != expected:
                mine.error = "its output differs from the other allocators'"
                continue
            mine.samples.append(sample)
    return series
