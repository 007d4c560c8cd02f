"""Draws the flowcharts of the pages, which are Mermaid on a forge, as SVG: so that the site needs no script, and no network.

Of Mermaid's language it knows what the pages use, and refuses all else: `flowchart LR`, nodes `id["label"]` with `<b>` and
`<br/>`, alone or in edges, `a --> b` and `a -- label --> b`.
"""

import re
from html import escape

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

NODE = r'(\w+)(?:\["([^"]*)"\])?'
EDGE = re.compile(rf"{NODE} --(?: (.*?) --)?> {NODE}")
WIDTH, LINE, ACROSS, DOWN = 165, 19, 110, 26


def parse(lines):
    """The labels of the nodes, and the edges: from, label, to."""
    labels, edges = {}, []
    for line in filter(None, (line.strip() for line in lines[1:])):
        if alone := re.fullmatch(NODE, line):
            node, text = alone.groups()
            labels[node] = text or labels.get(node) or node
            continue
        found = EDGE.fullmatch(line)
        if not found:
            raise ValueError(f"not a flowchart that can be drawn: {line}")
        source, source_label, label, target, target_label = found.groups()
        for node, text in ((source, source_label), (target, target_label)):
            labels[node] = text or labels.get(node) or node
        edges.append((source, label, target))
    return labels, edges


def height_of(labels):
    """Of all nodes alike, as the longest label needs it."""
    return max(label.count("<br/>") + 1 for label in labels.values()) * LINE + 14


def placed(labels, edges):
    """Each node right of all that lead to it, and as high as they are, if there is room."""
    column = dict.fromkeys(labels, 0)
    for _ in labels:
        for source, _, target in edges:
            column[target] = max(column[target], column[source] + 1)
    columns = [[node for node in labels if column[node] == one] for one in range(max(column.values()) + 1)]
    highest, rows = max(map(len, columns)), {}
    for nodes_of in columns:
        row = -1
        for node in nodes_of:
            before = [rows[source] for source, _, target in edges if target == node]
            row = rows[node] = max(row + 1, sum(before) / len(before) if before else (highest - len(nodes_of)) / 2)
        too_low = max(0, row - (highest - 1))
        rows |= {node: rows[node] - too_low for node in nodes_of}
    down = height_of(labels) + DOWN
    return {node: (column[node] * (WIDTH + ACROSS) + 4, rows[node] * down + 4) for node in labels}


def text(x, y, content, style=""):
    return f'<text x="{x}" y="{y}" class="{style}">{escape(content)}</text>'


def draw(lines):
    if lines[0].strip() != "flowchart LR":
        raise ValueError(f"not a flowchart that can be drawn: {lines[0]}")
    labels, edges = parse(lines)
    places, tall = placed(labels, edges), height_of(labels)
    drawn = []
    for source, label, target in edges:
        (x1, y1), (x2, y2) = places[source], places[target]
        x1, y1, y2 = x1 + WIDTH, y1 + tall / 2, y2 + tall / 2
        drawn.append(f'<line x1="{x1}" y1="{y1}" x2="{x2 - 8}" y2="{y2}" marker-end="url(#arrow)"/>')
        if label:
            drawn.append(text((x1 + x2) / 2, (y1 + y2) / 2 - 6, label, "edge"))
    for node, (x, y) in places.items():
        drawn.append(f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{tall}" rx="6"/>')
        parts = labels[node].split("<br/>")
        for number, part in enumerate(parts):
            bold = "bold" if part.startswith("<b>") else ""
            line = y + tall / 2 + 5 + (number - (len(parts) - 1) / 2) * LINE
            drawn.append(text(x + WIDTH / 2, line, re.sub("</?b>", "", part), bold))
    width, height = (max(place[axis] for place in places.values()) for axis in (0, 1))
    arrow = '<marker id="arrow" markerWidth="9" markerHeight="8" refY="4" orient="auto"><path d="M0,0 L9,4 L0,8 z"/></marker>'
    return (
        f'<svg class="picture" role="img" viewBox="0 0 {width + WIDTH + 4} {height + tall + 4}" '
        f'style="max-width: {width + WIDTH + 4}px"><defs>{arrow}</defs>{"".join(drawn)}</svg>'
    )


class Flowchart(SphinxDirective):
    has_content = True

    def run(self):
        try:
            return [nodes.raw("", draw(list(self.content)), format="html")]
        except ValueError as error:
            raise self.error(str(error))


def setup(app):
    app.add_directive("mermaid", Flowchart)
