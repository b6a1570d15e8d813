"""What a Linux console tells of a panic; the console is the guest's, so hostile."""

import re

from hypothesis import given
from hypothesis import strategies as st

from ringlet.linux.panic import LAST_LINES, LINE, find_panic

# From Debian's 6.1.0-41-cloud-amd64, whose init was killed by a module's fault.
OOPS = b"""\
[    1.810000] WARNING: CPU: 0 PID: 7 at kernel/other.c:1 innocent+0x5/0x10
[    1.810001] RIP: 0010:innocent+0x5/0x10
[    1.912345] BUG: kernel NULL pointer dereference, address: 0000000000000008\r
[    1.912346] #PF: supervisor write access in kernel mode\r
[    1.912347] #PF: error_code(0x0002) - not-present page\r
[    1.912348] PGD 0 P4D 0 \r
[    1.912349] Oops: 0002 [#1] PREEMPT SMP NOPTI\r
[    1.912350] CPU: 0 PID: 1 Comm: init Tainted: G           O       6.1.0-41-cloud-amd64 #1\r
[    1.912351] Hardware name:  , BIOS  \r
[    1.912352] RIP: 0010:break_things+0x13/0x20 [faulty]\r
[    1.912353] Code: 00 c7 04 25 08 00 00 00 01\r
[    1.912354] Call Trace:\r
[    1.912355]  <TASK>\r
[    1.912356] ---[ end trace 0000000000000000 ]---\r
[    1.912357] RIP: 0010:break_things+0x13/0x20 [faulty]\r
[    1.912358] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009\r
[    1.912359] Kernel Offset: disabled\r
[    1.912360] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---\r
"""
NO_ROOT = b"""\
[    0.81] VFS: Cannot open root device "(null)" or unknown-block(0,0): error -6
[    0.82] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
[    0.83] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 6.1.0-41-cloud-amd64 #1
"""


def test_a_panic_of_a_module_names_reason_function_module_and_process() -> None:
    panic = find_panic(OOPS)
    assert panic.reason == "Attempted to kill init! exitcode=0x00000009"
    assert panic.oops == "BUG: kernel NULL pointer dereference, address: 0000000000000008"
    assert (panic.function, panic.module) == ("break_things+0x13/0x20", "faulty")
    assert panic.process == "init (1)"
    assert panic.what() == (
        "the guest's kernel panicked: Attempted to kill init! exitcode=0x00000009; "
        "BUG: kernel NULL pointer dereference, address: 0000000000000008, "
        "in break_things+0x13/0x20 of the module faulty, process init (1)"
    )


def test_a_panic_without_a_fault_has_its_reason_alone() -> None:
    panic = find_panic(NO_ROOT)
    assert panic.what() == (
        "the guest's kernel panicked: VFS: Unable to mount root fs on unknown-block(0,0)"
    )


def test_a_warning_before_is_not_the_reason() -> None:
    panic = find_panic(OOPS[: OOPS.index(b"[    1.912345]")] + NO_ROOT)
    assert (panic.function, panic.module, panic.process) == ("", "", "")


def test_the_last_lines_are_the_consoles_last_ones_without_their_times() -> None:
    lines = find_panic(b"[    0.1] early\n" * 100 + OOPS).last_lines
    assert len(lines) == LAST_LINES
    assert lines[-1].startswith("---[ end Kernel panic")
    assert lines[-2] == "Kernel Offset: disabled"


def test_a_console_that_tells_of_no_panic() -> None:
    panic = find_panic(b"")
    assert panic.what() == "the guest's kernel panicked"


@given(
    st.lists(
        st.sampled_from(
            [b"BUG: ", b"Oops: ", b"RIP: 0010:", b"f+0x1/0x2", b" [m]", b"PID: 1 Comm: ", b"\n",
             b"Kernel panic - not syncing: ", b"\x1b[2J", b"\xff", b"\0", b"cut here", b"[ 1.2] "]
        )
        | st.binary(max_size=20),
        max_size=40,
    ).map(b"".join)
)  # fmt: skip
def test_nothing_of_the_console_can_write_escape_sequences(console: bytes) -> None:
    panic = find_panic(console)
    for text in (panic.what(), *panic.last_lines, *map(str, panic.as_json().values())):
        assert text.isprintable()
    assert len(panic.what()) < 4 * LINE * 10
    assert re.fullmatch(r"[\w.+/]*", panic.function)
