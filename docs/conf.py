"""How Sphinx makes a site of the Markdown pages and of the comments in include/metaxy.h: `make docs`.

The sources are the whole checkout, so that a link from one page to another, to an example or to a source file means the
same on a forge and in the site. What is wrong (a dead link, a page that is in no menu) is a warning, and `make docs` takes none.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "site"))

project = "libmetaxy"
author = "the authors of libmetaxy"
version = release = re.search(r'^version = "(.*)"', (HERE.parent / "Cargo.toml").read_text(), re.M)[1]

root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "bindings/*/README.md", "examples/*/README.md"]
exclude_patterns = ["target", "build", ".*", "**/node_modules", "src", "tests", "benches"]

extensions = ["myst_parser", "reference", "flowchart", "bars"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]

html_theme = "furo"
html_title = f"libmetaxy {version}"
# There is an `index.html` where one looks for it; the pages are in `docs`, as in the sources.
html_additional_pages = {"index": "redirect.html"}
templates_path = ["site"]
html_static_path = ["site/site.css"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
