"""The configuration of a nested run. It is checked here, once."""

from __future__ import annotations

import os
import threading

from ringlet.board.layout import GIB, MIB
from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST_MEMORY = 512 * MIB  # the machine's kernel and a little Python


class NestedConfig:
    """A command, and the emulated machine that runs it. Raises `ConfigError`.

    command   the program and its arguments
    cpus      how many CPUs; with several, QEMU's emulator is known to lock up on a busy host
    memory    bytes of RAM, which also holds the files that the command writes
    share     a folder whose writes reach the host; None for none
    kernel    the machine's Linux kernel, and `modules` its modules' folder; None to look for one
    qemu      QEMU's program; None for the one on PATH
    timeout   seconds after which the run ends with status 124
    shadow_paging  KVM checks each change of CR0 by itself. QEMU's emulator lets errors pass that a
              processor refuses, and then hangs. Linux takes twice as long to boot with it
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cpus: int = 1,
        memory: int = 2 * GIB,
        share: str | None = None,
        kernel: str | None = None,
        modules: str | None = None,
        qemu: str | None = None,
        timeout: float | None = None,
        shadow_paging: bool = False,
    ) -> None:
        self.command = tuple(command)
        self.cpus = cpus
        self.memory = memory
        self.share = None if share is None else os.path.realpath(share)
        self.kernel = kernel
        self.modules = modules
        self.qemu = qemu
        self.timeout = timeout
        self.shadow_paging = shadow_paging
        if not self.command:
            raise ConfigError("no command is named", "name one: `ringlet nested -- COMMAND`")
        if not 1 <= self.cpus <= 255:
            raise ConfigError(f"{self.cpus} CPUs", "give the machine from 1 to 255")
        host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if not _LEAST_MEMORY <= memory <= host or memory % MIB:
            raise ConfigError(
                f"the machine's memory is out of range (this host has {host // MIB} MiB)",
                f"give whole MiB, at least {_LEAST_MEMORY // MIB}M, such as 2G",
            )
        if self.share is not None and not os.path.isdir(self.share):
            raise ConfigError(f"{share}: no such folder", "make it first, then share it")
        if modules is not None and kernel is None:
            raise ConfigError("--modules without --kernel", "name the kernel they belong to")
        if timeout is not None and not 0 < timeout <= threading.TIMEOUT_MAX:
            raise ConfigError(
                "the timeout is out of range",
                f"give seconds above 0, at most {threading.TIMEOUT_MAX:g}",
            )
