"""How Sphinx makes slides of docs/first-lecture.md: `make docs` puts them into the site.

A heading is a slide. Lists, drawings, tables, code and short paragraphs are on the slide. A long
paragraph is a note for the person who speaks.
"""

import html
from importlib.metadata import version as version_of

from docutils import nodes
from sphinx.application import Sphinx

project = "ringlet"
copyright = "The ringlet developers"
version = release = version_of("ringlet")

root_doc = "first-lecture"
include_patterns = ["first-lecture.md"]
extensions = ["myst_parser", "sphinx_revealjs"]
smartquotes = False
html_title = "A VM and a container"
revealjs_style_theme = "white"
revealjs_static_path = ["slides.css"]
revealjs_css_files = ["slides.css"]
revealjs_script_conf = {"hash": True, "transition": "none", "width": 1100, "height": 700}
revealjs_script_plugins = [
    {"name": "RevealNotes", "src": "revealjs/plugin/notes/notes.js"},
]

LONG = 60  # characters


def make_notes(app: Sphinx, document: nodes.document) -> None:
    """Makes notes of long paragraphs."""
    for paragraph in list(document.findall(nodes.paragraph)):
        text = paragraph.astext()
        if isinstance(paragraph.parent, nodes.section) and len(text) > LONG:
            note = f'<aside class="notes">{html.escape(text)}</aside>'
            paragraph.replace_self(nodes.raw("", note, format="html"))


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("doctree-read", make_notes)
