"""A VM of ringlet's with a kernel that is there for the workload alone: the guest `work`."""

import os
import time
from collections.abc import Callable

from ringlet.closing import Closing
from ringlet.compare.instances import Streams
from ringlet.compare.lab import ringlet_command
from ringlet.compare.ways import Request, Unavailable
from ringlet.compare.ways.base import CommandWay, size
from ringlet.errors import RingletError
from ringlet.kvm.system import System
from ringlet.machine.config import Disk, MachineConfig
from ringlet.machine.guests import FOLDER
from ringlet.machine.machine import DEFAULT_MEMORY, Machine

IMAGE = os.path.join(FOLDER, "work.elf")


class Way(CommandWay):
    """The workload in ring 3 of a tiny kernel of its own."""

    name = "tiny-vm"
    title = "tiny VM"
    about = "A VM of ringlet's with a kernel of a few hundred lines, made for this workload."
    own_kernel = True
    disk = "/dev/vda"  # of the one disk there is, whatever it is called

    def prepare(self) -> None:
        """There has to be a KVM."""
        if not os.path.exists(IMAGE):
            raise Unavailable("the guest `work` isn't built", "run `make`")
        try:
            System().close()
        except RingletError as error:
            raise Unavailable(error.message, error.hint) from error

    def command(self, request: Request) -> list[str]:
        """`ringlet boot work --cmdline WORDS`."""
        image = IMAGE if os.path.exists("work") else "work"  # a file of that name goes first
        command = [*ringlet_command(), "boot", image, "--cmdline", " ".join(request.words)]
        if request.memory != DEFAULT_MEMORY:
            command += ["--memory", size(request.memory)]
        if request.disk is not None:
            command += ["--disk", request.disk.replace(",", ",,")]
        return command

    def launch(self, request: Request) -> "Launched":
        """A `Machine`, of the same configuration, on a thread."""

        def make(stdio: tuple[int, int, int]) -> Machine:
            return Machine(
                MachineConfig(
                    image=IMAGE,
                    cmdline=" ".join(request.words),
                    memory=request.memory,
                    disks=[] if request.disk is None else [Disk(request.disk)],
                    serial=(stdio[0] if request.reads_input else None, stdio[1]),
                )
            )

        return Launched(make, Streams(self.command(request), input=request.reads_input))


class Launched(Closing):
    """A machine that `make` makes, and that runs on a thread of this process.

    `line` is the serial line of the workload's output.
    """

    def __init__(
        self, make: Callable[[tuple[int, int, int]], Machine], streams: Streams, line: int = 0
    ) -> None:
        self._streams, self._line = streams, line
        self.read_line, self.write = streams.read_line, streams.write
        self.ended: int | None = None
        try:
            self.began = time.monotonic_ns()
            self._machine = make(streams.stdio)
            try:
                self._machine.start()
            except BaseException:
                self._machine.close()
                raise
        except RingletError as error:
            streams.close()
            raise Unavailable(error.message, error.hint) from error
        except BaseException:
            streams.close()
            raise
        streams.hand_over()

    def wait(self, timeout: float = 30) -> int:
        """As `Instance.wait` says."""
        try:
            result = self._machine.wait(timeout)
        except RingletError as error:
            raise Unavailable(error.message, error.hint) from error
        if result is None:
            raise self._streams.too_late(f"it has not ended after {timeout:g} seconds")
        self.ended = self._machine.timings.end
        return result.status

    def processes(self) -> list[int]:
        """None: the machine is a part of this one."""
        return []

    def exits(self) -> int | None:
        """Of all kinds."""
        exits: dict[str, int] = self._machine.stats()["exits"]
        return sum(exits.values())

    def phases(self) -> dict[str, int]:
        """Those of `Machine.timings`, without the end."""
        timings = self._machine.timings
        steps = {
            "vm_created": timings.vm_created,
            "image_loaded": timings.image_loaded,
            "first_exit": timings.first_exit,
            "first_output": self._machine.lines[self._line].first_output,
        }
        return {step: at for step, at in steps.items() if at is not None}

    def close(self) -> None:
        """Ends the run, and closes the machine."""
        self._machine.close()
        self._streams.close()
