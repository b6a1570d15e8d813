"""A machine's virtio devices: gives each its addresses and interrupt, and connects it to KVM."""

from __future__ import annotations

from ringlet.board import layout
from ringlet.board.acpi import AcpiDevice
from ringlet.board.board import Placed
from ringlet.errors import ConfigError
from ringlet.host.disk import open_disk
from ringlet.virtio.block import Block
from ringlet.virtio.entropy import Entropy
from ringlet.virtio.mmio import QUEUE_NOTIFY, VirtioMmio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from ringlet.board.board import Board
    from ringlet.machine.config import MachineConfig
    from ringlet.machine.network import Network
    from ringlet.virtio.device import VirtioDevice
    from ringlet.virtio.net import NetworkEnd


def add_virtio(
    board: Board,
    stack: ExitStack,
    config: MachineConfig,
    devices: Sequence[VirtioDevice],
    on_error: Callable[[BaseException], None],
) -> list[VirtioMmio]:
    """Puts the devices of `config` and then a program's own on `board`; returns their transports.

    `stack` closes the devices and the transports. Raises `ConfigError` for too many devices.
    """
    network = config.network
    count = len(config.disks) + len(config.folders) + len(devices)
    count += (network is not None) + config.entropy
    if count > len(layout.VIRTIO_IRQS):
        raise ConfigError(
            f"{count} disks and other virtio devices are too many",
            f"a machine has room for {len(layout.VIRTIO_IRQS)}",
        )
    opened: list[VirtioDevice] = []
    for path, readonly, snapshot in config.disks:
        disk = open_disk(path, readonly=readonly, snapshot=snapshot)
        stack.callback(disk.close)
        opened.append(Block(disk))
    if network is not None:
        opened.append(_open_network(stack, network))
    for folder in config.folders:
        from ringlet.virtio.fs.device import FileSystem

        shared = FileSystem(
            folder.path, folder.tag, readonly=folder.readonly, lifetime=folder.lifetime
        )
        stack.callback(shared.close)
        opened.append(shared)
    if config.entropy:
        opened.append(Entropy())
    transports = []
    for number, device in enumerate([*opened, *devices]):
        transport = stack.enter_context(VirtioMmio(device, board.memory, on_error))
        _connect(board, number, transport)
        transports.append(transport)
    return transports


def _open_network(stack: ExitStack, network: Network | NetworkEnd) -> VirtioDevice:
    from ringlet.machine.network import Network, open_network, parse_mac, random_mac
    from ringlet.virtio.net import Net

    mac = random_mac()
    if isinstance(network, Network):
        if network.mac is not None:
            mac = parse_mac(network.mac)
        end = open_network(network, mac)
    else:
        end = network
    stack.callback(end.close)
    return Net(end, mac)


def _connect(board: Board, number: int, transport: VirtioMmio) -> None:
    address, irq = layout.virtio_address(number), layout.VIRTIO_IRQS[number]
    place = (address, layout.VIRTIO_SIZE)
    size = layout.VIRTIO_SIZE // layout.KIB
    board.add(
        Placed(
            f"virtio-{type(transport.device).__name__.lower()}",
            transport,
            mmio=[place],
            irq=irq,
            acpi=AcpiDevice(f"V{number:03X}", "LNRO0005", number, irq=irq, mmio=place),
            word=f"virtio_mmio.device={size}K@{address:#x}:{irq}",  # Linux, virtio_mmio.c
        )
    )
    board.vm.ioeventfd(transport.notify_fd, address + QUEUE_NOTIFY, 4)
    board.vm.irqfd(transport.interrupt_fd, irq)
