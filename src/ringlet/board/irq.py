"""An interrupt line into KVM's interrupt controllers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.vm import Vm


class KvmIrqLine:
    """An input of PIC and I/O APIC alike, by its GSI. `set` may be called from any thread.

    On a PC the first 16 are edge-triggered: the change from low to high is the interrupt.
    """

    __slots__ = ("_gsi", "_vm")

    def __init__(self, vm: Vm, gsi: int) -> None:
        self._vm = vm
        self._gsi = gsi

    def set(self, level: bool) -> None:
        """Put the line high or low."""
        self._vm.set_irq(self._gsi, level)
