"""A command in a stock Linux guest: `ringlet boot vmlinuz --exec 'uname -a'`.

From a program:

    done = run("/boot/vmlinuz", "uname -a", cpus=2)
    print(done.status, done.stdout)

The kernel boots with an initramfs of ours, whose init runs the command (csrc/init/). Its streams
have serial lines of their own beside the console: standard input and output COM2, standard
error COM3. Its status comes through the exit port.

The command's root is that initramfs, with busybox; or the root is on a disk, which can also be
started like a machine's, with the init that it has.
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

# A serial line has no end of input, so DLE begins what isn't data: DLE EOT is the end, DLE DLE
# a DLE.
_DLE, _EOT = b"\x10", b"\x04"

# For what our machine has and a stock kernel has as modules.
_MODULES = ("pvpanic-mmio",)
_VIRTIO_MODULES = ("virtio_mmio",)
_DISK_MODULES = ("virtio_blk",)
_FILE_SYSTEMS = ("ext4", "crc32c_generic", "crc32c-intel")  # and what ext4 asks for by an alias


class Completed(NamedTuple):
    """A command that was run: how it ended, and what it wrote. `console` is the kernel's log."""

    reason: str
    status: int
    stdout: bytes
    stderr: bytes
    console: bytes


class Options(TypedDict, total=False):
    """The keys of `MachineConfig` that a command leaves free."""

    memory: int | None
    cpus: int
    protocol: str | None
    decompress: str | None
    force: bool
    timeout: float | None
    pit: bool | None


class LinuxCommand(Machine):
    """A machine whose kernel runs one command, as `sh -c` would.

    It is started, waited for and closed as any machine. The status of its end is the command's;
    where the guest ended before its command did, the end is `NO_STATUS`.

    cmdline  more of the kernel's command line
    files    files of the host, each with its path in the guest
    modules  the kernel's /lib/modules/RELEASE; None to look beside the kernel
    root     the one of the `disks`, such as /dev/vda, whose files the command sees; no `files` then
    virtio   a program's own devices; the modules of Linux that drive them are loaded
    stdio    the command's standard streams, descriptors that stay the caller's
    window   the command has a terminal of this size, and `stdio` is one that is raw meanwhile
    verbose  the kernel's log goes to standard error
    vm       as of `Machine`

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
                raw_output=True,  # the command's own terminal has processed it
                gate=MCR_RTS | MCR_OUT1,  # what comes before init listens would be lost
            ),
            com3=(None, stderr),
            **options,
        )
        super().__init__(config, virtio=virtio, output_fd=stdout, vm=vm)
        self.control.power_button = lambda: False  # our init doesn't listen for it

    def _judge(self, end: End) -> End:
        """Only the status that init reports counts: an end without one is no good end."""
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

    The parameters are those of `LinuxCommand`; `options` are more of `MachineConfig`, such as
    `cpus` and `timeout`. What the command writes is held in memory. Raises `RingletError` where
    ringlet could not do it; how the guest fared, the answer says.
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
    """`data` as it goes down the line; of none, the end of input."""
    return data.replace(_DLE, _DLE + _DLE) if data else _DLE + _EOT


def root_initramfs(
    kernel: str, root: str, *, modules: Path | None = None, disks: Sequence[Disk | str]
) -> bytes:
    """An initramfs with which `kernel` starts /sbin/init of the disk `root`.

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
    """Where they are, which are loaded, and which the kernel can ask for."""
    from ringlet.linux.modules import drivers, listed

    names = list(_MODULES)
    if folder is None:
        folder = _beside(kernel)
        if folder is None:  # it may have all built in
            return None, [], []
        names = listed(folder, names)
    if has_disks or devices:
        names += [*_VIRTIO_MODULES, *drivers(folder, devices)]
    if not has_disks:
        return folder, names, []
    return folder, [*names, *_DISK_MODULES], listed(folder, _FILE_SYSTEMS)


def _beside(kernel: str) -> Path | None:
    """Its modules where a distribution puts them: /boot/vmlinuz-R has /lib/modules/R."""
    path = os.path.realpath(kernel)
    release = os.path.basename(path).partition("-")[2]
    folder = Path(os.path.dirname(os.path.dirname(path)), "lib", "modules", release)
    return folder if (folder / "modules.order").is_file() else None
