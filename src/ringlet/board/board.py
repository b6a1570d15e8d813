"""The board: memory, a VM, two buses, and one list of all devices with their addresses.

The list is enough to show all devices of a machine, and to find the state of each device.
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
    """A device on the board, with its addresses and its interrupt.

    name    no other device of the board has this name
    device  None for a device that KVM emulates; KVM keeps the state of such a device
    ports   (first, count) of each range of ports
    mmio    (first, size) of each range of guest-physical addresses
    irq     the number of its interrupt line, None for a device without one
    acpi    the device's entry in the ACPI tables, None for no entry
    word    the device's word on the command line, for a guest that doesn't read the ACPI tables;
            empty for no word
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
        """A copy, as plain values, of everything in the device that changes while it runs.

        None if nothing in the device changes, and for a device that KVM emulates. The values are
        consistent in a pause.
        """
        return plain(getattr(self.device, "state", None))


class Board:
    """The memory, the VM and the devices of a machine; add the devices before the guest runs."""

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
        """Puts a device on the buses. Raises `ConfigError` if one of its addresses is taken.

        If another device has the same name, adds a number to the name.
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
        """Returns the device of this name, or None."""
        return next((placed for placed in self.devices if placed.name == name), None)

    def irq_line(self, number: int) -> IrqLine:
        """Returns the interrupt line of this number, 0 to 23; a device raises it."""
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
    """Returns a copy of `state` as plain values: an object becomes a dictionary of attributes."""
    if isinstance(state, dict):
        return {name: plain(value) for name, value in list(state.items())}  # it may change
    if isinstance(state, list | tuple):
        return [plain(value) for value in state]
    if isinstance(state, bytearray | memoryview):
        return bytes(state)
    names = getattr(type(state), "__slots__", ()) or getattr(state, "__dict__", ())
    return {name: plain(getattr(state, name)) for name in list(names)} if names else state


def _names(name: str) -> Iterator[str]:
    """Yields `name`, then `name-2`, `name-3` and so on."""
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1
