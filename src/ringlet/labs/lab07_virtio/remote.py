"""The student's device, which runs in a container and has a machine here around it.

Each access to a register goes to the device through a pipe, and each access of the device to the
guest's memory comes back through another. So the device can do nothing but what a device can do.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import NamedTuple

from ringlet.labs.check import Failed
from ringlet.labs.program import PYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from ringlet.labs.program import Program
    from ringlet.labs.work import Work

    class Memory(Protocol):
        """The guest's memory, as ringlet's machine has it, and as a driver of the grader's."""

        def has(self, address: int, size: int) -> bool:
            """Returns whether all these bytes are memory."""

        def read(self, address: int, size: int) -> bytes:
            """Returns a copy of bytes."""

        def write(self, address: int, data: bytes) -> None:
            """Writes bytes."""


_MOST = 20 << 10  # bytes of guest memory that the device gets at once
# The other end, in the container. What the device prints goes to standard error.
_OTHER_END = """
import os, sys, traceback
def complain(kind, error, trace):
    traceback.print_exception(kind, error, trace)
    places = [one for one in traceback.extract_tb(trace) if one.filename.endswith("device.py")]
    if places:
        print(f"{kind.__name__}: {error} (device.py, line {places[-1].lineno})", file=sys.stderr)
sys.excepthook = complain
calls = open(0, "rb", buffering=0, closefd=False)
answers = os.dup(1)
os.dup2(2, 1)
pending = b""
def say(*words):
    os.write(answers, " ".join(map(str, words)).encode() + b"\\n")
def hear():
    global pending
    while b"\\n" not in pending:
        data = os.read(0, 65536)
        if not data:
            os._exit(0)
        pending += data
    line, pending = pending.split(b"\\n", 1)
    return line.decode().split(" ")
class Memory:
    def read(self, address, size):
        say("get", int(address), int(size))
        answer = hear()
        if answer[0] != "ok":
            raise IndexError(f"the guest has no {size} bytes of memory at {address:#x}")
        return bytes.fromhex(answer[1])
    def write(self, address, data):
        say("put", int(address), bytes(data).hex())
        if hear()[0] != "ok":
            raise IndexError(f"the guest has no {len(data)} bytes of memory at {address:#x}")
sys.path.insert(0, "/work")
from device import Disk
with open("content", "rb") as file:
    disk = Disk(Memory(), lambda: say("irq"), bytearray(file.read()))
say("done", 0)
while True:
    call = hear()
    if call[0] == "read":
        say("done", int(disk.read(int(call[1]))))
    else:
        disk.write(int(call[1]), int(call[2]))
        say("done", 0)
"""


class Access(NamedTuple):
    """What the device wrote to guest memory."""

    address: int
    data: bytes

    def touches(self, address: int, size: int) -> bool:
        """Whether it wrote to one of these bytes."""
        return self.address < address + size and address < self.address + len(self.data)


class Remote:
    """The student's device.

    writes      what it wrote to guest memory, in order
    interrupts  how often it interrupted
    """

    def __init__(self, program: Program) -> None:
        self.memory: Memory | None = None
        self.interrupt: Callable[[], object] = lambda: None
        self.writes: list[Access] = []
        self.interrupts = 0
        self._program = program
        self._answer()  # the device is made

    def read(self, offset: int) -> int:
        """Returns what the register at `offset` has."""
        self._program.send(b"read %d\n" % offset)
        return self._answer()

    def write(self, offset: int, value: int) -> None:
        """Writes a register."""
        self._program.send(b"write %d %d\n" % (offset, value))
        self._answer()

    def _answer(self) -> int:
        while True:
            match self._line():
                case ["done", value]:
                    return _number(value) & 0xFFFF_FFFF
                case ["irq"]:
                    self.interrupts += 1
                    self.interrupt()
                case ["get", address, size]:
                    self._send(self._get(_number(address), _number(size)))
                case ["put", address, *data]:
                    self._send(self._put(_number(address), "".join(data)))
                case _:
                    raise Failed("the device sent something else than accesses")

    def _get(self, address: int, size: int) -> bytes:
        if self.memory is None or not self.memory.has(address, size) or size > _MOST:
            return b"no"
        return b"ok " + self.memory.read(address, size).hex().encode()

    def _put(self, address: int, text: str) -> bytes:
        try:
            data = bytes.fromhex(text)
        except ValueError:
            raise Failed("the device sent something else than accesses") from None
        if self.memory is None or not self.memory.has(address, len(data)):
            return b"no"
        self.memory.write(address, data)
        self.writes.append(Access(address, data))
        return b"ok"

    def _send(self, line: bytes) -> None:
        self._program.send(line + b"\n")

    def _line(self) -> list[str]:
        output = self._program.output
        if not self._program.wait_until(lambda: b"\n" in output):
            if self._program.has_ended:
                raise Failed(f"the device ended: {self._program.finish().complaint}")
            raise Failed("the device didn't come back from an access")
        line, _, rest = output.partition(b"\n")
        output[:] = rest  # the limit is for what isn't read yet
        return line.decode("ascii", errors="replace").split(" ")


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 20:
        raise Failed("the device used a negative number, or one of more than 64 bits")
    return int(text)


@contextmanager
def connected(work: Work, content: bytes) -> Iterator[Remote]:
    """Yields the student's device, with a disk of this content."""
    files = {"grader.py": _OTHER_END.encode(), "content": content}
    with work.program(PYTHON, "grader.py", files=files) as program:
        yield Remote(program)
