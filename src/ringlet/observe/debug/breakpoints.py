"""Breakpoints and watchpoints: what to stop at.

A software breakpoint is an `int3` in the guest's memory while the guest runs. The `int3` is put
into the guest-physical memory just before the vCPUs go on, and is taken out as soon as they have
stopped. So memory that is looked at meanwhile is the guest's own, each linear address of the same
memory has the breakpoint, and what the guest has written over the breakpoint is kept.

A hardware breakpoint or a watchpoint takes one debug register or several, the same on each vCPU.
Where KVM has no watchpoints, a guarded range takes the place of one: the guest may not write to its
page, so each write to the page is an exit, and ringlet does the write.

A KVM that emulates the processor may not tell of an `int3`. Every KVM tells of a write to a port.
So there, `out %al, $TRAP_PORT` stands for a breakpoint. It takes two bytes, and works in ring 0
alone; ring 3 would get an exception. So the debug registers come first there, if KVM has them. An
instruction of one byte gets a debug register, since the guest may jump to the next instruction; the
first instruction of a function, such as `push %rbp`, may do without one.
"""

from __future__ import annotations

from ringlet.errors import RingletError
from ringlet.kvm.memory import PAGE, GuestMemoryError
from ringlet.observe.debug.debug_registers import COUNT, EXECUTE, NoDebugRegisterError, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringlet.kvm.memory import GuestMemory

INT3 = b"\xcc"
# No PC has a device at these ports; the guest may still write to them. The second port is that of
# a trap whose second byte is the first byte of another trap.
TRAP_PORTS = (0xE5, 0xE6)
PORT_TRAP = bytes([0xE6, TRAP_PORTS[0]])  # out %al, $TRAP_PORT (Intel SDM volume 2, OUT)


class Breakpoints:
    """The breakpoints and watchpoints of a guest. The caller serializes all calls.

    A software breakpoint is `trap` in memory, INT3 or PORT_TRAP; with `in_registers`, those that
    find a debug register free are hardware breakpoints instead.
    """

    def __init__(self, memory: GuestMemory, trap: bytes, *, in_registers: bool = False) -> None:
        self._memory = memory
        self.trap = trap
        self._in_registers = in_registers
        # Linear address to the guest-physical address of each byte; none for one that has a
        # debug register.
        self._places: dict[int, tuple[int, ...]] = {}
        self._planted: dict[int, tuple[int, int]] = {}  # physical to byte planted, guest's own byte
        self._starts: set[int] = set()  # where a planted breakpoint begins
        self._hardware: list[Watch] = []  # hardware breakpoints and watchpoints
        # Linear address and size of each guarded range, with the parts of it in physical memory:
        # address and size.
        self._guarded: dict[tuple[int, int], list[tuple[int, int]]] = {}

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
        needed = self._needed()
        return needed + self._spare(needed)

    def _needed(self) -> list[Watch]:
        """Returns what has to have a debug register."""
        short = [Watch(each, 1, EXECUTE) for each, places in self._places.items() if not places]
        return list(dict.fromkeys([*self._hardware, *short]))

    def _spare(self, needed: list[Watch]) -> list[Watch]:
        """Returns the software breakpoints that take the debug registers that are left."""
        if not self._in_registers:
            return []
        others = [Watch(address, 1, EXECUTE) for address in self._places]
        return [each for each in others if each not in needed][: COUNT - len(needed)]

    def _planned(self) -> dict[int, tuple[int, ...]]:
        """Returns the breakpoints that stand in memory while the guest runs, with their places."""
        in_registers = {each.address for each in self.watches if each.condition == EXECUTE}
        return {
            address: places
            for address, places in self._places.items()
            if places and not (self._in_registers and address in in_registers)
        }

    @property
    def has_traps(self) -> bool:
        """Whether some breakpoint stands in memory while the guest runs."""
        return bool(self._planned())

    def covers(self, address: int) -> bool:
        """Whether the instruction at a linear address can't run while the guest's others do."""
        size = len(self.trap)
        return address in self or any(0 <= address - each < size for each in self._planned())

    def add(self, address: int, places: Sequence[int | None]) -> None:
        """Adds a software breakpoint at a linear address.

        `places` are the guest-physical addresses of the bytes that the trap takes, None where no
        page is mapped. If there are none, the breakpoint takes a debug register. Raises
        `RingletError` if no memory or no register is there.
        """
        hint = "a hardware breakpoint needs no memory, and waits for code that comes later"
        found: list[int] = []
        for linear, physical in enumerate(places, address):
            if physical is None:
                raise RingletError(f"no page is mapped at {linear:#x}", hint)
            try:
                self._memory.read(physical, 1)
            except GuestMemoryError as error:
                raise RingletError(
                    f"{linear:#x} lies at the guest-physical address {physical:#x}, where no RAM "
                    "is",
                    hint,
                ) from error
            found.append(physical)
        before = self._places.pop(address, None)
        if not found and len({*self._needed(), Watch(address, 1, EXECUTE)}) > COUNT:
            if before is not None:
                self._places[address] = before
            raise NoDebugRegisterError
        self._places[address] = tuple(found)

    def remove(self, address: int) -> None:
        """Removes the software breakpoint at a linear address, if there is one."""
        self._places.pop(address, None)

    def add_hardware(self, watches: Iterable[Watch]) -> None:
        """Adds hardware breakpoints and watchpoints.

        Raises `NoDebugRegisterError`, and adds none, if the registers are not enough.
        """
        new = [each for each in watches if each not in self._hardware]
        if len({*self._needed(), *new}) > COUNT:
            raise NoDebugRegisterError
        self._hardware += new

    def remove_hardware(self, watches: Iterable[Watch]) -> None:
        """Removes hardware breakpoints and watchpoints, as many of these as there are."""
        gone = set(watches)
        self._hardware = [each for each in self._hardware if each not in gone]

    def guard(self, address: int, size: int, parts: list[tuple[int, int]]) -> None:
        """Guards a range at a linear address; `parts` are physical addresses and sizes.

        Raises `GuestMemoryError` where no memory is.
        """
        for physical, length in parts:
            self._memory.read(physical, length)
        self._guarded[address, size] = parts

    def unguard(self, address: int, size: int) -> None:
        """Ends the guard of a range, if there is one."""
        self._guarded.pop((address, size), None)

    def clear_guards(self) -> None:
        """Ends the guard of all ranges. A vCPU's thread may call this while others look."""
        self._guarded = {}

    @property
    def guarded_pages(self) -> set[int]:
        """The guest-physical addresses of the pages that the guest may not write to."""
        return {
            page
            for parts in self._guarded.values()
            for physical, size in parts
            for page in range(physical - physical % PAGE, physical + size, PAGE)
        }

    def guarded_by(self, physical: int, size: int) -> int | None:
        """Returns the linear address of the guarded range that a write meets, or None."""
        for (address, _), parts in self._guarded.items():
            if any(at < physical + size and physical < at + length for at, length in parts):
                return address
        return None

    def clear(self) -> None:
        """Removes all breakpoints and watchpoints."""
        self._places.clear()
        self._hardware.clear()
        self._guarded.clear()

    def is_planted(self, physical: int | None) -> bool:
        """Returns whether a breakpoint is planted at a guest-physical address."""
        return physical in self._starts

    def plant(self, places: Iterable[tuple[int, ...]] | None = None) -> None:
        """Puts each breakpoint into memory, or instead traps at these guest-physical places.

        Raises `GuestMemoryError` for a place without memory.
        """
        planned = list(self._planned().values() if places is None else places)
        self._starts = {each[0] for each in planned}
        for each in planned:
            for physical, byte in zip(each, self.trap, strict=True):
                if physical in self._planted or (physical != each[0] and physical in self._starts):
                    continue  # another one begins here
                self._planted[physical] = byte, self._memory.read(physical, 1)[0]
                self._memory.write(physical, bytes([byte]))

    def lift(self) -> None:
        """Takes each breakpoint out of memory, except where the guest has written meanwhile."""
        for physical, (byte, own) in self._planted.items():
            if self._memory.read(physical, 1)[0] == byte:
                self._memory.write(physical, bytes([own]))
        self._planted.clear()
        self._starts.clear()
