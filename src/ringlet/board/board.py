"""The board: memory, a VM, two buses, and one list of all devices with their places.

Who shows a machine prints that list; who takes a snapshot finds the state of each device in it.
"""

from __future__ import annotations

from ringlet.board import layout
from ringlet.board.bus import MmioBus, PortBus, Unclaimed
from ringlet.board.irq import KvmIrqLine
from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NamedTuple

    from ringlet.board.acpi import AcpiDevice
    from ringlet.board.bus import Ranges
    from ringlet.board.device import Device, IrqLine
    from ringlet.kvm.memory import GuestMemory
    from ringlet.kvm.vm import Vm
else:
    from ringlet.host.named_tuple import NamedTuple


class Placed(NamedTuple):
    """A device in its place.

    name    no other device of the board has this name
    device  None where the device is a part of KVM, whose state KVM keeps
    ports   (first, count) of each range of ports
    mmio    (first, size) of each range of guest-physical addresses
    irq     the number of its interrupt line, None for a device without one
    acpi    how the ACPI tables tell the guest of it, None if they don't
    word    how a command line tells a guest of it that doesn't read the tables, empty if it doesn't
    """

    name: str
    device: Device | None
    ports: Ranges = ()
    mmio: Ranges = ()
    irq: int | None = None
    acpi: AcpiDevice | None = None
    word: str = ""

    @property
    def state(self) -> Any:
        """A copy, in plain values, of all of the device that changes while it runs.

        None where it has nothing that changes, or is a part of KVM. It fits together in a pause.
        """
        return plain(getattr(self.device, "state", None))


class Board:
    """Devices are added to it before the guest runs."""

    def __init__(self, memory: GuestMemory, vm: Vm, *, pit: bool) -> None:
        self.memory = memory
        self.vm = vm
        in_kvm = [
            Placed("pic", None, ports=layout.PIC_PORTS),
            Placed("io-apic", None, mmio=(layout.IO_APIC,)),
            Placed("local-apic", None, mmio=(layout.LOCAL_APIC,)),
        ]
        if pit:
            in_kvm.append(Placed("pit", None, ports=layout.PIT_PORTS, irq=layout.PIT_IRQ))
        self.devices = in_kvm
        self.unclaimed = Unclaimed()
        self.ports = PortBus(self.unclaimed, [place for part in in_kvm for place in part.ports])
        addresses = [place for part in in_kvm for place in part.mmio]
        self.mmio = MmioBus(self.unclaimed, [*addresses, layout.KVM_PAGES])

    def add(self, placed: Placed) -> None:
        """Puts a device on the buses. Raises `ConfigError` where one of its places is taken.

        If its name is, too, a number is added to it.
        """
        assert placed.device is not None
        for first, count in placed.ports:
            self.ports.add(first, count, placed.device)
        for address, size in placed.mmio:
            self._check_outside_ram(address, size)
            self.mmio.add(address, size, placed.device)
        name = next(name for name in _names(placed.name) if self.find(name) is None)
        self.devices.append(placed._replace(name=name))

    def find(self, name: str) -> Placed | None:
        """The device of this name."""
        return next((placed for placed in self.devices if placed.name == name), None)

    def irq_line(self, number: int) -> IrqLine:
        """The interrupt line of this number, 0 to 23, for a device to raise."""
        if not 0 <= number < layout.IRQ_LINES:
            raise ConfigError(
                f"there is no interrupt line {number}", f"use one of 0 to {layout.IRQ_LINES - 1}"
            )
        return KvmIrqLine(self.vm, number)

    def _check_outside_ram(self, address: int, size: int) -> None:
        for region in self.memory.regions:
            if address < region.address + region.size and region.address < address + size:
                raise ConfigError(
                    f"the device at {address:#x} would lie in the guest's RAM",
                    f"put it between {layout.MMIO_HOLE:#x} and {layout.MMIO_HOLE_END:#x}",
                )


def plain(state: Any) -> Any:
    """A copy of `state` in which each object with slots or attributes is a dictionary of these."""
    if isinstance(state, dict):
        return {name: plain(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [plain(value) for value in state]
    if isinstance(state, bytearray | memoryview):
        return bytes(state)
    names = getattr(type(state), "__slots__", ()) or getattr(state, "__dict__", ())
    return {name: plain(getattr(state, name)) for name in names} if names else state


def _names(name: str) -> Iterator[str]:
    """`name`, then `name-2`, `name-3` and so on."""
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1
