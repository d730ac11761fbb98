"""The workloads of bench/pressure: touches of pages in six patterns, and a Redis server loaded over loopback."""
import dataclasses
import json
import shutil
import time

from harness import pressure_regimes as regimes
from harness import redis

# Name in tables and for --only -> the program's name of the pattern.
PATTERNS = {"uniform": "uniform", "90-20": "hot", "90-20-spread": "hot-spread", "zipf": "zipf", "scan": "scan",
            "hot-scan": "hot-scan"}
THREADS = (1, 2, 8)
QUICK_PATTERNS, QUICK_THREADS = ("uniform", "90-20"), (1, 2)
BRIEF_SECONDS = 0.5     # of a calibration run: its filling already stores the pages
READ_SHARE = 70         # percent of touches and of Redis commands
REDIS_CONNECTIONS = 4
REDIS_START_SECONDS = 20


@dataclasses.dataclass
class Touch:
    """The touch program; all patterns have the same content, so one calibration serves them."""
    name: str
    pattern: str
    threads: int
    seconds: float
    warm: float
    compressibility: float
    family: str = "touch"

    def brief(self):
        return dataclasses.replace(self, pattern="uniform", threads=1, seconds=BRIEF_SECONDS, warm=0)

    def command(self, context):
        return [context.program("touch"), "--memory", str(context.data), "--pattern", self.pattern, "--threads",
                str(self.threads), "--seconds", str(self.seconds), "--warm", str(self.warm), "--writes",
                str(100 - READ_SHARE), "--compressibility", str(self.compressibility)]

    def run(self, context, regime):
        process = regime.start(context, self.command(context))
        pool = regimes.Pool(regime)
        try:
            with regimes.Sampler(lambda: pool.look() or regime.memory(process)) as sampler:
                status = process.wait()
        except BaseException:
            process.kill()
            raise
        if status != 0:
            raise process.failure(status)
        return {**json.loads(process.text(process.out)), "memory": sampler.most, **pool.figures}


@dataclasses.dataclass
class Redis:
    """A server in the regime, one client outside; the values make up the data."""
    name: str
    pattern: str
    threads: int
    seconds: float
    warm: float
    compressibility: float
    family: str = "redis"

    def brief(self):
        return dataclasses.replace(self, pattern="uniform", seconds=BRIEF_SECONDS, warm=0)

    def client(self, context, port):
        return [context.program("redis_client"), "--port", str(port), "--memory", str(context.data), "--pattern",
                self.pattern, "--connections", str(REDIS_CONNECTIONS), "--seconds", str(self.seconds), "--warm",
                str(self.warm), "--writes", str(100 - READ_SHARE), "--compressibility", str(self.compressibility)]

    def run(self, context, regime):
        port = redis.free_port()
        server = regime.start(context, [
            "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--daemonize", "no", "--loglevel", "warning"])
        client = None
        try:
            wait_until_up(port, server)
            pool = regimes.Pool(regime)
            with regimes.Sampler(lambda: pool.look() or regime.memory(server)) as sampler:
                client = regimes.Process(self.client(context, port), None, context.work_dir)
                status = client.wait()
            if status != 0:
                raise client.failure(status)
            if server.process.poll() is not None:
                raise server.failure(server.process.returncode)
        finally:
            for process in (client, server):
                if process:
                    process.kill()
        return {**json.loads(client.text(client.out)), "memory": sampler.most, **pool.figures}


def wait_until_up(port, server):
    deadline = time.monotonic() + REDIS_START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise server.failure(server.process.returncode)
        try:
            if redis.command(port, "PING").startswith("+PONG"):
                return
        except OSError:
            time.sleep(0.02)
    raise regimes.RunFailed("redis-server did not answer")


def all_workloads(options):
    """The workloads asked for before --only, and a note for each one that cannot run."""
    common = {"seconds": options.seconds, "warm": options.warm, "compressibility": options.compressibility}
    patterns = QUICK_PATTERNS if options.quick else PATTERNS
    found = [Touch(name=f"{name}-{n}", pattern=PATTERNS[name], threads=n, **common)
             for name in patterns for n in options.threads]
    notes = []
    if shutil.which("redis-server"):
        found += [Redis(name=f"redis-{name}", pattern=PATTERNS[name], threads=1, **common)
                  for name in (("uniform",) if options.quick else ("uniform", "90-20"))]
    else:
        notes.append("redis is skipped: redis-server is not installed")
    return found, notes
