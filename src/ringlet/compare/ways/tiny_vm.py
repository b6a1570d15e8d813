"""A VM of ringlet with a kernel that only runs the workload: the guest `work`."""

from __future__ import annotations

import os

from ringlet.boot import DEFAULT_MEMORY
from ringlet.compare.instances import Unavailable
from ringlet.compare.instances.launched import LaunchedSandbox
from ringlet.compare.instances.streams import Streams
from ringlet.compare.lab import ringlet_command
from ringlet.compare.ways.base import CommandWay, size
from ringlet.errors import RingletError
from ringlet.kvm.system import System
from ringlet.machine.config import Disk, MachineConfig
from ringlet.machine.guests import FOLDER
from ringlet.machine.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances import Request
    from ringlet.compare.instances.launched import Stdio

IMAGE = os.path.join(FOLDER, "work.elf")


class Way(CommandWay):
    """The workload in ring 3 of a tiny kernel of its own."""

    name = "tiny-vm"
    title = "tiny VM"
    about = "A VM of ringlet's with a kernel of a few hundred lines, made for this workload."
    own_kernel = True
    disk = "/dev/vda"  # any path: the guest uses its only disk

    def prepare(self) -> None:
        """Checks that there is a KVM."""
        if not os.path.exists(IMAGE):
            raise Unavailable("the guest `work` isn't built", "run `make`")
        try:
            System().close()
        except RingletError as error:
            raise Unavailable(error.message, error.hint) from error

    def command(self, request: Request) -> list[str]:
        """Returns `ringlet boot work --cmdline WORDS`."""
        image = IMAGE if os.path.exists("work") else "work"  # a file named `work` would go first
        command = [*ringlet_command(), "boot", image, "--cmdline", " ".join(request.words)]
        if request.memory != DEFAULT_MEMORY:
            command += ["--memory", size(request.memory)]
        if request.disk is not None:
            command += ["--disk", request.disk.replace(",", ",,")]
        return command

    def launch(self, request: Request) -> LaunchedSandbox[Machine]:
        """Runs a `Machine` with the same configuration on a thread."""

        def make(stdio: Stdio) -> Machine:
            return Machine(
                MachineConfig(
                    image=IMAGE,
                    cmdline=" ".join(request.words),
                    memory=request.memory,
                    disks=[] if request.disk is None else [Disk(request.disk)],
                    serial=(stdio[0] if request.reads_input else None, stdio[1]),
                )
            )

        streams = Streams(self.command(request), input=request.reads_input)
        return LaunchedSandbox(make, streams, steps)


def steps(machine: Machine) -> dict[str, int | None]:
    """Returns when each step of a machine was over; its output is that of the serial line."""
    timings = machine.timings
    return {
        "vm_created": timings.vm_created,
        "image_loaded": timings.image_loaded,
        "first_exit": timings.first_exit,
        "first_output": machine.lines[0].first_output,
        "end": timings.end,
    }
