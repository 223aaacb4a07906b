"""How Sphinx makes the site; `build.py` lays this file beside the pages."""

import html

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

project = "Marquee"
html_title = "Marquee"
extensions = ["myst_parser"]
exclude_patterns = ["conf.py"]

myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
# Code is what people type: quotes stay as they are.
smartquotes = False

html_theme = "furo"
html_theme_options = {"footer_icons": []}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
html_permalinks_icon = "#"
templates_path = ["templates"]

_DIAGRAMS = ("mermaid.tiny.js", "diagrams.js")


class Mermaid(SphinxDirective):
    """A diagram, which Mermaid draws in the browser."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        self.env.metadata[self.env.docname]["diagrams"] = "yes"
        return [nodes.raw("", f'<pre class="mermaid">{html.escape(text)}</pre>', format="html")]


def _load(app: Sphinx, page: str, *_rest: object) -> None:
    """Brings Mermaid to the pages that have diagrams: it is large."""
    if "diagrams" in app.env.metadata.get(page, {}):
        for file in _DIAGRAMS:
            app.add_js_file(file, loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.add_directive("mermaid", Mermaid)
    app.connect("html-page-context", _load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
