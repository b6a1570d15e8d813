"""A virtual machine with the devices of a small PC: from a configuration to how it ended.

    with Machine(MachineConfig(image="hello", serial="stdio")) as machine:
        print(machine.run())

Making one resolves and opens all that its configuration names; after that no path is looked
at. `run` runs it on the caller's thread, `start` on a thread of its own.
"""

import os
import time
from contextlib import ExitStack
from threading import Thread, Timer, get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

from ringlet import boot
from ringlet.board import layout
from ringlet.board.acpi import PVPANIC, RTC, AcpiDevice, write_tables
from ringlet.board.bus import MmioBus, PortBus, Unclaimed
from ringlet.board.device import Device, IrqLine
from ringlet.board.irq import KvmIrqLine
from ringlet.closing import Closing
from ringlet.devices.acpi_pm import Pm1Control, Pm1Event
from ringlet.devices.cmos import Cmos
from ringlet.devices.exit_port import ExitPort
from ringlet.devices.keyboard_controller import KeyboardController
from ringlet.devices.pvpanic import Pvpanic
from ringlet.errors import ConfigError, RingletError
from ringlet.host.output import OutputClosedError
from ringlet.host.serial_port import SerialPort
from ringlet.host.thread import start_without_signals
from ringlet.kvm import ahead
from ringlet.kvm.cpuid import for_vcpu
from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.kvm.msrs import FIRMWARE
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm
from ringlet.machine.config import MachineConfig
from ringlet.machine.control import (
    KILLED,
    OUTPUT_CLOSED,
    PANIC,
    POWER_OFF,
    RESET,
    STOPPED,
    TIMEOUT,
    End,
    RunControl,
)
from ringlet.machine.guests import find_image
from ringlet.machine.runloop import VcpuLoop, short_switch_interval
from ringlet.machine.serial_line import SerialLine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringlet.host.console_log import ConsoleLog
    from ringlet.machine.crash import Crash
    from ringlet.virtio.device import VirtioDevice
    from ringlet.virtio.mmio import VirtioMmio

KVM_CAP_MAX_VCPUS = 66
MAX_VCPUS = 255  # more have APIC IDs that KVM takes for the broadcast, or wants a capability for
KVM_CAP_COALESCED_PIO = 162
UARTS = (
    (layout.COM1_PORT, layout.COM1_IRQ),
    (layout.COM2_PORT, layout.COM2_IRQ),
    (layout.COM3_PORT, layout.COM3_IRQ),
)
DEFAULT_MEMORY = 64 * layout.MIB
LINUX_MEMORY = 256 * layout.MIB


class Timings:
    """When each step was over: CLOCK_MONOTONIC in nanoseconds, None while it isn't."""

    __slots__ = ("end", "first_exit", "first_output", "image_loaded", "vm_created")

    def __init__(self) -> None:
        self.vm_created: int | None = None
        self.image_loaded: int | None = None
        self.first_exit: int | None = None
        self.first_output: int | None = None
        self.end: int | None = None


class Result(NamedTuple):
    """How a run ended, and what it took."""

    reason: str
    status: int
    exits: dict[str, int]
    unclaimed: dict[str, int]
    crash: "Crash | None"


class Machine(Closing):
    """A machine that has been opened and not yet run: a context manager, for one run.

    Raises `RingletError` where something that `config` names can't be had. `virtio` are more
    devices, a program's own, closed with the machine. `output_fd` is where a serial line of `stdio`
    writes.
    """

    def __init__(
        self,
        config: MachineConfig,
        *,
        virtio: "Sequence[VirtioDevice]" = (),
        output_fd: int = 1,
    ) -> None:
        self.config = config
        self.id = f"ringlet-{os.urandom(6).hex()}"
        self.timings = Timings()
        self.unclaimed = Unclaimed()
        self.mmio = MmioBus(self.unclaimed, layout.IN_KERNEL_MMIO)
        self.virtio: list[VirtioMmio] = []
        self.result: Result | None = None
        self.console_log: ConsoleLog | None = None  # of a Linux kernel
        self._started = False
        self._running = False  # once it is, `set_ended` is sure to come
        self._closed = False
        self._paused = False
        self._thread: Thread | None = None
        self._runners: set[int] = set()  # the threads that run vCPUs
        self._stack = ExitStack()
        with ExitStack() as stack:
            self._open(stack, virtio, output_fd)
            self._stack = stack.pop_all()

    def _open(self, stack: ExitStack, virtio: "Sequence[VirtioDevice]", output_fd: int) -> None:
        config = self.config
        image = stack.enter_context(_open_image(config.image))
        modules = [
            (stack.enter_context(boot.open_image(source)), os.fsencode(arguments))
            for source, arguments in _modules(config)
        ]
        protocol = config.protocol or boot.detect(image)
        is_linux = protocol == "linux" or (protocol == "pvh" and boot.detect(image) == "linux")
        pit = is_linux or protocol == "multiboot" if config.pit is None else config.pit
        in_kernel = layout.IN_KERNEL_PORTS + layout.PIT_PORTS * pit
        self.ports = PortBus(self.unclaimed, in_kernel)
        self.control = RunControl()
        stack.callback(self.control.close)
        console = SerialLine(config.serial, self.control, output_fd=output_fd)
        self.lines = [stack.enter_context(console)]
        for target in (config.com2, config.com3):
            if target is not None:
                line = SerialLine(target, self.control, output_fd=output_fd)
                self.lines.append(stack.enter_context(line))
        if is_linux:
            from ringlet.host.console_log import ConsoleLog

            self.console_log = ConsoleLog(console.transmit)
            console.transmit = self.console_log.transmit
            console.transmit_polled = self.console_log.gather

        memory = config.memory or (LINUX_MEMORY if is_linux else DEFAULT_MEMORY)
        self.memory = _memory(memory)
        stack.callback(self.memory.close)
        with System() as system:
            if is_linux and not config.force:
                from ringlet.machine.probe import require_linux

                require_linux(system, image.name)
            self._make_vm(stack, system, pit=pit)
            coalesce = is_linux and config.cpus == 1
            self._coalesces = coalesce and bool(system.check_extension(KVM_CAP_COALESCED_PIO))
        self._add_devices()
        command_line = config.cmdline
        if config.disks or virtio:
            from ringlet.machine.virtio_slots import VirtioSlots

            slots = VirtioSlots(stack, self.vm, self.memory, self.mmio, self.control.fail)
            slots.fill(config.disks, virtio)
            self.virtio = slots.transports
            self._acpi_devices += slots.acpi_devices
            # Linux finds its devices by ACPI, and a flat image takes no words.
            if not is_linux and protocol != "flat":
                command_line = " ".join([config.cmdline, *slots.words]).strip()
        if protocol != "flat":
            write_tables(self.memory, cpus=config.cpus, devices=self._acpi_devices)
        self.timings.vm_created = time.monotonic_ns()

        entry = boot.load(
            image,
            self.memory,
            protocol=protocol,
            command_line=os.fsencode(command_line),
            modules=modules,
            load_address=config.load_address,
            decompress=None if config.decompress is None else config.decompress == "host",
        )
        self.vm.vcpus[0].special_registers = entry.special
        self.vm.vcpus[0].registers = entry.registers
        self.timings.image_loaded = time.monotonic_ns()

    def _make_vm(self, stack: ExitStack, system: System, *, pit: bool) -> None:
        cpus = self.config.cpus
        most = min(system.check_extension(KVM_CAP_MAX_VCPUS), MAX_VCPUS)
        if cpus > most:
            raise ConfigError(f"{cpus} vCPUs are too many", f"this host's KVM can do {most}")
        vm = ahead.take()
        self.vm = stack.enter_context(vm or Vm(system))
        self.vm.set_tss_address(layout.TSS)
        self.vm.map_memory(self.memory)
        if vm is None:
            self.vm.create_irqchip()
        if pit:
            self.vm.create_pit()
        for number in range(cpus):
            vcpu = self.vm.create_vcpu()
            vcpu.cpuid = for_vcpu(system.supported_cpuid, number, cpus)
            vcpu.set_msrs(FIRMWARE)
            self.control.attach(vcpu)

    def _add_devices(self) -> None:
        self._acpi_devices = [RTC, PVPANIC]
        for number, (line, (port, irq)) in enumerate(zip(self.lines, UARTS, strict=False), 1):
            ports = (port, layout.UART_PORTS)
            self._acpi_devices.append(AcpiDevice(f"COM{number}", "PNP0501", number, ports, irq))
            self.ports.add(port, layout.UART_PORTS, line.connect(self.irq_line(irq)))
            if self._coalesces:
                # Linux looks at LSR or IIR before it goes on: a byte doesn't wait for long, and
                # the console takes one exit for each instead of two.
                self.vm.coalesce_port(port)
        exit_port = ExitPort(lambda status: self._end(End("exit-port", status)))
        self.ports.add(layout.EXIT_PORT, 1, exit_port)
        keyboard = KeyboardController(self._on_reset)
        self.ports.add(layout.KEYBOARD_CONTROLLER_PORT, 1, keyboard)
        self.ports.add(layout.KEYBOARD_DATA_PORT, 1, keyboard.data)
        low, *high = (region.size for region in self.memory.regions)
        cmos = Cmos(low, sum(high))
        self.ports.add(layout.CMOS_PORT, layout.CMOS_PORTS, cmos)
        self.ports.add(layout.PVPANIC_PORT, 1, Pvpanic(lambda: self._end(PANIC)))
        self.ports.add(layout.PM1_EVENT_PORT, layout.PM1_EVENT_PORTS, Pm1Event())
        power = Pm1Control(lambda: self._end(POWER_OFF))
        self.ports.add(layout.PM1_CONTROL_PORT, layout.PM1_CONTROL_PORTS, power)

    def _on_reset(self) -> None:
        # A kernel that has panicked and has no device to say so on resets.
        panicked = self.console_log is not None and self.console_log.tells_of_panic
        self._end(PANIC if panicked else RESET)

    def _end(self, end: End) -> None:
        """The guest ends the run. What it said before is written first: later, nothing waits."""
        if self.console_log is not None:
            self.console_log.flush()
        self.control.finish(end)

    # A program's own devices, before the run.

    def add_port_device(self, first: int, count: int, device: Device) -> None:
        """Gives `device` `count` ports from `first` on. Raises `ConfigError` if one is taken."""
        self.ports.add(first, count, device)

    def add_mmio_device(self, address: int, size: int, device: Device) -> None:
        """Gives `device` guest-physical addresses. Raises `ConfigError` if one is taken."""
        for region in self.memory.regions:
            if address < region.address + region.size and region.address < address + size:
                raise ConfigError(
                    f"the device at {address:#x} would lie in the guest's RAM",
                    f"put it between {layout.MMIO_HOLE:#x} and {layout.MMIO_HOLE_END:#x}",
                )
        self.mmio.add(address, size, device)

    def irq_line(self, number: int) -> IrqLine:
        """The interrupt line of this number, 0 to 23, for a device to raise."""
        if not 0 <= number < layout.IRQ_LINES:
            raise ConfigError(
                f"there is no interrupt line {number}", f"use one of 0 to {layout.IRQ_LINES - 1}"
            )
        return KvmIrqLine(self.vm, number)

    @property
    def serial(self) -> SerialPort:
        """The program's end of the serial line, where the configuration's serial is `pipe`."""
        port = self.lines[0].port
        if port is None:
            raise ConfigError(
                f"the serial line ends at {self.config.serial!r}, not here",
                'leave serial out of the configuration, or make it "pipe"',
            )
        return port

    @property
    def pty(self) -> str | None:
        """The path of the pseudo-terminal, where the configuration's serial is `pty`."""
        return self.lines[0].host.path

    # The run.

    def run(self) -> Result:
        """Runs on this thread to the end.

        Raises `RingletError` where ringlet could not go on, and whatever a device raises.
        """
        self._claim()
        self._run()
        return self._outcome()

    def start(self) -> None:
        """Runs on a thread of its own."""
        self._claim()
        thread = Thread(target=self._run, name="ringlet-vcpu0", daemon=True)
        try:
            start_without_signals(thread)
        except RingletError:
            self._started = False
            raise
        self._thread = thread

    def wait(self, timeout: float | None = None) -> Result | None:
        """Waits for the end of a run; None if it hasn't come after `timeout` seconds.

        Raises as `run` does.
        """
        if not self._started:
            raise RingletError("this machine was never started", "call start() or run() first")
        self._not_from_within()
        if not self.control.wait(timeout):
            return None
        return self._outcome()

    def pause(self) -> None:
        """Returns when no vCPU runs and no device works; `resume` lets them go on.

        The guest's clocks go on. Again, or after the end, is harmless.
        """
        self._not_from_within()
        if not self._paused:
            self._paused = True
            self.control.pause()
            for device in self.virtio:
                device.quiesce()

    def resume(self) -> None:
        """Ends a pause."""
        if self._paused:
            self._paused = False
            for device in self.virtio:
                device.resume()
            self.control.resume()

    def stats(self) -> dict[str, Any]:
        """What it has done so far: exits of each kind."""
        return {"exits": self._exits()}

    def stop(self, timeout: float | None = None) -> Result | None:
        """Ends the run and waits, as `wait` does. A device calls `kill`, which doesn't wait."""
        self._not_from_within()
        self.control.finish(STOPPED)
        return self.wait(timeout)

    def kill(self) -> None:
        """Ends the run and doesn't wait."""
        self.control.finish(KILLED)

    def fileno(self) -> int:
        """Readable once the run has ended: for select, poll and asyncio."""
        return self.control.ended_fd

    def _not_from_within(self) -> None:
        if get_ident() in self._runners and not self.control.has_ended:
            raise RingletError(
                "the run can't wait for itself: this is its own thread", "call kill() instead"
            )

    def _claim(self) -> None:
        if self._started or self._closed:
            raise RingletError(
                "this machine has run already, or is closed", "make a new one for each run"
            )
        self._started = True

    def _outcome(self) -> Result:
        if self.control.error is not None:
            raise self.control.error
        assert self.result is not None
        return self.result

    def _run(self) -> None:
        self._running = True
        try:
            self._run_and_finish()
        finally:
            self.control.set_ended()

    def _run_and_finish(self) -> None:
        control = self.control
        loops: list[VcpuLoop] = []
        flush = None if self.console_log is None else self.console_log.flush
        for vcpu in self.vm.vcpus:
            loops.append(VcpuLoop(vcpu, self.ports, self.mmio, control, loops, flush))
        threads: list[Thread] = []
        try:
            for line in self.lines:
                line.start()
            for device in self.virtio:
                device.start()
            if self.config.timeout is not None:
                timer = Timer(self.config.timeout, control.finish, [TIMEOUT])
                threads.append(timer)
            for loop in loops[1:]:
                name = f"ringlet-vcpu{loop.vcpu.number}"
                threads.append(Thread(target=self._run_vcpu, args=(loop, lambda: None), name=name))
            for thread in threads:
                thread.daemon = True
                start_without_signals(thread)
            with short_switch_interval():
                self._run_vcpu(loops[0], self._first_exit)
        except BaseException as error:
            control.fail(error)
        try:
            self.timings.end = time.monotonic_ns()
            self.timings.first_output = self.lines[0].first_output
            for thread in threads:
                if isinstance(thread, Timer):
                    thread.cancel()
                if thread.ident is not None:
                    thread.join()
            for device in self.virtio:
                device.stop()
            for line in self.lines:
                line.stop()
            self._finish(loops)
        except BaseException as error:
            control.fail(error)

    def _run_vcpu(self, loop: VcpuLoop, on_first_exit: "Callable[[], None]") -> None:
        self._runners.add(get_ident())
        try:
            loop.run(on_first_exit)
            if self.console_log is not None:
                self.console_log.flush()
        except OutputClosedError:
            self.control.finish(OUTPUT_CLOSED)
        except BaseException as error:
            self.control.fail(error)

    def _first_exit(self) -> None:
        self.timings.first_exit = time.monotonic_ns()

    def _finish(self, loops: list[VcpuLoop]) -> None:
        assert self.control.end is not None
        end = self._judge(self.control.end)
        crash = None
        for loop in loops:
            if loop.fatal_exit is not None:
                from ringlet.machine.crash import examine

                crash = examine(loop.vcpu, self.memory, loop.fatal_exit)
                break
        unclaimed = {"reads": self.unclaimed.reads, "writes": self.unclaimed.writes}
        self.result = Result(end.reason, end.status, self._exits(), unclaimed, crash)

    def _judge(self, end: End) -> End:
        """How the run ended, if `end` ended it: a subclass may know better."""
        return end

    def _exits(self) -> dict[str, int]:
        exits: dict[str, int] = {}
        for vcpu in self.vm.vcpus:
            for kind, count in vcpu.exits.items():
                exits[kind] = exits.get(kind, 0) + count
        return exits

    def close(self) -> None:
        """Ends a run that is under way, and closes all that was opened."""
        self._not_from_within()
        self._closed = True
        self.control.finish(STOPPED)
        if self._thread is not None:
            self._thread.join()
        elif self._running:
            self.control.wait()
        self._stack.close()


def _open_image(image: str | os.PathLike[str] | bytes) -> boot.Image:
    return boot.open_image(image if isinstance(image, bytes) else find_image(os.fspath(image)))


def _modules(config: MachineConfig) -> list[tuple[str | os.PathLike[str] | bytes, str]]:
    """Path or bytes, and command line, of each module; the initrd is the first."""
    found: list[tuple[str | os.PathLike[str] | bytes, str]] = []
    if config.initrd is not None:
        found.append((config.initrd, ""))
    for module in config.modules:
        path, _, arguments = module.partition(",")
        found.append((path, arguments))
    return found


def _memory(size: int) -> GuestMemory:
    try:
        return GuestMemory([anonymous(a, length) for a, length in layout.ram_ranges(size)])
    except OSError as error:
        raise ConfigError(
            f"the host can't map {size // layout.MIB} MiB for the guest: {error.strerror}",
            "give the guest less, or look at `ulimit -v`",
        ) from error
