"""Breakpoints and steps in ring 3, on a KVM that has neither.

A program in ring 3 gets an `int3` where the program is to stop. The exception goes to the guest's
kernel, to the handler in the IDT, where a breakpoint of ring 0 waits. There the exception is taken
back: the vCPU gets the registers that the interrupt frame has saved. So neither the program nor the
kernel notices. A step is an `int3` at each instruction that may be the next one.

Source: Intel SDM volume 3, 6.12.1 (frames on the stack), 6.12.1.2 (a gate that `int3` may not use).
"""

from __future__ import annotations

import capstone
from capstone import x86_const as x86

from ringlet.errors import RingletError
from ringlet.observe.console.interrupt_return import FRAME, load_frame
from ringlet.observe.console.tables import idt
from ringlet.observe.debug.paging import EFER_LMA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ringlet.observe.console.session import Session
    from ringlet.observe.debug.state import State

INT3 = b"\xcc"
_BREAKPOINT, _GENERAL_PROTECTION = 3, 13
_REFUSED = _BREAKPOINT << 3 | 2  # the error code of a gate that ring 3 may not use
_MASK = 0xFFFF_FFFF_FFFF_FFFF


def lacks_breakpoints(session: Session, address: int) -> bool:
    """Returns whether ring 3 may run the code at an address, and KVM has no breakpoints there."""
    if session.debugger.abilities.trap_ring_3:
        return False
    found = session.walk(address)
    return bool(found.rights) and "ring 3 may do nothing" not in found.rights


class Int3s:
    """An `int3` at each of these addresses in ring 3, from now on until `lift`.

    `handler` is where the kernel comes by when one of them is met: put a breakpoint there. Raises
    `RingletError` if the kernel has no handler, or if no memory is at an address.
    """

    def __init__(self, session: Session, addresses: Iterable[int]) -> None:
        self._session = session
        self._own: dict[int, bytes] = {}
        self.handler = self._find_handler()
        try:
            for address in addresses:
                byte = session.read(address, 1)
                session.debugger.write(address, INT3, session.vcpu)
                self._own[address] = byte
        except RingletError:
            self.lift()
            raise

    def _find_handler(self) -> int:
        session = self._session
        special = session.state().special
        gates = {gate.vector: gate for gate in idt(special, session.read)}
        if not special.efer & EFER_LMA:
            gates.clear()  # frames of 64 bits are all that `take_back` reads
        first, second = gates.get(_BREAKPOINT), gates.get(_GENERAL_PROTECTION)
        self._has_error_code = not (first is not None and first.present and first.dpl == 3)
        gate = second if self._has_error_code else first
        if gate is None or not gate.present:
            raise RingletError(
                "this host's KVM has no breakpoints in ring 3, and no handler of the guest helps",
                "set a breakpoint in ring 0",
            )
        return gate.offset

    def lift(self) -> None:
        """Puts the program's own bytes back, where the program has not written others."""
        for address, byte in self._own.items():
            if self._session.read(address, 1) == INT3:
                self._session.debugger.write(address, byte, self._session.vcpu)

    def take_back(self, vcpu: int) -> int | None:
        """Takes back the exception of a vCPU that stands in the handler because of an `int3`.

        The vCPU then stands at the `int3`, whose address is returned. Returns None for any other
        vCPU.
        """
        session = self._session
        state = session.state(vcpu)

        def read(address: int, size: int) -> bytes:
            return session.debugger.read(address, size, vcpu)

        if state.address != self.handler:
            return None
        top = state.registers.rsp
        behind = len(INT3)
        if self._has_error_code:
            if read(top, 8) != _REFUSED.to_bytes(8, "little"):
                return None
            top += 8
            behind = 0
        came = int.from_bytes(read(top, 8), "little") - behind
        if came not in self._own:
            return None

        def read_frame(address: int, size: int) -> bytes:
            data = read(address, size)
            if address == top and size == FRAME:
                return came.to_bytes(8, "little") + data[8:]
            return data

        before = load_frame(state.registers, state.special, read_frame, top)
        if before is None:
            return None
        session.debugger.set_special_registers(before.special, vcpu)
        session.debugger.set_registers(before.registers, vcpu)
        return came


def next_places(state: State, code: bytes, read: Callable[[int, int], bytes]) -> set[int]:
    """Returns where ring 3 may be after the instruction `code`, if no exception takes it to ring 0.

    This is for 64-bit code. `read(address, size)` reads linear memory.
    """
    loops = (x86.X86_INS_LOOP, x86.X86_INS_LOOPE, x86.X86_INS_LOOPNE)  # in no group of capstone
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = True
    for instruction in engine.disasm(code, state.address, 1):
        behind = state.address + instruction.size
        if instruction.group(capstone.CS_GRP_RET) or instruction.group(capstone.CS_GRP_IRET):
            return {int.from_bytes(read(state.registers.rsp, 8), "little")}
        groups = (capstone.CS_GRP_JUMP, capstone.CS_GRP_CALL)
        if any(map(instruction.group, groups)) or instruction.id in loops:
            target = _target(state, instruction, behind, read)
            always = instruction.id in (x86.X86_INS_JMP, x86.X86_INS_CALL)
            return {target} if always else {target, behind}
        if instruction.group(capstone.CS_GRP_INT):
            return set()
        return {behind}
    return set()  # an invalid opcode is an exception


def _target(state: State, instruction: Any, behind: int, read: Callable[[int, int], bytes]) -> int:
    """Returns where a jump or a call goes."""
    (operand, *_) = instruction.operands
    if operand.type == capstone.CS_OP_IMM:
        return int(operand.imm) & _MASK

    def register(number: int) -> int:
        name = instruction.reg_name(number) if number else ""
        return behind if name == "rip" else int(getattr(state.registers, name or "", 0))

    if operand.type == capstone.CS_OP_REG:
        return register(operand.reg)
    memory = operand.mem
    segment = instruction.reg_name(memory.segment) if memory.segment else ""
    base = getattr(state.special, segment).base if segment in ("fs", "gs") else 0
    address = base + register(memory.base) + register(memory.index) * memory.scale + memory.disp
    return int.from_bytes(read(address & _MASK, 8), "little")
