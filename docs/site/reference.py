"""The header's comments as pages: a directive for each class below, by its name in small letters."""

import re

from docutils import nodes
from header import HEADER, Header, ownership, statuses, threads, warn
from sphinx.util.docutils import SphinxDirective


class FromHeader(SphinxDirective):
    """Makes Markdown of the header, and parses it in the place of the directive."""

    optional_arguments = 20

    def run(self):
        self.env.note_dependency(str(HEADER))
        return self.parse_text_to_nodes("\n".join(self.markdown(Header.read())), allow_section_headings=True)


class Functions(FromHeader):
    """The functions of some files of src/ffi."""

    def markdown(self, header):
        for part in self.arguments:
            functions = header.part(part)
            if not functions:
                warn(f"src/ffi/{part}.rs has no functions", location=self.get_location())
            for function in functions:
                self.env.domaindata.setdefault("metaxy", set()).add(function.name)
                yield from described(function)


def described(function):
    """What it does and who owns what, as it is written; then its threads and statuses, each in a line of its own."""
    yield f"````{{c:function}} {function.code}"
    fails = [one for one in function.sentences if one.startswith("Fails ")]
    called = [one for one in function.sentences if one.startswith(("Any thread", "One thread at a time"))]
    for paragraph in function.paragraphs:
        text = paragraph if paragraph.startswith("- ") else " ".join(paragraph.split())
        for sentence in fails + called:
            text = text.replace(sentence, "").strip()
        yield text + "\n"
    said = threads(function)
    if said:
        yield f"- **Threads**: {said[0].lower()}{said[1:]}"
    yield from (f"- **Fails** {one.removeprefix('Fails ')}" for one in fails)
    yield f"- **Since** {function.since}\n````\n"


class Types(FromHeader):
    def markdown(self, header):
        for one in header.types.values():
            code = re.sub(r"^typedef (struct \w+ (?=\w+$))?", "", one.code)
            yield f"````{{c:type}} {code}\n{one.comment}\n````\n"


class Constants(FromHeader):
    """The constants whose names begin with the argument."""

    def markdown(self, header):
        yield "| constant | value | meaning |\n|---|---|---|"
        for one in header.constants.values():
            if one.name.startswith(self.arguments[0]):
                meaning = " ".join(one.comment.split())
                yield f"| `{one.name}` | {one.code.split()[2]} | {meaning} |"


class Statuses(FromHeader):
    def markdown(self, header):
        yield "| status | value | meaning |\n|---|---|---|"
        for name in statuses():
            one = header.constants[name]
            yield f"| `{name}` | {one.code.split()[2]} | {' '.join(one.comment.split())} |"


class Rules(FromHeader):
    def markdown(self, header):
        yield header.rules


class Overview(FromHeader):
    """Every function in one table."""

    def markdown(self, header):
        yield "| function | what it does |\n|---|---|"
        for one in header.functions.values():
            yield f"| `{one.name}` | {one.summary} |"


class Ownership(FromHeader):
    """Every function that takes or gives a pointer, and what becomes of each."""

    def markdown(self, header):
        yield "| function | borrowed | kept | taken | given | threads |\n|---|---|---|---|---|---|"
        for function in header.functions.values():
            borrowed, kept, taken, given = columns = [], [], [], []
            cells = {"borrowed": borrowed, "kept": kept, "moved in": taken, "consumed": taken, "filled in": given, "given out": given}
            for name, (kind, how) in ownership(function).items():
                shown = name if " " in name else f"`{name}`"
                cells[kind].append(f"{shown}: {how}" if how else shown)
            if any(columns):
                called = "one" if threads(function).startswith("One") else "any"
                row = [f"`{function.name}`", *(", ".join(cell) for cell in columns), called]
                yield f"| {' | '.join(row)} |"


def missing(app, env):
    """Warns of functions that are on no page."""
    for name in Header.read().functions.keys() - env.domaindata.get("metaxy", set()):
        warn(f"{name} is on no page of docs/reference")


def link(app, document, page):
    """Links what a page names as code: functions and types to the reference, statuses to their examples."""
    places = {name: (where, anchor) for name, _, _, where, anchor, _ in app.env.get_domain("c").get_objects()}
    places |= {name: ("docs/errors", name.lower().replace("_", "-")) for name in statuses() if name != "METAXY_OK"}
    for literal in list(document.findall(nodes.literal)):
        name = literal.astext()
        if name not in places or isinstance(literal.parent, nodes.reference | nodes.title):
            continue
        where, anchor = places[name]
        uri = app.builder.get_relative_uri(page, where) + "#" + anchor
        literal.replace_self(nodes.reference("", "", literal.deepcopy(), internal=True, refuri=uri))


def setup(app):
    for directive in (Functions, Types, Constants, Statuses, Rules, Overview, Ownership):
        app.add_directive(directive.__name__.lower(), directive)
    app.connect("env-check-consistency", missing)
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": False}
