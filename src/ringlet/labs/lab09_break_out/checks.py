"""The checks of lab 9: escapes from the grader's containers, attacks on the student's, and a VM.

The host is the grader's container. Its secret is a file of random words that a check makes. An
escape has to print the secret. The student's container is looked at from outside, in /proc of the
real host: its namespaces, mounts, capabilities and descriptors, and what the attack could open.

Source: capabilities(7), chroot(2), namespaces(7), pivot_root(2), proc_pid_fd(5), proc_pid_root(5).
"""

from __future__ import annotations

import os
import random
import secrets
import stat
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from ringlet.errors import RingletError
from ringlet.host.printable import printable
from ringlet.labs import process
from ringlet.labs.check import ANY_KVM, NO_KVM, Check, Failed
from ringlet.labs.guest import CHECKPOINT, words
from ringlet.labs.lab09_break_out.containers import ATTACK, ATTACKED, HOLES, OPEN, READY
from ringlet.labs.program import PYTHON, WORK
from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.labs.program import Program
    from ringlet.labs.work import Work

_SECRET = f"{WORK}/secret"
_FOR_ESCAPE, _FOR_ATTACK = 1.5, 2  # times the usual patience: Python starts twice, or more
_MOST = 100  # bytes of a file that are compared with the secret
_MEMORY = 0x80000  # of the guest
_BUILD = (
    "sh",
    "-c",
    "gcc -c -Wa,-mx86-used-note=no guest.S -o /tmp/guest.o >&2 && "
    "ld -N -Ttext=0x7c00 -e 0x7c00 --oformat binary /tmp/guest.o -o /tmp/guest.bin >&2 && "
    "cat /tmp/guest.bin",
)
_MAX_IMAGE = 64 << 10
_PORT = 0x510
_PART = 16  # bytes of the device's message, and of the secret behind it
_MOST_OUTPUT = 1000  # bytes of the guest's that are kept

_random = random.SystemRandom()


# Step 1: out of the grader's containers.


def escapes(hole: str, work: Work) -> str:
    """The student's program prints the secret, from within a container with one hole."""
    secret = secrets.token_hex(16)
    files = {"open.py": OPEN.encode(), "secret": secret.encode()}
    command = (PYTHON, "-I", "open.py", hole, "escape.py", _SECRET)
    seconds = _FOR_ESCAPE * work.patience
    with work.program(*command, files=files, nesting=True, seconds=seconds) as program:
        program.end_input()
        end = program.finish()
    if end.output.strip() != secret.encode():
        if secret.encode() in end.output:
            hint = "the secret alone belongs on standard output: print the rest to sys.stderr"
            raise Failed("the program printed the secret, and something else, too", hint)
        said = printable(end.output.strip()[:40]) if end.output.strip() else "nothing"
        raise Failed(f"the program printed {said}: {end.complaint}")
    return f"the program printed the secret, {secret}"


# Step 2: the student's container.


class Seen(NamedTuple):
    """What was seen of the attack in the student's container: what is wrong, as clauses.

    got_out  whether the attack has opened the secret
    """

    descriptors: list[str]
    processes: list[str]
    root: list[str]
    capabilities: list[str]
    got_out: bool


def _attacked(work: Work) -> Seen:
    secret = secrets.token_hex(16)
    mark, numbers = secrets.token_hex(8), [secrets.randbits(64) for _ in range(2)]
    files = {"attack.py": ATTACK.encode(), "secret": secret.encode()}
    command = (PYTHON, "box.py", "attack.py", _SECRET, mark)
    seconds = _FOR_ATTACK * work.patience
    with work.program(*command, files=files, nesting=True, seconds=seconds) as program:
        pid = _find(program, mark)
        try:
            seen = Seen(
                _wrong_descriptors(pid),
                _wrong_processes(program, pid),
                _wrong_root(program, pid),
                _wrong_capabilities(pid),
                got_out=False,
            )
        except (OSError, LookupError):
            raise Failed("the program in the container ended while the grader looked") from None
        program.send(b"%x\n" % numbers[0])
        if not program.wait_until(lambda: process.status(pid).get("Name") == ATTACKED):
            raise Failed("the program in the container didn't come to its end")
        got_out = any(secret.encode() in data for data in _opened(pid))
        program.send(b"%x\n" % numbers[1])
        end = program.finish()
    if end.output.strip() != b"%d" % (numbers[0] * numbers[1]):
        raise Failed(f"the program in the container gave no answer: {end.complaint}")
    return seen._replace(got_out=got_out)


def _find(program: Program, mark: str) -> int:
    """Waits for the attack to run in the container, and to wait. Returns its process."""
    found: list[int] = []

    def is_ready() -> bool:
        found[:] = [
            pid
            for pid in process.descendants(program.pid)
            if process.command_line(pid)[1:] == ["/program.py", _SECRET, mark]
            and process.status(pid).get("Name") == READY
        ]
        return bool(found)

    if not program.wait_until(lambda: is_ready() or program.has_ended) or not found:
        program.end_input()
        raise Failed(f"a program never ran in the container: {program.finish().complaint}")
    return found[0]


def _wrong_descriptors(pid: int) -> list[str]:
    return [
        f"descriptor {name} is open: {printable(os.readlink(f'/proc/{pid}/fd/{name}'))}"
        for name in os.listdir(f"/proc/{pid}/fd")
        if int(name) > 2
    ]


def _wrong_processes(program: Program, pid: int) -> list[str]:
    own = process.namespaces(pid)["pid"]
    if own == program.namespaces["pid"]:
        return ["the PID namespace is the host's"]
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(f"/proc/{pid}/root/proc", flags)
    except OSError:
        return []  # no /proc shows no process
    try:
        shown = {name for name in os.listdir(folder) if name.isdigit()}
    finally:
        os.close(folder)
    inside = {
        process.status(one).get("NSpid", "").split()[-1]
        for one in process.descendants(program.pid)
        if process.namespaces(one).get("pid") == own
    }
    return [f"/proc shows {len(shown)} processes, and {len(inside)} are inside"] * (shown != inside)


def _wrong_root(program: Program, pid: int) -> list[str]:
    if process.namespaces(pid)["mnt"] == program.namespaces["mnt"]:
        return ["the mount namespace is the host's"]
    wrong = [
        f"the host's root is mounted at {printable(mount.at)}"
        for mount in process.mounts(pid)
        if mount.device == program.root_device
    ]
    _, device = process.look_inside(pid)
    if device == program.root_device:
        wrong.append("the root of the mount namespace is the host's: this is a chroot")
    return wrong


def _wrong_capabilities(pid: int) -> list[str]:
    status = process.status(pid)
    names = ("CapEff", "CapPrm", "CapBnd")
    return [f"{name} is {status[name]}" for name in names if int(status[name], 16)]


def _opened(pid: int) -> Iterator[bytes]:
    """Yields the beginning of each file that the attack has open."""
    for one in process.descendants(pid):
        for fd in range(3, 256):
            data = b""
            with suppress(OSError):
                data = _beginning(f"/proc/{one}/fd/{fd}")
            yield data


def _beginning(name: str) -> bytes:
    """Returns the beginning of a file, and nothing of what is no file."""
    place = os.open(name, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return b""
        with open(f"/proc/self/fd/{place}", "rb") as file:
            return file.read(_MOST)
    finally:
        os.close(place)


def closes_descriptors(work: Work) -> str:
    """A program in the container has its standard streams, and no other descriptor."""
    _require(work.once(_attacked, work).descriptors)
    return "no descriptor but the standard streams"


def hides_processes(work: Work) -> str:
    """A program in the container sees the container's processes alone."""
    _require(work.once(_attacked, work).processes)
    return "a PID namespace, and no other process in /proc"


def leaves_the_root(work: Work) -> str:
    """The host's root is mounted nowhere in the container, and the attack gets nothing."""
    seen = work.once(_attacked, work)
    _require(seen.root)
    if seen.got_out and not (seen.descriptors or seen.processes or seen.capabilities):
        raise Failed("the grader's attack got out, and read the secret")
    return "the host's root is mounted nowhere, and the attack found no way"


def gives_up_rights(work: Work) -> str:
    """A program in the container has no capability, and can get none."""
    _require(work.once(_attacked, work).capabilities)
    return "CapEff, CapPrm and CapBnd are 0"


def _require(wrong: list[str]) -> None:
    if wrong:
        raise Failed("; ".join(wrong[:3]))


# Step 3: a VM.


class _Console:
    """The port that the guest writes to."""

    state: dict[str, int]

    def __init__(self) -> None:
        self.output = bytearray()
        self.state = {}

    def read(self, offset: int, size: int) -> int:
        return 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        if len(self.output) < _MOST_OUTPUT:
            self.output.append(value & 0xFF)


class _Behind:
    """What answers where the guest has no memory."""

    state: dict[str, int]

    def __init__(self, answer: int) -> None:
        self.answer = answer
        self.reads = 0
        self.state = {}

    def read(self, offset: int, size: int) -> int:
        self.reads += 1
        return self.answer if offset == 0 else 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        pass


class _OpenDevice:
    """A device that checks no index, with a secret of the host behind its message."""

    state: dict[str, int]

    def __init__(self, secret: bytes) -> None:
        self._memory = _random.randbytes(_PART) + secret
        self._index = 0
        self.state = {}

    def read(self, offset: int, size: int) -> int:
        return self._memory[self._index % len(self._memory)]

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self._index = value


class Tried(NamedTuple):
    """One run of the student's guest: what it wrote to the console, and how it ended."""

    output: bytes
    reads: int
    answer: int
    secret: bytes
    end: str


def _guest(work: Work) -> Tried:
    image = work.build(*_BUILD, most=_MAX_IMAGE)
    answer, secret = _random.randrange(1, 0x100), _random.randbytes(_PART)
    behind, console = _Behind(answer), _Console()
    try:
        config = MachineConfig(
            image=image, memory=_MEMORY, protocol="flat", serial="none", timeout=work.patience
        )
        with Machine(config) as machine:
            machine.add_port_device(CHECKPOINT, 1, console)
            machine.add_port_device(_PORT, 2, _OpenDevice(secret))
            machine.add_mmio_device(_MEMORY, 0x1000, behind)
            result = machine.run()
    except RingletError as error:
        raise Failed(error.message, error.hint) from None
    return Tried(bytes(console.output), behind.reads, answer, secret, words(result, work.patience))


def finds_nothing_behind_its_memory(work: Work) -> str:
    """A read behind the guest's memory is an exit, and the guest gets the VMM's answer."""
    tried = work.once(_guest, work)
    if not tried.reads:
        raise Failed(f"the guest read nothing at {_MEMORY:#x}; {tried.end}")
    if tried.answer not in tried.output.replace(tried.secret, b""):
        raise Failed(f"the guest didn't write the answer to port {CHECKPOINT:#x}; {tried.end}")
    return f"the read was an exit, and the guest got the VMM's answer, {tried.answer:#04x}"


def escapes_through_the_device(work: Work) -> str:
    """The guest writes the host's secret, which only the open device could give."""
    tried = work.once(_guest, work)
    if tried.secret not in tried.output:
        got = f"{len(tried.output)} bytes came to port {CHECKPOINT:#x}, without the secret"
        raise Failed(f"{got}; {tried.end}")
    return f"the guest wrote the secret, {tried.secret.hex(' ', 4)}"


_EXPECTED = "the program, in a container with this hole alone, prints the secret of the host"
_HINTS = {
    "descriptor": "which descriptors has your process? A folder's descriptor is a beginning of "
    "paths: os.open has dir_fd",
    "process": "/proc/PID/root is the root of a process, and you may look at your own user's; if "
    "one process refuses, try the next",
    "mount": "/proc/self/mountinfo lists what is mounted; who may unmount, uncovers; if one "
    "unmount fails, try the next",
    "chroot": "a process whose working directory is outside of its root can climb: chroot to "
    "a folder below without chdir, then climb",
}
_NAMES = {
    "descriptor": "out by a descriptor",
    "process": "out by a process",
    "mount": "out by a mount",
    "chroot": "out of a chroot",
}

CHECKS = (
    *(
        Check(_NAMES[hole], 1, 10, _EXPECTED, _HINTS[hole], partial(escapes, hole), NO_KVM)
        for hole in HOLES
    ),
    Check(
        "no descriptor of the host",
        2,
        10,
        "a program in your container has the descriptors 0, 1 and 2 and no other",
        "close what you open, or don't make it inheritable",
        closes_descriptors,
        NO_KVM,
    ),
    Check(
        "no process of the host",
        2,
        10,
        "a PID namespace, and a /proc of this namespace",
        "CLONE_NEWPID before the fork, and a new proc in place of the host's",
        hides_processes,
        NO_KVM,
    ),
    Check(
        "no way to the host's root",
        2,
        10,
        "the host's root is mounted nowhere in the container, and the grader's attack gets nothing",
        "pivot_root in place of chroot, unmount the old root, and mount no folder of the host's "
        "root but what a program needs",
        leaves_the_root,
        NO_KVM,
    ),
    Check(
        "no rights",
        2,
        10,
        "CapEff, CapPrm and CapBnd of a program in your container are 0",
        "PR_CAPBSET_DROP for each capability from 0 to /proc/sys/kernel/cap_last_cap, directly "
        "before the exec",
        gives_up_rights,
        NO_KVM,
    ),
    Check(
        "behind the guest's memory",
        3,
        10,
        "the guest reads at 0x80000, which is an exit, and writes the answer to port 0xe9",
        "in real mode the address is segment * 16 + offset: DS = 0x8000, offset 0",
        finds_nothing_behind_its_memory,
        ANY_KVM,
    ),
    Check(
        "out by an open device",
        3,
        10,
        "the guest writes the 16 bytes of the secret to port 0xe9, in their order",
        "the device's message has 16 bytes, and the secret comes next: index 16 to 31",
        escapes_through_the_device,
        ANY_KVM,
    ),
)
