"""A command in a stock Linux guest: `ringlet boot vmlinuz --exec 'uname -a'`.

From a program:

    done = run("/boot/vmlinuz", "uname -a", cpus=2)
    print(done.status, done.stdout)

The kernel boots with an initramfs of ours, whose init runs the command (csrc/init/). Its streams
have serial lines of their own beside the console: standard input and output COM2, standard
error COM3. Its status comes through the exit port.

The command's root is that initramfs, with busybox; or it is on a disk, which can also be started
like a machine's, with the init that it has.
"""

import io
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ringlet import boot
from ringlet.devices.uart16550 import MCR_OUT1, MCR_RTS
from ringlet.errors import ConfigError
from ringlet.host.serial import SerialTarget
from ringlet.machine.control import HALT, POWER_OFF, RESET, End
from ringlet.machine.guests import find_image

if TYPE_CHECKING:
    from ringlet.machine.machine import Machine, Result

NO_STATUS = End("no-status", 70)

# A serial line has no end of input, so DLE begins what isn't data: DLE EOT is the end, DLE DLE
# a DLE.
_DLE, _EOT = b"\x10", b"\x04"

# For what our machine has and a stock kernel has as modules.
_MODULES = ("pvpanic-mmio",)
_DISK_MODULES = ("virtio_mmio", "virtio_blk")
_FILE_SYSTEMS = ("ext4", "crc32c_generic", "crc32c-intel")  # and what ext4 asks for by an alias


class Completed(NamedTuple):
    """A command that was run: how it ended, and what it wrote. `console` is the kernel's log."""

    reason: str
    status: int
    stdout: bytes
    stderr: bytes
    console: bytes


def run(
    kernel: str | os.PathLike[str],
    command: str,
    *,
    input: bytes = b"",
    cmdline: str = "",
    modules: Path | None = None,
    root: str | None = None,
    disks: Sequence[Any] = (),
    **options: Any,
) -> Completed:
    """Boots `kernel`, runs `command` as `sh -c` would, and waits for its end.

    With `root`, such as "/dev/vda", it finds what is on that disk. `disks` and `options` are more
    of `MachineConfig`, such as `cpus` and `timeout`. What the command writes is held in memory.
    Raises `RingletError` where ringlet could not do it; how the guest fared, the answer says.
    """
    from ringlet.machine.config import MachineConfig
    from ringlet.machine.machine import Machine

    with ExitStack() as stack:
        streams = [
            stack.enter_context(os.fdopen(os.memfd_create(name), "w+b", buffering=0))
            for name in ("stdin", "stdout", "stderr")
        ]
        stdin, stdout, stderr = streams
        stdin.write(input)
        stdin.seek(0)
        config = MachineConfig(
            **configure(
                os.fspath(kernel),
                command,
                cmdline=cmdline,
                modules=modules,
                root=root,
                disks=disks,
                output=(stdin.fileno(), stdout.fileno()),
                errors=(None, stderr.fileno()),
            ),
            **options,
        )
        machine = stack.enter_context(Machine(config))
        prepare(machine)
        result = judge(machine.run())
        for stream in streams:
            stream.seek(0)
        console = b"" if machine.console_log is None else machine.console_log.tail
        return Completed(result.reason, result.status, stdout.read(), stderr.read(), console)


def stuff(data: bytes) -> bytes:
    """`data` as it goes down the line; of none, the end of input."""
    return data.replace(_DLE, _DLE + _DLE) if data else _DLE + _EOT


def configure(
    kernel: str,
    command: str,
    *,
    cmdline: str = "",
    files: Sequence[tuple[str, str]] = (),
    modules: Path | None = None,
    root: str | None = None,
    disks: Sequence[Any] = (),
    window: os.terminal_size | None = None,
    verbose: bool = False,
    output: SerialTarget = "stdio",
    errors: SerialTarget = (None, 2),
) -> dict[str, Any]:
    """What `MachineConfig` needs so that `kernel` runs `command`, as `sh -c` would.

    `files` are files of the host, each with its path in the guest. `modules` is the kernel's
    /lib/modules/RELEASE; None to look beside the kernel. With `root`, the command finds what is on
    that one of the `disks`, and no files. With `window`, it has a terminal of that size.
    Raises `RingletError`.
    """
    from ringlet.linux.initramfs import plan_line, shell

    plan = [plan_line("stdio", "uart"), plan_line("status", "port")]
    plan += [plan_line("env", f"{name}={value}") for name, value in _environment().items()]
    if window is not None:
        plan.append(plan_line("tty", str(window.lines), str(window.columns)))
    return {
        **_configure(kernel, [*plan, *shell(command)], modules, root, disks, files),
        "cmdline": f"{'' if verbose else 'quiet '}{cmdline}",
        "serial": (None, 2) if verbose else "none",
        "com2": output,
        "com3": errors,
    }


def configure_root(
    kernel: str, root: str, *, modules: Path | None = None, disks: Sequence[Any]
) -> dict[str, Any]:
    """What `MachineConfig` needs so that `kernel` starts /sbin/init of the disk `root`.

    `modules` is as in `configure`. Raises `RingletError`.
    """
    return _configure(kernel, [], modules, root, disks)


def prepare(machine: "Machine") -> None:
    """Before the run of a machine so configured."""
    line = machine.lines[1]
    line.host.encode = stuff
    line.host.raw_output = True  # where it is a terminal, the command has one
    line.uart.state.gate = MCR_RTS | MCR_OUT1  # what comes before init listens would be lost


def judge(result: "Result") -> "Result":
    """Only the status that init reports counts: an end without one is no good end."""
    if End(result.reason, result.status) in (HALT, POWER_OFF, RESET):
        return result._replace(reason=NO_STATUS.reason, status=NO_STATUS.status)
    return result


def _require_linux(kernel: str) -> None:
    with boot.open_kernel(find_image(kernel)) as opened:
        if not opened.is_linux:
            raise ConfigError(
                f"a command runs in a Linux kernel, and {opened.name} is none",
                "name one, such as /boot/vmlinuz",
            )


def _configure(
    kernel: str,
    plan: Sequence[bytes],
    modules: Path | None,
    root: str | None,
    disks: Sequence[Any],
    files: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
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
    modules, names, on_demand = _find_modules(kernel, modules, bool(disks))
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
    return {"image": kernel, "initrd": archive.getvalue(), "disks": disks}


def _environment() -> dict[str, str]:
    return {"HOME": "/root", "TERM": os.environ.get("TERM", "linux")}


def _find_modules(
    kernel: str, folder: Path | None, has_disks: bool
) -> tuple[Path | None, list[str], list[str]]:
    """Where they are, which are loaded, and which the kernel can ask for."""
    from ringlet.linux.modules import listed

    names = list(_MODULES)
    if folder is None:
        folder = _beside(kernel)
        if folder is None:  # it may have all built in
            return None, [], []
        names = listed(folder, names)
    if not has_disks:
        return folder, names, []
    return folder, [*names, *_DISK_MODULES], listed(folder, _FILE_SYSTEMS)


def _beside(kernel: str) -> Path | None:
    """Its modules where a distribution puts them: /boot/vmlinuz-R has /lib/modules/R."""
    path = os.path.realpath(kernel)
    release = os.path.basename(path).partition("-")[2]
    folder = Path(os.path.dirname(os.path.dirname(path)), "lib", "modules", release)
    return folder if (folder / "modules.order").is_file() else None
