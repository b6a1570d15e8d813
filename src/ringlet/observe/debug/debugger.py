"""Debugs a machine from another thread: stops, steps, breakpoints, registers, memory.

    with Machine(MachineConfig(image="hello")) as machine, ringlet.debug(machine) as debugger:
        machine.start()
        debugger.wait()  # at the first instruction
        debugger.add_breakpoint("print")
        debugger.continue_()
        print(debugger.wait())

All vCPUs stop together, and go on together; a step may be one vCPU's alone. A breakpoint at the
next instruction isn't met again: the vCPU first steps off it, while the others stand still.

What the guest itself has of `int3` and debug registers stays the guest's; its own debug registers
rest while a hardware breakpoint or a watchpoint is set. What this host's KVM can't do is refused.
"""

from __future__ import annotations

from ringlet.closing import Closing
from ringlet.errors import RingletError, near
from ringlet.machine.assembly import MAX_INSTRUCTION, bits_of, disassemble, read_linear
from ringlet.observe.debug.abilities import find_abilities
from ringlet.observe.debug.all_stop import AllStop
from ringlet.observe.debug.breakpoints import INT3, PORT_TRAP, Breakpoints
from ringlet.observe.debug.debug_registers import ACCESS, EXECUTE, WRITE, Watch, pieces
from ringlet.observe.debug.paging import walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.boot.symbols import Symbols
    from ringlet.kvm.registers import Registers, SpecialRegisters
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.machine.machine import Machine
    from ringlet.observe.debug.abilities import Abilities
    from ringlet.observe.debug.stop import Stop
    from ringlet.observe.debug.watched import Watched

_PAGE = 4096
# Instructions of one byte that begin a function: `push` of a register, `cli`, `cld`. Nobody jumps
# to the instruction after them.
_BEGINNINGS = {bytes([code]) for code in (*range(0x50, 0x58), 0xFA, 0xFC)}
_MASK = 0xFFFF_FFFF_FFFF_FFFF


class Debugger(Closing):
    """Debugs `machine`, which must not have started. Close it before the machine.

    One thread at a time may use it, other than the machine's own; any thread may call `stop`. A
    machine that is debugged starts stopped: the first `wait` returns at the first instruction. With
    `running`, the machine starts running.

    `abilities` says what this host's KVM can do; None to find out. Raises `RingletError` for a
    machine that has started.
    """

    def __init__(
        self, machine: Machine, *, running: bool = False, abilities: Abilities | None = None
    ) -> None:
        if machine.has_started:
            raise RingletError(
                "this machine has started already", "make the debugger before the machine starts"
            )
        self.machine = machine
        self.abilities = abilities or find_abilities()
        trap = self.abilities.trap
        self.breakpoints = Breakpoints(
            machine.memory,
            INT3 if trap else PORT_TRAP,
            in_registers=self.abilities.execute and not trap,
        )
        self._vcpus = AllStop(machine, self.abilities, self.breakpoints, running=running)

    # Stopping and going on.

    def stop(self) -> None:
        """Asks all vCPUs to stop, which `wait` waits for. Any thread may call this."""
        self._vcpus.stop()

    def wait(self, timeout: float | None = None) -> Stop | None:
        """Waits until the guest stands still; returns None if it doesn't within `timeout` seconds.

        While the guest stands still, this returns the same stop again.
        """
        return self._vcpus.wait(timeout)

    @property
    def stopped(self) -> Stop | None:
        """The stop at which the guest stands still, or None while the guest runs."""
        return self._vcpus.stopped

    def filenos(self) -> tuple[int, int]:
        """Returns descriptors to poll: one is readable when the guest stopped, one at the end."""
        return self._vcpus.filenos()

    def continue_(self) -> None:
        """Lets all vCPUs go on, until a breakpoint, a watchpoint, a crash or `stop`."""
        self._vcpus.go()

    def step(self, vcpu: int = 0, *, alone: bool = True) -> None:
        """Lets a vCPU run one instruction; unless `alone`, the other vCPUs run meanwhile.

        No interrupt comes in between if KVM can keep interrupts away. If the instruction raises an
        exception, the step ends at the handler. The step of a vCPU that is halted already waits for
        an interrupt. Raises `RingletError` where this host's KVM can't step.
        """
        watched = self._at_rest(vcpu)
        self._require_step(watched)
        self._vcpus.go(watched, alone=alone)

    def next_exit(self) -> None:
        """Lets all vCPUs go on until the next VM exit, and stops when a device has answered it."""
        self._vcpus.go(exits=True)

    def detach(self) -> None:
        """Removes all breakpoints and watchpoints, and lets the guest go on."""
        self._vcpus.detach()

    def kill(self) -> None:
        """Ends the run, and doesn't wait for the end."""
        self.machine.kill()

    def close(self) -> None:
        """Detaches, and closes the descriptors. A second call does nothing."""
        self._vcpus.close()

    # Breakpoints.

    def add_breakpoint(self, place: int | str, *, hardware: bool = False, vcpu: int = 0) -> int:
        """Adds a breakpoint at a linear address, or at a symbol; returns the address.

        A software breakpoint needs memory at the address now, as the page tables of `vcpu` map it.
        A hardware breakpoint waits for code that comes later; a processor has four registers for
        hardware breakpoints and watchpoints together. Raises `RingletError`.
        """
        address = self.address_of(place)
        watched = self._at_rest(vcpu)
        self._require(self.abilities.step, "single steps, which come off a breakpoint")
        if hardware:
            self._require(self.abilities.execute, "hardware breakpoints")
            self.breakpoints.add_hardware([Watch(address, 1, EXECUTE)])
        else:
            if not self.abilities.trap_ring_3 and self._is_ring_3(address, vcpu):
                self._require(False, f"breakpoints in ring 3, whose page {address:#x} is in")
            places = [
                self._physical(watched, address + number)
                for number in range(len(self.breakpoints.trap))
            ]
            code = b"" if self.abilities.trap else self._instruction(address, vcpu)
            if len(code) == 1 and (self.abilities.execute or code not in _BEGINNINGS):
                what = f"breakpoint at an instruction of one byte, such as at {address:#x}"
                self._require(self.abilities.execute, what)
                places = []  # it has a debug register
            self.breakpoints.add(address, places)
        return address

    def remove_breakpoint(self, place: int | str, *, hardware: bool = False) -> None:
        """Removes the breakpoint at a linear address, or at a symbol, if there is one."""
        address = self.address_of(place)
        self._at_rest(0)
        if hardware:
            self.breakpoints.remove_hardware([Watch(address, 1, EXECUTE)])
        else:
            self.breakpoints.remove(address)

    def add_watchpoint(
        self, place: int | str, size: int = 8, *, reads: bool = False, vcpu: int = 0
    ) -> int:
        """Stops after writes to `size` bytes, and with `reads` also after reads of them.

        Returns the linear address. Where this host's KVM has no watchpoints, the guest's writes are
        seen by a guard of the page, which takes an exit for each write to the page. Raises
        `RingletError`.
        """
        address = self.address_of(place)
        watched = self._at_rest(vcpu)
        if self.abilities.watch:
            self.breakpoints.add_hardware(pieces(address, size, ACCESS if reads else WRITE))
            return address
        self._require(not reads, "watchpoints for reads")
        if not 0 < size <= _PAGE:
            raise RingletError(f"{size} bytes can't be watched", f"watch at most {_PAGE} bytes")
        self.breakpoints.guard(address, size, list(self._parts(watched, address, size)))
        return address

    def remove_watchpoint(self, place: int | str, size: int = 8, *, reads: bool = False) -> None:
        """Removes what `add_watchpoint` added."""
        address = self.address_of(place)
        self._at_rest(0)
        if self.abilities.watch:
            self.breakpoints.remove_hardware(pieces(address, size, ACCESS if reads else WRITE))
        else:
            self.breakpoints.unguard(address, size)

    # Registers and memory, while the guest stands still.

    @property
    def symbols(self) -> Symbols:
        """The symbols of the machine's image."""
        return self.machine.symbols

    def address_of(self, place: int | str) -> int:
        """Returns the address of a symbol; an address is returned as it is.

        Raises `RingletError` for a symbol that the image doesn't have.
        """
        if isinstance(place, int):
            return place & _MASK
        address = self.symbols.address_of(place)
        if address is None:
            known = self.symbols.names()
            hint = "give an address" if known else "the image has no symbols; give an address"
            raise RingletError(f"there is no symbol {place!r}", near(place, known, hint))
        return address

    @property
    def vcpu_count(self) -> int:
        """The number of vCPUs."""
        return len(self.machine.vm.vcpus)

    def vcpu(self, number: int = 0) -> Vcpu:
        """Returns a vCPU that stands still. Raises `RingletError` while the guest runs."""
        return self._at_rest(number).vcpu

    def registers(self, vcpu: int = 0) -> Registers:
        """Returns the general registers of a vCPU."""
        return self._at_rest(vcpu).vcpu.registers

    def set_registers(self, registers: Registers, vcpu: int = 0) -> None:
        """Sets the general registers of a vCPU."""
        self._at_rest(vcpu).vcpu.registers = registers

    def special_registers(self, vcpu: int = 0) -> SpecialRegisters:
        """Returns segments, tables and control registers of a vCPU."""
        return self._at_rest(vcpu).vcpu.special_registers

    def set_special_registers(self, registers: SpecialRegisters, vcpu: int = 0) -> None:
        """Sets segments, tables and control registers of a vCPU. KVM refuses what can't be."""
        self._at_rest(vcpu).vcpu.special_registers = registers

    def next_address(self, vcpu: int = 0) -> int:
        """Returns the linear address of a vCPU's next instruction."""
        return self._at_rest(vcpu).address

    def read(self, address: int, size: int, vcpu: int = 0) -> bytes:
        """Returns memory at a linear address; fewer bytes where the mapped memory ends."""
        return read_linear(self._at_rest(vcpu).vcpu, self.machine.memory, address, size)

    def write(self, address: int, data: bytes, vcpu: int = 0) -> None:
        """Writes memory at a linear address, whether or not the guest could.

        Raises `RingletError`, and writes nothing, unless all of it is mapped to RAM.
        """
        parts = list(self._parts(self._at_rest(vcpu), address, len(data)))
        for physical, size in parts:
            self.machine.memory.write(physical, data[:size])
            data = data[size:]

    def _parts(self, watched: Watched, address: int, size: int) -> Iterator[tuple[int, int]]:
        """Yields where a range of linear addresses lies: physical address and size of each part.

        Raises `RingletError` unless all of it is mapped to RAM.
        """
        while size:
            physical = watched.vcpu.translate(address & _MASK)
            count = min(size, _PAGE - address % _PAGE)
            if physical is None:
                raise RingletError(f"no page is mapped at {address:#x}", "give another address")
            if not self.machine.memory.has(physical, count):
                raise RingletError(f"no RAM is at {address:#x}", "give another address")
            yield physical, count
            address, size = address + count, size - count

    def read_physical(self, address: int, size: int) -> bytes:
        """Returns guest-physical memory. Raises `GuestMemoryError` where no RAM is."""
        self._at_rest(0)
        return self.machine.memory.read(address, size)

    def write_physical(self, address: int, data: bytes) -> None:
        """Writes guest-physical memory. Raises `GuestMemoryError` where no RAM is."""
        self._at_rest(0)
        self.machine.memory.write(address, data)

    def _physical(self, watched: Watched, address: int) -> int | None:
        """Returns where a linear address lies, also of a kernel that isn't mapped yet."""
        address &= _MASK
        physical = watched.vcpu.translate(address)
        return self.machine.loaded_at(address) if physical is None else physical

    def _instruction(self, address: int, vcpu: int) -> bytes:
        """Returns the bytes of the instruction at a linear address; none if no memory is there.

        The vCPU may come to a kernel's 64-bit code in another mode than the one that it is in now:
        of two instructions, this is the longer one.
        """
        watched = self._at_rest(vcpu)
        start = self._physical(watched, address)
        if start is None or not self.machine.memory.has(start, MAX_INSTRUCTION):
            return b""
        code = self.machine.memory.read(start, MAX_INSTRUCTION)
        modes = {bits_of(watched.vcpu.special_registers), 64}
        found = [disassemble(code, address, bits, 1)[0].code for bits in modes]
        return max(found, key=len)

    def _is_ring_3(self, address: int, vcpu: int) -> bool:
        """Returns whether ring 3 may run the code at a linear address."""
        found = walk(address, self.special_registers(vcpu), self.read_physical)
        steps = [each for each in found.steps if (found.mode, each.name) != ("PAE", "PDPTE")]
        return bool(steps) and all("user" in each.flags for each in steps)

    def _at_rest(self, vcpu: int) -> Watched:
        return self._vcpus.at_rest(vcpu)

    # What this host's KVM can't do.

    def _require(self, able: bool, what: str) -> None:
        if not able:
            raise RingletError(
                f"this host's KVM has no {what}",
                "a KVM of real hardware (kvm_intel, kvm_amd) has them",
            )

    def _require_step(self, watched: Watched) -> None:
        ring_3 = watched.vcpu.special_registers.ss.dpl == 3
        if ring_3 and not self.abilities.step_ring_3:
            self._require(False, "single steps in ring 3")
        self._require(self.abilities.step, "single steps")


def debug(machine: Machine) -> Debugger:
    """Returns a debugger for a machine that has not started: a context manager."""
    return Debugger(machine)
