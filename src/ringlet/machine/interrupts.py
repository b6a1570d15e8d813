"""Why a guest that waits for an interrupt gets none, as far as the interrupt controllers tell.

Source: Intel 82093AA data sheet, 3.2.4 (the redirection table); Intel 8259A data sheet; Intel SDM
volume 3, 11.8.4 (interrupt acceptance).
"""

from __future__ import annotations

from ringlet.board.layout import PIT_IRQ
from ringlet.kvm.irqchip import read_io_apic, read_pics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ringlet.board.board import Placed
    from ringlet.kvm.irqchip import IoApic, LocalApic, Pic
    from ringlet.kvm.vm import Vm

_PIC_LINES = 16
_PIT_PIN = 2  # the I/O APIC's input that the PIT's line leads to, on a PC


def interrupt_troubles(vm: Vm, devices: Iterable[Placed]) -> list[str]:
    """Returns a line for each interrupt line that is raised and masked, or that has no device."""
    return list(_troubles(read_io_apic(vm), read_pics(vm), devices))


def _troubles(io_apic: IoApic, pics: tuple[Pic, Pic], devices: Iterable[Placed]) -> Iterator[str]:
    names: dict[int, list[str]] = {}
    for placed in devices:
        if placed.irq is not None:
            names.setdefault(placed.irq, []).append(placed.name)
    requested = pics[0].requested | pics[1].requested << 8
    masked = pics[0].masked | pics[1].masked << 8
    if pics[0].masked >> 2 & 1:  # the second PIC's output is the first one's line 2
        masked |= 0xFF00
    for line, owners in sorted(names.items()):
        pin = _PIT_PIN if line == PIT_IRQ else line
        waits = (io_apic.requested >> pin | (requested >> line if line < _PIC_LINES else 0)) & 1
        if not (waits and io_apic.table[pin].masked):
            continue
        if line >= _PIC_LINES:
            yield f"{' and '.join(owners)} raised interrupt line {line}, which the I/O APIC masks"
        elif masked >> line & 1:
            yield (
                f"{' and '.join(owners)} raised interrupt line {line}, "
                "which the I/O APIC and the PIC mask"
            )
    for pin, entry in enumerate(io_apic.table):
        line = PIT_IRQ if pin == _PIT_PIN else pin
        if not entry.masked and line not in names:
            yield (
                f"the I/O APIC leads interrupt line {line} to vector {entry.vector:#x}, "
                "but no device has this line"
            )


def local_apic_trouble(apic: LocalApic) -> str:
    """Returns why the local APIC of a halted vCPU gives the vCPU no interrupt, or ""."""
    if apic.requested and not apic.enabled:
        return "its local APIC is off, so it gets no interrupt of the I/O APIC"
    served, waiting = apic.in_service.bit_length() - 1, apic.requested.bit_length() - 1
    if served >= 0 and waiting >= 0 and waiting >> 4 <= served >> 4:
        return (
            f"interrupt {waiting:#x} waits for the end of interrupt {served:#x}: "
            "its handler has written no EOI to the local APIC"
        )
    return ""
