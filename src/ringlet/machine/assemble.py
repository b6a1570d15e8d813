"""Assembles a machine: guest memory, a VM with its vCPUs, and the devices of a small PC."""

from __future__ import annotations

import errno
import os

from ringlet import boot
from ringlet.board import layout
from ringlet.board.acpi import PVPANIC, RTC, AcpiDevice, write_tables
from ringlet.board.board import Board, Placed
from ringlet.board.mp_table import write_mp_table
from ringlet.devices.acpi_pm import Pm1Control, Pm1Event
from ringlet.devices.cmos import Cmos
from ringlet.devices.cursor import Cursor
from ringlet.devices.exit_port import ExitPort
from ringlet.devices.keyboard_controller import KeyboardController
from ringlet.devices.pvpanic import Pvpanic
from ringlet.devices.reset_control import ResetControl
from ringlet.devices.system_control import SystemControl
from ringlet.errors import ConfigError, RingletError
from ringlet.kvm.cpuid import for_vcpu
from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.kvm.msrs import FIRMWARE
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm
from ringlet.machine.control import PANIC, POWER_OFF, RESET, End
from ringlet.machine.guests import find_image
from ringlet.machine.serial_line import SerialLine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack
    from typing import Any

    from ringlet.board.device import Device
    from ringlet.host.console_log import ConsoleLog
    from ringlet.machine.config import MachineConfig
    from ringlet.machine.control import RunControl
    from ringlet.virtio.device import VirtioDevice
    from ringlet.virtio.mmio import VirtioMmio

KVM_CAP_MAX_VCPUS = 66
MAX_VCPUS = 255  # KVM takes APIC ID 255 for a broadcast; higher IDs need a capability of KVM
KVM_CAP_COALESCED_PIO = 162
UARTS = (
    (layout.COM1_PORT, layout.COM1_IRQ),
    (layout.COM2_PORT, layout.COM2_IRQ),
    (layout.COM3_PORT, layout.COM3_IRQ),
)


def open_kernel(config: MachineConfig) -> boot.Kernel:
    """Opens the image, a file or a guest that comes with ringlet. Raises `RingletError`."""
    image = config.image
    source = image if isinstance(image, bytes) else find_image(os.fspath(image))
    return boot.open_kernel(source, config.protocol)


def open_modules(stack: ExitStack, config: MachineConfig) -> list[tuple[boot.Image, bytes]]:
    """Opens the modules; returns each with its command line. The initrd is the first module."""
    sources: list[tuple[str | os.PathLike[str] | bytes, str]] = []
    if config.initrd is not None:
        sources.append((config.initrd, ""))
    for module in config.modules:
        path, _, arguments = module.partition(",")
        sources.append((path, arguments))
    return [
        (stack.enter_context(boot.open_image(source)), os.fsencode(arguments))
        for source, arguments in sources
    ]


def open_lines(
    stack: ExitStack, config: MachineConfig, control: RunControl, output_fd: int
) -> list[SerialLine]:
    """Opens the host's end of each serial line; `stack` closes these ends."""
    targets = [config.serial, *(t for t in (config.com2, config.com3) if t is not None)]
    return [stack.enter_context(SerialLine(t, control, output_fd=output_fd)) for t in targets]


def system_refusal(error: OSError | RingletError) -> RingletError | None:
    """Returns the error to raise instead of `error`; None if `error` itself is clear."""
    for cause in (error, error.__cause__):
        if getattr(cause, "errno", None) in (errno.EMFILE, errno.ENFILE):
            return RingletError(
                "there are too few file descriptors for the machine", "allow more: `ulimit -n 4096`"
            )
    if isinstance(error, RingletError):
        return None
    return RingletError(
        f"the machine can't be opened: {error.strerror or error}",
        "look at `ulimit -n`, memory and disk space",
    )


def log_console(line: SerialLine) -> ConsoleLog:
    """Puts a log of the console between the UART and the host's end of the serial line."""
    from ringlet.host.console_log import ConsoleLog

    log = ConsoleLog(line.transmit)
    line.transmit = log.transmit
    line.transmit_polled = log.gather
    return log


def assemble(
    stack: ExitStack,
    config: MachineConfig,
    kernel: boot.Kernel,
    *,
    vm: Vm | None,
    control: RunControl,
    lines: Sequence[SerialLine],
    virtio: Sequence[VirtioDevice],
    end: Callable[[End], None],
) -> tuple[Board, list[VirtioMmio]]:
    """Returns the board that `kernel` expects, with all devices, and its virtio transports.

    `stack` closes the memory, the VM and the devices. `control` gets the vCPUs, to kick them at
    the end of the run, and the errors of devices. A device that ends the run calls `end`.
    """
    memory = stack.enter_context(_memory(config.memory or kernel.usual_memory))
    pit = kernel.expects_pit if config.pit is None else config.pit
    with System() as system:
        if kernel.is_linux and not config.force:
            from ringlet.machine.probe import require_linux

            require_linux(system, kernel.name)
        vm = _fill_vm(stack, vm, system, memory, cpus=config.cpus, pit=pit)
        coalesce = kernel.is_linux and config.cpus == 1
        coalesce = coalesce and bool(system.check_extension(KVM_CAP_COALESCED_PIO))
    for vcpu in vm.vcpus:
        control.attach(vcpu)
    board = Board(memory, vm, pit=pit)
    _add_pc(board, control, end)
    _add_uarts(board, lines, coalesce=coalesce)
    transports: list[VirtioMmio] = []
    devices = config.disks or config.network is not None or config.folders or config.entropy
    if devices or virtio:
        from ringlet.machine.virtio_slots import add_virtio

        transports = add_virtio(board, stack, config, virtio, control.fail)
    return board, transports


def boot_on(
    board: Board,
    config: MachineConfig,
    kernel: boot.Kernel,
    modules: Sequence[tuple[boot.Image, bytes]],
) -> None:
    """Loads the kernel and its boot data into memory, and sets the first vCPU's registers."""
    command_line = config.cmdline
    words = [placed.word for placed in board.devices if placed.word]
    if words and kernel.device_words:
        command_line = " ".join([command_line, *words]).strip()
    if kernel.acpi_tables:
        acpi_devices = [placed.acpi for placed in board.devices if placed.acpi is not None]
        write_tables(board.memory, cpus=config.cpus, devices=acpi_devices)
        write_mp_table(board.memory, cpus=config.cpus)
    entry = kernel.load(
        board.memory,
        command_line=os.fsencode(command_line),
        modules=modules,
        load_address=config.load_address,
        decompress=None if config.decompress is None else config.decompress == "host",
    )
    first = board.vm.vcpus[0]
    first.special_registers = entry.special
    first.registers = entry.registers


def _memory(size: int) -> GuestMemory:
    try:
        return GuestMemory([anonymous(a, length) for a, length in layout.ram_ranges(size)])
    except OSError as error:
        raise ConfigError(
            f"the host can't map {size // layout.MIB} MiB for the guest: {error.strerror}",
            "give the guest less, or look at `ulimit -v`",
        ) from error


def _fill_vm(
    stack: ExitStack, vm: Vm | None, system: System, memory: GuestMemory, *, cpus: int, pit: bool
) -> Vm:
    """Returns a VM that has memory, vCPUs and the devices that KVM emulates.

    That VM is `vm`, which has its interrupt controllers already. If `vm` is None, this function
    makes a new VM.
    """
    most = min(system.check_extension(KVM_CAP_MAX_VCPUS), MAX_VCPUS)
    if cpus > most:
        raise ConfigError(f"{cpus} vCPUs are too many", f"this host's KVM can do {most}")
    made = stack.enter_context(vm or Vm(system))
    made.set_tss_address(layout.TSS)
    made.map_memory(memory)
    if vm is None:
        made.create_irqchip()
    if pit:
        made.create_pit()
    for number in range(cpus):
        vcpu = made.create_vcpu()
        vcpu.cpuid = for_vcpu(system.supported_cpuid, number, cpus)
        vcpu.set_msrs(FIRMWARE)
    return made


def _add_pc(board: Board, control: RunControl, end: Callable[[End], None]) -> None:
    def add(name: str, device: Device, first: int, count: int = 1, **more: Any) -> None:
        board.add(Placed(name, device, ports=[(first, count)], **more))

    low, *high = (region.size for region in board.memory.regions)
    add("cmos", Cmos(low, sum(high)), layout.CMOS_PORT, layout.CMOS_PORTS, acpi=RTC)
    add("pvpanic", Pvpanic(lambda: end(PANIC)), layout.PVPANIC_PORT, acpi=PVPANIC)
    exit_port = ExitPort(lambda status: end(End("exit-port", status)))
    add("exit-port", exit_port, layout.EXIT_PORT)
    keyboard = KeyboardController(lambda: end(RESET))
    add("keyboard", keyboard, layout.KEYBOARD_CONTROLLER_PORT)
    add("keyboard-data", keyboard.data, layout.KEYBOARD_DATA_PORT)
    add("system-control", SystemControl(lambda: end(RESET)), layout.SYSTEM_CONTROL_PORT)
    reset = ResetControl(lambda: end(RESET))
    add("reset-control", reset, layout.RESET_CONTROL_PORT, layout.RESET_CONTROL_PORTS)
    add("cursor", Cursor(), layout.CURSOR_PORT, layout.CURSOR_PORTS)
    sci = layout.SCI_IRQ
    events = Pm1Event(board.irq_line(sci))
    add("pm1-event", events, layout.PM1_EVENT_PORT, layout.PM1_EVENT_PORTS, irq=sci)
    control.power_button = events.press_power_button
    power = Pm1Control(lambda: end(POWER_OFF))
    add("pm1-control", power, layout.PM1_CONTROL_PORT, layout.PM1_CONTROL_PORTS)


def _add_uarts(board: Board, lines: Sequence[SerialLine], *, coalesce: bool) -> None:
    for number, (line, (port, irq)) in enumerate(zip(lines, UARTS, strict=False), 1):
        uart, ports = line.connect(board.irq_line(irq)), (port, layout.UART_PORTS)
        acpi = AcpiDevice(f"COM{number}", "PNP0501", number, ports, irq)
        board.add(Placed(f"com{number}", uart, ports=[ports], irq=irq, acpi=acpi))
        if coalesce:
            # KVM keeps a written byte until the next exit. Linux reads LSR or IIR soon after
            # each write, so a byte doesn't wait for long, and the console takes one exit for
            # each byte instead of two.
            board.vm.coalesce_port(port)
