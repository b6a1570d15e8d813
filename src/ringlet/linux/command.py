"""Runs a command in a stock Linux guest: `ringlet boot vmlinuz --exec 'uname -a'`.

From a program:

    done = run("/boot/vmlinuz", "uname -a", cpus=2)
    print(done.status, done.stdout)

The kernel boots with ringlet's initramfs, whose init (csrc/init/) runs the command. The command's
streams have their own serial lines beside the console: standard input and output use COM2,
standard error uses COM3. Init reports the command's status through the exit port.

The command's root is the initramfs, with busybox, or a file system on a disk. A disk can also be
started as a whole system, with its own /sbin/init (`root_initramfs`).
"""

from __future__ import annotations

import io
import os
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, TypedDict

from ringlet import boot
from ringlet.devices.uart16550 import MCR_OUT1, MCR_RTS
from ringlet.errors import ConfigError
from ringlet.machine.config import MachineConfig, SerialEnd
from ringlet.machine.control import HALT, POWER_OFF, RESET, End
from ringlet.machine.guests import find_image
from ringlet.machine.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Unpack

    from ringlet.kvm.vm import Vm
    from ringlet.machine.config import Disk
    from ringlet.virtio.device import VirtioDevice

NO_STATUS = End("no-status", 70)

# A serial line has no end of file. That is why DLE escapes the next byte: DLE EOT is the end of
# input, and DLE DLE is a DLE in the data.
_DLE, _EOT = b"\x10", b"\x04"

# The drivers of our machine's devices that a stock kernel has as modules.
_MODULES = ("pvpanic-mmio",)
_VIRTIO_MODULES = ("virtio_mmio",)
_DISK_MODULES = ("virtio_blk",)
_FILE_SYSTEMS = ("ext4", "crc32c_generic", "crc32c-intel")  # ext4, and what it requests


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

    cmdline  more of the kernel's command line
    files    files of the host, each with its path in the guest
    modules  the kernel's /lib/modules/RELEASE; None to look beside the kernel
    root     the disk, such as /dev/vda, that is the command's root; it excludes `files`
    virtio   a program's own devices; the Linux modules that drive these devices are loaded
    stdio    the command's standard streams, descriptors that stay the caller's
    window   the size of the command's terminal; our own terminal, in `stdio`, is raw meanwhile
    verbose  the kernel's log goes to standard error
    vm       as for `Machine`

    Raises `RingletError`.
    """

    def __init__(
        self,
        kernel: str | os.PathLike[str],
        command: str,
        *,
        cmdline: str = "",
        files: Sequence[tuple[str, str]] = (),
        modules: Path | None = None,
        root: str | None = None,
        disks: Sequence[Disk | str] = (),
        virtio: Sequence[VirtioDevice] = (),
        stdio: tuple[int, int, int] = (0, 1, 2),
        window: os.terminal_size | None = None,
        verbose: bool = False,
        vm: Vm | None = None,
        **options: Unpack[Options],
    ) -> None:
        from ringlet.linux.initramfs import plan_line, shell

        kernel = os.fspath(kernel)
        plan = [plan_line("stdio", "uart"), plan_line("status", "port")]
        plan += [plan_line("env", f"{name}={value}") for name, value in _environment().items()]
        if window is not None:
            plan.append(plan_line("tty", str(window.lines), str(window.columns)))
        stdin, stdout, stderr = stdio
        config = MachineConfig(
            image=kernel,
            initrd=_initramfs(
                kernel,
                [*plan, *shell(command)],
                files=files,
                modules=modules,
                root=root,
                disks=disks,
                devices={device.device_id for device in virtio},
            ),
            cmdline=f"{'' if verbose else 'quiet '}{cmdline}",
            disks=disks,
            serial=(None, stderr) if verbose else "none",
            com2=SerialEnd(
                "stdio" if window is not None else (stdin, stdout),
                encode=stuff,
                raw_output=True,  # the command's terminal has processed the output
                gate=MCR_RTS | MCR_OUT1,  # init would lose input that comes before it listens
            ),
            com3=(None, stderr),
            **options,
        )
        super().__init__(config, virtio=virtio, output_fd=stdout, vm=vm)
        self.control.power_button = lambda: False  # our init doesn't listen for the power button

    def _judge(self, end: End) -> End:
        """Returns NO_STATUS for an end of the guest for which init has reported no status."""
        return NO_STATUS if end in (HALT, POWER_OFF, RESET) else end


def run(
    kernel: str | os.PathLike[str],
    command: str,
    *,
    input: bytes = b"",
    cmdline: str = "",
    modules: Path | None = None,
    root: str | None = None,
    disks: Sequence[Disk | str] = (),
    virtio: Sequence[VirtioDevice] = (),
    **options: Unpack[Options],
) -> Completed:
    """Boots `kernel`, runs `command` as `sh -c` would, and waits for its end.

    The parameters are those of `LinuxCommand`; `options` are other keys of `MachineConfig`, such as
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
        machine = stack.enter_context(
            LinuxCommand(
                kernel,
                command,
                cmdline=cmdline,
                modules=modules,
                root=root,
                disks=disks,
                virtio=virtio,
                stdio=(stdin.fileno(), stdout.fileno(), stderr.fileno()),
                **options,
            )
        )
        result = machine.run()
        for stream in streams:
            stream.seek(0)
        console = b"" if machine.console_log is None else machine.console_log.tail
        return Completed(result.reason, result.status, stdout.read(), stderr.read(), console)


def stuff(data: bytes) -> bytes:
    """Returns `data` as it is sent on the serial line; for no data, the end of input."""
    return data.replace(_DLE, _DLE + _DLE) if data else _DLE + _EOT


def root_initramfs(
    kernel: str, root: str, *, modules: Path | None = None, disks: Sequence[Disk | str]
) -> bytes:
    """Makes an initramfs with which `kernel` starts /sbin/init of the disk `root`.

    The parameters are those of `LinuxCommand`. Raises `RingletError`.
    """
    return _initramfs(kernel, [], modules=modules, root=root, disks=disks)


def _require_linux(kernel: str) -> None:
    with boot.open_kernel(find_image(kernel)) as opened:
        if not opened.is_linux:
            raise ConfigError(
                f"a command runs in a Linux kernel, and {opened.name} is none",
                "name one, such as /boot/vmlinuz",
            )


def _initramfs(
    kernel: str,
    plan: Sequence[bytes],
    *,
    files: Sequence[tuple[str, str]] = (),
    modules: Path | None,
    root: str | None,
    disks: Sequence[Disk | str],
    devices: Collection[int] = (),
) -> bytes:
    from ringlet.linux.initramfs import build, find_busybox, plan_line

    _require_linux(kernel)
    if root is not None:
        if files:
            raise ConfigError(
                "files are for the initramfs, which a command on a disk doesn't see",
                "leave them out, or the root",
            )
        if not disks:
            raise ConfigError(f"there is no disk for the root {root}", "name one")
        plan = [plan_line("rootdisk", root), *plan]
    modules, names, on_demand = _find_modules(kernel, modules, bool(disks), devices)
    archive = io.BytesIO()
    build(
        archive,
        plan=plan,
        copies=files,
        modules=modules,
        module_names=names,
        on_demand=on_demand,
        busybox=find_busybox(),
    )
    return archive.getvalue()


def _environment() -> dict[str, str]:
    return {"HOME": "/root", "TERM": os.environ.get("TERM", "linux")}


def _find_modules(
    kernel: str, folder: Path | None, has_disks: bool, devices: Collection[int]
) -> tuple[Path | None, list[str], list[str]]:
    """Returns the modules' folder, the modules to load, and those that the kernel may request."""
    from ringlet.linux.modules import drivers, listed

    names = list(_MODULES)
    if folder is None:
        folder = _beside(kernel)
        if folder is None:  # the kernel may have all drivers built in
            return None, [], []
        names = listed(folder, names)
    if has_disks or devices:
        names += [*_VIRTIO_MODULES, *drivers(folder, devices)]
    if not has_disks:
        return folder, names, []
    return folder, [*names, *_DISK_MODULES], listed(folder, _FILE_SYSTEMS)


def _beside(kernel: str) -> Path | None:
    """Returns the modules of a distribution's kernel: /lib/modules/R for /boot/vmlinuz-R."""
    path = os.path.realpath(kernel)
    release = os.path.basename(path).partition("-")[2]
    folder = Path(os.path.dirname(os.path.dirname(path)), "lib", "modules", release)
    return folder if (folder / "modules.order").is_file() else None
