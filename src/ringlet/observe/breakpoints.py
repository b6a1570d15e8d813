"""Breakpoints and watchpoints: what to stop at.

A software breakpoint is an `int3` in the guest's memory while the guest runs. The `int3` is put
into the guest-physical memory just before the vCPUs go on, and is taken out as soon as they have
stopped. So memory that is looked at meanwhile is the guest's own, each linear address of the same
memory has the breakpoint, and what the guest has written over the breakpoint is kept.

A hardware breakpoint or a watchpoint takes one debug register or several, the same on each vCPU.
"""

from __future__ import annotations

from ringlet.errors import RingletError
from ringlet.kvm.memory import GuestMemoryError
from ringlet.observe.debug_registers import COUNT, EXECUTE, NoDebugRegisterError, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringlet.kvm.memory import GuestMemory

INT3 = b"\xcc"


class Breakpoints:
    """The breakpoints and watchpoints of a guest. The caller serializes all calls."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self._places: dict[int, int] = {}  # linear address to guest-physical address
        self._planted: dict[int, bytes] = {}  # guest-physical address to the guest's own byte
        self.watches: list[Watch] = []  # what the debug registers look for, in their order

    def __contains__(self, address: int) -> bool:
        """Whether a breakpoint is at a linear address."""
        return address in self._places or Watch(address, 1, EXECUTE) in self.watches

    @property
    def has_software(self) -> bool:
        """Whether there is a software breakpoint."""
        return bool(self._places)

    @property
    def software(self) -> list[int]:
        """The linear addresses of all software breakpoints."""
        return sorted(self._places)

    def add(self, address: int, physical: int | None) -> None:
        """Adds a software breakpoint at a linear address, which is at `physical`; None if nowhere.

        Raises `RingletError` if there is no memory.
        """
        hint = "a hardware breakpoint needs no memory, and waits for code that comes later"
        if physical is None:
            raise RingletError(f"no page is mapped at {address:#x}", hint)
        try:
            self._memory.read(physical, 1)
        except GuestMemoryError as error:
            raise RingletError(
                f"{address:#x} lies at the guest-physical address {physical:#x}, where no RAM is",
                hint,
            ) from error
        self._places[address] = physical

    def remove(self, address: int) -> None:
        """Removes the software breakpoint at a linear address, if there is one."""
        self._places.pop(address, None)

    def add_watches(self, watches: Iterable[Watch]) -> None:
        """Adds hardware breakpoints and watchpoints.

        Raises `NoDebugRegisterError`, and adds none, if the registers are not enough.
        """
        new = [each for each in watches if each not in self.watches]
        if len(self.watches) + len(new) > COUNT:
            raise NoDebugRegisterError
        self.watches = [*self.watches, *new]

    def remove_watches(self, watches: Iterable[Watch]) -> None:
        """Removes hardware breakpoints and watchpoints, as many of these as there are."""
        gone = set(watches)
        self.watches = [each for each in self.watches if each not in gone]

    def clear(self) -> None:
        """Removes all breakpoints and watchpoints."""
        self._places.clear()
        self.watches = []

    def is_planted(self, physical: int | None) -> bool:
        """Returns whether the `int3` at a guest-physical address is a breakpoint's."""
        return physical in self._planted

    def plant(self) -> None:
        """Puts each breakpoint into memory."""
        for physical in set(self._places.values()):
            self._planted[physical] = self._memory.read(physical, 1)
            self._memory.write(physical, INT3)

    def lift(self) -> None:
        """Takes each breakpoint out of memory, except where the guest has written meanwhile."""
        for physical, own in self._planted.items():
            if self._memory.read(physical, 1) == INT3:
                self._memory.write(physical, own)
        self._planted.clear()
