"""Breakpoints and watchpoints: what to stop at.

A software breakpoint is an `int3` in the guest's memory while the guest runs. The `int3` is put
into the guest-physical memory just before the vCPUs go on, and is taken out as soon as they have
stopped. So memory that is looked at meanwhile is the guest's own, each linear address of the same
memory has the breakpoint, and what the guest has written over the breakpoint is kept.

A hardware breakpoint or a watchpoint takes one debug register or several, the same on each vCPU.

Where KVM emulates ring 0, only protected and long mode tell of an `int3`; in real mode, the guest
would take it for its own. There, software breakpoints take the debug registers that are left, first
those in the first MiB, which real mode may run; the others are an `int3`.
"""

from __future__ import annotations

from ringlet.board.layout import MIB
from ringlet.errors import RingletError
from ringlet.kvm.memory import GuestMemoryError
from ringlet.observe.debug_registers import COUNT, EXECUTE, NoDebugRegisterError, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringlet.kvm.memory import GuestMemory

INT3 = b"\xcc"


class Breakpoints:
    """The breakpoints and watchpoints of a guest. The caller serializes all calls.

    With `weak_traps`, an `int3` is a breakpoint in protected and long mode only.
    """

    def __init__(self, memory: GuestMemory, *, weak_traps: bool) -> None:
        self._memory = memory
        self._weak_traps = weak_traps
        self._places: dict[int, int] = {}  # linear address to guest-physical address
        self._planted: dict[int, bytes] = {}  # guest-physical address to the guest's own byte
        self._hardware: list[Watch] = []  # hardware breakpoints and watchpoints

    def __contains__(self, address: int) -> bool:
        """Whether a breakpoint is at a linear address."""
        return address in self._places or Watch(address, 1, EXECUTE) in self._hardware

    @property
    def software(self) -> list[int]:
        """The linear addresses of all software breakpoints."""
        return sorted(self._places)

    @property
    def hardware(self) -> list[Watch]:
        """All hardware breakpoints and watchpoints."""
        return list(self._hardware)

    @property
    def watches(self) -> list[Watch]:
        """What the debug registers look for, in their order."""
        return [*self._hardware, *(Watch(each, 1, EXECUTE) for each in self._in_registers())]

    @property
    def has_traps(self) -> bool:
        """Whether some breakpoint is an `int3`."""
        return len(self._places) > len(self._in_registers())

    def _in_registers(self) -> list[int]:
        """Returns the software breakpoints that take debug registers."""
        if not self._weak_traps:
            return []
        return sorted(self._places)[: COUNT - len(self._hardware)]

    def add(self, address: int, physical: int | None) -> None:
        """Adds a software breakpoint at a linear address, which is at `physical`; None if nowhere.

        Raises `RingletError` if no memory is there, or if it would need a debug register.
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
        low = [each for each in {*self._places, address} if each < MIB]
        if self._weak_traps and len(low) > COUNT - len(self._hardware):
            raise NoDebugRegisterError
        self._places[address] = physical

    def remove(self, address: int) -> None:
        """Removes the software breakpoint at a linear address, if there is one."""
        self._places.pop(address, None)

    def add_hardware(self, watches: Iterable[Watch]) -> None:
        """Adds hardware breakpoints and watchpoints.

        Raises `NoDebugRegisterError`, and adds none, if the registers are not enough.
        """
        new = [each for each in watches if each not in self._hardware]
        low = sum(address < MIB for address in self._places) if self._weak_traps else 0
        if len(self._hardware) + len(new) + low > COUNT:
            raise NoDebugRegisterError
        self._hardware += new

    def remove_hardware(self, watches: Iterable[Watch]) -> None:
        """Removes hardware breakpoints and watchpoints, as many of these as there are."""
        gone = set(watches)
        self._hardware = [each for each in self._hardware if each not in gone]

    def clear(self) -> None:
        """Removes all breakpoints and watchpoints."""
        self._places.clear()
        self._hardware.clear()

    def is_planted(self, physical: int | None) -> bool:
        """Returns whether the `int3` at a guest-physical address is a breakpoint's."""
        return physical in self._planted

    def plant(self) -> None:
        """Puts each breakpoint that is an `int3` into memory."""
        traps = set(self._places) - set(self._in_registers())
        for physical in {self._places[address] for address in traps}:
            self._planted[physical] = self._memory.read(physical, 1)
            self._memory.write(physical, INT3)

    def lift(self) -> None:
        """Takes each breakpoint out of memory, except where the guest has written meanwhile."""
        for physical, own in self._planted.items():
            if self._memory.read(physical, 1) == INT3:
                self._memory.write(physical, own)
        self._planted.clear()
