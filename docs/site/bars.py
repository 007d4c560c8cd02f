"""The directive `bars`: what was measured, drawn from the JSON of the last benchmark. No number is written by hand."""

import json
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

RESULTS = Path(__file__).parents[2] / "benches/results"
WIDTH, NAMES, BAR, GAP = 760, 160, 13, 12


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw(rows, legend, unit):
    """Bars of each row `name, values`, as long as their values; the scale is that of the whole picture."""
    longest = max(value for _, values in rows for value in values if value is not None)
    scale = (WIDTH - NAMES - 80) / longest
    drawn, y = [], 26
    for index, name in enumerate(legend):
        x = NAMES + index * 150
        drawn.append(f'<rect class="bar bar{index}" x="{x}" y="4" width="11" height="11"/>')
        drawn.append(f'<text class="left" x="{x + 17}" y="14">{name}</text>')
    for name, values in rows:
        shown = [one for one in enumerate(values) if one[1] is not None]
        middle = y + len(shown) * BAR / 2 + 4
        drawn.append(f'<text class="right" x="{NAMES - 8}" y="{middle}">{name}</text>')
        for index, value in shown:
            length = max(1, value * scale)
            drawn.append(f'<rect class="bar bar{index}" x="{NAMES}" y="{y}" width="{length:.1f}" height="{BAR - 2}"/>')
            drawn.append(f'<text class="left value" x="{NAMES + length + 5:.1f}" y="{y + BAR - 3}">{number(value)} {unit}</text>')
            y += BAR
        y += GAP
    return f'<svg class="picture bars" role="img" viewBox="0 0 {WIDTH} {y}" style="max-width: {WIDTH}px">{"".join(drawn)}</svg>'


def rows_of(measured, columns, rows):
    """Names with the values of the columns: of a list of operations, of a table of tables, or of one with keys `column_row`."""
    if isinstance(measured, list):
        measured = {one.get("op") or one["host"]: one for one in measured}
    elif rows:
        measured = {row: {c: measured.get(f"{c}_{row}", measured.get(f"{row}_{c}")) for c in columns} for row in rows}
    found = [(name, [values.get(column) for column in columns]) for name, values in measured.items()]
    for number, column in enumerate(columns):
        if all(values[number] is None for _, values in found):
            raise ValueError(f"there is no {column} in what was measured")
    return found


class Bars(SphinxDirective):
    """`bars file.json`: what the columns `:columns:` have, in the unit `:unit:`; of `:rows:`, where the file is one table."""

    required_arguments = 1
    option_spec = dict.fromkeys(["columns", "legend", "unit", "rows", "per"], directives.unchanged_required)

    def run(self):
        file = RESULTS / self.arguments[0]
        self.env.note_dependency(str(file))
        columns, legend = self.options["columns"].split(), self.options["legend"].split(", ")
        try:
            rows = rows_of(json.loads(file.read_text()), columns, self.options.get("rows", "").split())
        except ValueError as error:
            raise self.error(f"{file.name}: {error}")
        per = float(self.options.get("per", 1))
        rows = [(name, [value and value / per for value in values]) for name, values in rows]
        return [nodes.raw("", draw(rows, legend, self.options["unit"]), format="html")]


class Machine(SphinxDirective):
    """What the numbers were measured on."""

    def run(self):
        file = RESULTS / "machine.json"
        self.env.note_dependency(str(file))
        facts = json.loads(file.read_text()).items()
        return self.parse_text_to_nodes("\n".join(["| | |\n|---|---|", *(f"| {name} | {value} |" for name, value in facts)]))


def setup(app):
    app.add_directive("bars", Bars)
    app.add_directive("machine", Machine)
