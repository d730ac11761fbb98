"""What is run: the programs of bench/programs, and real programs where they are installed."""
import dataclasses
import os
import random
import shutil

from harness import redis

SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "workloads")


@dataclasses.dataclass
class Workload:
    name: str
    command: list
    env: dict = dataclasses.field(default_factory=dict)
    links_own_allocator: bool = False
    runner: object = None  # for workloads of more than one command
    scale: float = 1.0


# Name -> program and its arguments; the scale is appended.
PROGRAMS = {
    "alloc_test-1": ["alloc_test"],
    "alloc_test-2": ["alloc_test", "--threads", "2"],
    "binary_trees": ["binary_trees"],
    "cache_scratch": ["cache_scratch"],
    "cfrac": ["cfrac"],
    "espresso": ["espresso"],
    "glibc_simple": ["glibc_bench"],
    "glibc_thread": ["glibc_bench", "--threads", "2"],
    "interpreter": ["interpreter"],
    "large_blocks": ["large_blocks"],
    "larson": ["larson"],
    "mstress": ["mstress"],
    "realloc_vectors": ["realloc_vectors"],
    "rptest": ["rptest"],
    "sh6bench": ["sh6bench"],
    "sh8bench": ["sh8bench"],
    "thread_churn": ["thread_churn"],
    "xmalloc": ["xmalloc"],
}


def own_programs(bench_dir, scale):
    return [Workload(name, [os.path.join(bench_dir, command[0]), *command[1:], str(scale)], scale=scale)
            for name, command in PROGRAMS.items()]


def write_sql(path, scale):
    """An in-memory database: rows with text, indexes, joins, updates, deletions."""
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 12))) for _ in range(500)]
    with open(path, "w") as out:
        out.write("CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, note TEXT, price INT);\n"
                  "CREATE TABLE sale(id INTEGER PRIMARY KEY, item INT, count INT);\nBEGIN;\n")
        for _ in range(int(40_000 * scale) + 1):
            note = " ".join(rng.choices(words, k=rng.randint(1, 20)))
            out.write(f"INSERT INTO item(name,note,price) VALUES('{rng.choice(words)}','{note}',{rng.randint(1, 999)});\n")
            out.write(f"INSERT INTO sale(item,count) VALUES({rng.randint(1, int(40_000 * scale) + 1)},{rng.randint(1, 9)});\n")
        out.write("COMMIT;\nCREATE INDEX by_name ON item(name);\nCREATE INDEX by_item ON sale(item);\n"
                  "SELECT count(*), sum(price*count) FROM item JOIN sale ON sale.item=item.id;\n"
                  "SELECT name, count(*), max(length(note)) FROM item GROUP BY name ORDER BY 2 DESC, 1 LIMIT 20;\n"
                  "UPDATE item SET note = upper(note) || name WHERE price % 3 = 0;\n"
                  "SELECT sum(length(replace(note, 'a', 'xyz'))) FROM item;\n"
                  "DELETE FROM sale WHERE item % 2 = 0;\n"
                  "SELECT group_concat(DISTINCT substr(note, 1, 2)) FROM (SELECT note FROM item ORDER BY note LIMIT 5000);\n")


def write_cxx(path, scale):
    """A translation unit with library headers and many template instantiations."""
    with open(path, "w") as out:
        out.write("#include <algorithm>\n#include <map>\n#include <memory>\n#include <string>\n"
                  "#include <unordered_map>\n#include <vector>\n")
        for i in range(int(5 * scale) + 1):
            out.write(f"struct T{i} {{ int key; std::string name; bool operator<(const T{i}& o) const "
                      f"{{ return key < o.key; }} }};\n"
                      f"long f{i}(std::vector<T{i}>& v, std::map<std::string, T{i}>& m) {{\n"
                      f"  std::sort(v.begin(), v.end());\n  auto g = [&](int x) {{ return x + {i}L; }};\n"
                      f"  long sum = 0;\n  for (auto& t : v) {{ m[t.name] = t; sum += g(t.key); }}\n"
                      f"  std::unordered_map<std::string, std::shared_ptr<T{i}>> u;\n"
                      f"  for (auto& [k, t] : m) u.emplace(k, std::make_shared<T{i}>(t));\n"
                      f"  return sum + static_cast<long>(u.size());\n}}\n")


def real_programs(work_dir, scale):
    """The workloads whose programs are installed, and a note for each one that is not."""
    sql, cxx = os.path.join(work_dir, "items.sql"), os.path.join(work_dir, "unit.cc")
    write_sql(sql, scale)
    write_cxx(cxx, scale)
    candidates = [
        Workload("gcc", ["g++", "-std=c++17", "-O1", "-S", "-o", "-", cxx]),
        Workload("perl", ["perl", os.path.join(SCRIPTS, "text.pl"), str(scale)], {"PERL_HASH_SEED": "0"}),
        Workload("python", ["python3", "-S", "-E", "-B", os.path.join(SCRIPTS, "objects.py"), str(scale)],
                 {"PYTHONMALLOC": "malloc"}),
        # Debian's server is linked against jemalloc; the preloaded library comes first all the same.
        Workload("redis", ["redis-server", "redis-benchmark"], links_own_allocator=True, runner=redis.run, scale=scale),
        Workload("sqlite", ["sqlite3", ":memory:", f".read {sql}"]),
    ]
    present, notes = [], []
    for workload in candidates:
        needed = workload.command[:2] if workload.runner else workload.command[:1]
        missing = [program for program in needed if not shutil.which(program)]
        if missing:
            notes.append(f"{workload.name} is skipped: {missing[0]} is not installed")
        else:
            present.append(workload)
    return present, notes
