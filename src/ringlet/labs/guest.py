"""One run of a student's guest in a machine of the grader's, and what its vCPU was like.

The guest says where it is by a write of a number to the port CHECKPOINT. The grader's device at
this port takes down the vCPU's registers on the vCPU's thread, while the guest waits at its OUT.
The guest chooses when the grader looks, and has no say in what the grader sees.
"""

from __future__ import annotations

from typing import NamedTuple

from ringlet.errors import RingletError
from ringlet.host.printable import printable
from ringlet.labs.check import Failed
from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.kvm.registers import Registers, SpecialRegisters
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.machine.result import Result

CHECKPOINT = 0xE9  # a port that no device of ringlet's has
SECONDS = 3.0
_MOST = 64  # checkpoints that are kept


class Snapshot(NamedTuple):
    """The vCPU at a checkpoint."""

    registers: Registers
    special: SpecialRegisters


class Run(NamedTuple):
    """How a run of a guest ended, its first visit to each checkpoint, and its memory at the end."""

    end: str  # in words
    status: int | None  # what the guest wrote to the exit port; None if the guest didn't
    snapshots: dict[int, Snapshot]
    memory: bytes

    def at(self, number: int) -> Snapshot:
        """Returns the vCPU at a checkpoint. Raises `Failed` if the guest wasn't there."""
        if number not in self.snapshots:
            raise Failed(f"the guest never came to checkpoint {number}; {self.end}")
        return self.snapshots[number]


class Checkpoints:
    """The device at the port CHECKPOINT."""

    state: dict[str, int]

    def __init__(self) -> None:
        self.vcpu: Vcpu | None = None
        self.snapshots: dict[int, Snapshot] = {}
        self.state = {}

    def read(self, offset: int, size: int) -> int:
        """Answers as an empty bus does."""
        return 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        """Takes down the vCPU, at the first visit."""
        assert self.vcpu is not None
        if value not in self.snapshots and len(self.snapshots) < _MOST:
            self.snapshots[value] = Snapshot(self.vcpu.registers, self.vcpu.special_registers)


def boot(
    image: bytes,
    memory: int,
    protocol: str,
    *,
    cmdline: str = "",
    prepare: Callable[[Machine], object] | None = None,
) -> Run:
    """Boots `image`, a student's guest, and returns what was seen. Raises `Failed` for no image.

    `prepare` gets the machine before the run, to add devices of the grader's.
    """
    checkpoints = Checkpoints()
    try:
        config = MachineConfig(
            image=image,
            memory=memory,
            protocol=protocol,
            cmdline=cmdline,
            serial="none",  # a guest's words don't count
            timeout=SECONDS,
        )
        with Machine(config) as machine:
            checkpoints.vcpu = machine.vm.vcpus[0]
            machine.add_port_device(CHECKPOINT, 1, checkpoints)
            if prepare is not None:
                prepare(machine)
            result = machine.run()
            content = machine.memory.read(0, memory)
    except RingletError as error:
        raise Failed(error.message, error.hint) from None
    status = result.status if result.reason == "exit-port" else None
    return Run(words(result), status, checkpoints.snapshots, content)


def words(result: Result, seconds: float = SECONDS) -> str:
    """Returns how a run of at most `seconds` ended, as a clause."""
    if result.reason == "exit-port":
        return f"it ended with status {result.status}"
    if result.reason == "timeout":
        return f"it ran for {seconds:.3g} seconds, and was ended"
    if result.crash is not None:
        return f"it crashed: {printable(result.crash.lines()[0])}"
    return f"its run ended: {result.reason}"
