#!/usr/bin/env python3
"""test_pool_oom.py LIBRARY TENANT [--seconds N]: memory runs out in a pool: whom the policy chooses among the heaps of
all members and the members themselves, against a model of its own; the report; who hears of it; members that are
stopped, refuse to end, or are killed at random for N seconds (20), which loses no page from the accounting and hangs
nobody. Status 77: pages cannot be swapped here."""
import argparse
import functools
import os
import random
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time

LIMIT_MIB = 48
PAGES = LIMIT_MIB * 256
ENOMEM = 12
FAILS, EMPTIED, ABORTED, KILLED = 1, 2, 3, 4
PATIENCE = 120  # seconds that one answer may take where many others run

ROW = re.compile(r"\[ *(\d+)\] +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(-?\d+) (.*)")
VICTIM = re.compile(r"oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=(\S+),task=(.*),pid=(\d+),uid=\d+,points=(-?\d+)")


class Dead(Exception):
    """A member that does not answer any more."""


class Member:
    def __init__(self, world, **conf):
        self.world = world
        self.policies = {}  # of its heaps
        self.oom = conf.get("oom", "fail")
        settings = {"limit": f"{LIMIT_MIB}M", "swap": "none", "pool": world.pool} | conf
        text = ",".join(f"{key}={value}" for key, value in settings.items() if value is not None)
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([world.tenant], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True, bufsize=1,
                                        env={"LD_PRELOAD": world.library, "WEIR_CONF": text})
        self.pid = self.process.pid
        world.members.append(self)
        if self.read() != "ready":
            fail(f"a member does not start: {self.report()}")

    def read(self):
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            fail(f"process {self.pid} hangs:\n{self.report()}")
        line = self.process.stdout.readline()
        if not line:
            raise Dead(self.process.wait())
        return line.strip()

    def send(self, line):
        try:
            self.process.stdin.write(line + "\n")
        except BrokenPipeError:
            raise Dead(self.process.wait()) from None

    def ask(self, line):
        self.send(line)
        return self.read()

    def heap(self, name, adj, policy, mib):
        self.policies[name] = policy
        self.expect("ok", f"heap {name} {adj} {policy}")
        self.expect("ok", f"fill {name} {int(mib * 1024)}")

    def expect(self, answer, line):
        got = self.ask(line)
        if got != answer:
            fail(f"'{line}' gave '{got}', not '{answer}'\n{self.report()}")

    def hold(self):
        words = self.ask("hold").split()
        return {"-": int(words[0])} | {name: int(pages) for name, pages in (word.rsplit(":", 1) for word in words[1:])}

    def report(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def touched_what_was_taken(self, status):
        """It was filling a heap that agrees to go, when somebody else's request for memory took it."""
        return status == -signal.SIGBUS and "which was emptied when memory ran out; touching it" in self.report()

    def end(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(PATIENCE)
        try:
            self.process.stdin.close()
        except BrokenPipeError:  # what was sent last was never read
            pass
        self.process.stdout.close()
        self.errors.close()


class World:
    """A pool, and all of its members."""

    def __init__(self, library, tenant):
        self.library, self.tenant = library, tenant
        self.pool = f"oom-{os.getpid()}"
        self.members = []

    def empty(self):
        for member in self.members:
            member.end()
        self.members = []
        try:
            os.unlink(f"/dev/shm/weir-pool.{os.geteuid()}.{self.pool}")
        except FileNotFoundError:
            pass


def fail(text):
    sys.exit(f"test_pool_oom: {text}")


def check(condition, text, *members):
    if not condition:
        fail(text + "".join(f"\n-- {m.pid}\n{m.report()}" for m in members))


# -- the model: what the documentation says, and nothing of how weir does it


def badness(pages, swapped, adj):
    return None if adj == -1000 else pages + swapped + adj * (PAGES // 1000)


def read_reports(text):
    """Of each report: the rows of its table, and the victim (pid, points), None when there is none."""
    reports = []
    for line in text.splitlines():
        if " invoked oom-killer: order=" in line:
            reports.append({"asking": line.split(" invoked")[0], "rows": [], "victim": None, "last": "", "used": 0})
        if not reports:
            continue
        usage = re.match(r"memory: usage (\d+)kB, limit (\d+)kB", line)
        if usage:
            reports[-1]["used"] = int(usage.group(1)) // 4
        row = ROW.fullmatch(line)
        if row:
            number, _, process, total, pages, swapped, adj = map(int, row.groups()[:7])
            if total != pages + swapped:
                fail(f"total_vm is not the sum: {line}")
            reports[-1]["rows"].append((number, process, pages, swapped, adj, row.group(8)))
        victim = VICTIM.fullmatch(line)
        if victim:
            reports[-1]["victim"] = (victim.group(2), int(victim.group(3)), int(victim.group(4)))
        if line.startswith("Out of memory: "):
            reports[-1]["last"] = line
    return reports


def predict(rows, members, asking, spent):
    """The row that is chosen: most points of those that may be and that lose something by it; of equals the later.
    spent: rows that were chosen before for the same allocation, which gave nothing."""
    best, most = None, None
    for row in rows:
        number, process, pages, swapped, adj, name = row
        owner = next(m for m in members if m.pid == process)
        is_heap = number != process
        policy = owner.policies[name] if is_heap else owner.oom
        points = badness(pages, swapped, adj)
        if points is None or pages + swapped == 0 or policy == "stays" or (number, process) in spent:
            continue
        if policy in ("fail", "abort") and not is_heap and process != asking:
            continue
        if most is None or points >= most:
            best, most = row, points
    return best, most


def check_report(report, members, asking, held, spent=()):
    """The table has everybody, with what they hold, and the victim is the predicted one, whom it returns."""
    rows = report["rows"]
    for m in members:
        for name, pages in held[m.pid].items():
            found = [r for r in rows if r[1] == m.pid and (r[5] == name if name != "-" else r[0] == m.pid)]
            check(len(found) == 1, f"{name} of {m.pid} stands {len(found)} times in the table", asking)
            if m is not asking:
                # What is in no heap is told with compressed memory and caches.
                slack = 0 if name != "-" else 600
                check(abs(found[0][2] + found[0][3] - pages) <= slack, f"{name} of {m.pid} holds {pages}", asking)
    best, points = predict(rows, members, asking.pid, spent)
    if best is None:
        check(report["victim"] is None, "somebody was chosen, though nobody may be", asking)
        return None
    check(report["victim"] == (best[5], best[0], points), f"predicted {best} with {points} points", asking)
    return best


# -- situations


def grow_until_chosen(asking, name, members):
    held = {m.pid: m.hold() for m in members if m.process.poll() is None}
    before = len(read_reports(asking.report()))
    asking.ask("victims")
    answer = asking.ask(f"grow {name} {LIMIT_MIB * 1024}")
    reports = read_reports(asking.report())[before:]
    check(len(reports) > 0, f"no report after '{answer}'", asking)
    asking.reports = reports
    return answer, reports[0], held


def heap_of_another(world):
    """The least important heap goes, and nobody else loses a byte; both processes hear of it."""
    a, b, c = Member(world), Member(world), Member(world)
    a.heap("own", 0, "release", 4)
    b.heap("cache", 300, "release", 10)
    b.heap("vital", -500, "release", 8)
    c.heap("tenant", 0, "release", 6)
    answer, report, held = grow_until_chosen(a, "-", [a, b, c])
    check(answer == "chosen", f"it went on with '{answer}'", a)
    victim = check_report(report, [a, b, c], a, held)
    check(victim[5] == "cache" and "Emptied heap" in report["last"], "the wrong one", a)
    check(b.ask("check cache") == "gone", "it is still there", b)
    check(a.ask("check own") == b.ask("check vital") == c.ask("check tenant") == "ok", "somebody else lost memory")
    check(a.ask("check -") == "ok", "wrong bytes")
    wanted = f"{EMPTIED}:1:cache:{b.pid}:{report['victim'][2]}"
    check(a.ask("victims") == wanted and b.ask("victims") == wanted and c.ask("victims") == "", "what they were told")
    check(a.ask("heard") == b.ask("heard") == "yes yes", "who heard of it")
    check(f"is out of memory for process {a.pid}: heap cache of this process was chosen" in b.report(), "no word", b)
    # And its memory is there for everybody.
    a.expect("ok", "fill own 4096")
    for m in (a, b, c):
        m.expect("ok", "verify")


def room_ahead(world):
    """What members were granted ahead of need goes before anybody's memory does, and a small victim is enough."""
    members = [Member(world) for _ in range(4)]
    for number, member in enumerate(members[1:]):
        member.heap(f"small{number}", 999, "release", 0.5)
    answer, report, held = grow_until_chosen(members[0], "-", members)
    victim = check_report(report, members, members[0], held)
    # min of who asks and high of the others is what stays free.
    check(report["used"] > PAGES * 0.96, f"{report['used']} of {PAGES} pages were in use", members[0])
    check(answer == "chosen" and victim[5] == "small2" and len(members[0].reports) == 1, answer, members[0])
    check(members[1].ask("check small0") == members[2].ask("check small1") == "ok", "a second one went", members[0])


def owner_stays(world):
    a, b = Member(world), Member(world)
    b.heap("stays", 1000, "stays", 10)
    b.heap("goes", 500, "release", 9)
    b.heap("exempt", -1000, "release", 9)
    answer, report, held = grow_until_chosen(a, "-", [a, b])
    victim = check_report(report, [a, b], a, held)
    check(answer == "chosen" and victim[5] == "goes", "the wrong one", a)
    check(b.ask("check stays") == b.ask("check exempt") == "ok" and b.ask("check goes") == "gone", "what is left", b)


def busy_machine(world):
    """Whose kswapd has much to do, and others to share the processors with, is not taken for one that was stopped."""
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(5 * os.cpu_count())]
    try:
        for _ in range(3):
            owner_stays(world)
            world.empty()
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def equals(world):
    """Of equals the one that was made later, whoever's it is."""
    a, b, c = Member(world), Member(world), Member(world)
    c.heap("first", 500, "release", 9)
    b.heap("last", 500, "release", 9)
    _, report, held = grow_until_chosen(a, "-", [a, b, c])
    check(check_report(report, [a, b, c], a, held)[5] == "last", "the wrong one", a)


def nobody(world):
    """Processes that did not ask for it are not killed: the allocation fails."""
    a, b = Member(world), Member(world, oom="abort")
    b.expect("ok", "fill - 20480")
    answer, report, _ = grow_until_chosen(a, "-", [a, b])
    check(answer in ("chosen", f"error {ENOMEM}"), answer, a)
    check(a.ask(f"fill - {LIMIT_MIB * 1024}") == f"error {ENOMEM}", "it still gets memory", a)
    check(report["victim"][1] == a.pid and "Failed an allocation of process" in report["last"], report["last"], a)
    check(b.ask("check -") == "ok", "it is not as it was", b)


def process_ends(world):
    """oom=kill: SIGTERM, and its memory is there for who asked."""
    a, b = Member(world), Member(world, oom="kill", oom_score_adj=500)
    b.expect("ok", "fill - 20480")
    answer, report, held = grow_until_chosen(a, "-", [a, b])
    victim = check_report(report, [a, b], a, held)
    check(answer == "chosen" and victim[0] == b.pid and "Killed process" in report["last"], "the wrong one", a)
    check(b.process.wait(PATIENCE) == -signal.SIGTERM, "not by SIGTERM", a)
    check(a.ask("victims").startswith(f"{KILLED}:0:"), "what it was told", a)
    a.expect("ok", "fill - 8192")


def process_does_not_end(world):
    """SIGTERM is not enough: SIGKILL comes, no sooner than is said."""
    a, b = Member(world), Member(world, oom="kill", oom_score_adj=500)
    b.expect("ok", "last")
    b.expect("ok", "fill - 20480")
    start = time.monotonic()
    answer, _, _ = grow_until_chosen(a, "-", [a, b])
    check(answer == "chosen" and b.process.wait(PATIENCE) == -signal.SIGKILL, "not by SIGKILL", a)
    check(time.monotonic() - start >= 5, "it had no time to end", a)


def stopped(world):
    """One that is stopped cannot empty its heap, and is passed over; but it can be killed, if it says so."""
    a, b, c = Member(world), Member(world), Member(world, oom="kill", oom_score_adj=500)
    b.heap("cache", 1000, "release", 12)
    c.expect("ok", "fill - 12288")
    for each in (b, c):
        each.process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    answer, report, _ = grow_until_chosen(a, "-", [a])
    check(answer == "chosen" and report["victim"][1] == c.pid, "the wrong one", a)
    check(c.process.wait(PATIENCE) == -signal.SIGKILL, "it was not killed", a)
    b.process.send_signal(signal.SIGCONT)
    check(b.ask("check cache") == "ok", "it was emptied", b)


def calls(world):
    """How often members were called to tell what they have (include/weir/pool.h)."""
    with open(f"/dev/shm/weir-pool.{os.geteuid()}.{world.pool}", "rb") as file:
        return struct.unpack_from("Q", file.read(64), 24)[0]


def late(world):
    """One that gets no processor for a while, just when it is called, is waited for."""
    for _ in range(5):
        a, b = Member(world), Member(world)
        b.heap("cache", 500, "release", 12)
        before = calls(world)
        a.send(f"grow - {LIMIT_MIB * 1024}")
        while calls(world) == before and a.process.poll() is None:
            time.sleep(0.0002)
        b.process.send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        b.process.send_signal(signal.SIGCONT)
        answer = a.read()
        check(answer == "chosen" and b.ask("check cache") == "gone", f"'{answer}', and its heap is still there", a)
        world.empty()


def aborts(world):
    a, b = Member(world), Member(world)
    b.heap("vital", 900, "abort", 16)
    answer, report, held = grow_until_chosen(a, "-", [a, b])
    check_report(report, [a, b], a, held)
    check(answer == "chosen" and b.process.wait(PATIENCE) == -signal.SIGABRT, "it lives", a)


def leak(world):
    """An exempt heap that grows takes one of the others, and no more: then its own allocations fail."""
    a, b = Member(world), Member(world)
    a.heap("log", -1000, "fail", 1)
    b.heap("one", 0, "release", 9)
    b.heap("two", 0, "release", 8)
    answer, report, held = grow_until_chosen(a, "log", [a, b])
    check(answer == "chosen" and check_report(report, [a, b], a, held)[5] == "one", "the wrong one", a)
    check(a.ask(f"fill log {LIMIT_MIB * 1024}") == f"error {ENOMEM}", "it still gets memory", a)
    check(b.ask("check two") == "ok", "a second one was emptied", a)
    check("it is exempt and has grown most since the last kill" in a.report(), "not said", a)


def joined_late(world):
    """weir_pool_join, in the middle of a program's life; and in the child of a fork there are other members' heaps."""
    a, b = Member(world, pool=None), Member(world)
    b.heap("cache", 600, "release", 14)
    check(a.ask(f"join {world.pool}/x") == "error 22", "a bad name is one", a)
    a.expect("ok", f"join {world.pool}")
    check(a.ask(f"join {world.pool}") == "error 17", "it can join twice", a)
    check(a.ask("setting pool") == world.pool, "it does not say so", a)
    answer, report, held = grow_until_chosen(a, "-", [a, b])
    check(answer == "chosen" and check_report(report, [a, b], a, held)[5] == "cache", "the wrong one", a)
    check(f",oom_memcg={world.pool}," in a.report(), "its report does not name the pool", a)
    lone = Member(world, pool=None, limit="0")
    check(lone.ask(f"join {world.pool}") == "error 6", "a process without a limit can join", lone)


def random_situations(world, rounds=12):
    chance = random.Random(5)
    for _ in range(rounds):
        members = [Member(world) for _ in range(chance.randint(2, 4))]
        budget = 26.0
        for i in range(chance.randint(2, 8)):
            mib = min(budget, chance.randint(1, 24) / 4)
            budget -= mib
            policy = chance.choice(["release", "release", "stays", "fail"])
            chance.choice(members[1:]).heap(f"h{i}", chance.choice([0, 0, 200, -200, 900, -1000, chance.randint(-999, 999)]),
                                            policy, mib)
        members[0].heap("own", 0, "release", 1)
        answer, _, held = grow_until_chosen(members[0], "-", members)
        spent = set()
        for report in members[0].reports:
            victim = check_report(report, members, members[0], held, spent)
            owner = next((m for m in members if victim is not None and m.pid == victim[1]), None)
            if owner is not None and owner.policies.get(victim[5]) == "fail":
                spent.add(victim[:2])
        if victim is not None and victim[0] != victim[1]:
            gone = victim[5] if owner.policies[victim[5]] == "release" else None
        else:
            gone = None
        for m in members:
            for name in m.policies:
                wanted = "gone" if m is owner and name == gone else "ok"
                check(m.ask(f"check {name}") == wanted, f"{name} of {m.pid} is not {wanted}, after {answer}", members[0])
            m.expect("ok", "verify")
        world.empty()


def killed_at_random(world, seconds):
    """Members ask, are chosen, and are killed or stopped at any moment of it; none hangs, none finds a wrong byte, and
    in the end everything that was granted is there again."""
    chance = random.Random(int(os.environ.get("SEED", "7")))
    end = time.monotonic() + seconds
    made = killed = chosen = 0
    members = []

    def start():
        member = Member(world, oom=chance.choice(["fail", "fail", "kill"]))
        for n in range(chance.randint(0, 3)):
            policy = chance.choice(["release", "release", "fail", "stays"])
            if member.ask(f"heap h{n} {chance.choice([0, 300, -300, -1000])} {policy}") == "ok":
                member.policies[f"h{n}"] = policy
        return member

    def replace(i):
        nonlocal made
        while True:
            made += 1
            try:
                member = start()
                break
            except Dead:  # there was no memory for it, or it was chosen
                world.members.pop().end()
        member.busy = False
        members[i:i + 1] = [member]

    for i in range(4):
        replace(i)
    while time.monotonic() < end:
        i = chance.randrange(len(members))
        member = members[i]
        try:
            if member.busy and select.select([member.process.stdout], [], [], 0)[0]:
                chosen += member.read() == "chosen"
                member.busy = False
            if chance.random() < 0.05:
                if chance.random() < 0.3:
                    member.process.send_signal(signal.SIGSTOP)
                    time.sleep(chance.random())
                    member.process.send_signal(signal.SIGCONT)
                else:
                    killed += 1
                    world.members.remove(member)
                    member.end()
                    replace(i)
            elif not member.busy:
                heap = chance.choice(["-"] + list(member.policies))
                member.send(f"grow {heap} {chance.randint(1, 16) * 1024}" if chance.random() < 0.7 else f"lose {heap}")
                member.busy = True
        except Dead:
            world.members.remove(member)
            member.end()
            replace(i)
        time.sleep(chance.random() * 0.02)
    for member in members:
        try:
            if member.busy:
                member.read()
            for name in ["-"] + list(member.policies):
                check(member.ask(f"check {name}") != "wrong", f"wrong bytes in {name}", member)
            member.expect("ok", "verify")
        except Dead as dead:
            status = dead.args[0]
            as_asked = status in (-signal.SIGTERM, -signal.SIGKILL) or member.touched_what_was_taken(status)
            check(as_asked, f"it ended with {status}", member)
    for member in members[1:]:
        member.end()
    last = members[0]
    if last.process.poll() is None:
        for name in ["-"] + list(last.policies):
            last.ask(f"lose {name}")
        check(last.ask(f"fill - {(LIMIT_MIB - 8) * 1024}") == "ok", "what the others had is not there", last)
    print(f"killed at random: {made} members, {killed} killed, {chosen} times somebody was chosen")
    check(killed > seconds / 4, "nothing was tested")


def small_part(world):
    """One that was granted little, and asks for more at once than others have left, is told so."""
    a, b = Member(world), Member(world)
    a.heap("vital", -1000, "fail", LIMIT_MIB - 3)
    answers = [b.ask(f"once {kib}") for kib in range(256, 4096, 256)]
    check(set(answers) == {"ok", f"error {ENOMEM}"}, f"answers: {answers}", b)
    check(a.ask("check vital") == "ok", "it lost memory", a)
    b.expect("ok", "verify")


def can_swap(world):
    probe = subprocess.run(["true"], env={"LD_PRELOAD": world.library, "WEIR_CONF": "limit=64M"}, capture_output=True,
                           text=True, check=False)
    return "pages cannot be swapped here" not in probe.stderr


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("tenant")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    world = World(arguments.library, arguments.tenant)
    if not can_swap(world):
        print("skipped: pages cannot be swapped here")
        sys.exit(77)
    situations = [heap_of_another, room_ahead, owner_stays, busy_machine, equals, nobody, process_ends,
                  process_does_not_end, stopped, late, aborts, leak, joined_late, small_part,
                  random_situations,
                  functools.partial(killed_at_random, seconds=arguments.seconds)]
    try:
        for situation in situations:
            name = getattr(situation, "func", situation).__name__
            if arguments.only not in (None, name):
                continue
            start = time.monotonic()
            situation(world)
            world.empty()
            print(f"{name}: {time.monotonic() - start:.1f} s", flush=True)
    finally:
        world.empty()


main()
