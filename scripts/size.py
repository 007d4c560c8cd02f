#!/usr/bin/env python3
"""What a library is made of: bytes of its sections, and of its functions by the crate that they are of.

    size.py LIBRARY [CRATES]      one that is not stripped, as make release leaves it; the largest 25 crates

A function counts for the crate that it is named by; what drops a value, for the crate of the value.
"""

import re
import subprocess
import sys
from collections import Counter

# `_ZN` and the first part of the name with its length; what of it is the way to a type, maybe behind `<`, `&` and such.
NAME = re.compile(r"_ZN(\d+)(.*)")
TYPE = re.compile(r"(?:_|\$[A-Z]+\$|\$u[0-9a-f]{2}\$|mut|dyn|\d)*?([a-z][a-z0-9_]*?)\.\.")
DROP = re.compile(r"drop_in_place\$LT\$(.*)")


def crate(symbol: str) -> str:
    named = NAME.match(symbol)
    if not named:
        return "Rust, named by itself" if symbol.startswith("_R") else "C"
    part = named[2][: int(named[1])]
    if dropped := DROP.search(symbol):
        part = dropped[1]
    way = TYPE.match(part)
    return way[1] if way else part if re.fullmatch(r"[a-z][a-z0-9_]*", part) else "core"


def main():
    library = sys.argv[1]
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 25
    sections = subprocess.check_output(["readelf", "--sections", "--wide", library], text=True)
    sizes = {}
    for line in sections.splitlines():
        if found := re.match(r"\s*\[ *\d+\] (\.\S+)\s+\S+\s+\w+ \w+ (\w+) \w+\s+(\w*A\w*)", line):
            sizes[found[1]] = int(found[2], 16)
    print("bytes of sections, 1 MB and more:")
    for name, size in sorted(sizes.items(), key=lambda one: -one[1]):
        if size >= 1e6:
            print(f"  {size / 1e6:7.1f} MB  {name}")

    bytes_of, functions_of = Counter(), Counter()
    for line in subprocess.check_output(["nm", "--print-size", "--defined-only", library], text=True).splitlines():
        match line.split(maxsplit=3):
            case [_, size, "t" | "T" | "w" | "W", symbol]:
                bytes_of[crate(symbol)] += int(size, 16)
                functions_of[crate(symbol)] += 1
    print("bytes of functions by crate:")
    for name, size in bytes_of.most_common(most):
        print(f"  {size / 1e6:7.1f} MB  {functions_of[name]:6}  {name}")


if __name__ == "__main__":
    main()
