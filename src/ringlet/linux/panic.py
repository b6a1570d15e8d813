"""What the console of a Linux kernel tells of the kernel's panic.

Source: Linux, kernel/panic.c ("Kernel panic - not syncing: ..."), arch/x86/kernel/dumpstack.c and
arch/x86/mm/fault.c (the lines of an oops: "BUG: ...", "Oops: ...", "RIP: 0010:function+0x1/0x2
[module]", "CPU: 0 PID: 1 Comm: init ...").

The console is the guest's, so every word of it is hostile until it is escaped.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LAST_LINES = 24
LINE = 160  # at most this many characters of a line
_LOOKED_AT = 64 << 10  # bytes at the end of the console

_PANIC = re.compile(r"Kernel panic - not syncing: ([^\n]*)")
# How the report of an oops begins. A warning has an RIP, too, and is no reason for a panic.
_OOPS = re.compile(
    r"BUG: |Oops\b|general protection fault|kernel BUG at |invalid opcode: |divide error: "
)
_RIP = re.compile(r"RIP: 0010:([\w.]+\+0x[0-9a-f]+/0x[0-9a-f]+)(?: \[(\w+)\])?")
_PROCESS = re.compile(r"PID: (\d+) Comm: (\S+)")
_TIME = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")


class Panic(NamedTuple):
    """A panic; each field is "" if the console doesn't tell it, and has printable characters.

    reason    the words of the kernel
    oops      the first line of the kernel's report of the fault
    function  the kernel's function that was at fault, and the place in the function
    module    the function's module; "" for the kernel itself
    process   the process that ran at that time, with its number
    """

    reason: str
    oops: str
    function: str
    module: str
    process: str
    last_lines: list[str]

    def what(self) -> str:
        """Returns the panic as one line for people."""
        what = "the guest's kernel panicked"
        if self.reason:
            what += f": {self.reason}"
        if self.oops and self.oops not in what:
            what += f"; {self.oops}"
        if self.function:
            module = f" of the module {self.module}" if self.module else ""
            what += f", in {self.function}{module}"
        return what + (f", process {self.process}" if self.process else "")

    def as_json(self) -> dict[str, Any]:
        """Returns the panic as data for JSON."""
        return self._asdict()


def find_panic(console: bytes) -> Panic:
    """Returns what the end of the console tells of a panic."""
    text = console[-_LOOKED_AT:].decode("ascii", "backslashreplace").replace("\r", "")
    panics = list(_PANIC.finditer(text))
    before = text[: panics[0].start()] if panics else text
    oopses = list(_OOPS.finditer(before))
    # An oops may be reported again while the kernel deals with it: the last panic counts, and the
    # first line of the last report.
    start = before.rfind("cut here", 0, oopses[-1].start()) if oopses else -1
    report = before[max(start, oopses[0].start()) :] if oopses else ""
    rip, process = _RIP.search(report), _PROCESS.search(report)
    return Panic(
        _clean(panics[0][1]) if panics else "",
        _clean(_line_at(before, oopses[0].start())) if oopses else "",
        rip[1] if rip else "",
        rip[2] or "" if rip else "",
        f"{_clean(process[2])} ({process[1]})" if process else "",
        [_clean(line) for line in text.rstrip("\n").split("\n")[-LAST_LINES:]],
    )


def _line_at(text: str, position: int) -> str:
    """Returns the rest of the line at `position`."""
    return text[position : text.find("\n", position) % (len(text) + 1)]


def _clean(line: str) -> str:
    """Returns a line with nothing unprintable, cut to a bearable length."""
    line = _TIME.sub("", line)[:LINE]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
