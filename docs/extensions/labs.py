"""The table of the labs, from their lab.toml files and their checks.

In a page, `<!-- table of labs -->` stands for it.
"""

from sphinx.application import Sphinx

from ringlet.labs.catalog import labs
from ringlet.labs.check import ANY_KVM, HARDWARE_KVM, NO_KVM

MARK = "<!-- table of labs -->"
KVM = {NO_KVM: "none", ANY_KVM: "any", HARDWARE_KVM: "of hardware"}


def table() -> str:
    """Returns the table, as Markdown."""
    lines = ["| lab | time | handed in | programs | KVM |", "| --- | --- | --- | --- | --- |"]
    for lab in labs():
        needed = {check.kvm for check in lab.checks()}
        kvm = ", ".join(words for kind, words in KVM.items() if kind in needed)
        time = f"{lab.minutes / 60:g} h"
        cells = [f"{lab.number}. {lab.title}", time, _code(lab.files), _code(lab.programs), kvm]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def add_table(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts the table in place of its mark."""
    if MARK in source[0]:
        source[0] = source[0].replace(MARK, table())


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add_table)
    return {"parallel_read_safe": True}
