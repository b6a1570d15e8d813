"""What the first vCPU starts with: the outcome of every boot protocol."""

from typing import NamedTuple

from ringlet.kvm.registers import Registers, SpecialRegisters


class Entry(NamedTuple):
    """The vCPU's state before its first instruction."""

    registers: Registers
    special: SpecialRegisters
