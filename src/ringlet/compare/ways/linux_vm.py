"""A VM of ringlet with a stock Linux kernel, in which the workload is a command."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ringlet.compare.instances import MIB, Request, Unavailable
from ringlet.compare.instances.launched import LaunchedSandbox
from ringlet.compare.instances.streams import Streams
from ringlet.compare.lab import ringlet_command
from ringlet.compare.ways.base import CommandWay, size
from ringlet.compare.ways.tiny_vm import steps
from ringlet.emulated.installed_kernel import cache, kernels_under
from ringlet.errors import RingletError
from ringlet.kvm.system import System
from ringlet.linux.command import LinuxCommand
from ringlet.linux.guest import LinuxGuest
from ringlet.machine.config import Disk
from ringlet.machine.probe import require_linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances.launched import Stdio

CRASH = "ringlet_compare_crash"  # the workload crashes only a kernel with this word
PATIENCE = 120  # seconds for the first start, which decompresses the kernel


class Way(CommandWay):
    """The workload in the initramfs of a Linux VM."""

    name = "linux-vm"
    title = "Linux VM"
    about = "A VM of ringlet's with a distribution's own kernel, and the same program in it."
    own_kernel = True
    disk = "/dev/vda"
    least_memory = 192 * MIB  # a distribution's kernel, its initramfs, and room to unpack it

    def prepare(self) -> None:
        """Checks that there is a KVM that runs Linux, and a kernel."""
        try:
            with System() as system:
                require_linux(system, "a stock kernel")
            self.kernel = self._lab.settings.kernel or find_kernel()
        except RingletError as error:
            raise Unavailable(error.message, error.hint) from error

    def try_out(self) -> None:
        """Runs the workload once, with a longer timeout than other ways."""
        with self.spawn(Request(["start"])) as run:
            run.read_line(PATIENCE)
            if status := run.wait(PATIENCE):
                raise run.failure(f"it ended with status {status}")

    def command(self, request: Request) -> list[str]:
        """Returns `ringlet boot KERNEL --file WORK:/work --exec '/work WORDS'`."""
        command = [*ringlet_command(), "boot", self.kernel, "--file", f"{self._lab.work}:/work"]
        command += ["--exec", _execute(request), "--memory", size(self._memory(request))]
        if request.disk is not None:
            command += ["--disk", request.disk.replace(",", ",,")]
        if _crashes(request):
            command += ["--cmdline", CRASH]
        return command

    def launch(self, request: Request) -> LaunchedSandbox[LinuxCommand]:
        """Runs the same command on a thread."""

        def make(stdio: Stdio) -> LinuxCommand:
            guest = LinuxGuest(
                self.kernel,
                cmdline=CRASH if _crashes(request) else "",
                files=[(self._lab.work, "/work")],
                disks=[] if request.disk is None else [Disk(request.disk)],
            )
            memory = self._memory(request)
            return LinuxCommand(guest, _execute(request), stdio=stdio, memory=memory)

        streams = Streams(self.command(request), input=request.reads_input)
        return LaunchedSandbox(make, streams, _steps)

    def _memory(self, request: Request) -> int:
        return max(request.memory, self.least_memory)

    def versions(self) -> dict[str, str]:
        """Returns the kernel's file name; a distribution's kernel has its release in the name."""
        return {"guest kernel": os.path.basename(self.kernel).removeprefix("vmlinuz-")}


def _steps(machine: LinuxCommand) -> dict[str, int | None]:
    return steps(machine) | {"first_output": machine.first_output}


def _execute(request: Request) -> str:
    return shlex.join(["/work", *request.words])


def _crashes(request: Request) -> bool:
    return request.words[0] == "crash"


def find_kernel() -> str:
    """Returns the newest installed kernel, or else one that `ringlet nested --setup` fetched."""
    for root in (Path("/"), *sorted(cache().glob("linux-image-*"))):
        for kernel in kernels_under(root):
            if os.access(kernel.vmlinuz, os.R_OK):
                return str(kernel.vmlinuz)
    raise Unavailable(
        "no Linux kernel that this user may read is installed",
        "name one with --kernel, or fetch one: ringlet nested --setup",
    )
