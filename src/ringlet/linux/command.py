"""Runs a command in a stock Linux guest: `ringlet boot vmlinuz --exec 'uname -a'`.

From a program:

    done = run("/boot/vmlinuz", "uname -a", cpus=2)
    print(done.status, done.stdout)

The kernel boots with ringlet's initramfs, whose init (csrc/init/) runs the command. The command's
streams and its status go over ports of a virtio console. For a kernel that has no driver for
this console, as far as ringlet can find out, they use serial lines, which are slower: standard
input and output use COM2, standard error uses COM3, and init reports the status through the exit
port.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from typing import NamedTuple, TypedDict

from ringlet.devices.uart16550 import MCR_OUT1, MCR_RTS
from ringlet.linux.command_ports import CommandPorts
from ringlet.linux.guest import LinuxGuest
from ringlet.linux.initramfs import plan_line, shell
from ringlet.machine.config import MachineConfig, SerialEnd
from ringlet.machine.control import HALT, POWER_OFF, RESET, End
from ringlet.machine.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any, Unpack

    from ringlet.host.workload import Volume
    from ringlet.kvm.vm import Vm
    from ringlet.machine.config import Disk
    from ringlet.machine.network import Network
    from ringlet.virtio.device import VirtioDevice
    from ringlet.virtio.net import NetworkEnd

NO_STATUS = End("no-status", 70)

# A serial line has no end of file. That is why DLE escapes the next byte: DLE EOT is the end of
# input, and DLE DLE is a DLE in the data.
_DLE, _EOT = b"\x10", b"\x04"


class Completed(NamedTuple):
    """The result of a command: its end and its output. `console` is the end of the kernel's log."""

    reason: str
    status: int
    stdout: bytes
    stderr: bytes
    console: bytes


class Options(TypedDict, total=False):
    """The keys of `MachineConfig` that `LinuxCommand` doesn't set itself."""

    memory: int | None
    cpus: int
    protocol: str | None
    decompress: str | None
    force: bool
    timeout: float | None
    pit: bool | None


class LinuxCommand(Machine):
    """A machine whose kernel runs one command, as `sh -c` would.

    It is started, waited for and closed like any machine. It ends with the command's status, or
    with `NO_STATUS` if the guest ended before its command.

    stdio    the command's standard streams, descriptors that stay the caller's
    window   the size of the command's terminal; our own terminal, in `stdio`, is raw meanwhile
    verbose  the kernel's log goes to standard error
    vm       as for `Machine`

    Raises `RingletError`.
    """

    def __init__(
        self,
        guest: LinuxGuest,
        command: str,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        window: os.terminal_size | None = None,
        verbose: bool = False,
        vm: Vm | None = None,
        **options: Unpack[Options],
    ) -> None:
        stdin, stdout, stderr = stdio
        settings: dict[str, Any] = {"serial": (None, stderr) if verbose else "none"}
        with ExitStack() as stack:
            self._ports: CommandPorts | None = None
            if guest.has_console_driver():
                self._ports = CommandPorts(stdio, on_terminal=window is not None)
                stack.callback(self._ports.close)
                guest = guest._replace(virtio=(*guest.virtio, self._ports.device))
                plan = [plan_line("stdio", "ports"), plan_line("status", "control")]
            else:
                plan = [plan_line("stdio", "uart"), plan_line("status", "port")]
                settings["com2"] = SerialEnd(
                    "stdio" if window is not None else (stdin, stdout),
                    encode=stuff,
                    raw_output=True,  # the command's terminal has processed the output
                    gate=MCR_RTS | MCR_OUT1,  # init would lose input that comes before it listens
                )
                settings["com3"] = (None, stderr)
            plan += [plan_line("env", f"{name}={value}") for name, value in _environment().items()]
            if window is not None:
                plan.append(plan_line("tty", str(window.lines), str(window.columns)))
            kernel = stack.enter_context(guest.open_kernel(options.get("protocol")))
            config = MachineConfig(
                image=os.fspath(guest.kernel),
                initrd=guest.initramfs([*plan, *shell(command)]),
                cmdline=f"{'' if verbose else 'quiet '}{guest.cmdline}",
                disks=guest.disks,
                network=guest.network,
                entropy=guest.entropy,
                folders=guest.folders(),
                **settings,
                **options,
            )
            super().__init__(config, kernel=kernel, virtio=guest.virtio, output_fd=stdout, vm=vm)
            stack.pop_all()  # from here on, `close` closes all of it
        if self._ports is not None:
            self._ports.machine = self
        self.control.power_button = self._terminate  # our init doesn't listen for the power button

    def close(self) -> None:
        """Ends a run that is under way, and closes everything that the machine opened."""
        super().close()
        if self._ports is not None:
            self._ports.close()

    @property
    def uses_serial_lines(self) -> bool:
        """Whether the command's streams use serial lines, since no driver of ports was found."""
        return self._ports is None

    @property
    def first_output(self) -> int | None:
        """When the command's first output was there: CLOCK_MONOTONIC in nanoseconds."""
        return self.lines[1].first_output if self._ports is None else self._ports.first_output

    def _terminate(self) -> bool:
        """Sends SIGTERM to the command; returns whether that is possible now."""
        return self._ports is not None and self._ports.signal(signal.SIGTERM)

    def _judge(self, end: End) -> End:
        """Returns `exit` for a status by init, and NO_STATUS for an end of the guest without it."""
        if end.reason == "exit-port":
            return End("exit", end.status)
        return NO_STATUS if end in (HALT, POWER_OFF, RESET) else end


def run(
    kernel: str | os.PathLike[str],
    command: str,
    *,
    input: bytes = b"",
    cmdline: str = "",
    modules: Path | None = None,
    root: str | None = None,
    volumes: Sequence[Volume | str] = (),
    disks: Sequence[Disk | str] = (),
    virtio: Sequence[VirtioDevice] = (),
    network: Network | NetworkEnd | str = "none",
    entropy: bool = False,
    **options: Unpack[Options],
) -> Completed:
    """Boots `kernel`, runs `command` as `sh -c` would, and waits for its end.

    The parameters are those of `LinuxGuest`; `options` are other keys of `MachineConfig`, such as
    `cpus` and `timeout`. The command's output is held in memory. Raises `RingletError` if ringlet
    fails. If the guest or the command fails, the result says so.
    """
    with ExitStack() as stack:
        streams = [
            stack.enter_context(os.fdopen(os.memfd_create(name), "w+b", buffering=0))
            for name in ("stdin", "stdout", "stderr")
        ]
        stdin, stdout, stderr = streams
        stdin.write(input)
        stdin.seek(0)
        guest = LinuxGuest(
            kernel,
            cmdline,
            modules=modules,
            root=root,
            volumes=volumes,
            disks=disks,
            virtio=virtio,
            network=network,
            entropy=entropy,
        )
        stdio = stdin.fileno(), stdout.fileno(), stderr.fileno()
        machine = stack.enter_context(LinuxCommand(guest, command, stdio=stdio, **options))
        result = machine.run()
        for stream in streams:
            stream.seek(0)
        console = b"" if machine.console_log is None else machine.console_log.tail
        return Completed(result.reason, result.status, stdout.read(), stderr.read(), console)


def stuff(data: bytes) -> bytes:
    """Returns `data` as it is sent on the serial line; for no data, the end of input."""
    return data.replace(_DLE, _DLE + _DLE) if data else _DLE + _EOT


def _environment() -> dict[str, str]:
    return {"HOME": "/root", "TERM": os.environ.get("TERM", "linux")}
