"""An interrupt line into KVM's interrupt controllers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.vm import Vm


class KvmIrqLine:
    """The input of the PIC and the I/O APIC with this GSI. Any thread may call `set`.

    On a PC, the first 16 inputs are edge-triggered: a change from low to high is an interrupt.
    """

    __slots__ = ("_gsi", "_vm")

    def __init__(self, vm: Vm, gsi: int) -> None:
        self._vm = vm
        self._gsi = gsi

    def set(self, level: bool) -> None:
        """Sets the line high or low."""
        self._vm.set_irq(self._gsi, level)
