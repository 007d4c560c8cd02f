#!/usr/bin/env python3
"""Runs the benchmark: every operation in fresh processes, this library, Python Metaxy and raw Lance in turn.

    run.py --rows N                       times all operations; fills benches/results/latest.json
    run.py --rows N --limit-mb M          writes and reads N rows as streams in a process that may hold M MB
    run.py --rows N --s3                  times the operations on an S3 server on loopback, and counts their requests
    run.py --rows N --hash                times the hash kernels alone, on one core
    run.py --rows N --hosts               times a call and a read from C, C++, Go, Python and Node
    run.py ... --markdown FILE            also writes the tables into FILE, between its two marks

Before anything is timed, every operation runs once and must give the rows that Python Metaxy gives.
Run it by `make bench`, which builds what it needs.
"""
import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import urllib.request
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

# Operation -> the table it starts from; none for a new one.
READS = {
    "read": "root",
    "read_filter": "root",
    "read_point": "root",
    "read_cols": "root",
    "history_read": "hist",
    "fallback3": "",
    "resolve_new": "root",
    "resolve_noop": "down",
    "resolve_stale": "stale",
    "resolve_joined": "joined",
    "resolve_joined_noop": "joined_down",
    "resolve_grouped": "grouped",
}
# Compared with Python but not timed.
CHECKS = READS | {"resolve_mixed": "mixed"}
WRITES = {"write": None, "append1k": "root"}
OPS = [*WRITES, *READS]

# The shares of Python Metaxy's time and peak memory that are to be reached at 1,000,000 rows.
TARGETS = {
    "write": (1.0, 0.5),
    "read": (0.3, 0.25),
    "read_filter": (0.15, 0.2),
    "read_point": (0.15, 0.3),
    "read_cols": (0.3, 0.3),
    "fallback3": (0.35, 0.25),
    "resolve_new": (0.5, 0.4),
    "resolve_noop": (0.15, 0.25),
    "resolve_stale": (0.15, 0.25),
    "resolve_joined": (0.5, 0.4),
    "resolve_joined_noop": (0.15, 0.25),
    "resolve_grouped": (0.5, 0.4),
}

# The same on S3, where every operation but the histories is compared.
S3_OPS = ["write", "read", "read_filter", "read_point", "fallback3"]
S3_TARGETS = {op: (0.5, 0.35) for op in S3_OPS} | {"write": (1.0, 0.5)}

# How much longer ten times the rows may take to be resolved, with the same memory.
GROWTH = 12.0

# What is resolved in little memory, one after the other -> the shares of the rows that are new, stale and orphaned.
LIMITED = {
    "resolve_new": (1, 0, 0),
    "resolve_joined": (1, 0, 0),
    "resolve_grouped": (1, 0, 0),
    "resolve_write": (0, 0, 0),
    "resolve_noop": (0, 0, 0),
    "resolve_stale": (0, 0.01, 0),
}

# Host -> how many times the time of C a read may take there, where that is bounded.
HOSTS = {"C": None, "C++": 1.1, "Go": 1.1, "Python": None, "Node": None}
# Reads of one process. The first is not counted: it also loads what all later ones use.
HOST_READS = 6
HOST_DEFINITION = {
    "project": "bench",
    "feature_spec": {"key": "r/a", "id_columns": ["id"], "fields": [{"key": name, "code_version": "1"} for name in ("audio", "frames")]},
}

# Writes of one row each, what a read may take after them as a share of Metaxy's time, and their directory in MB.
SMALL_WRITES = 1000
SMALL_TARGETS = (0.1, 2.0)


def run(command: list, limit_mb: int | None = None, environment: dict | None = None) -> dict:
    """Runs one program and gives what it prints. Under a limit the kernel refuses it more private
    memory than that, and the most it ever had resident, mapped files included, must stay below it too."""
    limit = (lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit_mb << 20,) * 2)) if limit_mb else None
    os.sync()  # what an earlier run left to be written must not slow this one
    settings = {"capture_output": True, "text": True, "preexec_fn": limit, "env": os.environ | (environment or {})}
    done = subprocess.run([str(part) for part in command], **settings)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr.strip()}")
    return json.loads(done.stdout or "{}")


def python(script: str, *arguments) -> list:
    return [sys.executable, HERE / script, *arguments]


class Tables:
    """The tables of one run, all below one directory that is made anew."""

    def __init__(self, base: Path, rows: int):
        self.base = base / str(rows)
        shutil.rmtree(self.base, ignore_errors=True)
        self.base.mkdir(parents=True)

    def get(self, name: str) -> Path:
        return self.base / name

    def start(self, name: str, source: str | None) -> Path:
        """A directory `name` that is absent, or else a copy of the table it starts from."""
        target = self.get(name)
        shutil.rmtree(target, ignore_errors=True)
        if source:
            shutil.copytree(self.get(source), target)
        return target

    def drop(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)


def same(what: str, ours: dict, theirs: dict) -> None:
    """Fails unless both gave the same rows: of an increment, the same in each of its parts."""
    if any(ours.get(key) != theirs.get(key) for key in ("result_rows", "parts", "sums")):
        sys.exit(f"{what}: the results differ\nours   {ours}\nmetaxy {theirs}")


def check(bench: Path, tables: Tables, rows: int) -> None:
    """Fails unless both give the same rows for every read, and Python finds in what we wrote what it finds
    in its own tables."""

    for op, table in CHECKS.items():
        theirs = run(python("bench_metaxy.py", op, rows, tables.get(table), "check"))
        same(op, run([bench, op, rows, tables.get(table), "check"]), theirs)
    for op, source in WRITES.items():
        ours, theirs = tables.start("ours", source), tables.start("metaxy", source)
        run([bench, op, rows, ours])
        run(python("bench_metaxy.py", op, rows, theirs))
        same(op, *(run(python("bench_metaxy.py", "read", rows, written, "check")) for written in (ours, theirs)))
        same(op, run([bench, "read", rows, ours, "check"]), run([bench, "read", rows, theirs, "check"]))
    print("every operation gives the same rows as Python Metaxy", flush=True)


def compare(bench: Path, base: Path, rows: int, reps: int) -> list[dict]:
    tables = Tables(base, rows)
    print(f"preparing {rows:,} rows", flush=True)
    run(python("bench_metaxy.py", "prepare", rows, tables.base))
    check(bench, tables, rows)

    results = []
    for op in OPS:
        source = WRITES[op] if op in WRITES else READS[op]
        runs: dict[str, list[dict]] = {"ours": [], "metaxy": [], "lance": []}
        for _ in range(reps):
            for who in runs:
                table = tables.start(who, source) if op in WRITES else tables.get(source)
                runs[who].append(
                    run(
                        {
                            "ours": [bench, op, rows, table],
                            "metaxy": python("bench_metaxy.py", op, rows, table),
                            "lance": python("bench_lance.py", op, rows, table, tables.get("root")),
                        }[who]
                    )
                )

        results.append({"op": op, "rows": rows} | medians(runs))
        print(json.dumps(results[-1]), flush=True)
    tables.drop()
    return results


def medians(runs: dict[str, list[dict]]) -> dict:
    """The medians of each program, and the seconds of all its processes, in the order they ran in."""
    found: dict = {}
    for who, of in runs.items():
        found[f"{who}_s"] = round(statistics.median(one["seconds"] for one in of), 4)
        found[f"{who}_mb"] = round(statistics.median(one["rss_peak_mb"] for one in of), 1)
    return found | {f"{who}_runs_s": [round(one["seconds"], 4) for one in of] for who, of in runs.items()}


class Server:
    """A server of the tests; it ends with its input."""

    def __init__(self, name: str, *arguments: str):
        command = [sys.executable, "-m", f"servers.{name}", *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=ROOT / "tests", **pipes)
        self.report = json.loads(self.process.stdout.readline() or sys.exit(f"the server {name} did not start"))

    def __enter__(self) -> dict:
        return self.report

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait()


def reaching(options: dict) -> dict:
    """The environment by which the programs reach a bucket with these storage options."""
    lines = "".join(f"storage_options.{name}={value}\n" for name, value in options.items())
    return {"METAXY_BENCH_STORAGE": json.dumps(options), "METAXY_BENCH_OPTIONS": lines}


def compare_on_s3(bench: Path, rows: int, reps: int) -> list[dict]:
    with Server("minio") as s3, Server("faults", "--target", s3["endpoint"]) as proxy:
        return S3(bench, s3, proxy, rows).compare(reps)


class S3:
    """The operations on a bucket. Times and memory are taken without the proxy, which counts requests."""

    def __init__(self, bench: Path, s3: dict, proxy: dict, rows: int):
        self.bench, self.rows, self.control = bench, rows, proxy["control"]
        self.base = f"{s3['uri']}/{rows}"
        self.direct = reaching(s3["options"])
        self.counted = reaching(s3["options"] | {"aws_endpoint": proxy["endpoint"]})
        self.written = 0

    def place(self, op: str) -> str:
        """Where the operation works; a new place for each write."""
        if op == "write":
            self.written += 1
            return f"{self.base}/written-{self.written}"
        return self.base if op == "fallback3" else f"{self.base}/root"

    def program(self, who: str, op: str, *more: str) -> list:
        place = self.place(op)
        return {
            "ours": [self.bench, op, self.rows, place, *more],
            "metaxy": python("bench_metaxy.py", op, self.rows, place, *more),
            "lance": python("bench_lance.py", op, self.rows, place, f"{self.base}/root"),
        }[who]

    def requests(self, who: str, op: str) -> int:
        ask = lambda path, data=None: urllib.request.urlopen(self.control + path, data).read()
        ask("/reset", b"")
        run(self.program(who, op), environment=self.counted)
        return json.loads(ask("/counts"))["total"]

    def check(self) -> None:
        """As on disk."""
        reach = {"environment": self.direct}
        for op in S3_OPS:
            if op == "write":
                ours, theirs = self.place(op), self.place(op)
                run([self.bench, op, self.rows, ours], **reach)
                run(python("bench_metaxy.py", op, self.rows, theirs), **reach)
                same(op, *(run(python("bench_metaxy.py", "read", self.rows, at, "check"), **reach) for at in (ours, theirs)))
                same(op, *(run([self.bench, "read", self.rows, at, "check"], **reach) for at in (ours, theirs)))
            else:
                same(op, *(run(self.program(who, op, "check"), **reach) for who in ("ours", "metaxy")))
        print("every operation on S3 gives the same rows as Python Metaxy", flush=True)

    def compare(self, reps: int) -> list[dict]:
        print(f"preparing {self.rows:,} rows on S3", flush=True)
        run(python("bench_metaxy.py", "prepare", self.rows, self.base), environment=self.direct)
        self.check()
        results = []
        for op in S3_OPS:
            runs: dict[str, list[dict]] = {"ours": [], "metaxy": [], "lance": []}
            for _ in range(reps):
                for who in runs:
                    runs[who].append(run(self.program(who, op), environment=self.direct))
            result = {"op": op, "rows": self.rows} | medians(runs)
            result |= {f"{who}_requests": self.requests(who, op) for who in runs}
            results.append(result)
            print(json.dumps(result), flush=True)
        return results


def compare_hashes(rows: int) -> dict:
    """Rows per second of each algorithm, on one core; both must give the same hashes."""
    built = ["cargo", "bench", "--quiet", "--bench", "hash", "--", rows]
    runs = [(run(["taskset", "-c", "0", *built]), run(["taskset", "-c", "0", *python("bench_hash.py", rows)])) for _ in range(3)]
    ours, theirs = runs[0]
    if ours["check"] != theirs["check"]:
        sys.exit(f"the hashes differ\nours   {ours['check']}\nmetaxy {theirs['check']}")
    best = lambda which, name: max(run[which][name] for run in runs)
    return {name: {"ours": round(best(0, name)), "metaxy": round(best(1, name))} for name in ours["check"]}


def hash_table(result: dict) -> str:
    rows = [["algorithm", "ours M/s", "polars-hash M/s", "ratio", "at least"]]
    for name, speeds in result.items():
        ratio = speeds["ours"] / speeds["metaxy"]
        judged = f"{ratio:.2f}" + ("" if ratio >= 1 else " (missed)")
        rows.append([name, f"{speeds['ours'] / 1e6:.1f}", f"{speeds['metaxy'] / 1e6:.1f}", judged, "1"])
    return columns(rows)


def small(bench: Path, base: Path, reps: int) -> dict:
    """Many writes of one row each, then a read of them."""
    tables = Tables(base, SMALL_WRITES)
    result: dict = {"writes": SMALL_WRITES}
    programs = {"ours": lambda *args: [bench, *args], "metaxy": lambda *args: python("bench_metaxy.py", *args)}
    sums = []
    for who, program in programs.items():
        table = tables.start(who, None)
        result[f"{who}_write_s"] = round(run(program("small_writes", SMALL_WRITES, table))["seconds"], 2)
        files = [file for file in table.rglob("*") if file.is_file()]
        result[f"{who}_files"] = len(files)
        result[f"{who}_disk_mb"] = round(sum(file.stat().st_blocks * 512 for file in files) / 1e6, 2)
        sums.append(run(program("read", SMALL_WRITES, table, "check"))["sums"])
    if sums[0] != sums[1]:
        sys.exit(f"small writes: the results differ\nours   {sums[0]}\nmetaxy {sums[1]}")
    for who, program in programs.items():
        runs = [run(program("read", SMALL_WRITES, tables.get(who)))["seconds"] for _ in range(reps)]
        result[f"{who}_read_s"] = round(statistics.median(runs), 4)
    floor = [run(python("bench_lance.py", "read", SMALL_WRITES, tables.get("metaxy"))) for _ in range(reps)]
    result["lance_read_s"] = round(statistics.median(one["seconds"] for one in floor), 4)
    print(json.dumps(result), flush=True)
    tables.drop()
    return result


def small_table(result: dict) -> str:
    def judged(value: float, target: float) -> str:
        return f"{value:.2f}" + ("" if value <= target else " (missed)")

    share, disk = SMALL_TARGETS
    return columns(
        [
            ["", "ours", "Metaxy", "ratio", "target"],
            ["read s", f"{result['ours_read_s']:.4f}", f"{result['metaxy_read_s']:.4f}"]
            + [judged(result["ours_read_s"] / result["metaxy_read_s"], share), f"{share:g}"],
            ["all writes s", f"{result['ours_write_s']:.2f}", f"{result['metaxy_write_s']:.2f}"]
            + [f"{result['ours_write_s'] / result['metaxy_write_s']:.2f}", ""],
            ["directory MB", judged(result["ours_disk_mb"], disk), f"{result['metaxy_disk_mb']:.2f}"]
            + [f"{result['ours_disk_mb'] / result['metaxy_disk_mb']:.2f}", f"{disk:g} MB"],
            ["files", str(result["ours_files"]), str(result["metaxy_files"]), "", ""],
        ]
    )


def resolve_limited(bench: Path, table: Path, rows: int, limit_mb: int, reps: int) -> dict:
    """Seconds and MB of resolving what is computed from these rows, and from others that are written here."""
    memory = {"METAXY_BENCH_OPTIONS": f"memory.bytes={limit_mb // 4 << 20}"}
    found: dict = {}
    for other in ("write_captions", "write_frames"):
        run([bench, other, rows, table], limit_mb)
    for op, shares in LIMITED.items():
        if op == "resolve_stale":
            run([bench, "write_change", rows, table], limit_mb)
        command = [bench, op, rows, table]
        # Writing leaves nothing to be written once more.
        lines = [bounded(op, command, limit_mb, memory) for _ in range(1 if op == "resolve_write" else reps)]
        expected = [int(share * rows) for share in shares]
        for line in lines:
            if line["parts"] != expected:
                sys.exit(f"{op} gave {line['parts']} rows, new, stale and orphaned, instead of {expected}")
        if any(expected):
            checked = bounded(op, [*command, "check"], limit_mb, memory)
            if [sums[:2] for sums in checked["sums"]] != [sums_of_ids(count) for count in expected]:
                sys.exit(f"{op} gave other rows than there are: {checked}")
        found |= {f"{op}_s": round(statistics.median(line["seconds"] for line in lines), 2)}
        found |= {f"{op}_mb": max(line["rss_peak_mb"] for line in lines)}
        print(json.dumps({"op": op, "rows": rows, "s": found[f"{op}_s"], "mb": found[f"{op}_mb"]}), flush=True)
    return found


def bounded(what: str, command: list, limit_mb: int, environment: dict | None = None) -> dict:
    line = run(command, limit_mb, environment)
    if line["rss_peak_mb"] > limit_mb:
        sys.exit(f"{what} held {line['rss_peak_mb']} MB, more than the {limit_mb} MB it may")
    return line


def sums_of_ids(count: int) -> list[int]:
    """As the programs sum the ids of the first rows, and their squares."""
    return [count * (count - 1) // 2, (count - 1) * count * (2 * count - 1) // 6 % (1 << 64)]


def stream(bench: Path, base: Path, rows: int, limit_mb: int, reps: int) -> dict:
    """Writes `rows` rows that exist only while they are written, reads them all, and resolves what is computed from them,
    all limited; resolves a tenth of them as well, to see how it grows."""
    tables = Tables(base, rows)
    table = tables.get("stream")
    result: dict = {"rows": rows, "limit_mb": limit_mb}
    expected = sums_of_ids(rows)
    for name, command in {
        "write": [bench, "write_stream", rows, table],
        "read": [bench, "read", rows, table],
        "check": [bench, "read", rows, table, "check"],
    }.items():
        line = bounded(name, command, limit_mb)
        if line["result_rows"] != rows or line.get("sums", expected)[:2] != expected:
            sys.exit(f"{name} gave other rows than were written: {line}")
        if name != "check":
            result |= {f"{name}_s": round(line["seconds"], 2), f"{name}_mb": line["rss_peak_mb"]}
            print(json.dumps(line), flush=True)
    result |= resolve_limited(bench, table, rows, limit_mb, reps)
    shutil.rmtree(table)
    run([bench, "write_stream", rows // 10, table], limit_mb)
    tenth = resolve_limited(bench, table, rows // 10, limit_mb, reps)
    result |= {f"{key}_tenth": value for key, value in tenth.items() if key.endswith("_s")}
    tables.drop()
    return result


def compare_hosts(bench: Path, base: Path, rows: int, reps: int) -> list[dict]:
    """The same calls from each host, in processes that take turns; all must read the same rows."""
    programs = bench.parent
    commands = {
        "C": [programs / "hosts-c"],
        "C++": [programs / "hosts-cpp"],
        "Go": [programs / "hosts-go"],
        "Python": python("hosts/hosts.py"),
        "Node": ["node", programs / "node/hosts.mjs"],
    }
    library = next(programs.glob("libmetaxy.so.*"))
    places = {"METAXY_LIBRARY": str(library), "LD_LIBRARY_PATH": str(programs), "PYTHONPATH": str(ROOT / "examples/python")}
    # Where the system's Node.js is too old, there is one beside Python.
    places |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    table = Tables(base, rows).start("hosts", None)
    run([bench, "write", rows, table])
    expected = run([bench, "read", rows, table, "check"])
    runs: dict[str, list[dict]] = {host: [] for host in commands}
    for _ in range(reps):
        for host, command in commands.items():
            line = run([*command, table, json.dumps(HOST_DEFINITION), HOST_READS], environment=places)
            if [line["rows"], line["sum"]] != [expected["result_rows"], expected["sums"][2]]:
                sys.exit(f"{host} read other rows: {line}")
            runs[host].append({"call_ns": line["call_ns"], "read_s": statistics.median(line["reads_s"][1:])})
    shutil.rmtree(table)
    results = []
    for host, of in runs.items():
        results.append({"host": host, "rows": rows})
        results[-1] |= {"call_ns": round(statistics.median(one["call_ns"] for one in of), 2)}
        results[-1] |= {"read_s": round(statistics.median(one["read_s"] for one in of), 4)}
        results[-1] |= {"read_runs_s": [round(one["read_s"], 4) for one in of]}
        print(json.dumps(results[-1]), flush=True)
    return results


def hosts_table(results: list[dict]) -> str:
    in_c = results[0]
    rows = [["host", "call ns", "to C", "read s", "to C", "at most"]]
    for one in results:
        most, ratio = HOSTS[one["host"]], one["read_s"] / in_c["read_s"]
        judged = f"{ratio:.2f}" + ("" if most is None or ratio <= most else " (missed)")
        rows.append([one["host"], f"{one['call_ns']:.1f}", f"{one['call_ns'] / in_c['call_ns']:.1f}"])
        rows[-1] += [f"{one['read_s']:.3f}", judged, "" if most is None else f"{most:g}"]
    return columns(rows)


def machine() -> dict:
    def field(path: str, name: str) -> str:
        lines = Path(path).read_text().splitlines()
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "unknown")

    lock = (ROOT / "Cargo.lock").read_text().split("[[package]]")
    locked = {part.split('"')[1]: part.split('"')[3] for part in lock if part.strip().startswith("name")}
    ours = ", ".join(f"{name} {locked[name]}" for name in ("metaxy", "lancedb", "lance"))
    theirs = ", ".join(f"{name} {metadata.version(name)}" for name in ("metaxy", "lancedb", "pylance", "polars"))
    return {
        "processor": field("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": f"{int(field('/proc/meminfo', 'MemTotal').split()[0]) / (1 << 20):.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "this library": ours,
        "Python side": f"Python {platform.python_version()}, {theirs}",
        "date": datetime.date.today().isoformat(),
        "command": "make bench",
    }


def load(name: str):
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else None


def save(name: str, value) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(json.dumps(value, indent=1) + "\n")


def record(name: str, value) -> None:
    """Saves results, each with where it was measured: the files need not come from one machine."""
    where = machine()
    stamp = {"measured_on": {key: where[key] for key in where if key != "command"}}
    if isinstance(value, list):
        value = [one | stamp for one in value]
    elif all(isinstance(one, dict) for one in value.values()):
        value = {key: one | stamp for key, one in value.items()}
    else:
        value |= stamp
    save(name, value)
    save("machine.json", where)


def elsewhere(value) -> list[str]:
    """A line below a table that was measured on another machine than the last one, or with other versions."""
    one = next(iter(value.values() if isinstance(value, dict) else value))
    stamp = (value if not isinstance(one, dict) else one).get("measured_on")
    last = load("machine.json") or {}
    if not stamp or all(stamp[key] == last.get(key) for key in stamp if key != "date"):
        return []
    return ["Measured on " + ", ".join(f"{key}: {text}" for key, text in stamp.items()) + "."]


def columns(rows: list[list[str]]) -> str:
    """Rows as a Markdown table whose columns line up."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def requests_table(results: list[dict]) -> str:
    rows = [["op", "ours", "Metaxy", "Lance"]]
    rows += [[one["op"], *(str(one[f"{who}_requests"]) for who in ("ours", "metaxy", "lance"))] for one in results]
    return columns(rows)


def comparison_table(results: list[dict], targets: dict = TARGETS) -> str:
    header = ["op", "ours s", "Metaxy s", "Lance s", "time ratio", "target", "ours MB", "Metaxy MB", "memory ratio", "target"]

    def ratio(value: float, target: float | None) -> list[str]:
        if target is None:
            return [f"{value:.2f}", ""]
        return [f"{value:.2f}" + ("" if value <= target else " (missed)"), f"{target:g}"]

    rows = [header]
    for one in results:
        time, memory = targets.get(one["op"], (None, None))
        floor = "" if one["lance_s"] is None else f"{one['lance_s']:.3f}"
        rows.append(
            [one["op"], f"{one['ours_s']:.3f}", f"{one['metaxy_s']:.3f}", floor]
            + ratio(one["ours_s"] / one["metaxy_s"], time)
            + [f"{one['ours_mb']:.0f}", f"{one['metaxy_mb']:.0f}"]
            + ratio(one["ours_mb"] / one["metaxy_mb"], memory)
        )
    return columns(rows)


def stream_table(streamed: dict) -> list[list[str]]:
    rows = [["op", "s", "peak MB", "s of a tenth", "growth", "at most"]]
    for op in ("write", "read", *LIMITED):
        if f"{op}_s" not in streamed:
            continue
        seconds, tenth = streamed[f"{op}_s"], streamed.get(f"{op}_s_tenth")
        growth = ["", "", ""]
        if tenth:
            grown = seconds / tenth
            growth = [f"{tenth:.2f}", f"{grown:.1f}" + ("" if grown <= GROWTH else " (missed)"), f"{GROWTH:g}"]
        rows.append([op, f"{seconds:.2f}", f"{streamed[f'{op}_mb']:.0f}", *growth])
    return rows


def report() -> str:
    parts = []
    if latest := load("latest.json"):
        parts += [f"### {latest[0]['rows']:,} rows", comparison_table(latest), *elsewhere(latest)]
    if on_s3 := load("s3.json"):
        parts += [
            f"### {on_s3[0]['rows']:,} rows on S3",
            comparison_table(on_s3, S3_TARGETS),
            "Requests of one process, from opening the store to its end:",
            requests_table(on_s3),
            *elsewhere(on_s3),
        ]
    if hashes := load("hash.json"):
        parts += ["### Strings hashed by one core", hash_table(hashes), *elsewhere(hashes)]
    if appended := load("small.json"):
        parts += [f"### {appended['writes']:,} writes of one row each", small_table(appended), *elsewhere(appended)]
    if streamed := load("stream.json"):
        parts += [
            f"### {streamed['rows']:,} rows through {streamed['limit_mb']:,} MB",
            columns(stream_table(streamed)),
            *elsewhere(streamed),
        ]
    if hosts := load("hosts.json"):
        title = f"### A call, and a read of {hosts[0]['rows']:,} rows, from each host"
        parts += [title, hosts_table(hosts), *elsewhere(hosts)]
    if where := load("machine.json"):
        parts += ["### Measured on", columns([["", ""], *([key, value] for key, value in where.items())])]
    return "\n\n".join(parts)


def write_markdown(path: Path) -> None:
    text = path.read_text()
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"{path} has no lines {BEGIN} and {END} to write between")
    path.write_text(f"{before}{BEGIN}\n\n{report()}\n\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=int(os.environ.get("ROWS", 1_000_000)))
    parser.add_argument("--reps", type=int, default=3, help="fresh processes per operation and program, at least 3")
    parser.add_argument("--limit-mb", type=int, help="stream the rows through a process limited to this")
    parser.add_argument("--hash", action="store_true", help="the hash kernels alone")
    parser.add_argument("--hosts", action="store_true", help="the hosts beside C; their programs are beside that of --bench")
    parser.add_argument("--s3", action="store_true", help="on an S3 server that runs as long as this")
    parser.add_argument("--bench", type=Path, default=ROOT / "build/release/bench", help="the compiled bench.c")
    parser.add_argument("--dir", type=Path, default=ROOT / "build/bench", help="where the tables are made")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if options.reps < 3:
        parser.error("--reps must be at least 3: a median of fewer says nothing")
    if options.s3:
        results = compare_on_s3(options.bench, options.rows, options.reps)
        record("s3.json", results)
        print("\n" + comparison_table(results, S3_TARGETS) + "\n\n" + requests_table(results))
    elif options.hash:
        record("hash.json", compare_hashes(options.rows))
        print("\n" + hash_table(load("hash.json")))
    elif options.hosts:
        record("hosts.json", compare_hosts(options.bench, options.dir, options.rows, options.reps))
        print("\n" + hosts_table(load("hosts.json")))
    elif options.limit_mb:
        record("stream.json", stream(options.bench, options.dir, options.rows, options.limit_mb, options.reps))
    else:
        results = compare(options.bench, options.dir, options.rows, options.reps)
        record("latest.json", results)
        print("\n" + comparison_table(results))
        record("small.json", small(options.bench, options.dir, options.reps))
    if options.markdown:
        write_markdown(options.markdown)


if __name__ == "__main__":
    main()
