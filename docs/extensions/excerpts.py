"""Functions of the source in a page, as they are when the site is built.

In a page, the comment `<!-- its code -->` below a line that is a link such as
[`PortBus.handler`](../src/ringlet/board/bus.py) stands for the code of that function. The build
fails if the function is gone.
"""

import ast
import re
import textwrap
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

TOP = Path(__file__).parents[2]
MARK = re.compile(r"^\[`([\w.]+)`\]\(\.\./([^)]+)\)\n<!-- its code -->$", re.MULTILINE)


def _of_python(text: str, name: str) -> tuple[int, int] | None:
    """Returns the first and the last line of a function or class, whose name may have a dot."""
    within: ast.AST = ast.parse(text)
    for part in name.split("."):
        named = (node for node in getattr(within, "body", ()) if getattr(node, "name", "") == part)
        found = next(named, None)
        if found is None:
            return None
        within = found
    return within.lineno, within.end_lineno  # type: ignore[attr-defined]


def _of_c(text: str, name: str) -> tuple[int, int] | None:
    """Returns the first and the last line of a function in the kernel's style."""
    pattern = rf"^\w[^;\n]*\b{re.escape(name)}\([^;{{]*\)\n\{{\n.*?^\}}"
    function = re.search(pattern, text, re.DOTALL | re.MULTILINE)
    if not function:
        return None
    return text.count("\n", 0, function.start()) + 1, text.count("\n", 0, function.end()) + 1


def excerpt(name: str, path: str) -> str:
    """Returns the Markdown of an excerpt, with a link to its line."""
    text = (TOP / path).read_text()
    language = "python" if path.endswith(".py") else "c"
    lines = (_of_python if language == "python" else _of_c)(text, name)
    if lines is None:
        raise ExtensionError(f"{path} has no {name}, which a page of docs/ shows")
    first, last = lines
    code = textwrap.dedent("\n".join(text.splitlines()[first - 1 : last]))
    link = f"[`{name}`](../{path}#L-{first}) in `{path.rpartition('/')[2]}`, line {first}:"
    return f"{link}\n\n```{language}\n{code}\n```"


def add_excerpts(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts the excerpts in place of their marks."""
    source[0] = MARK.sub(lambda mark: excerpt(mark[1], mark[2]), source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add_excerpts)
    return {"parallel_read_safe": True}
