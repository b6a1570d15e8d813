"""A virtual machine with the devices of a small PC: from its configuration to its result.

    with Machine(MachineConfig(image="hello", serial="stdio")) as machine:
        print(machine.run())

The constructor opens every file that the configuration names; after that, the machine looks at
no path. `run` runs the machine on the caller's thread, `start` runs it on a new thread.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import cached_property
from threading import Thread, Timer, get_ident, get_native_id

from ringlet.board.board import Placed
from ringlet.closing import Closing
from ringlet.errors import ConfigError, RingletError
from ringlet.host.outcome import STOP_TIMEOUT, Usage
from ringlet.host.output import OutputClosedError
from ringlet.host.processor_time import ProcessorTime
from ringlet.host.thread import start_without_signals
from ringlet.machine.assemble import (
    assemble,
    boot_on,
    log_console,
    open_kernel,
    open_lines,
    open_modules,
    system_refusal,
)
from ringlet.machine.control import (
    KILLED,
    OUTPUT_CLOSED,
    PANIC,
    RESET,
    STOPPED,
    TIMEOUT,
    RunControl,
)
from ringlet.machine.result import Result, Timings
from ringlet.machine.runloop import VcpuLoop, short_switch_interval

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringlet.board.device import Device, IrqLine
    from ringlet.boot.image import Image
    from ringlet.boot.kernel import Kernel
    from ringlet.boot.symbols import Symbols
    from ringlet.host.console_log import ConsoleLog
    from ringlet.host.serial import SerialHost
    from ringlet.host.serial_port import SerialPort
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.kvm.vm import Vm
    from ringlet.machine.config import MachineConfig
    from ringlet.machine.control import (
        End,
    )
    from ringlet.machine.inquiry import Inquiry
    from ringlet.machine.situation import Situation
    from ringlet.machine.unclaimed import UnclaimedAccess
    from ringlet.virtio.device import VirtioDevice
else:
    pass


class Machine(Closing):
    """A virtual machine for one run, opened by the constructor: a context manager.

    kernel     the kernel that `config` names, if the caller has opened it; None to open it
    virtio     a program's own virtio devices, beside the disks
    output_fd  the descriptor that a serial line of target `stdio` writes to
    vm         a VM that was made ahead (kvm/ahead.py); None to make one

    The machine closes `kernel`, the devices in `virtio` and `vm`. Raises `RingletError` if the
    machine can't open something that `config` names.
    """

    def __init__(
        self,
        config: MachineConfig,
        *,
        kernel: Kernel | None = None,
        virtio: Sequence[VirtioDevice] = (),
        output_fd: int = 1,
        vm: Vm | None = None,
    ) -> None:
        self.config = config
        self._timeout = config.timeout
        self.id = f"ringlet-{os.urandom(6).hex()}"
        self.timings = Timings()
        self.result: Result | None = None
        self.console_log: ConsoleLog | None = None  # of a Linux kernel
        self.hvc0: SerialHost | None = None  # the host's end of the virtio terminal
        self._first_unclaimed: UnclaimedAccess | None = None
        self._inquiry: Inquiry | None = None
        self._started = False
        self._running = False  # once this is True, `set_ended` is sure to be called
        self._closed = False
        self._paused = False
        self._thread: Thread | None = None
        self._runners: set[int] = set()  # the threads that run vCPUs
        self._processor_time = ProcessorTime()
        self._stack = ExitStack()
        try:
            with ExitStack() as stack:
                self._open(stack, kernel, virtio, output_fd, vm)
                self._stack = stack.pop_all()
        except (OSError, RingletError) as error:
            if (refusal := system_refusal(error)) is not None:
                raise refusal from error
            raise

    def _open(
        self,
        stack: ExitStack,
        kernel: Kernel | None,
        virtio: Sequence[VirtioDevice],
        output_fd: int,
        vm: Vm | None,
    ) -> None:
        config = self.config
        if vm is not None:
            stack.callback(vm.close)
        kernel = open_kernel(config) if kernel is None else kernel
        self._kernel = stack.enter_context(kernel)
        modules = open_modules(stack, config)
        self.control = RunControl()
        stack.callback(self.control.close)
        self.lines = open_lines(stack, config, self.control, output_fd)
        for line in self.lines:
            line.host.inquire = lambda terminal: self.inquire(lambda at: terminal.show(at.text()))
        if config.hvc0 is not None:
            from ringlet.machine.hvc import HvcLine

            hvc = stack.enter_context(HvcLine(config.hvc0, self.control, output_fd=output_fd))
            hvc.host.inquire = self.lines[0].host.inquire
            self.hvc0 = hvc.host
            virtio = (hvc.device, *virtio)
        if kernel.is_linux:
            self.console_log = log_console(self.lines[0])
        self.board, self.virtio = assemble(
            stack,
            config,
            kernel,
            vm=vm,
            control=self.control,
            lines=self.lines,
            virtio=virtio,
            end=self._end,
        )
        self.memory, self.vm = self.board.memory, self.board.vm
        self.unclaimed = self.board.unclaimed
        if not kernel.is_linux:  # Linux looks for many devices that this machine doesn't have
            self.unclaimed.on_first = self._note_unclaimed
        self.timings.vm_created = time.monotonic_ns()
        boot_on(self.board, config, kernel, modules)
        self.timings.image_loaded = time.monotonic_ns()

    def _end(self, end: End) -> None:
        """Ends the run for the guest, and writes the guest's output first.

        After `finish`, output that would have to wait is lost.
        """
        if self.console_log is not None:
            self.console_log.flush()
            # A kernel that panics and has no pvpanic driver resets the machine instead.
            if end == RESET and self.console_log.tells_of_panic:
                end = PANIC
        self.control.finish(end)

    @cached_property
    def symbols(self) -> Symbols:
        """The symbols of the image, or of the debug file beside the image; empty if none."""
        return self._kernel.symbols()

    def loaded_at(self, virtual: int) -> int | None:
        """Returns where the kernel's loader put a virtual address of the image's segments.

        A kernel such as Linux maps its own addresses only after its first instructions.
        """
        for segment in self._kernel.loaded.segments:
            if 0 <= virtual - segment.virtual < segment.memory_size:
                return segment.address + virtual - segment.virtual
        return None

    def debug_information(self) -> list[Image]:
        """Opens the files that may have debug information; the caller closes each of them."""
        return self._kernel.debug_information()

    @property
    def has_started(self) -> bool:
        """Whether the run has begun."""
        return self._started

    def take_timeout(self) -> float | None:
        """Returns the timeout, which the caller ends the run after from now on."""
        timeout, self._timeout = self._timeout, None
        return timeout

    @property
    def devices(self) -> list[Placed]:
        """All devices, each with its name, its addresses, its interrupt and its state."""
        return list(self.board.devices)

    # A program may add its own devices before the run.

    def add_port_device(self, first: int, count: int, device: Device) -> None:
        """Gives `device` the `count` ports from `first` on.

        Raises `ConfigError` if another device has one of them.
        """
        self.board.add(Placed(type(device).__name__, device, ports=[(first, count)]))

    def add_mmio_device(self, address: int, size: int, device: Device) -> None:
        """Gives `device` the `size` guest-physical addresses from `address` on.

        Raises `ConfigError` if one of them is taken.
        """
        self.board.add(Placed(type(device).__name__, device, mmio=[(address, size)]))

    def irq_line(self, number: int) -> IrqLine:
        """Returns the interrupt line of this number, 0 to 23; a device raises it."""
        return self.board.irq_line(number)

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
        """Runs the machine on this thread until the run ends.

        Raises `RingletError` if ringlet could not go on: a `DeviceError` if a program's device
        failed, with the device's own exception as its cause.
        """
        self._claim()
        self._run()
        return self._outcome()

    def start(self) -> None:
        """Starts the run on a new thread."""
        self._claim()
        thread = Thread(target=self._run, name="ringlet-vcpu0", daemon=True)
        try:
            start_without_signals(thread)
        except RingletError:
            self._started = False
            raise
        self._thread = thread

    def wait(self, timeout: float | None = None) -> Result | None:
        """Waits for the end of the run; returns None if the run goes on after `timeout` seconds.

        Raises the same exceptions as `run`.
        """
        if not self._started:
            raise RingletError("this machine was never started", "call start() or run() first")
        self._not_from_within()
        if not self.control.wait(timeout):
            return None
        return self._outcome()

    def pause(self) -> None:
        """Pauses the run: waits until no vCPU runs and no device works; `resume` ends the pause.

        The guest's clocks go on. A second call, or a call after the end, does nothing.
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

    def usage(self) -> Usage:
        """Returns the processor time and the exits that the machine has used so far.

        The processor time is the time of the vCPUs' threads; most devices work on these threads,
        too. The machine's memory is a part of this process's memory, which Linux doesn't count
        separately.
        """
        exits: dict[str, int] = {}
        for vcpu in self.vm.vcpus:
            for kind, count in vcpu.exits.items():
                exits[kind] = exits.get(kind, 0) + count
        return Usage(processor=self._processor_time.read(), exits=exits)

    def stop(self, timeout: float = STOP_TIMEOUT) -> Result:
        """Presses the power button, ends the run after `timeout` seconds, and waits for the end.

        If the guest doesn't listen for the button, the run ends at once. A device must call `kill`
        instead, because `kill` doesn't wait.
        """
        self._not_from_within()
        if not (self.control.press_power_button() and self.control.wait(timeout)):
            self.control.finish(STOPPED)
        result = self.wait()
        assert result is not None
        return result

    def kill(self) -> None:
        """Ends the run, and doesn't wait for the end."""
        self.control.finish(KILLED)

    def inquire(self, show: Callable[[Situation], object]) -> None:
        """Asks each vCPU what it does, and doesn't wait for the answers.

        A thread of a vCPU calls `show` once with the answers, a moment later. Any thread and any
        signal handler may call this. In a pause, and after the end of the run, nobody answers.
        """
        from ringlet.machine.inquiry import Inquiry

        self._inquiry = Inquiry(self, show)
        for vcpu in self.vm.vcpus:
            vcpu.kick()

    def fileno(self) -> int:
        """Returns a descriptor for select, poll and asyncio: readable once the run has ended."""
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
        control, board = self.control, self.board
        loops: list[VcpuLoop] = []
        for vcpu in self.vm.vcpus:
            loops.append(VcpuLoop(vcpu, board.ports, board.mmio, control, loops, self._look))
        threads: list[Thread] = []
        try:
            for line in self.lines:
                line.start()
            for device in self.virtio:
                device.start()
            if self._timeout is not None:
                timer = Timer(self._timeout, control.finish, [TIMEOUT])
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

    def _run_vcpu(self, loop: VcpuLoop, on_first_exit: Callable[[], None]) -> None:
        self._runners.add(get_ident())
        self._processor_time.begin()
        try:
            loop.run(on_first_exit)
            if self.console_log is not None:
                self.console_log.flush()
        except OutputClosedError:
            self.control.finish(OUTPUT_CLOSED)
        except Exception as error:
            self.control.fail(self._explain(loop, error))
        except BaseException as error:
            self.control.fail(error)
        finally:
            self._processor_time.end()

    def _explain(self, loop: VcpuLoop, error: Exception) -> Exception:
        """Returns the error to raise for `error`, which ended `loop`: a device may have failed."""
        if loop.failed is None:
            return error
        from ringlet.machine.device_error import device_error

        return device_error(self.board.devices, loop.vcpu, *loop.failed, error)

    def _look(self, vcpu: Vcpu) -> None:
        """Does what is due ten times a second on the thread of `vcpu`, and after a kick."""
        if self.console_log is not None:
            self.console_log.flush()
        inquiry = self._inquiry
        if inquiry is not None and inquiry.answer(vcpu) and self._inquiry is inquiry:
            self._inquiry = None

    def _note_unclaimed(self, address: int, size: int, value: int | None) -> None:
        from ringlet.machine.unclaimed import note_unclaimed

        thread = get_native_id()
        for vcpu in self.vm.vcpus:
            if vcpu.native.thread == thread:
                self._first_unclaimed = note_unclaimed(vcpu, self.memory, address, size, value)

    def _first_exit(self) -> None:
        self.timings.first_exit = time.monotonic_ns()

    def _finish(self, loops: list[VcpuLoop]) -> None:
        assert self.control.end is not None
        end = self._judge(self.control.end)
        crash = None
        for loop in loops:
            if loop.fatal_exit is not None:
                from ringlet.machine.crash import examine

                crash = examine(loop.vcpu, self.memory, loop.fatal_exit, self.symbols)
                break
        situation = None
        if end == TIMEOUT:
            from ringlet.machine.inquiry import examine_machine

            situation = examine_machine(self)
        first = self._first_unclaimed
        if first is not None:
            first = first._replace(symbols=self.symbols)
        unclaimed = {"reads": self.unclaimed.reads, "writes": self.unclaimed.writes}
        self.result = Result(
            end.reason,
            end.status,
            self.usage(),
            unclaimed,
            crash,
            situation,
            first,
        )

    def _judge(self, end: End) -> End:
        """Returns how the run ended; a subclass may replace `end` by a more exact one."""
        return end

    def close(self) -> None:
        """Ends a run that is under way, and closes everything that the machine opened."""
        self._not_from_within()
        self._closed = True
        self.control.finish(STOPPED)
        if self._thread is not None:
            self._thread.join()
        elif self._running:
            self.control.wait()
        self._stack.close()
