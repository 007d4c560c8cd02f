#!/usr/bin/env python3
"""The licences of what is linked into the library, from Cargo's metadata and the sources of the crates,
of which Cargo downloads here what no build has needed.

    licenses.py OUTPUT

Each crate with its licence and where its source is, then each text once, with the crates that it belongs to.
"""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXTS = re.compile(r"(licen[cs]e|copying|notice|unlicense|copyright|patents)", re.IGNORECASE)
# Whoever passes on the library must be able to do so under terms of their own; MPL only asks to say where the source is.
REFUSED = re.compile(r"\b(AGPL|GPL|LGPL|SSPL|BUSL|EPL|CDDL)\b")

MIT = """MIT License

Copyright (c) {authors}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def linked():
    """The packages that the library is linked from: no build scripts' or tests' dependencies."""
    host = re.search(r"host: (\S+)", subprocess.check_output(["rustc", "-vV"], text=True))[1]
    arguments = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", host]
    metadata = json.loads(subprocess.check_output(arguments, cwd=ROOT))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, todo = set(), [root]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        needed = nodes[node]["deps"]
        todo += [one["pkg"] for one in needed if any(kind["kind"] is None for kind in one["dep_kinds"])]
    return sorted((packages[one] for one in seen - {root}), key=lambda one: (one["name"], one["version"]))


def texts(package):
    """The texts of a package's own files; where it brings none, that of the licence that it names."""
    folder = Path(package["manifest_path"]).parent
    files = {path for path in folder.iterdir() if TEXTS.match(path.name) and path.is_file()}
    if package["license_file"]:
        files.add(folder / package["license_file"])
    found = [path.read_text(errors="replace").strip() for path in sorted(files)]
    if found:
        return found
    if "Apache-2.0" in package["license"]:
        return [(ROOT / "LICENSE").read_text().strip()]
    if "MIT" in package["license"]:
        authors = ", ".join(package["authors"]) or f"the authors of {package['name']}"
        return [MIT.format(authors=authors).strip()]
    sys.exit(f"{package['name']} {package['version']} says {package['license']} but brings no text of it")


def main():
    packages = linked()
    lines = [
        "What is linked into libmetaxy, besides the standard library of Rust (MIT OR Apache-2.0), and its licences.",
        "The source of each is at https://crates.io/crates/<name>/<version>.",
        "",
    ]
    owners = defaultdict(list)
    for package in packages:
        license = package["license"] or package["license_file"]
        if not license:
            sys.exit(f"{package['name']} {package['version']} names no licence")
        choices = re.split(r"\bOR\b|/", license)
        if all(REFUSED.search(choice) for choice in choices):
            sys.exit(f"{package['name']} {package['version']} is under {license}, which the library cannot be")
        name = f"{package['name']} {package['version']}"
        lines.append(f"{name}: {license}")
        for text in texts(package):
            owners[re.sub(r"\s+", " ", text)].append((name, text))
    for group in owners.values():
        lines += ["", "=" * 100, ", ".join(dict.fromkeys(name for name, _ in group)), "=" * 100, "", group[0][1]]
    output = Path(sys.argv[1])
    output.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    # install(1) gives up on a file that is replaced while it copies it, be it by the same text.
    if not output.exists() or output.read_text() != text:
        part = output.with_suffix(f".{os.getpid()}")
        part.write_text(text)
        part.replace(output)
    print(f"{output}: {len(packages)} crates, {len(owners)} texts, {os.path.getsize(output) // 1024} KiB")


if __name__ == "__main__":
    main()
