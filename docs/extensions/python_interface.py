"""The reference of the Python interface, from the docstrings.

In a page, `<!-- reference of ringlet.Machine ringlet.trace -->` stands for the reference of these
names. autodoc reads docstrings as reStructuredText. ringlet's have two things that it lacks: names
between single backquotes (`default_role` in conf.py), and lists of parameters in columns. And it
doesn't know ringlet's own named tuples (host/named_tuple.py).
"""

import inspect
import re
from importlib import import_module
from operator import itemgetter
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

MARK = re.compile(r"^<!-- reference of (.+) -->$", re.MULTILINE)
FIELD_OF_TUPLE = re.compile(r"^    (\w+): (.+?)( = .+?)?(?:  # (.+))?$", re.MULTILINE)
FIELD = re.compile(r"([*\w]+(?:, [*\w]+)*) {2,}(\S.*)")


def _directive(name: str) -> str:
    module, _, attribute = name.rpartition(".")
    try:
        value = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ExtensionError(f"a reference in docs/: there is no {name}: {error}") from error
    if not isinstance(value, type):
        return f".. autofunction:: {name}\n"
    kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
    return f".. {kind}:: {name}\n   :members:\n   :member-order: bysource\n"


def add_reference(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts autodoc's directives in place of the marks."""
    source[0] = MARK.sub(
        lambda mark: "```{eval-rst}\n" + "\n".join(map(_directive, mark[1].split())) + "```",
        source[0],
    )


def columns_to_list(lines: list[str]) -> list[str]:
    """Returns the lines of a docstring, with parameters in columns as a definition list."""
    new: list[str] = []
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    for paragraph in paragraphs:
        rows = paragraph.split("\n")
        if FIELD.match(rows[0]) and all(row[:2] == "  " or FIELD.match(row) for row in rows):
            for row in rows:
                field = FIELD.match(row)
                new += [f"`{field[1]}`", f"   {field[2]}"] if field else [f"   {row.strip()}"]
        else:
            new += rows
        new.append("")
    return new


def fields_of(named_tuple: type) -> list[tuple[str, str, str, str]]:
    """Returns name, type, default and comment of each field, from the source of the class."""
    return FIELD_OF_TUPLE.findall(inspect.getsource(named_tuple))


def _is_named_tuple(value: object) -> bool:
    return isinstance(value, type) and hasattr(value, "_fields")


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Called by autodoc for each docstring."""
    lines[:] = columns_to_list(lines)
    if _is_named_tuple(obj):
        for field, _, _, comment in fields_of(obj):
            lines += [f"`{field}`", f"   {comment}"] if comment else []
        lines.append("")


def sign(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """Called by autodoc for each signature: that of a named tuple has the fields."""
    if not _is_named_tuple(obj):
        return None
    fields = (f"{field}: {kind}{default}" for field, kind, default, _ in fields_of(obj))
    return f"({', '.join(fields)})", ""


def skip(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Called by autodoc for each member: a field of a named tuple stands in the signature."""
    ours = isinstance(getattr(obj, "fget", None), itemgetter)
    return True if ours or (obj.__doc__ or "").startswith("Alias for field") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add_reference)
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
