"""The site's navigation: the lists of links in docs/index.md, which so has each page once.

A heading of the second level is a part of the navigation, and the links of the list below it are
the pages of that part. A text of a lab is the page `labs/NAME/text`, since the folder of the labs,
../src/ringlet/labs, is linked into docs/. Sphinx itself warns of a page that is in no part, and of
a page that isn't there.
"""

import re

from sphinx.application import Sphinx

PART = re.compile(r"^## (.+)$", re.MULTILINE)
PAGE = re.compile(r"^- \[[^\]]+\]\((?:\.\./src/ringlet/)?([\w/-]+)\.md\)", re.MULTILINE)


def parts(index: str) -> dict[str, list[str]]:
    """Returns the pages of each part, by the part's heading, from the text of docs/index.md."""
    _, *rest = PART.split(index)
    found = {part: PAGE.findall(text) for part, text in zip(rest[::2], rest[1::2], strict=True)}
    return {part: pages for part, pages in found.items() if pages}


def add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """Appends the tables of contents, which the page itself doesn't show."""
    if docname == app.config.root_doc:
        for part, pages in parts(source[0]).items():
            lines = ["", "```{toctree}", ":hidden:", f":caption: {part}", "", *pages, "```", ""]
            source[0] += "\n".join(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add_navigation)
    return {"parallel_read_safe": True}
