#!/usr/bin/env python3
"""What is to be known of a shared library before it is taken along: its size, and the oldest glibc that it runs with.

    release.py LIBRARY
"""

import os
import re
import subprocess
import sys


def main():
    library = sys.argv[1]
    symbols = subprocess.check_output(["readelf", "--dyn-syms", "--wide", library], text=True)
    needed = {
        tuple(map(int, version.split(".")))
        for line in symbols.splitlines()
        if " UND " in line
        for version in re.findall(r"@GLIBC_([0-9.]+)", line)
    }
    dynamic = subprocess.check_output(["readelf", "--dynamic", "--wide", library], text=True)
    size = os.path.getsize(library)
    print(f"file: {os.path.basename(library)}")
    soname = re.search(r"SONAME.*\[(.*)\]", dynamic)
    print(f"soname: {soname[1]}")
    print(f"bytes: {size} ({size / 1e6:.0f} MB)")
    print(f"glibc: {'.'.join(map(str, max(needed)))} or newer")
    print("needs:", *re.findall(r"NEEDED.*\[(.*)\]", dynamic))


if __name__ == "__main__":
    main()
