"""One run of a student's guest in a machine of the grader's, and each visit to CHECKPOINT.

Where `guest.boot` keeps the first visit to each checkpoint, this keeps all of them in their order,
and the lab says what is taken down.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from ringlet.errors import RingletError
from ringlet.labs.check import Failed
from ringlet.labs.guest import CHECKPOINT, words
from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_MOST = 1000  # visits that are kept


class Watched(NamedTuple, Generic[T]):
    """How a run ended, what was seen at each visit to a checkpoint, and the memory at the end."""

    end: str  # in words
    status: int | None  # what the guest wrote to the exit port; None if the guest didn't
    visits: list[T]
    memory: bytes


class _Visits(Generic[T]):
    """The device at the port CHECKPOINT."""

    state: dict[str, int]

    def __init__(self, look: Callable[[Machine, int], T]) -> None:
        self.machine: Machine | None = None
        self.seen: list[T] = []
        self.state = {}
        self._look = look

    def read(self, offset: int, size: int) -> int:
        return 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        assert self.machine is not None
        if len(self.seen) < _MOST:
            self.seen.append(self._look(self.machine, value))


def watch(
    image: bytes,
    look: Callable[[Machine, int], T],
    *,
    memory: int,
    seconds: float,
    protocol: str = "pvh",
    cmdline: str = "",
    module: bytes | None = None,
    fill: tuple[int, bytes] | None = None,
) -> Watched[T]:
    """Boots `image`, and returns what `look` returned for the machine and the checkpoint's number.

    The guest has `seconds`. `look` runs on the vCPU's thread. `module` is a file that the loader
    hands over. `fill` is an address, and what is in the guest's memory there before the run. Raises
    `Failed` for no image.
    """
    visits = _Visits(look)
    try:
        config = MachineConfig(
            image=image,
            memory=memory,
            protocol=protocol,
            cmdline=cmdline,
            initrd=module,
            serial="none",  # a guest's words don't count
            timeout=seconds,
        )
        with Machine(config) as machine:
            visits.machine = machine
            machine.add_port_device(CHECKPOINT, 1, visits)
            if fill is not None:
                machine.memory.write(*fill)
            result = machine.run()
            content = machine.memory.read(0, memory)
    except RingletError as error:
        raise Failed(error.message, error.hint) from None
    status = result.status if result.reason == "exit-port" else None
    return Watched(words(result, seconds), status, visits.seen, content)


def read_memory(machine: Machine, address: int, size: int) -> bytes:
    """Returns guest memory; fewer bytes, or none, where there is no memory."""
    top = machine.config.memory or 0
    if not 0 <= address < top:
        return b""
    return machine.memory.read(address, min(size, top - address))
