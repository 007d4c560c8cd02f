#!/usr/bin/env python3
"""Writes bindings/julia/src/declarations.jl from include/metaxy.h: its constants, structs and functions.

    scripts/julia_declarations.py           writes the file
    scripts/julia_declarations.py --check   fails if the file is not what would be written

The header uses a small part of C (see "Signatures" in its rules): a declaration that this does not understand is an error.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADER = ROOT / "include/metaxy.h"
OUTPUT = ROOT / "bindings/julia/src/declarations.jl"

SCALARS = {
    "int": "Cint", "int32_t": "Int32", "int64_t": "Int64", "uint64_t": "UInt64", "size_t": "Csize_t", "double": "Cdouble",
    "void": "Cvoid", "MetaxyStatus": "Int32", "MetaxyProgressCallback": "Ptr{Cvoid}", "MetaxyLogCallback": "Ptr{Cvoid}",
}
ARROW = ("ArrowSchema", "ArrowArray", "ArrowArrayStream")

TOP = """\
# Written from include/metaxy.h by scripts/julia_declarations.py; not to be edited.
#
# The functions are those of the header under their own names. What they give and take, who owns it and which threads may
# call them is said there. A call lets Julia collect garbage meanwhile, so that callbacks may come on any thread.

"""


def pieces(text):
    """The header's lines for the preprocessor, and the rest of it without comments."""
    for found in re.finditer(r"/\*.*?\*/|//[^\n]*|(?P<line>^#[^\n]*)|(?P<rest>[^/#]+|.)", text, re.S | re.M):
        yield found.lastgroup, found.group()


def parse(text):
    """The constants as (name, value), the structs as (name, fields), the handles, and the functions."""
    code, constants = [], []
    for kind, piece in pieces(text):
        if kind == "rest":
            code.append(piece)
        elif kind == "line" and (found := re.fullmatch(r'#define (\w+) ("[^"]*"|-?\d+)', piece.strip())):
            constants.append(found.groups())
    code = " ".join("".join(code).replace('extern "C" {', "").split())

    structs, handles, functions = [], [], []
    for found in re.finditer(r"struct (\w+) \{(.*?)\};|typedef ([^;]*);|(\w[\w ]*[ *])(metaxy_\w+)\(([^)]*)\);|([^\s}][^;]*;)", code):
        name, fields, typedef, result, function, parameters, unknown = found.groups()
        if name:
            structs.append((name, [field(text.strip()) for text in fields.split(";") if text.strip()]))
        elif typedef:
            if opaque := re.fullmatch(r"struct (\w+) \1", typedef):
                handles.append(opaque[1])
        elif function:
            split = [] if parameters.strip() == "void" else [text.strip() for text in parameters.split(",")]
            functions.append((function, julia_type(result), [field(text) for text in split]))
        else:
            raise SystemExit(f"{HEADER}: not understood: {unknown}")
    return constants, structs, handles, functions


def field(text):
    """The name and the Julia type of `const char *text`, or of `void (*callback)(...)`."""
    if pointer := re.fullmatch(r"[\w ]+[ *]\(\*(\w+)\)\(.*\)", text):
        return pointer[1], "Ptr{Cvoid}"
    found = re.fullmatch(r"(.*?[ *])(\w+)", text)
    return found[2], julia_type(found[1])


def julia_type(text):
    """`const char *` is Cstring, and any other pointer a Ptr of what it points to."""
    words = [word for word in re.findall(r"\w+|\*", text) if word not in ("const", "struct")]
    base, stars = words[0], len(words) - 1
    if words[1:] != ["*"] * stars:
        raise SystemExit(f"{HEADER}: no type that is understood: {text}")
    if base == "char":
        made, stars = "Cstring", stars - 1
    else:
        made = SCALARS.get(base, base)
    return "Ptr{" * stars + made + "}" * stars


def call(name, parameters, result):
    """A call on one line of at most 120 characters, or with a line for each parameter."""
    typed = [f"{parameter}::{kind}" for parameter, kind in parameters]
    start, end = f"    @ccall gc_safe = true $(symbol(:{name}))(", f")::{result}"
    line = start + ", ".join(typed) + end
    return [line] if len(line) <= 120 else [start, *(f"        {text}," for text in typed), f"    {end}"]


def generate(text):
    constants, structs, handles, functions = parse(text)
    lines = ["# ---- constants ----", ""]
    for name, value in constants:
        lines.append(f"const {name} = {value if value.startswith(chr(34)) else f'Int32({value})'}")

    lines += ["", "# ---- handles ----", ""]
    lines += [f"struct {name} end" for name in handles]

    lines += ["", "# ---- the Arrow C data and C stream interfaces ----"]
    for name, fields in structs:
        empty = ", ".join("C_NULL" if "Ptr" in kind or kind == "Cstring" else "0" for _, kind in fields)
        lines += ["", f"struct {name}", *(f"    {field}::{kind}" for field, kind in fields), "end", f"{name}() = {name}({empty})"]

    lines += ["", "# ---- functions ----"]
    for name, result, parameters in functions:
        names = ", ".join(parameter for parameter, _ in parameters)
        lines += ["", f"function {name}({names})", *call(name, parameters, result), "end"]
    return TOP + "\n".join(lines) + "\n"


def main():
    written = generate(HEADER.read_text())
    if "--check" not in sys.argv[1:]:
        OUTPUT.write_text(written)
    elif OUTPUT.read_text() != written:
        raise SystemExit(f"{OUTPUT} is not what the header says: run scripts/julia_declarations.py")


if __name__ == "__main__":
    main()
