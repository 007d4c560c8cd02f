#!/usr/bin/env python3
"""Whether one build of the library is as fast as another: every operation in fresh processes, with the two in turn.

    pair.py BENCH OLD NEW [--rows N] [--reps N] [--ops OP ...] [--tables DIRECTORY]

BENCH is the program of bench.c; OLD and NEW are libmetaxy.so of the two builds. Beside the time of the operation the
processor's is taken, that of all threads and with the loading of the library: it says more on a machine that is not quiet.
The tables are made where they are not yet, and stay for the next time.
"""
import argparse
import resource
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from run import READS, ROOT, WRITES, columns, python, run

OPS = [*WRITES, *READS]


def folder_of(library: Path, name: str, parent: Path) -> Path:
    """A folder in which a program finds the library by its SONAME."""
    folder = parent / name
    folder.mkdir()
    dynamic = subprocess.check_output(["readelf", "--dynamic", library], text=True)
    soname = dynamic.partition("Library soname: [")[2].partition("]")[0]
    (folder / soname).symlink_to(library.resolve())
    return folder


def once(command: list, folder: Path) -> tuple[float, float]:
    """Seconds of the operation, and of the processor for all of the process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = run(command, environment={"LD_LIBRARY_PATH": str(folder)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return told["seconds"], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(bench: Path, folders: list[Path], tables: Path, op: str, rows: int, reps: int) -> list[str]:
    runs: list[list[tuple[float, float]]] = [[], []]
    # The first of each is not counted: it finds files and code that are not in memory yet.
    for rep in range(reps + 1):
        for which in (0, 1) if rep % 2 else (1, 0):
            table = tables / (READS.get(op) or "")
            if op in WRITES:
                table = tables / "written"
                shutil.rmtree(table, ignore_errors=True)
                if WRITES[op]:
                    shutil.copytree(tables / WRITES[op], table)
            seconds = once([bench, op, rows, table], folders[which])
            if rep > 0:
                runs[which].append(seconds)
    cells = [op]
    for kind in (0, 1):
        old, new = (statistics.median(one[kind] for one in of) for of in runs)
        cells += [f"{old:.3f}", f"{new:.3f}", f"{new / old:.2f}"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bench", "old", "new"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--reps", type=int, default=9)
    parser.add_argument("--ops", nargs="+", default=OPS, choices=OPS)
    parser.add_argument("--tables", type=Path, default=ROOT / "build/pair")
    options = parser.parse_args()

    tables = options.tables / str(options.rows)
    if not tables.exists():
        tables.mkdir(parents=True)
        run(python("bench_metaxy.py", "prepare", options.rows, tables))
    lines = [["op", "old s", "new s", "ratio", "old CPU s", "new CPU s", "ratio"]]
    with tempfile.TemporaryDirectory() as parent:
        folders = [folder_of(getattr(options, name), name, Path(parent)) for name in ("old", "new")]
        for op in options.ops:
            lines.append(compare(options.bench.resolve(), folders, tables, op, options.rows, options.reps))
            print("  ".join(lines[-1]), flush=True)
    print(f"\n{columns(lines)}")


if __name__ == "__main__":
    main()
