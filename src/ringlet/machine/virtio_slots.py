"""A machine's virtio devices: each has its place in the address map, and is tied to KVM."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from ringlet.board import layout
from ringlet.board.acpi import AcpiDevice
from ringlet.board.bus import MmioBus
from ringlet.errors import ConfigError
from ringlet.host.disk import open_disk
from ringlet.kvm.memory import GuestMemory
from ringlet.kvm.vm import Vm
from ringlet.machine.config import Disk
from ringlet.virtio.block import Block
from ringlet.virtio.device import VirtioDevice
from ringlet.virtio.mmio import QUEUE_NOTIFY, VirtioMmio


class VirtioSlots:
    """The places for virtio devices. What is put there is closed by `stack`.

    transports    the devices' registers
    acpi_devices  how Linux finds them
    words         how others do, on the command line (Linux, virtio_mmio.c)
    """

    def __init__(
        self,
        stack: ExitStack,
        vm: Vm,
        memory: GuestMemory,
        mmio: MmioBus,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._stack = stack
        self._vm = vm
        self._memory = memory
        self._mmio = mmio
        self._on_error = on_error
        self.transports: list[VirtioMmio] = []
        self.acpi_devices: list[AcpiDevice] = []
        self.words: list[str] = []

    def fill(self, disks: Sequence[Disk], devices: Sequence[VirtioDevice]) -> None:
        """The disks, then a program's own devices. Raises `ConfigError`."""
        count = len(disks) + len(devices)
        if count > len(layout.VIRTIO_IRQS):
            raise ConfigError(
                f"{count} disks and other virtio devices are too many",
                f"a machine has room for {len(layout.VIRTIO_IRQS)}",
            )
        for path, readonly, snapshot in disks:
            disk = open_disk(path, readonly=readonly, snapshot=snapshot)
            self._stack.callback(disk.close)
            self._add(Block(disk))
        for device in devices:
            self._add(device)

    def _add(self, device: VirtioDevice) -> None:
        number = len(self.transports)
        address, irq = layout.virtio_address(number), layout.VIRTIO_IRQS[number]
        transport = self._stack.enter_context(VirtioMmio(device, self._memory, self._on_error))
        self.transports.append(transport)
        self._mmio.add(address, layout.VIRTIO_SIZE, transport)
        self._vm.ioeventfd(transport.notify_fd, address + QUEUE_NOTIFY, 4)
        self._vm.irqfd(transport.interrupt_fd, irq)
        mmio = (address, layout.VIRTIO_SIZE)
        self.acpi_devices.append(
            AcpiDevice(f"V{number:03X}", "LNRO0005", number, irq=irq, mmio=mmio)
        )
        size = layout.VIRTIO_SIZE // layout.KIB
        self.words.append(f"virtio_mmio.device={size}K@{address:#x}:{irq}")
