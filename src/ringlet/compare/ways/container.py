"""A container of ringlet's: `ringlet run`, or `Container` in this process."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress

from ringlet.closing import Closing
from ringlet.compare.instances import Spawned, Streams, tree
from ringlet.compare.lab import ringlet_command
from ringlet.compare.ways import Request, Unavailable
from ringlet.compare.ways.base import PROCESSES, CommandWay, size
from ringlet.container.config import ContainerConfig, Volume
from ringlet.container.container import Container
from ringlet.errors import RingletError


class Way(CommandWay):
    """The workload in a container, with what `ringlet run` gives it."""

    name = "container"
    title = "container"
    about = "A container of ringlet's: the host's kernel, behind namespaces, limits and a filter."

    def command(self, request: Request) -> list[str]:
        """`ringlet run ROOTFS -- /work WORDS`."""
        command = [*ringlet_command(), "run", str(self._lab.rootfs)]
        if request.disk is not None:
            command += ["--volume", f"{request.disk}:{self.disk}"]
        if request.limited:
            command += ["--memory", size(request.memory), "--pids", str(PROCESSES), "--cpus", "1"]
        return [*command, "--", "/work", *request.words]

    def spawn(self, request: Request) -> "Run":
        """Begins it as a process of its own."""
        return Run(self.command(request), input=request.reads_input)

    def launch(self, request: Request) -> "Launched":
        """A `Container`, of the same configuration."""
        return Launched(config(self._lab.rootfs, request), self.command(request), request)


class Run(Spawned):
    """A run of `ringlet run`, which has a guard: container/launch/guard.py."""

    def _roots(self) -> list[int]:
        return [root for own in super()._roots() for root in (own, *_guards(own))]


class Launched(Closing):
    """A container that this process has made and started."""

    def __init__(self, config: ContainerConfig, command: list[str], request: Request) -> None:
        self._streams = Streams(command, input=request.reads_input)
        self.read_line, self.write = self._streams.read_line, self._streams.write
        self.ended: int | None = None
        try:
            self.began = time.monotonic_ns()
            self._container = Container(config, stdio=self._streams.stdio)
            try:
                self._container.start()
                self._started = time.monotonic_ns()
            except BaseException:
                self._container.close()
                raise
        except RingletError as error:
            self._streams.close()
            raise Unavailable(error.message, error.hint) from error
        except BaseException:
            self._streams.close()
            raise
        self._streams.hand_over()

    def wait(self, timeout: float = 30) -> int:
        """As `Instance.wait` says."""
        result = self._container.wait(timeout)
        if result is None:
            raise self._streams.too_late(f"it has not ended after {timeout:g} seconds")
        self.ended = self._container.timings.end
        return result.status

    def processes(self) -> list[int]:
        """Those in the container; ringlet has none for it."""
        return tree([] if self._container.result is not None else [self._container.pid])

    def exits(self) -> int | None:
        """None: there is no VMM."""
        return None

    def phases(self) -> dict[str, int]:
        """Those of `Container.timings`, without the end; `exec`: the workload's program begins."""
        timings = self._container.timings
        steps = {
            "clone": timings.cloned,
            "mounts": timings.mounted,
            "pivot": timings.pivoted,
            "created": timings.created,
            "exec": self._started,
        }
        return {step: at for step, at in steps.items() if at is not None}

    def close(self) -> None:
        """Ends it, and removes its cgroup and its state."""
        self._container.close()
        self._streams.close()


def _guards(owner: int) -> Iterator[int]:
    """The guard of the process `owner`, by the descriptor that it holds; it is no child of it."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/fdinfo/1") as file:
                if f"Pid:\t{owner}\n" in file:
                    yield int(name)


def config(rootfs: object, request: Request, disk: str = CommandWay.disk) -> ContainerConfig:
    """The container for a request, as data: other runtimes get the same."""
    return ContainerConfig(
        rootfs=str(rootfs),
        command=["/work", *request.words],
        volumes=[] if request.disk is None else [Volume(request.disk, disk)],
        memory=request.memory if request.limited else None,
        pids=PROCESSES if request.limited else None,
        cpus=1 if request.limited else None,
    )
