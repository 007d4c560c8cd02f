"""What include/metaxy.h declares, and what its comments say of it.

The header is generated from src/ffi, and the pages from the header: a sentence about a function is written in one place.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sphinx.util import logging

ROOT = Path(__file__).parents[2]
HEADER = ROOT / "include/metaxy.h"
warn = logging.getLogger(__name__).warning


@dataclass
class Parameter:
    type: str
    name: str

    @property
    def is_pointer(self):
        return "*" in self.type or self.type.endswith("Callback")


@dataclass
class Declaration:
    """A declaration of the header with its comment, which is Markdown."""

    name: str
    code: str
    comment: str

    @property
    def parameters(self):
        inside = re.search(r"\((.*)\)", self.code)[1]
        return [Parameter(*re.fullmatch(r"(.*?)\s*(\w+)", one).groups()) for one in inside.split(", ") if one != "void"]

    @property
    def since(self):
        return re.search(r"@since (\S+)", self.comment)[1]

    @property
    def paragraphs(self):
        return self.comment.split("@since")[0].strip().split("\n\n")

    @property
    def sentences(self):
        """Of the paragraphs that are no lists."""
        prose = (" ".join(one.split()) for one in self.paragraphs if not one.startswith("- "))
        return [sentence for one in prose for sentence in re.split(r"(?<=[.:]) (?=[A-Z`])", one)]

    @property
    def summary(self):
        return re.split(r"(?<=\.) |: (?=`)", " ".join(self.paragraphs[0].split()))[0].rstrip(".:") + "."


def without_stars(comment):
    return re.sub(r"^ \* ?", "", comment, flags=re.M).strip()


@dataclass
class Header:
    rules: str
    functions: dict[str, Declaration]
    types: dict[str, Declaration]
    constants: dict[str, Declaration]

    @classmethod
    @cache
    def read(cls):
        text = HEADER.read_text()
        first = without_stars(re.search(r"/\*\*\n \* @file\n(.*?)\*/", text, re.S)[1])
        header = cls(first.split("What holds for every function:")[1].strip(), {}, {}, {})
        for body, code in re.findall(r"/\*\*\n((?: \*(?!/).*\n)+) \*/\n((?!/\*)[^;#]*?;|#define .*)", text):
            code = " ".join(code.split())
            if code.startswith("#define"):
                kind, name = header.constants, code.split()[1]
            elif code.startswith("typedef"):
                kind, name = header.types, re.search(r"(Metaxy\w+)\)?(?:\(.*\))?;", code)[1]
            else:
                kind, name = header.functions, re.search(r"(\w+)\(", code)[1]
            kind[name] = Declaration(name, code.rstrip(";"), without_stars(body))
        return header

    def part(self, name):
        """The functions of one file in src/ffi."""
        source = (ROOT / f"src/ffi/{name}.rs").read_text()
        return [one for one in self.functions.values() if re.search(rf"fn {one.name}\(", source)]


@cache
def statuses():
    """The names of the statuses, in their order."""
    names = list(Header.read().constants)
    return names[names.index("METAXY_OK") : names.index("METAXY_LOG_ERROR")]


# ---- who owns what ----

# A sentence that says of several parameters what holds for each.
LIST = r"(?:(?:, | and )`\w+`)*(?:, which may be NULL,)?"
REFERENCE = re.compile(r"(?:Pointers, threads and statuses as|are as for) `(\w+)`")


def ownership(function):
    """For each pointer but that to the error: what becomes of it, and how what is given out is freed. It is what the comment
    says; where that says nothing of a handle, it is borrowed."""
    pointers = [one for one in function.parameters if one.is_pointer]
    if function.name != "metaxy_error_from_stream":
        pointers = [one for one in pointers if one.type != "MetaxyError **"]
    owned = {one.name: of_parameter(function, one) for one in pointers}
    if function.code.startswith("const char *"):
        text = " ".join(function.sentences)
        lives = re.search(r"text (?:is )?(static|lives as long as (?:`error`|it))", text)
        owned["the text returned"] = ("given out", lives[1].replace("it", "`error`") if lives[1].endswith(" it") else lives[1])
    return owned


def of_parameter(function, parameter):
    name, text = f"`{parameter.name}`", " ".join(function.sentences)
    many = rf"{name} an array of as many streams\. Every stream"
    if re.search(rf"({name}|{name} may be NULL; it|{many}) is moved in", text):
        return "moved in", ""
    if f"{name} is consumed" in text:
        return "consumed", ""
    if "the caller frees " + name in text:
        return "given out", "`metaxy_error_free`"
    received = re.search(rf"{name}{LIST} (?:each )?receives? (.*?)(?:\.(?= )|\.?$|, (?:of one|with the))", text)
    if received:
        if "caller releases" in received[1]:
            return "given out", "its `release`"
        free = re.search(r"frees with (`\w+`)", received[1])
        return ("given out", free[1]) if free else ("filled in", "")
    for other in REFERENCE.findall(text):
        for same in Header.read().functions[other].parameters:
            if same.name == parameter.name:
                return of_parameter(Header.read().functions[other], same)
    about = [one for one in function.sentences if name in one]
    # What a handle or the process calls later, which is more than borrowed.
    kept = re.search(r"must live (until [^.]*)", text)
    if kept and (parameter.type == "void *" or parameter.type.endswith("Callback")):
        return "kept", kept[1]
    said = "borrowed|stays the caller's"
    if any(re.search(said, one) for one in about) or re.search(r"(It is|Both are) borrowed for the call", text):
        return "borrowed", ""
    if re.fullmatch(r"(const )?Metaxy\w+ \*", parameter.type):
        return "borrowed", ""
    warn(f"include/metaxy.h does not say who owns `{parameter.name}` of {function.name}")
    return "borrowed", "not said"


def threads(function):
    for sentence in function.sentences:
        if re.match(r"Any thread|One thread at a time", sentence):
            return sentence.rstrip(".")
    for other in REFERENCE.findall(" ".join(function.sentences)):
        return threads(Header.read().functions[other])
    warn(f"include/metaxy.h does not say which thread may call {function.name}")
    return ""
