"""Memory that ringlet itself needs."""

import ctypes
import mmap
import sys
from array import array

from measure import QEMU_STATUS, RINGLET, Row, guest, qemu, run

from ringlet.kvm.memory import GuestMemory
from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine

ROUNDS = 5

# A program's ru_maxrss begins with what its parent had at the exec, so the parent is a small one.
PEAK = """
import os, sys
with open(os.devnull, "r+b") as null:
    actions = [(os.POSIX_SPAWN_DUP2, null.fileno(), fd) for fd in (0, 1)]
    pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=actions)
_, status, usage = os.wait4(pid, 0)
if os.waitstatus_to_exitcode(status) != int(sys.argv[1]):
    sys.exit(f"{sys.argv[2]}: wait status {status}")
print(usage.ru_maxrss)
"""


def _peak(command: list[str], status: int = 0) -> float:
    """MiB that were resident at the most."""
    helper = [sys.executable, "-I", "-S", "-c", PEAK, str(status)]
    return int(run([*helper, *command])) / 1024


def _resident(memory: GuestMemory) -> float:
    """MiB of the guest's memory that are there: present (bit 63) or swapped (62) in pagemap.

    Source: Linux, Documentation/admin-guide/mm/pagemap.rst.
    """
    pages = 0
    for region in memory.regions:
        first = ctypes.addressof(ctypes.c_char.from_buffer(region.view)) // mmap.PAGESIZE
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            pagemap.seek(8 * first)
            entries = array("Q", pagemap.read(8 * (region.size // mmap.PAGESIZE)))
        pages += sum(entry >> 62 != 0 for entry in entries)
    return pages * mmap.PAGESIZE / (1 << 20)


def measure() -> list[Row]:
    """The peak of `ringlet boot hello`, less what its guest touched: at most 18 MiB.

    Resident memory, as the kernel counts it for the process: shared libraries in full, KVM's own
    not. The guest's pages are counted in another machine that has run the same image.
    """
    with Machine(MachineConfig(image="hello", serial="none")) as machine:
        machine.run()
        guest_own = _resident(machine.memory)
    ours: list[float] = []
    theirs: list[float] = []
    command = qemu(guest("hello"))
    for _ in range(ROUNDS):
        ours.append(_peak([RINGLET, "boot", "hello"]) - guest_own)
        if command is not None:
            theirs.append(_peak(command, QEMU_STATUS) - guest_own)
    rows = [Row("peak, less the guest's own", "MiB", ours, limit=18)]
    if theirs:
        rows.append(Row("", "MiB", ours, "QEMU", theirs))
    return [*rows, Row("the guest's own", "MiB", [guest_own])]
