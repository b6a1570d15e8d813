"""The state in which the first vCPU starts: the result of every boot protocol."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from ringlet.kvm.registers import Registers, SpecialRegisters
else:
    from ringlet.host.named_tuple import NamedTuple


class Entry(NamedTuple):
    """The vCPU's state before its first instruction."""

    registers: Registers
    special: SpecialRegisters
