"""One single step of a vCPU: where it may end, and what it must not leave behind.

The processor steps by the trap flag of RFLAGS (TF): it raises a debug exception after the
instruction. An instruction that raises an exception of its own doesn't come to its end: the
processor goes to the handler and clears TF, so no step would end before the handler is over.
Therefore a hardware breakpoint waits at each handler that is likely. The stack of the handler,
`pushf` and `syscall` save RFLAGS with the step's TF; TF is cleared there, since the guest must not
see it.

Source: Intel SDM volume 3, 6.12 (exception handling), 18.3.1.4 (single-step exceptions);
volume 2, PUSHF and SYSCALL.
"""

from __future__ import annotations

from ringlet.kvm.memory import GuestMemoryError
from ringlet.machine.assembly import bits_of, linear_rip, read_linear

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.memory import GuestMemory
    from ringlet.kvm.registers import DescriptorTable
    from ringlet.kvm.vcpu import Vcpu

_TF = 1 << 8
_PE = 1
_DIVIDE, _DEBUG, _BREAKPOINT, _OVERFLOW, _INVALID_OPCODE = 0, 1, 3, 4, 6
_GENERAL_PROTECTION, _PAGE_FAULT = 13, 14
_LIKELY = (_PAGE_FAULT, _GENERAL_PROTECTION, _INVALID_OPCODE, _DIVIDE)
_WITH_ERROR_CODE = (8, 10, 11, 12, _GENERAL_PROTECTION, _PAGE_FAULT, 17, 21, 29, 30)
_PUSHF = 0x9C
_IRET = 0xCF
_SYSCALL, _SYSRET = b"\x0f\x05", b"\x0f\x07"
_IA32_LSTAR = 0xC000_0082
_OPERAND_SIZE = 0x66
_REX = range(0x40, 0x50)


class Step:
    """The step that begins at the next instruction of `vcpu`."""

    def __init__(self, vcpu: Vcpu, memory: GuestMemory) -> None:
        self._vcpu = vcpu
        self._memory = memory
        self._special = vcpu.special_registers
        registers = vcpu.registers
        self._rsp = registers.rsp
        self.start = linear_rip(registers, self._special)
        self._bits = bits_of(self._special)
        self._code = read_linear(vcpu, memory, self.start, 4)
        while self._code and (
            self._code[0] == _OPERAND_SIZE or (self._bits == 64 and self._code[0] in _REX)
        ):
            self._code = self._code[1:]
        self._handlers: dict[int, int] = {}  # address to vector; -1 for `syscall`

    @property
    def goes_to_ring_3(self) -> bool:
        """Whether the instruction takes a kernel to ring 3."""
        if self._special.ss.dpl != 0 or not self._special.cr0 & _PE:
            return False
        if self._code[:2] == _SYSRET:
            return True
        if self._code[:1] != bytes([_IRET]):
            return False
        size = self._bits // 8
        stack = (0 if self._bits == 64 else self._special.ss.base) + self._rsp
        selector = read_linear(self._vcpu, self._memory, stack + size, 2)
        return bool(selector) and selector[0] & 3 == 3

    def handlers(self) -> list[int]:
        """Returns the linear addresses to which the instruction may go by itself, likely first."""
        if self._code[:2] == _SYSCALL and self._bits == 64:
            self._handlers[self._vcpu.get_msrs([_IA32_LSTAR])[0]] = -1
        for vector in (*self._own_vector(), *_LIKELY):
            address = self._handler(vector)
            if address is not None:
                self._handlers.setdefault(address, vector)
        self._handlers.pop(self.start, None)
        return list(self._handlers)

    def _own_vector(self) -> list[int]:
        """Returns the vector of an instruction that is there to raise an exception.

        Ring 3 may come back by `int3`, where KVM can't step in ring 3.
        """
        if self.goes_to_ring_3:
            return [_BREAKPOINT]
        if self._code[:1] == b"\xcd" and len(self._code) > 1:
            return [self._code[1]]
        plain = {0xCC: _BREAKPOINT, 0xCE: _OVERFLOW, 0xF1: _DEBUG}
        vector = plain.get(self._code[0]) if self._code else None
        return [] if vector is None else [vector]

    def _handler(self, vector: int) -> int | None:
        """Returns where the handler of an exception begins, or None if there is none."""
        idt: DescriptorTable = self._special.idt
        protected = self._special.cr0 & _PE
        size = 4 if not protected else 16 if self._special.efer & 1 << 10 else 8
        if (vector + 1) * size - 1 > idt.limit:
            return None
        gate = read_linear(self._vcpu, self._memory, idt.base + vector * size, size)
        if len(gate) < size:
            return None
        low = int.from_bytes(gate[:2], "little")
        if not protected:
            return int.from_bytes(gate[2:4], "little") * 16 + low
        if not gate[5] & 0x80:  # the gate isn't present
            return None
        return (
            low
            | int.from_bytes(gate[6:8], "little") << 16
            | (int.from_bytes(gate[8:12], "little") << 32 if size == 16 else 0)
        )

    def forget_trap_flag(self, *, at_handler: bool) -> None:
        """Clears TF where the instruction, or the exception that it raised, has saved it."""
        registers = self._vcpu.registers
        special = self._vcpu.special_registers
        if at_handler:
            vector = self._handlers.get(linear_rip(registers, special))
            if vector == -1:
                self._vcpu.registers = registers._replace(r11=registers.r11 & ~_TF)
                return
            if vector is None:
                return
            size = 2 if not special.cr0 & _PE else bits_of(special) // 8
            above = 2 * size  # RIP and CS
            if special.cr0 & _PE and vector in _WITH_ERROR_CODE:
                above += size
        elif self._code[:1] == bytes([_PUSHF]):
            above = 0
        else:
            return
        stack = 0 if self._bits == 64 else special.ss.base
        physical = self._vcpu.translate(stack + registers.rsp + above)
        if physical is None:
            return
        try:
            low = self._memory.read(physical, 2)
            flags = int.from_bytes(low, "little") & ~_TF
            self._memory.write(physical, flags.to_bytes(2, "little"))
        except GuestMemoryError:
            return
