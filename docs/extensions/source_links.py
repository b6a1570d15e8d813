"""The source in the site: a page for each file and folder of the source that the text names.

A link such as `[worker.py](../src/ringlet/virtio/worker.py)` leads to that page, and so does a
path in code type, such as `machine/runloop.py`. The Markdown needs nothing for this.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

TOP = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "csrc", "docs", "guests", "scripts", "src", "tests")
KEPT = "solutions"  # of the labs: a teacher gives students the site
MADE = ("_guests", "_init", "_container", "__pycache__", "build")  # by a build
TOO_LARGE = (TOP / "src", TOP / "src/ringlet", TOP / "tests")  # for pages of all that is below
LONGEST = 400_000  # bytes of a file that a page shows


def _is_source(path: Path) -> bool:
    """Returns whether `path` is a file or a folder of the source, and not made by a build."""
    if not path.is_relative_to(TOP) or path in TOO_LARGE or not path.exists():
        return False
    parts = path.relative_to(TOP).parts
    return (
        parts[:1] != ()
        and parts[0] in FOLDERS
        and KEPT not in parts
        and not any(part in MADE or part.endswith(".egg-info") for part in parts)
        and path.suffix not in (".so", ".o", ".pyc")
        and (parts[0] != "docs" or "extensions" in parts or path.suffix == ".py")
    )


def find(node: nodes.Element, folder: Path) -> Path | None:
    """Returns the file or folder of the source that a link or code in a page of `folder` names."""
    text = _target(node).partition("#")[0]
    if not isinstance(node, nodes.literal):
        places = (folder,)
    elif "/" in text and not text.startswith("/"):
        places = (TOP, TOP / "src/ringlet")
    else:
        return None
    return next(filter(_is_source, ((place / text).resolve() for place in places)), None)


def page_name(path: Path) -> str:
    """Returns the name of the page for `path`, without `.html`."""
    name = f"code/{path.relative_to(TOP).as_posix()}"
    return f"{name}/index" if path.is_dir() else name


def _page_of_docs(path: Path) -> str:
    """Returns the name that a text of a lab has as a page: docs/labs is a link to the labs."""
    labs = TOP / "src/ringlet"
    return path.relative_to(labs).with_suffix("").as_posix() if path.is_relative_to(labs) else ""


class SourceLinks(SphinxTransform):
    """Makes references to the source's pages of links and of paths in code type."""

    default_priority = 5  # before Sphinx collects what a reader could download

    def apply(self, **kwargs: Any) -> None:
        """Called by Sphinx for each page."""
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for node in list(self.document.findall(_names_a_path)):
            path = find(node, folder)
            if path is None:
                continue
            page = _page_of_docs(path)
            if page not in self.env.found_docs:
                page = page_name(path)
                self.env.metadata[self.env.docname].setdefault("source", set()).add(path)
            target = self.app.builder.get_relative_uri(self.env.docname, page)
            _, mark, line = _target(node).partition("#")
            target += mark + line
            reference = nodes.reference("", "", internal=True, refuri=target)
            reference += [node.deepcopy()] if isinstance(node, nodes.literal) else node.children
            node.replace_self(reference)


def _names_a_path(node: nodes.Node) -> bool:
    links = (nodes.reference, addnodes.download_reference, addnodes.pending_xref)
    if isinstance(node, nodes.literal):
        above = node.parent
        return not isinstance(above, links) and not isinstance(above.parent, links)
    return isinstance(node, links[1:]) and node.get("reftype") == "myst"


def _target(node: nodes.Element) -> str:
    if isinstance(node, nodes.literal):
        return node.astext()
    target = str(node["reftarget"])
    # A page's name, or, if MyST takes a file outside of docs/ for a page, its path without suffix.
    return f"{target}.md" if node.get("refdomain") == "doc" else target


def _file(path: Path) -> str:
    text = path.read_text(errors="replace")[:LONGEST]
    try:
        lexer = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = TextLexer()
    return highlight(text, lexer, HtmlFormatter(linenos="inline", lineanchors="L", wrapcode=True))


def _folder(path: Path, pages: set[Path]) -> str:
    lines = []
    for child in sorted(path.iterdir(), key=lambda child: (child.is_file(), child.name)):
        if not _is_source(child):
            continue
        name = escape(child.name + "/" * child.is_dir())
        href = f"{name}index.html" if child.is_dir() else f"{name}.html"
        lines.append(f'<li><a href="{href}"><code>{name}</code></a></li>')
        pages.add(child)
    return f"<ul>{''.join(lines)}</ul>"


def make_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yields the pages: what the text names, and what is below the folders that it names."""
    wanted: set[Path] = set()
    for metadata in app.env.metadata.values():
        wanted |= metadata.get("source", set())
    done: set[Path] = set()
    while wanted:
        path = wanted.pop()
        if path in done:
            continue
        done.add(path)
        name = escape(path.relative_to(TOP).as_posix())
        content = _folder(path, wanted) if path.is_dir() else _file(path)
        yield (
            page_name(path),
            {
                "title": name,
                "body": f'<section class="code-page"><h1>{name}</h1>{content}</section>',
            },
            "page.html",
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(SourceLinks)
    app.connect("html-collect-pages", make_pages)
    return {"parallel_read_safe": True}
