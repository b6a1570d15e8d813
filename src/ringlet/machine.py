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
from typing import TYPE_CHECKING, NamedTuple

from ringlet import boot
from ringlet.board import layout
from ringlet.board.bus import MmioBus, PortBus, Unclaimed
from ringlet.board.device import Device, IrqLine
from ringlet.board.irq import KvmIrqLine
from ringlet.closing import Closing
from ringlet.config import MachineConfig
from ringlet.control import KILLED, OUTPUT_CLOSED, QUIT, RESET, STOPPED, TIMEOUT, End, RunControl
from ringlet.devices.exit_port import ExitPort
from ringlet.devices.keyboard_controller import KeyboardController
from ringlet.devices.uart16550 import Uart16550
from ringlet.errors import ConfigError, RingletError
from ringlet.guests import find_image
from ringlet.host.output import OutputClosedError
from ringlet.host.serial import open_serial
from ringlet.host.serial_port import SerialPort
from ringlet.host.thread import start_without_signals
from ringlet.kvm import ahead
from ringlet.kvm.cpuid import for_vcpu
from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm
from ringlet.runloop import VcpuLoop, short_switch_interval

if TYPE_CHECKING:
    from ringlet.crash import Crash


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

    Raises `RingletError` where something that `config` names can't be had. `output_fd` is
    where a serial line of `stdio` writes.
    """

    def __init__(self, config: MachineConfig, *, output_fd: int = 1) -> None:
        self.config = config
        self.timings = Timings()
        self.unclaimed = Unclaimed()
        in_kernel = layout.IN_KERNEL_PORTS + layout.PIT_PORTS * config.pit
        self.ports = PortBus(self.unclaimed, in_kernel)
        self.mmio = MmioBus(self.unclaimed, layout.IN_KERNEL_MMIO)
        self.result: Result | None = None
        self._started = False
        self._running = False  # once it is, `set_ended` is sure to come
        self._closed = False
        self._thread: Thread | None = None
        self._runner = 0  # the thread that runs it
        self._stack = ExitStack()
        with ExitStack() as stack:
            self._open(stack, output_fd)
            self._stack = stack.pop_all()

    def _open(self, stack: ExitStack, output_fd: int) -> None:
        config = self.config
        image = stack.enter_context(_open_image(config.image))
        modules = [
            (stack.enter_context(boot.open_image(path)), os.fsencode(arguments))
            for path, arguments in _modules(config)
        ]
        self.control = RunControl()
        stack.callback(self.control.close)
        target = config.serial
        self._serial_port: SerialPort | None = None
        if target == "pipe":
            self._serial_port = SerialPort()
            stack.callback(self._serial_port.close)
            guest_in, guest_out = self._serial_port.guest_end
            target = (guest_in, guest_out)
        self._host = open_serial(
            target,
            stop_fd=self.control.stop_fd,
            on_quit=lambda: self.control.finish(QUIT),
            output_fd=output_fd,
        )
        stack.callback(self._host.close)

        self.memory = _memory(config.memory)
        stack.callback(self.memory.close)
        with System() as system:
            vm = ahead.take()
            self.vm = stack.enter_context(vm or Vm(system))
            self.vm.set_tss_address(layout.TSS)
            self.vm.map_memory(self.memory)
            if vm is None:
                self.vm.create_irqchip()
            if config.pit:
                self.vm.create_pit()
            self.vcpu = self.vm.create_vcpu()
            self.vcpu.cpuid = for_vcpu(system.supported_cpuid, self.vcpu.number)
        self.control.attach(self.vcpu)
        self._add_devices()
        self.timings.vm_created = time.monotonic_ns()

        entry = boot.load(
            image,
            self.memory,
            protocol=config.protocol,
            command_line=os.fsencode(config.cmdline),
            modules=modules,
            load_address=config.load_address,
        )
        self.vcpu.special_registers = entry.special
        self.vcpu.registers = entry.registers
        self.timings.image_loaded = time.monotonic_ns()

    def _add_devices(self) -> None:
        control = self.control
        self.uart = Uart16550(self.irq_line(layout.COM1_IRQ), self._first_output)
        self.ports.add(layout.COM1_PORT, layout.UART_PORTS, self.uart)
        exit_port = ExitPort(lambda status: control.finish(End("exit-port", status)))
        self.ports.add(layout.EXIT_PORT, 1, exit_port)
        keyboard = KeyboardController(lambda: control.finish(RESET))
        self.ports.add(layout.KEYBOARD_CONTROLLER_PORT, 1, keyboard)

    def _first_output(self, data: bytes) -> None:
        self.timings.first_output = time.monotonic_ns()
        self.uart.transmit = self._host.transmit
        self._host.transmit(data)

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
        if self._serial_port is None:
            raise ConfigError(
                f"the serial line ends at {self.config.serial!r}, not here",
                'leave serial out of the configuration, or make it "pipe"',
            )
        return self._serial_port

    @property
    def pty(self) -> str | None:
        """The path of the pseudo-terminal, where the configuration's serial is `pty`."""
        return self._host.path

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
        except RuntimeError as error:
            self._started = False
            raise RingletError(f"no thread for the vCPU: {error}", "look at `ulimit -u`") from error
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
        if self._runner == get_ident() and not self.control.has_ended:
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
        self._runner = get_ident()
        self._running = True
        try:
            self._run_and_finish()
        finally:
            self.control.set_ended()

    def _run_and_finish(self) -> None:
        control = self.control
        loop = VcpuLoop(self.vcpu, self.ports, self.mmio, control)
        timer: Timer | None = None
        try:
            self._host.start(self.uart)
            if self.config.timeout is not None:
                timer = Timer(self.config.timeout, control.finish, [TIMEOUT])
                timer.daemon = True
                start_without_signals(timer)
            with short_switch_interval():
                loop.run(self._first_exit)
        except OutputClosedError:
            control.finish(OUTPUT_CLOSED)
        except BaseException as error:
            control.fail(error)
        try:
            self.timings.end = time.monotonic_ns()
            if timer is not None:
                timer.cancel()
                timer.join()
            self._host.close()
            if self._serial_port is not None:
                self._serial_port.hang_up()
            self._finish(loop)
        except BaseException as error:
            control.fail(error)

    def _first_exit(self) -> None:
        self.timings.first_exit = time.monotonic_ns()

    def _finish(self, loop: VcpuLoop) -> None:
        end = self.control.end
        assert end is not None
        crash = None
        if loop.fatal_exit is not None:
            from ringlet.crash import examine

            crash = examine(self.vcpu, self.memory, loop.fatal_exit)
        unclaimed = {"reads": self.unclaimed.reads, "writes": self.unclaimed.writes}
        self.result = Result(end.reason, end.status, self.vcpu.exits, unclaimed, crash)

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


def _modules(config: MachineConfig) -> list[tuple[str, str]]:
    """Path and command line of each module; the initrd is the first."""
    found = [] if config.initrd is None else [(os.fspath(config.initrd), "")]
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
