"""QEMU: its program, its command line, and its process, which ends when ours ends.

Source: QEMU 7.2's qemu(1); prctl(2), PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess

from ringlet.board.layout import MIB
from ringlet.closing import Closing
from ringlet.errors import ConfigError, RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ringlet.emulated.installed_kernel import InstalledKernel
    from ringlet.emulated.nested_config import NestedConfig

PROGRAM = "qemu-system-x86_64"
INSTALL = (
    "install it: `apt install qemu-system-x86` (Fedora: qemu-system-x86-core), or name it: --qemu"
)
ROOT_TAG = "ringlet-root"
SHARE_TAG = "ringlet-share"
_PR_SET_PDEATHSIG = 1

# The command line of the machine's kernel: a short log, a reset after a panic, and no mitigations
# of the processor's leaks, since the emulated processor has no other guests.
CMDLINE = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check"


def find_qemu(named: str | None = None) -> str:
    """Returns the path of QEMU's program. Raises `RingletError`."""
    found = shutil.which(named or PROGRAM)
    if found is None and named is not None:
        raise ConfigError(f"{named}: no program that can be run", "check the path")
    if found is None:
        raise RingletError(f"QEMU ({PROGRAM}) isn't installed", INSTALL)
    return found


def arguments(
    config: NestedConfig,
    kernel: InstalledKernel,
    initramfs: int,
    console: int,
    ports: Mapping[str, int],
) -> list[str]:
    """Returns QEMU's options.

    `initramfs`, `console` and the `ports`, by name, are descriptors that QEMU inherits. The machine
    sees the host's files read-only as 9p share `ROOT_TAG`, the writable folder as `SHARE_TAG`, and
    each port as virtio-serial port `ringlet.NAME`.
    """
    options = [
        *("-accel", "tcg,thread=multi"),
        *("-cpu", "EPYC,+svm"),
        *("-smp", str(config.cpus)),
        *("-m", f"{config.memory // MIB}M"),
        *("-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none"),
        *("-kernel", os.fspath(kernel.vmlinuz)),
        *("-initrd", f"/proc/self/fd/{initramfs}"),
        *("-append", CMDLINE),
        *("-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console"),
        *("-virtfs", _folder("/", ROOT_TAG, "readonly=on")),
        *("-device", "virtio-serial-pci"),
    ]
    if config.share is not None:
        options += ["-virtfs", _folder(config.share, SHARE_TAG, "readonly=off")]
    for name, fd in ports.items():
        options += ["-chardev", f"socket,id={name},fd={fd}"]
        options += ["-device", f"virtserialport,chardev={name},name=ringlet.{name}"]
    return options


def _folder(path: str, tag: str, access: str) -> str:
    """Returns the option that shares a folder with its owners; only root may change owners."""
    model = "passthrough" if os.geteuid() == 0 else "none"
    quoted = path.replace(",", ",,")
    return f"local,path={quoted},mount_tag={tag},security_model={model},multidevs=remap,{access}"


class Qemu(Closing):
    """QEMU's process. The kernel kills the process when the thread that started it ends."""

    def __init__(self, program: str, options: Sequence[str], descriptors: Sequence[int]) -> None:
        prctl = ctypes.CDLL(None).prctl
        parent = os.getpid()

        def die_with_parent() -> None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent has ended already
                os._exit(1)

        try:
            self._process = subprocess.Popen(
                [program, *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=descriptors,
                start_new_session=True,  # so that Ctrl-C and Ctrl-Z don't reach QEMU
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise RingletError(f"{program}: {error.strerror}", INSTALL) from error
        assert self._process.stderr is not None
        self.errors = self._process.stderr.fileno()  # QEMU's standard error
        os.set_blocking(self.errors, False)

    def close(self) -> None:
        """Kills QEMU, if it still runs, and waits for its end."""
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
